"""What all estimates of a run share in the doing: batches, surveys of bandwidths, parallel solves."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from infoplane.estimators.base import EstimatorSettings, Item, LayerEstimator, LayerView
from infoplane.estimators.batches import Batches, sub_probe
from infoplane.estimators.memory import side_by_side
from infoplane.runfile import Run

Key = TypeVar("Key", bound=Hashable)


@dataclass
class Part:
    """One estimator on the whole probe or on one batch of it, and what it has to do.

    Attributes:
        columns: Its settings, as columns of a table.
        batch: Number of the batch.
        members: Positions in the probe, (size,); None is the whole probe.
        estimator: The estimator, bound to these samples.
        items: The (snapshot, layer) pairs to estimate.
        told: What the survey found for each of them.
    """

    columns: dict[str, Any]
    batch: int
    members: NDArray | None
    estimator: LayerEstimator
    items: set[Item]
    told: dict[Item, Any] = field(default_factory=dict)

    def about(self) -> dict[str, Any]:
        """The columns that are the same in all rows of this part."""
        labels = self.estimator.labels
        return {**self.columns, "batch": self.batch, "n": len(labels), "classes": len(np.unique(labels))}


def batch_columns(batches: Batches | None) -> dict[str, int]:
    """How the probe is cut, as columns of a table; zeros for the whole probe."""
    return {"batches": batches.count, "batch_size": batches.size} if batches else {"batches": 0, "batch_size": 0}


def parts_of(
    run: Run,
    settings: EstimatorSettings,
    columns: dict[str, Any],
    items: Iterable[Item],
    batches: Batches | None,
) -> list[Part]:
    """One part for each batch, or one for the whole probe."""
    cuts: list[NDArray | None] = [*batches.draw(run.probe.labels)] if batches else [None]
    items = set(items)
    return [
        Part(columns, batch, members, settings.prepare(sub_probe(run.probe, members), run.path), items)
        for batch, members in enumerate(cuts)
    ]


def survey(run: Run, parts: list[Part], pool: ThreadPoolExecutor, progress: bool) -> None:
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

    found = dict(parallel(pool, items, look, "bandwidths", progress)) if items else {}
    for index, (part, ask) in enumerate(zip(parts, asked, strict=True)):
        if ask:
            part.told = part.estimator.settle({item: found[item][index] for item in ask}, list(part.items))


def parallel(
    pool: ThreadPoolExecutor, items: Sequence[Key], work: Callable[[Key], Any], label: str, progress: bool
) -> Iterator[tuple[Key, Any]]:
    """Results as they come, with a progress bar on a terminal."""
    futures = {pool.submit(work, item): item for item in items}
    bar = tqdm(as_completed(futures), total=len(items), desc=label, disable=None if progress else True, leave=False)
    for future in bar:
        yield futures[future], future.result()


@contextmanager
def solving(jobs: int | None, n: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of workers for solves of n samples, single-threaded each.

    Args:
        jobs: Number of workers; None takes one per core or, where memory does not hold so many solves, fewer with
            more threads each.
        n: Number of samples of the probe.
    """
    # Single-threaded solves side by side use the cores better than one solve on all of them.
    workers = jobs or side_by_side(n, cores())
    threads = 1 if jobs else cores() // workers
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads), ThreadPoolExecutor(workers) as pool:
            try:
                yield pool
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(torch_threads)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
