"""The classes that are hardest to recognise, for all variants, and what they look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from infoplane.analysis.comparison.classes import hardest_classes
from infoplane.analysis.comparison.results import subjects
from infoplane.figures.parts.canvas import COLUMN, canvas, clipped
from infoplane.figures.parts.style import SMALL, style
from infoplane.figures.parts.variants import bars, entries, looks_of, seeds_text

Pictures = Mapping[int, Sequence[NDArray]]
_ROW = 0.32
_MOST = 3
# Letters of two names that have room in one line, and of one name at most.
_SHORT, _LONG = 12, 32


@style()
def hardest(classes: pd.DataFrame, pictures: Pictures | None = None, caption: str | None = None) -> Figure:
    """Draw the test accuracy (%) of the hardest classes, a point a variant, with pictures where they are given.

    Args:
        classes: A table of `infoplane.analysis.comparison.classes.per_class`.
        pictures: For each class some images of it, (H, W) or (H, W, 3), uint8 or floats in [0, 1]; the first three
            are drawn.
        caption: Printed underneath; None builds one from the table, "" prints none.

    Returns:
        A figure in single column width (3.25 in).

    Raises:
        MissingData: All classes are always recognised.
    """
    hard, looks = hardest_classes(classes), looks_of(classes)
    handles = entries([replace(look, dashes="none") for look in looks])
    height = 0.5 + _ROW * len(hard)
    figure, body = canvas(COLUMN, height, caption, partial(_hardest_caption, classes, pictures), handles)
    shown = min(_MOST, max((len(found) for found in (pictures or {}).values()), default=0))
    # So wide that the pictures are as high as their rows.
    share = _ROW * max(shown, 1) / (COLUMN - 0.7)
    axes, side = body.subplots(1, 2, width_ratios=[1 - share, share]) if shown else (body.subplots(), None)
    offsets = np.linspace(0.28, -0.28, len(looks)) if len(looks) > 1 else [0.0]
    for look, offset in zip(looks, offsets, strict=True):
        rows = classes[classes["variant"] == look.name].set_index("class").loc[hard]
        places = np.arange(len(hard))[::-1] + offset
        bars(axes, places, rows, "accuracy", look.colour, 100, horizontal=True)
        marks = {"marker": look.marker, "color": look.colour, "markersize": 3.5, "linestyle": "none"}
        axes.plot(100 * rows["accuracy"], places, gid=f"points:{look.name}", **marks)
    _axis(axes, classes, hard)
    if pictures and side is not None:
        _pictures(side, hard, pictures, shown)
    figure.draw_without_rendering()
    return figure


def _hardest_caption(classes: pd.DataFrame, pictures: Pictures | None = None) -> str:
    """The caption of the hardest classes."""
    images = (
        " Pictures: test samples of the class that most of the runs get wrong, contrast stretched."
        if pictures
        else ""
    )
    return (
        f"The hardest classes of {subjects(classes)}, by accuracy on the test split (median over the "
        f"variants), and the class that most variants take each for. {seeds_text(classes, 'bars')}{images}"
    )


def _axis(axes: Axes, classes: pd.DataFrame, hard: Sequence[int]) -> None:
    """A row a class, named by its number, its name and what it is taken for; what is long stands in two lines."""
    taken = classes[classes["taken_for"] >= 0].groupby("class")["taken_for_name"].agg(lambda found: found.mode()[0])
    names = classes.drop_duplicates("class").set_index("class")["name"]
    pairs = [(names[number], taken[number]) for number in hard]
    between = "\n→ " if max(len(f"{name}{other}") for name, other in pairs) > _SHORT else " → "
    texts = [between.join(clipped(name, _LONG) for name in pair) for pair in pairs]
    axes.set_yticks(range(len(hard))[::-1], texts, linespacing=1.0, size=SMALL if between == " → " else SMALL - 1)
    axes.set_ylim(-0.55, len(hard) - 0.45)
    axes.hlines(
        np.arange(0.5, len(hard) - 1), 0, 1, transform=axes.get_yaxis_transform(), color="0.85", linewidth=0.5
    )
    axes.tick_params(axis="y", length=0)
    axes.set(xlabel="test accuracy (%)", ylabel="class → taken for")
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, -3), min(high, 103))


def _pictures(axes: Axes, hard: Sequence[int], pictures: Pictures, shown: int) -> None:
    """The pictures of each class, right of its row, each from its darkest to its brightest value."""
    axes.set_axis_off()
    rows = len(hard)
    for place, name in enumerate(hard):
        for column, image in enumerate(pictures.get(name, ())[:shown]):
            bounds = (column / shown, 1 - (place + 0.96) / rows, 0.92 / shown, 0.92 / rows)
            cell = axes.inset_axes(bounds)
            cell.imshow(_stretched(image), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            cell.set(xticks=[], yticks=[], gid=f"picture:{name}")
            cell.spines[:].set_visible(False)


def _stretched(image: NDArray) -> NDArray:
    values = image.astype(np.float64)
    return (values - values.min()) / max(values.max() - values.min(), 1e-12)
