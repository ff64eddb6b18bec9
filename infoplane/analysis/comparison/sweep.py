"""β sweeps: what the weight of the information term does to accuracy and to what hidden layers hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from infoplane.analysis.comparison.cells import decoded
from infoplane.analysis.comparison.information import hidden_layers, informations
from infoplane.analysis.comparison.results import ABOUT, records, settings_of_run
from infoplane.analysis.gather import MAY_DIFFER
from infoplane.analysis.stats import over_seeds
from infoplane.errors import MissingData
from infoplane.estimators.base import EstimatorSettings
from infoplane.estimators.batches import Batches
from infoplane.execution import QUIET, Execution
from infoplane.settings import is_number

QUANTITIES = ("S_T", "I_XT")
KEYS = ("sweep", "variant", "method", "subject", "beta", "quantity", "layer", "depth")


def sweep_tables(
    runs: pd.DataFrame,
    folder: Path,
    settings: EstimatorSettings,
    batches: Batches | None = None,
    *,
    execution: Execution = QUIET,
) -> dict[str, pd.DataFrame]:
    """Test accuracy, S(T) and I(X;T) at the end of training against β, averaged over seeds.

    A sweep is two or more values of β under settings that are otherwise the same.

    Args:
        runs: A table of `infoplane.analysis.comparison.results.runs_table`.
        folder: The folder of the comparison.
        settings: Settings of the estimator.
        batches: Batches of the probe to estimate apart, averaged in each run; None takes the whole probe at once.
        execution: How work is done.

    Returns:
        A table for each sweep, by its name. One row per β, quantity and layer: `sweep`, `variant`, `method`,
        `subject`, `beta`, `quantity` ("test_accuracy", 0 to 1, and "S_T" and "I_XT" of the last snapshot in bits),
        `layer` and `depth` ("" and 0 for the accuracy), `value` with `value_low` and `value_high`, `seeds`,
        `uninformative` (saturated or at its null in at least half of the runs), `estimate` (settings in words), `n`
        (probe samples), and `lr` and `lr_trials`, the learning rate and of how many it is the best (0: not tuned).
        Rows of variants outside of the sweep, for comparison, have no β and accuracies only.

    Raises:
        MissingData: There is no sweep.
        InfoplaneError: As for `infoplane.analysis.comparison.information.informations`.
    """
    keys = [_family(row) for row in records(runs)]
    table = runs.assign(family=[family for family, _ in keys], beta=[beta for _, beta in keys])
    several = table.groupby("family")["beta"].transform("nunique") > 1
    if not several.any():
        raise MissingData("no β sweep is here; train one: infoplane compare --methods greedy-dib --beta 0,1e-3,1")
    # Rows of older versions do not say how many rates were tried.
    rates = table.reindex(columns=["variant", "lr", "lr_trials"]).groupby("variant", as_index=False).first()
    tables = {}
    for _, swept in table[several].groupby("family", sort=False):
        name = _name(swept["variant"].tolist())
        hidden = _hidden(swept, informations(swept, folder, settings, batches, execution=execution))
        accuracies = _accuracies(pd.concat([swept, table[~several].assign(beta=np.nan)]))
        tables[name] = _averaged(name, accuracies, hidden).merge(rates, on="variant", how="left")
    return tables


def _family(row: dict[str, Any]) -> tuple[str, float]:
    """The settings that all runs of a sweep share, and the β of this run; NaN without, or with several."""
    settings = settings_of_run(row)
    beta = decoded(settings.pop("beta", ""))
    if not isinstance(beta, list) or len(beta) != 1 or not is_number(beta[0]):
        return row["variant"], np.nan
    # Each β may have a learning rate of its own, the best of as many trials.
    free = {*MAY_DIFFER, "lr"} if row.get("lr_trials") else MAY_DIFFER
    same = {name: value for name, value in settings.items() if name not in free}
    return json.dumps(same, sort_keys=True), float(beta[0])


def _name(variants: Sequence[str]) -> str:
    """The name that the variants of a sweep share, without their β."""
    return variants[0].rpartition("-beta")[0] or variants[0]


def _accuracies(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per run."""
    place: dict[str, Any] = {"quantity": "test_accuracy", "layer": "", "depth": 0, "uninformative": False}
    return runs[[*ABOUT, "beta"]].assign(**place, value=runs["test_accuracy"])


def _hidden(runs: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """One row per run, hidden layer and quantity."""
    hidden = hidden_layers(table)  # there is no penalty on the output
    about = [*ABOUT, "layer", "depth", "uninformative", "estimate", "n"]
    long = hidden.melt(about, [name for name in QUANTITIES if name in hidden], "quantity")
    return long.merge(runs[["variant", "seed", "beta"]], on=["variant", "seed"])


def _averaged(name: str, accuracies: pd.DataFrame, hidden: pd.DataFrame) -> pd.DataFrame:
    table = pd.concat([accuracies, hidden], ignore_index=True).assign(sweep=name)
    table["uninformative"] = table["uninformative"].astype(float).where(table["value"].notna())
    means = over_seeds(table, KEYS, ["value", "uninformative"])
    means = means.assign(uninformative=means["uninformative"] >= 0.5)
    means = means.drop(columns=["uninformative_low", "uninformative_high"])
    shared = {column: hidden[column].iloc[0] for column in ("estimate", "n")} if len(hidden) else {}
    # An estimator may have no S(T).
    measured = means.groupby("quantity")["seeds"].transform("max") > 0
    means = means[measured]
    return means.assign(**shared).sort_values(["quantity", "depth", "beta"], ignore_index=True, kind="stable")
