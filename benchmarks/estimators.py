"""How fast the estimators are, and how exact: side by side in one run on real activations.

    python benchmarks/estimators.py --n 1000
    python benchmarks/estimators.py --n 4000 --snapshots 1 --data cifar10 --data-root DIR --csv estimators.csv
    python benchmarks/estimators.py --n 10000 --layers 2 --snapshots 1 --eighs 1 --alpha 1.01 --data cifar10

An item is one layer at one snapshot; all ways take the same items and yield I(X;T) and I(T;Y). The yardstick is the
computation as published codes do it: distances by `cdist` and six float64 `torch.linalg.eigh` (three for each
information), on all threads. Ours work on one item per core and compute S(X) and S(Y) once per run of 8 layers × 50
snapshots; that time is shared out. Bandwidths (median distance) are found before the clock starts. `ratio` counts
distances on both sides; `ratio, distances stored` leaves them out on both sides, as `infoplane estimate` finds them
in a run file that keeps distances. A subset of the items is measured; times are means over it, and the yardstick's
over the first item before ours and the last one after. The floor is 4/3 n³ operations, the tridiagonal reduction,
at the measured rate of matrix products on all threads; `where the time goes` is measured with one item at a time.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from infoplane.condensed import condense
from infoplane.data import balanced_probe, load_dataset
from infoplane.device import cores
from infoplane.entropy import Interval, class_entropy, entropy_with_gradient, mutual_information
from infoplane.entropy.exact import delta_classes
from infoplane.entropy.solvers import fastest
from infoplane.estimators.renyi import SHARE_T, SHARE_X
from infoplane.estimators.solver import Solver
from infoplane.kernels import gram_matrix, label_gram, multiply_kernel, squared_distances
from infoplane.models import build_model
from infoplane.recording.layers import eval_mode, natural_layers, tensor_of
from infoplane.trainers.build import end_to_end
from infoplane.trainers.loop import Loop, Recipe, stages
from infoplane.trainers.optim import build_optimizer
from infoplane.trainers.task import Task

RUN = 8 * 50  # layers × snapshots of the run that the work per run is shared out over
STEPS = 40  # of training between two snapshots
TOLERANCE = 5e-3  # bits, of the approximate informations
CORES = cores()
Informations = tuple[float, float]  # I(X;T) and I(T;Y), bits


@cache
def floor_seconds(n: int) -> float:
    """4/3 n³ at the best rate of float64 matrix products on all threads."""
    a = torch.randn(min(n, 2000), min(n, 2000), dtype=torch.float64)
    seconds = math.inf
    for _ in range(5):
        start = time.perf_counter()
        torch.mm(a, a)
        seconds = min(seconds, time.perf_counter() - start)
    return 4 / 3 * n**3 * seconds / (2 * len(a) ** 3)


@dataclass(frozen=True)
class Variable:
    """Samples of X or of a layer at a snapshot: values (n, d), condensed distances and bandwidth."""

    name: str
    values: Tensor
    distances: NDArray
    sigma: float

    @classmethod
    def of(cls, name: str, values: Tensor) -> Variable:
        distances = condensed_distances(values)
        return cls(name, values, distances, float(np.median(distances)))

    def gram(self) -> Tensor:
        return Solver().gram(self.distances, self.sigma)


def condensed_distances(values: Tensor) -> NDArray:
    return np.sqrt(condense(squared_distances(values).numpy()))


@dataclass(frozen=True)
class Probe:
    """Inputs and labels."""

    x: Variable
    labels: Tensor


def collect(n: int, data: str, root: Path, layers: int, snapshots: int) -> tuple[Probe, list[Variable]]:
    """Activations of the project's CNN at initialisation and while it trains, evenly spread layers."""
    torch.manual_seed(0)
    dataset = load_dataset(data, root)
    split = dataset.train if n > len(dataset.test) else dataset.test
    inputs, labels = dataset.batch(split, balanced_probe(split.labels, n, seed=0), "cpu")
    model = build_model("cnn", dataset.spec.shape, dataset.spec.classes)
    recipe = Recipe(
        lambda parameters: build_optimizer("sgd", parameters, 0.05, 0.9, 5e-4), 0.05, lambda _step: 1.0, 128, 0
    )
    plan = stages("simultaneous", 1, (snapshots - 1) * STEPS)
    loop = Loop(end_to_end(model, Task(dataset.spec.classes)), plan, recipe, dataset)
    found = natural_layers(model, inputs[:2])
    places = np.linspace(0, len(found) - 1, min(layers, len(found)))
    chosen = [found[round(info)].name for info in places]
    items = []

    def take() -> None:
        for name in chosen:
            items.append(Variable.of(f"{name}@{loop.step}", activations(model, name, inputs)))

    take()
    loop.run(lambda step: step % STEPS == 0, take, lambda: None)
    return Probe(Variable.of("X", inputs.flatten(1)), labels), items


