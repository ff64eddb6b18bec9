"""A β sweep: accuracy, and what hidden layers hold, against the weight of the information term."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from infoplane.analysis.comparison.results import subjects
from infoplane.figures.parts.canvas import COLUMN, canvas
from infoplane.figures.parts.style import GREY, MARKERS, shades, style
from infoplane.figures.parts.variants import Look, bars, entries, percent_limits, seeds_text
from infoplane.words import label

_PANEL = 1.25
_PANELS = ("test_accuracy", "S_T", "I_XT")
_OTHER_DASHES: tuple[Any, ...] = ((0, (4, 2)), (0, (1, 1)), "-.", (0, (6, 1, 1, 1, 1, 1)))


@style()
def beta_sweep(table: pd.DataFrame, caption: str | None = None) -> Figure:
    """Draw test accuracy (%), S(T) and I(X;T) (bits) of the hidden layers at the end of training, against β.

    The axis of β is logarithmic; β = 0, which no logarithm has, stands apart on its left, joined to nothing. Hollow
    markers: uninformative estimates. Dashed: accuracy of variants outside of the sweep.

    Args:
        table: A table of `infoplane.analysis.comparison.sweep.sweep_tables`.
        caption: Printed underneath; None builds one from the table, "" prints none.

    Returns:
        A figure in single column width (3.25 in).
    """
    swept, others = table.dropna(subset=["beta"]), table[table["beta"].isna()]
    shown = [name for name in _PANELS if (swept["quantity"] == name).any()]
    looks = _layers(swept)
    dashed = [_dashed(place, str(row["variant"])) for place, (_, row) in enumerate(others.iterrows())]
    height = len(shown) * _PANEL + 0.45
    figure, body = canvas(COLUMN, height, caption, partial(sweep_caption, table), entries(looks) + dashed)
    panels: list[Axes] = list(np.atleast_1d(body.subplots(len(shown), 1, sharex=True)))
    for axes, quantity in zip(panels, shown, strict=True):
        rows = swept[swept["quantity"] == quantity]
        if quantity == "test_accuracy":
            _curve(axes, rows, Look("accuracy", (0.1, 0.1, 0.1, 1.0), "o", "-"), 100)
            for line, (_, row) in zip(dashed, others.iterrows(), strict=True):
                axes.axhline(
                    100 * row["value"], color=GREY, linestyle=line.get_linestyle(), linewidth=0.9, zorder=0
                )
            percent_limits(axes)
        for look in looks if quantity != "test_accuracy" else []:
            _curve(axes, rows[(rows["layer"] == look.name.partition(" ")[2]) & _of_all_seeds(swept, rows)], look)
        axes.set_ylabel(label(quantity))
    _beta_axis(panels, swept["beta"])
    body.align_ylabels(panels)
    figure.draw_without_rendering()
    return figure


def sweep_caption(table: pd.DataFrame) -> str:
    """The caption of a β sweep: data, estimator, and what hollow and dashed mean."""
    swept = table.dropna(subset=["beta"])
    accuracies = swept[swept["quantity"] == "test_accuracy"]
    hollow = " Hollow: saturated or at the permuted null." if swept["uninformative"].any() else ""
    others = list(dict.fromkeys(table.loc[table["beta"].isna(), "variant"]))
    dashed = f" Dashed: {', '.join(others)}." if others else ""
    how = ""
    if "estimate" in swept and (swept["quantity"] != "test_accuracy").any():
        row = swept.iloc[0]
        how = f" S(T) and I(X;T) at the last snapshot: n = {row['n']:.0f} probe samples; {row['estimate']}."
    zero = " β = 0, which a logarithmic axis has no place for, stands apart." if (swept["beta"] == 0).any() else ""
    return (
        f"{swept['sweep'].iloc[0]} with different weights β of the information term: {subjects(swept)}."
        f"{how}{_rates(swept)} {seeds_text(accuracies, 'bars')}{zero}{hollow}{_without(swept)}{dashed}"
    )


def _rates(swept: pd.DataFrame) -> str:
    """The learning rates, where they were tuned, in words."""
    if not (swept["lr_trials"] > 0).all():
        return ""
    span = " to ".join(f"{rate:g}" for rate in sorted({swept["lr"].min(), swept["lr"].max()}))
    return f" Each β at the best learning rate of those that were tried: {span}."


def _without(swept: pd.DataFrame) -> str:
    """Which layers have no value in some runs, in words."""
    few = swept[~_of_all_seeds(swept, swept)]
    layers = few.groupby("beta", sort=True)["layer"].agg(lambda names: ", ".join(dict.fromkeys(names)))
    if layers.empty:
        return ""
    where = "; ".join(f"{names} at β = {beta:g}" for beta, names in layers.items())
    return f" Not drawn, as the layer is constant or not finite in some of the runs: {where}."


def _of_all_seeds(swept: pd.DataFrame, rows: pd.DataFrame) -> pd.Series:
    """Which rows are means over all runs of their β: those that others survived would mislead."""
    return rows["seeds"] >= rows["beta"].map(swept.groupby("beta")["seeds"].max())


def _layers(swept: pd.DataFrame) -> list[Look]:
    """The hidden layers, in the colours and shapes that they have in the information plane."""
    layers = swept.loc[swept["depth"] > 0, ["depth", "layer"]].drop_duplicates().sort_values("depth")
    columns = (layers["depth"], layers["layer"], shades(len(layers)))
    return [
        Look(f"T{depth} {layer}", colour, MARKERS[place % len(MARKERS)], "-")
        for place, (depth, layer, colour) in enumerate(zip(*columns, strict=True))
    ]


def _curve(axes: Axes, rows: pd.DataFrame, look: Look, scale: float = 1.0) -> None:
    """One curve over β; β = 0 is a point by itself."""
    rows = rows.sort_values("beta")
    positive = rows[rows["beta"] > 0]
    bars(axes, rows["beta"], rows, "value", look.colour, scale)
    axes.plot(positive["beta"], scale * positive["value"], color=look.colour, gid=f"line:{look.name}")
    for part, face in ((rows[~rows["uninformative"]], look.colour), (rows[rows["uninformative"]], "white")):
        marks: dict[str, Any] = {
            "marker": look.marker,
            "markersize": 3.5,
            "markeredgewidth": 0.7,
            "linestyle": "none",
        }
        name = "hollow" if isinstance(face, str) else "points"
        axes.plot(part["beta"], scale * part["value"], color=look.colour, markerfacecolor=face,
                  gid=f"{name}:{look.name}", **marks)  # fmt: skip


def _dashed(place: int, name: str) -> Line2D:
    return Line2D([], [], color=GREY, linestyle=_OTHER_DASHES[place % len(_OTHER_DASHES)], label=name)


def _beta_axis(panels: list[Axes], betas: pd.Series) -> None:
    """Logarithmic from the smallest positive β on; 0 a decade to its left, behind a break."""
    values = sorted(set(betas))
    positive = [beta for beta in values if beta > 0]
    axes = panels[-1]
    axes.set_xlabel("β")
    if positive:
        # On a symmetric-log axis the stretch from 0 to the threshold is as long as `linscale` decades.
        axes.set_xscale("symlog", linthresh=positive[0], linscale=1.0)
        axes.set_xlim(-0.25 * positive[0] if values[0] == 0 else positive[0] / 1.8, positive[-1] * 1.8)
    decades = [10.0**k for k in range(-12, 7) if positive and positive[0] <= 10.0**k <= positive[-1]]
    ticks = [0.0] * (values[0] == 0) + (decades if len(decades) > 1 else positive)
    axes.set_xticks(ticks, [_power(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    if values[0] == 0 and positive:
        for panel in panels:
            mark: dict[str, Any] = {
                "marker": [(-0.5, -1), (0.5, 1)],
                "markersize": 6,
                "color": "black",
                "clip_on": False,
            }
            panel.plot([0.42 * positive[0], 0.52 * positive[0]], [0, 0], linestyle="none", markeredgewidth=0.6,
                       transform=panel.get_xaxis_transform(), zorder=9, **mark)  # fmt: skip


def _power(value: float) -> str:
    """A power of ten as a power, other numbers as they are."""
    exponent = np.log10(value) if value > 0 else 0.5
    if value in (0.0, 1.0) or not np.isclose(exponent, round(exponent)):
        return f"{value:g}"
    return "10" + "".join("⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".index(digit)] for digit in str(round(exponent)))
