"""What the null of I(X;T) costs, how exact few pairings make it, and how often noise passes it.

    python benchmarks/nulls.py
    python benchmarks/nulls.py --rows 8 --draws 50

Cost: processor time of a row of `infoplane estimate` with and without the null, one after the other in one process.
Error: of pairings at several sizes of the probe, under two bandwidths. Both of a CNN trained on the digits that
come with scikit-learn. Noise: how often independent X and T are not told to be at their null.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.spatial.distance import pdist
from threadpoolctl import threadpool_limits

import infoplane as ip
from infoplane.condensed import samples
from infoplane.entropy import gram_entropy
from infoplane.estimators.base import LayerView
from infoplane.estimators.batches import sub_probe
from infoplane.estimators.nulls import at_null, chance_deviations, few_pairings
from infoplane.estimators.renyi import Renyi, RenyiSettings
from infoplane.kernels import Bandwidth, constant_gram, multiply_kernel
from infoplane.runfile import Run

SIZES = (100, 250, 500, 1000)
BANDWIDTHS = (Bandwidth("median", 1.0), Bandwidth("knn", 10.0))
PAIRINGS = 20


def views(run: Run, layers: list[str], members: np.ndarray) -> Iterator[LayerView]:
    """Some layers at the first, the middle and the last snapshot, on some samples."""
    for number in (0, len(run.snapshots) // 2, len(run.snapshots) - 1):
        for layer in layers:
            yield LayerView(run, run.snapshots[number], layer).batch(0, members)


def cost(run: Run, n: int, rows: int) -> dict[str, object]:
    """Median milliseconds of processor time of a row, with the null and without."""
    members = np.arange(n)
    probe = sub_probe(run.probe, members)
    with_null, without = (Renyi(probe, RenyiSettings(), run.path) for _ in range(2))
    without.input_orders = without._entropies_x = []
    seconds: dict[str, list[float]] = {"without": [], "with": []}
    seen = [*views(run, [layer.name for layer in run.layers], members)]
    for view in [view for _ in range(-(-rows // len(seen))) for view in seen]:
        _ = view.distances
        for name, estimator in (("without", without), ("with", with_null)):
            start = time.process_time()
            estimator.estimate(view)
            seconds[name].append(time.process_time() - start)
    before, after = (1e3 * float(np.median(times)) for times in seconds.values())
    added = {"without [ms]": before, "with [ms]": after, "added [%]": 100 * (after / before - 1)}
    return {"n": n, "pairings": few_pairings(n), "rows": len(seconds["with"]), **added}


def error(run: Run, n: int, bandwidth: Bandwidth) -> dict[str, object]:
    """Spread of pairings, mean over layers and snapshots, beside what is left of I(X;T)."""
    members = np.arange(n)
    settings = RenyiSettings(bandwidth=bandwidth, input_bandwidth=bandwidth, input_permutations=PAIRINGS)
    estimator = Renyi(sub_probe(run.probe, members), settings, run.path)
    found = [estimator.estimate(view) for view in views(run, [run.layers[0].name, run.layers[-1].name], members)]
    rows = pd.DataFrame(found)[["I_XT", "I_XT_null", "I_XT_corrected", "I_XT_null_std"]].mean()
    few = few_pairings(n)
    return {
        **{"n": n, "bandwidth": str(bandwidth), "raw": rows["I_XT"], "null": rows["I_XT_null"]},
        **{"corrected": rows["I_XT_corrected"], "s.d. of a pairing": rows["I_XT_null_std"], "pairings": few},
        "error of their mean": rows["I_XT_null_std"] / few**0.5,
    }


def noise(n: int, draws: int) -> dict[str, object]:
    """Share of independent X and T that are taken for dependent."""
    rng, count = np.random.default_rng(0), few_pairings(n)
    passed = 0
    for _ in range(draws):
        x, t = pdist(draw(n, rng)), pdist(draw(n, rng))
        # S(X) + S(T) is the same for all pairings: minus the joint entropy stands for the information.
        nulls = [-joint_entropy(x, t, rng.permutation(n)) for _ in range(count)]
        value = -joint_entropy(x, t)
        passed += not at_null(value, np.mean(nulls), np.std(nulls, ddof=1), chance_deviations(count))
    return {"n": n, "pairings": count, "draws": draws, "passed [%]": 100 * passed / draws}


def joint_entropy(x: np.ndarray, t: np.ndarray, order: np.ndarray | None = None) -> float:
    """S(X,T) in bits from condensed distances, with X in some order, under median bandwidths."""
    gram = constant_gram(samples(x))
    multiply_kernel(gram, t, float(np.median(t)))
    multiply_kernel(gram, x, float(np.median(x)), order)
    return gram_entropy(gram)


def draw(n: int, rng: np.random.Generator) -> np.ndarray:
    """Samples of a rectified random mixture, as layers have them, (n, 16)."""
    return np.maximum(rng.standard_normal((n, 4)) @ rng.standard_normal((4, 16)), 0)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=54, help="rows to time at each size")
    parser.add_argument("--draws", type=int, default=400, help="draws of noise at each size")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        path = Path(folder) / "run.h5"
        settings = ip.TrainingSettings(epochs=10, snapshots="10", probe_split="all", probe_size=max(SIZES))
        ip.train(settings, path)
        with ip.open_run(path) as run:
            tables = {
                "A row of the table, I(X;T) and I(T;Y)": [cost(run, n, given.rows) for n in SIZES],
                "Bits": [error(run, n, bandwidth) for bandwidth in BANDWIDTHS for n in SIZES],
            }
    tables["Noise"] = [noise(n, given.draws) for n in SIZES[:3]]
    for title, rows in tables.items():
        print(f"{title}\n{pd.DataFrame(rows).to_string(index=False, float_format='{:.3g}'.format)}\n")


if __name__ == "__main__":
    main()
