"""What a GPU brings: checks, entropies, a whole plane, and the training of every method.

    python benchmarks/gpu.py --minutes 8 --output gpu.md
    python benchmarks/gpu.py --device cpu --minutes 1 --small    # a dry run

The parts follow each other until the time is over; the table of a part is written as soon as it stands. It needs
no network and no data.

- Checks: `infoplane verify`, and the tests that ask for a GPU.
- Training: VGG-11 on 32×32 noise with augmentation, in bfloat16 and, for SGD, float32 too. Images a second and the
  most that one step holds beyond parameters, optimiser state and data.
- Entropies: I(X;T) and I(T;Y) of one layer from stored distances, exact, against one float64 `torch.linalg.eigh` on
  the same device counted six times, which is what published codes do.
- Plane: 8 layers at 50 snapshots of a network recorded here, as `infoplane estimate` computes it, with the permuted
  nulls of both informations.
"""

from __future__ import annotations

import argparse
import math
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import infoplane as ip
from infoplane.condensed import condense
from infoplane.data import Dataset, DatasetSpec, Split, augmentation
from infoplane.entropy import class_joint_entropies, gram_entropy, spectral_entropy
from infoplane.estimators.solver import Solver
from infoplane.reporting.tables import markdown
from infoplane.trainers.build import build_units
from infoplane.trainers.loop import Loop, Recipe, stages
from infoplane.trainers.methods import METHODS
from infoplane.trainers.optim import build_optimizer
from infoplane.trainers.settings import TrainingSettings
from infoplane.trainers.task import Task
from infoplane.verify import checks

ROOT = Path(__file__).resolve().parents[1]
CLASSES, FEATURES, LAYERS = 10, 64, 8
EIGHS, COMPARED_UP_TO = 6, 4000
LONG = 1.0  # seconds
TESTS = (
    "tests/test_kernels.py",
    "tests/entropy",
    "tests/estimators/test_solver.py",
    "tests/trainers/test_meter.py",
)


def now(device: str) -> float:
    """The time when all that was asked of the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds(work: Callable[[], object], device: str) -> float:
    """The shortest of three times, the first of which starts the libraries; long work is done once."""
    times: list[float] = []
    while len(times) < 3 and (not times or times[0] < LONG):
        begin = now(device)
        work()
        times.append(now(device) - begin)
    return min(times)


def check(device: str, small: bool) -> Iterator[dict[str, object]]:
    """One row for each kind of check."""
    for place in dict.fromkeys(("cpu", device)):
        done = list(checks(place))
        worst = max(abs(one.got - one.expected) for one in done)
        passed = f"{sum(one.ok for one in done)} of {len(done)}"
        yield {"check": f"infoplane verify, {place}", "passed": passed, "largest error [bit]": f"{worst:.1e}"}
    if small:
        return
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-k", "gpu or cuda or log_determinants", *TESTS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    last = tests.stdout.strip().splitlines()[-1:] or [f"exit code {tests.returncode}"]
    if tests.returncode:
        print(tests.stdout[-4000:])
    yield {"check": "tests that ask for a GPU", "passed": last[0], "largest error [bit]": "–"}


def entropies(device: str, small: bool) -> Iterator[dict[str, object]]:
    """One row for each number of samples and order."""
    for n in (60, 120) if small else (1000, 4000, 16000):
        generator = torch.Generator().manual_seed(n)
        points = torch.randn(2, n, FEATURES, generator=generator, dtype=torch.float64)
        solver, labels = Solver(device=device), np.arange(n) % CLASSES
        x, t = (solver.gram(condense(torch.cdist(one, one).numpy()), FEATURES**0.5) for one in points)
        yield from _orders(device, t, x * t * n, labels)


def _orders(device: str, gram: Tensor, joint: Tensor, labels: NDArray) -> Iterator[dict[str, object]]:
    n = len(gram)
    is_compared = n <= COMPARED_UP_TO
    six = EIGHS * seconds(lambda: torch.linalg.eigh(joint), device) if is_compared else math.nan
    values = seconds(lambda: torch.linalg.eigvalsh(joint), device) if is_compared else math.nan
    spectrum = torch.linalg.eigvalsh(joint / joint.diagonal().sum()).cpu().numpy() if is_compared else None

    def informations(alpha: float, dtype: str) -> tuple[float, ...]:
        blocks = class_joint_entropies(gram, [labels], alpha, dtype)
        return gram_entropy(joint, alpha, dtype), gram_entropy(gram, alpha, dtype), blocks[0]

    for alpha, dtype in ((1.0, "float64"), (1.01, "float64"), (1.01, "float32"), (2.0, "float64")):
        taken, value = seconds(partial(informations, alpha, dtype), device), informations(alpha, dtype)[0]
        error = math.nan if spectrum is None else abs(value - spectral_entropy(spectrum, alpha))
        yield {
            "n": n,
            "α": alpha,
            "precision": dtype,
            "ours [ms]": f"{1000 * taken:.1f}",
            "six eigh [ms]": f"{1000 * six:.0f}" if is_compared else "–",
            "one eigvalsh [ms]": f"{1000 * values:.1f}" if is_compared else "–",
            "ratio": f"{six / taken:.1f}" if is_compared else "–",
            "error of S(X,T) [bit]": f"{error:.1e}" if is_compared else "–",
        }


def record_layers(path: Path, n: int, snapshots: int) -> None:
    """A run file of a deep perceptron whose weights move at random."""
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.Tanh()) for _ in range(LAYERS)]
    model = nn.Sequential(*layers)
    inputs = torch.randn(n, FEATURES)
    # Classes that the inputs tell apart.
    labels = inputs[:, :CLASSES].argmax(1)
    with ip.Recorder(model, (inputs, labels), path, layers=[str(k) for k in range(LAYERS)], force=True) as recorder:
        for step in range(snapshots):
            recorder.snapshot(step)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter += 0.02 * torch.randn_like(parameter)


def plane(device: str, small: bool) -> Iterator[dict[str, object]]:
    """One row for each number of permutations and order."""
    n, snapshots = (60, 2) if small else (1000, 50)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.h5"
        record_layers(path, n, snapshots)
        for alpha, permutations in ((1.01, 2), (1.01, 10), (2.0, 10)):
            path.with_suffix(".estimates.csv").unlink(missing_ok=True)
            begin = now(device)
            rows = ip.estimate(path, device=device, alpha=alpha, permutations=permutations)
            taken = now(device) - begin
            yield {
                "layers × snapshots": f"{LAYERS} × {snapshots}",
                "n": n,
                "α": alpha,
                "permutations": permutations,
                "time [s]": f"{taken:.1f}",
                "rows ok": f"{(rows['status'] == 'ok').sum()} of {len(rows)}",
            }


VARIANTS: dict[str, dict[str, object]] = {
    "sgd": {},
    "sgd-checkpoint": {},
    "greedy-ce": {},
    "greedy-dib": {"loss_alpha": 1.01},
    "greedy-dib, α = 2": {"loss_alpha": 2.0},
    "predsim": {},
    "hsic": {},
    "phsic": {},
    "infopro": {},
    "forward-forward": {},
}


def noise(batch: int) -> Dataset:
    """Four batches of random images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4 * batch, 3, 32, 32), dtype=torch.uint8, generator=generator)
    split = Split(images, torch.arange(4 * batch) % CLASSES)
    return Dataset(
        DatasetSpec("noise", (3, 32, 32), CLASSES), split, split, torch.full((3,), 0.5), torch.ones(3) / 4
    )


