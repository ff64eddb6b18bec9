"""How the information between layers decays with their distance; a description."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from infoplane.analysis.stats import student_interval
from infoplane.errors import InfoplaneError
from infoplane.figures.parts.canvas import COLUMN, canvas
from infoplane.figures.parts.captions import intervals_text
from infoplane.figures.parts.links import refuse_empty, snapshot_looks, snapshot_name, some_of, subject
from infoplane.figures.parts.style import GREY, style

_PANEL = 1.3
_MOST_TICKS = 10
_MOST_STEPS = 3


def decay_caption(table: pd.DataFrame) -> str:
    """The caption of `information_decay`: what was measured, how it is normalised, and what the bands are."""
    runs, batches = int(table["runs"].iloc[0]), int(table["batches"].iloc[0])
    return (
        f"Decay with distance of the information between the layers of {subject(table)} Less its permuted "
        "null, normalised by √(I(i;i) I(j;j)) and averaged over the pairs of layers at each distance; below: "
        f"what training changes of it. Means over {runs} runs and {batches} batches; "
        f"{intervals_text(runs, 0, 'bands')}; thin lines: single runs. A description, which no verdict rests on."
    )


@style()
def information_decay(table: pd.DataFrame, caption: str | None = None) -> Figure:
    """Draw the normalised information between layers against |i−j|, and what training changes of it.

    Args:
        table: `decay` of `infoplane.analysis.markov.tables.markov_tables`.
        caption: Printed underneath; None builds one from the table, "" prints none.

    Returns:
        A figure in single column width (3.25 in).

    Raises:
        InfoplaneError: If there is nothing to draw, or one snapshot only.
    """
    refuse_empty(table, ["information", "gain"])
    steps = sorted(table["step"].unique())
    if len(steps) < 2:
        raise InfoplaneError("one snapshot only: there is no initialisation to compare with")
    shown = some_of(steps, _MOST_STEPS)
    looks = snapshot_looks(shown)
    handles = [Line2D([], [], label=snapshot_name(step, steps), **looks[step]) for step in shown]
    figure, body = canvas(COLUMN, 2 * _PANEL + 0.4, caption, partial(decay_caption, table), handles)
    above, below = body.subplots(2, 1, sharex=True)
    for step in shown:
        rows = table[table["step"] == step]
        _curve(above, rows, "information", looks[step])
        if step != steps[0]:
            _curve(below, rows, "gain", looks[step])
    below.axhline(0, color=GREY, linewidth=0.6, zorder=0)
    above.set_ylabel("normalised\ninformation")
    below.set_ylabel(f"change since\n{snapshot_name(steps[0], steps)}")
    below.set_xlabel("distance |i−j| (layers)")
    most = int(table["distance"].max())
    below.set_xticks(range(1, most + 1, -(-most // _MOST_TICKS)))
    below.set_xlim(0.8, most + 0.2)
    body.align_ylabels([above, below])
    figure.draw_without_rendering()
    return figure


def _curve(axes: Axes, rows: pd.DataFrame, quantity: str, look: dict[str, Any]) -> None:
    """One snapshot: its mean with a band, and the runs as thin lines."""
    step = rows["step"].iloc[0]
    for run, one in rows.groupby("run", sort=False):
        thin = {"color": look["color"], "linewidth": 0.4, "alpha": 0.6}
        axes.plot(one["distance"], one[quantity], **thin, gid=f"run:{quantity}:{step}:{run}")
    wide = rows.pivot(index="distance", columns="run", values=quantity)
    mean, low, high = student_interval(wide)
    axes.fill_between(wide.index, low, high, color=look["color"], alpha=0.2, linewidth=0)
    axes.plot(wide.index, mean, **look, gid=f"line:{quantity}:{step}")
