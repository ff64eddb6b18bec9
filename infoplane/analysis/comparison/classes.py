"""Which classes a network gets right, which it takes for which others, and how well it places their boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from infoplane.analysis.comparison.cells import decoded
from infoplane.analysis.comparison.results import ABOUT, records
from infoplane.analysis.stats import over_seeds
from infoplane.data import DATASETS
from infoplane.errors import MissingData
from infoplane.runfile import open_run
from infoplane.text import printable

_COLUMNS = [*ABOUT, "confusion", "class_iou"]


def confusion_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Confusion matrices, summed over the seeds of each variant.

    Args:
        runs: A table of `infoplane.analysis.comparison.results.runs_table`.

    Returns:
        One row per variant, true class and predicted class: `variant`, `subject`, `true`, `true_name` (as of
        `class_labels`), `predicted`, `count`, `share` of the true class (NaN where the test split has none of it),
        `seeds`.

    Raises:
        MissingData: No confusion matrix is known.
    """
    parts = []
    for variant, group in _with_confusion(runs).groupby("variant", sort=False):
        counts = _summed(group)
        true, predicted = (axis.ravel() for axis in np.indices(counts.shape))
        totals = counts.sum(1, keepdims=True)
        share = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
        names = np.array(class_labels(runs, len(counts)))[true]
        columns = {"true": true, "true_name": names, "predicted": predicted, "count": counts.ravel()}
        columns["share"] = share.ravel()
        identity = {"variant": variant, "subject": group["subject"].iloc[0], "seeds": len(group)}
        parts.append(pd.DataFrame(columns).assign(**identity))
    return pd.concat(parts, ignore_index=True)


def per_class(runs: pd.DataFrame) -> pd.DataFrame:
    """How each class fares on the test split, averaged over seeds.

    Args:
        runs: A table of `infoplane.analysis.comparison.results.runs_table`.

    Returns:
        One row per variant and class that the test split has: `variant`, `subject`, `class`, `name` (as of
        `class_labels`), `support` (test samples of it), `accuracy` (share of them that is recognised; recall) with
        its standard deviation over seeds `accuracy_sd` (ddof=1) and 95 % interval of Student's t `accuracy_low` and
        `accuracy_high`; `taken_for`, the class that it is mistaken for most often over all seeds (−1: for none),
        its name `taken_for_name` ("" for none), and the share of that `taken_for_share`; `iou`, mean intersection
        over union of its boxes, with `iou_sd`, `iou_low` and `iou_high` (NaN without boxes); `seeds`.

    Raises:
        MissingData: No confusion matrix is known.
    """
    runs = _with_confusion(runs)
    rows = [{**row, **values} for row in records(runs[_COLUMNS]) for values in _classes(row)]
    table = pd.DataFrame(rows).drop(columns=["class_iou", "confusion"])
    keys = ["variant", "subject", "class", "support"]
    means = over_seeds(table, keys, ["accuracy", "iou"])
    deviations = table.groupby(keys, sort=False)[["accuracy", "iou"]].std(ddof=1).add_suffix("_sd").reset_index()
    variants = runs.groupby("variant", sort=False)
    mistakes = pd.concat([_mistakes(str(name), _summed(group)) for name, group in variants])
    table = means.merge(deviations, on=keys).merge(mistakes, on=["variant", "class"])
    labels = class_labels(runs, int(mistakes["class"].max()) + 1)
    # −1 takes the last one, which is that of none.
    taken = np.array([*labels, ""])[table["taken_for"]]
    table.insert(3, "name", np.array(labels)[table["class"]])
    return table.assign(taken_for_name=taken)


def class_labels(runs: pd.DataFrame, classes: int) -> list[str]:
    """What the classes are called: their number, and their name where they have one, such as "14 Stop".

    Args:
        runs: A table of `infoplane.analysis.comparison.results.runs_table`; runs of an infoplane that did not know
            the names take those of their data set.
        classes: Number of classes.
    """
    stored = [decoded(cell) for cell in runs["class_names"].unique() if cell] if "class_names" in runs else []
    known = [spec.class_names for name, spec in DATASETS.items() if name in set(runs["dataset"])]
    names = next((each for each in [*stored, *known] if len(each) == classes), [""] * classes)
    return [printable(f"{number} {name}".strip()) for number, name in enumerate(names)]


def hardest_classes(classes: pd.DataFrame, count: int = 8) -> list[int]:
    """The classes with the lowest accuracy, the median over variants, the hardest first.

    A variant that fails as a whole says nothing about classes, so it is no mean.

    Args:
        classes: A table of `per_class`.
        count: How many.

    Raises:
        MissingData: Half of the variants recognise all classes always.
    """
    middle = classes.groupby("class")["accuracy"].median().sort_values(kind="stable")
    hard = [int(name) for name in middle[middle < 1].index[:count]]
    if not hard:
        raise MissingData("most variants always recognise every class, so none is hard")
    return hard


def mistaken_samples(paths: Sequence[Path], classes: Sequence[int], count: int = 4) -> pd.DataFrame:
    """The test samples of some classes that most of the runs get wrong.

    Args:
        paths: Finished runs on the same test split.
        classes: The classes.
        count: How many samples of each class.

    Returns:
        One row per sample, the most mistaken of a class first: `class`, `index` in the test split, `wrong` (number
        of runs that are wrong), `runs`.
    """
    wrong: NDArray | int = 0
    for path in paths:
        with open_run(path) as run:
            labels = run.result("labels")
            wrong = wrong + (run.result("predictions") != labels)
    rows = []
    for name in classes:
        members = np.flatnonzero(labels == name)
        worst = members[np.argsort(-np.asarray(wrong)[members], kind="stable")][:count]
        rows += [{"class": name, "index": i, "wrong": np.asarray(wrong)[i], "runs": len(paths)} for i in worst]
    return pd.DataFrame(rows)


def _with_confusion(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs whose confusion matrices are known.

    Raises:
        MissingData: There are none.
    """
    known = runs[runs["confusion"] != ""]
    if known.empty:
        raise MissingData("results.csv holds no confusion matrices; make it again: infoplane compare")
    return known


def _summed(runs: pd.DataFrame) -> NDArray:
    """The sum of the confusion matrices, (C, C)."""
    return np.asarray([decoded(cell) for cell in runs["confusion"]]).sum(axis=0)


def _classes(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Accuracy and box overlap of each class in one run."""
    confusion, overlap = np.asarray(decoded(row["confusion"])), decoded(row["class_iou"])
    for name, support in enumerate(confusion.sum(1).tolist()):
        if support:
            iou = np.nan if overlap is None else overlap[name]
            accuracy = confusion[name, name] / support
            yield {"class": name, "support": support, "accuracy": accuracy, "iou": iou}


def _mistakes(variant: str, counts: NDArray) -> pd.DataFrame:
    """For each class the one that it is taken for most often."""
    wrong = counts * (1 - np.eye(len(counts), dtype=counts.dtype))
    most, totals = wrong.max(1), counts.sum(1)
    share = np.divide(most, totals, out=np.zeros(len(counts)), where=totals > 0)
    taken = np.where(most > 0, wrong.argmax(1), -1)
    columns = {"class": np.arange(len(counts)), "taken_for": taken, "taken_for_share": share}
    return pd.DataFrame(columns).assign(variant=variant)
