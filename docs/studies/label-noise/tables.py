"""Prints the tables of index.md.

    python docs/studies/label-noise/tables.py

They are made from the rows beside this file alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from infoplane.analysis.comparison.cells import decoded
from infoplane.analysis.comparison.methods import comparison_table
from infoplane.analysis.comparison.results import read_results
from infoplane.reporting.methods import shown_gap
from infoplane.reporting.tables import markdown, plus_minus

HERE = Path(__file__).parent
LENGTHS = {
    "onecycle": "one-cycle, 15 epochs",
    "long": "one-cycle, 40 epochs",
    "short": "one-cycle, 5 epochs",
    "drops": "dropping, 15 epochs",
    "constant": "constant 0.05, 15 epochs",
    "class": "class-dependent, one-cycle, 15 epochs",
}
RATES = {"rate-0": "0 %", "rate-20": "20 %", "remedies": "40 %", "rate-60": "60 %"}
KINDS = {"remedies": "permuted", "remedies-class": "class-dependent"}
PROJECTION = {"projection": "digits"}
CONFIRMATION, NEW = {"confirmation": "40 %"}, 5
IMAGES = {"images-cifar10": "CIFAR-10", "images-signs": "traffic signs"}
LONGER = {"images-cifar10-long": "CIFAR-10, 60 epochs", "images-signs-long": "traffic signs, 60 epochs"}
CHOSEN = ("sgd", "sgd-generalised")


def rows_of(folder: str) -> pd.DataFrame:
    """The runs of a folder, and one for each seed whose length was chosen by held-out labels, wrong ones and all.

    Of lengths that these do not tell apart the shortest is taken.
    """
    runs = read_results(HERE / folder / "results.csv")
    chosen = []
    for name in CHOSEN:
        lengths = runs[runs["variant"].str.fullmatch(rf"{name}(-\d+-epochs)?")].dropna(subset="validation_accuracy")
        if lengths["variant"].nunique() > 1:
            ranked = lengths.sort_values(["validation_accuracy", "epochs"], ascending=[False, True])
            chosen.append(ranked.drop_duplicates("seed").assign(variant=f"{name}, chosen length"))
    return pd.concat([runs, *chosen], ignore_index=True)


def side_by_side(folders: dict[str, str], reference: str, first: int = 0) -> pd.DataFrame:
    """Test accuracy in % ± standard deviation of each variant in each folder, with the gap to a reference.

    Args:
        folders: Folders, and what their columns are called.
        reference: The variant.
        first: The first of the seeds that count.
    """

    def accuracies(runs: pd.DataFrame) -> pd.Series:
        table = comparison_table(runs[runs["seed"] >= first], reference).set_index("variant")
        return table.apply(_accuracy, axis=1)

    return _columns(folders, accuracies)


def given_labels(folders: dict[str, str]) -> pd.DataFrame:
    """Share of the given training labels in %, wrong ones among them, that the network has right at the end.

    Of up to 2,000 training samples, as snapshots score them.

    Args:
        folders: Folders, and what their columns are called.
    """

    def shares(runs: pd.DataFrame) -> pd.Series:
        last = runs["curves"].map(lambda cell: decoded(cell)["train_accuracy"][-1])
        of_variants = last.groupby(runs["variant"]).agg(["mean", "std"])
        return of_variants.apply(lambda share: plus_minus(share["mean"], share["std"], 100, 1), axis=1)

    return _columns(folders, shares)


def _columns(folders: dict[str, str], column: Callable[[pd.DataFrame], pd.Series]) -> pd.DataFrame:
    """What is told of each variant of the runs of a folder, side by side, a folder a column."""
    columns = {name: column(rows_of(folder)) for folder, name in folders.items()}
    return pd.DataFrame(columns).fillna("").rename_axis("method").reset_index()


def _accuracy(row: pd.Series) -> str:
    mean = plus_minus(row["test_accuracy"], row["test_accuracy_sd"], 100)
    return mean if pd.isna(row["gap"]) else f"{mean} ({shown_gap(row)})"


def main() -> None:
    """Prints them."""
    settings = [(LENGTHS, "sgd"), *itertools.product((RATES, KINDS), ("sgd", "information-scale"))]
    settings += [(IMAGES | LONGER, "sgd"), (PROJECTION, "information")]
    for folders, reference in settings:
        print(f"\n{', '.join(folders)}, against {reference}\n")
        print(markdown(side_by_side(folders, reference)))
    print("\ngiven labels of the training that are right, in %\n")
    print(markdown(given_labels(PROJECTION | IMAGES | LONGER)))
    for first in (0, NEW):
        print(f"\nconfirmation from seed {first} on, against information-scale\n")
        print(markdown(side_by_side(CONFIRMATION, "information-scale", first)))
    print("\nremedies, calibration error in %\n")
    calibration = rows_of("remedies").groupby("variant")["calibration_error"].mean().mul(100).round(1)
    print(markdown(calibration.reset_index()))


if __name__ == "__main__":
    main()
