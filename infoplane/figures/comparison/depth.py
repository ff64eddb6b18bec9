"""Accuracy of each classifier of layer-wise training against its depth."""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infoplane.analysis.comparison.results import subjects
from infoplane.figures.parts.canvas import COLUMN, text_width
from infoplane.figures.parts.style import SMALL, style
from infoplane.figures.parts.variants import (
    accuracy_panels,
    band,
    entries,
    gap_text,
    gaps,
    looks_of,
    percent_limits,
    seeds_text,
)

_SPREAD = 18.0  # typographical points that marks of one block take at most


@style()
def accuracy_over_depth(table: pd.DataFrame, caption: str | None = None) -> Figure:
    """Draw the test accuracy (%) of each block's classifier, a line a variant, and below it the paired difference
    to the network of the reference, in points, with its 95 % interval.

    Networks that were trained as a whole have one classifier; theirs is a line across.

    Args:
        table: A table of `infoplane.analysis.comparison.accuracy.depth_table`.
        caption: Printed underneath; None builds one from the table, "" prints none.

    Returns:
        A figure in single column width (3.25 in).

    Raises:
        InfoplaneError: The table is empty.
    """
    looks = looks_of(table)
    local = table.dropna(subset=["depth"])
    figure, panels = accuracy_panels(table, caption, partial(depth_caption, table), entries(looks))
    last = local["depth"].max()
    for look in looks:
        rows = table[table["variant"] == look.name].sort_values("depth")
        if rows["depth"].isna().all():
            rows = pd.concat([rows.assign(depth=end) for end in (1.0, last)])
        panels[0].plot(rows["depth"], 100 * rows["accuracy"], gid=f"line:{look.name}", **look.line)
        band(panels[0], rows["depth"], rows, "accuracy", look, 100)
    _blocks(panels[-1], local)
    for axes in panels[1:]:
        gaps(axes, local, looks, "depth", _SPREAD)
    panels[0].set_ylabel("test accuracy (%)")
    percent_limits(panels[0])
    figure.draw_without_rendering()
    return figure


def depth_caption(table: pd.DataFrame) -> str:
    """The caption of accuracy over depth."""
    whole = list(dict.fromkeys(table.loc[table["depth"].isna(), "variant"]))
    across = f" Across: {', '.join(whole)}, trained as a whole, with one classifier at the end." if whole else ""
    return (
        f"Test accuracy of the classifier on each block of {subjects(table)} after training; that of the last "
        f"block is the network's own.{across} {gap_text(table, 'the whole network')}"
        f"{seeds_text(table, 'bands and bars')}"
    )


def _blocks(axes: Axes, local: pd.DataFrame) -> None:
    """The blocks' names where they are the same in all variants and there is room for them, else their numbers."""
    names = local.groupby("depth")["block"].unique()
    unique = all(len(found) == 1 for found in names)
    widest = max(text_width(str(found[0]), SMALL) for found in names)
    depths = [int(depth) for depth in names.index]
    if not unique:
        axes.set_xticks(depths)
        axes.set_xlabel("block")
        return
    crowded = widest > 0.8 * 72 * (COLUMN - 0.6) / max(len(depths), 1)
    axes.set_xticks(depths, [str(found[0]) for found in names], rotation=90 if crowded else 0)
    axes.set_xlabel("block, from input to output")
