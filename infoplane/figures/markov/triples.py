"""When informations are not ordered as in a chain: violated triples by time, beside other orders of the layers."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from infoplane.analysis.markov.triples import ERRORS, VIOLATED_SHARE
from infoplane.figures.parts.canvas import COLUMN, canvas
from infoplane.figures.parts.links import percent, refuse_empty, short, some_of, step_ticks, subject
from infoplane.figures.parts.style import AREAS, BLUE, GREY, style

_MOST_LAYERS = 10
_MARKS: dict[str, Any] = {"marker": "o", "markersize": 2.5}
_RULE: dict[str, Any] = {"color": GREY, "linewidth": 0.7, "linestyle": (0, (1, 1.5))}


def triples_caption(shares: pd.DataFrame, middles: pd.DataFrame) -> str:
    """The caption of `violated_triples`: what was measured, when a triple is violated, and what the control is."""
    layers = middles.drop_duplicates("depth").sort_values("depth")
    named = zip(layers["depth"], layers["layer"], strict=True)
    runs, batches = shares["runs"].iloc[0], shares["batches"].iloc[0]
    return (
        f"Violated triples of {subject(shares)} A triple i < j < k is violated where I(i;k) is above I(i;j) or "
        f"I(j;k), less their nulls and normalised, by over {ERRORS:g} standard errors (paired over {batches} "
        "batches of n samples, and as many more as Student's t asks of so few). Above: by the layer in the "
        f"middle, past which the information seems to go. Below: share of all triples, median of {runs} runs; "
        "band: from the least to the most of them. Grey: the same layers in other orders (median, and between "
        f"which 95 % of the orders are). Dotted: the limit of {percent(VIOLATED_SHARE)}. "
        f"{', '.join(f'{short(depth)} {name}' for depth, name in named)}."
    )


@style()
def violated_triples(shares: pd.DataFrame, middles: pd.DataFrame, caption: str | None = None) -> Figure:
    """Draw the share of violated triples by time, by the layer in their middle and altogether.

    Args:
        shares: `shares` of `infoplane.analysis.markov.tables.markov_tables`.
        middles: `middles` of the same.
        caption: Printed underneath; None builds one from the tables, "" prints none.

    Returns:
        A figure in single column width (3.25 in).

    Raises:
        InfoplaneError: If there is nothing to draw.
    """
    refuse_empty(shares, ["share"])
    rows = shares.sort_values("step")
    height = min(1.7, 0.5 + 0.16 * middles["depth"].nunique())
    describe = partial(triples_caption, shares, middles)
    figure, body = canvas(COLUMN, height + 1.75, caption, describe, _legend())
    above, below = body.subplots(2, 1, sharex=True, height_ratios=[height, 1.2])
    _middles(above, middles)
    _shares(below, rows)
    step_ticks(below, rows["step"].tolist(), 6)
    below.set_xlabel("training step (snapshots side by side)")
    bar = body.colorbar(ScalarMappable(Normalize(0, 1), _colours()), ax=[above, below], pad=0.02, aspect=24)
    bar.set_label("share violated")
    bar.outline.set_linewidth(0.6)
    body.align_ylabels([above, below])
    figure.draw_without_rendering()
    return figure


def _middles(axes: Axes, middles: pd.DataFrame) -> None:
    """Share of violated triples, layer by snapshot, the first layer on top."""
    values = middles.pivot(index="depth", columns="step", values="share")
    colours, norm = _colours(), Normalize(0, 1)
    axes.imshow(values.to_numpy(dtype=float), cmap=colours, norm=norm, aspect="auto", gid="middles")
    places = some_of(range(len(values)), _MOST_LAYERS)
    axes.set_yticks(places, [short(values.index[place]) for place in places])
    axes.set_ylabel("in the middle")
    axes.tick_params(bottom=False)
    axes.spines[:].set_visible(True)


def _shares(axes: Axes, rows: pd.DataFrame) -> None:
    """Share of violated triples over time, and that of other orders."""
    places = np.arange(len(rows))
    axes.fill_between(places, rows["shuffled_low"], rows["shuffled_high"], color="0.85", linewidth=0)
    axes.plot(places, rows["shuffled"], color="0.55", linewidth=0.8, **_MARKS, gid="shuffled")
    axes.fill_between(places, rows["least"], rows["most"], color=BLUE, alpha=0.3, linewidth=0)
    axes.plot(places, rows["share"], color=BLUE, linewidth=1.2, **_MARKS, gid="share")
    axes.axhline(VIOLATED_SHARE, **_RULE)
    axes.set(ylabel="violated triples (share)", ylim=(-0.03, 1.03))


def _colours() -> Any:
    """White is none, dark is all."""
    return LinearSegmentedColormap.from_list("share", ["white", *AREAS(np.linspace(1, 0, 8))])


def _legend() -> list[Any]:
    return [
        Line2D([], [], color=BLUE, linewidth=1.2, label="the network's order"),
        Line2D([], [], color="0.55", linewidth=0.8, label="other orders"),
        Patch(color="0.85", label="95 % of them"),
    ]
