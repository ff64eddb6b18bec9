"""Whether layers converge in the order of their depth: how many times as long a layer takes as the one below it.

The slope b of the areas a (`infoplane.analysis.convergence.trajectories`) over the number of the layer is the mean
logarithm of the ratio of the times of neighbours, so that e^b is a **factor a layer**. Two things can make a slope
large without any order: few seeds, and few layers, as seeds repeat a network and not its layers. So an order is
shown where the factor is at least 1.1 and both t-tests of `infoplane.analysis.slope` say that it is above 1. A
layer that cannot be used in some run is left out in all of them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from infoplane.analysis.convergence.trajectories import (
    Trajectories,
    half_time,
    log_time_area,
    relative_distance,
    unsettled,
)
from infoplane.analysis.slope import SlopeTest, detectable_slope, slope_test
from infoplane.analysis.stats import SIGNIFICANCE
from infoplane.analysis.verdict import json_value
from infoplane.errors import InfoplaneError

MIN_FACTOR = 1.1
MIN_LAYERS, MIN_SEEDS, MIN_SNAPSHOTS = 6, 5, 10
_UNSETTLED_LAYERS = 1 / 3
Measure = Callable[[NDArray, NDArray], NDArray]


def area(means: NDArray, steps: NDArray) -> NDArray:
    """The area a of each curve, (...); means over batches (..., T), steps (T,)."""
    return log_time_area(relative_distance(means, steps), steps)


def envelope_area(means: NDArray, steps: NDArray) -> NDArray:
    """The area under the envelope, in which a curve that comes back has not converged before."""
    return log_time_area(relative_distance(means, steps, envelope=True), steps)


def log_half_time(means: NDArray, steps: NDArray) -> NDArray:
    """The logarithm of 1 + t50."""
    return np.log1p(half_time(relative_distance(means, steps), steps))


@dataclass(frozen=True)
class ConvergenceOrder:
    """The order in which one quantity of the layers converges.

    Attributes:
        quantity: The quantity.
        runs: Names of the R runs.
        layers: Names of the L layers from input to output.
        areas: The area a of each layer of each run, or another logarithm of a time, (R, L); NaN where left out.
        half_times: t50 of each layer of each run, (R, L), in steps; NaN where left out.
        left_out: Why a layer is left out in all runs, by its name.
        test: The slope of the areas over the layers that are kept; None with under two of them.
        limitation: Why no order can be judged; "" where it can.
        symbol: How the quantity is written.
    """

    quantity: str
    runs: tuple[str, ...]
    layers: tuple[str, ...]
    areas: NDArray
    half_times: NDArray
    left_out: dict[str, str]
    test: SlopeTest | None
    limitation: str
    symbol: str

    @property
    def factor(self) -> float:
        """How many times as long each layer takes as the one below it; NaN without a slope."""
        return math.exp(self.test.slope) if self.test else math.nan

    @property
    def low(self) -> float:
        """Lower end of the factor's 95 % interval, by Student's t over the seeds' own slopes."""
        return math.exp(self.test.low) if self.test else math.nan

    @property
    def high(self) -> float:
        """Upper end."""
        return math.exp(self.test.high) if self.test else math.nan

    @property
    def shows(self) -> bool | None:
        """Whether layers converge from bottom to top; None where that cannot be judged."""
        return None if self.limitation or not self.test else bool(rises(self.test))

    @property
    def opposes(self) -> bool:
        """Whether layers converge from top to bottom."""
        return not self.limitation and self.test is not None and bool(falls(self.test))

    @functools.cached_property
    def detectable(self) -> float:
        """The factor that would have been found with a probability of 80 %; NaN where nothing can be judged."""
        if self.limitation or not self.test:
            return math.nan
        return math.exp(detectable_slope(self.test, least=math.log(MIN_FACTOR)))

    def numbers(self) -> dict[str, Any]:
        """Everything that a verdict says of it, as JSON values."""
        p: dict[str, Any] = dict.fromkeys(("p_layers", "p_seeds", "p_links", "p_orders"))
        if self.test:
            p = {name: float(getattr(self.test, name)) for name in p}
        numbers = {
            "factor": self.factor,
            "low": self.low,
            "high": self.high,
            **p,
            "detectable_factor": self.detectable,
            "seeds": len(self.runs),
            "layers": len(self.layers) - len(self.left_out),
            "left_out": self.left_out,
            "shows": self.shows,
            "limitation": self.limitation,
        }
        return dict(json_value(numbers))

    def median_times(self) -> dict[str, float]:
        """The median of t50 over runs of each layer, in steps, by its name; NaN where left out."""
        return dict(zip(self.layers, np.median(self.half_times, axis=0).tolist(), strict=True))

    def table(self) -> pd.DataFrame:
        """One row per run and layer: `run`, `layer`, `depth`, `quantity`, `area`, `t50` and `left_out`."""
        runs, layers = np.meshgrid(self.runs, self.layers, indexing="ij")
        depths = np.broadcast_to(np.arange(1, len(self.layers) + 1), runs.shape)
        reasons = [self.left_out.get(str(layer), "") for layer in layers.ravel()]
        columns = {"run": runs, "layer": layers, "depth": depths, "area": self.areas, "t50": self.half_times}
        table = pd.DataFrame({name: values.ravel() for name, values in columns.items()})
        table.insert(3, "quantity", self.quantity)
        return table.assign(left_out=reasons)


