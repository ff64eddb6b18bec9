"""How often the intervals of a plane hold the mean: Student's t, beside a hierarchical bootstrap.

    python benchmarks/intervals.py
    python benchmarks/intervals.py --draws 500

A value is that of a seed plus that of a batch of its probe. Seeds are normal or exponential with a standard
deviation of 1, batches normal with another one, 10 of them in each run: drawn anew for each run, or the same for
all, as where runs share a probe. Of several runs the interval has to hold the mean of all seeds (on that probe,
where they share it), of one run the mean of all batches of this run. Student's t is `nested_interval`, which the
planes are drawn with, but of two runs too, where the planes have none. The bootstrap is the percentile interval of
2,000 resamples, of runs and then of batches within them (Davison and Hinkley, Bootstrap Methods and their
Application, 1997).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from infoplane.analysis.stats import LEVEL, nested_interval, student_interval

BATCHES, RESAMPLES = 10, 2000
RUNS, SPREADS = (1, 2, 3, 4, 5, 10, 30), (0.3, 1.0, 3.0)
Rng = np.random.Generator


def drawn(rng: Rng, draws: int, runs: int, spread: float, seeds: str, batches: str) -> tuple[NDArray, NDArray]:
    """Values, (draws, runs, BATCHES), and the means that an interval has to hold, (draws,)."""
    effects = rng.standard_normal if seeds == "normal" else (lambda size: rng.exponential(size=size) - 1)
    of_seeds = effects((draws, runs, 1))
    of_batches = spread * rng.standard_normal((draws, 1 if batches == "shared" else runs, BATCHES))
    truth = of_seeds[:, 0, 0] if runs == 1 else np.zeros(draws)
    if batches == "shared":
        truth = truth + of_batches.mean(axis=(1, 2))
    return of_seeds + of_batches, truth


def student(values: NDArray) -> tuple[NDArray, NDArray]:
    """The interval of the planes, of two runs too, (draws,) each."""
    two = values.shape[1] == 2
    _, low, high = student_interval(values.mean(axis=2), least=2) if two else nested_interval(values)
    return low, high


def bootstrap(values: NDArray, rng: Rng) -> tuple[NDArray, NDArray]:
    """Percentile interval of a hierarchical bootstrap, (draws,) each."""
    draws, runs, batches = values.shape
    weights = np.zeros((RESAMPLES, runs, batches))
    chosen = rng.integers(runs, size=(RESAMPLES, runs, 1))
    within = rng.integers(batches, size=(RESAMPLES, runs, batches))
    np.add.at(weights, (np.arange(RESAMPLES)[:, None, None], chosen, within), 1 / (runs * batches))
    means = values.reshape(draws, -1) @ weights.reshape(RESAMPLES, -1).T
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1)
    return low, high


def coverage(draws: int) -> Iterator[dict[str, object]]:
    """One row for each number of runs and kind of data: how often each interval holds the mean, and its width."""
    kinds = [("normal", "own", spread) for spread in SPREADS]
    kinds += [("exponential", "own", 0.3), ("normal", "shared", 1.0)]
    for seeds, batches, spread in kinds:
        for runs in RUNS:
            if runs == 1 and (seeds, batches) != ("normal", "own"):
                continue
            rng = np.random.default_rng([runs, int(10 * spread)])
            values, truth = drawn(rng, draws, runs, spread, seeds, batches)
            row = {"seeds": seeds, "batches": batches, "s.d. of batches": spread, "runs": runs}
            for name, (low, high) in (("bootstrap", bootstrap(values, rng)), ("Student's t", student(values))):
                row[f"{name} [%]"] = 100 * np.mean((low <= truth) & (truth <= high))
                row[f"{name}, half-width"] = np.median(high - low) / 2
            yield row


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=4000, help="data sets of each kind")
    draws = parser.parse_args().draws
    print(pd.DataFrame(coverage(draws)).to_string(index=False, float_format="{:.3g}".format))
    error = 100 * (LEVEL * (1 - LEVEL) / draws) ** 0.5
    print(f"\n{draws} draws: a coverage of {100 * LEVEL:g} % has a standard error of {error:.2f} %.")


if __name__ == "__main__":
    main()
