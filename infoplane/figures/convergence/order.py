"""The logarithm of the time of convergence against depth, run by run, beside the controls."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infoplane.errors import InfoplaneError
from infoplane.figures.parts.canvas import DOUBLE_COLUMN, canvas
from infoplane.figures.parts.captions import measured_text
from infoplane.figures.parts.style import GREY, SMALL, layers_of, style
from infoplane.words import symbol

# A set of differences, which have an axis of their own; its factors stand in the caption.
BEYOND = "training beyond the synchronous path"
_PANEL = 1.5


@style()
def convergence_order(table: pd.DataFrame, caption: str = "") -> Figure:
    """Draw the area a, the logarithm of a time, of each layer against its depth, with the slope.

    A column for each set of runs, a row for each quantity. Small markers are runs, the tick their mean; the line is
    the least-squares slope of the means, grey where no order can be judged. Above stand the factor a layer with its
    95 % interval over seeds, and p over layers and over seeds.

    Args:
        table: A table of `infoplane.analysis.convergence.order.order_table`.
        caption: Printed underneath, as of `order_caption`; "" prints none.

    Returns:
        A figure in double column width (6.75 in).

    Raises:
        InfoplaneError: If the table is empty.
    """
    if table.empty:
        raise InfoplaneError("nothing to draw: the table has no rows")
    drawn = table[table["group"] != BEYOND]
    groups, quantities = list(drawn["group"].unique()), list(drawn["quantity"].unique())
    figure, body = canvas(DOUBLE_COLUMN, len(quantities) * _PANEL + 0.35, caption)
    grid = body.subplots(len(quantities), len(groups), squeeze=False, sharex=True, sharey="row")
    for row, quantity in zip(grid, quantities, strict=True):
        for axes, group in zip(row, groups, strict=True):
            _panel(axes, drawn[(drawn["quantity"] == quantity) & (drawn["group"] == group)])
        row[0].set_ylabel(f"{symbol(quantity)}\nln time (area a)")
    for axes, group in zip(grid[0], groups, strict=True):
        axes.set_title(f"{group}\n{axes.get_title()}", size=SMALL)
    for axes in grid[-1]:
        axes.set_xlabel("depth of the layer")
    return figure


def order_caption(table: pd.DataFrame, estimates: pd.DataFrame) -> str:
    """The caption of the order of convergence.

    Args:
        table: A table of `infoplane.analysis.convergence.order.order_table`.
        estimates: The estimates behind its first set (`infoplane.analysis.gather.gather`), for their settings.
    """
    counts = table[table["group"] != BEYOND].groupby("group", sort=False)["run"].nunique()
    runs = "; ".join(f"{group}: {count} run{'s' if count > 1 else ''}" for group, count in counts.items())
    added = [
        f"{symbol(str(quantity))} {_factor_text(rows.iloc[0])}"
        for quantity, rows in table[table["group"] == BEYOND].groupby("quantity", sort=False)
    ]
    path = f" Training beyond the synchronous path: {', '.join(added)}." if added else ""
    return (
        f"Time of convergence against depth; {measured_text(estimates)} Runs: {runs}. Area under the relative "
        "distance to the end over ln(1 + step): a difference of two layers is the logarithm of the ratio of their "
        "times. Markers: runs; ticks: means; line: least squares. ×: times as long a layer, with the 95 % interval "
        f"of Student's t over seeds; p: one-sided t-tests over layers and over seeds.{path}{_left_out(table)}"
    )


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    """One quantity in one set of runs."""
    depths = sorted(rows["depth"].unique())
    for layer in layers_of(rows.assign(step=0)):
        areas = layer.rows["area"].to_numpy()
        depth = layer.rows["depth"].to_numpy() + np.linspace(-0.18, 0.18, len(areas)) * (len(areas) > 1)
        look = {"color": layer.colour, "marker": layer.marker, "gid": f"seeds:{layer.name}"}
        axes.plot(depth, areas, linestyle="none", markersize=2.6, markeredgewidth=0, **look)
    means = rows.groupby("depth")["area"].mean().dropna()
    axes.plot(means.index, means, linestyle="none", marker="_", markersize=9, color="black", gid="means")
    first = rows.iloc[0]
    if math.isfinite(first["factor"]):
        line = means.mean() + math.log(first["factor"]) * (means.index - means.index.to_numpy().mean())
        colour = GREY if first["limitation"] else "black"
        axes.plot(means.index, line, color=colour, linewidth=1, gid="slope")
    names = [f"T{depth}" if len(depths) < 9 else f"{depth}" for depth in depths]
    axes.set_xticks(depths, names)
    axes.set_title(_title(first), size=SMALL)


def _title(row: pd.Series) -> str:
    """The factor with its interval and p, or that there is none."""
    if not math.isfinite(row["factor"]):
        return "cannot be judged"
    known = [row[name] for name in ("p_layers", "p_seeds") if math.isfinite(row[name])]
    p_values = ", ".join(f"{p:.3f}" if p >= 0.001 else "< 0.001" for p in known)
    return "\n".join(filter(None, (_factor_text(row), f"p: {p_values}" if known else "")))


def _factor_text(row: pd.Series) -> str:
    if not math.isfinite(row["factor"]):
        return "cannot be judged"
    interval = f" [{row['low']:.2f}, {row['high']:.2f}]" if math.isfinite(row["low"]) else ""
    return f"×{row['factor']:.2f}{interval}"


def _left_out(table: pd.DataFrame) -> str:
    """Which layers of the first set are left out, and why."""
    rows = table[(table["group"] == table["group"].iloc[0]) & (table["left_out"] != "")]
    named = [
        f"{symbol(quantity)} of {layer} ({part['left_out'].iloc[0]})"
        for (quantity, _, layer), part in rows.groupby(["quantity", "depth", "layer"], sort=False)
    ]
    return f" Left out: {', '.join(named)}." if named else ""
