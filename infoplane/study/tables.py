"""The tables of a study, T1 to T6."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from infoplane.analysis.analyze import Report
from infoplane.analysis.comparison.classes import per_class
from infoplane.analysis.comparison.methods import MARGIN, comparison_table
from infoplane.errors import InfoplaneError, MissingData, RunFileError
from infoplane.reporting.methods import show_accuracy, show_costs
from infoplane.reporting.settings import settings_table
from infoplane.reporting.study import show_classes, show_convergence, show_markov, show_settings
from infoplane.reporting.verdicts import convergence_verdicts, markov_verdicts
from infoplane.study.experiments import runs_of
from infoplane.study.figures import Study

RUNS = "SGD"


@dataclass(frozen=True)
class Tabulated:
    """One table, or why there is none.

    Attributes:
        name: Of the file, without ending.
        numbers: With all digits.
        shown: As people read it.
        caption: One sentence.
        note: What should stand below it.
        missing: Why it cannot be made; "" where it can.
    """

    name: str
    numbers: pd.DataFrame
    shown: pd.DataFrame
    caption: str = ""
    note: str = ""
    missing: str = ""


def tables(study: Study, report: Report | None) -> Iterator[Tabulated]:
    """All tables of a study; those that cannot be made with the reason.

    Args:
        study: The study.
        report: Its verdicts; None where the runs for them are missing.

    Raises:
        RunFileError: A run file is damaged.
    """
    makers: dict[str, Callable[[], Iterator[Tabulated]]] = {
        "T1-accuracy": lambda: _accuracy(study),
        "T2-signs": lambda: _signs(study),
        "T3-costs": lambda: _costs(study),
        "T4-convergence": lambda: _convergence(report),
        "T5-markov": lambda: _markov(report),
        "T6-settings": lambda: _settings(study),
    }
    for name, make in makers.items():
        try:
            yield from make()
        except RunFileError:
            raise
        except InfoplaneError as error:
            yield Tabulated(name, pd.DataFrame(), pd.DataFrame(), missing=str(error))


def _comparisons(study: Study, name: str) -> Iterator[tuple[str, pd.DataFrame]]:
    for group in study.groups("comparison"):
        where = name if group == "comparison" else f"{name}-{group.removeprefix('comparison-')}"
        yield where, comparison_table(study.comparison(group).runs)


def _accuracy(study: Study) -> Iterator[Tabulated]:
    for name, table in _comparisons(study, "T1-accuracy"):
        yield Tabulated(name, table, *show_accuracy(table, MARGIN))


def _costs(study: Study) -> Iterator[Tabulated]:
    for name, table in _comparisons(study, "T3-costs"):
        yield Tabulated(name, table, *show_costs(table))


def _signs(study: Study) -> Iterator[Tabulated]:
    material = study.comparison("signs")
    classes = per_class(material.runs)
    yield Tabulated("T2-signs", classes, *show_classes(classes, comparison_table(material.runs)))


def _convergence(report: Report | None) -> Iterator[Tabulated]:
    table = convergence_verdicts({RUNS: _there(report)})
    yield Tabulated("T4-convergence", table, *show_convergence(table))


def _markov(report: Report | None) -> Iterator[Tabulated]:
    table = markov_verdicts({RUNS: _there(report)})
    yield Tabulated("T5-markov", table, *show_markov(table))


def _settings(study: Study) -> Iterator[Tabulated]:
    sets: dict[str, list[Path]] = {}
    for folder in sorted(study.runs.glob("*/*")):
        group, name = folder.parent.name, folder.name
        if folder.is_dir() and (paths := runs_of(study.runs, group, name)):
            sets[f"{group}/{name}"] = paths
    if not sets:
        raise MissingData(f"there are no runs in {study.runs}")
    table = settings_table(sets)
    yield Tabulated("T6-settings", table, *show_settings(table))


def _there(report: Report | None) -> Report:
    if report is None:
        raise MissingData("there are no runs training/sgd/seedN.h5")
    return report
