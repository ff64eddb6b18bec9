"""A report in words and tables, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from infoplane.analysis.analyze import Report, Variant
from infoplane.analysis.convergence.order import DepthOrder
from infoplane.analysis.convergence.times import FLOOR_BITS
from infoplane.analysis.convergence.verdict import NAMES, SHORT_NAMES
from infoplane.analysis.verdict import Verdict

CAVEATS = (
    "A verdict speaks of these networks, this data set and this probe. What differs with depth beside depth itself "
    "(width, number of parameters, learning rate of a layer) is not told apart from it.",
    "I(X;T) is that of the estimator and bandwidth named above, and values of different probe sizes cannot be "
    "compared; a fall of it is compression in this sense only.",
    "A time is that of a snapshot: between two of them it is not known.",
)


def markdown(report: Report) -> str:
    """The report in words and tables."""
    about = report.about
    sections = [
        f"# {about['training']['model'] or 'Own model'} on {about['training']['dataset'] or 'own data'}: "
        f"{len(about['runs'])} runs",
        _about_text(about),
        "## Verdicts",
        *(_verdict_text(verdict) for verdict in report.verdicts),
        "## How the verdict on bottom-up convergence changes",
        f"{about['unchanged']} of {about['variants']} other choices leave it as it is.",
        _table(_variant_rows(report)),
        *_notes(report.variants),
        "## When layers converge",
        "Median step over the runs after which I(X;T), linear CKA and SVCCA to the final state, and the distance "
        "of the parameters to the end stay within the tolerance of their final values.",
        _table(_time_rows(report.orders)),
        *_dropped(report.orders),
        "## Fitting and compression",
        "Where I(X;T) turns (step), how much it rises before and falls after, in its unit, with 95 % intervals; "
        "p by a one-sided t-test over runs, corrected for the number of layers by Holm's rule; what is under "
        f"{FLOOR_BITS:g} bit on average counts as no phase.",
        _table(_phase_rows(report.phases)),
        "## What this does not say",
        "\n".join(f"- {caveat}" for caveat in CAVEATS),
    ]
    return "\n\n".join(sections) + "\n"


def layer_summary(order: DepthOrder) -> list[dict[str, Any]]:
    """One row per layer: median time over its usable runs, how many these are, and why others are not.

    Returns:
        `layer`, `depth`, `time` (infinite where it converges in less than half of them, NaN without any),
        `runs`, `range` (median), and `dropped`: the reasons of the other runs.
    """
    rows = []
    for (depth, layer), group in order.layers.groupby(["depth", "layer"], sort=True):
        left = group["dropped"] != ""
        # The upper median, as infinite times have no mean.
        time = group["time"].quantile(0.5, interpolation="higher")
        about = {"layer": str(layer), "depth": depth, "time": float(time), "runs": int((~left).sum())}
        reasons = group.loc[left, "dropped"].tolist()
        rows.append(about | {"range": float(group["range"].median()), "dropped": reasons})
    return rows


def _about_text(about: dict[str, Any]) -> str:
    training = ", ".join(f"{name} {value}" for name, value in about["training"].items() if value is not None)
    seeds = ", ".join(str(run["seed"]) for run in about["runs"] if run["seed"] is not None)
    cut = f"{about['batches']} batches of {about['n']} samples" if about["batches"] else "the whole probe at once"
    lines = [
        f"runs: {', '.join(run['run'] for run in about['runs'])}" + (f" (seeds {seeds})" if seeds else ""),
        f"training: {training or 'a loop of your own, of which nothing is recorded'}",
        _schedule_text(about["schedule"]),
        f"layers: {', '.join(about['layers'])}",
        f"snapshots: {about['snapshots']} that all runs have, up to step {about['runs'][0]['last_step']}; "
        f"the last 5 % are {about['last_snapshots']} of them",
        f"probe: {about['probe']} samples, {cut}",
        f"I(X;T): {about['estimator']}",
        f"infoplane {about['infoplane']}",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _schedule_text(schedule: str | None) -> str:
    if schedule == "constant":
        return "learning-rate schedule: constant, the same in all runs"
    named = "not recorded" if schedule is None else f"{schedule}, the same in all runs"
    return (
        f"learning-rate schedule: {named}; a falling learning rate brings all layers to rest at once, so compare "
        "with runs of a constant one"
    )


def _verdict_text(verdict: Verdict) -> str:
    reasons = "\n".join(f"- {reason}" for reason in verdict.reasons)
    return f"### {verdict.claim[:1].upper()}{verdict.claim[1:]}: **{verdict.outcome}**\n\n{reasons}"


def _variant_rows(report: Report) -> list[dict[str, str]]:
    base = Variant("", "as above, tolerance 5 %", report.verdicts[0])
    rows = []
    for one in (base, *report.variants):
        row = {
            "varied": one.varied,
            "to": one.value,
            "verdict": one.verdict.outcome if one.verdict else "not possible",
        }
        found = one.verdict.numbers["quantities"] if one.verdict else {}
        rows.append(row | {f"ρ of {name}": _rho(found.get(quantity)) for quantity, name in SHORT_NAMES.items()})
    return rows


def _rho(numbers: dict[str, Any] | None) -> str:
    if not numbers or numbers["median"] is None:
        return "–"
    interval = "" if numbers["low"] is None else f" [{numbers['low']:z.2f}, {numbers['high']:z.2f}]"
    return f"{numbers['median']:z.2f}{interval}, p = {numbers['p_corrected']:.2g}"


def _notes(variants: Iterable[Variant]) -> list[str]:
    lines = ["ρ: median over runs [95 % interval], p corrected, as in the verdict."]
    return [*lines, *(f"{one.varied} {one.value}: {one.note}." for one in variants if one.note)]


def _time_rows(orders: Sequence[DepthOrder]) -> list[dict[str, str]]:
    rows: dict[str, dict[str, str]] = {}
    for order in orders:
        for row in layer_summary(order):
            shown = "dropped" if math.isnan(row["time"]) else "not before the end"
            if math.isfinite(row["time"]):
                shown = f"{row['time']:g}"
            rows.setdefault(row["layer"], {"layer": row["layer"]})[SHORT_NAMES[order.quantity]] = shown
    return list(rows.values())


def _dropped(orders: Sequence[DepthOrder]) -> list[str]:
    """Which layers were left out, of how many runs, and why."""
    lines = []
    for order in orders:
        for row in layer_summary(order):
            if reasons := row["dropped"]:
                share = f"{len(reasons)} of {row['runs'] + len(reasons)} runs"
                lines.append(f"- {NAMES[order.quantity]} of {row['layer']}: in {share}: {reasons[0]}")
    return ["Dropped, with the reason in the first such run:\n\n" + "\n".join(lines)] if lines else []


def _phase_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    rows = []
    for row in records(table):
        shown = {"layer": row["layer"], "phase": row["phase"], "turn": _interval(row, "turn", "g")}
        for name in ("rise", "fall"):
            shown[name] = _interval(row, name, "z.3f")
            shown[f"p of the {name}"] = "–" if math.isnan(row[f"p_{name}"]) else f"{row[f'p_{name}']:.2g}"
        rows.append(shown)
    return rows


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table."""
    return [dict(zip(table.columns, values, strict=True)) for values in table.itertuples(index=False)]


def _interval(row: dict[str, Any], name: str, form: str) -> str:
    if math.isnan(row[name]):
        return "–"
    value, low, high = (row[name + end] for end in ("", "_low", "_high"))
    return f"{value:{form}}" + ("" if math.isnan(low) else f" [{low:{form}}, {high:{form}}]")


def _table(rows: Sequence[dict[str, str]]) -> str:
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([row.get(name, "–") for name in names] for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
