"""What each layer knows of the input beyond the layer before it, beside noise and beside initialisation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from infoplane.figures.parts.captions import spread
from infoplane.figures.parts.links import layers_text, link_ticks, refuse_empty, snapshot_name, subject
from infoplane.figures.parts.style import BLUE, COLUMN, GREY, VERMILION, canvas, style

_PANEL = 1.35
_SHIFT = 0.2
_MANY = 10
_LOOKS: dict[str, dict[str, Any]] = {
    "start": {"color": BLUE, "marker": "s", "markerfacecolor": "white"},
    "end": {"color": BLUE, "marker": "o"},
    "null": {"color": VERMILION, "marker": "^", "markerfacecolor": "white"},
}


def residuals_caption(table: pd.DataFrame) -> str:
    """The caption of `markov_residuals`: what was measured, what noise and contrast are, what bars are."""
    return (
        f"Markov residuals of {subject(table)} Above: r = I(X;T′|T) / S(T′|T) for a layer T and the next one T′, "
        "the share of what T′ adds to T that is knowledge of X; independent noise: the same with the samples of T′ "
        "permuted, at the end. Below: the contrast I(X;T|T′) − I(X;T′|T), what is lost less what is added. The "
        "verdict asks for r below noise and below its start, and a contrast above 0. "
        f"{spread(table, 'bars')} {layers_text(table)}."
    )


@style()
def markov_residuals(table: pd.DataFrame, caption: str | None = None) -> Figure:
    """Draw the Markov residual of each link at the first and last snapshot, its noise null, and the contrast.

    Args:
        table: `residuals` of `infoplane.analysis.markov.tables.markov_tables`.
        caption: Printed underneath; None builds one from the table, "" prints none.

    Returns:
        A figure in single column width (3.25 in).

    Raises:
        InfoplaneError: If there is nothing to draw.
    """
    refuse_empty(table, ["residual", "contrast"])
    steps = sorted(table["step"].unique())
    start, end = (table[table["step"] == step].sort_values("link") for step in (steps[0], steps[-1]))
    figure, body = canvas(COLUMN, 2 * _PANEL + 0.6, residuals_caption(table) if caption is None else caption)
    above, below = body.subplots(2, 1, sharex=True)
    shown = [(above, end, "null", "null", 0.0), (above, end, "residual", "end", _SHIFT)]
    shown += [(below, end, "contrast", "end", _SHIFT)]
    if len(steps) > 1:
        shown += [
            (axes, start, name, "start", -_SHIFT) for axes, name in ((above, "residual"), (below, "contrast"))
        ]
    for axes, rows, quantity, kind, shift in shown:
        _points(axes, rows, quantity, _LOOKS[kind], shift).set_gid(f"{quantity}:{kind}")
    below.axhline(0, color=GREY, linewidth=0.6, zorder=0)
    above.set_ylabel("residual r (ratio)")
    below.set_ylabel("contrast (bits)")
    link_ticks(below, table)
    names = {"start": snapshot_name(steps[0], steps), "end": snapshot_name(steps[-1], steps)}
    kinds = [kind for kind in ("start", "end", "null") if kind != "start" or len(steps) > 1]
    handles = [
        Line2D([], [], linestyle="none", markersize=4, label=names.get(kind, "independent noise"), **_LOOKS[kind])
        for kind in kinds
    ]
    body.legend(handles=handles, loc="outside lower center", ncols=len(kinds), columnspacing=0.8, handletextpad=0.1)
    body.align_ylabels([above, below])
    figure.draw_without_rendering()
    return figure


def _points(axes: Axes, rows: pd.DataFrame, quantity: str, look: dict[str, Any], shift: float) -> Line2D:
    """One quantity of all links, with its intervals."""
    mean = rows[quantity].to_numpy()
    # An interval may leave its mean out by a rounding error.
    bars = np.abs(np.stack([mean - rows[f"{quantity}_low"], rows[f"{quantity}_high"] - mean]))
    places = rows["link"] + shift
    size = 4.0 if len(rows) <= _MANY else 2.5
    axes.errorbar(places, mean, yerr=bars, fmt="none", ecolor=look["color"], elinewidth=0.8, capsize=size / 3)
    (points,) = axes.plot(places, mean, linestyle="none", markersize=size, markeredgewidth=0.8, **look)
    return points
