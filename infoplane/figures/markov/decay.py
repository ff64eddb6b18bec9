"""How the information between layers decays with their distance."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infoplane.errors import InfoplaneError
from infoplane.figures.parts.captions import spread
from infoplane.figures.parts.links import refuse_empty, snapshot_looks, snapshot_name, subject
from infoplane.figures.parts.style import COLUMN, GREY, canvas, style

_PANEL = 1.3
_MOST_TICKS = 10


def decay_caption(table: pd.DataFrame) -> str:
    """The caption of `information_decay`: what was measured, how it is normalised, and what the bands are."""
    return (
        f"Decay with distance of the information between the layers of {subject(table)} Normalised by "
        "√(I(i;i) I(j;j)) and averaged over the pairs of layers at each distance; below: what training changes of "
        f"it, which is what the verdict judges. {spread(table, 'bands')} Thin lines: single runs."
    )


@style()
def information_decay(table: pd.DataFrame, seeds: pd.DataFrame, caption: str | None = None) -> Figure:
    """Draw the normalised information between layers against |i−j|, and what training changes of it.

    Args:
        table: `decay` of `infoplane.analysis.markov.tables.markov_tables`.
        seeds: `seeds` of the same.
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
    looks = snapshot_looks(steps)
    figure, body = canvas(COLUMN, 2 * _PANEL + 0.6, decay_caption(table) if caption is None else caption)
    above, below = body.subplots(2, 1, sharex=True)
    for step in steps:
        name = snapshot_name(step, steps)
        _curve(above, table, seeds, "information", step, {**looks[step], "label": name})
        if step != steps[0]:
            _curve(below, table, seeds, "gain", step, looks[step])
    below.axhline(0, color=GREY, linewidth=0.6, zorder=0)
    above.set_ylabel("normalised\ninformation")
    below.set_ylabel(f"change since\n{snapshot_name(steps[0], steps)}")
    below.set_xlabel("distance |i−j| (layers)")
    most = int(table["distance"].max())
    below.set_xticks(range(1, most + 1, -(-most // _MOST_TICKS)))
    below.set_xlim(0.8, most + 0.2)
    body.legend(loc="outside lower center", ncols=min(len(steps), 3), handlelength=2.4, columnspacing=1.0)
    body.align_ylabels([above, below])
    figure.draw_without_rendering()
    return figure


def _curve(
    axes: Axes, table: pd.DataFrame, seeds: pd.DataFrame, quantity: str, step: int, look: dict[str, Any]
) -> None:
    """One snapshot: its mean with a band, and the runs as thin lines."""
    for run, one in seeds[seeds["step"] == step].groupby("run", sort=False):
        thin = {"color": look["color"], "linewidth": 0.4, "alpha": 0.6}
        axes.plot(one["distance"], one[quantity], **thin, gid=f"run:{quantity}:{step}:{run}")
    rows = table[table["step"] == step].sort_values("distance")
    low, high = rows[f"{quantity}_low"], rows[f"{quantity}_high"]
    axes.fill_between(rows["distance"], low, high, color=look["color"], alpha=0.2, linewidth=0)
    axes.plot(rows["distance"], rows[quantity], **look, gid=f"line:{quantity}:{step}")
