"""The information plane: where each layer goes during training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infoplane.analysis.plane import Plane, limits, target_limit
from infoplane.figures.parts.captions import plane_caption
from infoplane.figures.parts.layers import (
    colour_bar,
    legend_shape,
    name_layers,
    shape_handles,
    shape_legend,
    time_norm,
    trajectory,
)
from infoplane.figures.parts.style import (
    DOUBLE_COLUMN,
    GREY,
    LEGEND_LINE,
    SMALL,
    Layer,
    axis_labels,
    canvas,
    figure_of,
    layers_of,
    panels_of,
    style,
)


@style()
def information_plane(
    plane: Plane, caption: str | None = None, *, ax: Axes | None = None, quantity: str = "I_TY"
) -> Figure:
    """Draw I(X;T) against I(T;Y), raw and null-corrected, in bits (or two dependence measures).

    A layer is a thin line through one marker per snapshot, coloured by training time, named at its last point,
    with bars for the 95 % intervals over runs and batches. Uninformative points are hollow. The limits log2 n and
    H(Y) are dashed where they are near the data and otherwise named at the edge.

    Args:
        plane: The plane.
        caption: Printed underneath; None builds one from the plane, "" prints none.
        ax: Axes to draw one plane into, without a caption; None makes a figure with both.
        quantity: The column on the left axis of `ax`.

    Returns:
        A figure in double column width (6.75 in), or that of `ax`.

    Raises:
        InfoplaneError: If the table is empty.
    """
    table = plane.table
    layers = layers_of(table)
    if ax is not None:
        return _into(ax, table, layers, quantity)
    text = plane_caption(table) if caption is None else caption
    columns, rows = legend_shape(layers, "I_XT")
    figure, body = canvas(DOUBLE_COLUMN, 2.75 + rows * LEGEND_LINE, text)
    shown = panels_of(table, dict.fromkeys(("I_TY", "I_TY_corrected"), ""))
    panels: list[Axes] = list(np.atleast_1d(body.subplots(1, len(shown), sharex=True)))
    for axes, shown_quantity in zip(panels, shown, strict=True):
        _draw(axes, table, layers, shown_quantity)
    colour_bar(body, panels, time_norm(table["step"]), table["step"])
    shape_legend(body, layers, "I_XT", columns)
    # Labels are placed on the finished page: lay it out once, and leave it so.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes, shown_quantity in zip(panels, shown, strict=True):
        name_layers(axes, layers, ("I_XT", shown_quantity))
    return figure


def _into(axes: Axes, table: pd.DataFrame, layers: list[Layer], quantity: str) -> Figure:
    """One plane in axes that the caller laid out, with the layers' markers in a legend."""
    _draw(axes, table, layers, quantity)
    axes.legend(handles=shape_handles(layers, "I_XT"), handletextpad=0.2)
    figure = figure_of(axes)
    figure.draw_without_rendering()
    name_layers(axes, layers, ("I_XT", quantity))
    return figure


def _draw(axes: Axes, table: pd.DataFrame, layers: list[Layer], quantity: str) -> None:
    """Trajectories, labels and limits of one plane."""
    name_x, name_y = axis_labels(table)
    for layer in layers:
        trajectory(axes, layer, ("I_XT", quantity), time_norm(table["step"]))
    corrected = quantity == "I_TY_corrected"
    axes.set(xlabel=name_x, ylabel=name_y.replace(" (", " − permuted null (") if corrected else name_y)
    # Room for the layers' names.
    axes.margins(x=0.06, y=0.1)
    _limits(axes, table, quantity)


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
