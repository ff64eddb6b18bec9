"""A report in words and tables, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from infoplane.analysis.analyze import Report, Variant
from infoplane.analysis.verdict import Verdict
from infoplane.reporting import tables

CAVEATS = (
    "A verdict speaks of these networks, this data set and this probe. What differs with depth beside depth itself "
    "(width, number of parameters, learning rate of a layer) is not told apart from it.",
    "I(X;T) is that of the estimator and bandwidth named above, and values of different probe sizes cannot be "
    "compared; a fall of it is compression in this sense only.",
    "No layer can settle before those below it, so that a part of any order from bottom to top is structural and "
    "not learned; record trainings with `synchronous_path` to see how much.",
)


def markdown(report: Report) -> str:
    """The report in words and tables."""
    about = report.about
    sections = [
        _title(about),
        _about_text(about),
        "## Verdicts",
        *(_verdict_text(verdict) for verdict in report.verdicts),
        "## How the verdict on bottom-up convergence changes",
        _stability(about),
        _table(_variant_rows(report)),
        *_notes(report.variants),
        "## When layers converge",
        "Median step over the runs after which a quantity stays nearer to its end than half of the way. Beside it "
        "the rate of the parameters, a description: how far they go between two snapshots relative to what is left "
        "to their last values, mean over snapshots and runs.",
        _table(_time_rows(report)),
        "## Fitting and compression",
        "Where I(X;T) turns (step; in brackets the first and the last run to turn), how much it rises before and "
        "falls after, in its unit, with 95 % intervals of Student's t over runs; p by a one-sided t-test over "
        "runs, corrected for the number of layers by Holm's rule.",
        _table(_phase_rows(report.phases)),
        "## What this does not say",
        "\n".join(f"- {caveat}" for caveat in CAVEATS),
    ]
    return "\n\n".join(sections) + "\n"


def _title(about: dict[str, Any]) -> str:
    method = about["training"].get("method")
    trained = f" by {method}" if method else ""
    return f"# {about['model'] or 'Own model'} on {about['data']}{trained}: {len(about['runs'])} runs"


def _about_text(about: dict[str, Any]) -> str:
    settings = {name: words for name, words in about["training"].items() if name != "schedule"}  # has its own line
    training = ", ".join(f"{name.replace('_', ' ')} {words}" for name, words in settings.items())
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


def _stability(about: dict[str, Any]) -> str:
    """How many other choices say the same."""
    if not about["variants"]:
        return "It is not asked under other choices, as it cannot be judged."
    return f"{about['unchanged']} of {about['variants']} other choices leave it as it is."


def _variant_rows(report: Report) -> list[dict[str, str]]:
    base = Variant("the rule", "", report.verdicts[0])
    rows = []
    for variant in (base, *report.variants):
        outcome = variant.verdict.outcome if variant.verdict else "not possible"
        row = {"varied": variant.varied, "to": variant.value, "verdict": outcome}
        quantities = variant.verdict.numbers["quantities"] if variant.verdict else {}
        # The first quantity is an information and the second a similarity, whichever they are.
        columns = zip(("factor of I(X;T)", "factor of CKA"), quantities.values(), strict=False)
        rows.append(row | {name: _factor(numbers) for name, numbers in columns})
    return rows


def _factor(numbers: dict[str, Any]) -> str:
    if numbers["factor"] is None:
        return "–"
    text = f"{numbers['factor']:.2f}"
    if numbers["low"] is not None:
        text += f" [{numbers['low']:.2f}, {numbers['high']:.2f}]"
    p_values = ((numbers["p_layers"], "layers"), (numbers["p_seeds"], "seeds"))
    return text + "".join(f", p = {p:.2g} ({what})" for p, what in p_values if p is not None)


def _notes(variants: Iterable[Variant]) -> list[str]:
    lines = [
        "Factor: how many times as long a layer takes as the one below it [95 % interval over seeds]; p over "
        "layers and over seeds, as in the verdict."
    ]
    return [*lines, *(f"{row.varied} {row.value}: {row.note}." for row in variants if row.note)]


def _time_rows(report: Report) -> list[dict[str, str]]:
    rates = dict(zip(report.rates["layer"], report.rates["rate"], strict=True))
    rows = []
    for layer in report.orders[0].layers:
        row = {"layer": layer}
        for order in report.orders:
            time = order.median_times()[layer]
            row[order.symbol] = "left out" if math.isnan(time) else f"{time:.0f}"
        rate = rates.get(layer, math.nan)
        rows.append(row | {"rate of the parameters": "–" if math.isnan(rate) else f"{rate:.3f}"})
    return rows


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
    return tables.markdown(pd.DataFrame(rows).fillna("–"))
