"""Information, loss and accuracy over training time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from infoplane.figures.caption import time_caption
from infoplane.figures.style import (
    BLUE,
    COLUMN,
    GREY,
    LEGEND_LINE,
    SMALL,
    VERMILION,
    Layer,
    axis_labels,
    canvas,
    layers_of,
    panels_of,
    style,
    text_width,
    tick_label,
    time_ticks,
)

_DASHES: dict[str, Any] = {"test": "-", "train": (0, (4, 2)), "": "-"}
_OTHER_DASHES: tuple[Any, ...] = ("-.", (0, (1, 1)), (0, (6, 1, 1, 1, 1, 1)))
_PANEL = 1.15


@style()
def information_over_time(table: pd.DataFrame, metrics: pd.DataFrame | None, caption: str | None = None) -> Figure:
    """Draw I(X;T), I(T;Y) raw and null-corrected (bits), and loss and accuracy, over training steps.

    The time axis is logarithmic from the first recorded step on and linear before, so that step 0 shows; the
    upper edge counts epochs. Layers are ordered by colour; hollow markers: uninformative points; dotted: the
    permuted null; bands: 95 % intervals over runs and batches, of loss and accuracy ± 1 standard deviation.

    Args:
        table: A table of `infoplane.analysis.plane.plane_table`.
        metrics: A table of `infoplane.analysis.plane.metrics_table`, or None; columns with "loss" in their name
            are drawn on the left axis of the last panel and those with "acc" on the right.
        caption: Printed underneath; None builds one from the table, "" prints none.

    Returns:
        A figure in single column width (3.25 in).

    Raises:
        InfoplaneError: If the table is empty.
    """
    layers = layers_of(table)
    text = time_caption(table) if caption is None else caption
    lines = _metric_lines(metrics)
    columns = max(1, min(len(layers), int(72 * COLUMN / (max(_width(layer) for layer in layers) + 34))))
    name_x, name_y = axis_labels(table)
    panel_names = {"I_XT": name_x, "I_TY": name_y, "I_TY_corrected": name_y.replace(" (", " − null (")}
    shown = panels_of(table, panel_names)
    count = len(shown) + bool(lines)
    figure, body = canvas(COLUMN, count * _PANEL + 0.5 + -(-len(layers) // columns) * LEGEND_LINE, text)
    panels: list[Axes] = list(np.atleast_1d(body.subplots(count, 1, sharex=True)))
    for axes, (quantity, label) in zip(panels, shown.items(), strict=False):
        for layer in layers:
            _curve(axes, layer, quantity)
        # A long unit would run into the next panel's label.
        axes.set_ylabel(label.replace(" (dependence)", "\n(dependence)"))
    if lines and metrics is not None:
        _draw_metrics(panels[-1], metrics, lines)
    _time_axis(panels, table)
    handles = [_legend_entry(layer) for layer in layers]
    body.legend(handles=handles, loc="outside lower center", ncols=columns, columnspacing=1.0, handlelength=1.6)
    body.align_ylabels(panels)
    figure.draw_without_rendering()
    return figure


def _curve(axes: Axes, layer: Layer, quantity: str) -> None:
    """One layer's curve, with its band, its null, and hollow markers where it is uninformative."""
    rows, colour = layer.rows, layer.colour
    steps, mean = rows["step"], rows[quantity]
    low, high = rows[f"{quantity}_low"], rows[f"{quantity}_high"]
    axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0, gid=f"band:{layer.name}")
    axes.plot(steps, mean, color=colour, gid=f"line:{layer.name}")
    if quantity == "I_TY":
        null: dict[str, Any] = {"linestyle": (0, (1, 1.5)), "linewidth": 0.7}
        axes.plot(steps, rows["I_TY_null"], color=colour, gid=f"null:{layer.name}", **null)
    look: dict[str, Any] = {
        "color": colour,
        "marker": layer.marker,
        "linestyle": "none",
        "markersize": 3,
        "markeredgewidth": 0.6,
    }
    drawn = rows.dropna(subset=[quantity])
    last = drawn[~drawn["uninformative"]].tail(1)
    axes.plot(last["step"], last[quantity], **look)
    hollow = drawn[drawn["uninformative"]]
    axes.plot(hollow["step"], hollow[quantity], **look, markerfacecolor="white", gid=f"hollow:{layer.name}")


def _metric_lines(metrics: pd.DataFrame | None) -> list[str]:
    """The columns that the last panel shows."""
    if metrics is None:
        return []
    names = [str(name) for name in metrics if not str(name).endswith("_sd")]
    return [name for name in names if _side(name) and metrics[name].notna().any()]


def _side(name: str) -> str:
    """Which axis a metric belongs to, if any."""
    return next((side for side in ("loss", "acc") if side in name.lower()), "")


def _split(name: str) -> str:
    """What a metric was measured on: "train" of "train_loss", "" of "loss"."""
    rest = name.lower().replace("accuracy", "").replace("loss", "").replace("acc", "")
    return rest.strip("_-/ .")


def _draw_metrics(axes: Axes, metrics: pd.DataFrame, names: list[str]) -> None:
    """Loss on the left axis, accuracy on the right; what it was measured on by the kind of line."""
    splits = list(dict.fromkeys(_split(name) for name in names))
    others = iter(_OTHER_DASHES * len(splits))
    dashes = {split: _DASHES[split] if split in _DASHES else next(others) for split in splits}
    sides = {side: [name for name in names if _side(name) == side] for side in ("loss", "acc")}
    for side, colour, title in (("loss", BLUE, "loss"), ("acc", VERMILION, "accuracy")):
        if not sides[side]:
            continue
        ax = axes if side == "loss" else _right_axis(axes, alone=not sides["loss"])
        for name in sides[side]:
            mean, deviation = metrics[name], metrics[f"{name}_sd"]
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


def _time_axis(panels: list[Axes], table: pd.DataFrame) -> None:
    """Steps below, logarithmic from the first one on; epochs above."""
    ticks, first = time_ticks(table["step"])
    last = max(int(table["step"].max()), 1)
    limits = (-0.1 * first, last * 1.15)
    _stretch(panels[-1], first, limits, ticks, [tick_label(step) for step in ticks])
    panels[-1].set_xlabel("training step")
    epochs = float(table["epoch"].max())
    if not np.isfinite(epochs) or epochs <= 0:
        return
    per_step = epochs / last
    marks = [0.0, *(10.0**k for k in range(-6, 7) if first * per_step <= 10.0**k <= epochs)]
    if len(marks) < 3:
        marks = [tick * per_step for tick in ticks]
    top = panels[0].twiny()
    top.spines["top"].set_visible(True)
    _stretch(top, first, limits, [mark / per_step for mark in marks], [f"{mark:.3g}" for mark in marks])
    top.set_xlabel("epoch")


def _stretch(
    axes: Axes, first: int, limits: tuple[float, float], ticks: Sequence[float], labels: Sequence[str]
) -> None:
    """One time axis, with these ticks only."""
    axes.set_xscale("symlog", linthresh=first, linscale=0.5)
    axes.set_xlim(limits)
    axes.set_xticks(ticks, labels)
    axes.xaxis.set_minor_locator(NullLocator())


def _width(layer: Layer) -> float:
    """The width of a layer's name in points."""
    return text_width(f"{layer.short} {layer.name}", SMALL)


def _legend_entry(layer: Layer) -> Line2D:
    """A layer's colour and marker."""
    look: dict[str, Any] = {"color": layer.colour, "marker": layer.marker, "markersize": 3.5}
    return Line2D([], [], label=f"{layer.short} {layer.name}", **look)
