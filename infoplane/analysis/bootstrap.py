"""Hierarchical bootstrap: intervals for means of values that are nested, batches within runs.

Runs (seeds) are drawn with replacement, then batches within each drawn run (Davison and Hinkley, *Bootstrap
Methods and their Application*, 1997; Saravanan, Berman and Sober, 2020); the interval is between percentiles
of the means. With few runs percentile intervals are too narrow, the more so the fewer: take them for what a handful
of seeds can say. With one run they speak of that run only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95


def hierarchical_bootstrap(
    values: NDArray, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[NDArray, NDArray]:
    """Percentile intervals of the mean over runs and batches.

    All quantities are resampled alike, so that differences of them stay paired.

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
