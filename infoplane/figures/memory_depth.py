"""Peak memory of a training step against the depth of the network."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infoplane.figures.parts.canvas import COLUMN, canvas
from infoplane.figures.parts.style import style
from infoplane.figures.parts.variants import Look, entries, looks_of

MIB = 2**20


@style()
def memory_over_depth(table: pd.DataFrame, caption: str) -> Figure:
    """Draw peak memory (MiB) of one training step, a line a method: a chain of growing depth, and known networks.

    Args:
        table: One row per network and method: `variant` (the method with its settings), `network`, `blocks` (number
            of equal blocks of a chain, NaN for other networks), `peak_bytes`.
        caption: Printed underneath; "" prints none.

    Returns:
        A figure in single column width (3.25 in).

    Raises:
        InfoplaneError: The table is empty.
    """
    looks = looks_of(table)
    figure, body = canvas(COLUMN, 2.2, caption, handles=entries(looks))
    left, right = body.subplots(1, 2, width_ratios=[2, 1])
    chains, others = table.dropna(subset=["blocks"]), table[table["blocks"].isna()]
    for look in looks:
        _line(left, look, chains.sort_values("blocks"), "blocks")
        _line(right, look, others, "network")
    depths = sorted(chains["blocks"].unique())
    left.set_xticks(depths, [f"{depth:.0f}" for depth in depths])
    left.set(xlabel="blocks of a chain", ylabel="peak of one step (MiB)")
    right.set_xlabel("network")
    right.margins(x=0.3)
    for axes in (left, right):
        axes.set_ylim(0, None)
    figure.draw_without_rendering()
    return figure


def _line(axes: Axes, look: Look, rows: pd.DataFrame, place: str) -> None:
    own = rows[rows["variant"] == look.name]
    axes.plot(own[place], own["peak_bytes"] / MIB, gid=f"line:{look.name}", **look.line)
