"""The information plane: where each layer goes during training."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from infoplane.analysis.plane import Plane, corrected_axes, limits
from infoplane.figures.parts.canvas import DOUBLE_COLUMN, canvas, figure_of
from infoplane.figures.parts.captions import plane_caption
from infoplane.figures.parts.layers import (
    colour_bar,
    join_layers,
    name_layers,
    shape_entries,
    time_norm,
    trajectory,
)
from infoplane.figures.parts.style import GREY, SMALL, Layer, layers_of, style
from infoplane.figures.parts.view import View
from infoplane.words import label, target_limit

_ONE_PANEL = 4.0


@style()
def information_plane(
    plane: Plane,
    caption: str | None = None,
    *,
    ax: Axes | None = None,
    quantity: str = "I_TY_corrected",
    view: View | None = None,
    beside: Sequence[Plane] = (),
) -> Figure:
    """Draw I(X;T) against I(T;Y), less their permuted nulls and raw, in bits (or two dependence measures).

    A layer is a thin line through one marker per snapshot, coloured by training time, named at its last point,
    with bars for the 95 % intervals over runs, or the batches of one run. Uninformative points are hollow. The
    limits log2 n and H(Y) are dashed where they are near the data and otherwise named at the edge.

    Args:
        plane: The plane.
        caption: Printed underneath; None builds one from the plane, "" prints none.
        ax: Axes to draw one plane into, without a caption; None makes a figure with both.
        quantity: The column on the left axis of `ax`: "I_TY_corrected", over I(X;T) that is corrected as well, or
            "I_TY", over raw I(X;T).
        view: Panels, size, limits and style; None takes the usual ones.
        beside: Other planes that are looked at beside this one: the axes are so wide that these would fit too.

    Returns:
        A figure in double column width (6.75 in; a single panel in 4 in), or in that of the view, or that of `ax`.

    Raises:
        InfoplaneError: If the table is empty.
    """
    table = plane.table
    layers = layers_of(table)
    view = view or View()
    if ax is not None:
        return _into(ax, table, layers, quantity, view, beside)
    entries = shape_entries(layers, "I_XT")
    shown = [_axes_of(table, name) for name in view.quantities(table, ("I_TY_corrected", "I_TY"))]
    width, height = view.width or (DOUBLE_COLUMN if len(shown) > 1 else _ONE_PANEL), view.height or 2.75
    figure, body = canvas(width, height, caption, partial(plane_caption, table), entries)
    panels: list[Axes] = list(np.atleast_1d(body.subplots(1, len(shown))))
    for axes, columns in zip(panels, shown, strict=True):
        _draw(axes, table, layers, columns, view, beside)
    colour_bar(body, panels, time_norm(table["step"]), table["step"])
    # Labels are placed on the finished page: lay it out once, and leave it so.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes, columns in zip(panels, shown, strict=True):
        name_layers(axes, layers, columns)
    return figure


def _axes_of(table: pd.DataFrame, quantity: str) -> tuple[str, str]:
    """The columns on both axes of the plane that has this one on its left axis."""
    return corrected_axes(table) if quantity == "I_TY_corrected" else ("I_XT", quantity)


def _into(
    axes: Axes, table: pd.DataFrame, layers: list[Layer], quantity: str, view: View, beside: Sequence[Plane]
) -> Figure:
    """One plane in axes that the caller laid out, with the layers' markers in a legend."""
    columns = _axes_of(table, quantity)
    _draw(axes, table, layers, columns, view, beside)
    axes.legend(handles=shape_entries(layers, "I_XT"), handletextpad=0.2)
    figure = figure_of(axes)
    figure.draw_without_rendering()
    name_layers(axes, layers, columns)
    return figure


def _draw(
    axes: Axes,
    table: pd.DataFrame,
    layers: list[Layer],
    columns: tuple[str, str],
    view: View,
    beside: Sequence[Plane],
) -> None:
    """Trajectories, labels and limits of one plane."""
    for other in (table, *(plane.table for plane in beside)):
        axes.update_datalim(_extent(other, columns))
    norm, is_classic = time_norm(table["step"]), view.style == "classic"
    if is_classic:
        join_layers(axes, table, columns, norm)
    for layer in layers:
        trajectory(axes, layer, columns, norm, joined=not is_classic)
    axes.set(xlabel=label(columns[0], table), ylabel=label(columns[1], table))
    # Room for the layers' names; ticks that do not depend on the size of the axes, which the layout changes.
    axes.margins(x=0.06, y=0.1)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    _limits(axes, table, columns)
    axes.set(**{name: ends for name, ends in (("xlim", view.xlim), ("ylim", view.ylim)) if ends is not None})


def _limits(axes: Axes, table: pd.DataFrame, columns: tuple[str, str]) -> None:
    """Show the limits of the estimator: as lines if the data come near, else by an arrow, to keep the scale."""
    limit_x, limit_y = limits(table)
    if "corrected" in columns[1]:
        axes.axhline(0, color="0.85", linewidth=0.6, zorder=0)
    if "corrected" in columns[0]:
        # Nulls have limits of their own, so that those of raw informations do not bound what is above them.
        axes.axvline(0, color="0.85", linewidth=0.6, zorder=0)
        return
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


def _extent(table: pd.DataFrame, columns: tuple[str, str]) -> np.ndarray:
    """The lower left and the upper right corner of what is drawn of a table, (2, 2); (0, 2) of nothing."""
    drawn = table.dropna(subset=[*columns])
    ends = [drawn[[name for name in (c, f"{c}_low", f"{c}_high") if name in drawn]] for c in columns]
    if drawn.empty:
        return np.empty((0, 2))
    return np.array([[end.min(axis=None) for end in ends], [end.max(axis=None) for end in ends]])


def _reaches(limits: tuple[float, float], limit: float) -> bool:
    """Whether a limit lies inside an axis or so little beyond that it may be stretched (by a quarter); NaN: no."""
    low, high = limits
    return limit <= high + 0.25 * (high - low)
