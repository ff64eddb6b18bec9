"""The information plane: where each layer goes during training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from infoplane.analysis.plane import limits
from infoplane.figures.caption import plane_caption
from infoplane.figures.labels import label_points
from infoplane.figures.style import (
    COLOURS,
    DOUBLE_COLUMN,
    GREY,
    LEGEND_LINE,
    SMALL,
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
    columns, rows = _legend_shape(layers)
    figure, body = canvas(DOUBLE_COLUMN, 2.75 + rows * LEGEND_LINE, text)
    name_x, name_y = axis_labels(table)
    shown = panels_of(table, {"I_TY": name_y, "I_TY_corrected": name_y.replace(" (", " − permuted null (")})
    panels: list[Axes] = list(np.atleast_1d(body.subplots(1, len(shown), sharex=True)))
    ticks, first = time_ticks(table["step"])
    norm = SymLogNorm(linthresh=first, linscale=0.5, vmin=0, vmax=max(table["step"].max(), 1), base=10)
    for axes, (quantity, label) in zip(panels, shown.items(), strict=True):
        for layer in layers:
            _trajectory(axes, layer, quantity, norm)
        axes.set(xlabel=name_x, ylabel=label)
        # Room for the layers' names.
        axes.margins(x=0.06, y=0.1)
        _limits(axes, table, quantity)
    _colour_bar(body, panels, norm, ticks)
    handles = [_legend_entry(layer) for layer in layers]
    body.legend(handles=handles, loc="outside lower center", ncols=columns, columnspacing=1.2, handletextpad=0.2)
    # Labels are placed on the finished page: lay it out once, and leave it so.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes, quantity in zip(panels, shown, strict=True):
        _name_layers(axes, layers, quantity)
    return figure


def _trajectory(axes: Axes, layer: Layer, quantity: str, norm: SymLogNorm) -> None:
    """One layer's way through one plane."""
    rows = layer.rows.dropna(subset=["I_XT", quantity])
    if rows.empty:
        return
    axes.plot(rows["I_XT"], rows[quantity], color="0.75", linewidth=0.5, zorder=1, gid=f"line:{layer.name}")
    colours = COLOURS(norm(rows["step"].to_numpy(dtype=float)))
    faces = np.where(rows["uninformative"].to_numpy(dtype=bool)[:, None], (1.0, 1.0, 1.0, 1.0), colours)
    edges, sizes = colours.copy(), np.full(len(rows), 6.0)
    edges[-1], sizes[-1] = (0.1, 0.1, 0.1, 1.0), 24.0
    points = axes.scatter(rows["I_XT"], rows[quantity], s=sizes, c=faces, marker=layer.marker, zorder=3)
    points.set(edgecolors=edges, linewidths=0.6, gid=f"points:{layer.name}")
    _bars(axes, rows.iloc[:-1], quantity, linewidth=0.3, alpha=0.4)
    _bars(axes, rows.iloc[-1:], quantity, linewidth=0.6, capsize=1.5)


def _bars(axes: Axes, rows: pd.DataFrame, quantity: str, linewidth: float, capsize: float = 0, **look: Any) -> None:
    """The intervals of some points, where there are any."""
    if f"{quantity}_low" not in rows or not np.isfinite(rows[f"{quantity}_low"]).any():
        return
    # An interval may leave its mean out by a rounding error.
    ends = {
        bar: np.abs(np.stack([rows[name] - rows[f"{name}_low"], rows[f"{name}_high"] - rows[name]]))
        for bar, name in (("xerr", "I_XT"), ("yerr", quantity))
    }
    look |= {"ecolor": GREY, "elinewidth": linewidth, "capsize": capsize, "capthick": linewidth}
    axes.errorbar(rows["I_XT"], rows[quantity], fmt="none", zorder=2, **ends, **look)


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
    text_y = f"H(Y) = {limit_y:.2f} bits" + ("" if near_y else " ↑")
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


def _colour_bar(body: Figure | SubFigure, panels: list[Axes], norm: SymLogNorm, ticks: list[int]) -> None:
    """One colour bar for both panels."""
    bar = body.colorbar(ScalarMappable(norm, COLOURS), ax=panels, pad=0.02, aspect=28)
    bar.set_ticks(ticks, labels=[tick_label(step) for step in ticks], minor=False)
    bar.ax.minorticks_off()
    bar.set_label("training step")
    bar.outline.set_linewidth(0.6)


def _legend_shape(layers: list[Layer]) -> tuple[int, int]:
    """How many columns and rows the legend takes."""
    widest = max(text_width(_full_name(layer), SMALL) for layer in layers)
    columns = max(1, min(len(layers), int(72 * (DOUBLE_COLUMN - 0.3) / (widest + 28))))
    return columns, -(-len(layers) // columns)


def _full_name(layer: Layer) -> str:
    """The layer's name in the legend, which also says if nothing of it can be drawn."""
    drawn = layer.rows["I_XT"].notna().any()
    return f"{layer.short} {layer.name}" + ("" if drawn else f" ({layer.rows['status'].iloc[-1]})")


def _legend_entry(layer: Layer) -> Line2D:
    """The layer's marker, without a colour, since colour is time."""
    look: dict[str, Any] = {"markersize": 4.5, "markerfacecolor": "0.3", "markeredgecolor": "0.3", "color": "0.75"}
    return Line2D([], [], marker=layer.marker, linewidth=0.5, label=_full_name(layer), **look)


def _name_layers(axes: Axes, layers: list[Layer], quantity: str) -> None:
    """Write each layer's short name at its last point."""
    ways = {layer.short: layer.rows[["I_XT", quantity]].dropna().to_numpy() for layer in layers}
    ways = {name: way for name, way in ways.items() if len(way)}
    if ways:
        last = np.array([way[-1] for way in ways.values()])
        label_points(axes, last, list(ways), np.concatenate(list(ways.values())))
