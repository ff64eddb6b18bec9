"""The way of a layer through a plane, coloured by training time, and what names it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from infoplane.analysis.plane import limits
from infoplane.figures.parts.labels import label_points
from infoplane.figures.parts.style import GREY, LINES, PALE, SMALL, Layer, tick_label, time_ticks
from infoplane.words import target_limit

# Areas of markers in square points, their edges in points, the last one's rim; how near, in points, hides another.
_SIZE, _LAST, _EDGE = 6.0, 24.0, 0.6
_RIM = (0.1, 0.1, 0.1, 1.0)
_COINCIDE = 2.5


def time_norm(steps: Sequence[int] | pd.Series) -> SymLogNorm:
    """From steps to colours: logarithmic from the first positive step on, step 0 shown."""
    return SymLogNorm(linthresh=time_ticks(steps)[1], linscale=0.5, vmin=0, vmax=max(*steps, 1), base=10)


def join_layers(axes: Axes, table: pd.DataFrame, plane: tuple[str, str], norm: SymLogNorm) -> None:
    """Joins the layers of each snapshot, from the input to the output, in the colour of its time.

    Args:
        axes: Where to draw.
        table: A table of `infoplane.analysis.plane.plane_table`.
        plane: The columns on the lower and the left axis.
        norm: Colours of the steps.
    """
    for step in sorted(table["step"].unique()):
        rows = table[table["step"] == step].sort_values("depth")
        places = rows[list(plane)].dropna()
        look: dict[str, Any] = {"color": LINES(norm(int(step))), "linewidth": 0.5, "zorder": 1}
        axes.plot(places[plane[0]], places[plane[1]], gid=f"snapshot:{step}", **look)


def trajectory(axes: Axes, layer: Layer, plane: tuple[str, str], norm: SymLogNorm, *, joined: bool = True) -> None:
    """One layer's way through one plane: a marker a snapshot, hollow where uninformative, the last one larger.

    Args:
        axes: Where to draw.
        layer: The layer.
        plane: The columns on the lower and the left axis; their intervals are in `<name>_low` and `<name>_high`.
        norm: Colours of the steps.
        joined: Join the snapshots by a thin line.
    """
    x, y = plane
    rows = layer.rows.dropna(subset=[x, y])
    if rows.empty:
        return
    if joined:
        axes.plot(rows[x], rows[y], color=PALE, linewidth=0.4, zorder=1, gid=f"line:{layer.name}")
    colours = LINES(norm(rows["step"].to_numpy(dtype=float)))
    faces = np.where(rows["uninformative"].to_numpy(dtype=bool)[:, None], (1.0, 1.0, 1.0, 1.0), colours)
    points = axes.scatter(rows[x], rows[y], s=_SIZE, c=faces, marker=layer.marker, zorder=3)
    points.set(edgecolors=colours, linewidths=_EDGE, gid=f"points:{layer.name}")
    # Above the ways of all layers, which would hide it.
    last = axes.scatter(rows[x].tail(1), rows[y].tail(1), s=_LAST, c=faces[-1:], marker=layer.marker, zorder=4)
    last.set(edgecolors=[_RIM], linewidths=_EDGE, gid=f"last:{layer.name}")
    _bars(axes, rows.iloc[:-1], plane, linewidth=0.3, alpha=0.4)
    _bars(axes, rows.iloc[-1:], plane, linewidth=0.6, capsize=1.5)


def _bars(
    axes: Axes, rows: pd.DataFrame, plane: tuple[str, str], linewidth: float, capsize: float = 0, **look: Any
) -> None:
    """The intervals of some points, where there are any."""
    x, y = plane
    if f"{y}_low" not in rows or not np.isfinite(rows[f"{y}_low"]).any():
        return
    # An interval may leave its mean out by a rounding error.
    ends = {
        bar: np.abs(np.stack([rows[name] - rows[f"{name}_low"], rows[f"{name}_high"] - rows[name]]))
        for bar, name in (("xerr", x), ("yerr", y))
    }
    look |= {"ecolor": GREY, "elinewidth": linewidth, "capsize": capsize, "capthick": linewidth}
    axes.errorbar(rows[x], rows[y], fmt="none", zorder=2, **ends, **look)


def colour_bar(
    body: Figure | SubFigure, panels: list[Axes], norm: SymLogNorm, steps: Sequence[int] | pd.Series
) -> None:
    """One bar of training time for all panels."""
    ticks, _ = time_ticks(steps)
    bar = body.colorbar(ScalarMappable(norm, LINES), ax=panels, pad=0.02, aspect=28)
    bar.set_ticks(ticks, labels=[tick_label(step) for step in ticks], minor=False)
    bar.ax.minorticks_off()
    bar.set_label("training step")
    bar.outline.set_linewidth(0.6)


def shape_entries(layers: list[Layer], x: str) -> list[Line2D]:
    """The entries of a legend: the layers' markers, without a colour, since colour is time; x must be measured."""
    look: dict[str, Any] = {"markersize": 4.5, "markerfacecolor": "0.3", "markeredgecolor": "0.3", "color": PALE}
    return [
        Line2D([], [], marker=layer.marker, linewidth=0.5, label=_full_name(layer, x), **look) for layer in layers
    ]


