"""Work by the workers of a Dask cluster (extra `infoplane[dask]`): on the layers of runs, and whole trainings.

Of estimates one task is one layer at one snapshot. Workers open the run file by its absolute path, so it must lie
on a file system that they share; the labels, S(X) and the Gram matrix of X are found once in each worker process.
The scheduler gives the tasks of a worker that died to others. Only this module knows Dask.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import pkgutil
import threading
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from infoplane.errors import InfoplaneError
from infoplane.estimators.base import EstimatorSettings, Item
from infoplane.estimators.batches import Batches
from infoplane.estimators.engine.pool import Part, Work, parts_of
from infoplane.execution import QUIET, Execution
from infoplane.provenance import versions
from infoplane.runfile import Run, open_run

try:
    from distributed import Client, Future, KilledWorker, as_completed, get_worker
    from distributed.comm import CommClosedError
except ImportError:
    raise InfoplaneError('a cluster needs Dask; install it: pip install "infoplane[dask]"') from None

K = TypeVar("K")
T = TypeVar("T")

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 5
ANSWER_SECONDS = 60  # of a scheduler that answered before, and may be busy
FETCH_SECONDS = 5  # for a row of numbers; asked again until the work is given up
KEPT = 3  # runs that a worker keeps open: tasks come run by run, and two overlap where one ends


@dataclass(frozen=True)
class Assignment:
    """What a worker must know of a run, besides which layer of which snapshot.

    Attributes:
        path: The run file, absolute.
        run_id: Identity of the run.
        snapshots: Number of its snapshots.
        last_step: Step of the last of them.
        version: Version of infoplane that makes the rows.
        requests: Settings of the estimators, each with its batches.
    """

    path: Path
    run_id: str
    snapshots: int
    last_step: int
    version: str
    requests: tuple[tuple[EstimatorSettings, Batches | None], ...]

    @classmethod
    def of(cls, run: Run, parts: Sequence[Part]) -> Assignment:
        """The assignment that makes these parts of a run."""
        requests = tuple((part.settings, part.batches) for part in parts if part.batch == 0)
        count, last = len(run.snapshots), run.snapshots[-1].step
        return cls(run.path.absolute(), run.run_id, count, last, _version(), requests)


def _version() -> str:
    return versions().get("infoplane", "")


@contextlib.contextmanager
def connected(address: str, execution: Execution = QUIET) -> Iterator[Cluster]:
    """A cluster to work with.

    Args:
        address: Address of its scheduler, such as "tcp://10.0.0.1:8786".
        execution: Whether progress is shown.

    Raises:
        InfoplaneError: No scheduler answers there, or the scheduler or a worker has another infoplane.
    """
    with _quiet():
        try:
            client = _within(
                3 * CONNECT_SECONDS, lambda: Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
            )
        except Exception as error:
            # Another service that answers there is misread in many ways.
            raise InfoplaneError(
                f"no Dask scheduler answers at {address}; is it running (dask scheduler), and is the address right?"
            ) from error
        with client:
            cluster = Cluster(client, address, execution)
            cluster.refuse_other_versions()
            cluster.watch()
            yield cluster


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps back what Dask logs of a lost connection, as an error says it; with --verbose it is shown."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    levels = [one.level for one in loggers]
    try:
        for one in loggers if not logger.isEnabledFor(logging.INFO) else []:
            one.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


class Cluster:
    """A `Pool` of Dask workers; several threads may use it at once, each for a run.

    Args:
        client: Connection to the scheduler.
        address: Address of the scheduler, for messages.
        execution: Whether progress is shown.
    """

    def __init__(self, client: Client, address: str, execution: Execution) -> None:
        self._client, self._address, self._execution = client, address, execution
        self._turns: dict[str, int] = {}
        self._waiting: set[Future] = set()
        self._stopped = self._warned = False

    def each(
        self, run: Run, parts: Sequence[Part], work: Work, tasks: Mapping[Item, Any], label: str
    ) -> Iterator[tuple[Item, Any]]:
        """Results as they come; what is not done when the iterator is closed is cancelled.

        Raises:
            InfoplaneError: A task failed, killed all workers that took it, or found no run file; the scheduler
                was lost.
        """
        steps = run.snapshots
        results = self.map(
            _perform,
            {item: (item, extra) for item, extra in tasks.items()},
            lambda item: f"layer '{item[1]}' at step {steps[item[0]].step} of {run.path}",
            key=label,
            # Run after run, so that a worker holds few of them.
            priority=-self._turns.setdefault(run.run_id, len(self._turns)),
            assignment=Assignment.of(run, parts),
            work=work,
        )
        with contextlib.closing(results):
            yield from self._execution.bar(results, f"{run.path.name}: {label}", len(tasks))

    def map(
        self, function: Callable[..., T], calls: Mapping[K, tuple[Any, ...]], words: Callable[[K], str], **how: Any
    ) -> Generator[tuple[K, T], None, None]:
        """Calls a function on the workers; what is not done when the generator is closed is cancelled.

        Args:
            function: A function of a module that the workers have.
            calls: Its positional arguments, by names of the calls.
            words: What a call is about, for an error.
            how: Arguments by keyword, and `key` and `priority` of Dask.

        Yields:
            Names of the calls with what they gave, as they end.

        Raises:
            InfoplaneError: A call failed, or killed all workers that took it; the scheduler was lost.
        """
        futures: dict[Future, K] = {}
        try:
            if self._client.status != "running":
                raise self._lost()
            made = self._client.map(function, *zip(*calls.values(), strict=True), pure=False, **how)
            self._waiting.update(made)
            futures = dict(zip(made, calls, strict=True))
            if self._stopped:
                raise self._lost()
            for future in as_completed(made, loop=self._client.loop):
                call = futures.pop(future)
                self._waiting.discard(future)
                yield call, self._result(future, words(call))
        finally:
            self._cancel(futures)

    def everywhere(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Calls a function on all workers, which say nothing of it; those that do not answer are left out.

        Args:
            function: A function of a module that the workers have.
            arguments: Its arguments.
        """
        with contextlib.suppress(InfoplaneError, OSError):
            self._answer(lambda: self._client.run(function, *arguments, on_error="ignore"))

    def _result(self, future: Future, words: str) -> Any:
        try:
            return self._fetched(future)
        except InfoplaneError:
            raise
        except KilledWorker as error:
            raise InfoplaneError(
                f"{words} killed every worker that took it; have they memory enough? their logs say more"
            ) from error
        except (CancelledError, CommClosedError) as error:
            raise self._lost() from error
        except Exception:
            # What another version sends or understands fails in many ways.
            try:
                self.refuse_other_versions()
            except CommClosedError as error:  # the scheduler went away before it could be asked
                raise self._lost() from error
            raise

    def _fetched(self, future: Future) -> Any:
        """The result of a task that is done, which a scheduler that stopped since may never hand out."""
        while True:
            try:
                return future.result(timeout=FETCH_SECONDS)
            except TimeoutError:
                if future.status == "error":  # of the task itself
                    raise
                if self._stopped:
                    raise self._lost() from None

    def _lost(self) -> InfoplaneError:
        return InfoplaneError(
            f"the Dask scheduler at {self._address} was lost or gave the work up; what was done is kept, "
            "the same command goes on"
        )

    def refuse_other_versions(self) -> None:
        """Looks at the scheduler and all workers.

        Raises:
            InfoplaneError: One has no infoplane, or of another version.
        """
        # Of the code that runs there, not of what is installed by that name.
        ask = (pkgutil.resolve_name, "infoplane:__version__")
        workers: dict[str, Any] = self._answer(lambda: self._client.run(*ask, on_error="return"))
        found = {f"worker {address}": version for address, version in workers.items()}
        try:
            found["the scheduler"] = self._answer(lambda: self._client.run_on_scheduler(*ask))
        except ModuleNotFoundError as error:
            found["the scheduler"] = error
        for place, version in found.items():
            if isinstance(version, ModuleNotFoundError):
                raise InfoplaneError(f'{place} has no infoplane; install it there: pip install "infoplane[dask]"')
            # Any other error is that of a worker which died meanwhile.
            if not isinstance(version, Exception):
                _refuse_other_version(version, place, _version())

    def watch(self) -> None:
        """Warns where the cluster has no worker, which is waited for.

        Raises:
            InfoplaneError: The scheduler does not answer.
        """
        if self._client.status == "running" and not self._answer(self._client.scheduler_info)["workers"]:
            if not self._warned:
                logger.warning("%s has no workers; waiting for some: dask worker %s", self._address, self._address)
            self._warned = True

    def stop(self) -> None:
        """Cancels all that is not done, in whatever thread it is waited for."""
        self._stopped = True
        self._cancel(self._waiting)

    def _answer(self, ask: Callable[[], T]) -> T:
        """What the scheduler, or workers through it, say to a question."""
        try:
            return _within(ANSWER_SECONDS, ask)
        except TimeoutError:
            raise InfoplaneError(
                f"the Dask scheduler at {self._address}, or one of its workers, has not answered for "
                f"{ANSWER_SECONDS:g} seconds; what was done is kept, the same command goes on"
            ) from None

    def _cancel(self, futures: Collection[Future]) -> None:
        if self._client.status == "running" and futures:
            self._client.cancel([*futures])
        self._waiting.difference_update([*futures])


