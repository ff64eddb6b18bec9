"""The report of an analysis: Markdown for people, JSON with every number of it."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from infoplane.analysis.analyze import Report
from infoplane.analysis.convergence.order import DepthOrder
from infoplane.analysis.convergence.verdict import order_numbers
from infoplane.analysis.verdict import Verdict, json_value
from infoplane.errors import InfoplaneError
from infoplane.files import write_text
from infoplane.reporting.report_text import layer_summary, markdown, records

ENDINGS = (".md", ".json")


class ReadableReport(Report):
    """A report that Python and notebooks show in words.

    Example:
        >>> report = ip.analyze(["seed0.h5", "seed1.h5"])
        >>> report.verdicts[0].claim, report.verdicts[0].outcome
        ('bottom-up convergence', 'undecidable')
        >>> _ = report.save("report")  # report.md and report.json
    """

    def __repr__(self) -> str:
        return "\n".join(
            "\n  ".join([f"{verdict.claim}: {verdict.outcome}", *verdict.reasons]) for verdict in self.verdicts
        )

    def _repr_markdown_(self) -> str:
        """The whole report in a notebook."""
        return markdown(self)

    def save(self, stem: str | os.PathLike[str], *, force: bool = False) -> tuple[Path, Path]:
        """Writes the report, see `write_report`.

        Args:
            stem: Path without ending.
            force: Overwrite what is there.

        Raises:
            InfoplaneError: As for `write_report`.
        """
        return write_report(self, Path(stem), force)


def report_paths(stem: Path, force: bool = False) -> tuple[Path, Path]:
    """Where a report goes: `STEM.md` and `STEM.json`.

    Args:
        stem: Path without ending.
        force: Overwrite what is there.

    Raises:
        InfoplaneError: One of them exists (and not `force`).
    """
    text, numbers = (stem.with_name(stem.name + ending) for ending in ENDINGS)
    for path in (text, numbers):
        if path.exists() and not force:
            raise InfoplaneError(f"{path} exists; use `force=True` to overwrite")
    return text, numbers


def write_report(report: Report, stem: Path, force: bool = False) -> tuple[Path, Path]:
    """Writes a report; each file appears whole or not at all.

    Args:
        report: The report.
        stem: Path without ending; its folder is made if needed.
        force: Overwrite what is there.

    Returns:
        The two paths.

    Raises:
        InfoplaneError: A file exists (and not `force`; nothing is written then) or cannot be written.
    """
    paths = report_paths(stem, force)
    contents = (markdown(report), json.dumps(as_json(report), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    for path, content in zip(paths, contents, strict=True):
        write_text(path, content)
    return paths


def as_json(report: Report) -> dict[str, Any]:
    """Everything in a report as JSON values; what is not finite is null."""
    found = {
        "about": report.about,
        "verdicts": [_verdict_json(verdict) for verdict in report.verdicts],
        "variants": [
            {"varied": one.varied, "value": one.value, "note": one.note}
            | {"verdict": _verdict_json(one.verdict) if one.verdict else None}
            for one in report.variants
        ],
        "convergence": [
            {"quantity": order.quantity, **order_numbers(order), "layers": _layers_json(order)}
            | {"summary": layer_summary(order)}
            for order in report.orders
        ],
        "phases": records(report.phases),
    }
    return dict(json_value(found))


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    numbers = json_value(verdict.numbers)
    return {
        "claim": verdict.claim,
        "outcome": verdict.outcome,
        "reasons": list(verdict.reasons),
        "numbers": numbers,
    }


def _layers_json(order: DepthOrder) -> list[dict[str, Any]]:
    return records(order.layers.assign(converged=order.layers["time"] < math.inf))
