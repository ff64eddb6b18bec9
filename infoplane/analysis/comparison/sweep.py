"""β sweeps: what the weight of the information term does to accuracy and to what hidden layers hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from infoplane.analysis.comparison.methods import about_run
from infoplane.analysis.gather import MAY_DIFFER
from infoplane.analysis.plane import average_batches, mark_saturation
from infoplane.analysis.stats import over_seeds
from infoplane.errors import MissingData
from infoplane.estimators.base import EstimatorSettings
from infoplane.estimators.batches import Batches
from infoplane.estimators.engine.estimate import estimate_run
from infoplane.execution import QUIET, Execution
from infoplane.runfile import Run, open_run
from infoplane.words import settings_text

QUANTITIES = ("S_T", "I_XT")
KEYS = ("sweep", "variant", "method", "subject", "beta", "quantity", "layer", "depth")


def sweep_tables(
    paths: Sequence[Path],
    settings: EstimatorSettings,
    batches: Batches | None = None,
    *,
    execution: Execution = QUIET,
) -> dict[str, pd.DataFrame]:
    """Test accuracy, S(T) and I(X;T) at the end of training against β, averaged over seeds.

    A sweep is two or more values of β under settings that are otherwise the same.

    Args:
        paths: Finished runs; the name of a run's folder is that of its variant.
        settings: Settings of the estimator.
        batches: Batches of the probe to estimate apart, averaged in each run; None takes the whole probe at once.
        execution: How work is done.

    Returns:
        A table for each sweep, by its name. One row per β, quantity and layer: `sweep`, `variant`, `method`,
        `subject`, `beta`, `quantity` ("test_accuracy", 0 to 1, and "S_T" and "I_XT" of the last snapshot in bits),
        `layer` and `depth` ("" and 0 for the accuracy), `value` with `value_low` and `value_high`, `seeds`,
        `uninformative` (saturated or at its null in at least half of the runs), `estimate` (settings in words) and
        `n` (probe samples). Rows of variants outside of the sweep, for comparison, have no β and accuracies only.

    Raises:
        MissingData: There is no sweep.
        InfoplaneError: The estimator needs what the runs do not hold.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    betas: dict[str, set[float]] = {}
    for path in paths:
        with open_run(path) as run:
            family, beta = _family(path, run)
            rows.setdefault(family, []).append({**about_run(path, run), "path": path, "beta": beta})
            rows[family][-1]["accuracy"] = run.results["test_accuracy"]
            betas.setdefault(family, set()).add(beta)
    swept = [family for family, values in betas.items() if len(values) > 1]
    if not swept:
        raise MissingData("no β sweep is here; train one: infoplane compare --methods greedy-dib --beta 0,1e-3,1")
    others = [row for family, values in rows.items() if family not in swept for row in values]
    found = {}
    for family in swept:
        name = _name([row["variant"] for row in rows[family]])
        informations = _informations(rows[family], settings, batches, execution)
        accuracies = pd.DataFrame([_accuracy(row) for row in (*rows[family], *others)])
        found[name] = _averaged(name, accuracies, informations)
    return found


def _family(path: Path, run: Run) -> tuple[str, float]:
    """What the runs of a sweep have in common, and the β of this one; NaN without, or with several."""
    beta = run.config.get("beta") or []
    if len(beta) != 1:
        return path.parent.name, np.nan
    same = {name: value for name, value in run.config.items() if name not in {*MAY_DIFFER, "beta"}}
    return json.dumps(same, sort_keys=True), float(beta[0])


def _name(variants: Sequence[str]) -> str:
    """What the variants of a sweep are all called, without their β."""
    return variants[0].rpartition("-beta")[0] or variants[0]


def _accuracy(row: dict[str, Any]) -> dict[str, Any]:
    place = {"quantity": "test_accuracy", "layer": "", "depth": 0, "uninformative": False}
    return {**row, **place, "value": row["accuracy"]}


def _informations(
    rows: Sequence[dict[str, Any]],
    settings: EstimatorSettings,
    batches: Batches | None,
    execution: Execution,
) -> pd.DataFrame:
    """One row per run, hidden layer and quantity."""
    found = []
    for row in rows:
        estimates = estimate_run(row["path"], settings, batches, last=True, execution=execution)
        table = mark_saturation(average_batches(estimates))
        # The last layer holds the logits, on which there is no penalty.
        hidden = table[table["depth"] < table["depth"].max()]
        long = hidden.melt(
            ["layer", "depth", "n", "uninformative"],
            [name for name in QUANTITIES if name in hidden],
            "quantity",
        )
        found.append(long.assign(estimate=settings_text(table.iloc[0]), **row))
    return pd.concat(found, ignore_index=True)


def _averaged(name: str, accuracies: pd.DataFrame, informations: pd.DataFrame) -> pd.DataFrame:
    table = pd.concat([accuracies, informations], ignore_index=True).assign(sweep=name)
    table["uninformative"] = table["uninformative"].astype(float).where(table["value"].notna())
    means = over_seeds(table, KEYS, ["value", "uninformative"])
    means = means.assign(uninformative=means["uninformative"] >= 0.5)
    means = means.drop(columns=["uninformative_low", "uninformative_high"])
    shared = {column: informations[column].iloc[0] for column in ("estimate", "n")} if len(informations) else {}
    # An estimator may have no S(T).
    measured = means.groupby("quantity")["seeds"].transform("max") > 0
    means = means[measured]
    return means.assign(**shared).sort_values(["quantity", "depth", "beta"], ignore_index=True, kind="stable")
