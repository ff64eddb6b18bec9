"""What recording costs: time beside plain training, memory of one snapshot, bytes in the run file.

    python benchmarks/recording.py
    python benchmarks/recording.py --quick --csv recording.csv

The second part reads Linux's own memory counters; on other systems it is left out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from infoplane import Recorder
from infoplane.data import Dataset, DatasetSpec, Split, balanced_probe, load_dataset
from infoplane.kernels import squared_distances
from infoplane.layers import natural_layers
from infoplane.models import build_model
from infoplane.schedule import snapshot_steps
from infoplane.trainers.loop import Loop
from infoplane.trainers.optim import build_optimizer
from infoplane.trainers.record import RecordSettings, record
from infoplane.trainers.sgd import end_to_end

BATCH = 250  # samples of one forward pass, as in the recorder
MIB = 2**20
IMAGE = (3, 32, 32)
CIFAR_EPOCH = 50_000


@dataclass(frozen=True)
class Training:
    """A training whose recording is timed; `epoch_images` is the size of the epoch that is reported."""

    name: str
    model: str
    dataset: Dataset
    probe: int
    batch_size: int
    steps: int
    snapshots: int
    epoch_images: int

    def plain(self) -> float:
        """Seconds of the training without a recorder."""
        start = time.perf_counter()
        self._loop().run(self.steps, lambda: None)
        return time.perf_counter() - start

    def recorded(self, path: Path) -> tuple[float, float]:
        """Seconds of the training with a recorder, and of its snapshots among them."""
        start = time.perf_counter()
        loop, inside = self._loop(), 0.0
        plan = set(snapshot_steps(str(self.snapshots), self.steps, loop.steps_per_epoch))
        indices = balanced_probe(self.dataset.test.labels, self.probe, seed=0)
        probe = self.dataset.batch(self.dataset.test, indices, "cpu")

        def snapshot() -> None:
            nonlocal inside
            if loop.step in plan:
                began = time.perf_counter()
                recorder.snapshot(loop.step, loop.epoch)
                inside += time.perf_counter() - began

        with Recorder(loop.model, probe, path, force=True) as recorder:
            snapshot()
            loop.run(self.steps, snapshot)
        return time.perf_counter() - start, inside

    def _loop(self) -> Loop:
        torch.manual_seed(0)
        spec = self.dataset.spec
        model = build_model(self.model, spec.shape, spec.classes)
        return Loop(
            model=model,
            objective=end_to_end,
            optimizer=build_optimizer("sgd", model.parameters(), 0.01, 0.9, 5e-4),
            lr=0.01,
            lr_factor=lambda _step: 1.0,
            dataset=self.dataset,
            batch_size=self.batch_size,
            seed=0,
        )


def time_table(quick: bool) -> pd.DataFrame:
    """Wall time with recording over wall time without, the two measured in turn."""
    settings = RecordSettings(epochs=2 if quick else 30)
    digits, noise = load_dataset("digits", Path("data")), random_images(512 if quick else 2560)
    per_epoch = -(-len(digits.train) // settings.batch_size)
    cnn = Training(
        "CNN, digits",
        settings.model,
        digits,
        settings.probe_size,
        settings.batch_size,
        settings.epochs * per_epoch,
        int(settings.snapshots),
        len(digits.train),
    )
    vgg = Training(
        "VGG-11, 32×32 images",
        "vgg11",
        noise,
        *((100, 64, 4, 2) if quick else (1000, 128, 40, 3)),
        epoch_images=CIFAR_EPOCH,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.h5"

        def command() -> tuple[float, float]:
            start = time.perf_counter()
            record(settings, path, force=True)
            return time.perf_counter() - start, float("nan")

        return pd.DataFrame(
            [
                *overhead(cnn, {"recorder": lambda: cnn.recorded(path), "infoplane record": command}, quick),
                *overhead(vgg, {"recorder": lambda: vgg.recorded(path)}, quick),
            ]
        )


def overhead(
    training: Training, variants: dict[str, Callable[[], tuple[float, float]]], quick: bool
) -> list[dict[str, object]]:
    """One row per variant; plain training and the variants take turns, so that a busy machine slows all alike."""
    repetitions = 2 if quick else 5 if training.model == "cnn" else 3
    training.plain()  # the first run warms up threads and memory
    plain: list[float] = []
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for _ in range(repetitions):
        plain.append(training.plain())
        for name, run in variants.items():
            found[name].append(run())
    epoch = statistics.median(plain) / training.steps * training.epoch_images / training.batch_size
    rows = []
    for name, runs in found.items():
        ratios = [total / base for (total, _), base in zip(runs, plain, strict=True)]
        snapshot = statistics.median(inside for _, inside in runs) / training.snapshots
        rows.append(
            {
                "training": training.name,
                "with": name,
                "probe": training.probe,
                "steps": training.steps,
                "snapshots": training.snapshots,
                "plain [s]": statistics.median(plain),
                "recorded [s]": statistics.median(total for total, _ in runs),
                "ratio": statistics.median(ratios),
                "least": min(ratios),
                "most": max(ratios),
                "snapshot [s]": snapshot,
                "epoch [s]": epoch,
                "40 in 30 epochs [%]": 100 * 40 * snapshot / (30 * epoch),
            }
        )
    return rows


def memory_table(quick: bool) -> pd.DataFrame:
    """Peak memory of one snapshot beyond what stood before it, each case in a process of its own."""
    n = 300 if quick else 1000
    sizes = [4 * n * features / MIB for features in layer_features("vgg16")]
    peaks = {
        "largest layer's activations": max(sizes),
        "all layers' activations": sum(sizes),
        "one n × n matrix, float64": 8 * n * n / MIB,
        f"measured: forward passes of {BATCH}, nothing kept": measure("forward", n),
        "measured: recorder.snapshot": measure("recorder", n),
        "measured: all layers kept at once": measure("naive", n),
    }
    rows = [
        {"case": case, "probe": n, "memory [MiB]": peak, "in largest layers": peak / max(sizes)}
        for case, peak in peaks.items()
    ]
    return pd.DataFrame(rows)


def measure(case: str, n: int) -> float:
    """Peak extra memory of a case in MiB, the median of three fresh processes."""
    command = [sys.executable, __file__, "--memory-case", case, str(n)]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(3)]
    return statistics.median(float(run.stdout) for run in runs)


def memory_case(case: str, n: int) -> float:
    """What a fresh process measures: MiB at the peak beyond what stood before."""
    model, probe = build_model("vgg16", IMAGE, 10), random_probe(n)
    with tempfile.TemporaryDirectory() as folder, Recorder(model, probe, Path(folder) / "run.h5") as recorder:
        cases: dict[str, Callable[[], object]] = {
            "forward": lambda: forward(model, probe[0]),
            "recorder": lambda: recorder.snapshot(0),
            "naive": lambda: keep_all(model, probe[0], [layer.name for layer in recorder.layers]),
        }
        # getrusage would not do: its maximum cannot be reset, and a process inherits that of its parent.
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
        cases[case]()
        return resident("VmHWM") - before


def resident(field: str) -> float:
    """Resident memory of this process in MiB: VmRSS now, VmHWM at its highest."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith(field))