@torch.no_grad()
def activations(model: torch.nn.Module, layer: str, inputs: Tensor) -> Tensor:
    kept: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(
        lambda _m, _i, out: kept.append(tensor_of(out).clone())
    )
    with eval_mode(model):
        for batch in inputs.split(250):
            model(batch)
    handle.remove()
    return torch.cat(kept).flatten(1)


def yardstick(a: Tensor, item: Variable, labels: Tensor, alphas: list[float]) -> list[Informations]:
    """Six eigendecompositions, as published codes do it; every order from the same ones, which takes no time."""

    def spectra(a: Tensor, b: Tensor) -> list[Tensor]:
        return [torch.linalg.eigh(c)[0].clamp(min=1e-300) for c in (a, b, a * b / (a * b).trace())]

    def information(values: list[Tensor], alpha: float) -> float:
        if alpha == 1:
            entropies = [float(-(v * v.log2()).sum()) for v in values]
        else:
            entropies = [float((v**alpha).sum().log2() / (1 - alpha)) for v in values]
        return entropies[0] + entropies[1] - entropies[2]

    b = item.gram()
    of_x, of_y = spectra(a, b), spectra(b, label_gram(labels))
    return [(information(of_x, alpha), information(of_y, alpha)) for alpha in alphas]


def timed_yardstick(
    probe: Probe, item: Variable, alphas: list[float], eighs: int
) -> tuple[float, list[Informations]]:
    """Seconds without distances, and the values; with fewer than six decompositions their time is scaled up."""
    a = probe.x.gram()
    torch.linalg.eigh(a[:64, :64])  # starts its threads before the clock
    start = time.perf_counter()
    if eighs == 6:
        values = yardstick(a, item, probe.labels, alphas)
        return time.perf_counter() - start, values
    for _ in range(eighs):
        torch.linalg.eigh(item.gram())
    return (time.perf_counter() - start) * 6 / eighs, []


@dataclass(frozen=True)
class Way:
    """How `infoplane estimate` gets both informations of a layer, with what it computes once per run."""

    solver: Solver
    probe: Probe
    entropy_x: Interval
    entropy_y: float

    @classmethod
    def of(cls, solver: Solver, probe: Probe) -> Way:
        room = SHARE_X * solver.tolerance
        return cls(solver, probe, solver.entropy(probe.x.gram(), room), class_entropy(probe.labels, solver.alpha))

    def informations(self, item: Variable) -> Informations:
        solver, gram = self.solver, item.gram()
        s_t = solver.entropy(gram, SHARE_T * solver.tolerance, 1)
        left = solver.tolerance - s_t.halfwidth
        s_ty = solver.class_joint_entropies(gram, [self.probe.labels.numpy()], [left], 2)[0]
        multiply_kernel(gram, self.probe.x.distances, self.probe.x.sigma)
        s_xt = solver.entropy(gram, left - self.entropy_x.halfwidth, 3)
        s_x, s_y = self.entropy_x.value, self.entropy_y
        return s_x + s_t.value - s_xt.value, s_y + s_t.value - s_ty.value


