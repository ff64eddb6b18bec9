"""Accuracy of the runs of a comparison: while they train, and of each of their classifiers at the end."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from infoplane.analysis.comparison.cells import decoded
from infoplane.analysis.comparison.methods import first_reference
from infoplane.analysis.comparison.results import ABOUT, records
from infoplane.analysis.stats import over_seeds
from infoplane.errors import MissingData

NETWORK = "network"
_POINT = ["seed", "epoch", "accuracy"]


def curves_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Metrics of the runs of a comparison at each snapshot.

    Args:
        runs: A table of `infoplane.analysis.comparison.results.runs_table`.

    Returns:
        One row per run, snapshot, classifier and split: `variant`, `method`, `seed`, `subject`, `step`, `epoch`,
        `stage`, `block` (name of the auxiliary classifier's block, "" for the deepest one trained so far),
        `depth` (number of the block from 1, 0 for ""), `split`, `accuracy`.

    Raises:
        MissingData: No run measured any.
    """
    rows = []
    for identity, cell in zip(records(runs[ABOUT]), runs["curves"], strict=True):
        curves = decoded(cell) or {}
        for values in zip(*curves.values(), strict=True):
            metrics = dict(zip(curves, values, strict=True))
            epoch = np.nan if metrics["epoch"] is None else metrics["epoch"]
            place = {**identity, "step": metrics["step"], "epoch": epoch}
            place["stage"] = int(metrics.get("stage") or 0)
            rows += [{**place, **value} for value in _accuracies(metrics)]
    if not rows:
        raise MissingData("results.csv holds no accuracies of snapshots; make it again: infoplane compare")
    return pd.DataFrame(rows)


def accuracy_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of the deepest trained classifier on held-out data over training, averaged over seeds.

    Args:
        runs: A table of `infoplane.analysis.comparison.results.runs_table`.

    Returns:
        One row per variant and step: `variant`, `method`, `subject`, `split` ("test", or "validation" where a
        validation split is held out), `step`, `epoch`, `stage` (number of finished blocks of sequential training),
        `accuracy` with `accuracy_low` and `accuracy_high`, and `seeds`; `reference`, as of
        `infoplane.analysis.comparison.methods.first_reference`, and `gap`, the mean over seeds of the paired
        difference to it at the same epoch, after its end to its end, with `gap_low` and `gap_high` (NaN of the
        reference itself, and where it has no snapshot).

    Raises:
        MissingData: No run measured any.
    """
    curves = curves_table(runs)
    curves = curves[(curves["depth"] == 0) & (curves["split"] != "train")]
    if curves.empty:
        raise MissingData("results.csv holds no accuracies on held-out data; make it again: infoplane compare")
    reference = first_reference(runs)
    curves = curves.assign(reference=reference, gap=curves["accuracy"] - _at_same_epoch(curves, reference))
    curves["gap"] = curves["gap"].where(curves["variant"] != reference)
    keys = ["variant", "method", "subject", "split", "step", "epoch", "stage", "reference"]
    table = over_seeds(curves, keys, ["accuracy", "gap"])
    # Steps that not all seeds of a variant recorded would make its curve jump.
    complete = table.groupby("variant")["seeds"].transform("max")
    return table[table["seeds"] == complete].reset_index(drop=True)


def _at_same_epoch(curves: pd.DataFrame, reference: str) -> pd.Series:
    """The accuracy of the reference with the same seed at the epoch of each row, after its end that at its end."""
    known = curves[curves["variant"] == reference].sort_values("epoch")
    exact = {(seed, round(epoch, 6)): value for seed, epoch, value in known[_POINT].itertuples(index=False)}
    ends = {seed: (epoch, value) for seed, epoch, value in known[_POINT].itertuples(index=False)}
    never = (np.inf, np.nan)
    values = [
        ends[seed][1] if epoch > ends.get(seed, never)[0] else exact.get((seed, round(epoch, 6)), np.nan)
        for seed, epoch in zip(curves["seed"], curves["epoch"], strict=True)
    ]
    return pd.Series(values, curves.index, dtype=float)


def block_switches(table: pd.DataFrame) -> dict[str, list[float]]:
    """Epochs at which sequential training goes on to the next block.

    Args:
        table: A table of `accuracy_table`.

    Returns:
        For each variant with several stages, all of them of one length, its epochs in rising order.
    """
    switches = {}
    for variant, rows in table.groupby("variant", sort=False):
        stages, end = int(rows["stage"].max()) + 1, float(rows["epoch"].max())
        if stages > 1:
            switches[str(variant)] = [end * k / stages for k in range(1, stages)]
    return switches


def blocks_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy of every classifier of the finished runs, one row per run and block.

    Args:
        runs: A table of `infoplane.analysis.comparison.results.runs_table`.

    Returns:
        `variant`, `method`, `seed`, `subject`, `block`, `depth` (from 1 to the last), `accuracy` (NaN without a
        classifier).
    """
    rows = []
    for identity, cell in zip(records(runs[ABOUT]), runs["blocks"], strict=True):
        for depth, (block, accuracy) in enumerate((decoded(cell) or {}).items(), start=1):
            value = np.nan if accuracy is None else accuracy
            rows.append({**identity, "block": block, "depth": depth, "accuracy": value})
    return pd.DataFrame(rows, columns=[*ABOUT, "block", "depth", "accuracy"])


