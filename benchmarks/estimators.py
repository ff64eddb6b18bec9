"""How fast the estimators are, and how exact: side by side in one run on real activations.

    python benchmarks/estimators.py --n 1000
    python benchmarks/estimators.py --n 4000 --snapshots 1 --data cifar10 --data-root DIR --csv estimators.csv
    python benchmarks/estimators.py --n 10000 --layers 2 --snapshots 1 --eighs 1 --alpha 1.01 --data cifar10

An item is one layer at one snapshot; all ways take the same items and yield I(X;T) and I(T;Y). The yardstick is the
computation as published codes do it: distances by `cdist` and six float64 `torch.linalg.eigh` (three for each
information), on all threads. Ours work on one item per core and compute S(X) and S(Y) once per run of 8 layers × 50
snapshots; that time is shared out. Bandwidths (median distance) are found before the clock starts. `ratio` counts
distances on both sides; `ratio, distances stored` leaves them out on both sides, as `infoplane estimate` finds them
in a run file that keeps distances. A subset of the items is measured; times are means over it. The floor is 4/3 n³
operations, the tridiagonal reduction, at the measured rate of matrix products on all threads; `where the time
goes` is measured with one item at a time.
"""

from __future__ import annotations

import argparse
import math
import os
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
from threadpoolctl import threadpool_limits
from torch import Tensor

from infoplane import joint_entropy, renyi_entropy
from infoplane.data import balanced_probe, load_dataset
from infoplane.entropy import (
    certified_class_joint_entropy,
    certified_entropy,
    certified_joint_entropy,
    class_entropy,
    class_joint_entropy,
    entropy_with_gradient,
)
from infoplane.entropy.exact import hadamard
from infoplane.entropy.spectrum import eigenvalues, fastest
from infoplane.kernels import gram_matrix, label_gram, squared_distances
from infoplane.layers import eval_mode, natural_layers, tensor_of
from infoplane.models import build_model
from infoplane.trainers.build import end_to_end
from infoplane.trainers.loop import Loop, Recipe, stages
from infoplane.trainers.optim import build_optimizer
from infoplane.trainers.task import Task

RUN = 8 * 50  # layers × snapshots of the run that the work per run is shared out over
STEPS = 40  # of training between two snapshots
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
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
class Probe:
    """Inputs and labels, and what is computed once per run."""

    x: Tensor
    y: Tensor
    sigma: float
    gram: Tensor


@dataclass(frozen=True)
class Item:
    """A layer at a snapshot: activations (n, d), squared distances (n, n) and bandwidth."""

    name: str
    t: Tensor
    squared: Tensor
    sigma: float

    def gram(self) -> Tensor:
        return torch.exp(self.squared / (-2 * self.sigma**2)).div_(len(self.t))


def median(squared: Tensor) -> float:
    return float(squared.sqrt().median())


def collect(n: int, data: str, root: Path, layers: int, snapshots: int) -> tuple[Probe, list[Item]]:
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
    chosen = [found[round(place)].name for place in places]
    items = []

    def take() -> None:
        for name in chosen:
            t = activations(model, name, inputs)
            squared = squared_distances(t)
            items.append(Item(f"{name}@{loop.step}", t, squared, median(squared)))

    take()
    loop.run(lambda step: step % STEPS == 0, take, lambda: None)
    x = inputs.flatten(1)
    sigma = median(squared_distances(x))
    return Probe(x, labels, sigma, gram_matrix(x, sigma=sigma)), items


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


def yardstick(probe: Probe, item: Item, alphas: list[float]) -> list[Informations]:
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
    of_x, of_y = spectra(probe.gram, b), spectra(b, label_gram(probe.y))
    return [(information(of_x, alpha), information(of_y, alpha)) for alpha in alphas]


def timed_yardstick(probe: Probe, item: Item, alphas: list[float], eighs: int) -> tuple[float, list[Informations]]:
    """Seconds without distances, and the values; with fewer than six decompositions their time is scaled up."""
    start = time.perf_counter()
    if eighs == 6:
        values = yardstick(probe, item, alphas)
        return time.perf_counter() - start, values
    for _ in range(eighs):
        torch.linalg.eigh(item.gram())
    return (time.perf_counter() - start) * 6 / eighs, []


def exact(probe: Probe, item: Item, alpha: float, once: Informations, dtype: str = "float64") -> Informations:
    gram = item.gram()
    s_t = float(renyi_entropy(gram, alpha, dtype=dtype))
    s_xt = float(joint_entropy(probe.gram, gram, alpha=alpha, dtype=dtype))
    s_ty = class_joint_entropy(gram, probe.y, alpha, dtype=dtype)
    return once[0] + s_t - s_xt, once[1] + s_t - s_ty


def approximate(probe: Probe, item: Item, alpha: float, once: Informations) -> Informations:
    """Each entropy to 2.5 millibit at 99 %, so that an information is within 5."""
    gram = item.gram()
    s_t = certified_entropy(gram, alpha, tolerance=2.5e-3)
    s_xt = certified_joint_entropy(probe.gram, gram, alpha=alpha, tolerance=2.5e-3, seed=1)
    s_ty = certified_class_joint_entropy(gram, probe.y, alpha, tolerance=2.5e-3, seed=2)
    return once[0] + s_t.value - s_xt.value, once[1] + s_t.value - s_ty.value


