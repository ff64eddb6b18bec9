"""Captions: what was measured, how, on what, and what can't be read from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from infoplane.analysis.plane import corrected_axes, limits, saturation_summary
from infoplane.analysis.stats import LEAST_VALUES
from infoplane.estimators.nulls import input_pairings
from infoplane.words import is_bits, settings_text, symbol, target_limit, target_text


def plane_caption(table: pd.DataFrame, most: int = 3) -> str:
    """The caption of an information plane.

    Args:
        table: A table of `infoplane.analysis.plane.plane_table`.
        most: How many sentences about uninformative layers to print before "and k more".

    Returns:
        One paragraph: data set, model, n, settings, runs, and what bars, null and hollow markers mean.
    """
    title = "Information" if is_bits(table) else "Dependence"
    return f"{title} plane of {measured_text(table)} {_spread(table, 'bars')} {_reading(table, most)}"


def time_caption(
    table: pd.DataFrame,
    most: int = 3,
    *,
    columns: Sequence[str] = ("I_XT", "I_TY"),
    times: pd.DataFrame | None = None,
    turns: pd.DataFrame | None = None,
) -> str:
    """The caption of information over time; arguments and result as in `plane_caption`.

    Args:
        table: A table of `infoplane.analysis.plane.plane_table`.
        most: How many sentences about uninformative layers to print before "and k more".
        columns: The quantities that are drawn.
        times: A table of `infoplane.analysis.convergence.order.ConvergenceOrder.table`, if it is drawn.
        turns: A table of `infoplane.analysis.convergence.phases.phases`, if it is drawn.
    """
    drawn = [name for name in columns if f"{name}_null" in table and table[f"{name}_null"].notna().any()]
    nulls = " and ".join(symbol(name, table) for name in drawn)
    null = f" Dotted: the permuted null{'s' if len(drawn) > 1 else ''} of {nulls}." if drawn else ""
    title = "Information" if is_bits(table) else "Dependence"
    marks = "" if times is None else f" {_marks(times, turns)}"
    shown = f"{title} over training of {measured_text(table)} {_spread(table, 'bands')}{null}{marks}"
    return f"{shown} {_reading(table, most)}"


def left_out_text(times: pd.DataFrame) -> str:
    """Which layers have no time of convergence, and why.

    Args:
        times: A table of `infoplane.analysis.convergence.order.ConvergenceOrder.table`.

    Returns:
        One sentence, or "".
    """
    rows = times[times["left_out"] != ""].drop_duplicates("layer").sort_values("depth")
    named = [f"{layer} ({why})" for layer, why in rows[["layer", "left_out"]].itertuples(index=False)]
    return f"Left out: {', '.join(named)}." if named else ""


def _marks(times: pd.DataFrame, turns: pd.DataFrame | None) -> str:
    """What the marks of convergence, and of the turn, are."""
    rule = (
        "t50: the time after which I(X;T) stays nearer to its end than half of the way; ticks on the curves: "
        "median over runs."
    )
    turn = (
        "Triangles: the highest point of the mean I(X;T), with a line from the first run to turn to the last; "
        "hollow where no rise before or no fall after it is established."
    )
    return " ".join(filter(None, (rule, left_out_text(times), turn if turns is not None else "")))


def _spread(table: pd.DataFrame, drawn: str) -> str:
    """What the values are means of; bands are drawn of loss and accuracy too."""
    several = drawn == "bands" and int(table["runs"].max()) >= LEAST_VALUES
    return spread(table, drawn, ", of loss and accuracy ± 1 standard deviation" if several else "")


def spread(table: pd.DataFrame, drawn: str, others: str = "") -> str:
    """What the values are means of, and what the bars or bands are; `others`: what those of other values are."""
    runs, batches = int(table["runs"].max()), batches_of(table)
    if runs <= 1 and not batches:
        return "One run."
    of = [f"{runs} runs"] if runs > 1 else []
    of += [f"{batches} batches of n samples"] if batches else []
    once = "" if runs > 1 else "One run. "
    whole = " and ".join(of)
    return f"{once}Means over {whole}; {intervals_text(runs, batches, drawn)}{others}."


def intervals_text(runs: int, batches: int, drawn: str) -> str:
    """Which intervals the bars or bands are, or that there are none; as `nested_interval` makes them."""
    number, of = (runs, "runs") if runs > 1 else (batches, "batches")
    if number < LEAST_VALUES:
        return f"no {drawn}, as fewer than {LEAST_VALUES} {of} have no interval"
    return f"{drawn}: 95 % intervals of Student's t over {of}"


def batches_of(table: pd.DataFrame) -> int:
    """How many batches of the probe are behind each run; 0 for the whole probe."""
    return int(table["batches"].iloc[0]) if "batches" in table else 0


def measured_text(table: pd.DataFrame) -> str:
    """What was measured, and with which settings; of any table with the columns of settings."""
    row = table.iloc[0]
    samples = "samples a batch" if batches_of(table) else "probe samples"
    return (
        f"{row['model']} on {row['dataset']}: n = {row['n']} {samples}, {target_text(row)}; {settings_text(row)}."
    )


def _reading(table: pd.DataFrame, most: int) -> str:
    """What null and hollow mean here, and for which layers."""
    null = f"Null: {nulls_text(table)}. " if table["permutations"].iloc[0] else "No permuted null was measured. "
    findings = _findings(table)
    if not findings:
        return f"{null}No point is saturated or at its null."
    more = [f"and {len(findings) - most} more"] if len(findings) > most else []
    hollow = ""
    if table["uninformative"].any():
        hollow = f"Hollow: uninformative ({_limits(table)}an information near its null). "
    return f"{null}{hollow}{'; '.join([*findings[:most], *more])}."


def nulls_text(table: pd.DataFrame) -> str:
    """What the nulls are means of: permutations of labels, and pairings of layer and input where I(X;T) has a null.

    Args:
        table: A table of informations with their settings.
    """
    permuted = "label" if table["classes"].iloc[0] else "target"
    text = f"mean of {int(table['permutations'].iloc[0])} {permuted} permutations"
    if corrected_axes(table)[0] == "I_XT":
        return text
    fewest, most = (int(end(input_pairings(table))) for end in (min, max))
    count = f"{most}" if fewest == most else f"{fewest} to {most}"
    return f"{text}, and of {count} permuted pairings of layer and input"


def _limits(table: pd.DataFrame) -> str:
    """The limits near which a point is saturated, in words; empty for an estimator that has none."""
    limit, n = limits(table)[0], table["n"].iloc[0]
    if not np.isfinite(limit):
        return ""
    return (
        f"within 1 % of {'log₂ n' if np.isclose(limit, np.log2(n)) else f'the limit {limit:.2f} bits'} or "
        f"{target_limit(table)}, or "
    )


def _findings(table: pd.DataFrame) -> list[str]:
    """The sentences of `saturation_summary`, with the layers of which the same is said taken together."""
    layers: dict[str, list[str]] = {}
    for sentence in saturation_summary(table):
        layer, _, finding = sentence.partition(": ")
        layers.setdefault(finding.replace("log2", "log₂"), []).append(layer)
    return [f"{', '.join(names)}: {finding}" for finding, names in layers.items()]
