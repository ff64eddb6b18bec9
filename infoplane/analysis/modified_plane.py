"""The modified information plane of several runs, as a table of means with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from infoplane.analysis.gather import refuse_other_training
from infoplane.analysis.plane import SATURATION, common_steps
from infoplane.analysis.stats import interval_table
from infoplane.errors import InfoplaneError
from infoplane.estimators.batches import Batches
from infoplane.estimators.engine.pool import batch_columns
from infoplane.estimators.feature_maps import PAIRS, interaction_table
from infoplane.estimators.renyi import RenyiSettings
from infoplane.execution import QUIET, Execution
from infoplane.runfile import Run, open_runs
from infoplane.settings import setting_text

QUANTITIES = ("redundancy_synergy", "weighted_nonredundant", "total_correlation")
_SHARED = (
    *("dataset", "model", "n", "estimator", "alpha", "kernel", "bandwidth", "scope", "input_bandwidth"),
    *("batches", "batch_size"),
)


def gather_interactions(
    runs: Sequence[Path | Run],
    layers: Sequence[str] | None = None,
    settings: RenyiSettings | None = None,
    batches: Batches | None = None,
    *,
    steps: Sequence[int] | None = None,
    pairs: int = PAIRS,
    execution: Execution = QUIET,
) -> pd.DataFrame:
    """The tables of `infoplane.estimators.feature_maps.interaction_table` of several runs, under each other.

    Args:
        runs: Run files that hold the activations of the layers, or these runs open.
        layers: Names of the layers; None takes all that have at least two feature maps.
        settings: Order α and bandwidth rules.
        batches: Batches of the probe; None takes the whole probe at once.
        steps: Steps of the snapshots; None takes all.
        pairs: Largest number of pairs of maps.
        execution: How work is done.

    Returns:
        Their rows, and for each `run`, `dataset`, `model` and the settings.

    Raises:
        InfoplaneError: As `interaction_table`; a run is given twice, or the runs differ in more than their seeds.
    """
    settings = settings or RenyiSettings()
    how: dict[str, Any] = {"steps": steps, "pairs": pairs, "execution": execution}
    tables = []
    with open_runs(runs) as several:
        refuse_other_training([*several.values()])
        for name, run in several.items():
            columns = {
                "run": name,
                "dataset": setting_text(run.config.get("dataset", "own data")),
                "model": setting_text(run.config.get("model", "own model")),
                "estimator": settings.name,
                **settings.options(run),
                **batch_columns(batches),
            }
            table = interaction_table(run, layers, settings, batches, **how)
            tables.append(table.assign(**columns | {"kernel": "multivariate"}))
    return pd.concat(tables, ignore_index=True)


def modified_plane_table(interactions: pd.DataFrame) -> pd.DataFrame:
    """Means over runs and batches at the steps that all runs have.

    Args:
        interactions: A table of `gather_interactions`.

    Returns:
        One row per layer and step: `depth`, `layer`, `step`, `epoch`, `channels`, `pairs` (the most that one mean
        is over), `runs` (those with at least two usable maps), and in bits the means of `QUANTITIES` with their 95
        % intervals of Student's t over runs, or over the batches of one run, in `<name>_low` and `<name>_high` (NaN
        with fewer than three);
        `uninformative`, where I(X;{C_i,C_j}), the sum of the first two, is within 1 % of its limit log2 n;
        `status`, "ok" or that no run has two usable maps (the means are NaN then); and the settings.

    Raises:
        InfoplaneError: The table is empty, the runs differ in settings or layers, or share no step.
    """
    _refuse_mixture(interactions)
    rows = common_steps(interactions)
    groups = rows.groupby(["depth", "layer", "step"], sort=True)
    table = groups[["epoch"]].mean().join(interval_table(rows, ["depth", "layer", "step"], QUANTITIES))
    table[["channels", "pairs"]] = groups[["channels", "pairs"]].max()
    measured = rows["run"].where(rows["redundancy_synergy"].notna())
    table["runs"] = measured.groupby([rows[key] for key in groups.keys]).nunique()
    of_a_pair = table["redundancy_synergy"] + table["weighted_nonredundant"]
    table["uninformative"] = of_a_pair >= (1 - SATURATION) * np.log2(rows["n"].iloc[0])
    table["status"] = np.where(table["runs"] > 0, "ok", "under two usable maps")
    return table.reset_index().assign(**{name: rows[name].iloc[0] for name in _SHARED})


def _refuse_mixture(interactions: pd.DataFrame) -> None:
    if interactions.empty:
        raise InfoplaneError("nothing to average: there are no feature maps")
    for name in _SHARED:
        values = interactions[name].unique()
        if len(values) > 1:
            raise InfoplaneError(f"the runs differ in {name} ({', '.join(map(str, values))}); draw them apart")
    layers = interactions.groupby("run")["layer"].unique().map(lambda names: tuple(np.sort(names)))
    if layers.nunique() > 1:
        raise InfoplaneError("the runs have different convolution layers; draw them apart")
