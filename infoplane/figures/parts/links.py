"""What the figures of links between layers share: names, looks of snapshots, and parts of captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from infoplane.errors import InfoplaneError
from infoplane.figures.parts.captions import measured_text
from infoplane.figures.parts.style import MARKERS, shades, tick_label

_DASHES: tuple[Any, ...] = ((0, (1, 1.2)), (0, (4, 2)), "-")
_MOST_LINKS = 6


def refuse_empty(table: pd.DataFrame, values: Sequence[str]) -> None:
    """Refuses a table that holds nothing to draw.

    Raises:
        InfoplaneError: No rows, or not one finite value.
    """
    if table.empty:
        raise InfoplaneError("nothing to draw: the table has no rows")
    if not np.isfinite(table[list(values)].to_numpy(dtype=float)).any():
        raise InfoplaneError(f"nothing to draw: no {' or '.join(values)} is finite")


def snapshot_looks(steps: Sequence[int]) -> dict[int, dict[str, Any]]:
    """How each of a few snapshots is drawn: the later the paler, with its own marker, the last one's line solid."""
    dashes = [*(_DASHES[i % 2] for i in range(len(steps) - 1)), _DASHES[2]]
    return {
        step: {"color": colour, "linestyle": dash, "marker": MARKERS[i], "markersize": 3.5}
        for i, (step, colour, dash) in enumerate(zip(steps, shades(len(steps)), dashes, strict=True))
    }


def snapshot_name(step: int, steps: Sequence[int]) -> str:
    """A step in words: the first is initialisation where it is step 0, the last is the end."""
    if step == 0:
        return "initialisation"
    return f"step {step:,}" + (" (end)" if step == max(steps) else "")


def some_of(values: Sequence[int], most: int) -> list[int]:
    """At most so many of them, the first and the last among them, evenly spread."""
    places = np.unique(np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int))
    return [values[place] for place in places]


def percent(share: float) -> str:
    """A share in words: 5 %, 0.6 %, 12.3 %."""
    return f"{100 * share:.3g} %"


def short(depth: int) -> str:
    """The short name of the variable at a place: X, T1 … TL."""
    return f"T{depth}" if depth else "X"


def _link_names(links: pd.DataFrame) -> list[str]:
    """The names of links: T1→T2."""
    return [f"T{i}→T{j}" for i, j in zip(links["depth_i"], links["depth_j"], strict=True)]


def link_ticks(axes: Axes, table: pd.DataFrame) -> None:
    """Name the links along the lower edge, some of them where they are many."""
    links = table.drop_duplicates("link").sort_values("link")
    every = -(-len(links) // _MOST_LINKS)
    axes.set_xticks(links["link"].to_numpy()[::every], _link_names(links)[::every])
    axes.set_xlim(0.6, len(links) + 0.4)
    axes.set_xlabel("link between layers")


def step_ticks(axes: Axes, steps: Sequence[int], most: int) -> None:
    """Name some of the snapshots, which stand side by side, along the lower edge."""
    places = some_of(range(len(steps)), most)
    axes.set_xticks(places, [tick_label(steps[place]) for place in places])
    axes.set_xlim(-0.5, len(steps) - 0.5)


def layers_text(table: pd.DataFrame, depths: Sequence[str] = ("depth_i", "depth_j"), kind: str = "layer") -> str:
    """Which layers the short names stand for."""
    ends = [table[[depth, f"{kind}_{depth[-1]}"]].set_axis(["depth", "name"], axis=1) for depth in depths]
    named = pd.concat(ends).drop_duplicates().sort_values("depth")
    return ", ".join(f"T{depth} {name}" for depth, name in zip(named["depth"], named["name"], strict=True))


def subject(table: pd.DataFrame) -> str:
    """What was measured, and which layers could not be read."""
    left = str(table["left_out"].iloc[0])
    return measured_text(table) + (f" Left out: {left}." if left else "")
