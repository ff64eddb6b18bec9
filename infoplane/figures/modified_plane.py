"""The modified information plane: redundancy against non-redundant information of the feature maps."""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from infoplane.errors import InfoplaneError
from infoplane.figures.parts.canvas import COLUMN, canvas
from infoplane.figures.parts.captions import spread
from infoplane.figures.parts.layers import (
    colour_bar,
    name_layers,
    shape_entries,
    time_norm,
    trajectory,
)
from infoplane.figures.parts.style import layers_of, style
from infoplane.words import label, settings_text

_PLANE = ("redundancy_synergy", "weighted_nonredundant")


@style()
def modified_plane(table: pd.DataFrame, caption: str | None = None) -> Figure:
    """Draw the redundancy–synergy trade-off against the weighted non-redundant information, in bits.

    A convolution layer is a thin line through one marker per snapshot, coloured by training time, named at its last
    point, with bars for the 95 % intervals over runs, or the batches of one run; hollow where the information of
    pairs is saturated.

    Args:
        table: A table of `infoplane.analysis.modified_plane.modified_plane_table`.
        caption: Printed underneath; None builds one from the table, "" prints none.

    Returns:
        A figure in single column width (3.25 in).

    Raises:
        InfoplaneError: If the table is empty, or no layer has two usable feature maps at any step.
    """
    layers = layers_of(table)
    if table[_PLANE[0]].isna().all():
        raise InfoplaneError("nothing to draw: no layer has two usable feature maps")
    entries = shape_entries(layers, _PLANE[0])
    figure, body = canvas(COLUMN, 2.5, caption, partial(modified_plane_caption, table), entries)
    axes = body.subplots()
    norm = time_norm(table["step"])
    for layer in layers:
        trajectory(axes, layer, _PLANE, norm)
    axes.set(xlabel=label(_PLANE[0]), ylabel=label(_PLANE[1]).replace(" information", "\ninformation"))
    axes.margins(x=0.08, y=0.1)
    low, high = axes.get_xlim()
    if low - 0.25 * (high - low) <= 0:
        # More redundancy than synergy to the right of it.
        axes.axvline(0, color="0.85", linewidth=0.6, zorder=0)
    colour_bar(body, [axes], norm, table["step"])
    # Labels are placed on the finished page: lay it out once, and leave it so.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    name_layers(axes, layers, _PLANE)
    return figure


def modified_plane_caption(table: pd.DataFrame) -> str:
    """The caption of a modified information plane: data set, model, n, settings, runs, and what is drawn."""
    row = table.iloc[0]
    samples = "samples a batch" if row["batches"] else "probe samples"
    hollow = " Hollow: I(X;Cᵢ,Cⱼ) within 1 % of log₂ n." if table["uninformative"].any() else ""
    return (
        f"Modified information plane of {row['model']} on {row['dataset']}: n = {row['n']} {samples}; "
        f"{settings_text(row)}, each feature map C with its own bandwidth. Means over up to "
        f"{int(table['pairs'].max())} pairs of maps a layer: redundancy − synergy = I(X;Cᵢ) + I(X;Cⱼ) − I(X;Cᵢ,Cⱼ) "
        f"and non-redundant information = 2 I(X;Cᵢ,Cⱼ) − I(X;Cᵢ) − I(X;Cⱼ). {spread(table, 'bars')}{hollow}"
    )
