"""The estimates of a run, one tidy table beside the run file; nothing is computed twice.

`RUN.estimates.csv` stands beside `RUN.h5`: one row per estimator and settings, snapshot, layer and batch, so that
each row says by itself what made it. Rows of another run at the same place or of another infoplane version are
dropped.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from infoplane.errors import InfoplaneError
from infoplane.estimators.base import EstimatorSettings, Item, LayerEstimator, LayerView
from infoplane.estimators.batches import Batches, sub_probe
from infoplane.provenance import versions
from infoplane.runfile import Run, beside, open_run

logger = logging.getLogger(__name__)

SAVE_SECONDS = 20.0
WORDS = {
    "run_id",
    "version",
    "estimator",
    "unit",
    "kernel",
    "bandwidth",
    "scope",
    "input_bandwidth",
    "bins",
    "noise",
    "layer",
    "status",
}
INTEGERS = {"permutations", "batches", "batch_size", "batch", "n", "classes", "step", "depth", "features"}
# What tells one row from another.
KEYS = {"alpha", "neighbours", *INTEGERS, *WORDS} - {"status"}


@dataclass
class _Part:
    """One estimator on the whole probe or on one batch of it, and what it has to do."""

    columns: dict[str, Any]
    batch: int
    members: NDArray | None
    estimator: LayerEstimator
    items: set[Item]
    told: dict[Item, Any]

    def about(self) -> dict[str, Any]:
        labels = self.estimator.labels
        return {**self.columns, "batch": self.batch, "n": len(labels), "classes": len(np.unique(labels))}


def estimates_path(run: Path) -> Path:
    """Where the estimates of a run file stand."""
    return beside(run, ".estimates.csv")


def estimate_run(
    path: Path,
    settings: EstimatorSettings | Sequence[EstimatorSettings],
    batches: Batches | None = None,
    *,
    jobs: int | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Estimates every layer at every snapshot, reusing what is there already.

    Several estimators share what they read of a layer.

    Args:
        path: The run file; a run that is still being written is estimated up to its last finished snapshot.
        settings: The settings of one or several estimators.
        batches: Batches of the probe to estimate apart; None takes the whole probe at once.
        jobs: Number of parallel solves; None takes one per core.
        progress: Show a progress bar.

    Returns:
        The rows of these settings, estimator by estimator, ordered by step, depth and batch; columns as in
        docs/run-file.md. `infoplane.analysis.plane.average_batches` makes means and standard errors of batches.

    Raises:
        InfoplaneError: The run holds no snapshot, its estimates cannot be read or written, or an estimator needs
            activations where distances were kept.
    """
    wanted = [settings] if isinstance(settings, EstimatorSettings) else list(settings)
    with open_run(path) as run:
        if not run.snapshots:
            raise InfoplaneError(f"{path} holds no finished snapshot yet")
        columns = [_columns(run, one, batches) for one in wanted]
        table = _load(estimates_path(path), columns[0])
        missing = [_missing(run, _matching(table, one)) for one in columns]
        if any(missing):
            parts = [
                part
                for one, about, items in zip(wanted, columns, missing, strict=True)
                if items
                for part in _parts(run, one, about, items, batches)
            ]
            table = _compute(run, parts, jobs or _cores(), progress)
    order = ["step", "depth", "batch"]
    return pd.concat([_matching(table, one).sort_values(order) for one in columns], ignore_index=True)


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _columns(run: Run, settings: EstimatorSettings, batches: Batches | None) -> dict[str, Any]:
    cut = {"batches": batches.count, "batch_size": batches.size} if batches else {"batches": 0, "batch_size": 0}
    return {
        "run_id": run.run_id,
        "version": versions().get("infoplane", ""),
        **settings.columns(run),
        **cut,
    }


def _missing(run: Run, done: pd.DataFrame) -> list[Item]:
    """The (snapshot, layer) pairs without rows; the batches of a pair are stored together."""
    have = set(zip(done["step"], done["layer"], strict=True)) if len(done) else set()
    return [
        (index, layer.name)
        for index, snapshot in enumerate(run.snapshots)
        for layer in run.layers
        if (snapshot.step, layer.name) not in have
    ]


def _parts(
    run: Run, settings: EstimatorSettings, columns: dict[str, Any], items: list[Item], batches: Batches | None
) -> list[_Part]:
    cuts: list[NDArray | None] = [None]
    if batches:
        cuts = [*batches.draw(run.probe.labels)]
    return [
        _Part(columns, batch, members, settings.prepare(sub_probe(run.probe, members), run.path), set(items), {})
        for batch, members in enumerate(cuts)
    ]


