"""Convergence times beside depth, of trained runs and of controls, as one tidy table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from infoplane.analysis.bootstrap import LEVEL
from infoplane.analysis.convergence.order import DepthOrder
from infoplane.errors import InfoplaneError


def order_table(orders: Mapping[str, Sequence[DepthOrder]]) -> pd.DataFrame:
    """Puts the orders of convergence of several sets of runs side by side.

    Args:
        orders: For each set of runs, by its name ("trained", "shuffled labels"), the orders of some quantities.

    Returns:
        One row per set, quantity, run and layer: `group`, `quantity`, `tolerance`, and of `layer_times` `run`,
        `layer`, `depth`, `time`, `dropped`; `rho` of the run; `median` of ρ over runs with its 95 % interval `low`
        and `high`; `mean`, and of the same mean for permuted layers the median and the central 95 % in
        `null_median`, `null_low` and `null_high`, and `p`; `limitation`, why no order can be judged, "" where it
        can.

    Raises:
        InfoplaneError: There are no orders.
    """
    tables = [_rows(group, order) for group, found in orders.items() for order in found]
    if not tables:
        raise InfoplaneError("no orders of convergence to put side by side")
    return pd.concat(tables, ignore_index=True)


def _rows(group: str, order: DepthOrder) -> pd.DataFrame:
    null = np.full(3, np.nan)
    if len(order.null):
        null = np.quantile(order.null, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])
    layers = order.layers[["run", "layer", "depth", "time", "dropped"]]
    about = pd.DataFrame({"group": group, "quantity": order.quantity, "tolerance": order.tolerance}, layers.index)
    return about.join(layers).assign(
        rho=layers["run"].map(order.rho),
        median=order.median,
        low=order.low,
        high=order.high,
        mean=order.mean,
        null_low=null[0],
        null_median=null[1],
        null_high=null[2],
        p=order.p,
        limitation=order.limitation,
    )
