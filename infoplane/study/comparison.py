"""The figures of a comparison: which there are, what each is made of, and why one cannot be drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from infoplane.analysis.comparison.accuracy import accuracy_table, depth_table
from infoplane.analysis.comparison.classes import confusion_table, hardest_classes, per_class
from infoplane.analysis.comparison.methods import cost_table
from infoplane.analysis.comparison.results import folder_table
from infoplane.analysis.comparison.sweep import sweep_tables
from infoplane.errors import MissingData
from infoplane.estimators.base import EstimatorSettings
from infoplane.estimators.batches import Batches
from infoplane.execution import QUIET, Execution
from infoplane.figures.comparison.accuracy import accuracy_over_epochs
from infoplane.figures.comparison.confusion import confusion_matrix
from infoplane.figures.comparison.costs import costs
from infoplane.figures.comparison.depth import accuracy_over_depth
from infoplane.figures.comparison.hardest import Pictures, hardest
from infoplane.figures.comparison.sweep import beta_sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Material:
    """The runs and settings that the figures of a comparison are made from.

    Attributes:
        runs: Its finished runs, a table of `infoplane.analysis.comparison.results.runs_table`.
        folder: Where its run files are, as far as they are there.
        settings: Settings of the estimator of informations.
        pictures: Images of some classes.
        batches: Batches of the probe to estimate apart; None takes the whole probe at once.
        execution: How work is done.
    """

    runs: pd.DataFrame
    folder: Path
    settings: EstimatorSettings
    pictures: Pictures | None = None
    batches: Batches | None = None
    execution: Execution = QUIET


def _nothing() -> Figure:
    raise MissingData("there is nothing to draw")


@dataclass(frozen=True)
class Drawing:
    """One figure, or why there is none.

    Attributes:
        name: Of the file, without ending.
        table: What the figure shows.
        draw: Makes the figure.
        missing: Why it cannot be drawn; "" where it can.
    """

    name: str
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    draw: Callable[[], Figure] = _nothing
    missing: str = ""


def comparison_drawings(material: Material) -> Iterator[Drawing]:
    """All figures of a comparison, one after another, those that cannot be drawn with the reason.

    Raises:
        InfoplaneError: Something is broken, such as a damaged run file.
    """
    for name, make in _GALLERY.items():
        try:
            yield from make(material)
        except MissingData as error:
            yield Drawing(name, missing=str(error))


def finished_runs(folder: Path) -> pd.DataFrame:
    """The finished runs of a comparison, those of its reference first.

    Args:
        folder: The folder of the comparison.

    Raises:
        InfoplaneError: None is finished, or they are no comparison.
    """
    # Methods that train the whole network are what the others are judged by.
    return folder_table(folder).sort_values(
        "method", key=lambda names: ~names.str.startswith("sgd"), kind="stable", ignore_index=True
    )


def _accuracy(material: Material) -> Iterator[Drawing]:
    table = accuracy_table(material.runs)
    yield Drawing("accuracy", table, partial(accuracy_over_epochs, table))


def _costs(material: Material) -> Iterator[Drawing]:
    table = cost_table(material.runs)
    yield Drawing("costs", table, partial(costs, table))


def _depth(material: Material) -> Iterator[Drawing]:
    table = depth_table(material.runs)
    yield Drawing("depth", table, partial(accuracy_over_depth, table))


def _sweeps(material: Material) -> Iterator[Drawing]:
    tables = sweep_tables(
        material.runs, material.folder, material.settings, material.batches, execution=material.execution
    )
    for name, table in tables.items():
        stem = "sweep" if len(tables) == 1 else f"sweep-{name}"
        yield Drawing(stem, table, partial(beta_sweep, table))


def _classes(material: Material) -> Iterator[Drawing]:
    table = per_class(material.runs)
    # Says so where no class is hard.
    hardest_classes(table)
    yield Drawing("classes", table, partial(hardest, table, material.pictures))


def _confusions(material: Material) -> Iterator[Drawing]:
    matrices, classes = confusion_table(material.runs), per_class(material.runs)
    for variant, rows in matrices.groupby("variant", sort=False):
        of_variant = classes[classes["variant"] == variant]
        yield Drawing(f"confusion-{variant}", rows, partial(confusion_matrix, rows, of_variant))


_GALLERY: dict[str, Callable[[Material], Iterator[Drawing]]] = {
    "accuracy": _accuracy,
    "costs": _costs,
    "depth": _depth,
    "sweep": _sweeps,
    "classes": _classes,
    "confusion": _confusions,
}
