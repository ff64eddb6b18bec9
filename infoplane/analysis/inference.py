"""Tests over links and over the order of layers.

Whether depth plays a part at all is asked of the order of layers: effects of single layers are the same in every
seed, so no number of seeds makes an accidental order significant, but a test over layers or over their orders does.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIGNIFICANCE = 0.05
EXACT_ORDERS = 40320  # all orders of up to 8 layers
SAMPLED_ORDERS = 19999


@dataclass(frozen=True)
class Criterion:
    """One criterion of a verdict.

    Attributes:
        name: What it asks.
        holds: Whether the data meet it.
        reason: A sentence with the numbers.
        numbers: The same as JSON values.
    """

    name: str
    holds: bool
    reason: str
    numbers: dict[str, Any]


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
