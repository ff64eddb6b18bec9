"""Accuracy of each classifier of layer-wise training against its depth."""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from infoplane.analysis.comparison.results import subjects
from infoplane.figures.parts.canvas import COLUMN, canvas, text_width
from infoplane.figures.parts.style import SMALL, style
from infoplane.figures.parts.variants import (
    band,
    entries,
    looks_of,
    percent_limits,
    seeds_text,
)

_LINEAR = 2.0  # points


@style()
def accuracy_over_depth(table: pd.DataFrame, caption: str | None = None) -> Figure:
    """Draw the test accuracy of each block's classifier, a line a variant, less that of the first network that was
    trained as a whole, in points; in % where there is none.

    Networks that were trained as a whole have one classifier; theirs is a line across. The axis is linear up to 2
    points and logarithmic beyond, so that methods that come near do not coincide where another is far off.

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
    figure, body = canvas(COLUMN, 2.1, caption, partial(depth_caption, table), entries(looks))
    axes: Axes = body.subplots()
    base = _reference(table)
    less = 0.0 if base is None else float(base["accuracy"])
    last = local["depth"].max()
    for look in looks:
        rows = table[table["variant"] == look.name].sort_values("depth")
        if rows["depth"].isna().all():
            rows = pd.concat([rows.assign(depth=end) for end in (1.0, last)])
        ends = {name: rows[name] - less for name in ("accuracy", "accuracy_low", "accuracy_high")}
        rows = rows.assign(**ends)
        axes.plot(rows["depth"], 100 * rows["accuracy"], gid=f"line:{look.name}", **look.line)
        band(axes, rows["depth"], rows, "accuracy", look, 100)
    _blocks(axes, local)
    if base is None:
        axes.set_ylabel("test accuracy (%)")
        percent_limits(axes)
    else:
        axes.set_ylabel(f"test accuracy − {base['variant']}\n(points)")
        _points_axis(axes)
    figure.draw_without_rendering()
    return figure


def depth_caption(table: pd.DataFrame) -> str:
    """The caption of accuracy over depth."""
    whole = list(dict.fromkeys(table.loc[table["depth"].isna(), "variant"]))
    across = f" Across: {', '.join(whole)}, trained as a whole, with one classifier at the end." if whole else ""
    base = _reference(table)
    less = "" if base is None else f", less that of {base['variant']} ({100 * base['accuracy']:.1f} %)"
    return (
        f"Test accuracy of the classifier on each block of {subjects(table)} after training{less}; that of "
        f"the last block is the network's own.{across} {seeds_text(table, 'bands')}"
    )


def _reference(table: pd.DataFrame) -> pd.Series | None:
    """The first network that was trained as a whole, whose accuracy the others are held against."""
    whole = table[table["depth"].isna()]
    return whole.iloc[0] if len(whole) else None


def _points_axis(axes: Axes) -> None:
    """Differences in points, linear up to 2 of them and logarithmic beyond, with ticks that are read easily."""
    low, high = axes.get_ylim()
    axes.set_yscale("symlog", linthresh=_LINEAR, linscale=1.0)
    sizes = (1, 2, 5, 10, 20, 50, 100)
    ticks = [tick for tick in (*(-size for size in sizes), 0, *sizes) if low <= tick <= high]
    axes.set_yticks(ticks, [f"{tick:+d}".replace("-", "−") if tick else "0" for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.axhline(0, color="0.85", linewidth=0.6, zorder=0)


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
