"""Information, loss and accuracy over training time."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from infoplane.analysis.plane import Plane
from infoplane.analysis.stats import LEAST_VALUES
from infoplane.errors import InfoplaneError
from infoplane.figures.parts.canvas import COLUMN, DOUBLE_COLUMN, canvas, figure_of
from infoplane.figures.parts.captions import time_caption
from infoplane.figures.parts.curves import curve_entries, draw_curve
from infoplane.figures.parts.style import BLUE, GREY, VERMILION, Layer, layers_of, style
from infoplane.figures.parts.time_axis import epoch_axis, time_axis
from infoplane.figures.parts.time_strip import draw_strip, strip_height
from infoplane.figures.parts.view import View
from infoplane.words import label

_DASHES: dict[str, Any] = {"test": "-", "train": (0, (4, 2)), "": "-"}
_OTHER_DASHES: tuple[Any, ...] = ("-.", (0, (1, 1)), (0, (6, 1, 1, 1, 1, 1)))
_PANEL = 1.15
_SIDE_BY_SIDE = 5.0  # inches that two panels need
SHOWN = ("I_XT_corrected", "I_TY_corrected", "I_XT", "I_TY")


@style()
def information_over_time(
    plane: Plane,
    caption: str | None = None,
    *,
    times: pd.DataFrame | None = None,
    turns: pd.DataFrame | None = None,
    ax: Axes | None = None,
    quantity: str = "I_XT_corrected",
    view: View | None = None,
) -> Figure:
    """Draw I(X;T) and I(T;Y), less their permuted nulls and raw, and loss and accuracy, over training steps.

    The time axis is logarithmic from the first recorded step on and linear before, so that step 0 shows; the
    upper edge counts epochs. Layers are ordered by colour; hollow markers: uninformative points; dotted: the
    permuted null; bands: 95 % intervals over runs, or the batches of one run, of loss and accuracy ± 1 standard
    deviation; none with two runs. Panels stand side by side where there are more than two informations and the
    figure is 5 inches wide or more, so that it is not higher than a page.

    Args:
        plane: The plane; of its metrics, columns with "loss" in their name are drawn on the left axis of the last
            panel and those with "acc" on the right, without those of parts of the network
            ("validation_accuracy@conv1").
        caption: Printed underneath; None builds one from the plane, "" prints none.
        times: A table of `infoplane.analysis.convergence.order.ConvergenceOrder.table` for I(X;T): t50 is marked on
            the curves, and shown run by run in a panel of its own.
        turns: A table of `infoplane.analysis.convergence.phases.phases`, drawn in that panel.
        ax: Axes to draw one quantity into, without a caption; None makes a figure with all.
        quantity: The column that `ax` shows.
        view: Panels and size; None takes the usual ones.

    Returns:
        A figure in double column width (6.75 in), of one or two informations in single column width (3.25 in), or
        in that of the view, or that of `ax`.

    Raises:
        InfoplaneError: If the table is empty, or the times are of other layers.
    """
    table, metrics = plane.table, plane.metrics
    layers = layers_of(table)
    if ax is not None:
        return _into(ax, table, layers, quantity)
    _refuse_other_layers(layers, times)
    view = view or View()
    shown = view.quantities(table, SHOWN)
    width = view.width or (DOUBLE_COLUMN if len(shown) > 2 else COLUMN)
    columns = 2 if len(shown) > 2 and width >= _SIDE_BY_SIDE else 1
    upper = [_PANEL] * len(shown) + [strip_height(layers)] * (times is not None)
    lines = _metric_panels(metric_lines(metrics), apart=columns > 1 and len(upper) % 2 == 0)
    heights = upper + [_PANEL] * len(lines)
    rows = [max(heights[place : place + columns]) for place in range(0, len(heights), columns)]
    describe = partial(time_caption, table, columns=shown, times=times, turns=turns)
    figure, body = canvas(width, view.height or sum(rows) + 0.5, caption, describe, curve_entries(layers))
    panels = _panels(body, rows, columns, len(heights))
    for axes, name in zip(panels, shown, strict=False):
        _draw_quantity(axes, table, layers, name)
    if times is not None:
        for layer in layers:
            _mark(panels[0], layer, shown[0], float(times.loc[times["layer"] == layer.name, "t50"].median()))
        draw_strip(panels[len(shown)], layers, times, turns)
    for axes, names in zip(panels[len(upper) :], lines, strict=True):
        assert metrics is not None  # or it had no lines
        draw_metrics(axes, metrics, names)
    _time_axes(panels, table, columns)
    body.align_ylabels(panels)
    figure.draw_without_rendering()
    return figure


def _panels(body: Figure | SubFigure, rows: list[float], columns: int, count: int) -> list[Axes]:
    """So many panels row by row, with the heights of the rows; what the last row has more is left out."""
    grid = body.subplots(len(rows), columns, sharex=True, squeeze=False, gridspec_kw={"height_ratios": rows})
    for spare in grid.ravel()[count:]:
        spare.remove()
    return list(grid.ravel()[:count])


def _draw_quantity(axes: Axes, table: pd.DataFrame, layers: list[Layer], name: str) -> None:
    """One information of all layers."""
    for layer in layers:
        draw_curve(axes, layer, name)
    # A long unit would run into the next panel's label.
    axes.set_ylabel(label(name, table).replace(" (dependence)", "\n(dependence)"))


def _time_axes(panels: list[Axes], table: pd.DataFrame, columns: int) -> None:
    """Steps below the lowest panel of each column, epochs above the highest."""
    for axes in panels[-columns:]:
        time_axis(axes, table["step"])
        axes.tick_params(labelbottom=True)
    for axes in panels[:columns]:
        epoch_axis(axes, table)


def _metric_panels(names: list[str], apart: bool) -> list[list[str]]:
    """What is drawn in each panel of metrics: all in one, or loss and accuracy in their own."""
    sides = [[name for name in names if side_of(name) == side] for side in ("loss", "acc")]
    return [side for side in (sides if apart else [names]) if side]


def _into(axes: Axes, table: pd.DataFrame, layers: list[Layer], quantity: str) -> Figure:
    """One quantity in axes that the caller laid out."""
    for layer in layers:
        draw_curve(axes, layer, quantity)
    axes.set_ylabel(label(quantity, table))
    time_axis(axes, table["step"])
    axes.legend(handles=curve_entries(layers))
    return figure_of(axes)


def _mark(axes: Axes, layer: Layer, quantity: str, time: float) -> None:
    """A tick on a layer's curve of I(X;T) at its t50, between two snapshots."""
    rows = layer.rows.dropna(subset=quantity)
    if np.isfinite(time) and len(rows):
        height = np.interp(np.log1p(time), np.log1p(rows["step"]), rows[quantity])
        axes.plot([time], [height], marker="|", markersize=8, color="black", zorder=4, gid=f"time:{layer.name}")


