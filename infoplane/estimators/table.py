"""The estimates of a run, one tidy table beside the run file; nothing is computed twice.

`RUN.estimates.csv` stands beside `RUN.h5`: one row per layer, snapshot and settings, so that each row says by
itself what made it. Rows of another run at the same place or of another infoplane version are dropped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from infoplane.errors import InfoplaneError
from infoplane.estimators.renyi import RunEstimator, Settings
from infoplane.provenance import versions
from infoplane.runfile import Run, open_run

SAVE_SECONDS = 20.0
WORDS = {
    "run_id",
    "version",
    "estimator",
    "kernel",
    "bandwidth",
    "scope",
    "input_bandwidth",
    "layer",
    "status",
}
INTEGERS = {"permutations", "n", "classes", "step", "depth", "features"}
Item = tuple[int, str]


def estimates_path(run: Path) -> Path:
    """Where the estimates of a run file stand."""
    return run.with_suffix(".estimates.csv")


def estimate_run(
    path: Path, settings: Settings, *, jobs: int | None = None, progress: bool = False
) -> pd.DataFrame:
    """Estimates every layer at every snapshot, reusing what is there already.

    Args:
        path: The run file; a run that is still being written is estimated up to its last finished snapshot.
        settings: The settings.
        jobs: Number of parallel solves; None takes one per core.
        progress: Show a progress bar.

    Returns:
        The rows of these settings, ordered by step and depth; columns as in docs/run-file.md, in bits.

    Raises:
        InfoplaneError: The run holds no snapshot, or its estimates cannot be read or written.
    """
    with open_run(path) as run:
        if not run.snapshots:
            raise InfoplaneError(f"{path} holds no finished snapshot yet")
        columns = {"run_id": run.run_id, "version": versions().get("infoplane", ""), **settings.columns(run)}
        table = _load(estimates_path(path), columns)
        done = _matching(table, columns)
        have = set(zip(done["step"], done["layer"], strict=True)) if len(done) else set()
        items = [
            (index, layer.name)
            for index, snapshot in enumerate(run.snapshots)
            for layer in run.layers
            if (snapshot.step, layer.name) not in have
        ]
        if items:
            table = _compute(run, settings, items, columns, table, jobs or os.cpu_count() or 1, progress)
    return _matching(table, columns).sort_values(["step", "depth"], ignore_index=True)


def _compute(
    run: Run,
    settings: Settings,
    items: Sequence[Item],
    columns: dict[str, Any],
    table: pd.DataFrame,
    jobs: int,
    progress: bool,
) -> pd.DataFrame:
    """Computes the missing rows; on an interruption what is done is kept."""
    path = estimates_path(run.path)
    estimator = RunEstimator(run, settings)
    depths = {layer.name: depth for depth, layer in enumerate(run.layers, start=1)}
    rows: list[dict[str, Any]] = []

    def save() -> pd.DataFrame:
        new = pd.DataFrame(rows)
        whole = pd.concat([table, new], ignore_index=True) if len(table) else new
        _store(path, whole)
        return whole

    def row(item: Item, sigma: float) -> dict[str, Any]:
        snapshot, layer = run.snapshots[item[0]], run.layer(item[1])
        return {
            **columns,
            "n": len(estimator.labels),
            "classes": len(np.unique(estimator.labels)),
            "step": snapshot.step,
            "epoch": snapshot.epoch,
            "layer": layer.name,
            "depth": depths[layer.name],
            "features": layer.features,
            **estimator.estimate(snapshot, layer.name, sigma),
        }

    # Single-threaded solves side by side use the cores better than one solve on all of them.
    with threadpool_limits(1), ThreadPoolExecutor(jobs) as pool:
        sigmas = _bandwidths(estimator, items, pool, progress)
        saved = time.monotonic()
        try:
            for result in _parallel(pool, items, lambda item: row(item, sigmas[item]), "entropies", progress):
                rows.append(result[1])
                if time.monotonic() - saved > SAVE_SECONDS:
                    save()
                    saved = time.monotonic()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            if rows:
                save()
            raise
    return save()


def _bandwidths(
    estimator: RunEstimator, items: Sequence[Item], pool: ThreadPoolExecutor, progress: bool
) -> dict[Item, float]:
    """The bandwidth of every item, after the averaging that rule and scope ask for."""
    run, settings = estimator.run, estimator.settings
    layers = [layer.name for layer in run.layers]
    last = len(run.snapshots) - 1
    needed: Iterable[Item] = items
    if settings.scope == "final":
        needed = [(last, layer) for layer in layers]
    if settings.scope == "shared":
        needed = [(index, layer) for index in sorted({index for index, _ in items}) for layer in layers]
    if settings.bandwidth.rule == "alignment":
        # The moving average of a snapshot needs every snapshot before it.
        needed = [(index, layer) for index in range(max(index for index, _ in needed) + 1) for layer in layers]
    found = dict(
        _parallel(
            pool,
            list(needed),
            lambda item: estimator.bandwidth(run.snapshots[item[0]], item[1]),
            "bandwidths",
            progress,
        )
    )
    sigma = {item: value for item, (value, _) in found.items()}
    if settings.bandwidth.rule == "alignment":
        sigma = _averaged(sigma, settings.bandwidth.value)
    if settings.scope == "final":
        return {(index, layer): sigma[last, layer] for index, layer in items}
    if settings.scope == "shared":
        median = {item: value for item, (_, value) in found.items()}
        return _shared(sigma, median)
    return sigma


def _averaged(sigma: dict[Item, float], past: float) -> dict[Item, float]:
    """Exponential moving average over snapshots, layer by layer (Wickstrøm et al., 2019)."""
    averaged: dict[Item, float] = {}
    last: dict[str, float] = {}
    for index, layer in sorted(sigma):
        now = sigma[index, layer]
        if now > 0:
            now = past * last[layer] + (1 - past) * now if layer in last else now
            last[layer] = now
        averaged[index, layer] = now
    return averaged


def _shared(sigma: dict[Item, float], median: dict[Item, float]) -> dict[Item, float]:
    """One multiple of the median distance for all layers of a snapshot."""
    shared: dict[Item, float] = {}
    for index in {index for index, _ in sigma}:
        layers = [item for item in sigma if item[0] == index]
        logs = [np.log(sigma[item] / median[item]) for item in layers if sigma[item] > 0 and median[item] > 0]
        factor = float(np.exp(np.mean(logs))) if logs else 0.0
        shared.update({item: factor * median[item] for item in layers})
    return shared


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
        table = pd.read_csv(path, dtype=str)
        numbers = {name: int if name in INTEGERS else float for name in table.columns if name not in WORDS}
        table = table.astype(numbers)
        return table[(table["run_id"] == columns["run_id"]) & (table["version"] == columns["version"])]
    except (OSError, ValueError, KeyError) as error:
        raise InfoplaneError(f"{path} cannot be read ({error}); delete it and estimate again") from error


def _matching(table: pd.DataFrame, columns: dict[str, Any]) -> pd.DataFrame:
    if not len(table):
        return table
    same = np.logical_and.reduce([table[name] == value for name, value in columns.items()])
    return table[same]


def _store(path: Path, table: pd.DataFrame) -> None:
    """Writes the whole table at once, so that a kill leaves the old one or the new one."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        table.to_csv(draft, index=False, float_format="%.17g")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise InfoplaneError(f"cannot write {path}: {error.strerror or error}") from error
