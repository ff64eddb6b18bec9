"""How the variants of a comparison look, in every figure alike, and what their captions share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator
from matplotlib.transforms import ScaledTranslation

from infoplane.errors import InfoplaneError
from infoplane.figures.parts.canvas import COLUMN, canvas
from infoplane.figures.parts.style import MARKERS, shades

INTERVALS = "95 % intervals of Student's t over seeds, where there are three"
_LINEAR = 2.0  # points
_ASIDE = 3.0  # typographical points from one variant to the next, at most
_MOST_MARKS = 12
_DASHES: tuple[Any, ...] = (
    *("-", (0, (5, 1.5)), (0, (2, 1))),
    *((0, (6, 1, 1, 1)), (0, (1, 1)), (0, (8, 2, 2, 2, 1, 2))),
)


@dataclass(frozen=True)
class Look:
    """How one variant is drawn: three signs, so that any one of them may be lost.

    Attributes:
        name: Name of the variant.
        colour: Its place on the colour scale (RGBA).
        marker: The shape of its markers.
        dashes: The kind of its line.
    """

    name: str
    colour: tuple[float, ...]
    marker: Any
    dashes: Any

    @property
    def line(self) -> dict[str, Any]:
        """Arguments of `plot` for a line with markers."""
        return {"color": self.colour, "marker": self.marker, "markersize": 3.5, "linestyle": self.dashes}


def looks_of(table: pd.DataFrame) -> list[Look]:
    """The looks of the variants of a table, in the order in which they stand there.

    Raises:
        InfoplaneError: The table is empty.
    """
    if table.empty:
        raise InfoplaneError("nothing to draw: the table has no rows")
    names = list(dict.fromkeys(table["variant"]))
    return [
        Look(name, colour, MARKERS[i % len(MARKERS)], _DASHES[i % len(_DASHES)])
        for i, (name, colour) in enumerate(zip(names, shades(len(names)), strict=True))
    ]


def entries(looks: Sequence[Look]) -> list[Line2D]:
    """The entries of a legend: line, marker and name of each variant."""
    return [Line2D([], [], label=look.name, **look.line) for look in looks]


def band(axes: Axes, x: pd.Series, rows: pd.DataFrame, name: str, look: Look, scale: float = 1.0) -> None:
    """The interval of a curve as a band."""
    low, high = scale * rows[f"{name}_low"], scale * rows[f"{name}_high"]
    axes.fill_between(x, low, high, color=look.colour, alpha=0.2, linewidth=0, gid=f"band:{look.name}")


def bars(
    axes: Axes,
    places: Any,
    rows: pd.DataFrame,
    name: str,
    colour: Any,
    scale: float = 1.0,
    horizontal: bool = False,
    **more: Any,
) -> None:
    """The intervals of some points as bars, at some places on the other axis."""
    ends = scale * np.stack([rows[name] - rows[f"{name}_low"], rows[f"{name}_high"] - rows[name]])
    if not np.isfinite(ends).any():
        return
    # An interval may leave its mean out by a rounding error.
    ends, values = np.maximum(ends, 0), scale * rows[name]
    look: dict[str, Any] = {"fmt": "none", "ecolor": colour, "elinewidth": 0.7, "capsize": 1.5, "capthick": 0.7}
    look |= more
    if horizontal:
        axes.errorbar(values, places, xerr=ends, zorder=2, **look)
    else:
        axes.errorbar(places, values, yerr=ends, zorder=2, **look)


def accuracy_panels(
    table: pd.DataFrame, caption: str | None, default: Callable[[], str], handles: Sequence[Line2D]
) -> tuple[Figure, list[Axes]]:
    """A figure of accuracies, and below them, on the same lower axis, of differences where there are any.

    Args:
        table: A table with the column `gap`.
        caption: As of `infoplane.figures.parts.canvas.canvas`, and likewise the others.
        default: Makes the caption from what is drawn.
        handles: The entries of the legend.

    Returns:
        The figure in single column width, and its one or two panels.
    """
    rows = 1 + bool(table["gap"].notna().any())
    figure, body = canvas(COLUMN, 2.1 if rows == 1 else 3.2, caption, default, handles)
    return figure, list(body.subplots(rows, 1, sharex=True, squeeze=False).ravel())


def gaps(axes: Axes, table: pd.DataFrame, looks: Sequence[Look], x: str, spread: float) -> None:
    """Paired differences in accuracy to the reference in points, side by side at each place, with their bars.

    The axis is linear up to 2 points and logarithmic beyond, so that methods that come near do not coincide where
    another is far off.

    Args:
        axes: Where to draw.
        table: A table with the columns `variant`, `reference`, `gap`, `gap_low`, `gap_high`.
        looks: The looks of all variants.
        x: The column on the lower axis, whose scale is final.
        spread: Typographical points from the first variant at a place to the last one, at most.
    """
    reference = table["reference"].iloc[0]
    # Another network that was trained as a whole has no classifiers on its blocks.
    measured = set(table.loc[table["gap"].notna(), "variant"])
    others = [look for look in looks if look.name in measured - {reference}]
    apart = min(_ASIDE, spread / max(len(others) - 1, 1))
    axes.set_yscale("symlog", linthresh=_LINEAR, linscale=1.0)
    for place, look in enumerate(others):
        rows = table[table["variant"] == look.name].dropna(subset=["gap"]).sort_values(x)
        aside = ScaledTranslation(apart * (place - (len(others) - 1) / 2) / 72, 0, axes.figure.dpi_scale_trans)
        # Marks aside of the last place may reach beyond the axes.
        moved: dict[str, Any] = {"transform": axes.transData + aside, "clip_on": False}
        marked = rows[_apart(axes, rows[x])]
        line = {"color": look.colour, "linestyle": look.dashes, "linewidth": 0.6}
        axes.plot(rows[x], 100 * rows["gap"], gid=f"gap:{look.name}", **moved | line | {"clip_on": True})
        axes.plot(marked[x], 100 * marked["gap"], **look.line | {"linestyle": "none"}, **moved)
        bars(axes, marked[x], marked, "gap", look.colour, 100, **moved)
    # Of what is drawn aside of its place matplotlib does not know the extent.
    ends = 100 * table[["gap", "gap_low", "gap_high"]].stack()
    axes.update_datalim(np.stack([table.loc[ends.index.get_level_values(0), x], ends], axis=1))
    axes.autoscale_view()
    axes.set_ylabel(f"difference to {reference}\n(points)")
    _points_axis(axes)


def _apart(axes: Axes, places: pd.Series) -> list[bool]:
    """Which of some places in rising order have a mark: the last, and those before it with room between them."""
    drawn = axes.transScale.transform(np.stack([places, np.zeros(len(places))], axis=1))[:, 0]
    room = np.ptp(axes.transScale.transform([(end, 0.0) for end in axes.get_xlim()])[:, 0]) / _MOST_MARKS
    marked, next_place = [], np.inf
    for place in drawn[::-1]:
        marked.append(bool(place <= next_place - room))
        next_place = place if marked[-1] else next_place
    return marked[::-1]


def gap_text(table: pd.DataFrame, where: str) -> str:
    """What the differences are, where the reference was measured, and how they are drawn; "" without any."""
    if not table["gap"].notna().any():
        return ""
    reference = table["reference"].iloc[0]
    several = table.loc[table["gap"].notna(), "variant"].nunique() > 1
    aside = "marks of one place stand side by side" if several else ""
    beyond = (100 * table[["gap", "gap_low", "gap_high"]].abs() > _LINEAR).any(axis=None)
    scale = f"logarithmic beyond {_LINEAR:g} points" if beyond else ""
    drawn = "; ".join(filter(None, [scale, aside]))
    return f"Below: paired differences to {reference} with the same seed, {where}{f' ({drawn})' if drawn else ''}. "


def _points_axis(axes: Axes) -> None:
    """Differences in points, with ticks that are read easily and do not run into each other."""
    low, high = axes.get_ylim()
    sizes = (1, 2, 5, 20, 50) if max(-low, high) > 2 * _LINEAR else (0.1, 0.2, 0.5, 1, 2)
    ticks = [tick for tick in (*(-size for size in sizes), 0, *sizes) if low <= tick <= high]
    axes.set_yticks(ticks, [f"{tick:+g}".replace("-", "−") if tick else "0" for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.axhline(0, color="0.85", linewidth=0.6, zorder=0)


def seeds_text(table: pd.DataFrame, drawn: str) -> str:
    """What the values of a figure are means of, and what its bands or bars are."""
    fewest, most = int(table["seeds"].min()), int(table["seeds"].max())
    if most == 1:
        return "One seed."
    count = f"{most}" if fewest == most else f"{fewest} to {most}"
    return f"Means over {count} seeds; {drawn}: {INTERVALS}."


def percent_limits(axes: Axes) -> None:
    """Accuracies in % need no room above 100 or below 0, whatever their intervals say."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -2.0), min(high, 102.0))
