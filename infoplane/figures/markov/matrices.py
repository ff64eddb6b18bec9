"""Layer-by-layer information: X, T_1 … T_L against each other at several times, and against the end."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from infoplane.analysis.markov.matrices import INPUT
from infoplane.figures.parts.canvas import COLUMN, DOUBLE_COLUMN, canvas, text_width
from infoplane.figures.parts.links import layers_text, percent, refuse_empty, short, snapshot_name, some_of, subject
from infoplane.figures.parts.style import AREAS, MARKERS, SMALL, shades, style
from infoplane.figures.parts.time_axis import time_axis

NORM = "I(i;j) / √(I(i;i) I(j;j))"
_ACROSS = 3
_LUMINANCE = (0.299, 0.587, 0.114)
_DARK = 0.5  # from this luminance down, text on a cell is white


def matrices_caption(table: pd.DataFrame) -> str:
    """The caption of `information_matrices`: what was measured, how it is normalised, and the mean's scope."""
    runs = int(table["runs"].iloc[0])
    widest = (table["information_high"] - table["information_low"]).max()
    interval = f" (widest 95 % interval of Student's t: {widest:.2f})" if np.isfinite(widest) else ""
    below = "Below: layers at one time (rows) against layers at the end (columns); each against itself at the end. "
    later = below if (table["step"] != table["step_j"]).any() else ""
    return (
        f"Information between the input X and the layers of {subject(table)} Less its permuted null, "
        f"normalised: {NORM}. Means over {runs} runs and {int(table['batches'].iloc[0])} batches{interval}. "
        "Above: at one time; underneath, the share of violated triples, in which variables further apart know "
        "more of each other than nearer ones (median over runs), with p against other orders of the layers. "
        f"{later}{layers_text(table[table['name_i'] != INPUT], kind='name')}."
    )


@style()
def information_matrices(table: pd.DataFrame, shares: pd.DataFrame, caption: str | None = None) -> Figure:
    """Draw the normalised information between all pairs of X, T_1 … T_L, and between layers then and at the end.

    Cells hold their value where they are large enough for it; pairs that were not measured are grey.

    Args:
        table: `matrices` of `infoplane.analysis.markov.tables.markov_tables`.
        shares: `shares` of the same.
        caption: Printed underneath; None builds one from the table, "" prints none.

    Returns:
        A figure in double column width (6.75 in), in single column width for one snapshot.

    Raises:
        InfoplaneError: If there is nothing to draw.
    """
    refuse_empty(table, ["information"])
    steps, later = sorted(table["step"].unique()), table[table["step"] != table["step_j"]]
    shown = some_of(steps, _ACROSS)
    down, across = 1 + bool(len(later)), max(len(shown), 1 if later.empty else 2)
    width = COLUMN if across == 1 else DOUBLE_COLUMN
    side = (width - 1.0) / across - 0.3
    figure, body = canvas(width, down * (side + 0.62), caption, partial(matrices_caption, table))
    panels = body.subplots(down, across, squeeze=False)
    least, most = table["information"].min(), table["information"].max()
    norm = Normalize(min(np.floor(10 * least) / 10, 0.9), max(1.0, most))
    rows = zip(shares["step"], shares["share"], shares["p"], strict=True)
    tests = {step: f"violated {percent(share)}, p = {p:.2g}" for step, share, p in rows}
    for axes, step in zip(panels[0], shown, strict=False):
        _matrix(axes, table[(table["step"] == step) & (table["step_j"] == step)], norm, 72 * side)
        axes.set_title(snapshot_name(step, steps), fontsize=SMALL + 0.5)
        axes.set_xlabel(tests[step], gid=f"triples:{step}")
    for axes, step in zip(panels[-1], shown[:-1] if len(later) else [], strict=False):
        _matrix(axes, later[later["step"] == step], norm, 72 * side)
        axes.set_ylabel(snapshot_name(step, steps))
        axes.set_xlabel("at the end")
    if len(later):
        _diagonal(panels[-1, -1], table, norm)
    bar = body.colorbar(ScalarMappable(norm, _colours()), ax=list(panels.ravel()), pad=0.02, aspect=28 * down)
    bar.set_label(NORM)
    bar.outline.set_linewidth(0.6)
    figure.draw_without_rendering()
    return figure


def _colours() -> Any:
    """Dark is much, as print has it."""
    return AREAS.reversed().with_extremes(bad="0.85")


def _matrix(axes: Axes, rows: pd.DataFrame, norm: Normalize, points: float) -> None:
    """One snapshot; `points` is the side of the matrix on paper."""
    values = rows.pivot(index="i", columns="j", values="information").to_numpy(dtype=float)
    step, step_j = rows[["step", "step_j"]].iloc[0]
    axes.imshow(np.ma.masked_invalid(values), cmap=_colours(), norm=norm, gid=f"matrix:{step}:{step_j}")
    names = [short(depth) for depth in rows.drop_duplicates("i").sort_values("i")["depth_i"]]
    every = -(-len(names) // max(1, int(points / 14)))
    places = range(0, len(names), every)
    axes.set_xticks(places, names[::every])
    axes.set_yticks(places, names[::every])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if points / len(names) < text_width(".00", SMALL) + 2:
        return
    dark = _colours()(norm(values))[..., :3] @ _LUMINANCE < _DARK
    for i, j in np.argwhere(np.isfinite(values)):
        text = f"{values[i, j]:z.2f}".replace("0.", ".", 1).replace("1.00", "1")
        axes.text(j, i, text, ha="center", va="center", size=SMALL, color="white" if dark[i, j] else "black")


def _diagonal(axes: Axes, table: pd.DataFrame, norm: Normalize) -> None:
    """Each layer at one time against itself at the end."""
    last = table["step"].max()
    own = table[(table["name_i"] == table["name_j"]) & (table["step_j"] == last) & (table["name_i"] != INPUT)]
    depths = sorted(own["depth_i"].unique())
    for number, (depth, colour) in enumerate(zip(depths, shades(len(depths)), strict=True)):
        rows = own[own["depth_i"] == depth].sort_values("step")
        look = {"color": colour, "marker": MARKERS[number % len(MARKERS)], "markersize": 2.5, "linewidth": 0.8}
        axes.plot(rows["step"], rows["information"], **look, label=short(depth), gid=f"diagonal:{depth}")
    time_axis(axes, own["step"])
    axes.set_ylim(min(norm.vmin or 0.0, 0.0) - 0.03, 1.05)
    axes.set_ylabel("I(T(t);T(end))")
    axes.legend(
        fontsize=SMALL - 1, ncols=2 if len(depths) > 5 else 1, handlelength=1.4, labelspacing=0.2, columnspacing=0.8
    )
