"""Where and when the data-processing chains are violated, beside shuffled orders of the layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from infoplane.analysis.markov.chains import ERRORS, VIOLATED_SHARE
from infoplane.figures.parts.links import layers_text, link_names, refuse_empty, step_ticks, subject
from infoplane.figures.parts.style import BLUE, COLOURS, DOUBLE_COLUMN, GREY, SMALL, VERMILION, canvas, style

CHAINS = {"I_XT": "I(X;T)", "I_TY": "I(T;Y) raw", "I_TY_corrected": "I(T;Y) null-corrected"}
BOTH = "I_TY_both"
_MOST_LINKS = 10
_RULE: dict[str, Any] = {"color": GREY, "linewidth": 0.7, "linestyle": (0, (1, 1.5))}
_BOTH: dict[str, Any] = {"color": VERMILION, "linestyle": (0, (4, 2))}


def violations_caption(links: pd.DataFrame) -> str:
    """The caption of `chain_violations`: what was measured, when a link is violated, and what the control is."""
    return (
        f"Violations of the data-processing chains in {subject(links)} Above: share of the {links['runs'].iloc[0]} "
        f"runs in which a layer has more than the one before, by over {ERRORS:g} standard errors (paired over "
        f"{links['batches'].iloc[0]} batches of n samples, and as many more as Student's t asks of so few). Below: "
        "share of all links; band: 95 % bootstrap interval over runs. Grey: the same layers in shuffled orders "
        "(mean, and between which 95 % of the orders are). Dashed: links at which raw and null-corrected I(T;Y) "
        f"both rise, which the verdict counts; dotted: its limit of {100 * VIOLATED_SHARE:g} %. "
        f"{layers_text(links)}."
    )


@style()
def chain_violations(links: pd.DataFrame, shares: pd.DataFrame, caption: str | None = None) -> Figure:
    """Draw the violated links of I(X;T) and of I(T;Y), raw and null-corrected, by link and by time.

    Args:
        links: `links` of `infoplane.analysis.markov.tables.markov_tables`.
        shares: `shares` of the same.
        caption: Printed underneath; None builds one from the tables, "" prints none.

    Returns:
        A figure in double column width (6.75 in).

    Raises:
        InfoplaneError: If there is nothing to draw.
    """
    refuse_empty(links, ["violated"])
    refuse_empty(shares, ["share"])
    steps = sorted(links["step"].unique())
    height = min(1.6, 0.5 + 0.16 * links["link"].max())
    figure, body = canvas(DOUBLE_COLUMN, height + 1.9, violations_caption(links) if caption is None else caption)
    grid = body.subplots(2, len(CHAINS), sharex=True, sharey="row", height_ratios=[height, 1.1])
    for (above, below), (quantity, name) in zip(grid.T, CHAINS.items(), strict=True):
        _heat_map(above, links[links["quantity"] == quantity])
        above.set_title(name, fontsize=SMALL + 0.5)
        _shares(below, shares[shares["quantity"] == quantity], quantity)
        if quantity != "I_XT":
            rows = shares[shares["quantity"] == BOTH].sort_values("step")
            below.plot(
                range(len(rows)),
                rows["share"],
                **_BOTH,
                marker=_marker(rows),
                markersize=3,
                gid=f"share:{BOTH}:{quantity}",
            )
        step_ticks(below, steps, 7)
    grid[0, 0].set_ylabel("link")
    grid[1, 0].set(ylabel="violated links (share)", ylim=(-0.03, 1.03))
    grid[1, 1].set_xlabel("training step (snapshots side by side)")
    _bar(figure, body, grid)
    body.legend(handles=_legend(), loc="outside lower center", ncols=4, handlelength=2.4, columnspacing=1.2)
    figure.draw_without_rendering()
    return figure


def _heat_map(axes: Axes, rows: pd.DataFrame) -> None:
    """Share of runs, link by snapshot, the first link on top."""
    values = rows.pivot(index="link", columns="step", values="violated").to_numpy(dtype=float)
    axes.imshow(
        values, cmap=_colours(), norm=Normalize(0, 1), aspect="auto", gid=f"links:{rows['quantity'].iloc[0]}"
    )
    named = rows.drop_duplicates("link").sort_values("link")
    every = -(-len(named) // _MOST_LINKS)
    axes.set_yticks(range(0, len(named), every), link_names(named)[::every])
    axes.tick_params(bottom=False)
    axes.spines[:].set_visible(True)


def _shares(axes: Axes, rows: pd.DataFrame, quantity: str) -> None:
    """Share of violated links over time, and that of shuffled layers."""
    rows = rows.sort_values("step")
    places, marker = np.arange(len(rows)), _marker(rows)
    axes.fill_between(places, rows["shuffled_low"], rows["shuffled_high"], color="0.85", linewidth=0)
    axes.plot(
        places,
        rows["shuffled"],
        color="0.55",
        linewidth=0.8,
        marker=marker,
        markersize=3,
        gid=f"shuffled:{quantity}",
    )
    axes.fill_between(places, rows["share_low"], rows["share_high"], color=BLUE, alpha=0.3, linewidth=0)
    axes.plot(
        places, rows["share"], color=BLUE, linewidth=1.2, marker=marker, markersize=3, gid=f"share:{quantity}"
    )
    axes.axhline(VIOLATED_SHARE, **_RULE)


def _marker(rows: pd.DataFrame) -> str:
    """A single snapshot makes no line."""
    return "o" if len(rows) == 1 else ""


def _colours() -> Any:
    """White is none, dark is all."""
    return LinearSegmentedColormap.from_list("share", ["white", *COLOURS(np.linspace(1, 0, 8))])


def _bar(figure: Figure, body: Any, grid: np.ndarray) -> None:
    bar = body.colorbar(ScalarMappable(Normalize(0, 1), _colours()), ax=list(grid[0]), pad=0.02, aspect=12)
    bar.set_label("share of runs")
    bar.outline.set_linewidth(0.6)


def _legend() -> list[Any]:
    return [
        Line2D([], [], color=BLUE, linewidth=1.2, label="the network's order"),
        Line2D([], [], **_BOTH, label="raw and corrected both rise"),
        Line2D([], [], color="0.55", linewidth=0.8, label="shuffled layers"),
        Patch(color="0.85", label="95 % of orders"),
    ]
