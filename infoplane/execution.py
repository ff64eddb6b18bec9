"""How work is done: how many workers, on this machine or a cluster, and what is shown meanwhile."""

from __future__ import annotations

import sys
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import Self, TypeVar

from tqdm import TqdmWarning
from tqdm.std import tqdm as any_tqdm

from infoplane.errors import InfoplaneError
from infoplane.text import printable

with warnings.catch_warnings():
    # A notebook without ipywidgets gets bars of text.
    warnings.simplefilter("ignore", TqdmWarning)
    from tqdm.auto import tqdm

T = TypeVar("T")

# Seconds between two lines of what has no bar.
BETWEEN_LINES = 60.0


def has_bars() -> bool:
    """Whether bars can be drawn: on a terminal and in a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return sys.stderr.isatty() or "IPKernelApp" in getattr(shell, "config", {})


def bars_of_this_process_alone() -> None:
    """Lets bars do without the semaphore for those of other processes, which a killed process leaks."""
    any_tqdm.set_lock(threading.RLock())


class Counter:
    """Counts what is done: a bar on a terminal or in a notebook, lines elsewhere, nothing where nobody asked.

    Args:
        total: What it counts to.
        label: What is being done.
        unit: What it counts.
        initial: Where it begins.
        shown: Whether anything is shown.
    """

    def __init__(self, total: int, label: str, unit: str, initial: int, shown: bool) -> None:
        self._in_lines = shown and not has_bars()
        hidden = self._in_lines or not shown
        self._bar = tqdm(total=total, desc=label, unit=unit, initial=initial, disable=hidden)
        self._label, self._total = label, total
        self._initial = self._count = initial
        self._began = time.monotonic()
        self._note = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.close()

    def announce(self, text: str) -> None:
        """Prints at once what begins, where there is no terminal for a bar.

        Args:
            text: What it is, in words.
        """
        if self._in_lines:
            print(f"{self._label}: {text}", file=sys.stderr, flush=True)

    def update(self) -> None:
        """Counts one more."""
        self._count += 1
        self._bar.update()

    def note(self, text: str, brief: str = "") -> None:
        """Keeps what is known by now, such as a loss, for the next line and the bar.

        Args:
            text: For the line.
            brief: For the bar, which must fit on a line of 80 characters; "" takes the same.
        """
        self._note = text
        self._bar.set_postfix_str(brief or text, refresh=False)

    def line(self, place: str = "") -> None:
        """Prints how far it is, what was noted, and the time left, where there is no terminal for a bar.

        Args:
            place: How far it is, in words; "" gives the count.
        """
        if not self._in_lines:
            return
        done = self._count - self._initial
        left = (time.monotonic() - self._began) / max(done, 1) * (self._total - self._count)
        parts = [
            f"{self._label}: {place or f'{self._count:,} of {self._total:,}'}",
            self._note,
            f"{tqdm.format_interval(left)} left" if self._count < self._total else "done",
        ]
        print("; ".join(filter(None, parts)), file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Execution:
    """How work is done; it changes no number.

    Attributes:
        jobs: Number of parallel solves, or of trainings at once; None takes what suits the machine.
        scheduler: Address of the scheduler of a Dask cluster whose workers see the run files by the same paths;
            None takes this machine.
        progress: Show progress bars on a terminal and in a notebook; elsewhere a line for each epoch of a training
            and each minute of other work.
    """

    jobs: int | None = None
    scheduler: str | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        if self.jobs is not None and (not isinstance(self.jobs, Integral) or self.jobs < 1):
            raise InfoplaneError(f"`jobs` must be a whole number of at least 1, got {self.jobs!r}")

    def bar(self, results: Iterable[T], label: str, total: int | None = None) -> Iterable[T]:
        """Gives the same results, with a progress bar that goes when they are through.

        Args:
            results: What is looped over.
            label: What is being done.
            total: Number of results; None takes their length.
        """
        if self.progress and not has_bars():
            return _in_lines(results, printable(label), total)
        shown: Iterable[T] = tqdm(
            results, desc=printable(label), total=total, leave=False, disable=not self.progress
        )
        return shown

    def counter(self, total: int, label: str, unit: str, initial: int = 0) -> Counter:
        """A counter that is moved by hand, and stays; a context manager.

        Args:
            total: What it counts to.
            label: What is being done.
            unit: What it counts.
            initial: Where it begins.
        """
        return Counter(total, label, unit, initial, self.progress)


def _in_lines(results: Iterable[T], label: str, total: int | None) -> Iterator[T]:
    """The same results, with a line from time to time of how many there are."""
    count = len(results) if total is None else total  # type: ignore[arg-type]
    last = time.monotonic()
    with Counter(count, label, "", 0, shown=True) as counter:
        for result in results:
            yield result
            counter.update()
            if time.monotonic() - last >= BETWEEN_LINES:
                last = time.monotonic()
                counter.line()


# What functions take that are called without: this machine, and nothing is shown.
QUIET = Execution()
