"""How the informations at the end of training depend on bandwidth, probe size and order α."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from infoplane.errors import InfoplaneError
from infoplane.figures.parts.canvas import DOUBLE_COLUMN, canvas
from infoplane.figures.parts.captions import intervals_text, nulls_text
from infoplane.figures.parts.curves import curve_entries, draw_curve
from infoplane.figures.parts.style import GREY, layers_of, style
from infoplane.words import QUANTITIES, label, target_text

_AXES = {"bandwidth": "bandwidth (× median distance)", "n": "samples n", "alpha": "order α"}
_SHOWN = ("I_XT", "I_TY")
_LIMIT: dict[str, Any] = {"color": GREY, "linewidth": 0.7, "linestyle": (0, (4, 3)), "zorder": 0}


@style()
def sensitivity(table: pd.DataFrame, caption: str | None = None) -> Figure:
    """Draw I(X;T) and I(T;Y) with its permuted null at the end of training against what was varied, in bits.

    Layers are ordered by colour; dotted: the permuted null; dashed: the limits log2 n and H(Y), where
    the data come near; hollow markers:
    uninformative points; bands: 95 % intervals over runs, or the batches of one run.

    Args:
        table: A table of `infoplane.analysis.sensitivity.sensitivity_table`; a column of panels for what it varies.
        caption: Printed underneath; None builds one from the table, "" prints none.

    Returns:
        A figure in double column width (6.75 in).

    Raises:
        InfoplaneError: If the table is empty, or is not of such a kind.
    """
    if table.empty or not {*table["varied"]} <= {*_AXES}:
        raise InfoplaneError("nothing to draw: give a table of sensitivity_table")
    layers = layers_of(table)
    varied = [name for name in _AXES if (table["varied"] == name).any()]
    figure, body = canvas(DOUBLE_COLUMN, 3.1, caption, partial(sensitivity_caption, table), curve_entries(layers))
    ratios = [0.6 if name == "alpha" else 1.0 for name in varied]
    grid = body.subplots(2, len(varied), squeeze=False, sharex="col", width_ratios=ratios)
    for column, name in zip(grid.T, varied, strict=True):
        part = table[table["varied"] == name].sort_values("value")
        # Orders are so near to each other that they stand side by side.
        values = sorted(part["value"].unique())
        part = part.assign(place=part["value"].map(values.index) if name == "alpha" else part["value"])
        for axes, quantity in zip(column, _SHOWN, strict=True):
            for layer in layers_of(part):
                draw_curve(axes, layer, quantity, "place")
            _limit(axes, part, quantity)
        _choices(column[1], name, values)
    for axes, quantity in zip(grid[:, 0], _SHOWN, strict=True):
        axes.set_ylabel(label(quantity, table))
    body.align_ylabels(grid[:, 0])
    return figure


def sensitivity_caption(table: pd.DataFrame) -> str:
    """The caption of a sensitivity figure: data set, model, step, what is varied and what is not, runs."""
    row = table.iloc[0]
    own = table[table["varied"] == "alpha"] if (table["varied"] == "alpha").any() else table
    fixed = own.iloc[0]
    sizes = sorted(table.loc[table["varied"] == "n", "value"].unique())
    n = f" n: disjoint batches, and the whole probe ({sizes[-1]:g})." if sizes else ""
    samples = "a batch" if fixed["batches"] else "(whole probe)"
    runs = int(table["runs"].max())
    return (
        f"Sensitivity of the informations of {row['model']} on {row['dataset']} at step {row['step']}, "
        f"{target_text(row)}; matrix-based Rényi estimator, {row['kernel']} kernel, scope "
        f"{fixed['scope'].split(':')[0]}. One choice is varied at a time, the others are n = {fixed['n']} "
        f"{samples}, bandwidth {fixed['bandwidth']} (input {fixed['input_bandwidth']}) and α = "
        f"{_other_alpha(table):g}; the bandwidth is varied for layers and input alike, orders α stand evenly "
        f"spaced.{n} Dotted: the null, {nulls_text(table)}; dashed: log₂ n and H(Y), where "
        f"near; hollow: uninformative. {'Means over ' + str(runs) + ' runs' if runs > 1 else 'One run'}; "
        f"{intervals_text(runs, int(table['batches'].max()), 'bands')}."
    )


def _other_alpha(table: pd.DataFrame) -> float:
    """α where it is not varied."""
    rest = table[table["varied"] != "alpha"]
    return float((rest if len(rest) else table)["alpha"].iloc[0])


def _limit(axes: Axes, part: pd.DataFrame, quantity: str) -> None:
    """The largest value that the estimator can give, where the data come near; the axis starts at 0."""
    limits = part.groupby("place")[QUANTITIES[quantity].limit].mean()
    low, high = axes.get_ylim()
    axes.set_ylim(bottom=min(0, low))
    if limits.min() <= 1.5 * high:
        axes.plot(limits.index, limits, gid="limit", **_LIMIT)


def _choices(axes: Axes, name: str, values: list[float]) -> None:
    """The lower axis of one column."""
    if name == "alpha":
        axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
        axes.set_xlim(-0.3, len(values) - 0.7)
    else:
        axes.set_xscale("log")
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(_AXES[name])
