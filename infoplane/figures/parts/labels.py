"""Direct labels that keep out of each other's way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from infoplane.figures.parts.canvas import text_width
from infoplane.figures.parts.style import GREY, SMALL

_RADII = np.array([9, 11, 14, 18, 23, 29, 36, 44, 54, 66, 80])
_ANGLES = np.deg2rad(np.arange(0, 360, 15))
_OFFSETS = np.stack([np.outer(_RADII, np.cos(_ANGLES)), np.outer(_RADII, np.sin(_ANGLES))], -1).reshape(-1, 2)
_LEADER_FROM = 10.0
_MARKER = 3.5
# What a bad place costs, in points of distance.
_OVERLAP, _OUTSIDE, _CROSSING, _COVERED = 1e5, 1e4, 30.0, 1.5


def label_points(axes: Axes, points: np.ndarray, names: Sequence[str], avoid: np.ndarray) -> list[Any]:
    """Write a name beside each point, joined to it by a line where the name had to move away.

    Each label in turn takes the cheapest of some 260 places around its point: never on another label or a
    labelled point if that can be helped, inside the axes, with no leader lines crossing, over few data, near.

    Args:
        axes: Where to write. Its limits and its place on the page must be final.
        points: The points, `(k, 2)`, in data coordinates.
        names: Their k labels.
        avoid: Other data that the labels should rather not cover, `(m, 2)`.

    Returns:
        The k annotations.
    """
    inches = 72 / axes.figure.dpi
    ends = axes.transData.transform(points) * inches
    others = axes.transData.transform(avoid) * inches
    frame = np.asarray(axes.get_window_extent().extents) * inches
    boxes = np.hstack([ends - _MARKER, ends + _MARKER])
    leaders = np.empty((0, 4))
    along = np.linspace(0, 1, 12)[:, None]
    annotations = []
    for point, end, name in zip(points, ends, names, strict=True):
        half = np.array([text_width(name, SMALL) + 2, SMALL + 1]) / 2
        costs = _costs(end, half, boxes, leaders, others, frame)
        offset = _OFFSETS[int(np.argmin(costs))]
        centre = end + offset
        boxes = np.vstack([boxes, [*(centre - half), *(centre + half)]])
        leaders = np.vstack([leaders, [*end, *centre]])
        others = np.vstack([others, end + along * offset])
        annotations.append(_annotate(axes, point, name, offset))
    return annotations


def _costs(
    end: np.ndarray, half: np.ndarray, boxes: np.ndarray, leaders: np.ndarray, others: np.ndarray, frame: np.ndarray
) -> np.ndarray:
    """The cost of each place for one label, in points; all coordinates are in points too."""
    centres = end + _OFFSETS
    low, high = centres - half, centres + half
    overlaps = ((low[:, None] < boxes[:, 2:]) & (high[:, None] > boxes[:, :2])).all(-1).sum(1)
    outside = (low < frame[:2]).any(1) | (high > frame[2:]).any(1)
    covered = ((low[:, None] < others) & (high[:, None] > others)).all(-1).sum(1)
    crossings = _cross(end, centres, leaders[:, :2], leaders[:, 2:]).sum(1)
    middle = (end + 0.6 * _OFFSETS)[:, None]
    crossings += ((middle > boxes[:, :2]) & (middle < boxes[:, 2:])).all(-1).sum(1)
    distance = np.hypot(*_OFFSETS.T)
    return (
        _OVERLAP * overlaps
        + _OUTSIDE * outside
        + _CROSSING * crossings
        + _COVERED * covered
        + distance
        + distance**2 / 30
    )


def _cross(start: np.ndarray, ends: np.ndarray, starts: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether the segment from `start` to each of `ends` crosses each other segment, `(c, k)`."""

    def side(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
        return np.sign((b - a)[..., 0] * (c - a)[..., 1] - (b - a)[..., 1] * (c - a)[..., 0])

    ends = ends[:, None]
    apart = side(start, ends, starts) * side(start, ends, others) < 0
    return apart & (side(starts, others, start) * side(starts, others, ends) < 0)


def _annotate(axes: Axes, point: np.ndarray, name: str, offset: np.ndarray) -> Any:
    """One label, its centre `offset` points from its point."""
    leader = {"arrowstyle": "-", "linewidth": 0.4, "color": GREY, "shrinkA": 0, "shrinkB": 1}
    return axes.annotate(
        name,
        (float(point[0]), float(point[1])),
        (float(offset[0]), float(offset[1])),
        textcoords="offset points",
        ha="center",
        va="center",
        size=SMALL,
        arrowprops=leader if np.hypot(*offset) > _LEADER_FROM else None,
        # A rim around the letters hides less of bars and lines than a box does.
        path_effects=[withStroke(linewidth=1.4, foreground="white", alpha=0.8)],
        zorder=6,
    )
