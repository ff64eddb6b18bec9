"""Distances between samples in condensed form, (n (n−1) / 2,), in the order of `scipy.spatial.distance.pdist`."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def condense(square: NDArray) -> NDArray:
    """Condensed form (n (n−1) / 2,) of a symmetric matrix (n, n), in the order of `pdist`."""
    # SciPy's squareform copies an array that belongs to a tensor.
    return np.concatenate([square[row, row + 1 :] for row in range(len(square))])


def samples(distances: NDArray) -> int:
    """Number of samples n behind condensed distances, (n (n−1) / 2,)."""
    return (1 + math.isqrt(1 + 8 * len(distances))) // 2


def input_numbers(distances: NDArray) -> NDArray:
    """Which distinct input each sample has, as the position of the first one, (n,) int64.

    Args:
        distances: Condensed distances, (n (n−1) / 2,); repeated samples stand at distance 0.
    """
    if distances.all():
        return np.arange(samples(distances))
    # SciPy takes half of the time that opening a run file would.
    from scipy.spatial.distance import squareform

    return np.asarray((squareform(distances) == 0).argmax(axis=1))


def share_of_repeats(distances: NDArray) -> float:
    """Share of the samples that repeat others, 1 − distinct / n.

    Args:
        distances: Condensed distances, (n (n−1) / 2,).
    """
    return 1 - len(np.unique(input_numbers(distances))) / samples(distances)