def _within(seconds: float, ask: Callable[[], T]) -> T:
    """What a call gives, which may never come back.

    Raises:
        TimeoutError: It did not in this time.
    """
    answer: concurrent.futures.Future[T] = concurrent.futures.Future()

    def work() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return answer.result(seconds)


_thread = threading.local()


def _perform(item: Item, extra: Any, *, assignment: Assignment, work: Work) -> Any:
    """One task, on a worker: `work` on one layer at one snapshot of a run."""
    # The threads of the worker are the parallelism; OpenMP counts its own in each of them.
    if not hasattr(_thread, "limits"):
        _thread.limits = threadpool_limits(1)
    with _desks.at(assignment) as desk:
        return work(desk.run, desk.parts, item, extra)


@dataclass
class _Desk:
    """A run that is open on this worker, with its estimators, and how many tasks use it."""

    run: Run
    parts: list[Part]
    users: int = 0


class _Desks:
    """The few runs that this worker has open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._desks: dict[Assignment, _Desk] = {}

    @contextlib.contextmanager
    def at(self, assignment: Assignment) -> Iterator[_Desk]:
        """The desk of an assignment, for as long as a task needs it."""
        with self._lock:
            desk = self._desks.pop(assignment, None) or self._opened(assignment)
            self._desks[assignment] = desk  # the last is the one used last
            desk.users += 1
        try:
            yield desk
        finally:
            with self._lock:
                desk.users -= 1
                self._close_idle()

    def _opened(self, assignment: Assignment) -> _Desk:
        # HDF5 shows a process that has a file open nothing of what was written since.
        self._close_idle(assignment.path)
        run = _open_assigned(assignment, f"worker {get_worker().address}")
        parts = [part for request in assignment.requests for part in parts_of(run, request[0], {}, (), request[1])]
        return _Desk(run, parts)

    def _close_idle(self, path: Path | None = None) -> None:
        """Closes what no task uses: runs in this file, and the least recently used beyond `KEPT`."""
        for assignment, desk in [*self._desks.items()]:
            if not desk.users and (assignment.path == path or len(self._desks) > KEPT):
                del self._desks[assignment]
                desk.run.close()


_desks = _Desks()


def _open_assigned(assignment: Assignment, here: str) -> Run:
    """Opens the run that is meant, and no other that may stand in its place on this machine."""
    _refuse_other_version(_version(), here, assignment.version)
    path, last = assignment.path, assignment.snapshots - 1
    if not path.exists():
        raise InfoplaneError(
            f"{here} does not see {path}; run files must lie on a file system that all workers share"
        )
    run = open_run(path)
    if run.run_id == assignment.run_id and [s.step for s in run.snapshots[last : last + 1]] == [
        assignment.last_step
    ]:
        return run
    run.close()
    raise InfoplaneError(
        f"{here} sees another file at {path}, or an older state of it; is it the same file system?"
    )


def _refuse_other_version(version: str, place: str, wanted: str) -> None:
    if version != wanted:
        raise InfoplaneError(
            f"{place} has infoplane {version}, this machine has {wanted}; install the same everywhere"
        )
