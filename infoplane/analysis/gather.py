"""Gathers the estimates and metrics of several runs into two tidy tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from infoplane.errors import InfoplaneError
from infoplane.estimators.base import EstimatorSettings
from infoplane.estimators.batches import Batches
from infoplane.estimators.engine.estimate import estimate_runs
from infoplane.estimators.pairs import estimate_pairs
from infoplane.estimators.renyi import RenyiSettings
from infoplane.execution import QUIET, Execution
from infoplane.runfile import data_text, open_run, run_names

# Of these, the last three say what else was recorded or measured, and of which run a path is.
MAY_DIFFER = {"seed", "data_root", "device", "robustness", "synchronous_path", "trajectory_of"}


def gather(
    paths: Sequence[Path],
    settings: EstimatorSettings,
    batches: Batches | None = None,
    *,
    last: bool = False,
    execution: Execution = QUIET,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Estimates what is missing and puts the runs side by side.

    Args:
        paths: Run files.
        settings: Settings of the estimator.
        batches: Batches of the probe to estimate apart; None takes the whole probe at once.
        last: Only the last snapshot of each run.
        execution: How work is done.

    Returns:
        Estimates, one row per run × snapshot × layer × batch (columns as in docs/run-file.md, and run, seed,
        dataset, model), and metrics, one row per run × snapshot.

    Raises:
        InfoplaneError: A run is given twice, cannot be read, or holds no snapshot.
    """
    names = run_names(paths)
    refuse_other_training(paths)
    estimates, metrics = [], []
    made = estimate_runs(paths, settings, batches, last=last, execution=execution)
    for (path, table), name in zip(made, names, strict=True):
        with open_run(path) as run:
            about = {
                "run": name,
                "seed": run.config.get("seed", 0),
                "dataset": data_text(run.config),
                "model": run.config.get("model", "own model"),
            }
            measured = run.metrics
        steps = {step: index for index, step in enumerate(sorted(table["step"].unique()))}
        estimates.append(table.assign(**about, snapshot=table["step"].map(steps)))
        metrics.append(measured.assign(run=name))
    return pd.concat(estimates, ignore_index=True), pd.concat(metrics, ignore_index=True)


def gather_pairs(
    paths: Sequence[Path],
    settings: RenyiSettings | None = None,
    batches: Batches | None = None,
    *,
    steps: Sequence[int] | None = None,
    to_end: bool = False,
    execution: Execution = QUIET,
) -> pd.DataFrame:
    """Estimates the informations between pairs that are missing and puts the runs side by side.

    Args:
        paths: Run files.
        settings: Order, kernel and bandwidths.
        batches: Batches of the probe to estimate apart; None takes the whole probe at once.
        steps: Steps of the snapshots; None takes the first, the last and three between them of each run.
        to_end: Compare the layers at each of them with those at the last snapshot too.
        execution: How work is done.

    Returns:
        One row per run, steps, batch and pair; columns as those of
        `infoplane.estimators.pairs.estimate_pairs`, and run.

    Raises:
        InfoplaneError: As for `gather`.
    """
    names = run_names(paths)
    refuse_other_training(paths)
    tables = [
        estimate_pairs(path, settings, batches, steps=steps, to_end=to_end, execution=execution) for path in paths
    ]
    return pd.concat([table.assign(run=name) for table, name in zip(tables, names, strict=True)], ignore_index=True)


def refuse_other_training(paths: Sequence[Path]) -> None:
    """Runs are put side by side as repetitions: they may differ in their seeds, not in how they were made.

    Raises:
        InfoplaneError: A run is a copy of another, or was trained otherwise.
    """
    configs, ids = [], []
    for path in paths:
        with open_run(path) as run:
            ids.append(run.run_id)
            configs.append({name: value for name, value in run.config.items() if name not in MAY_DIFFER})
    for path, config, identity in zip(paths[1:], configs[1:], ids[1:], strict=True):
        if ids.count(identity) > 1:
            raise InfoplaneError(f"{path} is a copy of another of these runs; name each run once")
        different = sorted(name for name in {*configs[0], *config} if configs[0].get(name) != config.get(name))
        if different:
            raise InfoplaneError(
                f"{path} differs from {paths[0]} in {', '.join(different)}; "
                "only seeds are averaged, draw other runs apart"
            )
