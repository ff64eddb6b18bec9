"""One look for all figures, and the one way to save them.

Colours are ordered in lightness, so that they read in greyscale and by colour-blind people. Lines and marks are
inferno up to where its contrast to white falls to 3:1, the least that a graphic must have (WCAG 2.2, criterion
1.4.11); areas, which need no such contrast, are viridis without its palest yellow. Layers differ in the shape of
their markers too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from infoplane.errors import InfoplaneError, unknown
from infoplane.files import MARK, refuse_foreign, whole, write_csv

FORMATS = ("png", "pdf")
DPI = 300
TEXT = 7.5
SMALL = 7.0
GREY = "0.4"
PALE = "0.58"  # of lines behind others; any paler, and their contrast to white would be below 3:1
BLUE, VERMILION = (seaborn.color_palette("colorblind")[place] for place in (0, 3))
# Filled shapes only: hollow means uninformative.
MARKERS: tuple[Any, ...] = (
    *("o", "s", "^", "D", "v", "P", "p", "<", "X", "h", ">", "d", "*", "8", "H"),
    *((4, 1, 0), (6, 1, 0), (3, 1, 0), (5, 1, 36), (5, 0, 36)),
)
LINES = ListedColormap(matplotlib.colormaps["inferno"](np.linspace(0.08, 0.67, 256)), "infoplane-lines")
AREAS = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0, 0.9, 256)), "infoplane-areas")

_RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": TEXT,
    "axes.labelsize": TEXT,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 0.9,
    # The same figure has the same bytes.
    "svg.hashsalt": "infoplane",
    "pdf.fonttype": 42,
    # Unhinted letters are as wide on a screen as in print, and a $ in a name is no formula.
    "text.hinting": "none",
    "text.parse_math": False,
}
# Dates and program versions would make two equal figures differ in their bytes.
_METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": MARK},
    ".pdf": {"CreationDate": None, "Creator": MARK, "Producer": None},
    ".svg": {"Date": None, "Creator": MARK},
}


@dataclass(frozen=True)
class Layer:
    """How one layer is drawn, in every figure alike.

    Attributes:
        name: The layer's own name.
        short: Its label in the figure, "T" and its depth.
        rows: Its rows of the table, by step.
        colour: Its place on the colour scale, by depth (RGBA).
        marker: The shape of its markers.
    """

    name: str
    short: str
    rows: pd.DataFrame
    colour: tuple[float, ...]
    marker: Any


@contextmanager
def style() -> Iterator[None]:
    """Draw with the project's settings and leave the user's own as they were."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def shades(count: int) -> list[tuple[float, float, float, float]]:
    """Colours of so many lines or marks, RGBA, from the darkest to the lightest."""
    return [(red, green, blue, alpha) for red, green, blue, alpha in LINES(np.linspace(0, 1, count)).tolist()]


def layers_of(table: pd.DataFrame) -> list[Layer]:
    """The layers of a plane table, from the input to the output.

    Args:
        table: A table of `infoplane.analysis.plane.plane_table`.

    Raises:
        InfoplaneError: If the table is empty.
    """
    if table.empty:
        raise InfoplaneError("nothing to draw: the table has no rows")
    groups = list(table.groupby(["depth", "layer"], sort=True))
    return [
        Layer(str(name), f"T{depth}", rows.sort_values("step"), colour, MARKERS[i % len(MARKERS)])
        for i, (((depth, name), rows), colour) in enumerate(zip(groups, shades(len(groups)), strict=True))
    ]


def panels_of(table: pd.DataFrame, quantities: Sequence[str]) -> list[str]:
    """The quantities among some that were measured; the first one in any case."""
    measured = [name for name in quantities if name in table and table[name].notna().any()]
    return measured or [quantities[0]]


def time_ticks(steps: Sequence[int] | pd.Series) -> tuple[list[int], int]:
    """Tick positions for a time axis that is logarithmic from the first positive step on and shows step 0.

    Args:
        steps: Training steps, 0 = initialisation.

    Returns:
        The ticks, and the first positive step: below it the axis is linear.
    """
    positive = sorted({int(step) for step in steps if step > 0}) or [1]
    first, last = positive[0], positive[-1]
    decades = [10**k for k in range(len(str(last))) if first <= 10**k <= last]
    if len(decades) < 2:
        decades = [d * 10**k for k in range(len(str(last))) for d in (1, 2, 5) if first <= d * 10**k <= last]
    return [0, *(decades or [first])], first


def tick_label(step: float) -> str:
    """A step as text, short: 500, 1k, 20k, 3M."""
    for size, letter in ((1_000_000, "M"), (1000, "k")):
        if step >= size:
            return f"{step / size:g}{letter}"
    return f"{step:g}"


def writable(
    stem: Path, force: bool = False, formats: Sequence[str] = FORMATS, caption: bool = False
) -> list[Path]:
    """The files that `save` would write: PNG and PDF, or the formats that are asked for, and CSV.

    Args:
        stem: Path without ending.
        force: Overwrite files that infoplane did not make, too.
        formats: Some of "png", "pdf" and "svg".
        caption: Also the caption, as text.

    Raises:
        InfoplaneError: If one of them exists and is not of infoplane (and not `force`), or a format is none.
    """
    if not formats:
        raise InfoplaneError("name at least one format, such as png")
    for name in formats:
        if f".{name}" not in _METADATA:
            raise unknown("format", name, [ending[1:] for ending in _METADATA])
    endings = [*(f".{name}" for name in dict.fromkeys(formats)), ".csv", *([".txt"] if caption else [])]
    paths = [stem.with_name(stem.name + ending) for ending in endings]
    refuse_foreign(*paths, force=force)
    return paths


def save(
    figure: Figure,
    stem: Path,
    table: pd.DataFrame,
    force: bool = False,
    *,
    formats: Sequence[str] = FORMATS,
    dpi: float = DPI,
    caption: str = "",
) -> list[Path]:
    """Write a figure as PNG and PDF (fonts embedded), and the table behind it as CSV, all or none.

    Args:
        figure: The figure.
        stem: Path without ending; its folder is made if needed.
        table: What the figure shows.
        force: Overwrite files that infoplane did not make, too.
        formats: Some of "png", "pdf" and "svg".
        dpi: Dots per inch of PNG.
        caption: Text for a file of its own; "" for none.

    Returns:
        The paths.

    Raises:
        InfoplaneError: If a file is not of infoplane (and not `force`), or can't be written; nothing is then.
    """
    paths = writable(stem, force, formats, bool(caption))
    with whole(*paths) as drafts, style():
        for draft in drafts:
            if draft.suffix == ".csv":
                write_csv(table, draft)
            elif draft.suffix == ".txt":
                draft.write_text(f"{caption}\n\n{MARK}\n", encoding="utf-8")
            else:
                figure.savefig(draft, metadata=_METADATA[draft.suffix], dpi=dpi)
    return paths