def depth_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy of each classifier against depth, averaged over seeds.

    Blocks of variants that merged their units are placed at the unit in which they end, where another variant
    has these units.

    Args:
        runs: A table of `infoplane.analysis.comparison.results.runs_table`.

    Returns:
        One row per variant and block: `variant`, `method`, `subject`, `block`, `depth` (NaN for a network that was
        trained as a whole), `accuracy` with `accuracy_low` and `accuracy_high`, and `seeds`; `reference`, as of
        `infoplane.analysis.comparison.methods.first_reference`, and `gap`, the mean over seeds of the paired
        difference to the accuracy of its network, with `gap_low` and `gap_high` (NaN of the reference itself).

    Raises:
        MissingData: No run has auxiliary classifiers.
    """
    blocks = blocks_table(runs)
    whole = blocks["block"] == NETWORK
    local = blocks[~whole].dropna(subset=["accuracy"])
    if local.empty or local.groupby("variant")["block"].nunique().max() < 2:
        raise MissingData("no layer-wise method with auxiliary classifiers is here; add one, such as greedy-ce")
    places = _places(blocks[~whole])
    table = blocks.assign(depth=blocks["block"].map(places).fillna(blocks["depth"]).where(~whole))
    reference = first_reference(runs)
    base = runs[runs["variant"] == reference].drop_duplicates("seed").set_index("seed")["test_accuracy"]
    gap = (table["accuracy"] - table["seed"].map(base)).where(table["variant"] != reference)
    keys = ["variant", "method", "subject", "block", "depth", "reference"]
    table = table.assign(reference=reference, gap=gap).dropna(subset=["accuracy"])
    return over_seeds(table, keys, ["accuracy", "gap"])


def _places(blocks: pd.DataFrame) -> dict[str, int]:
    """The depth of each block by name, where the finest division names them all; empty where it does not."""
    finest = max((list(dict.fromkeys(rows["block"])) for _, rows in blocks.groupby("variant")), key=len)
    return {name: depth for depth, name in enumerate(finest, 1)} if set(blocks["block"]) <= set(finest) else {}


def _accuracies(metrics: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The accuracies among the metrics of a snapshot, block by block."""
    hidden = itertools.count(1)
    for name, value in metrics.items():
        split, is_accuracy, rest = name.partition("_accuracy")
        if is_accuracy and (not rest or rest.startswith("@")):
            block = rest.removeprefix("@")
            yield {
                "block": block,
                "depth": next(hidden) if block else 0,
                "split": split,
                "accuracy": np.nan if value is None else value,
            }
