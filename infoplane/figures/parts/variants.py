"""How the variants of a comparison look, in every figure alike, and what their captions share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from infoplane.errors import InfoplaneError
from infoplane.figures.parts.style import MARKERS, shades

INTERVALS = "95 % intervals of Student's t over seeds, where there are three"
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
) -> None:
    """The intervals of some points as bars, at some places on the other axis."""
    ends = scale * np.stack([rows[name] - rows[f"{name}_low"], rows[f"{name}_high"] - rows[name]])
    if not np.isfinite(ends).any():
        return
    # An interval may leave its mean out by a rounding error.
    ends, values = np.maximum(ends, 0), scale * rows[name]
    look: dict[str, Any] = {"fmt": "none", "ecolor": colour, "elinewidth": 0.7, "capsize": 1.5, "capthick": 0.7}
    if horizontal:
        axes.errorbar(values, places, xerr=ends, zorder=2, **look)
    else:
        axes.errorbar(places, values, yerr=ends, zorder=2, **look)


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
