"""What all estimates of a run share in the doing: batches, surveys of bandwidths, parallel solves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from infoplane.device import cores
from infoplane.estimators.base import EstimatorSettings, Item, LayerEstimator, LayerView
from infoplane.estimators.batches import Batches, strata, sub_probe
from infoplane.estimators.engine.memory import side_by_side
from infoplane.execution import Execution
from infoplane.runfile import Run

Key = TypeVar("Key", bound=Hashable)
T = TypeVar("T")


@dataclass
class Part:
    """One estimator on the whole probe or on one batch of it, and what it has to do.

    Attributes:
        run: The run.
        settings: The settings of the estimator.
        columns: The same, as columns of a table.
        batches: How the probe is cut; None is the whole probe.
        batch: Number of the batch.
        members: Positions in the probe, (size,); None is the whole probe.
        items: The (snapshot, layer) pairs to estimate.
        told: What the survey found for each of them.
    """

    run: Run
    settings: EstimatorSettings
    columns: dict[str, Any]
    batches: Batches | None
    batch: int
    members: NDArray | None
    items: set[Item]
    told: dict[Item, Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _estimator: LayerEstimator | None = None

    @property
    def estimator(self) -> LayerEstimator:
        """The estimator, bound to these samples when it is first asked for."""
        with self._lock:
            if self._estimator is None:
                self._estimator = self.settings.prepare(sub_probe(self.run.probe, self.members), self.run.path)
            return self._estimator

    def about(self) -> dict[str, Any]:
        """The batch and its samples, as columns of a table, and the number of classes in the whole probe."""
        classes = self.settings.chosen(self.run.probe, self.run.path).class_count
        return {"batch": self.batch, "n": self.estimator.n, "classes": classes}


Work = Callable[[Run, Sequence[Part], Item, Any], Any]


class Pool(Protocol):
    """What does the work on the layers of a run: threads of this process, or a cluster."""

    def each(
        self, run: Run, parts: Sequence[Part], work: Work, tasks: Mapping[Item, Any], label: str
    ) -> Iterator[tuple[Item, Any]]:
        """Results as they come, in any order.

        Args:
            run: The run.
            parts: What is estimated of it, each estimator with all its batches.
            work: A function of a module; it is given the run, the parts (without their items), a (snapshot,
                layer) pair and what `tasks` has for that pair.
            tasks: The pairs.
            label: What is being done, for the progress bar.
        """
        ...


class Threads(ThreadPoolExecutor):
    """A `Pool` of threads of this process.

    Args:
        workers: Number of solves side by side.
        threads: Threads of each solve.
        execution: Whether progress is shown.
    """

    def __init__(self, workers: int, threads: int, execution: Execution) -> None:
        # OpenMP counts its threads in each worker.
        super().__init__(workers, initializer=torch.set_num_threads, initargs=(threads,))
        self._execution = execution

    def each(
        self, run: Run, parts: Sequence[Part], work: Work, tasks: Mapping[Item, Any], label: str
    ) -> Iterator[tuple[Item, Any]]:
        """Results as they come."""
        return self.parallel([*tasks], lambda item: work(run, parts, item, tasks[item]), label)

    def parallel(self, items: Sequence[Key], work: Callable[[Key], Any], label: str) -> Iterator[tuple[Key, Any]]:
        """Each item with what `work` makes of it, as results come.

        Args:
            items: What to work on.
            work: A function of one item.
            label: What is being done, for the progress bar.
        """
        futures = {self.submit(work, item): item for item in items}
        for future in self._execution.bar(as_completed(futures), label, len(items)):
            yield futures[future], future.result()


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
    cuts: list[NDArray | None] = [*batches.draw(strata(run.probe.target))] if batches else [None]
    items = set(items)
    return [Part(run, settings, columns, batches, batch, members, items) for batch, members in enumerate(cuts)]


def survey(run: Run, parts: Sequence[Part], pool: Pool) -> None:
    """Lets those estimators that ask for it look at other layers or snapshots first."""
    layers = [layer.name for layer in run.layers]
    asked = [set(part.settings.survey_items(list(part.items), layers, len(run.snapshots))) for part in parts]
    tasks = {
        item: [number for number, ask in enumerate(asked) if item in ask] for item in sorted(set.union(*asked))
    }
    found = dict(pool.each(run, parts, _look, tasks, "bandwidths")) if tasks else {}
    for number, (part, ask) in enumerate(zip(parts, asked, strict=True)):
        if ask:
            part.told = part.settings.settle({item: found[item][number] for item in ask}, list(part.items))


def _look(run: Run, parts: Sequence[Part], item: Item, numbers: list[int]) -> dict[int, Any]:
    """What the parts of these numbers see of one layer at one snapshot."""
    whole = LayerView(run, run.snapshots[item[0]], item[1])
    chosen = {number: parts[number] for number in numbers}
    return {n: part.estimator.survey(whole.batch(part.batch, part.members)) for n, part in chosen.items()}


@contextmanager
def solving(n: int, execution: Execution) -> Iterator[Threads]:
    """A pool of workers for solves of n samples, single-threaded each.

    Args:
        n: Number of samples of the probe.
        execution: Number of workers; without one, one per core or, where memory does not hold so many solves, fewer
            with more threads each.
    """
    # Single-threaded solves side by side use the cores better than one solve on all of them.
    workers = execution.jobs or side_by_side(n, cores())
    threads = 1 if execution.jobs else cores() // workers
    torch_threads = torch.get_num_threads()
    try:
        with threadpool_limits(threads), Threads(workers, threads, execution) as pool:
            try:
                yield pool
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(torch_threads)