def convergence_order(
    curves: Trajectories, measure: Measure = area, *, must_settle: bool = True
) -> ConvergenceOrder:
    """The order of convergence of one quantity.

    Args:
        curves: Its trajectories.
        measure: Makes logarithms of times, (R, L), of means, (R, L, T), and steps, (T,).
        must_settle: Judge no runs that have not settled; a synchronous path ends where it ends.

    Returns:
        The order, with its limitation where it cannot be judged.
    """
    left_out = _left_out(curves)
    kept = np.array([layer not in left_out for layer in curves.layers])
    times, halves = np.full((2, *curves.trouble.shape), np.nan)
    times[:, kept] = measure(curves.means[:, kept], curves.steps)
    halves[:, kept] = half_time(relative_distance(curves.means[:, kept], curves.steps), curves.steps)
    return ConvergenceOrder(
        quantity=curves.quantity,
        symbol=curves.symbol,
        runs=curves.runs,
        layers=curves.layers,
        areas=times,
        half_times=halves,
        left_out=left_out,
        test=slope_test(times[:, kept], np.flatnonzero(kept)) if kept.sum() > 1 else None,
        limitation=_limitation(curves, kept, must_settle),
    )


def beyond(order: ConvergenceOrder, path: ConvergenceOrder) -> ConvergenceOrder:
    """The order in which layers converge beyond that of the synchronous path of the same runs.

    Args:
        order: The order in training.
        path: That on the synchronous path, of the same quantity; its runs stand in the same order.

    Returns:
        The order of the differences of the areas; its factor is the ratio of the two.

    Raises:
        InfoplaneError: There are more of the ones than of the others.
    """
    if len(path.runs) != len(order.runs):
        raise InfoplaneError(f"{len(order.runs)} trainings have no {len(path.runs)} synchronous paths")
    areas = order.areas - path.areas
    kept = np.isfinite(areas).all(axis=0)
    test = slope_test(areas[:, kept], np.flatnonzero(kept)) if kept.sum() > 1 else None
    limitation = (
        order.limitation or path.limitation or "; ".join(missing(int(kept.sum()), len(areas), MIN_SNAPSHOTS))
    )
    left_out = {**path.left_out, **order.left_out}
    return replace(order, areas=areas, left_out=left_out, test=test, limitation=limitation)


def order_table(orders: Mapping[str, Sequence[ConvergenceOrder]]) -> pd.DataFrame:
    """Orders of convergence of several sets of runs, side by side.

    Args:
        orders: For each set of runs, by its name ("trained", "shuffled labels"), the orders of some quantities.

    Returns:
        One row per set, quantity, run and layer: `group`, the columns of `ConvergenceOrder.table`, and of the order
        as a whole `factor`, `low`, `high`, `p_layers`, `p_seeds`, `p_orders` and `limitation`.

    Raises:
        InfoplaneError: There are no orders.
    """
    tables = []
    for group, several in orders.items():
        for order in several:
            table, numbers = order.table(), order.numbers()
            table.insert(0, "group", group)
            names = ("factor", "low", "high", "p_layers", "p_seeds", "p_orders")
            whole = {name: np.nan if numbers[name] is None else numbers[name] for name in names}
            tables.append(table.assign(**whole, limitation=order.limitation))
    if not tables:
        raise InfoplaneError("no orders of convergence to put side by side")
    return pd.concat(tables, ignore_index=True)


def rises(test: SlopeTest) -> NDArray:
    """Whether slopes of areas say that layers converge from bottom to top, (...) boolean."""
    return np.asarray(test.significant & (test.slope >= math.log(MIN_FACTOR)))


def falls(test: SlopeTest) -> NDArray:
    """Whether they say the opposite by the same rule, from top to bottom, (...) boolean."""
    significant = (test.p_layers > 1 - SIGNIFICANCE) & (test.p_seeds > 1 - SIGNIFICANCE)
    return np.asarray(significant & (test.slope <= -math.log(MIN_FACTOR)))


def settled(distances: NDArray, steps: NDArray) -> NDArray:
    """Whether a training has settled: under a third of its layers are still on their way in the last tenth.

    Args:
        distances: Relative distances D, (..., R, L, T).
        steps: Steps of the snapshots, (T,).

    Returns:
        (...) boolean.
    """
    return np.asarray(unsettled(distances, steps).mean(axis=-1) < _UNSETTLED_LAYERS)


def missing(layers: int, seeds: int, snapshots: int) -> list[str]:
    """Reasons in words why there are too few layers, seeds or snapshots to judge an order."""
    counts = (
        (layers, MIN_LAYERS, "layers"),
        (seeds, MIN_SEEDS, "runs of different seeds"),
        (snapshots, MIN_SNAPSHOTS, "snapshots"),
    )
    return [f"{what}: {count}, and at least {least} are needed" for count, least, what in counts if count < least]


def _left_out(curves: Trajectories) -> dict[str, str]:
    """The first reason of each layer that cannot be used in some run."""
    reasons = {}
    for layer, column in zip(curves.layers, curves.troubles().T, strict=True):
        bad = np.flatnonzero(column != "")
        if len(bad):
            reasons[layer] = f"{column[bad[0]]} in {len(bad)} of {len(column)} runs"
    return reasons


def _limitation(curves: Trajectories, kept: NDArray, must_settle: bool) -> str:
    reasons = missing(int(kept.sum()), len(curves.runs), curves.snapshots)
    # A layer that is on its way to the end fluctuates so much there that it may be left out; it counts here.
    measured = (curves.trouble == "").all(axis=0)
    distances = relative_distance(curves.means[:, measured], curves.steps)
    if must_settle and measured.any() and not settled(distances, curves.steps):
        late = np.array(curves.layers)[measured][unsettled(distances, curves.steps)]
        reasons.append(f"the training has not settled: {', '.join(late)} still change in the last tenth of it")
    return "; ".join(reasons)
