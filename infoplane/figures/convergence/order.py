"""Convergence time against depth, run by run, beside the controls."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infoplane.analysis.convergence.verdict import MIN_RHO
from infoplane.errors import InfoplaneError
from infoplane.figures.convergence.profile import TITLES
from infoplane.figures.parts.captions import measured
from infoplane.figures.parts.style import (
    DOUBLE_COLUMN,
    GREY,
    SMALL,
    canvas,
    layers_of,
    style,
    tick_label,
    time_ticks,
)
from infoplane.figures.parts.time_axis import stretch
from infoplane.figures.parts.time_strip import draw_runs

PERMUTED = "permuted layers"
_ROW = 0.16


@style()
def convergence_order(table: pd.DataFrame, caption: str = "") -> Figure:
    """Draw convergence times by depth, a column for each set of runs, and ρ of all of them beside permuted layers.

    Markers are runs, the tick their median, an arrow at the right edge a run that had not converged. In the last
    column dots are ρ of the runs, bars the median with its 95 % interval; the grey bar holds 95 % of the mean ρ of
    permuted layers of the first set.

    Args:
        table: A table of `infoplane.analysis.convergence.order_table.order_table`; a row of panels a quantity.
        caption: Printed underneath, as of `order_caption`; "" prints none.

    Returns:
        A figure in double column width (6.75 in).

    Raises:
        InfoplaneError: If the table is empty.
    """
    if table.empty:
        raise InfoplaneError("nothing to draw: the table has no rows")
    groups, quantities = list(table["group"].unique()), list(table["quantity"].unique())
    height = len(quantities) * (max(3, table["depth"].nunique()) * _ROW + 0.6) + 0.35
    figure, body = canvas(DOUBLE_COLUMN, height, caption)
    ratios = [1.0] * len(groups) + [0.95]
    grid = body.subplots(len(quantities), len(ratios), squeeze=False, gridspec_kw={"width_ratios": ratios})
    for row, quantity in zip(grid, quantities, strict=True):
        rows = table[table["quantity"] == quantity]
        for axes, group in zip(row, groups, strict=False):
            _times(axes, rows[rows["group"] == group])
        row[0].set_ylabel(TITLES.get(quantity, quantity))
        _correlations(row[-1], rows, groups)
    for axes, group in zip(grid[0], [*groups, "order of the layers"], strict=True):
        axes.set_title("\n".join(filter(None, (group, axes.get_title()))), size=SMALL)
    _time_axes(grid[:, :-1], table["time"])
    grid[-1, -1].set_xlabel("ρ of depth and time")
    return figure


def order_caption(table: pd.DataFrame, estimates: pd.DataFrame) -> str:
    """The caption of the order of convergence.

    Args:
        table: A table of `infoplane.analysis.convergence.order_table.order_table`.
        estimates: The estimates behind its first set (`infoplane.analysis.gather.gather`), for their settings.
    """
    counts = table.groupby("group", sort=False)["run"].nunique()
    runs = "; ".join(f"{group}: {count} run{'s' if count > 1 else ''}" for group, count in counts.items())
    return (
        f"Convergence time against depth; {measured(estimates)} Runs: {runs}. Tolerance: "
        f"{100 * table['tolerance'].iloc[0]:g} % of the range; ρ: Spearman's. Markers: runs; tick: their median; "
        "arrow: not converged at the end. Right: dots: ρ of each run; bar: median with the 95 % interval of a "
        "hierarchical "
        f"bootstrap over runs and batches; grey: 95 % of the mean ρ of {counts.index[0]} under permuted layers; "
        f"dotted: the {MIN_RHO:g} that the rule asks for. p: share of layer orders whose mean ρ is as large, each "
        "quantity for itself. Dropped layers (flat, saturated or not measured) have no time."
    )


def _times(axes: Axes, rows: pd.DataFrame) -> None:
    """The times of one quantity in one set of runs, and its ρ above."""
    for layer in layers_of(rows.assign(step=0)):
        draw_runs(axes, int(layer.rows["depth"].iloc[0]), layer, layer.rows)
    depths = sorted(rows["depth"].unique())
    axes.set_ylim(0.4, len(depths) + 0.6)
    axes.set_yticks(depths, [f"T{depth}" for depth in depths])
    axes.tick_params(axis="y", length=0)
    axes.set_title(_rho_text(rows.iloc[0]), size=SMALL)


def _rho_text(row: pd.Series) -> str:
    """ρ with its interval and p, or that there is none."""
    if row["limitation"]:
        return "ρ: too few usable layers" if "usable" in row["limitation"] else "ρ cannot be judged"
    interval = f" [{row['low']:.2f}, {row['high']:.2f}]" if math.isfinite(row["low"]) else ""
    p = f"p = {row['p']:.3f}" if row["p"] >= 0.001 else "p < 0.001"
    return f"ρ = {row['median']:.2f}{interval}\n{p}".replace("-", "−")


def _correlations(axes: Axes, rows: pd.DataFrame, groups: list[str]) -> None:
    """ρ of each set of runs, the first on top, and of permuted layers at the bottom."""
    for place in (0.0, MIN_RHO):
        axes.axvline(place, color=GREY, linewidth=0.6, linestyle=(0, (1, 2)) if place else "-", zorder=0)
    for height, group in zip(range(len(groups), 0, -1), groups, strict=True):
        own = rows[rows["group"] == group]
        rho = own.groupby("run")["rho"].first().to_numpy()
        heights = height + np.linspace(-0.22, 0.22, len(rho)) * (len(rho) > 1)
        axes.plot(rho, heights, "o", color=GREY, markersize=2.5, markeredgewidth=0, gid=f"rho:{group}")
        row = own.iloc[0]
        axes.plot([row["low"], row["high"]], [height] * 2, color="black", linewidth=1, gid=f"interval:{group}")
        axes.plot([row["median"]], [height], "|", color="black", markersize=9, gid=f"median:{group}")
    first = rows.iloc[0]
    look: dict[str, Any] = {"color": "0.75", "solid_capstyle": "butt", "gid": "null"}
    axes.plot([first["null_low"], first["null_high"]], [0, 0], linewidth=6, **look)
    axes.plot([first["null_median"]], [0], "|", color="black", markersize=7)
    axes.set_yticks(range(len(groups), -1, -1), [*groups, PERMUTED])
    axes.set(xlim=(-1.08, 1.08), ylim=(-0.6, len(groups) + 0.6), xticks=(-1, -0.5, 0, 0.5, 1))
    axes.set_xticklabels(["−1", "−0.5", "0", "0.5", "1"])
    axes.tick_params(axis="y", length=0)


def _time_axes(grid: np.ndarray, times: pd.Series) -> None:
    """One time axis for all panels, from the first convergence to the last; steps under the lowest only."""
    finite = times[np.isfinite(times)].tolist() or [1]
    ticks, _ = time_ticks(finite)
    limits = (0.7 * max(min(finite), 1), 1.3 * max(*finite, 1))
    shown = [tick for tick in ticks if limits[0] <= tick <= limits[1]]
    for row, panels in enumerate(grid):
        for axes in panels:
            last = row == len(grid) - 1
            stretch(
                axes, max(int(min(finite)), 1), limits, shown, [tick_label(tick) if last else "" for tick in shown]
            )
            if last:
                # Three columns of panels leave no room for more words.
                axes.set_xlabel("converged at step" if len(panels) > 2 else "convergence time (training step)")
