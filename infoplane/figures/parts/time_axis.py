"""The time axis that all figures over training share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from infoplane.figures.parts.style import tick_label, time_ticks


def time_axis(axes: Axes, steps: Sequence[int] | pd.Series, name: str = "training step") -> tuple[float, float]:
    """Make the lower axis count training steps, logarithmic from the first positive one on, with step 0 shown.

    Args:
        axes: Whose axis.
        steps: The steps of the snapshots.
        name: Label of the axis.

    Returns:
        The limits of the axis.
    """
    ticks, first = time_ticks(steps)
    limits = (-0.1 * first, max(int(max(steps)), 1) * 1.15)
    stretch(axes, first, limits, ticks, [tick_label(step) for step in ticks])
    axes.set_xlabel(name)
    return limits


def epoch_axis(axes: Axes, table: pd.DataFrame) -> None:
    """Count epochs on the upper edge of axes whose lower one is a `time_axis`; not where none are known.

    Args:
        axes: Whose upper edge.
        table: A table with `step` and `epoch`.
    """
    known = table[np.isfinite(table["epoch"]) & (table["step"] > 0)]
    if known.empty or known["epoch"].max() <= 0:
        return
    ticks, first = time_ticks(table["step"])
    # The end may stand without an epoch.
    per_step = float(known["epoch"].max()) / int(known["step"].max())
    epochs = per_step * int(table["step"].max())
    marks = [0.0, *(10.0**k for k in range(-6, 7) if first * per_step <= 10.0**k <= epochs)]
    if len(marks) < 3:
        marks = [tick * per_step for tick in ticks]
    top = axes.twiny()
    top.spines["top"].set_visible(True)
    stretch(top, first, axes.get_xlim(), [mark / per_step for mark in marks], [f"{mark:.3g}" for mark in marks])
    top.set_xlabel("epoch")


def stretch(
    axes: Axes, first: int, limits: tuple[float, float], ticks: Sequence[float], labels: Sequence[str]
) -> None:
    """Scale one time axis, with these ticks only.

    Args:
        axes: Whose axis.
        first: Below it the axis is linear.
        limits: Its ends.
        ticks: Where its ticks stand.
        labels: Their texts.
    """
    axes.set_xscale("symlog", linthresh=first, linscale=0.5)
    axes.set_xlim(limits)
    axes.set_xticks(ticks, labels)
    axes.xaxis.set_minor_locator(NullLocator())
