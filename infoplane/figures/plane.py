"""The information plane: where each layer goes during training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infoplane.analysis.plane import limits, target_limit
from infoplane.figures.parts.captions import plane_caption
from infoplane.figures.parts.layers import (
    colour_bar,
    legend_shape,
    name_layers,
    shape_legend,
    time_norm,
    trajectory,
)
from infoplane.figures.parts.style import (
    DOUBLE_COLUMN,
    GREY,
    LEGEND_LINE,
    SMALL,
    axis_labels,
    canvas,
    layers_of,
    panels_of,
    style,
)


@style()
def information_plane(table: pd.DataFrame, caption: str | None = None) -> Figure:
    """Draw I(X;T) against I(T;Y), raw and null-corrected, in bits (or two dependence measures).

    A layer is a thin line through one marker per snapshot, coloured by training time, named at its last point,
    with bars for the 95 % intervals over runs and batches. Uninformative points are hollow. The limits log2 n and
    H(Y) are dashed where they are near the data and otherwise named at the edge.

    Args:
        table: A table of `infoplane.analysis.plane.plane_table`.
        caption: Printed underneath; None builds one from the table, "" prints none.

    Returns:
        A figure in double column width (6.75 in).

    Raises:
        InfoplaneError: If the table is empty.
    """
    layers = layers_of(table)
    text = plane_caption(table) if caption is None else caption
    columns, rows = legend_shape(layers, "I_XT")
    figure, body = canvas(DOUBLE_COLUMN, 2.75 + rows * LEGEND_LINE, text)
    name_x, name_y = axis_labels(table)
    shown = panels_of(table, {"I_TY": name_y, "I_TY_corrected": name_y.replace(" (", " − permuted null (")})
    panels: list[Axes] = list(np.atleast_1d(body.subplots(1, len(shown), sharex=True)))
    norm = time_norm(table["step"])
    for axes, (quantity, label) in zip(panels, shown.items(), strict=True):
        for layer in layers:
            trajectory(axes, layer, ("I_XT", quantity), norm)
        axes.set(xlabel=name_x, ylabel=label)
        # Room for the layers' names.
        axes.margins(x=0.06, y=0.1)
        _limits(axes, table, quantity)
    colour_bar(body, panels, norm, table["step"])
    shape_legend(body, layers, "I_XT", columns)
    # Labels are placed on the finished page: lay it out once, and leave it so.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes, quantity in zip(panels, shown, strict=True):
        name_layers(axes, layers, ("I_XT", quantity))
    return figure


def _limits(axes: Axes, table: pd.DataFrame, quantity: str) -> None:
    """Show the limits of the estimator: as lines if the data come near, else by an arrow, to keep the scale."""
    limit_x, limit_y = limits(table)
    if quantity == "I_TY_corrected":
        axes.axhline(0, color="0.85", linewidth=0.6, zorder=0)
    near_x = _reaches(axes.get_xlim(), limit_x)
    near_y = _reaches(axes.get_ylim(), limit_y)
    line: dict[str, Any] = {"color": GREY, "linewidth": 0.7, "linestyle": (0, (4, 3)), "zorder": 0}
    if near_x:
        axes.axvline(limit_x, **line)
    if near_y:
        axes.axhline(limit_y, **line)
    note: dict[str, Any] = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "size": SMALL,
        "color": GREY,
    }
    text_y = f"{target_limit(table)} = {limit_y:.2f} bits" + ("" if near_y else " ↑")
    named = "log₂ n" if np.isclose(limit_x, np.log2(table["n"].iloc[0])) else "limit"
    text_x = f"{named} = {limit_x:.2f} bits" + ("" if near_x else " →")
    if np.isfinite(limit_y):
        axes.annotate(text_y, (0, 1), (2, 2), ha="left", va="bottom", **note)
    if np.isfinite(limit_x):
        axes.annotate(text_x, (1, 1), (0, 2), ha="right", va="bottom", **note)


def _reaches(limits: tuple[float, float], limit: float) -> bool:
    """Whether a limit lies inside an axis or so little beyond that it may be stretched (by a quarter); NaN: no."""
    low, high = limits
    return limit <= high + 0.25 * (high - low)
