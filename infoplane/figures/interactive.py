"""Planes and curves that answer to a slider and to the mouse, drawn by Plotly for the page of a run.

Each figure holds both views, raw and less the permuted nulls, and says of each trace in `meta` which layer, view
and part of the drawing it is. The script of the page shows those that are asked for, and moves the points.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import SymLogNorm, to_hex

from infoplane.analysis.plane import Plane
from infoplane.errors import InfoplaneError
from infoplane.figures.parts.layers import time_norm
from infoplane.figures.parts.style import BLUE, VERMILION, shades, tick_label, time_ticks
from infoplane.figures.time import metric_lines, side_of
from infoplane.words import is_bits, label, symbol, unit_of

try:
    import plotly.graph_objects as go
    from plotly.offline import get_plotlyjs
    from plotly.subplots import make_subplots
except ImportError:
    raise InfoplaneError('a page needs Plotly; install it: pip install "infoplane[page]"') from None

_VIEWS = ("corrected", "raw")
_SYMBOLS = (
    *("circle", "square", "triangle-up", "diamond", "triangle-down", "pentagon", "cross", "triangle-left", "x"),
    *("hexagon", "triangle-right", "star-diamond", "star", "octagon", "hexagram"),
)
# So far apart epochs are the same: those of one step, written with two digits.
_SAME_EPOCH = 0.005
_PLANE_HEIGHT, _CURVE_HEIGHT = 380, 150
_PALE = "#bbbbbb"
_QUIET: dict[str, Any] = {"hoverinfo": "skip", "showlegend": False}
_TITLES = {"loss": "loss", "acc": "accuracy"}


@dataclass(frozen=True)
class Look:
    """How a layer is drawn in every figure of a page: its place by depth, colour and shape."""

    colour: str
    symbol: str


def script() -> str:
    """Plotly's own script, which a page must hold to need no network."""
    return str(get_plotlyjs())


def looks_of(planes: Sequence[Plane]) -> dict[str, Look]:
    """The looks of the layers of all planes by name, from the input to the output; equal names look alike."""
    names = list(dict.fromkeys(name for plane in planes for name in plane.layers))
    return {
        name: Look(to_hex(colour), _SYMBOLS[place % len(_SYMBOLS)])
        for place, (name, colour) in enumerate(zip(names, shades(len(names)), strict=True))
    }


def axes_of(plane: Plane, view: str) -> tuple[str, str]:
    """The columns on the lower and the left axis of one view of a plane."""
    return plane.corrected if view == "corrected" else ("I_XT", "I_TY")


def plane_figure(planes: Sequence[Plane], place: int, looks: dict[str, Look]) -> dict[str, Any]:
    """One of several planes on the same axes, as Plotly's JSON values.

    Args:
        planes: All planes that share the axes.
        place: Which of them to draw.
        looks: The looks of the layers.

    Returns:
        `data`, `layout`, and in `views` the axes of each view.
    """
    plane, traces = planes[place], []
    for part in ("way", "trail", "now"):
        for view in _VIEWS:
            for name, rows in _layers(plane.table):
                traces.append(_WAYS[part](rows, axes_of(plane, view), looks[name], _meta(name, view, part)))
    traces += [*_limit_lines(planes, plane)]
    figure = go.Figure(traces, _layout(_PLANE_HEIGHT))
    first = planes[0].table
    views = {}
    for view in _VIEWS:
        x, y = axes_of(planes[0], view)
        views[view] = {
            "xaxis": {"title": {"text": label(x, first)}, "range": _range(planes, view, 0)},
            "yaxis": {"title": {"text": label(y, first)}, "range": _range(planes, view, 1)},
        }
    return {**json.loads(figure.to_json()), "views": views}


