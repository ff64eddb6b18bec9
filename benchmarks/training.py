"""What `--amp` gains on a CPU: a step in bfloat16 beside the same step in float32.

    python benchmarks/training.py

Processor seconds of one thread, with which other work on the cores interferes little; float32 and bfloat16 take
turns, and a ratio is the median over turns. Images are noise of 3×32×32 with augmentation, in batches of 128.
Whether bfloat16 gains anything depends on the processor: those with AVX512-BF16 or AMX multiply it in hardware.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time

import pandas as pd
import torch
from gpu import trained

MODELS = ("cnn", "vgg9", "vgg11")
METHODS = ("sgd", "greedy-ce", "greedy-dib")
BATCH = 128


def seconds_per_step(method: str, model: str, amp: bool, steps: int) -> float:
    """Processor seconds of one step, those of building the network taken out by a training of one step."""

    def training(steps: int) -> float:
        start = time.process_time()
        trained(method, model, BATCH, amp, steps, "cpu")
        return time.process_time() - start

    return (training(steps + 1) - training(1)) / steps


def row(method: str, model: str, steps: int, turns: int) -> dict[str, object]:
    """Both precisions in turn."""
    seconds = [[seconds_per_step(method, model, amp, steps) for amp in (False, True)] for _ in range(turns)]
    ratios = [half / single for single, half in seconds]
    return {
        "network": model,
        "method": method,
        "float32 [ms a step]": 1000 * statistics.median(single for single, _ in seconds),
        "bfloat16 [ms a step]": 1000 * statistics.median(half for _, half in seconds),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
    }


def main() -> None:
    """Prints a row for each network and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    trained("sgd", MODELS[0], BATCH, False, 1, "cpu")  # what is made once in a process
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    for number, (model, method) in enumerate(itertools.product(MODELS, METHODS)):
        frame = pd.DataFrame([row(method, model, given.steps, given.turns)])
        print(frame.to_csv(index=False, header=not number, float_format="%.3g"), end="", flush=True)


if __name__ == "__main__":
    main()
