"""A strip below curves over time: when each layer is half of the way to its end, and where its I(X;T) turns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from infoplane.analysis.convergence.phases import PHASES
from infoplane.figures.parts.style import GREY, Layer

_TURNS = PHASES[True, True]
_ROW = 0.15
_SEED: dict[str, Any] = {"linestyle": "none", "markersize": 2.6, "markeredgewidth": 0}
_MEDIAN: dict[str, Any] = {"linestyle": "none", "marker": "|", "color": "black", "markersize": 8, "zorder": 1.5}
_TURN: dict[str, Any] = {"marker": "v", "markersize": 3.5, "color": GREY, "markeredgewidth": 0.7, "linewidth": 0.7}


def strip_height(layers: list[Layer]) -> float:
    """Height in inches that the strip needs."""
    return max(0.45, _ROW * len(layers) + 0.1)


def draw_strip(axes: Axes, layers: list[Layer], times: pd.DataFrame, turns: pd.DataFrame | None) -> None:
    """One row a layer, the first at the bottom: times of the runs, their median, and the turn with its interval.

    Args:
        axes: Where to draw.
        layers: The layers.
        times: A table of `infoplane.analysis.convergence.order.ConvergenceOrder.table`.
        turns: A table of `infoplane.analysis.convergence.phases.phases`, or None.
    """
    for row, layer in enumerate(layers, start=1):
        _runs(axes, row, layer, times[times["layer"] == layer.name])
        if turns is not None:
            _turn(axes, row, turns[turns["layer"] == layer.name], layer.name)
    axes.set_ylim(0.4, len(layers) + 0.6)
    axes.set_yticks(range(1, len(layers) + 1), [layer.short for layer in layers])
    axes.tick_params(axis="y", length=0, labelsize=5.5 if len(layers) > 8 else None)
    _symbols(axes, turns is not None)


def _runs(axes: Axes, row: int, layer: Layer, times: pd.DataFrame) -> None:
    """The times of one layer in one row, the runs side by side, with their median."""
    halves = times["t50"].to_numpy()
    heights = row + np.linspace(-0.25, 0.25, len(halves)) * (len(halves) > 1)
    axes.plot(halves, heights, marker=layer.marker, color=layer.colour, gid=f"seeds:{layer.name}", **_SEED)
    if times["left_out"].iloc[0]:
        note: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "size": 6, "color": GREY, "va": "center"}
        axes.text(0.02, row, "left out", gid=f"left out:{layer.name}", **note)
    else:
        axes.plot([np.median(halves)], [row], gid=f"median:{layer.name}", **_MEDIAN)


def _turn(axes: Axes, row: int, turn: pd.DataFrame, name: str) -> None:
    if turn.empty or not np.isfinite(turn["turn"].iloc[0]):
        return
    place, low, high = (float(turn[column].iloc[0]) for column in ("turn", "turn_low", "turn_high"))
    axes.plot([low, high], [row - 0.3] * 2, color=GREY, linewidth=0.7, zorder=1)
    # Without both an established rise and an established fall the highest point says little.
    face = GREY if turn["phase"].iloc[0] == _TURNS else "white"
    axes.plot([place], [row - 0.3], gid=f"turn:{name}", markerfacecolor=face, zorder=1, **_TURN)


def _symbols(axes: Axes, turns: bool) -> None:
    """What the symbols are, above the strip."""
    handles = [
        Line2D([], [], marker="o", color=GREY, label="t50 of a run", **_SEED),
        Line2D([], [], label="median", **_MEDIAN),
    ]
    if turns:
        handles.append(Line2D([], [], label="highest I(X;T)", markerfacecolor="white", **_TURN))
    place: dict[str, Any] = {
        "loc": "lower center",
        "bbox_to_anchor": (0.5, 1.0),
        "borderaxespad": 0,
        "borderpad": 0.1,
    }
    axes.legend(
        handles=handles, ncols=len(handles), handlelength=1.6, columnspacing=0.8, handletextpad=0.5, **place
    )