def spread(function: Callable[[Item], Any], items: list[Item]) -> tuple[float, list[Any]]:
    """Seconds per item with an item per core, and what the function gives."""
    with threadpool_limits(1), ThreadPoolExecutor(CORES, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        torch.set_num_threads(1)
        try:
            start = time.perf_counter()
            values = list(pool.map(function, items))
            return (time.perf_counter() - start) / len(items), values
        finally:
            torch.set_num_threads(CORES)


def distance_seconds(items: list[Item]) -> tuple[float, float]:
    """Seconds per item of the distances: by `cdist` on all threads, and ours with an item per core."""
    start = time.perf_counter()
    for item in items:
        torch.cdist(item.t.double(), item.t.double())
    theirs = (time.perf_counter() - start) / len(items)
    return theirs, spread(lambda item: squared_distances(item.t).shape, items)[0]


def table(
    probe: Probe,
    items: list[Item],
    alpha: float,
    yard: float,
    distances: tuple[float, float],
    reference: list[Informations],
) -> list[dict[str, object]]:
    """A row per way: seconds per item, ratios to the yardstick, largest error."""
    n = len(probe.y)
    start = time.perf_counter()
    once = (float(renyi_entropy(probe.gram, alpha)), class_entropy(probe.y.numpy(), alpha))
    shared = (time.perf_counter() - start) / RUN
    ways: dict[str, Callable[[Item], Informations]] = {
        "exact float64": lambda item: exact(probe, item, alpha, once),
    }
    if alpha != 2:
        ways["exact float32"] = lambda item: exact(probe, item, alpha, once, "float32")
        ways["approximate"] = lambda item: approximate(probe, item, alpha, once)

    def row(way: str, own: float, far: float, error: float) -> dict[str, object]:
        return {
            "n": n,
            "α": alpha,
            "way": way,
            "distances [s]": far,
            "the rest [s]": own,
            "ratio": (yard + distances[0]) / (own + far),
            "ratio, distances stored": yard / own,
            "the rest in floors": own / floor_seconds(n),
            "largest error [bit]": error,
        }

    rows = [row("six eigh (yardstick)", yard, distances[0], math.nan)]
    truth: list[Informations] = []
    for name, work in ways.items():
        own, values = spread(work, items)
        wanted = truth or reference
        truth = truth or values
        errors = [float(np.abs(np.subtract(a, b)).max()) for a, b in zip(values, wanted, strict=False)]
        rows.append(row(name, own + shared, distances[1], max(errors, default=math.nan)))
    return rows


def parts(probe: Probe, item: Item, alpha: float) -> pd.DataFrame:
    """Where the time of one item goes, on one thread; beside it the floor on one thread."""
    gram, n = item.gram(), len(probe.y)
    joint = hadamard([probe.gram, gram])
    work: dict[str, Callable[[], object]] = {
        f"distances, {item.t.shape[1]} features": lambda: squared_distances(item.t),
        "Gaussian kernel": item.gram,
        "Hadamard product": lambda: hadamard([probe.gram, gram]),
        "S(T): eigenvalues": lambda: eigenvalues(gram),
        "S(X,T): eigenvalues": lambda: eigenvalues(joint),
        "S(T,Y): class blocks": lambda: class_joint_entropy(gram, probe.y, alpha),
        "S(T): approximate": lambda: certified_entropy(gram, alpha, tolerance=2.5e-3),
        "S(X,T): approximate": lambda: certified_joint_entropy(probe.gram, gram, alpha=alpha, tolerance=2.5e-3),
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

        times: dict[str, list[float]] = {"naive": [], "ours": []}
        for _ in range(repeats):
            for name, function in (("naive", naive), ("ours", ours)):
                start = time.perf_counter()
                torch.autograd.grad(function(), t)
                times[name].append(time.perf_counter() - start)
        best = {name: min(found) for name, found in times.items()}
        rows.append({"α": alpha, "three eigh [ms]": 1e3 * best["naive"], "closed form [ms]": 1e3 * best["ours"]})
        rows[-1]["ratio"] = best["naive"] / best["ours"]
    return pd.DataFrame(rows)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[1000])
    parser.add_argument("--layers", type=int, default=8, help="layers measured, evenly spread, at most all")
    parser.add_argument("--snapshots", type=int, default=2, help="snapshots measured")
    parser.add_argument("--eighs", type=int, default=6, choices=range(1, 7), help="decompositions timed of six")
    parser.add_argument("--alpha", type=float, nargs="+", default=[1.01, 2.0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args()
    print(f"{CORES} CPU cores, {given.data}")
    print(f"\nLoss term I(X;T), n = 512, float32\n{shown(loss_table())}")
    rows: list[dict[str, object]] = []
    for n in given.n:
        probe, items = collect(n, given.data, given.data_root, given.layers, given.snapshots)
        for dtype in ("float64", "float32"):
            renyi_entropy(probe.gram, dtype=dtype)  # the fastest solver is measured before the clock starts
        middle = items[len(items) // 2]
        print(f"\nn = {n}: {', '.join(item.name for item in items)}")
        yard, values = timed_yardstick(probe, items[0], given.alpha, given.eighs)
        distances = distance_seconds(items)
        for index, alpha in enumerate(given.alpha):
            reference = [values[index]] if values else []
            rows += table(probe, items, alpha, yard, distances, reference)
        print(shown(pd.DataFrame([row for row in rows if row["n"] == n])))
        print(f"\nWhere the time goes ({middle.name}, {', '.join(sorted(solvers(n)))})")
        print(shown(parts(probe, middle, given.alpha[0])), flush=True)
    if given.csv:
        pd.DataFrame(rows).to_csv(given.csv, index=False)


def shown(frame: pd.DataFrame) -> str:
    return frame.to_string(index=False, float_format="%.3g")


def solvers(n: int) -> list[str]:
    """The solvers that this machine takes at a size."""
    return [f"{dtype} by {fastest(n, dtype)}" for dtype in ("float64", "float32")]


if __name__ == "__main__":
    main()
