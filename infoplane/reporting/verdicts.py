"""Verdicts on several sets of runs as tables, one row for each number that a verdict stands on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from infoplane.analysis.analyze import Report, Variant
from infoplane.analysis.markov.verdict import CLAIM as MARKOV
from infoplane.analysis.verdict import Verdict
from infoplane.errors import InfoplaneError
from infoplane.words import symbol

BASE = "the rule"
_NUMERIC = ("seeds", "layers", "factor", "low", "high", "p_layers", "p_seeds", "p_orders", "detectable_factor")
_ORDER = (*_NUMERIC, "shows", "limitation")
_CONVERGENCE = ("runs", "varied", "to", "outcome", "quantity", *_ORDER)
_MARKOV = ("runs", "outcome", "seeds", "criterion", "holds", "measure", "unit", "value", "low", "high", "p", "note")


def convergence_verdicts(reports: Mapping[str, Report]) -> pd.DataFrame:
    """The verdicts on bottom-up convergence: the rule's own and those under other choices, by quantity.

    Args:
        reports: Reports of `infoplane.analysis.analyze.analyze`, by the name of their set of runs.

    Returns:
        One row per set, variation and quantity: `runs` (name of the set), `varied` and `to` (`BASE` and "" for the
        rule), `outcome` ("not possible" where a variation could not be had), `quantity`, `seeds`, `layers`, the
        `factor` with its 95 % interval `low` and `high`, `p_layers`, `p_seeds`, `p_orders`, the
        `detectable_factor`, whether it `shows` the order, and `limitation` (why it cannot be judged).

    Raises:
        InfoplaneError: There is no report.
    """
    _refuse_none(reports)
    rows: list[dict[str, Any]] = []
    for name, report in reports.items():
        for variant in (Variant(BASE, "", report.verdicts[0]), *report.variants):
            place: dict[str, Any] = {"runs": name, "varied": variant.varied, "to": variant.value}
            if variant.verdict is None:
                rows.append({**place, "outcome": "not possible", "quantity": "", "limitation": variant.note})
                continue
            for quantity, numbers in variant.verdict.numbers["quantities"].items():
                shown = {key: numbers.get(key) for key in _ORDER}
                rows.append({**place, "outcome": variant.verdict.outcome, "quantity": quantity, **shown})
    table = pd.DataFrame(rows, columns=list(_CONVERGENCE))
    table[[*_NUMERIC]] = table[[*_NUMERIC]].astype(float)
    table["quantity"] = table["quantity"].map(symbol)
    return table.fillna({"limitation": ""})


def markov_verdicts(reports: Mapping[str, Report]) -> pd.DataFrame:
    """The verdicts on the Markov information bottleneck, by criterion and by what it measures.

    Args:
        reports: Reports of `infoplane.analysis.analyze.analyze`, by the name of their set of runs; those without
            such a verdict (of another estimator) are left out.

    Returns:
        One row per set, criterion and measure: `runs`, `outcome`, `seeds`, `criterion`, `holds`, `measure`, `unit`
        ("δ", "share" or "bits"), `value` with its 95 % interval `low` and `high`, `p` (the largest of those that
        must be below 0.05), and `note`; an undecidable verdict has one row with its reasons as the note.

    Raises:
        InfoplaneError: There is no such verdict.
    """
    rows: list[dict[str, Any]] = []
    for name, report in reports.items():
        for verdict in (one for one in report.verdicts if one.claim.startswith(MARKOV)):
            runs = name + verdict.claim.removeprefix(MARKOV)
            identity = {"runs": runs, "outcome": verdict.outcome, "seeds": verdict.numbers.get("seeds")}
            rows += [{**identity, **row} for row in _criteria(verdict)]
    _refuse_none(rows)
    table = pd.DataFrame(rows, columns=list(_MARKOV))
    numeric = ["seeds", "value", "low", "high", "p"]
    table[numeric] = table[numeric].astype(float)
    words = ["criterion", "measure", "unit", "note"]
    return table.assign(**{name: table[name].astype(object).fillna("") for name in words})


def _criteria(verdict: Verdict) -> Iterator[dict[str, Any]]:
    """The rows of one verdict."""
    criteria = verdict.numbers.get("criteria")
    if not criteria:
        yield {"note": "; ".join(verdict.reasons)}
        return
    for name, numbers in criteria.items():
        for row in _MEASURES[name](numbers):
            yield {"criterion": name, "holds": numbers["holds"], **row}


def _structure(numbers: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    known = [delta for delta in numbers["delta"] if delta is not None]
    largest = {"measure": "largest δ of a link", "unit": "δ", "value": max(known, default=None)}
    yield {**largest, "note": f"{numbers['state']}; {len(known)} of {len(numbers['delta'])} links known"}


def _triples(numbers: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"measure": "violated triples", "unit": "share", "value": numbers["share"], "p": numbers["p"]}
    yield {"measure": "of other orders of the layers", "unit": "share", "value": numbers["shuffled"]}


def _bottleneck(numbers: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    ends = {"value": numbers["slope"], "low": numbers["slope_low"], "high": numbers["slope_high"]}
    p = max(numbers["p_layers"], numbers["p_seeds"])
    yield {"measure": "slope of I(X;T) a layer", "unit": "bits", **ends, "p": p}
    kept = {"value": numbers["kept_share"], "p": numbers["p_known"]}
    yield {"measure": "I(T;Y) kept by the last layer", "unit": "share", **kept, "note": f"of {numbers['best']}"}


_MEASURES = {"structure": _structure, "triples": _triples, "bottleneck": _bottleneck}


def _refuse_none(rows: object) -> None:
    if not rows:
        raise InfoplaneError("no verdicts to tabulate: analyse a set of runs first")