def curves_figure(planes: Sequence[Plane], place: int, looks: dict[str, Look]) -> dict[str, Any]:
    """Both informations, loss and accuracy of one of several planes over training time; as `plane_figure`."""
    plane = planes[place]
    sides = [side for side in _TITLES if any(_metrics(other, side) for other in planes)]
    count = 2 + len(sides)
    figure = make_subplots(rows=count, shared_xaxes=True, vertical_spacing=0.16 / count)
    norm, ticks = time_norm(_steps(planes)), time_ticks(_steps(planes))[0]
    for row in (1, 2):
        for view in _VIEWS:
            column = axes_of(plane, view)[row - 1]
            for name, rows in _layers(plane.table):
                figure.add_traces(_curve(rows, column, norm, looks[name], name, view), rows=row, cols=1)
    for row, side in enumerate(sides, start=3):
        figure.add_traces([*_metric_curves(plane, side, norm)], rows=row, cols=1)
    figure.update_layout(_layout(_CURVE_HEIGHT * count))
    figure.update_layout(margin_l=72)
    figure.update_xaxes(_frame() | {"tickvals": _places(norm, ticks), "ticktext": [tick_label(t) for t in ticks]})
    figure.update_xaxes(title="training step", row=count, col=1)
    figure.update_yaxes(_frame())
    views: dict[str, Any] = {view: {} for view in _VIEWS}
    for view in _VIEWS:
        for axis in (0, 1):
            name = axes_of(planes[0], view)[axis]
            # On two lines, since it is longer than a row is high.
            title = label(name, planes[0].table).replace(" (", "<br>(")
            views[view][f"yaxis{axis + 1 if axis else ''}"] = {
                "title": {"text": title},
                "range": _range(planes, view, axis),
            }
    for row, side in enumerate(sides, start=3):
        figure.update_yaxes(title=_TITLES[side], range=_metric_range(planes, side), row=row, col=1)
    return {**json.loads(figure.to_json()), "views": views}


def times(planes: Sequence[Plane]) -> list[dict[str, float | None]]:
    """The stops of the slider: each step of any plane, its place on the axis of time, and its epoch.

    Where planes disagree, as of batches of other sizes, a step has no epoch.
    """
    steps = _steps(planes)
    each = pd.concat([plane.table for plane in planes]).groupby("step")["epoch"]
    epochs = each.mean().where(each.max() - each.min() < _SAME_EPOCH)
    columns = (steps, _numbers(epochs.loc[steps]), _places(time_norm(steps), steps))
    return [{"step": step, "epoch": epoch, "place": place} for step, epoch, place in zip(*columns, strict=True)]


def hover_texts(plane: Plane) -> dict[str, dict[str, list[Any]]]:
    """What is said of each layer at each snapshot: the steps, and the text for the mouse."""
    metrics = None if plane.metrics is None else plane.metrics.set_index("step")
    return {
        name: {
            "steps": rows["step"].astype(int).tolist(),
            "texts": [_hover(name, row, metrics) for _, row in rows.iterrows()],
        }
        for name, rows in _layers(plane.table)
    }


def _hover(name: str, row: pd.Series, metrics: pd.DataFrame | None) -> str:
    """All numbers of a layer at a snapshot."""
    table = row.to_frame().T
    unit = f" {unit_of(table)}" if is_bits(table) else ""
    epoch = f", epoch {row['epoch']:.3g}" if np.isfinite(row["epoch"]) else ""
    lines = [f"<b>{html.escape(name)}</b>", f"step {row['step']}{epoch}"]
    for column in ("I_XT", "I_TY"):
        lines.append(f"{symbol(column, table)} = {_with_ends(row, column)}{unit}")
        if pd.notna(row.get(f"{column}_null")):
            lines.append(f"   null {_with_ends(row, f'{column}_null')}")
            lines.append(f"   above it {_with_ends(row, f'{column}_corrected')}")
    if pd.notna(row.get("S_T")):
        lines.append(f"S(T) = {row['S_T']:.3f}{unit}")
    count = f"{int(row['runs'])} run{'s' if row['runs'] != 1 else ''}"
    lines.append(f"{count}, status {html.escape(str(row['status']))}")
    if metrics is not None and row["step"] in metrics.index:
        shown = [n for n in metric_lines(metrics) if pd.notna(metrics.loc[row["step"], n])]
        lines += [f"{html.escape(_words(n))} {metrics.loc[row['step'], n]:.4g}" for n in shown]
    return "<br>".join(lines)


def _with_ends(row: pd.Series, name: str) -> str:
    """A value with its 95 % interval, where there is one."""
    if pd.isna(row[name]):
        return "–"
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return f"{row[name]:.3f}" + (f" [{low:.3f}, {high:.3f}]" if pd.notna(low) and pd.notna(high) else "")


def _way(rows: pd.DataFrame, columns: tuple[str, str], look: Look, meta: dict[str, str]) -> go.Scatter:
    """The whole way of a layer, pale, with a point for each snapshot."""
    ends = {axis: _bars(rows, name) for axis, name in zip(("x", "y"), columns, strict=True)}
    return go.Scatter(
        x=_numbers(rows[columns[0]]),
        y=_numbers(rows[columns[1]]),
        mode="lines+markers",
        line={"color": _PALE, "width": 0.8},
        marker={"symbol": _symbols(rows, look), "size": 5, "color": look.colour, "opacity": 0.45},
        customdata=[ends],
        hovertemplate="%{text}<extra></extra>",
        meta=meta,
        showlegend=False,
    )