def _compute(run: Run, parts: list[_Part], jobs: int, progress: bool) -> pd.DataFrame:
    """Computes the missing rows; on an interruption what is done is kept."""
    path = estimates_path(run.path)
    depths = {layer.name: depth for depth, layer in enumerate(run.layers, start=1)}
    items = sorted(set.union(*(part.items for part in parts)), key=lambda item: (item[0], depths[item[1]]))
    rows: list[dict[str, Any]] = []

    def save() -> pd.DataFrame:
        return _store(path, pd.DataFrame(rows), parts[0].columns)

    # Single-threaded solves side by side use the cores better than one solve on all of them.
    with threadpool_limits(1), ThreadPoolExecutor(jobs) as pool:
        _survey(run, parts, pool, progress)
        saved = time.monotonic()
        try:
            found = _parallel(pool, items, lambda item: _rows(run, parts, item, depths), "estimates", progress)
            for _, made in found:
                rows += made
                if time.monotonic() - saved > SAVE_SECONDS:
                    save()
                    saved = time.monotonic()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            if rows:
                save()
            raise
    return save()


def _rows(run: Run, parts: list[_Part], item: Item, depths: dict[str, int]) -> list[dict[str, Any]]:
    """One layer at one snapshot, read once, under every estimator and batch that lacks it."""
    snapshot, layer = run.snapshots[item[0]], run.layer(item[1])
    place = {
        "step": snapshot.step,
        "epoch": snapshot.epoch,
        "layer": layer.name,
        "depth": depths[layer.name],
        "features": layer.features,
    }
    whole = LayerView(run, snapshot, layer.name)
    return [
        {
            **part.about(),
            **place,
            **part.estimator.estimate(whole.batch(part.batch, part.members), part.told.get(item)),
        }
        for part in parts
        if item in part.items
    ]


def _survey(run: Run, parts: list[_Part], pool: ThreadPoolExecutor, progress: bool) -> None:
    """Lets those estimators that ask for it look at other layers or snapshots first."""
    layers = [layer.name for layer in run.layers]
    asked = [set(part.estimator.survey_items(list(part.items), layers, len(run.snapshots))) for part in parts]
    items = sorted(set.union(*asked))

    def look(item: Item) -> list[Any]:
        whole = LayerView(run, run.snapshots[item[0]], item[1])
        return [
            part.estimator.survey(whole.batch(part.batch, part.members)) if item in ask else None
            for part, ask in zip(parts, asked, strict=True)
        ]

    found = dict(_parallel(pool, items, look, "bandwidths", progress)) if items else {}
    for index, (part, ask) in enumerate(zip(parts, asked, strict=True)):
        if ask:
            part.told = part.estimator.settle({item: found[item][index] for item in ask}, list(part.items))


def _parallel(
    pool: ThreadPoolExecutor,
    items: Sequence[Item],
    work: Callable[[Item], Any],
    label: str,
    progress: bool,
) -> Iterable[tuple[Item, Any]]:
    """Results as they come, with a progress bar on a terminal."""
    futures = {pool.submit(work, item): item for item in items}
    bar = tqdm(as_completed(futures), total=len(items), desc=label, disable=None if progress else True, leave=False)
    for future in bar:
        yield futures[future], future.result()


def _load(path: Path, columns: dict[str, Any]) -> pd.DataFrame:
    """The stored rows of this run and version; of others nothing."""
    if not path.exists():
        return pd.DataFrame()
    try:
        # As text first: a layer may be called "3", and pandas' own parser may miss the last bit of a number.
        table = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
        if "run_id" in table and not set(table) >= INTEGERS:
            # Of an infoplane that knew fewer settings.
            return pd.DataFrame()
        numbers = {name: int if name in INTEGERS else float for name in table.columns if name not in WORDS}
        table = table.astype(numbers)
        return table[(table["run_id"] == columns["run_id"]) & (table["version"] == columns["version"])]
    except (OSError, ValueError, KeyError) as error:
        raise InfoplaneError(f"{path} cannot be read ({error}); delete it and estimate again") from error


def _matching(table: pd.DataFrame, columns: dict[str, Any]) -> pd.DataFrame:
    if not len(table):
        return table
    if not set(columns) <= set(table.columns):
        return table.iloc[:0]
    same = np.logical_and.reduce([table[name] == value for name, value in columns.items()])
    return table[same]


def _store(path: Path, new: pd.DataFrame, columns: dict[str, Any]) -> pd.DataFrame:
    """Adds rows to what is stored, and gives it all; a kill leaves the old table or the new one.

    Others may estimate the same run meanwhile: the table is read again under a lock, and their rows are kept. In a
    folder that cannot be written to the rows are given but not stored.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with filelock.FileLock(path.with_name(f".{path.name}.lock")):
            whole = _joined(_load(path, columns), new)
            whole.to_csv(draft, index=False, float_format="%.17g")
            draft.replace(path)
        return whole
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            logger.warning("%s cannot be written (%s): the estimates are not kept", path, error.strerror)
            return _joined(_load(path, columns), new)
        raise InfoplaneError(f"cannot write {path}: {error.strerror or error}") from error


def _joined(stored: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Both, each row once."""
    whole = pd.concat([stored, new], ignore_index=True) if len(stored) else new
    return whole.drop_duplicates([name for name in whole.columns if name in KEYS], ignore_index=True)
