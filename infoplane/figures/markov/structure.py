"""Whether each layer gets all that it knows through the one before: δ of the links, first and last."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from infoplane.figures.parts.canvas import COLUMN, canvas
from infoplane.figures.parts.links import layers_text, link_ticks, refuse_empty
from infoplane.figures.parts.style import BLUE, GREY, VERMILION, style
from infoplane.runfile.schema import EXACT

_LEAST = 1e-8  # what is below is drawn as 0
_SHIFT = 0.18
_LOOKS: dict[str, dict[str, Any]] = {
    "first": {"color": BLUE, "marker": "s", "markerfacecolor": "white"},
    "last": {"color": VERMILION, "marker": "o"},
}
_NAMES = {"first": "first snapshot", "last": "end of recording"}


def links_caption(table: pd.DataFrame) -> str:
    """The caption of `link_structure`: what δ is, and where its limit is."""
    row, unknown = table.iloc[0], table.groupby("link")["delta"].apply(lambda deltas: deltas.isna().any()).sum()
    gap = f" Not measured in some run: {unknown} of {table['link'].nunique()} links." if unknown else ""
    return (
        f"Swap test of the links between the layers of {row['model']} on {row['dataset']}, {row['runs']} "
        "runs. δ: how far a layer is from that of other samples after the layer before it was replaced by "
        "theirs, relative to how far apart they were. 0: the layer gets all that it knows through the one "
        f"before, as in a chain; 1: nothing. Each point is one run; dotted: {EXACT:g}, up to which a link "
        f"counts as exact.{gap} {layers_text(table)}."
    )


@style()
def link_structure(table: pd.DataFrame, caption: str | None = None) -> Figure:
    """Draw δ of each link at the first snapshot and at the end, one point a run.

    Args:
        table: `links` of `infoplane.analysis.markov.tables.markov_tables`.
        caption: Printed underneath; None builds one from the table, "" prints none.

    Returns:
        A figure in single column width (3.25 in).

    Raises:
        InfoplaneError: If there is nothing to draw, as runs were recorded without the swap test.
    """
    refuse_empty(table, ["delta"])
    looks = {when: {**look, "linestyle": "none", "markersize": 4} for when, look in _LOOKS.items()}
    handles = [Line2D([], [], label=_NAMES[when], **look) for when, look in looks.items()]
    figure, body = canvas(COLUMN, 1.6, caption, partial(links_caption, table), handles)
    axes = body.subplots()
    for when, shift in (("first", -_SHIFT), ("last", _SHIFT)):
        _points(axes, table[table["when"] == when], when, shift)
    axes.axhline(EXACT, color=GREY, linewidth=0.7, linestyle=(0, (1, 1.5)))
    axes.set_yscale("symlog", linthresh=_LEAST, linscale=0.6)
    axes.set_yticks([0, 1e-7, 1e-5, 1e-3, 0.1, 1], ["0", "1e−7", "1e−5", "1e−3", "0.1", "1"])
    axes.minorticks_off()
    axes.set_ylim(-0.6 * _LEAST, 2)
    axes.set_ylabel("δ of the link")
    link_ticks(axes, table)
    figure.draw_without_rendering()
    return figure


def _points(axes: Axes, rows: pd.DataFrame, when: str, shift: float) -> None:
    """One snapshot: a point for each run, side by side."""
    runs = np.unique(rows["run"])
    aside = np.linspace(-0.1, 0.1, len(runs)) if len(runs) > 1 else np.zeros(1)
    places = rows["link"] + shift + aside[np.searchsorted(runs, rows["run"])]
    size = 2.5 if rows["link"].nunique() <= 10 else 1.8
    axes.plot(
        places,
        rows["delta"].where(rows["delta"].isna() | (rows["delta"] > _LEAST), 0.0),
        linestyle="none",
        markersize=size,
        markeredgewidth=0.6,
        **_LOOKS[when],
        gid=f"delta:{when}",
    )
