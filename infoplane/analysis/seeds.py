"""Means over seeds with the 95 % interval of Student's t, which allows for how few seeds there are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

LEVEL = 0.95


def student_interval(values: ArrayLike) -> tuple[float, float, float]:
    """Mean with its 95 % interval.

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