def _full_name(layer: Layer, x: str) -> str:
    """The layer's name in the legend, which also says if nothing of it can be drawn."""
    drawn = layer.rows[x].notna().any()
    return f"{layer.short} {layer.name}" + ("" if drawn else f" ({layer.rows['status'].iloc[-1]})")


def name_layers(axes: Axes, layers: list[Layer], plane: tuple[str, str]) -> None:
    """Write each layer's short name at its last point; where layers coincide, make those below larger.

    Args:
        axes: Where `trajectory` drew the layers. Its limits and its place on the page must be final.
        layers: The layers.
        plane: The columns on the lower and the left axis.
    """
    _nest(axes, layers, plane)
    ways = {layer.short: layer.rows[list(plane)].dropna().to_numpy() for layer in layers}
    ways = {name: way for name, way in ways.items() if len(way)}
    if ways:
        last = np.array([way[-1] for way in ways.values()])
        label_points(axes, last, list(ways), np.concatenate(list(ways.values())))


def limit_lines(axes: Axes, table: pd.DataFrame, columns: tuple[str, str]) -> None:
    """Show the limits of the estimator: as lines if the data come near, else by an arrow, to keep the scale.

    Above their nulls informations have 0, the null, in the place of these.

    Args:
        axes: Where to draw; they hold the data already.
        table: A table of `infoplane.analysis.plane.plane_table`.
        columns: The columns on the lower and the left axis.
    """
    limit_x, limit_y = limits(table)
    if "corrected" in columns[1]:
        axes.axhline(0, color=PALE, linewidth=0.5, zorder=0)
        limit_y = np.nan
    if "corrected" in columns[0]:
        # Nulls have limits of their own, so that those of raw informations do not bound what is above them.
        axes.axvline(0, color=PALE, linewidth=0.5, zorder=0)
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


def extent(table: pd.DataFrame, columns: tuple[str, str]) -> np.ndarray:
    """The corners of what is drawn of a table.

    Args:
        table: A table of `infoplane.analysis.plane.plane_table`.
        columns: The columns on the lower and the left axis.

    Returns:
        The lower left and the upper right corner with all intervals, (2, 2) float64; (0, 2) where nothing is drawn.
    """
    drawn = table.dropna(subset=[*columns])
    ends = [drawn[[name for name in (c, f"{c}_low", f"{c}_high") if name in drawn]] for c in columns]
    if drawn.empty:
        return np.empty((0, 2))
    return np.array([[end.min(axis=None) for end in ends], [end.max(axis=None) for end in ends]])


def _nest(axes: Axes, layers: list[Layer], plane: tuple[str, str]) -> None:
    """Enlarges each marker that those of later layers would hide, and gives these a white rim on it."""
    drawn: dict[str, Any] = {str(artist.get_gid()): artist for artist in axes.collections}
    ways = {layer.name: layer.rows.dropna(subset=[*plane]).set_index("step") for layer in layers}
    ways = {name: way for name, way in ways.items() if len(way)}
    places = {name: axes.transData.transform(way[[*plane]].to_numpy(dtype=float)) for name, way in ways.items()}
    near = _COINCIDE * axes.figure.dpi / 72
    above = {name: np.zeros(len(way)) for name, way in ways.items()}
    white = {name: np.zeros(len(way), dtype=bool) for name, way in ways.items()}
    for below, upper in itertools.combinations(ways, 2):
        _, here, there = np.intersect1d(ways[below].index, ways[upper].index, return_indices=True)
        hidden = np.hypot(*(places[below][here] - places[upper][there]).T) < near
        above[below][here[hidden]] += 1
        white[upper][there[hidden]] = True
    for name, count in above.items():
        points, rims = drawn[f"points:{name}"], white[name] & ~ways[name]["uninformative"].to_numpy(dtype=bool)
        colours = np.where(rims[:, None], 1.0, points.get_edgecolors())
        points.set(sizes=_SIZE * (1 + count), edgecolors=colours, linewidths=np.where(rims, 0.3, _EDGE))
        drawn[f"last:{name}"].set_sizes(_LAST * (1 + count[-1:]))


def _reaches(ends: tuple[float, float], limit: float) -> bool:
    """Whether a limit lies inside an axis or so little beyond that it may be stretched (by a quarter); NaN: no."""
    low, high = ends
    return limit <= high + 0.25 * (high - low)
