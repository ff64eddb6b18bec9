"""The classes that are hardest to recognise, for all variants, and what they look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from infoplane.analysis.classes import hardest_classes
from infoplane.figures.style import COLUMN, canvas, style
from infoplane.figures.variants import bars, legend, legend_height, looks_of, seeds_text

Pictures = Mapping[int, Sequence[NDArray]]
_ROW = 0.32
_MOST = 3
# Of one picture, as a fraction of the axes.
_WIDTH = 0.17


@style()
def hardest(classes: pd.DataFrame, pictures: Pictures | None = None, caption: str | None = None) -> Figure:
    """Draw the test accuracy (%) of the hardest classes, a point a variant, with pictures where they are given.

    Args:
        classes: A table of `infoplane.analysis.classes.per_class`.
        pictures: For each class some images of it, (H, W) or (H, W, 3), uint8 or floats in [0, 1]; the first three
            are drawn.
        caption: Printed underneath; None builds one from the table, "" prints none.

    Returns:
        A figure in single column width (3.25 in).

    Raises:
        MissingData: All classes are always recognised.
    """
    hard, looks = hardest_classes(classes), looks_of(classes)
    text = hardest_caption(classes, pictures) if caption is None else caption
    shown = max((len(pictures.get(name, ())) for name in hard), default=0) if pictures else 0
    shown = min(shown, _MOST)
    figure, body = canvas(COLUMN, 0.5 + _ROW * len(hard) + legend_height([k.name for k in looks], COLUMN), text)
    axes: Axes = body.subplots()
    offsets = np.linspace(0.28, -0.28, len(looks)) if len(looks) > 1 else [0.0]
    for look, offset in zip(looks, offsets, strict=True):
        rows = classes[classes["variant"] == look.name].set_index("class").loc[hard]
        places = np.arange(len(hard))[::-1] + offset
        bars(axes, places, rows, "accuracy", look.colour, 100, horizontal=True)
        marks = {"marker": look.marker, "color": look.colour, "markersize": 3.5, "linestyle": "none"}
        axes.plot(100 * rows["accuracy"], places, gid=f"points:{look.name}", **marks)
    _axis(axes, classes, hard)
    for column in range(shown):
        _pictures(axes, hard, pictures or {}, column)
    legend(body, [replace(look, dashes="none") for look in looks], COLUMN)
    figure.draw_without_rendering()
    return figure


def hardest_caption(classes: pd.DataFrame, pictures: Pictures | None = None) -> str:
    """The caption of the hardest classes."""
    images = " Pictures: test samples of the class that most of the runs get wrong." if pictures else ""
    return (
        f"The hardest classes of {classes['subject'].iloc[0]}, by accuracy on the test split (median over the "
        f"variants), and the class that most variants take each for. {seeds_text(classes, 'bars')}{images}"
    )


def _axis(axes: Axes, classes: pd.DataFrame, hard: Sequence[int]) -> None:
    """A row a class, named by its number and by what it is taken for."""
    mistakes = classes[classes["taken_for"] >= 0].groupby("class")["taken_for"].agg(lambda found: found.mode()[0])
    axes.set_yticks(range(len(hard))[::-1], [f"{name} → {mistakes[name]}" for name in hard])
    axes.set_ylim(-0.55, len(hard) - 0.45)
    axes.hlines(
        np.arange(0.5, len(hard) - 1), 0, 1, transform=axes.get_yaxis_transform(), color="0.85", linewidth=0.5
    )
    axes.tick_params(axis="y", length=0)
    axes.set(xlabel="test accuracy (%)", ylabel="class → taken for")
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, -3), min(high, 103))


def _pictures(axes: Axes, hard: Sequence[int], pictures: Pictures, column: int) -> None:
    """One picture of each class, right of its row."""
    height = 1 / (len(hard) + 0.1)
    for place, name in enumerate(reversed(hard)):
        if column >= len(pictures.get(name, ())):
            continue
        cell = axes.inset_axes((1.02 + _WIDTH * column, height * (place + 0.1), _WIDTH * 0.94, height * 0.9))
        image: Any = pictures[name][column]
        cell.imshow(image, cmap="gray", interpolation="nearest")
        cell.set(xticks=[], yticks=[], gid=f"picture:{name}")
