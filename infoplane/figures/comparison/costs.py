"""What the variants of a comparison cost: memory and time."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from infoplane.analysis.comparison.results import subjects
from infoplane.figures.parts.canvas import COLUMN, canvas
from infoplane.figures.parts.style import BLUE, GREY, VERMILION, style
from infoplane.figures.parts.variants import bars, seeds_text

MIB = 2**20
_PEAK, _SAVED, _CACHE = "peak of a step", "kept for backward", "peak and cache"
_MARKS: dict[str, dict[str, Any]] = {
    _PEAK: {"marker": "o", "color": BLUE, "markersize": 4.5},
    _SAVED: {"marker": "D", "color": VERMILION, "markersize": 4, "markerfacecolor": "white"},
    _CACHE: {"marker": "|", "color": "black", "markersize": 7, "markeredgewidth": 1.2},
}


@style()
def costs(table: pd.DataFrame, caption: str | None = None) -> Figure:
    """Draw peak memory (MiB) and training time (s) of each variant, with what is kept for the backward pass.

    Args:
        table: A table of `infoplane.analysis.comparison.methods.cost_table`.
        caption: Printed underneath; None builds one from the table, "" prints none.

    Returns:
        A figure in single column width (3.25 in).
    """
    memory = {
        _PEAK: table["peak_bytes"],
        _SAVED: table["saved_bytes"],
        _CACHE: (table["peak_bytes"] + table["cache_bytes"]).where(table["cache_bytes"] > 0),
    }
    shown = {name: values / MIB for name, values in memory.items() if values.notna().any()}
    handles = [Line2D([], [], linestyle="none", label=name, **_MARKS[name]) for name in shown]
    height = 0.65 + 0.17 * len(table)
    figure, body = canvas(COLUMN, height, caption, partial(costs_caption, table), handles)
    left, right = body.subplots(1, 2, sharey=True, width_ratios=[1.25, 1])
    places = np.arange(len(table))[::-1]
    for name, values in shown.items():
        left.plot(values, places, linestyle="none", gid=f"points:{name}", **_MARKS[name])
    bars(right, places, table, "seconds", GREY, horizontal=True)
    right.plot(table["seconds"], places, linestyle="none", gid="points:time", **_MARKS[_PEAK])
    several = table["variant"].duplicated(keep=False)
    left.set_yticks(places, table["variant"].where(~several, table["variant"] + ", " + table["device"]))
    left.set_xlabel("memory (MiB)")
    right.set_xlabel("training time (s)")
    for axes in (left, right):
        axes.set_xlim(0, 1.06 * axes.get_xlim()[1])
        axes.set_ylim(-0.6, len(table) - 0.4)
        axes.grid(axis="y", color="0.9", linewidth=0.5)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
    figure.draw_without_rendering()
    return figure


def costs_caption(table: pd.DataFrame) -> str:
    """The caption of the costs: what was measured and how."""
    devices = " and ".join(sorted({str(device) for device in table["device"]}))
    hidden = [str(name) for name in table.loc[table["saved_bytes"].isna(), "variant"]]
    without = f" What {', '.join(hidden)} keeps for backward cannot be seen." if hidden else ""
    cache = (
        " Cache: outputs of finished blocks, kept for the training of the next ones."
        if (table["cache_bytes"] > 0).any()
        else ""
    )
    sizes = table.groupby("batch_size", sort=False)["variant"].agg(", ".join)
    batches = f"Batches of {sizes.index[0]} samples."
    if len(sizes) > 1:
        batches = f"Batches of {'; '.join(f'{size} samples: {names}' for size, names in sizes.items())}."
    return (
        f"Cost of training {subjects(table)}, on {devices}. Memory: the most that one training step holds "
        f"beyond parameters, optimiser state and data. {batches}{without}{cache} Time of all steps, "
        f"without snapshots. {seeds_text(table, 'bars')}"
    )
