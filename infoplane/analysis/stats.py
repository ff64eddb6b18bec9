"""Intervals and tests over seeds, batches and layers; everything else of the analysis takes them from here.

Whether depth plays a part at all is asked of the order of layers: effects of single layers are the same in every
seed, so no number of seeds makes an accidental order significant, but a test over layers or over their orders does.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

LEVEL = 0.95  # nominal coverage of all intervals
RESAMPLES = 2000
SIGNIFICANCE = 0.05
EXACT_ORDERS = 40320  # all orders of up to 8 layers
SAMPLED_ORDERS = 19999


def student_interval(values: ArrayLike) -> tuple[float, float, float]:
    """Mean with the 95 % interval of Student's t, which allows for how few values there are.

    Args:
        values: One value a seed, (seeds,); NaN where one was not measured.

    Returns:
        Mean, lower and upper end; the ends are NaN with fewer than two values, the mean with none.
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if not len(known):
        return np.nan, np.nan, np.nan
    mean = float(known.mean())
    if len(known) < 2:
        return mean, np.nan, np.nan
    # As `stats.ttest_1samp(known, 0).confidence_interval()`, which warns of equal values.
    half = float(stats.sem(known) * stats.t.ppf((1 + LEVEL) / 2, len(known) - 1))
    return mean, mean - half, mean + half


def over_seeds(table: pd.DataFrame, keys: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    """Means over the rows of a table that differ in their seeds.

    Args:
        table: One row per seed and combination of keys, with a column `seed`.
        keys: Columns to group by; NaN is a value of its own.
        names: Columns to average.

    Returns:
        One row per combination, in the order of the table: the keys, `seeds` (how many have a value), and for each
        name its mean and the ends of the interval in `<name>_low` and `<name>_high`.
    """
    rows = []
    for values, group in table.groupby(list(keys), sort=False, dropna=False):
        measured = group[list(names)].notna().any(axis=1)
        row = dict(zip(keys, values, strict=True)) | {"seeds": group.loc[measured, "seed"].nunique()}
        for name in names:
            mean, low, high = student_interval(group[name])
            row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def hierarchical_bootstrap(
    values: NDArray, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[NDArray, NDArray]:
    """Percentile intervals of the mean of values that are nested, batches within runs, by a hierarchical bootstrap.

    Runs (seeds) are drawn with replacement, then batches within each drawn run (Davison and Hinkley, *Bootstrap
    Methods and their Application*, 1997; Saravanan, Berman and Sober, 2020). All quantities are resampled alike, so
    that differences of them stay paired. With few runs percentile intervals are too narrow, the more so the fewer:
    take them for what a handful of seeds can say. With one run they speak of that run only.

    Args:
        values: (..., R, B): B batches in each of R runs; NaN where one was not measured.
        level: Nominal coverage of the interval.
        resamples: How many times to resample.
        seed: Seed of the resampling.

    Returns:
        Lower and upper ends, (...) each; NaN where nothing was measured or there is one value only.
    """
    *shape, runs, batches = values.shape
    flat = values.reshape(-1, runs * batches)
    weights = _weights(runs, batches, resamples, np.random.default_rng(seed))
    measured = np.isfinite(flat)
    totals = measured @ weights
    with np.errstate(invalid="ignore", divide="ignore"):
        # Differences to the mean, as sums of large equal numbers would round.
        centre = np.where(measured, flat, 0).sum(axis=1, keepdims=True) / measured.sum(axis=1, keepdims=True)
        means = centre + np.where(measured, flat - centre, 0) @ weights / totals
    ends = np.full((2, len(flat)), np.nan)
    several = measured.sum(axis=1) > 1
    if several.any():
        ends[:, several] = np.nanquantile(means[several], [(1 - level) / 2, (1 + level) / 2], axis=1)
    return ends[0].reshape(shape), ends[1].reshape(shape)


def _weights(runs: int, batches: int, resamples: int, rng: np.random.Generator) -> NDArray:
    """How often each value is drawn in each resample, (runs · batches, resamples)."""
    weights = np.zeros((resamples, runs, batches))
    drawn = rng.integers(runs, size=(resamples, runs, 1))
    inner = rng.integers(batches, size=(resamples, runs, batches))
    np.add.at(weights, (np.arange(resamples)[:, None, None], drawn, inner), 1.0)
    return weights.reshape(resamples, runs * batches).T


def run_cube(rows: pd.DataFrame, places: Sequence[str], names: Sequence[str]) -> tuple[pd.Index, NDArray]:
    """Columns of a table as an array over runs and batches.

    Args:
        rows: One row per place, run and batch; runs and batches keep the order in which they stand there.
        places: Columns that name a place, such as depth and step.
        names: The columns.

    Returns:
        The places, sorted, and their values, (places, names, runs, batches); NaN where there is no row.
    """
    wide = rows.pivot(index=list(places), columns=["run", "batch"], values=list(names))
    runs, batches = rows["run"].unique(), rows["batch"].unique()
    every = pd.MultiIndex.from_product([list(names), runs, batches])
    values = wide.reindex(columns=every).to_numpy(dtype=float)
    return wide.index, values.reshape(len(wide), len(names), len(runs), len(batches))


def bootstrap_table(rows: pd.DataFrame, places: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    """Intervals of the means of some columns by `hierarchical_bootstrap`; arguments as of `run_cube`.

    Returns:
        One row per place, which is the index: the ends in `<name>_low` and `<name>_high`.
    """
    index, cube = run_cube(rows, places, names)
    ends = zip(("low", "high"), hierarchical_bootstrap(cube), strict=True)
    columns = {f"{name}_{end}": values[:, k] for end, values in ends for k, name in enumerate(names)}
    return pd.DataFrame(columns, index=index)


def holm(p: NDArray) -> NDArray:
    """p-values corrected for their number by Holm's step-down rule; NaN stays NaN and is not counted.

    Args:
        p: (k,).

    Returns:
        (k,); below α they control the family-wise error at α.
    """
    corrected = np.full(len(p), np.nan)
    places = np.flatnonzero(np.isfinite(p))
    order = places[np.argsort(p[places], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def layer_orders(layers: int, seed: int = 0) -> NDArray:
    """Orders of layers, the given one first: all of them where there are few, otherwise a random sample.

    Args:
        layers: Number of layers L.
        seed: Seed of the sample.

    Returns:
        (orders, L).
    """
    if math.factorial(layers) <= EXACT_ORDERS:
        return np.array([*itertools.permutations(range(layers))])
    rng = np.random.default_rng(seed)
    return np.vstack([np.arange(layers), rng.permuted(np.tile(np.arange(layers), (SAMPLED_ORDERS, 1)), axis=1)])
