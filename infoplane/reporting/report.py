"""The report of an analysis: Markdown for people, JSON with every number of it, and the areas as CSV."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infoplane.analysis.analyze import Report
from infoplane.analysis.convergence.order import ConvergenceOrder
from infoplane.analysis.verdict import Verdict, json_value
from infoplane.files import MARK, refuse_foreign, whole, write_csv
from infoplane.provenance import versions
from infoplane.reporting.report_text import markdown, records
from infoplane.runfile import Run, open_runs

ENDINGS = (".md", ".json", "-areas.csv")


class ReadableReport(Report):
    """A report that Python and notebooks show in words.

    Example:
        >>> report = ip.analyze(["seed0.h5", "seed1.h5"])
        >>> report.verdicts[0].claim, report.verdicts[0].outcome
        ('bottom-up convergence', 'undecidable')
        >>> _ = report.save("report")  # report.md, report.json and report-areas.csv
    """

    def __repr__(self) -> str:
        return "\n".join(
            "\n  ".join([f"{verdict.claim}: {verdict.outcome}", *verdict.reasons]) for verdict in self.verdicts
        )

    def _repr_markdown_(self) -> str:
        """The whole report in a notebook."""
        return markdown(self)

    def save(self, stem: str | os.PathLike[str], *, force: bool = False) -> tuple[Path, ...]:
        """Writes the report, see `write_report`.

        Args:
            stem: Path without ending.
            force: Overwrite files that infoplane did not make, too.

        Raises:
            InfoplaneError: As for `write_report`.
        """
        return write_report(self, Path(stem), force)


def report_paths(stem: Path, force: bool = False) -> tuple[Path, ...]:
    """Where a report goes: `STEM.md`, `STEM.json` and `STEM-areas.csv`.

    Args:
        stem: Path without ending.
        force: Overwrite files that infoplane did not make, too.

    Raises:
        InfoplaneError: One of them exists and is not of infoplane (and not `force`).
    """
    paths = tuple(stem.with_name(stem.name + ending) for ending in ENDINGS)
    refuse_foreign(*paths, force=force)
    return paths


def write_report(report: Report, stem: Path, force: bool = False) -> tuple[Path, ...]:
    """Writes a report, all files or none.

    Args:
        report: The report.
        stem: Path without ending; its folder is made if needed.
        force: Overwrite files that infoplane did not make, too.

    Returns:
        The paths, as of `report_paths`.

    Raises:
        InfoplaneError: A file is not of infoplane (and not `force`; nothing is written then) or cannot be written.
    """
    paths = report_paths(stem, force)
    numbers = json.dumps({"note": MARK, **as_json(report)}, indent=1, ensure_ascii=False, allow_nan=False)
    with whole(*paths) as (words, values, areas):
        words.write_text(f"{markdown(report)}\n<!-- {MARK} -->\n", encoding="utf-8")
        values.write_text(numbers + "\n", encoding="utf-8")
        write_csv(report.areas, areas)
    return paths


def verdicts_of(path: Path, runs: Sequence[Path | Run], estimator: str) -> list[dict[str, Any]]:
    """The verdicts of a report that was written earlier, where it is of these runs.

    Args:
        path: The JSON of a report, there or not.
        runs: Run files, or runs that are open.
        estimator: The estimator and its settings in words, as of `infoplane.words.settings_text`.

    Returns:
        Its verdicts with `claim`, `outcome` and `reasons`; none where it is of other runs, of an earlier state of
        these, of another estimator or version, or can't be read.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        about = report["about"]
        judged = {(str(run["run_id"]), run["last_step"]) for run in about["runs"]}
        current = (about["estimator"], about["infoplane"]) == (estimator, versions().get("infoplane", ""))
        verdicts = [
            {"claim": str(row["claim"]), "outcome": str(row["outcome"]), "reasons": [*map(str, row["reasons"])]}
            for row in report["verdicts"]
        ]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    with open_runs(runs) as several:
        now = {(run.run_id, run.snapshots[-1].step) for run in several.values() if run.snapshots}
        return verdicts if current and now == judged else []


def as_json(report: Report) -> dict[str, Any]:
    """Everything in a report as JSON values; what is not finite is null."""
    values = {
        "about": report.about,
        "verdicts": [_verdict_json(verdict) for verdict in report.verdicts],
        "variants": [
            {"varied": row.varied, "value": row.value, "note": row.note}
            | {"verdict": _verdict_json(row.verdict) if row.verdict else None}
            for row in report.variants
        ],
        "convergence": [_order_json(order) for order in report.orders],
        "phases": records(report.phases),
        "rates": records(report.rates),
    }
    return dict(json_value(values))


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    numbers = json_value(verdict.numbers)
    return {
        "claim": verdict.claim,
        "outcome": verdict.outcome,
        "reasons": list(verdict.reasons),
        "numbers": numbers,
    }


def _order_json(order: ConvergenceOrder) -> dict[str, Any]:
    rows = records(order.table().drop(columns=["quantity", "left_out"]))
    return {"quantity": order.quantity, **order.numbers(), "median_t50": order.median_times(), "times": rows}
