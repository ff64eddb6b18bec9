"""Processes that work side by side, one task each at a time; any of them may be killed at any moment.

They share no lock, queue or semaphore, which a killed process would leave taken. Each has a pipe of its own to the
process that started it, and whoever of the two is gone, the other reads the end of that pipe.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

import torch

from infoplane.errors import InfoplaneError, WriteFailed, without_afterthoughts
from infoplane.execution import bars_of_this_process_alone
from infoplane.files import reason
from infoplane.stopping import Stopped, ask_to_stop, deaf_to_interrupts, stoppable

T = TypeVar("T")

# What is sent in the place of a task: stop, and keep what is done.
_STOP = None


def side_by_side(work: Callable[[T], str], tasks: Sequence[T], processes: int) -> Iterator[tuple[T, str]]:
    """Works on tasks in several processes, each with its share of the cores.

    Where a process is killed its task has failed, and another process takes its place. What they log is logged
    here.

    Args:
        work: A function of a module: what went wrong with a task, "" for nothing.
        tasks: What to work on.
        processes: How many at once.

    Yields:
        Each task with what went wrong, as they end.

    Raises:
        InfoplaneError: A process cannot be started.
        Stopped: The work of a process was asked to stop; then, as where this process is, all are, and end first.
    """
    threads = max(1, (os.cpu_count() or 1) // processes)
    waiting = deque(tasks)
    busy: dict[Connection, _Process[T]] = {}
    try:
        for _ in range(min(processes, len(waiting))):
            _Process(work, threads, busy).give(waiting.popleft())
        while busy:
            for connection in wait([*busy]):
                process = busy[connection]  # type: ignore[index]
                task, answer = process.task, process.receive()
                if answer is None:
                    continue
                if isinstance(answer, int):
                    raise Stopped(answer)
                if waiting:
                    process = process if process.is_there else _Process(work, threads, busy)
                    process.give(waiting.popleft())
                else:
                    process.end()
                yield task, answer
    except BaseException:
        for process in busy.values():
            process.send(_STOP)
        for process in [*busy.values()]:
            while process.receive() is None:
                pass
        raise
    finally:
        # Also where a second signal cuts the wait for answers short.
        for process in [*busy.values()]:
            process.end()


class _Process(Generic[T]):
    """Another process, and what it works on.

    Args:
        work: What it does with each task.
        threads: How many threads its work may take.
        team: Where it stands by its pipe, until it has ended.
    """

    task: T

    def __init__(self, work: Callable[[T], str], threads: int, team: dict[Connection, _Process[T]]) -> None:
        # Spawned, since a forked process must not use a GPU, nor the threads of its parent; and it would have the
        # ends of the pipes of others, which then did not end with them.
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        level = logging.getLogger("infoplane").getEffectiveLevel()
        self._process: SpawnProcess = context.Process(target=_work, args=(work, threads, level, other))
        # Ctrl-C reaches all processes of a terminal; this one says what it means for the others.
        with other, deaf_to_interrupts():
            try:
                self._process.start()
            except OSError as error:
                raise InfoplaneError(f"no process can be started ({reason(error)}); use fewer `jobs`") from error
        self._team = team
        team[self._connection] = self
        self.is_there = True

    def give(self, task: T) -> None:
        """Lets it work on a task."""
        self.task = task
        self.send(task)

    def send(self, message: T | None) -> None:
        """Sends what it is to do; where it is dead already, that is seen where its answer is read."""
        with contextlib.suppress(OSError):
            self._connection.send(message)

    def receive(self) -> str | int | None:
        """Waits for its next message: what went wrong with its task, or the number of the signal that stopped it.

        Returns:
            None where it was a record of its log, which is logged here.
        """
        try:
            message: str | int | logging.LogRecord = self._connection.recv()
        except (OSError, EOFError):
            self.end()
            return self._death()
        if not isinstance(message, logging.LogRecord):
            return message
        logging.getLogger(message.name).handle(message)
        return None

    def end(self) -> None:
        """Takes it out of the team; it ends with its pipe."""
        self.is_there = False
        self._team.pop(self._connection, None)
        self._connection.close()

    def _death(self) -> str:
        self._process.join(10)
        self._process.kill()
        self._process.join()
        code = self._process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return (
            f"its process {how}; if there was not enough memory, use fewer `jobs`, a smaller network or a smaller "
            "batch; what it recorded is kept, and the same command goes on with it"
        )


class _Reports(QueueHandler):
    """What a process tells its parent: answers, and what is logged; one at a time, from any thread."""

    def __init__(self, parent: Connection) -> None:
        super().__init__(parent)  # type: ignore[arg-type]  # `enqueue` alone uses it
        self._sending = threading.Lock()

    def send(self, message: str | int | logging.LogRecord) -> None:
        """Sends a message; where the parent is gone, `_listen` sees it."""
        with self._sending, contextlib.suppress(OSError):
            self.queue.send(message)  # type: ignore[attr-defined]

    def enqueue(self, record: logging.LogRecord) -> None:
        """Sends a record."""
        self.send(record)


def _work(work: Callable[[T], str], threads: int, level: int, parent: Connection) -> None:
    """The life of a process: works on one task after the other, and ends with its parent."""
    torch.set_num_threads(threads)
    bars_of_this_process_alone()
    reports = _Reports(parent)
    logging.getLogger().addHandler(reports)
    logging.getLogger("infoplane").setLevel(level)
    logging.captureWarnings(True)
    tasks: queue.SimpleQueue[T | None] = queue.SimpleQueue()
    busy = threading.Event()
    # It may be asked twice, by its parent and by a signal to all.
    with contextlib.suppress(KeyboardInterrupt), without_afterthoughts(), stoppable():
        threading.Thread(target=_listen, args=(parent, tasks, busy), daemon=True).start()
        try:
            while (task := tasks.get()) is not None:
                answer: str | int = work(task)
                busy.clear()
                reports.send(answer)
        except Stopped as stop:
            busy.clear()
            reports.send(stop.signal)
        if WriteFailed.happened:
            os._exit(0)  # HDF5 crashes at the end of such a process


def _listen(parent: Connection, tasks: queue.SimpleQueue[Any], busy: threading.Event) -> None:
    """Hears what the parent wants, whatever this process does."""
    try:
        while True:
            message = parent.recv()
            if message is not _STOP:
                busy.set()
                tasks.put(message)
            # A training is asked to finish its step; what is before or after one is cut short.
            elif not ask_to_stop(signal.SIGTERM):
                os.kill(os.getpid(), signal.SIGTERM)
    except (OSError, EOFError):
        if busy.is_set():
            os._exit(1)  # nobody is there any more who wants the rest; files survive an end at any moment
        tasks.put(None)