def _trail(_rows: pd.DataFrame, _columns: tuple[str, str], look: Look, meta: dict[str, str]) -> go.Scatter:
    """The way up to the step of the slider."""
    return go.Scatter(x=[], y=[], mode="lines", line={"color": look.colour, "width": 2}, meta=meta, **_QUIET)


def _now(_rows: pd.DataFrame, _columns: tuple[str, str], look: Look, meta: dict[str, str]) -> go.Scatter:
    """The layer at the step of the slider, with its intervals."""
    bars = {"type": "data", "symmetric": False, "thickness": 1, "width": 3, "color": "#666666"}
    return go.Scatter(
        x=[],
        y=[],
        mode="markers",
        marker={
            "size": 13,
            "color": look.colour,
            "symbol": look.symbol,
            "line": {"width": 1.5, "color": "#222222"},
        },
        error_x=bars,
        error_y=bars,
        hovertemplate="%{text}<extra></extra>",
        meta=meta,
        showlegend=False,
    )


_WAYS = {"way": _way, "trail": _trail, "now": _now}


def _curve(rows: pd.DataFrame, column: str, norm: SymLogNorm, look: Look, name: str, view: str) -> list[go.Scatter]:
    """A quantity of a layer over time: its band, its null in the raw view, and itself."""
    places = _places(norm, rows["step"])
    traces = []
    ends = rows[[f"{column}_low", f"{column}_high"]].to_numpy(dtype=float)
    known = np.isfinite(ends).all(axis=1)
    if known.any():
        along = [place for place, kept in zip(places, known, strict=True) if kept]
        traces.append(
            go.Scatter(
                x=along + along[::-1],
                y=_numbers(ends[known, 0]) + _numbers(ends[known, 1])[::-1],
                fill="toself",
                fillcolor=look.colour,
                opacity=0.15,
                line={"width": 0},
                meta=_meta(name, view, "band"),
                **_QUIET,
            )
        )
    if f"{column}_null" in rows and rows[f"{column}_null"].notna().any():
        dots = {"color": look.colour, "width": 1, "dash": "dot"}
        null = _numbers(rows[f"{column}_null"])
        traces.append(
            go.Scatter(x=places, y=null, mode="lines", line=dots, meta=_meta(name, view, "null"), **_QUIET)
        )
    hollow = rows["uninformative"].to_numpy(dtype=bool)
    marker = {"symbol": _symbols(rows, look), "color": look.colour, "size": np.where(hollow, 6, 3).tolist()}
    traces.append(
        go.Scatter(
            x=places,
            y=_numbers(rows[column]),
            mode="lines+markers",
            line={"color": look.colour, "width": 1.6},
            marker=marker,
            hovertemplate="%{text}<extra></extra>",
            meta=_meta(name, view, "curve"),
            showlegend=False,
        )
    )
    return traces


def _metric_curves(plane: Plane, side: str, norm: SymLogNorm) -> Iterable[go.Scatter]:
    """The losses, or the accuracies; those of training are dashed."""
    for name in _metrics(plane, side):
        rows = plane.metrics
        assert rows is not None  # or it had no metrics
        colour = to_hex(BLUE if side == "loss" else VERMILION)
        yield go.Scatter(
            x=_places(norm, rows["step"]),
            y=_numbers(rows[name]),
            customdata=rows["step"].astype(int).tolist(),
            mode="lines",
            line={"color": colour, "dash": "dash" if "train" in name else "solid", "width": 1.6},
            hovertemplate=f"{html.escape(_words(name))} %{{y:.4g}}<br>step %{{customdata}}<extra></extra>",
            meta={"part": "metric"},
            showlegend=False,
        )