def spread(function: Callable[[Variable], Any], items: list[Variable]) -> tuple[float, list[Any]]:
    """Seconds per item with an item per core, and what the function gives."""
    with threadpool_limits(1), ThreadPoolExecutor(CORES, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        torch.set_num_threads(1)
        try:
            start = time.perf_counter()
            values = list(pool.map(function, items))
            return (time.perf_counter() - start) / len(items), values
        finally:
            torch.set_num_threads(CORES)


def distance_seconds(items: list[Variable]) -> tuple[float, float]:
    """Seconds per item of the distances: by `cdist` on all threads, and ours with an item per core."""
    start = time.perf_counter()
    for item in items:
        torch.cdist(item.values.double(), item.values.double())
    theirs = (time.perf_counter() - start) / len(items)
    return theirs, spread(lambda item: condensed_distances(item.values).shape, items)[0]


@dataclass(frozen=True)
class Timed:
    """Seconds of one way per item without distances, and the informations of every item."""

    alpha: float
    way: str
    seconds: float
    values: list[Informations]


def measure(probe: Probe, items: list[Variable], alpha: float) -> list[Timed]:
    """All our ways, the exact one in float64 first."""
    ways = {"exact float64": Solver(alpha)}
    if alpha != 2:
        ways["exact float32"] = Solver(alpha, dtype="float32")
        ways["approximate"] = Solver(alpha, tolerance=TOLERANCE)
    found = []
    for name, solver in ways.items():
        start = time.perf_counter()
        way = Way.of(solver, probe)
        shared = (time.perf_counter() - start) / RUN
        own, values = spread(way.informations, items)
        found.append(Timed(alpha, name, own + shared, values))
    return found


def table(n: int, yard: Timed, ours: list[Timed], distances: tuple[float, float]) -> list[dict[str, object]]:
    """A row per way: seconds per item, ratios to the yardstick, largest error.

    Errors are those of "exact float64" against the yardstick, where that has values (of the first and the last
    item), and of the other ways against "exact float64".
    """
    rows = []
    for timed in [yard, *ours]:
        wanted = yard.values if timed is ours[0] else ours[0].values
        values = [timed.values[0], timed.values[-1]] if timed is ours[0] else timed.values
        errors = [float(np.abs(np.subtract(a, b)).max()) for a, b in zip(values, wanted, strict=False)]
        far = distances[timed is not yard]
        rows.append(
            {
                "n": n,
                "α": timed.alpha,
                "way": timed.way,
                "distances [s]": far,
                "the rest [s]": timed.seconds,
                "ratio": (yard.seconds + distances[0]) / (timed.seconds + far),
                "ratio, distances stored": yard.seconds / timed.seconds,
                "the rest in floors": timed.seconds / floor_seconds(n),
                "largest error [bit]": max(errors, default=math.nan) if timed is not yard else math.nan,
            }
        )
    return rows


def parts(probe: Probe, item: Variable, alpha: float) -> pd.DataFrame:
    """Where the time of one item goes, on one thread; beside it the floor on one thread."""
    gram, joint, n = item.gram(), item.gram(), len(probe.labels)
    multiply_kernel(joint, probe.x.distances, probe.x.sigma)
    exact, rough = Solver(alpha), Solver(alpha, tolerance=TOLERANCE)
    room = SHARE_T * TOLERANCE
    work: dict[str, Callable[[], object]] = {
        f"distances, {item.values.shape[1]} features": lambda: condensed_distances(item.values),
        "Gram matrix of T": item.gram,
        "times the kernel of X": lambda: multiply_kernel(gram.clone(), probe.x.distances, probe.x.sigma),
        "S(T), float64": lambda: exact.entropy(gram),
        "S(T), float32": lambda: Solver(alpha, dtype="float32").entropy(gram),
        "S(T), approximate": lambda: rough.entropy(gram, room),
        "S(X,T), float64": lambda: exact.entropy(joint),
        "S(X,T), approximate": lambda: rough.entropy(joint, room),
        "S(T,Y)": lambda: exact.class_joint_entropies(gram, [probe.labels.numpy()], [math.inf]),
    }
    rows = []
    with threadpool_limits(1):
        torch.set_num_threads(1)
        for name, function in work.items():
            start = time.perf_counter()
            function()
            seconds = time.perf_counter() - start
            rows.append(
                {"n": n, "part": name, "s": seconds, "in floors of one core": seconds / (CORES * floor_seconds(n))}
            )
        torch.set_num_threads(CORES)
    return pd.DataFrame(rows)


def least_seconds(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The least time of each way, which take turns."""
    best = dict.fromkeys(ways, math.inf)
    for _ in range(repeats):
        for way, function in ways.items():
            start = time.perf_counter()
            function()
            best[way] = min(best[way], time.perf_counter() - start)
    return best


def loss_table(n: int = 512, repeats: int = 5) -> pd.DataFrame:
    """Forward and backward of I(X;T) in float32: three autograd `eigh` against the closed-form gradient."""
    torch.manual_seed(0)
    x, t = torch.randn(n, 64), torch.randn(n, 64, requires_grad=True)

    def gram(v: Tensor) -> Tensor:
        return torch.exp(-(torch.cdist(v, v) ** 2) / 128) / n

    def plain(a: Tensor, alpha: float) -> Tensor:
        return torch.log2((torch.linalg.eigh(a)[0].clamp(min=1e-12) ** alpha).sum()) / (1 - alpha)

    a = gram(x)
    rows = []
    for alpha in (1.01, 2.0):
        cached = entropy_with_gradient(a, alpha)

        def naive(alpha: float = alpha) -> Tensor:
            b = gram(t)
            return plain(a, alpha) + plain(b, alpha) - plain(a * b * n, alpha)

        def ours(alpha: float = alpha, cached: Tensor = cached) -> Tensor:
            b = gram(t)
            return cached + entropy_with_gradient(b, alpha) - entropy_with_gradient(a * b * n, alpha)

        best = least_seconds(
            {
                "naive": lambda naive=naive: torch.autograd.grad(naive(), t),
                "ours": lambda ours=ours: torch.autograd.grad(ours(), t),
            },
            repeats,
        )
        rows.append({"α": alpha, "three eigh [ms]": 1e3 * best["naive"], "closed form [ms]": 1e3 * best["ours"]})
        rows[-1]["ratio"] = best["naive"] / best["ours"]
    return pd.DataFrame(rows)


def pair_table(sizes: list[int], repeats: int = 3) -> pd.DataFrame:
    """One pair of variables through the public function, on all threads on both sides.

    The yardstick is what published codes do for it: the spectra of both matrices and of their product, some by
    `torch.linalg.eigh`, others by `torch.linalg.eigvalsh`, in float64.
    """

    def spectra(decompose: Callable[[Tensor], object], a: Tensor, b: Tensor) -> list[object]:
        return [decompose(c) for c in (a, b, a * b * len(a))]

    rows = []
    for n in sizes:
        rng = np.random.default_rng(0)
        x, labels = torch.from_numpy(rng.standard_normal((n, 64))), torch.from_numpy(rng.integers(10, size=n))
        t = torch.relu(x @ torch.from_numpy(rng.standard_normal((64, 32))))
        gram_x, gram_t, gram_y = gram_matrix(x), gram_matrix(t), label_gram(labels)
        if delta_classes(gram_y) is None:
            raise RuntimeError("the kernel of the labels is not noticed")
        for name, a, b in (("I(X;T)", gram_x, gram_t), ("I(T;Y)", gram_t, gram_y)):
            ways: dict[str, Callable[[], object]] = {
                "three eigh": lambda a=a, b=b: spectra(torch.linalg.eigh, a, b),
                "three eigvalsh": lambda a=a, b=b: spectra(torch.linalg.eigvalsh, a, b),
                "float64": lambda a=a, b=b: mutual_information(a, b),
                "float32": lambda a=a, b=b: mutual_information(a, b, dtype="float32"),
            }
            best = least_seconds(ways, repeats)
            rows.append({"n": n, "information": name, **{f"{way} [s]": seconds for way, seconds in best.items()}})
    frame = pd.DataFrame(rows)
    both = frame.groupby("n", as_index=False).sum().assign(information="both")
    frame = pd.concat([frame, both], ignore_index=True).sort_values("n", kind="stable")
    for way in ("eigh", "eigvalsh"):
        frame[f"float64 over {way}"] = frame[f"three {way} [s]"] / frame["float64 [s]"]
    return frame


def report(n: int, given: argparse.Namespace) -> list[dict[str, object]]:
    """Measures and prints one size; the yardstick before and after ours, as the machine's speed may change."""
    probe, items = collect(n, given.data, given.data_root, given.layers, given.snapshots)
    print(f"\nn = {n}: {', '.join(item.name for item in items)}")
    solvers = spread(lambda _: chosen(probe), items[:1])[1][0]  # measured before the clock starts
    before = timed_yardstick(probe, items[0], given.alpha, given.eighs)
    distances = distance_seconds(items)
    ours = [measure(probe, items, alpha) for alpha in given.alpha]
    after = timed_yardstick(probe, items[-1], given.alpha, given.eighs)
    rows = []
    for index, (alpha, found) in enumerate(zip(given.alpha, ours, strict=True)):
        values = [values[index] for _, values in (before, after) if values]
        yard = Timed(alpha, "six eigh (yardstick)", (before[0] + after[0]) / 2, values)
        rows += table(n, yard, found, distances)
    print(f"yardstick: {before[0]:.3g} s before ours, {after[0]:.3g} s after")
    print(shown(pd.DataFrame(rows)))
    middle = items[len(items) // 2]
    print(f"\nWhere the time goes ({middle.name}, one thread, {solvers})")
    print(shown(parts(probe, middle, given.alpha[0])), flush=True)
    return rows


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[1000])
    parser.add_argument("--layers", type=int, default=8, help="layers measured, evenly spread, at most all")
    parser.add_argument("--snapshots", type=int, default=2, help="snapshots measured")
    parser.add_argument("--eighs", type=int, default=6, choices=range(1, 7), help="decompositions timed of six")
    parser.add_argument("--pairs", type=int, nargs="*", default=[1000, 2000], help="sizes of the single pairs")
    parser.add_argument("--alpha", type=float, nargs="+", default=[1.01, 2.0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args()
    print(f"{CORES} CPU cores, {given.data}")
    print(f"\nLoss term I(X;T), n = 512, float32\n{shown(loss_table())}")
    if given.pairs:
        print(f"\nOne pair by `mutual_information`, α = 1\n{shown(pair_table(given.pairs))}")
    rows: list[dict[str, object]] = []
    for n in given.n:
        rows += report(n, given)
    if given.csv:
        pd.DataFrame(rows).to_csv(given.csv, index=False)


def shown(frame: pd.DataFrame) -> str:
    return frame.to_string(index=False, float_format="%.3g")


def chosen(probe: Probe) -> str:
    """The solvers that this machine takes with the threads in use; those for class blocks are measured along."""
    sizes = len(probe.labels), int(probe.labels.bincount().max())
    found = {dtype: [fastest(n, dtype) for n in sizes] for dtype in ("float64", "float32")}
    return ", ".join(f"{dtype} by {names[0]}" for dtype, names in found.items())


if __name__ == "__main__":
    main()
