"""Tests over seeds, over links and over the order of layers.

A seed is the independent unit: batches of one run share their network. The percentile interval of the hierarchical
bootstrap is too narrow with a handful of seeds, so that an effect counts only if, beside the interval, a one-sided
t-test over the means of the seeds finds it (benchmarks/markov_nulls.md shows how often each errs). Whether depth
plays a part at all is asked of the order of layers: effects of single layers are the same in every seed, so no
number of seeds makes an accidental order significant, but a permutation test over orders does.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, t

from infoplane.analysis.bootstrap import hierarchical_bootstrap

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


@dataclass(frozen=True)
class Effect:
    """Means over runs and batches, whether they are above 0.

    Attributes:
        mean: Mean over the runs' means, (...).
        low: Lower end of the 95 % interval of the hierarchical bootstrap, (...).
        high: Upper end, (...).
        p: One-sided p-value of the t-test over runs for a mean above 0, (...).
    """

    mean: NDArray
    low: NDArray
    high: NDArray
    p: NDArray

    def positive(self) -> NDArray:
        """Where interval and test both say above 0, (...) boolean."""
        return (self.p < SIGNIFICANCE) & (self.low > 0)


def effect(values: NDArray) -> Effect:
    """Mean, interval and test of values that are nested, batches within runs.

    Args:
        values: (..., R, B), NaN where not measured.

    Returns:
        (...) each; p is NaN with fewer than two runs.
    """
    low, high = hierarchical_bootstrap(values)
    measured = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(measured, values, 0).sum(axis=-1) / measured.sum(axis=-1)
        runs = np.isfinite(means).sum(axis=-1)
        mean = np.where(np.isfinite(means), means, 0).sum(axis=-1) / runs
        squares = np.where(np.isfinite(means), means - mean[..., None], 0) ** 2
        error = np.sqrt(squares.sum(axis=-1) / (runs - 1) / runs)
        # Without any spread a mean above 0 is certain, and one of 0 is no evidence.
        ratio = np.where(error > 0, mean / error, np.where(mean == 0, 0.0, np.copysign(np.inf, mean)))
    return Effect(mean, low, high, np.where(runs > 1, t.sf(ratio, np.maximum(runs - 1, 1)), np.nan))


@dataclass(frozen=True)
class Fall:
    """Whether a rank correlation with depth or distance is below 0, over the runs and over the orders of layers.

    Attributes:
        effect: Of minus the correlation, over runs and batches.
        order_p: p-value of the permutation test over the orders of layers.
    """

    effect: Effect
    order_p: float

    def holds(self) -> bool:
        """Whether both say so."""
        return bool(self.effect.positive() and self.order_p < SIGNIFICANCE)

    def text(self) -> str:
        """The correlation with its interval and p-values."""
        found = self.effect
        return (
            f"{-found.mean:.2f} [{-found.high:.2f}, {-found.low:.2f}] "
            f"(p over seeds {found.p:.3f}, over orders {self.order_p:.3f})"
        )

    def numbers(self) -> dict[str, float | None]:
        """The same as JSON values."""
        found = self.effect
        ends = {"rho": -found.mean, "rho_low": -found.high, "rho_high": -found.low, "rho_p": found.p}
        return {**{name: number(value) for name, value in ends.items()}, "order_p": self.order_p}


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


def number(value: Any) -> float | None:
    """A number as JSON has it: None in the place of what is not finite."""
    return float(value) if math.isfinite(value) else None


def listed(values: NDArray) -> list[float | None]:
    """Numbers (k,) as JSON has them."""
    return [number(value) for value in values]


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


def order_p(statistic: Callable[[NDArray], NDArray], layers: int) -> float:
    """p-value of a permutation test: the share of orders whose statistic is as low as the given order's.

    Args:
        statistic: Takes orders (orders, L) and gives a statistic for each, (orders,); low is extreme.
        layers: Number of layers L.

    Returns:
        Exact for up to 8 layers; with 3 layers it cannot fall below 1/6.
    """
    values = statistic(layer_orders(layers))
    # Sums in another order differ by rounding; where the statistic is undefined no order stands out, and p is 1.
    return float(np.mean(~(values > values[0] + 1e-12)))


def spearman(x: NDArray, y: NDArray) -> NDArray:
    """Spearman's rank correlations along the last axis.

    Args:
        x: (..., k), broadcast against y.
        y: (..., k).

    Returns:
        (...); NaN where either is constant or holds NaN.
    """
    x, y = (rankdata(values, axis=-1, nan_policy="propagate") for values in np.broadcast_arrays(x, y))
    x, y = (values - values.mean(axis=-1, keepdims=True) for values in (x, y))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = (x * y).sum(axis=-1) / np.sqrt((x**2).sum(axis=-1) * (y**2).sum(axis=-1))
    return np.asarray(correlation)
