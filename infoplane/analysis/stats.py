"""Intervals and tests over seeds, batches and layers; everything else of the analysis takes them from here.

Whether depth plays a part at all is asked of the order of layers: effects of single layers are the same in every
seed, so no number of seeds makes an accidental order significant, but a test over layers or over their orders does.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

LEVEL = 0.95  # nominal coverage of all intervals
LEAST_VALUES = 3  # that have a band or a bar: that of two is 12.7 times as far from the mean as they are
SIGNIFICANCE = 0.05
_EXACT_ORDERS = 40320  # all orders of up to 8 layers
_SAMPLED_ORDERS = 19999


def student_interval(values: ArrayLike, least: int = LEAST_VALUES) -> tuple[NDArray, NDArray, NDArray]:
    """Means with the 95 % intervals of Student's t, which allow for how few values there are.

    Args:
        values: One value a seed along the last axis, (..., seeds); NaN where one was not measured.
        least: The fewest values that have an interval, at least 2.

    Returns:
        Means, lower and upper ends, (...) each; the ends are NaN with fewer values, the mean with none.
    """
    array = np.asarray(values, dtype=np.float64)
    known = np.isfinite(array)
    count = known.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, array, 0.0).sum(axis=-1) / count
        squares = np.where(known, array - mean[..., None], 0.0) ** 2
        error = np.sqrt(squares.sum(axis=-1) / (count - 1) / count)
    half = np.where(count >= least, error * stats.t.ppf((1 + LEVEL) / 2, count - 1), np.nan)
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
        row: dict[str, Any] = dict(zip(keys, values, strict=True)) | {
            "seeds": group.loc[measured, "seed"].nunique()
        }
        for name in names:
            mean, low, high = student_interval(group[name])
            row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


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


def nested_interval(values: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Means of batches within runs, with 95 % intervals of Student's t over runs, or over the batches of one run.

    A run counts as one value, the mean of its batches: these share its training, and say nothing of what another
    seed would change (`python benchmarks/intervals.py`). The interval of one run is of the choice of its samples.

    Args:
        values: (..., R, B): B batches in each of R runs; NaN where one was not measured.

    Returns:
        Means, lower and upper ends, (...) each; the ends are NaN with two runs, or one of fewer than three batches.
    """
    return student_interval(student_interval(values)[0] if values.shape[-2] > 1 else values[..., 0, :])


def interval_table(rows: pd.DataFrame, places: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    """Means and intervals of some columns by `nested_interval`; arguments as of `run_cube`.

    Returns:
        One row per place, which is the index: the mean in `<name>`, the ends in `<name>_low` and `<name>_high`.
    """
    index, cube = run_cube(rows, places, names)
    ends = zip(("", "_low", "_high"), nested_interval(cube), strict=True)
    columns = {name + end: column[:, k] for end, column in ends for k, name in enumerate(names)}
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
    if math.factorial(layers) <= _EXACT_ORDERS:
        return np.array([*itertools.permutations(range(layers))])
    rng = np.random.default_rng(seed)
    return np.vstack([np.arange(layers), rng.permuted(np.tile(np.arange(layers), (_SAMPLED_ORDERS, 1)), axis=1)])
