"""A curve of one layer, and the legend of the layers, as all figures of curves draw them."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from infoplane.figures.parts.style import Layer


def draw_curve(axes: Axes, layer: Layer, quantity: str, x: str = "step") -> None:
    """One layer's curve, with its band, its null, and hollow markers where it is uninformative.

    Args:
        axes: Where to draw.
        layer: The layer.
        quantity: The column to draw; with raw I_XT and I_TY their nulls are drawn too.
        x: The column to draw it against.
    """
    rows, colour = layer.rows.sort_values(x), layer.colour
    places, mean = rows[x], rows[quantity]
    low, high = rows[f"{quantity}_low"], rows[f"{quantity}_high"]
    axes.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0, gid=f"band:{layer.name}")
    axes.plot(places, mean, color=colour, gid=f"line:{layer.name}")
    if f"{quantity}_null" in rows:
        null: dict[str, Any] = {"linestyle": (0, (1, 1.5)), "linewidth": 0.7}
        axes.plot(places, rows[f"{quantity}_null"], color=colour, gid=f"null:{layer.name}", **null)
    look: dict[str, Any] = {
        "color": colour,
        "marker": layer.marker,
        "linestyle": "none",
        "markersize": 3,
        "markeredgewidth": 0.6,
    }
    drawn = rows.dropna(subset=[quantity])
    last = drawn[~drawn["uninformative"]].tail(1)
    axes.plot(last[x], last[quantity], **look)
    hollow = drawn[drawn["uninformative"]]
    axes.plot(hollow[x], hollow[quantity], **look, markerfacecolor="white", gid=f"hollow:{layer.name}")


def curve_entries(layers: list[Layer]) -> list[Line2D]:
    """The entries of a legend: colour, marker and name of each layer."""
    looks: list[dict[str, Any]] = [{"color": one.colour, "marker": one.marker, "markersize": 3.5} for one in layers]
    return [
        Line2D([], [], label=f"{layer.short} {layer.name}", **look)
        for layer, look in zip(layers, looks, strict=True)
    ]
