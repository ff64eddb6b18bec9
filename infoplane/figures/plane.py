"""The information plane: where each layer goes during training."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from infoplane.analysis.plane import Plane, corrected_axes
from infoplane.figures.parts.canvas import DOUBLE_COLUMN, canvas, figure_of
from infoplane.figures.parts.captions import plane_caption
from infoplane.figures.parts.layers import (
    colour_bar,
    extent,
    join_layers,
    limit_lines,
    name_layers,
    shape_entries,
    time_norm,
    trajectory,
)
from infoplane.figures.parts.style import Layer, layers_of, style
from infoplane.figures.parts.view import View
from infoplane.words import label

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
    shown = [axes_of(table, name) for name in view.quantities(table, ("I_TY_corrected", "I_TY"))]
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


def axes_of(table: pd.DataFrame, quantity: str) -> tuple[str, str]:
    """The columns on both axes of the plane that has this one of I_TY_corrected and I_TY on its left axis."""
    return corrected_axes(table) if quantity == "I_TY_corrected" else ("I_XT", quantity)


def _into(
    axes: Axes, table: pd.DataFrame, layers: list[Layer], quantity: str, view: View, beside: Sequence[Plane]
) -> Figure:
    """One plane in axes that the caller laid out, with the layers' markers in a legend."""
    columns = axes_of(table, quantity)
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
        axes.update_datalim(extent(other, columns))
    norm, is_classic = time_norm(table["step"]), view.style == "classic"
    if is_classic:
        join_layers(axes, table, columns, norm)
    for layer in layers:
        trajectory(axes, layer, columns, norm, joined=not is_classic)
    axes.set(xlabel=label(columns[0], table), ylabel=label(columns[1], table))
    # Room for the layers' names; ticks that do not depend on the size of the axes, which the layout changes.
    axes.margins(x=0.06, y=0.1)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    limit_lines(axes, table, columns)
    axes.set(**{name: ends for name, ends in (("xlim", view.xlim), ("ylim", view.ylim)) if ends is not None})