def forward(model: nn.Module, inputs: Tensor) -> None:
    model.eval()
    with torch.no_grad():
        for batch in inputs.split(BATCH):
            model(batch)


def keep_all(model: nn.Module, inputs: Tensor, layers: list[str]) -> None:
    """The recorder that one would write first: one pass that keeps every layer, then all the distances."""
    kept: dict[str, list[Tensor]] = {name: [] for name in layers}
    for name in layers:
        model.get_submodule(name).register_forward_hook(lambda _m, _i, out, name=name: kept[name].append(out))
    forward(model, inputs)
    for parts in kept.values():
        squared_distances(torch.cat(parts))


def bytes_table(quick: bool) -> pd.DataFrame:
    """Growth of the run file by one snapshot against the raw activations in float32."""
    torch.manual_seed(0)
    digits = load_dataset("digits", Path("data"))
    indices = balanced_probe(digits.test.labels, 100 if quick else 500, seed=0)
    cnn = build_model("cnn", digits.spec.shape, 10), digits.batch(digits.test, indices, "cpu")
    vgg = build_model("vgg16", IMAGE, 10)
    cases = [("CNN, digits", *cnn, keep) for keep in ("auto", "activations", "distances")]
    cases += [("VGG-16, random", vgg, random_probe(200), keep) for keep in ("auto", "activations", "distances")]
    if not quick:
        cases += [("VGG-16, random", vgg, random_probe(1000), keep) for keep in ("auto", "distances")]
    return pd.DataFrame([bytes_row(*case) for case in cases])


def bytes_row(name: str, model: nn.Module, probe: tuple[Tensor, Tensor], keep: str) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.h5"
        with Recorder(model, probe, path, keep=keep) as recorder:
            empty = path.stat().st_size
            recorder.snapshot(0)
            features = [layer.features for layer in recorder._writer.layers]
        stored = path.stat().st_size - empty
    n = len(probe[1])
    raw = sum(4 * n * d for d in features)
    return {
        "network": name,
        "probe": n,
        "keep": keep,
        "snapshot [MiB]": stored / MIB,
        "raw activations [MiB]": raw / MIB,
        "share [%]": 100 * stored / raw,
        "compressed to [%]": 100 * stored / sum(4 * values(keep, n, d) for d in features),
    }


def values(keep: str, n: int, features: int) -> float:
    """Number of values that the recorder stores of one layer."""
    pairs = n * (n - 1) / 2
    return {"activations": n * features, "distances": pairs, "auto": min(n * features, pairs)}[keep]


def layer_features(name: str) -> list[int]:
    layers = natural_layers(build_model(name, IMAGE, 10), torch.zeros(2, *IMAGE))
    return [torch.Size(layer.shape).numel() for layer in layers]


def random_images(count: int) -> Dataset:
    """Images of noise with ten classes: enough where only time and memory count."""
    generator = torch.Generator().manual_seed(0)

    def split(size: int) -> Split:
        images = torch.randint(256, (size, *IMAGE), dtype=torch.uint8, generator=generator)
        return Split(images, torch.arange(size) % 10)

    return Dataset(
        DatasetSpec("random", IMAGE, 10), split(count), split(1000), torch.full((3,), 0.5), torch.full((3,), 0.3)
    )


def random_probe(n: int) -> tuple[Tensor, Tensor]:
    return torch.randn(n, *IMAGE, generator=torch.Generator().manual_seed(0)), torch.arange(n) % 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it runs, not what it costs")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write all numbers, one a row")
    parser.add_argument("--memory-case", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_case:
        print(memory_case(options.memory_case[0], int(options.memory_case[1])))
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {os.cpu_count()} CPU cores")
    parts = {"time beside plain training": time_table, "bytes of a snapshot in the run file": bytes_table}
    if sys.platform == "linux":
        parts["peak memory of a snapshot, VGG-16"] = memory_table
    long = []
    for title, part in parts.items():
        table = part(options.quick)
        print(f"\n{title}\n{table.to_string(index=False, float_format='{:.2f}'.format, na_rep='')}", flush=True)
        words = list(table.select_dtypes(exclude="number"))
        long.append(table.melt(id_vars=words, var_name="quantity").assign(part=title))
    if options.csv:
        pd.concat(long, ignore_index=True).to_csv(options.csv, index=False)


if __name__ == "__main__":
    main()
