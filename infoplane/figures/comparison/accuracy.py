"""Accuracy of the variants of a comparison against training time."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from infoplane.analysis.comparison.accuracy import block_switches
from infoplane.analysis.comparison.results import subjects
from infoplane.figures.parts.style import GREY, style
from infoplane.figures.parts.variants import (
    Look,
    accuracy_panels,
    band,
    entries,
    gap_text,
    gaps,
    looks_of,
    percent_limits,
    seeds_text,
)

# Runs that are so many times longer than others would squeeze them on a linear axis.
_LINEAR = 3.0
# Typographical points: a mark far from its epoch would be read at another one.
_SPREAD = 7.0
_SWITCH = "next block"
_BAR: dict[str, Any] = {"linestyle": "none", "marker": "|", "markersize": 9, "markeredgewidth": 1.0}


@style()
def accuracy_over_epochs(table: pd.DataFrame, caption: str | None = None) -> Figure:
    """Draw accuracy (%) against cumulative epochs, a line a variant with its band, and below it the paired
    difference to the reference, in points, with its 95 % interval.

    Sequential training has a bar across its line where it goes on to the next block. The time axis is linear, or
    logarithmic from the first snapshot on where some variants train much longer than others.

    Args:
        table: A table of `infoplane.analysis.comparison.accuracy.accuracy_table`.
        caption: Printed underneath; None builds one from the table, "" prints none.

    Returns:
        A figure in single column width (3.25 in).

    Raises:
        InfoplaneError: The table is empty.
    """
    looks, switches = looks_of(table), block_switches(table)
    handles = entries(looks) + [Line2D([], [], color=GREY, label=_SWITCH, **_BAR)] * bool(switches)
    figure, panels = accuracy_panels(table, caption, partial(accuracy_caption, table), handles)
    axes = panels[0]
    for place, look in enumerate(looks):
        rows = table[table["variant"] == look.name].sort_values("step")
        band(axes, rows["epoch"], rows, "accuracy", look, 100)
        every = (0.04 * (place % 5), 0.2)
        axes.plot(rows["epoch"], 100 * rows["accuracy"], markevery=every, gid=f"line:{look.name}", **look.line)
        _bars_at(axes, rows, look, switches.get(look.name, []))
    axes.set_ylabel(f"{table['split'].iloc[0]} accuracy (%)")
    percent_limits(axes)
    _epochs(panels[-1], table)
    for below in panels[1:]:
        gaps(below, table, looks, "epoch", _SPREAD)
    figure.draw_without_rendering()
    return figure


def accuracy_caption(table: pd.DataFrame) -> str:
    """The caption of accuracy over epochs: what was trained, on what the accuracy is, and what the marks mean."""
    split = table["split"].iloc[0]
    switches = block_switches(table)
    sequential = (
        f" Bars across a line: sequential training ({', '.join(switches)}) goes on to the next block, whose "
        "classifier is new; its epochs are those of all blocks together."
        if switches
        else ""
    )
    return (
        f"Training of {subjects(table)}: accuracy of the deepest classifier trained so far, on "
        f"{'the test split or a fixed part of it' if split == 'test' else 'the validation split'}. "
        f"{gap_text(table, _where(table))}{seeds_text(table, 'bands and bars')}{sequential}"
    )


def _where(table: pd.DataFrame) -> str:
    """At which epochs of the reference the others are compared with it."""
    ends = table.groupby("variant")["epoch"].max()
    longer = table["gap"].notna().any() and (ends > ends.get(table["reference"].iloc[0], np.inf)).any()
    return "at the same epoch, and after its end with its end" if longer else "at the same epoch"


def _bars_at(axes: Axes, rows: pd.DataFrame, look: Look, epochs: list[float]) -> None:
    heights = np.interp(epochs, rows["epoch"], 100 * rows["accuracy"])
    axes.plot(epochs, heights, color=look.colour, zorder=4, gid=f"switches:{look.name}", **_BAR)


def _epochs(axes: Axes, table: pd.DataFrame) -> None:
    """Epochs below, linear where all variants train about as long."""
    axes.set_xlabel("epochs, all blocks together" if table["stage"].max() else "epoch")
    ends = table.groupby("variant")["epoch"].max()
    if ends.max() <= _LINEAR * ends.min():
        axes.set_xlim(0, None)
        return
    first = table.loc[table["epoch"] > 0, "epoch"].min()
    axes.set_xscale("symlog", linthresh=first, linscale=0.3)
    axes.set_xlim(0, ends.max() * 1.1)
    ticks = [0.0, *(mark for k in range(-4, 6) for mark in (10.0**k,) if first <= mark <= ends.max())]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