def trained(variant: str, model: str, batch: int, amp: bool, steps: int, device: str) -> Loop:
    """Trains a network for so many steps on images of noise."""
    name = variant.split(",")[0]
    own = {"beta": (0.01,), **VARIANTS[variant]} if name == "greedy-dib" else {}
    settings = TrainingSettings(model=model, method=name, batch_size=batch, amp=amp, **own).resolved()
    dataset = noise(batch)
    torch.manual_seed(0)
    _, units = build_units(settings, Task(CLASSES), dataset.batch(dataset.train, slice(2), "cpu")[0])
    expand = settings.how.expand
    recipe = Recipe(
        optimizer=lambda parameters: build_optimizer(str(settings.optimizer), parameters, 1e-4, 0.9, 5e-4),
        lr=1e-4,
        lr_factor=lambda step: 1.0,
        batch_size=batch,
        seed=0,
        augment=augmentation("shift:4,flip"),
        expand=expand and (lambda x, y, generator: expand(x, y, Task(CLASSES), generator)),
        autocast=torch.bfloat16 if amp else None,
    )
    loop = Loop(
        [unit.to(device) for unit in units],
        stages("simultaneous", len(units), steps),
        recipe,
        dataset.to(device),
    )
    loop.run(lambda step: False, lambda: None, lambda: None)
    return loop


def training(device: str, small: bool) -> Iterator[dict[str, object]]:
    """One row for each method, batch and precision."""
    model = "vgg11" if device == "cuda" else "vgg6"  # vgg6 where it is only tried
    assert {variant.split(",")[0] for variant in VARIANTS} <= METHODS.keys()
    for batch in (16,) if small else (128, 512):
        rows: list[dict[str, object]] = []
        for variant in VARIANTS:
            for amp in (False, True) if variant == "sgd" else (True,):
                loop = trained(variant, model, batch, amp, 4 if small else 40, device)
                rate, cost = batch * loop.timed_steps / loop.seconds, loop.costs[0]
                rows.append({"rate": rate, "peak": cost.peak})
                yield {
                    "method": variant,
                    "batch": batch,
                    "precision": "bfloat16" if amp else "float32",
                    "images a second": f"{rate:,.0f}",
                    "of sgd's, float32": f"{100 * rate / rows[0]['rate']:.0f} %",  # type: ignore[operator]
                    "ms a step": f"{1000 * loop.seconds / loop.timed_steps:.2f}",
                    "peak [MiB]": f"{cost.peak / 2**20:.0f}",
                }


PARTS = {"Checks": check, "Training": training, "Entropies": entropies, "Plane": plane}


def main() -> None:
    """Measures part after part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--small", action="store_true", help="Sizes for a dry run.")
    parser.add_argument("--parts", default=",".join(PARTS), help="Which, in this order.")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    given = parser.parse_args()
    end = time.monotonic() + 60 * given.minutes
    name = torch.cuda.get_device_name() if given.device == "cuda" else platform.machine()
    text = (
        f"# On a GPU\n\n`python benchmarks/gpu.py`: {name}, torch {torch.__version__}, see the head of the file.\n"
    )
    for part in given.parts.split(","):
        rows: list[dict[str, object]] = []
        for row in PARTS[part](given.device, given.small):
            rows.append(row)
            print(part, row, flush=True)
            given.output.write_text(f"{text}\n## {part}\n\n{markdown(pd.DataFrame(rows))}\n", encoding="utf-8")
            if time.monotonic() > end:
                print("the time is over")
                return
        text += f"\n## {part}\n\n{markdown(pd.DataFrame(rows))}\n"


if __name__ == "__main__":
    main()
