"""What recording costs: time beside plain training, memory of one snapshot, bytes in the run file.

    python benchmarks/recording.py
    python benchmarks/recording.py --quick --csv recording.csv
    python benchmarks/recording.py --filters RUN.h5

The second part reads Linux's own memory counters; on other systems it is left out.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from infoplane import Recorder
from infoplane.data import Dataset, DatasetSpec, Split, balanced_probe, load_dataset
from infoplane.kernels import squared_distances
from infoplane.models import build_model
from infoplane.recording.layers import Layer, natural_layers
from infoplane.recording.schedule import log_spaced
from infoplane.runfile.chunks import FILTERS, chunk_shape, write_array
from infoplane.trainers.build import end_to_end
from infoplane.trainers.loop import Loop, Recipe, count_steps, stages
from infoplane.trainers.meter import forget_peak_rss
from infoplane.trainers.optim import build_optimizer
from infoplane.trainers.session import record
from infoplane.trainers.settings import TrainingSettings
from infoplane.trainers.task import Task

BATCH = 100  # samples of one forward pass, as in the recorder
MIB = 2**20
IMAGE = (3, 32, 32)
CIFAR_EPOCH = 50_000


@dataclass(frozen=True)
class Training:
    """A training whose recording is timed; the epoch that is reported has `epoch_images` images."""

    name: str
    model: str
    dataset: Dataset
    probe: int
    batch_size: int
    steps: int
    snapshots: int
    epoch_images: int

    @property
    def plan(self) -> list[int]:
        """Steps of the snapshots."""
        return log_spaced(self.steps, self.snapshots)

    def plain(self) -> float:
        """Seconds of the training without a recorder."""
        start = time.perf_counter()
        self._loop().run(lambda step: False, lambda: None, lambda: None)
        return time.perf_counter() - start

    def recorded(self, path: Path) -> tuple[float, float]:
        """Seconds of the training with a recorder, and of its snapshots among them."""
        start = time.perf_counter()
        loop, plan, inside = self._loop(), self.plan, 0.0
        indices = balanced_probe(self.dataset.test.labels, self.probe, seed=0)
        probe = self.dataset.batch(self.dataset.test, indices, "cpu")

        def snapshot() -> None:
            nonlocal inside
            began = time.perf_counter()
            recorder.snapshot(loop.step, loop.epoch)
            inside += time.perf_counter() - began

        with Recorder(loop.units[0].block, probe, path, force=True) as recorder:
            snapshot()
            loop.run(lambda step: step in plan, snapshot, lambda: None)
        return time.perf_counter() - start, inside

    def _loop(self) -> Loop:
        torch.manual_seed(0)
        spec = self.dataset.spec
        model = build_model(self.model, spec.shape, spec.classes)
        recipe = Recipe(
            optimizer=lambda parameters: build_optimizer("sgd", parameters, 0.01, 0.9, 5e-4),
            lr=0.01,
            lr_factor=lambda _step: 1.0,
            batch_size=self.batch_size,
            seed=0,
        )
        units = end_to_end(model, Task(spec.classes))
        return Loop(units, stages("simultaneous", 1, self.steps), recipe, self.dataset)


def time_table(quick: bool) -> pd.DataFrame:
    """Wall time with recording over wall time without, the two measured in turn."""
    settings = TrainingSettings(epochs=2 if quick else 30).resolved()
    digits = load_dataset("digits", Path("data"))
    cnn = Training(
        name="CNN, digits",
        model=settings.model,
        dataset=digits,
        probe=settings.probe_size,
        batch_size=settings.batch_size,
        steps=settings.epochs * count_steps(len(digits.train), settings.batch_size),
        snapshots=int(settings.snapshots),
        epoch_images=len(digits.train),
    )
    vgg = Training(
        name="VGG-11, noise",
        model="vgg11",
        dataset=noise_images(2560),
        probe=100 if quick else 1000,
        batch_size=128,
        steps=3 if quick else 40,
        snapshots=2 if quick else 3,
        epoch_images=CIFAR_EPOCH,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.h5"

        def command() -> tuple[float, float]:
            start = time.perf_counter()
            record(settings, path, force=True)
            return time.perf_counter() - start, float("nan")

        rows = overhead(
            cnn, {"Recorder": lambda: cnn.recorded(path), "infoplane record": command}, 2 if quick else 7
        )
        rows += overhead(vgg, {"Recorder": lambda: vgg.recorded(path)}, 1 if quick else 3)
    return pd.DataFrame(rows)


def overhead(
    training: Training, variants: dict[str, Callable[[], tuple[float, float]]], repetitions: int
) -> list[dict[str, object]]:
    """One row per variant; plain training and the variants take turns, so that a busy machine slows all alike."""
    training.plain()  # the first run of a process is slower
    plain: list[float] = []
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for _ in range(repetitions):
        plain.append(training.plain())
        for name, run in variants.items():
            runs[name].append(run())
    return [overhead_row(training, name, plain, found) for name, found in runs.items()]


def overhead_row(
    training: Training, name: str, plain: list[float], runs: list[tuple[float, float]]
) -> dict[str, object]:
    ratios = [total / base for (total, _), base in zip(runs, plain, strict=True)]
    snapshot = statistics.median(inside for _, inside in runs) / len(training.plan)
    epoch = statistics.median(plain) / training.steps * training.epoch_images / training.batch_size
    return {
        "training": training.name,
        "with": name,
        "snapshots": f"{len(training.plan)} in {training.steps} steps",
        "probe": training.probe,
        "plain [s]": statistics.median(plain),
        "recorded [s]": statistics.median(total for total, _ in runs),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "a snapshot [s]": snapshot,
        "an epoch [s]": epoch,
        "40 in 30 epochs [%]": 100 * 40 * snapshot / (30 * epoch),
    }


def memory_table(quick: bool) -> pd.DataFrame:
    """Peak memory of one snapshot beyond what stood before it, each case in a process of its own."""
    n, repetitions = (300, 1) if quick else (1000, 5)
    layers = natural_layers(build_model("vgg16", IMAGE, 10), torch.zeros(2, *IMAGE))
    sizes = [4 * n * features(layer) / MIB for layer in layers]
    peaks = {
        "largest layer's activations": max(sizes),
        "all layers' activations": sum(sizes),
        "one n × n matrix, float64": 8 * n * n / MIB,
        f"measured: forward passes of {BATCH}, nothing kept": measure("forward", n, repetitions),
        "measured: recorder.snapshot": measure("recorder", n, repetitions),
        "measured: all layers kept at once": measure("naive", n, repetitions),
    }
    rows = [
        {"case": case, "probe": n, "memory [MiB]": peak, "in largest layers": peak / max(sizes)}
        for case, peak in peaks.items()
    ]
    return pd.DataFrame(rows)


def measure(case: str, n: int, repetitions: int) -> float:
    """Peak extra memory of a case in MiB, the median over fresh processes."""
    command = [sys.executable, __file__, "--memory-case", case, str(n)]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(repetitions)]
    return statistics.median(float(run.stdout) for run in runs)


def memory_case(case: str, n: int) -> float:
    """What a fresh process measures: MiB at the peak beyond what stood before."""
    model, probe = build_model("vgg16", IMAGE, 10), noise_probe(n)
    with tempfile.TemporaryDirectory() as folder, Recorder(model, probe, Path(folder) / "run.h5") as recorder:
        cases: dict[str, Callable[[], object]] = {
            "forward": lambda: forward(model, probe[0]),
            "recorder": lambda: recorder.snapshot(0),
            "naive": lambda: keep_all(model, probe[0], [layer.name for layer in recorder.layers]),
        }
        if not forget_peak_rss():
            raise SystemExit("this platform begins no new peak of memory; run it on Linux")
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


def size_table(quick: bool) -> pd.DataFrame:
    """Growth of the run file by one snapshot against the raw activations in float32."""
    torch.manual_seed(0)
    digits = load_dataset("digits", Path("data"))
    indices = balanced_probe(digits.test.labels, 100 if quick else 500, seed=0)
    cnn = build_model("cnn", digits.spec.shape, 10), digits.batch(digits.test, indices, "cpu")
    vgg = build_model("vgg16", IMAGE, 10)
    cases = [("CNN, digits", *cnn, keep) for keep in ("auto", "activations", "distances")]
    cases += [("VGG-16, noise", vgg, noise_probe(200), keep) for keep in ("auto", "activations", "distances")]
    if not quick:
        cases += [("VGG-16, noise", vgg, noise_probe(1000), keep) for keep in ("auto", "distances")]
    return pd.DataFrame([size_row(*case) for case in cases])


def size_row(name: str, model: nn.Module, probe: tuple[Tensor, Tensor], keep: str) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.h5"
        with Recorder(model, probe, path, keep=keep) as recorder:
            empty = path.stat().st_size
            recorder.snapshot(0)
            sizes = [features(layer) for layer in recorder.layers]
        stored = path.stat().st_size - empty
    n = len(probe[1])
    raw = sum(4 * n * d for d in sizes)
    return {
        "network": name,
        "probe": n,
        "keep": keep,
        "snapshot [MiB]": stored / MIB,
        "raw activations [MiB]": raw / MIB,
        "share [%]": 100 * stored / raw,
        "compressed to [%]": 100 * stored / sum(4 * values(keep, n, d) for d in sizes),
    }


def filter_table(run: Path) -> pd.DataFrame:
    """Processor time and size of what the snapshots of a run hold, written with other filters."""
    kinds: dict[str, list[NDArray]] = {}
    with h5py.File(run) as file:
        for data in (data for slot in file["snapshots"].values() for data in slot.values() if "kind" in data.attrs):
            array = data[...]
            sparse = data.attrs["kind"] == "activations" and (array == 0).mean() > 0.1
            kinds.setdefault(f"{data.attrs['kind']}{' with zeros' if sparse else ''}", []).append(array)
    filters: dict[str, dict[str, object]] = {
        "none": {},
        "gzip 1": {"compression": "gzip", "compression_opts": 1},
        "shuffle, gzip 1": FILTERS,
        "shuffle, gzip 4": FILTERS | {"compression_opts": 4},
    }
    rows = []
    for kind, arrays in kinds.items():
        raw = sum(array.nbytes for array in arrays) / MIB
        for name in (*filters, "as written"):
            seconds, size = stored(arrays, filters.get(name))
            row = {"kind": kind, "arrays": len(arrays), "raw [MiB]": raw, "filters": name}
            rows.append(row | {"ms per MiB": 1e3 * seconds / raw, "compressed to [%]": 100 * size / MIB / raw})
    return pd.DataFrame(rows)


def stored(arrays: list[NDArray], filters: dict[str, object] | None, repetitions: int = 3) -> tuple[float, int]:
    """Least processor seconds, and bytes of the chunks; with the filters, or as the recorder writes."""
    seconds = math.inf
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory() as folder, h5py.File(Path(folder) / "file.h5", "w") as file:
            start = time.process_time()
            for number, array in enumerate(arrays):
                chunks = chunk_shape(array.shape, array.itemsize)
                if filters is None:
                    write_array(file, str(number), array, chunks)
                else:
                    file.create_dataset(str(number), data=array, chunks=chunks, **filters)
            file.flush()
            seconds = min(seconds, time.process_time() - start)
            size = sum(data.id.get_storage_size() for data in file.values())
    return seconds, size


def values(keep: str, n: int, d: int) -> float:
    """Number of values that the recorder stores of one layer."""
    pairs = n * (n - 1) / 2
    return {"activations": n * d, "distances": pairs, "auto": min(n * d, pairs)}[keep]


def features(layer: Layer) -> int:
    return torch.Size(layer.shape).numel()


def noise_images(count: int) -> Dataset:
    """Images of noise with ten classes: enough where only time and memory count."""
    generator = torch.Generator().manual_seed(0)

    def split(size: int) -> Split:
        images = torch.randint(256, (size, *IMAGE), dtype=torch.uint8, generator=generator)
        return Split(images, torch.arange(size) % 10)

    return Dataset(
        DatasetSpec("noise", IMAGE, 10), split(count), split(1000), torch.full((3,), 0.5), torch.full((3,), 0.3)
    )


def noise_probe(n: int) -> tuple[Tensor, Tensor]:
    return torch.randn(n, *IMAGE, generator=torch.Generator().manual_seed(0)), torch.arange(n) % 10


PARTS = {
    "time": ("Time beside plain training", time_table),
    "memory": ("Peak memory of a snapshot of VGG-16", memory_table),
    "size": ("Size of a snapshot in the run file", size_table),
}
if sys.platform != "linux":
    del PARTS["memory"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it runs, not what it costs")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write all numbers, one a row")
    parser.add_argument("--filters", type=Path, metavar="RUN.h5", help="only: other filters on what a run holds")
    parser.add_argument("--memory-case", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; may be repeated")
    options = parser.parse_args()
    if options.memory_case:
        print(memory_case(options.memory_case[0], int(options.memory_case[1])))
        return
    if options.filters:
        print(filter_table(options.filters).to_string(index=False, float_format="{:.1f}".format))
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {os.cpu_count()} CPU cores")
    tables = []
    for name in options.part or PARTS:
        title, part = PARTS[name]
        table = part(options.quick)
        print(f"\n{title}\n{table.to_string(index=False, float_format='{:.2f}'.format, na_rep='')}", flush=True)
        words = list(table.select_dtypes(exclude="number"))
        tables.append(table.melt(id_vars=words, var_name="quantity").assign(part=name))
    if options.csv:
        pd.concat(tables, ignore_index=True).to_csv(options.csv, index=False)


if __name__ == "__main__":
    main()