def _refuse_other_layers(layers: list[Layer], times: pd.DataFrame | None) -> None:
    strangers = set() if times is None else {*times["layer"]} ^ {layer.name for layer in layers}
    if strangers:
        raise InfoplaneError(f"times of convergence and informations are of different layers ({min(strangers)})")


def metric_lines(metrics: pd.DataFrame | None) -> list[str]:
    """The columns that the last panel shows."""
    if metrics is None:
        return []
    # After "@" stands the part of the network that a metric is of, such as the head of a layer.
    names = [str(name) for name in metrics if not str(name).endswith("_sd") and "@" not in str(name)]
    return [name for name in names if side_of(name) and metrics[name].notna().any()]


def side_of(name: str) -> str:
    """Which axis a metric belongs to, if any."""
    return next((side for side in ("loss", "acc") if side in name.lower()), "")


def _split(name: str) -> str:
    """What a metric was measured on: "train" of "train_loss", "" of "loss"."""
    rest = name.lower().replace("accuracy", "").replace("loss", "").replace("acc", "")
    return rest.strip("_-/ .")


def draw_metrics(axes: Axes, metrics: pd.DataFrame, names: list[str]) -> None:
    """Loss on the left axis, accuracy on the right; what it was measured on by the kind of line.

    Args:
        axes: Where to draw.
        metrics: A table of `infoplane.analysis.plane.metrics_table`.
        names: Some of `metric_lines`.
    """
    splits = list(dict.fromkeys(_split(name) for name in names))
    others = iter(_OTHER_DASHES * len(splits))
    dashes = {split: _DASHES[split] if split in _DASHES else next(others) for split in splits}
    sides = {side: [name for name in names if side_of(name) == side] for side in ("loss", "acc")}
    for side, colour, title in (("loss", BLUE, "loss"), ("acc", VERMILION, "accuracy")):
        if not sides[side]:
            continue
        ax = axes if side == "loss" else _right_axis(axes, alone=not sides["loss"])
        for name in sides[side]:
            mean, deviation = metrics[name], metrics[f"{name}_sd"].where(metrics["runs"] >= LEAST_VALUES)
            ax.fill_between(metrics["step"], mean - deviation, mean + deviation, color=colour, alpha=0.2, lw=0)
            look: dict[str, Any] = {"linestyle": dashes[_split(name)], "marker": "o" if len(metrics) == 1 else ""}
            ax.plot(metrics["step"], mean, color=colour, markersize=3, gid=f"metric:{name}", **look)
        ax.set_ylabel(title, color=colour)
        ax.tick_params(axis="y", colors=colour)
    handles = [Line2D([], [], color=GREY, linestyle=dashes[split], label=split) for split in splits if split]
    if handles:
        place: dict[str, Any] = {
            "loc": "lower center",
            "bbox_to_anchor": (0.5, 1.0),
            "borderaxespad": 0,
            "borderpad": 0.1,
        }
        axes.legend(handles=handles, ncols=len(handles), handlelength=2.2, **place)


def _right_axis(axes: Axes, alone: bool) -> Axes:
    """A second y axis on the right; without a loss its left one is empty."""
    right = axes.twinx()
    right.spines["right"].set_visible(True)
    if alone:
        axes.set_yticks([])
    return right
