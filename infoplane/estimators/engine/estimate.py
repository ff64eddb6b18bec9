"""The estimates of a run, one tidy table beside the run file; nothing is computed twice.

`RUN.estimates.csv` stands beside `RUN.h5`: one row per estimator and settings, snapshot, layer and batch, so that
each row says by itself what made it.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from infoplane.estimators.base import MAIN, QUANTITIES, EstimatorSettings, Item, LayerView
from infoplane.estimators.batches import Batches
from infoplane.estimators.engine.pool import Part, Pool, batch_columns, parts_of, solving, survey
from infoplane.estimators.engine.store import StoredTable, matching
from infoplane.estimators.nulls import measured
from infoplane.execution import QUIET, Execution
from infoplane.provenance import versions
from infoplane.runfile import Run, beside, opened

_RUNS_AT_ONCE = 8
WATCH_SECONDS = 10.0
WORDS = frozenset(
    {
        "run_id",
        "version",
        "estimator",
        "unit",
        "target",
        "kernel",
        "bandwidth",
        "scope",
        "input_bandwidth",
        "target_bandwidth",
        "dtype",
        "bins",
        "noise",
        "layer",
        "status",
    }
)
INTEGERS = frozenset(
    {"permutations", "batches", "batch_size", "batch", "n", "classes", "step", "depth", "features"}
)
# What the rows of a run are by the run itself, once it is known which they are.
_KNOWN = frozenset({"unit", "n", "classes", "depth", "features"})
# What tells one row from another.
KEYS = (INTEGERS | WORDS | {"alpha", "tolerance", "input_permutations", "neighbours"}) - {"status"} - _KNOWN
# What a row with an estimate always has.
VALUES = ("I_XT", "I_TY", "I_TY_null", "I_TY_null_std", "I_TY_corrected")
# What every row has, be it empty.
DUE = INTEGERS | {"epoch", "layer", "status", "repeats", *QUANTITIES, *VALUES}
# What stands for columns that tables once did not have.
_OF_BEFORE = {"target": MAIN, **dict.fromkeys(("I_XT_null", "I_XT_null_std", "I_XT_corrected"), math.nan)}


def estimates_path(run: Path) -> Path:
    """Where the estimates of a run file stand."""
    return beside(run, ".estimates.csv")


def estimate_runs(
    runs: Sequence[Path | Run],
    settings: EstimatorSettings | Sequence[EstimatorSettings],
    batches: Batches | None = None,
    *,
    last: bool = False,
    execution: Execution = QUIET,
) -> Iterator[pd.DataFrame]:
    """Estimates several runs, on this machine or on a Dask cluster, with the same results.

    Args:
        runs: Run files, or runs that are open.
        settings: The settings of one or several estimators.
        batches: Batches of the probe to estimate apart; None takes the whole probe at once.
        last: Only the last snapshot of each run.
        execution: How work is done.

    Yields:
        The rows of each run, as `estimate_run` gives them, in the order of `runs`.

    Raises:
        InfoplaneError: As for `estimate_run`, and as for `infoplane.estimators.engine.dask`.
    """
    if execution.scheduler is None:
        for run in runs:
            yield estimate_run(run, settings, batches, last=last, execution=execution)
        return
    from infoplane.estimators.engine.dask import connected

    # Each run waits for its results in a thread of its own, so that the last ones of a run leave no worker idle.
    with connected(execution.scheduler, execution) as cluster, ThreadPoolExecutor(_RUNS_AT_ONCE) as threads:
        tables = {
            run: threads.submit(estimate_run, run, settings, batches, last=last, pool=cluster)
            for run in dict.fromkeys(runs)
        }
        try:
            for run in runs:
                while not wait([tables[run]], WATCH_SECONDS).done:
                    cluster.watch()
                yield tables[run].result()
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            cluster.stop()
            raise


def estimate_run(
    run: Path | Run,
    settings: EstimatorSettings | Sequence[EstimatorSettings],
    batches: Batches | None = None,
    *,
    last: bool = False,
    pool: Pool | None = None,
    execution: Execution = QUIET,
) -> pd.DataFrame:
    """Estimates every layer at every snapshot, reusing what is there already.

    Several estimators share what they read of a layer.

    Args:
        run: The run file, or the open run; one that is still being written is estimated up to its last finished
            snapshot.
        settings: The settings of one or several estimators.
        batches: Batches of the probe to estimate apart; None takes the whole probe at once.
        last: Only the last snapshot.
        pool: What does the work in place of this process.
        execution: How work is done.

    Returns:
        The rows of these settings, estimator by estimator, ordered by step, depth and batch; columns as in
        docs/run-file.md. `infoplane.analysis.plane.average_batches` makes means and standard errors of batches.

    Raises:
        InfoplaneError: The run holds no snapshot, its estimates cannot be read or written, or an estimator needs
            activations where distances were kept.
    """
    wanted = [settings] if isinstance(settings, EstimatorSettings) else list(settings)
    with opened(run) as run:
        run.require_snapshots()
        columns = [_columns(run, one, batches) for one in wanted]
        stored = _stored(run)
        table = stored.load()
        snapshots = range(len(run.snapshots))[-1 if last else 0 :]
        missing = [_missing(run, matching(table, one), snapshots, batches) for one in columns]
        if any(missing):
            parts = [
                part
                for one, about, items in zip(wanted, columns, missing, strict=True)
                if items
                for part in parts_of(run, one, about, items, batches)
            ]
            workers = nullcontext(pool) if pool else solving(run.samples, execution)
            table = _compute(run, parts, stored, workers)
        else:
            stored.sweep(table)
        steps = [run.snapshots[index].step for index in snapshots]
    order = ["step", "depth", "batch"]
    found = pd.concat([matching(table, one).sort_values(order) for one in columns], ignore_index=True)
    return found[found["step"].isin(steps)].reset_index(drop=True)


def _columns(run: Run, settings: EstimatorSettings, batches: Batches | None) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "version": versions().get("infoplane", ""),
        **settings.columns(run),
        **batch_columns(batches),
    }


def _missing(run: Run, done: pd.DataFrame, wanted: Iterable[int], batches: Batches | None) -> list[Item]:
    """The (snapshot, layer) pairs that lack a row, or that of a batch."""
    have = done.groupby(["step", "layer"]).size().to_dict() if len(done) else {}
    return [
        (index, layer.name)
        for index in wanted
        for layer in run.layers
        if have.get((run.snapshots[index].step, layer.name), 0) < (batches.count if batches else 1)
    ]


def _stored(run: Run) -> StoredTable:
    version, sound = versions().get("infoplane", ""), partial(sound_rows, run)
    path = estimates_path(run.path)
    return StoredTable(path, run.run_id, version, WORDS, INTEGERS, DUE, KEYS, sound, _OF_BEFORE)


def sound_rows(run: Run, table: pd.DataFrame) -> pd.Series:
    """Which rows of a table of estimates say what the run can have, with all values where there is an estimate.

    Args:
        run: The run.
        table: Rows of its table.

    Returns:
        (rows,) of truth values.
    """
    depths = {layer.name: depth for depth, layer in enumerate(run.layers, start=1)}
    features = {layer.name: layer.features for layer in run.layers}
    sizes = table["batch_size"].where(table["batches"] > 0, run.samples)
    # Another process may see more of a run that is being written.
    steps = table["step"] if run.left_open else [snapshot.step for snapshot in run.snapshots]
    epochs = table["step"].map({snapshot.step: snapshot.epoch for snapshot in run.snapshots})
    times = table["step"].isin(steps) & ((table["epoch"] == epochs) | epochs.isna())
    places = (table["layer"].map(depths) == table["depth"]) & (table["layer"].map(features) == table["features"])
    shares = table["repeats"].between(0, 1)
    targets = {MAIN: run.probe.target, **run.probe.others}
    classes = table["classes"] == table["target"].map({name: one.class_count for name, one in targets.items()})
    return places & times & shares & classes & (table["n"] == sizes) & _has_values(table)


def _has_values(table: pd.DataFrame) -> pd.Series:
    """Whether rows with an estimate have all that others of their settings have, and rows without have none."""
    is_measured = measured(table["status"])
    numbers = table[[name for name in table.columns if name not in {*WORDS, "epoch"}]]
    present = numbers.notna() & ~numbers.isin([np.inf, -np.inf])
    settings = [name for name in sorted(KEYS - {"step", "layer", "batch"}) if name in table]
    alike = table.groupby(settings, dropna=False, sort=False).ngroup()
    due = present.where(is_measured, False).groupby(alike).transform("any")
    due[[*VALUES]] = True
    empty = table[[*VALUES]].isna().all(axis=1) & table["status"].notna()
    return (present | ~due).all(axis=1).where(is_measured, empty)


def _compute(
    run: Run, parts: list[Part], stored: StoredTable, workers: AbstractContextManager[Pool]
) -> pd.DataFrame:
    """Computes the missing rows; on an interruption what is done is kept."""
    depths = {layer.name: depth for depth, layer in enumerate(run.layers, start=1)}
    items = sorted(set.union(*(part.items for part in parts)), key=lambda item: (item[0], depths[item[1]]))

    def portions() -> Generator[list[dict[str, Any]], None, None]:
        with workers as pool:
            survey(run, parts, pool)
            tasks = {
                item: {number: part.told.get(item) for number, part in enumerate(parts) if item in part.items}
                for item in items
            }
            for _, made in pool.each(run, parts, _rows, tasks, "estimates"):
                yield [{**parts[number].columns, **row} for number, row in made.items()]

    return stored.fill(portions())


def _rows(run: Run, parts: Sequence[Part], item: Item, told: dict[int, Any]) -> dict[int, dict[str, Any]]:
    """One layer at one snapshot, read once, under the parts of these numbers, which are told what was surveyed."""
    snapshot, layer = run.snapshots[item[0]], run.layer(item[1])
    place = {
        "step": snapshot.step,
        "epoch": snapshot.epoch,
        "layer": layer.name,
        "depth": 1 + run.layers.index(layer),
        "features": layer.features,
    }
    whole = LayerView(run, snapshot, layer.name, shared=len(told) > 1)
    rows = {}
    for number, heard in told.items():
        part = parts[number]
        view = whole.batch(part.batch, part.members)
        rows[number] = {**part.about(), **place, **part.estimator.estimate(view, heard)}
    return rows
