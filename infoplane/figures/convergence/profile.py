"""The convergence profile: how far each layer is from its end, at every time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure

from infoplane.errors import InfoplaneError
from infoplane.figures.parts.canvas import DOUBLE_COLUMN, canvas
from infoplane.figures.parts.captions import measured_text
from infoplane.figures.parts.style import AREAS, GREY, style
from infoplane.figures.parts.time_axis import time_axis
from infoplane.words import symbol

_LEVELS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
_ROW = 0.17
_DROPPED = "0.92"


@style()
def convergence_profile(table: pd.DataFrame, caption: str = "") -> Figure:
    """Draw the relative distance of each layer to its end over training steps, a panel a quantity.

    A black tick is the median of t50 over runs. Layers that cannot be used in at least half of the runs are
    hatched.

    Args:
        table: A table of `infoplane.analysis.convergence.profile.profile_table`.
        caption: Printed underneath, as of `profile_caption`; "" prints none.

    Returns:
        A figure in double column width (6.75 in).

    Raises:
        InfoplaneError: If the table is empty, or holds a single snapshot of a quantity.
    """
    if table.empty or table.groupby("quantity")["step"].nunique().min() < 2:
        raise InfoplaneError(
            "nothing to draw: a profile over time needs at least 2 snapshots, 3 of what is compared with the last"
        )
    layers = table.drop_duplicates("depth").sort_values("depth")
    quantities = table["quantity"].unique()
    norm = BoundaryNorm(_LEVELS, AREAS.N)
    figure, body = canvas(DOUBLE_COLUMN, 0.75 + max(4, len(layers)) * _ROW, caption)
    panels: list[Axes] = list(np.atleast_1d(body.subplots(1, len(quantities), sharey=True)))
    for axes, quantity in zip(panels, quantities, strict=True):
        rows = table[table["quantity"] == quantity]
        _heat(axes, rows, norm)
        axes.set_title(symbol(quantity), size="medium")
        time_axis(axes, rows["step"])
    names = [f"T{depth} {name}" for depth, name in zip(layers["depth"], layers["layer"], strict=True)]
    panels[0].set_yticks(layers["depth"], names)
    bar = body.colorbar(ScalarMappable(norm, AREAS.reversed()), ax=panels, pad=0.02, aspect=16, spacing="uniform")
    bar.set_ticks(_LEVELS, labels=[f"{level:g}" for level in _LEVELS])
    bar.set_label("relative distance to the end")
    bar.outline.set_linewidth(0.6)
    return figure


def profile_caption(table: pd.DataFrame, estimates: pd.DataFrame) -> str:
    """The caption of a convergence profile.

    Args:
        table: A table of `infoplane.analysis.convergence.profile.profile_table`.
        estimates: The estimates behind it (`infoplane.analysis.gather.gather`), for their settings.
    """
    runs = int(table["of"].max())
    left_out = [
        f"{symbol(str(quantity))} of {layer} ({of - usable} of {of} runs)"
        for (quantity, _, layer), rows in table.groupby(["quantity", "depth", "layer"], sort=False)
        if (usable := int(rows["runs"].iloc[0])) < (of := int(rows["of"].iloc[0]))
    ]
    missing = f" Left out of the mean: {', '.join(left_out)}." if left_out else " No layer is left out."
    return (
        f"Convergence profile of {measured_text(estimates)} Relative distance D(s) to the end, 1 at its largest; "
        f"{'mean over ' + str(runs) + ' runs' if runs > 1 else 'one run'}. Ticks: t50, after which D stays below "
        f"one half; median over runs. Hatched: left out in at least half of the runs.{missing}"
    )


def _heat(axes: Axes, rows: pd.DataFrame, norm: BoundaryNorm) -> None:
    """One quantity of all layers."""
    wide = rows.pivot(index="depth", columns="step", values="distance")
    usable = rows.groupby("depth")["runs"].first() * 2 > rows.groupby("depth")["of"].first()
    steps, depths = wide.columns.to_numpy(dtype=float), wide.index.to_numpy(dtype=float)
    edges = np.concatenate([[steps[0]], (steps[:-1] + steps[1:]) / 2, [steps[-1] * 1.15]])
    # The first cell reaches to the edge of the axis, left of step 0.
    edges[0] -= 0.1 * steps[1]
    values = np.where(usable.to_numpy()[:, None], wide.to_numpy(), np.nan)
    tall = np.append(depths, depths[-1] + 1) - 0.5
    axes.pcolormesh(edges, tall, values, norm=norm, cmap=AREAS.reversed(), gid="heat")
    for depth, layer in rows.drop_duplicates("depth")[["depth", "layer"]].itertuples(index=False):
        if not usable[depth]:
            look: dict[str, Any] = {"facecolor": _DROPPED, "edgecolor": GREY, "hatch": "////", "linewidth": 0}
            axes.axhspan(depth - 0.5, depth + 0.5, gid=f"dropped:{layer}", **look)
            continue
        time = float(rows.loc[rows["depth"] == depth, "t50"].iloc[0])
        axes.plot([time] * 2, [depth - 0.4, depth + 0.4], color="black", linewidth=1.3, gid=f"time:{layer}")
    axes.set_ylim(tall[0], tall[-1])
    axes.tick_params(axis="y", length=0)
