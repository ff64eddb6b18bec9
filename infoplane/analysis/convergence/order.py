"""Whether layers converge in the order of their depth: ρ, its interval over seeds, and chance.

ρ of a run is Spearman's correlation between depth and convergence time over its usable layers, ties with mean
ranks; layers that have not converged at the end are tied, later than all others, and a run whose layers all
converge at the same snapshot shows no order: ρ = 0. Two things can make ρ large without any order:

- **Few seeds.** A hierarchical bootstrap gives the interval of the median over runs: runs are drawn with
  replacement, batches within each of them, and the times are computed anew from the batches drawn.
- **Few layers.** Seeds repeat a network, not its layers: what makes some layer converge early for other reasons
  than its depth does so in every seed, and the interval over seeds cannot see it
  (`benchmarks/false_positives.md`). So the layers are permuted, the same way in all runs: p is the share of orders
  for which the mean ρ over runs is at least as large (of few runs the mean tells more than the median). With L
  layers it cannot be below 1/L!. The orders are the same for all quantities, so that the best of several can be
  compared with the best under chance.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from infoplane.analysis.bootstrap import LEVEL, RESAMPLES
from infoplane.analysis.convergence.times import TOLERANCE, Curves, convergence_times, layer_times
from infoplane.analysis.inference import layer_orders

MIN_LAYERS = 3
MIN_SNAPSHOTS = 5
DRAWS = 200
ROUNDING = 1e-9


@dataclass(frozen=True)
class DepthOrder:
    """The order in which one quantity of the layers converges.

    Attributes:
        quantity: The quantity.
        tolerance: Tolerance of the convergence times, relative to the range.
        layers: A table of `layer_times`.
        rho: Spearman's ρ of each run; NaN where under 3 layers are usable.
        median: Median of ρ over the runs that have one.
        low: Lower end of its 95 % interval; NaN where nothing can be resampled.
        high: Upper end.
        mean: Mean of ρ over the same runs.
        null: Mean ρ for each order of the layers, the true one first (`infoplane.analysis.inference.layer_orders`).
        attainable: The least p that so many usable layers and orders allow.
        limitation: Why no order can be judged; "" where it can.
    """

    quantity: str
    tolerance: float
    layers: pd.DataFrame
    rho: dict[str, float]
    median: float = math.nan
    low: float = math.nan
    high: float = math.nan
    mean: float = math.nan
    null: NDArray = field(default_factory=lambda: np.empty(0), repr=False)
    attainable: float = math.nan
    limitation: str = ""

    @property
    def p(self) -> float:
        """Share of layer orders with a mean ρ at least as large; NaN where no order can be judged."""
        return chance([self])[0]


def depth_order(
    found: Curves, tolerance: float = TOLERANCE, *, resamples: int = RESAMPLES, draws: int = DRAWS, seed: int = 0
) -> DepthOrder:
    """Judges the order of convergence of one quantity.

    Args:
        found: The curves.
        tolerance: Tolerance of the convergence times, relative to the range.
        resamples: How often runs are drawn.
        draws: How often the batches of each run are drawn.
        seed: Seed of the resampling.

    Returns:
        The order, with its limitation where it cannot be judged.
    """
    layers = layer_times(found, tolerance)
    times = layers["time"].to_numpy().reshape(len(found.runs), len(found.layers))
    rho = np.array([correlations(row, np.arange(len(row))) for row in times])
    named = dict(zip(found.runs, rho.tolist(), strict=True))
    judged = np.isfinite(rho)
    if len(found.steps) < MIN_SNAPSHOTS or not judged.any():
        return DepthOrder(found.quantity, tolerance, layers, named, limitation=_limitation(found, layers))
    rng = np.random.default_rng(seed)
    batch_draws = _redrawn(found, times, tolerance, draws, rng)[judged]
    low, high = _interval(batch_draws, resamples, rng)
    usable = int((~np.isnan(times[judged])).any(axis=0).sum())
    null = _permuted(times[judged])
    return DepthOrder(
        found.quantity,
        tolerance,
        layers,
        named,
        float(np.median(rho[judged])),
        low,
        high,
        mean=float(np.mean(rho[judged])),
        null=null,
        attainable=max(1 / math.factorial(usable), 1 / len(null)),
    )


def chance(orders: Sequence[DepthOrder]) -> list[float]:
    """For each quantity, the share of layer orders for which the best of them all reaches its mean ρ.

    That is Westfall and Young's correction for several quantities (*Resampling-Based Multiple Testing*, 1993,
    single step): quantities that say the same cost nothing.

    Args:
        orders: Quantities of the same layers.

    Returns:
        One p-value each; NaN for those that cannot be judged, which count for nothing.
    """
    judged = [order for order in orders if not order.limitation]
    if not judged:
        return [math.nan] * len(orders)
    best = np.max([order.null for order in judged], axis=0)
    return [math.nan if order.limitation else float((best >= order.mean - ROUNDING).mean()) for order in orders]


def correlations(times: NDArray, depths: NDArray) -> NDArray:
    """Spearman's ρ between depth and time over the layers that have one.

    Args:
        times: Convergence times, (..., L), of the same layers in every row; infinite for not converged, NaN for
            dropped.
        depths: (..., L).

    Returns:
        (...): 0 where all times, or all depths, are alike; NaN for under 3 layers.
    """
    usable = ~np.isnan(times.reshape(-1, times.shape[-1])[0])
    if usable.sum() < MIN_LAYERS:
        return np.full(np.broadcast_shapes(times.shape, depths.shape)[:-1], np.nan)
    a, b = (_unit(rankdata(values[..., usable], axis=-1)) for values in (times, depths))
    return np.asarray((a * b).sum(axis=-1))


def _unit(ranks: NDArray) -> NDArray:
    """Centred and scaled to norm 1 along the last axis, so that a product is a correlation; 0 where constant."""
    centred = ranks - ranks.mean(axis=-1, keepdims=True)
    norms = np.linalg.norm(centred, axis=-1, keepdims=True)
    return np.divide(centred, norms, out=np.zeros_like(centred), where=norms > 0)


def _limitation(found: Curves, layers: pd.DataFrame) -> str:
    if len(found.steps) < MIN_SNAPSHOTS:
        return f"{len(found.steps)} common snapshots, at least {MIN_SNAPSHOTS} are needed"
    reasons = layers["dropped"].unique()
    if all(reason.startswith("not recorded") for reason in reasons):
        return "not recorded in these runs"
    most = layers.groupby("run")["time"].count().max()
    return f"at most {most} usable layers in a run, at least {MIN_LAYERS} are needed"


def _redrawn(found: Curves, times: NDArray, tolerance: float, draws: int, rng: np.random.Generator) -> NDArray:
    """ρ of every run for batches drawn with replacement, (R, draws)."""
    runs, batches = found.values.shape[:2]
    depths = np.arange(times.shape[-1])
    weights = rng.multinomial(batches, np.full(batches, 1 / batches), size=(runs, draws)) / batches
    redrawn = []
    for values, row, drawn in zip(found.values, times, weights, strict=True):
        usable = ~np.isnan(row)
        means = np.tensordot(drawn, values[:, usable], axes=1)
        again = np.full((draws, len(row)), np.nan)
        again[:, usable] = convergence_times(means, found.steps, tolerance, found.floor)
        # One that is never outside in this draw is within the tolerance from the first snapshot.
        again[:, usable] = np.nan_to_num(again[:, usable], nan=float(found.steps[0]), posinf=np.inf)
        redrawn.append(correlations(again, depths))
    return np.array(redrawn)


def _interval(draws: NDArray, resamples: int, rng: np.random.Generator) -> tuple[float, float]:
    """Percentile interval of the median over runs drawn with replacement, each with one of its draws."""
    if len(draws) < 2:
        return math.nan, math.nan
    runs = rng.integers(len(draws), size=(resamples, len(draws)))
    medians = np.median(draws[runs, rng.integers(draws.shape[1], size=runs.shape)], axis=1)
    low, high = np.quantile(medians, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _permuted(times: NDArray) -> NDArray:
    """Mean ρ over runs for every order of the layers."""
    found = []
    for row in times:
        usable = tuple((~np.isnan(row)).tolist())
        found.append(_order_units(usable) @ _unit(rankdata(row[list(usable)])))
    return np.asarray(np.mean(found, axis=0))


@functools.lru_cache(maxsize=8)
def _order_units(usable: tuple[bool, ...]) -> NDArray:
    """Ranks of the depths of the usable layers in every order of all, scaled; the same for most runs."""
    orders = layer_orders(len(usable))[:, list(usable)]
    return _unit(rankdata(orders, axis=-1))