def _limit_lines(planes: Sequence[Plane], plane: Plane) -> Iterable[go.Scatter]:
    """The largest values that the estimator can give, in the raw view; outside of the axes they are not seen."""
    look: dict[str, Any] = {"mode": "lines", "line": {"color": "#666666", "dash": "dash", "width": 1}, **_QUIET}
    (low_x, high_x), (low_y, high_y) = (_range(planes, "raw", axis) for axis in (0, 1))
    limits = plane.limits
    if np.isfinite(limits["I_XT"]):
        yield go.Scatter(x=[limits["I_XT"]] * 2, y=[low_y, high_y], meta={"view": "raw", "part": "limit"}, **look)
    if np.isfinite(limits["I_TY"]):
        yield go.Scatter(x=[low_x, high_x], y=[limits["I_TY"]] * 2, meta={"view": "raw", "part": "limit"}, **look)


def _range(planes: Sequence[Plane], view: str, axis: int) -> list[float]:
    """The ends of one axis, so wide that all planes fit, with the limit where it is near."""
    columns = [axes_of(plane, view)[axis] for plane in planes]
    values = [
        plane.table[[name for name in (column, f"{column}_low", f"{column}_high") if name in plane.table]]
        for plane, column in zip(planes, columns, strict=True)
    ]
    numbers = np.concatenate([table.to_numpy(dtype=float).ravel() for table in values])
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return [0.0, 1.0]
    low, high = float(numbers.min()), float(numbers.max())
    if view == "raw":
        limits = [plane.limits["I_TY" if axis else "I_XT"] for plane in planes]
        high = max(high, *(limit for limit in limits if limit <= high + 0.25 * (high - low)), -math.inf)
    pad = max(0.08 * (high - low), 0.01)
    return [low - pad, high + pad]


def _metric_range(planes: Sequence[Plane], side: str) -> list[float]:
    """The ends of the axis of losses or accuracies."""
    values = [
        plane.metrics[_metrics(plane, side)].to_numpy(dtype=float) for plane in planes if plane.metrics is not None
    ]
    numbers = np.concatenate([part.ravel() for part in values])
    numbers = numbers[np.isfinite(numbers)]
    pad = max(0.06 * float(np.ptp(numbers)), 0.01)
    return [float(numbers.min()) - pad, float(numbers.max()) + pad]


def _metrics(plane: Plane, side: str) -> list[str]:
    """The metrics of one kind."""
    return [name for name in metric_lines(plane.metrics) if side_of(name) == side]


def _steps(planes: Sequence[Plane]) -> list[int]:
    """All steps of any plane."""
    return sorted({int(step) for plane in planes for step in plane.table["step"]})


def _layers(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each layer in the order of steps, from the input to the output."""
    groups = table.groupby(["depth", "layer"], sort=True)
    return [(str(name), rows.sort_values("step")) for (_, name), rows in groups]


def _meta(layer: str, view: str, part: str) -> dict[str, str]:
    return {"layer": layer, "view": view, "part": part}


def _symbols(rows: pd.DataFrame, look: Look) -> list[str]:
    """Hollow markers where a point is uninformative."""
    return [look.symbol + ("-open" if hollow else "") for hollow in rows["uninformative"]]


def _bars(rows: pd.DataFrame, name: str) -> dict[str, list[float | None]] | None:
    """How far the interval goes above and below each value."""
    if f"{name}_low" not in rows or rows[f"{name}_low"].isna().all():
        return None
    return {
        "array": _numbers((rows[f"{name}_high"] - rows[name]).clip(lower=0)),
        "arrayminus": _numbers((rows[name] - rows[f"{name}_low"]).clip(lower=0)),
    }


def _layout(height: int) -> dict[str, Any]:
    return {
        "height": height,
        "margin": {"l": 58, "r": 12, "t": 12, "b": 46},
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": "#222222"},
        "plot_bgcolor": "white",
        "paper_bgcolor": "white",
        "showlegend": False,
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "bgcolor": "white", "font": {"size": 12}},
        "xaxis": _frame(),
        "yaxis": _frame(),
    }


def _frame() -> dict[str, Any]:
    return {"gridcolor": "#eeeeee", "zerolinecolor": "#bbbbbb", "linecolor": "#888888", "ticks": "outside"}


def _words(name: str) -> str:
    """A metric in words."""
    return name.replace("_", " ")


def _places(norm: SymLogNorm, steps: Sequence[int] | pd.Series) -> list[float | None]:
    """Where steps stand on the axis of time, from 0 to 1; Plotly has no such scale."""
    return _numbers(np.asarray(norm(np.asarray(steps, dtype=float))))


def _numbers(values: Iterable[float]) -> list[float | None]:
    """Numbers as JSON has them: five digits behind the point, and null for what is not finite."""
    return [round(float(value), 5) if math.isfinite(value) else None for value in values]
