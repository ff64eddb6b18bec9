"""Gathers the estimates and metrics of several runs into two tidy tables."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from infoplane.errors import InfoplaneError, warn_once
from infoplane.estimators.base import EstimatorSettings
from infoplane.estimators.batches import Batches
from infoplane.estimators.engine.estimate import estimate_runs
from infoplane.estimators.pairs import estimate_pairs
from infoplane.estimators.renyi import RenyiSettings
from infoplane.execution import QUIET, Execution
from infoplane.runfile import Run, data_text, open_runs
from infoplane.settings import is_number, setting_text

logger = logging.getLogger(__name__)

# The last three say what else was recorded or measured, and which run a synchronous path belongs to.
MAY_DIFFER = {"seed", "data_root", "device", "robustness", "synchronous_path", "trajectory_of"}


def gather(
    runs: Sequence[Path | Run],
    settings: EstimatorSettings,
    batches: Batches | None = None,
    *,
    last: bool = False,
    execution: Execution = QUIET,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Estimates what is missing and puts the runs side by side.

    Args:
        runs: Run files, or runs that are open.
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
    estimates, metrics = [], []
    with open_runs(runs) as several:
        refuse_other_training([*several.values()])
        tables = estimate_runs([*several.values()], settings, batches, last=last, execution=execution)
        for (name, run), table in zip(several.items(), tables, strict=True):
            columns = {
                "run": name,
                "seed": seed if is_number(seed := run.config.get("seed", 0)) else setting_text(seed),
                "dataset": data_text(run.config),
                "model": setting_text(run.config.get("model", "own model")),
            }
            steps = {step: index for index, step in enumerate(sorted(table["step"].unique()))}
            estimates.append(table.assign(**columns, snapshot=table["step"].map(steps)))
            metrics.append(run.metrics.assign(run=name))
    return pd.concat(estimates, ignore_index=True), pd.concat(metrics, ignore_index=True)


def gather_pairs(
    runs: Sequence[Path | Run],
    settings: RenyiSettings | None = None,
    batches: Batches | None = None,
    *,
    steps: Sequence[int] | None = None,
    to_end: bool = False,
    execution: Execution = QUIET,
) -> pd.DataFrame:
    """Estimates the informations between pairs that are missing and puts the runs side by side.

    Args:
        runs: Run files, or runs that are open.
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
    how: dict[str, Any] = {"steps": steps, "to_end": to_end, "execution": execution}
    with open_runs(runs) as several:
        refuse_other_training([*several.values()])
        tables = [estimate_pairs(run, settings, batches, **how).assign(run=name) for name, run in several.items()]
    return pd.concat(tables, ignore_index=True)


def common_settings(run: Run) -> dict[str, Any]:
    """The settings that a run has in common with those that differ from it in their seeds alone."""
    return {name: value for name, value in run.config.items() if name not in MAY_DIFFER}


def training_of(run: Run) -> dict[str, Any]:
    """What a run has in common with those that differ from it in their seeds alone, by name."""
    # A loop of the user's own may have told nothing of its settings.
    recorded = {
        "the layers and their shapes": [[layer.name, list(layer.shape)] for layer in run.layers],
        "the distance between inputs": run.input_distance,
    }
    return common_settings(run) | recorded


def refuse_other_training(runs: Sequence[Run]) -> None:
    """Refuses runs that are no repetitions of each other: they differ in their seeds alone, and in these they do.

    Raises:
        InfoplaneError: A run is a copy of another, has its seed or ends with the same weights, or was trained
            otherwise.
    """
    ids = [run.run_id for run in runs]
    for run in runs[1:]:
        if ids.count(run.run_id) > 1:
            raise InfoplaneError(f"{run.path} is a copy of another of these runs; name each run once")
        first, other = map(training_of, (runs[0], run))
        different = sorted(name for name in {*first, *other} if first.get(name) != other.get(name))
        if different:
            raise InfoplaneError(
                f"{run.path} differs from {runs[0].path} in {', '.join(different)}; "
                "only seeds are averaged, draw other runs apart"
            )
    _refuse_same_training(runs)


def _refuse_same_training(runs: Sequence[Run]) -> None:
    """Refuses a training that stands twice: what it would add to means and tests is no further seed."""
    for run, other in _twins(runs, _seed):
        raise InfoplaneError(
            f"{run.path} has seed {_seed(run)}, as {other.path} has, and repeats it; give each run another seed"
        )
    for run, other in _twins(runs, lambda run: run.ends[1]):
        raise InfoplaneError(
            f"the layers of {run.path} end with the weights of {other.path}: no further run; seed each anew"
        )
    for run, other in _twins(runs, lambda run: run.ends[0]):
        warn_once(
            logger,
            f"the layers of {run.path} begin with the weights of {other.path}: how these runs differ does not show "
            "what other initial weights would change",
        )


def _twins(runs: Sequence[Run], identity: Callable[[Run], Any]) -> Iterator[tuple[Run, Run]]:
    """Runs with the identity of an earlier one, and that one; None is no identity."""
    seen: dict[Any, Run] = {}
    for run in runs:
        key = identity(run)
        if key is not None and seen.setdefault(key, run) is not run:
            yield run, seen[key]


def _seed(run: Run) -> Any:
    """The seed of a run; None where it has no number."""
    seed = run.config.get("seed")
    return seed if is_number(seed) else None
