"""The confusion matrix of a classifier with the accuracy of each class beside it."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from infoplane.figures.parts.canvas import COLUMN, DOUBLE_COLUMN, canvas, clipped, text_width
from infoplane.figures.parts.style import BLUE, GREY, SMALL, style
from infoplane.figures.parts.variants import INTERVALS, bars

# With so few classes there is room in a column, and in the cells for numbers.
_FEW = 12
_LEAST = 6.0  # points, of letters that can be read
# Letters of a name beside a row, of few classes and of many, and in the caption.
_LONGEST, _PRINTED = {True: 20, False: 54}, 40
_COLOURS = "Greys"


@style()
def confusion_matrix(table: pd.DataFrame, classes: pd.DataFrame, caption: str | None = None) -> Figure:
    """Draw which classes are taken for which, true classes in rows, and on the right the accuracy of each.

    Rows have the names of the classes where they have some, columns their numbers; of many classes some.

    Args:
        table: The rows of one variant of `infoplane.analysis.comparison.classes.confusion_table`.
        classes: Its rows of `infoplane.analysis.comparison.classes.per_class`.
        caption: Printed underneath; None builds one from the tables, "" prints none.

    Returns:
        A figure in single column width (3.25 in) for up to 12 classes, else in double column width (6.75 in).
    """
    share = table.pivot(index="true", columns="predicted", values="share").to_numpy()
    count = len(share)
    few = count <= _FEW
    width, height = (COLUMN, 2.35) if few else (DOUBLE_COLUMN, 5.6 if count <= 60 else 7.4)
    figure, body = canvas(width, height, caption, partial(confusion_caption, table, classes))
    matrix, strip = body.subplots(1, 2, sharey=True, width_ratios=[4, 1])
    norm = PowerNorm(0.5, vmin=0, vmax=1)
    image = matrix.imshow(share, cmap=_COLOURS, norm=norm, aspect="auto", gid="matrix")
    if few:
        _numbers(matrix, share)
    names = table.drop_duplicates("true").set_index("true")["true_name"].sort_index()
    row = 0.8 * 72 * (height - 1.0) / count
    every = math.ceil(_LEAST / row)
    size = min(SMALL, row * every)
    texts = [clipped(name, _LONGEST[few]) for name in names.iloc[::every]]
    matrix.set_yticks(range(0, count, every), texts, size=size)
    matrix.tick_params(length=0, pad=2)
    _lines(matrix, count)
    matrix.set(xlabel="predicted class", ylabel="true class")
    bar = body.colorbar(image, ax=matrix, location="top", aspect=40, pad=0.01)
    bar.set_ticks([0, 0.01, 0.1, 0.25, 0.5, 1], labels=["0", "1", "10", "25", "50", "100"])
    bar.set_label("share of the true class (%)")
    bar.outline.set_linewidth(0.6)
    _strip(strip, classes, count)
    if few:
        strip.set_xlabel("accuracy\n(%)")
    # How wide the columns are depends on the names of the rows.
    figure.draw_without_rendering()
    _number_columns(matrix, count, size)
    figure.draw_without_rendering()
    return figure


def confusion_caption(table: pd.DataFrame, classes: pd.DataFrame, most: int = 5) -> str:
    """The caption of a confusion matrix, with the hardest classes in words."""
    seeds = int(table["seeds"].iloc[0])
    tested = int(table["count"].sum() // seeds)
    hard = classes[classes["accuracy"] < 1].sort_values("accuracy", kind="stable").head(most)
    listed = "; ".join(
        f"{clipped(row['name'], _PRINTED)}, {100 * row['accuracy']:.0f} %, taken for "
        f"{clipped(row['taken_for_name'], _PRINTED)}"
        for _, row in hard.iterrows()
    )
    several = f", summed over {seeds} seeds" if seeds > 1 else ", one seed"
    bars = f" Right: accuracy of each class; bars: {INTERVALS}." if seeds > 1 else " Right: accuracy of each class."
    hardest = f" Hardest classes: {listed}." if listed else " Every class is always recognised."
    return (
        f"Confusion matrix of {table['variant'].iloc[0]}, {table['subject'].iloc[0]}: {tested:,} test samples"
        f"{several}; shades by square root, so that rare confusions show; white: none.{bars}{hardest}"
    )


def _numbers(axes: Axes, share: np.ndarray) -> None:
    """The share in each cell in %, where it rounds to at least 1."""
    for row, column in zip(*np.nonzero(np.nan_to_num(share) >= 0.005), strict=True):
        dark = np.sqrt(share[row, column]) > 0.55
        axes.text(column, row, f"{100 * share[row, column]:.0f}", ha="center", va="center", size=5.5,
                  color="white" if dark else "black")  # fmt: skip


def _number_columns(axes: Axes, count: int, size: float) -> None:
    """The numbers of the predicted classes, of so many of them as do not run into each other."""
    column = axes.get_window_extent().width * 72 / axes.figure.dpi / count
    upright = column < text_width(str(count), size) + 2
    every = math.ceil(1.2 * size / column) if upright else 1
    shown = range(0, count, every)
    axes.set_xticks(shown, map(str, shown), size=size, rotation=90 if upright else 0)


def _lines(axes: Axes, count: int) -> None:
    """Thin lines between the classes, every fifth a little darker, to follow a row with the eye."""
    for place in range(1, count):
        look: dict[str, Any] = {"color": "0.6" if place % 5 == 0 else "0.9", "linewidth": 0.3}
        axes.axhline(place - 0.5, **look)
        axes.axvline(place - 0.5, **look)
    for spine in axes.spines.values():
        spine.set_visible(True)


def _strip(axes: Axes, classes: pd.DataFrame, count: int) -> None:
    """Accuracy of each class, in line with its row."""
    accuracy = 100 * classes["accuracy"]
    # No accuracy is below 0 or above 1, whatever Student's t says.
    ends = {name: classes[name].clip(0, 1) for name in ("accuracy_low", "accuracy_high")}
    bars(axes, classes["class"], classes.assign(**ends), "accuracy", GREY, 100, horizontal=True)
    axes.plot(accuracy, classes["class"], linestyle="none", marker="o", markersize=2.5, color=BLUE, gid="accuracy")
    axes.hlines(
        np.arange(4.5, count - 0.5, 5), 0, 1, transform=axes.get_yaxis_transform(), color="0.6", linewidth=0.3
    )
    lowest = 100 * ends["accuracy_low"].fillna(classes["accuracy"]).min()
    axes.set_xlim(min(50.0, np.floor(lowest / 10) * 10) - 3, 103)
    axes.set_xlabel("accuracy (%)")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
