"""What an estimate is held against: permuted pairings, and the rule that says when it is no better than they are.

A permutation pairs each sample with the target (or the input) of another. **Repeated samples** stay together:
copies of one input have one activation, so that labels dealt out one by one would part what is never apart in the
data, and the null would come out too low. Copies therefore give and take their labels as a block, among inputs that
stand as often. A block of a size that no other has is cut into pieces of the largest sizes that others have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from infoplane.kernels import input_numbers

PERMUTATION_SEED = 0
NULL_DEVIATIONS = 2.0
ROUNDING = 1e-9
OK, AT_NULL = "ok", "at null"
MEASURED = (OK, AT_NULL)
Values = TypeVar("Values", float, pd.Series)


def at_null(value: Values, null: Values, deviation: Values) -> Values:
    """Whether a value is no better than its permuted null: at most two standard deviations above its mean.

    Args:
        value: I(T;Y), a number or a column.
        null: Mean over permutations; NaN, where there was none, gives False.
        deviation: Its standard deviation.
    """
    return value <= null + NULL_DEVIATIONS * deviation + ROUNDING


def measured(statuses: pd.Series) -> pd.Series:
    """Where there are values: the status is "ok" or "at null"; any other says why there are none."""
    return statuses.isin(MEASURED)


def pairings(distances: NDArray, count: int, seed: int = PERMUTATION_SEED) -> list[NDArray]:
    """Permutations of which sample is paired with which target; copies of an input stay together.

    Args:
        distances: Condensed distances between the inputs, (n (n−1) / 2,).
        count: Number of permutations.
        seed: Seed.

    Returns:
        `count` orders, (n,) int64 each: sample i gets the target of sample order[i].
    """
    rng = np.random.default_rng(seed)
    numbers = input_numbers(distances)
    copies = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
    if len(copies) == len(numbers):
        return [rng.permutation(len(numbers)) for _ in range(count)]
    blocks = _by_size(copies)
    orders = [np.arange(len(numbers)) for _ in range(count)]
    for order in orders:
        for block in blocks:
            order[block] = block[rng.permutation(len(block))]
    return orders


def _by_size(copies: Sequence[NDArray]) -> list[NDArray]:
    """Blocks that may change places: for each size those of this size, (blocks, size)."""
    sizes: dict[int, list[NDArray]] = {}
    for block in copies:
        sizes.setdefault(len(block), []).append(block)
    for size in range(max(sizes), 1, -1):
        if len(sizes.get(size, ())) == 1:
            [alone] = sizes.pop(size)
            piece = max((other for other in sizes if other < size), default=1)
            for start in range(0, size, piece):
                part = alone[start : start + piece]
                sizes.setdefault(len(part), []).append(part)
    return [np.array(blocks) for blocks in sizes.values()]
