"""Layer-by-layer information: X, T_1 … T_L and Y against each other, at several times."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from infoplane.figures.parts.links import layers_text, refuse_empty, short, snapshot_name, subject
from infoplane.figures.parts.style import COLOURS, COLUMN, DOUBLE_COLUMN, SMALL, canvas, style, text_width

NORMS = {"diagonal": "I(i;j) / √(I(i;i) I(j;j))", "entropy": "I(i;j) / max(S(i), S(j))"}
_ACROSS = 3
_LUMINANCE = (0.299, 0.587, 0.114)
_DARK = 0.5  # from this luminance down, text on a cell is white


def matrices_caption(table: pd.DataFrame) -> str:
    """The caption of `information_matrices`: what was measured, how it is normalised, and the mean's scope."""
    widest = (table["information_high"] - table["information_low"]).max()
    norm = NORMS[table["norm"].iloc[0]]
    batches = int(table["batches"].iloc[0])
    return (
        f"Information between the input X, the layers and the labels Y of {subject(table)} Normalised: {norm}"
        f"{', so that the diagonal is 1' if table['norm'].iloc[0] == 'diagonal' else ''}; Y by the delta kernel. "
        f"Means over {table['runs'].iloc[0]} runs and {batches} batches of n samples; the widest 95 % interval of "
        f"a hierarchical bootstrap spans {widest:.2f}. {layers_text(table, kind='name')}."
    )


@style()
def information_matrices(table: pd.DataFrame, caption: str | None = None) -> Figure:
    """Draw the normalised information between all pairs of X, T_1 … T_L and Y, one panel a snapshot.

    Cells hold their value where they are large enough for it; pairs that were not measured are grey.

    Args:
        table: `matrices` of `infoplane.analysis.markov.tables.markov_tables`.
        caption: Printed underneath; None builds one from the table, "" prints none.

    Returns:
        A figure in double column width (6.75 in), in single column width for one snapshot.

    Raises:
        InfoplaneError: If there is nothing to draw.
    """
    refuse_empty(table, ["information"])
    steps = sorted(table["step"].unique())
    across = min(len(steps), _ACROSS)
    down = -(-len(steps) // across)
    width = COLUMN if len(steps) == 1 else DOUBLE_COLUMN
    side = (width - 1.0) / across - 0.3
    figure, body = canvas(width, down * (side + 0.45), matrices_caption(table) if caption is None else caption)
    panels = body.subplots(down, across, squeeze=False).ravel()
    least, most = table["information"].min(), table["information"].max()
    norm = Normalize(min(np.floor(10 * least) / 10, 0.9), max(1.0, most))
    for axes in panels[len(steps) :]:
        axes.remove()
    for axes, step in zip(panels, steps, strict=False):
        _matrix(axes, table[table["step"] == step], norm, 72 * side)
        axes.set_title(snapshot_name(step, steps), fontsize=SMALL + 0.5)
    bar = body.colorbar(ScalarMappable(norm, _colours()), ax=list(panels[: len(steps)]), pad=0.02, aspect=28 * down)
    bar.set_label(NORMS[table["norm"].iloc[0]])
    bar.outline.set_linewidth(0.6)
    figure.draw_without_rendering()
    return figure


def _colours() -> Any:
    """Dark is much, as print has it."""
    return COLOURS.reversed().with_extremes(bad="0.85")


def _matrix(axes: Axes, rows: pd.DataFrame, norm: Normalize, points: float) -> None:
    """One snapshot; `points` is the side of the matrix on paper."""
    values = rows.pivot(index="i", columns="j", values="information").to_numpy(dtype=float)
    axes.imshow(np.ma.masked_invalid(values), cmap=_colours(), norm=norm, gid=f"matrix:{rows['step'].iloc[0]}")
    depths = rows.drop_duplicates("i").sort_values("i")["depth_i"]
    names = [short(depth, depths.max()) for depth in depths]
    every = -(-len(names) // max(1, int(points / 14)))
    places = range(0, len(names), every)
    axes.set_xticks(places, names[::every])
    axes.set_yticks(places, names[::every])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if points / len(names) < text_width(".00", SMALL) + 2:
        return
    dark = _colours()(norm(values))[..., :3] @ _LUMINANCE < _DARK
    for i, j in np.argwhere(np.isfinite(values)):
        text = f"{values[i, j]:.2f}".removeprefix("0").replace("1.00", "1")
        axes.text(j, i, text, ha="center", va="center", size=SMALL, color="white" if dark[i, j] else "black")
