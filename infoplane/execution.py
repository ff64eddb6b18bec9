"""How work is done: how many workers, on this machine or a cluster, and what is shown meanwhile."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self, TypeVar

from tqdm.auto import tqdm

from infoplane.text import printable

T = TypeVar("T")


class Counter:
    """Counts what is done: a progress bar on a terminal, lines elsewhere, nothing where nobody asked.

    Args:
        total: What it counts to.
        label: What is being done.
        unit: What it counts.
        initial: Where it begins.
        shown: Whether anything is shown.
    """

    def __init__(self, total: int, label: str, unit: str, initial: int, shown: bool) -> None:
        self._bar = tqdm(total=total, desc=label, unit=unit, initial=initial, disable=None if shown else True)
        self._in_lines = shown and self._bar.disable
        self._label, self._total = label, total
        self._initial = self._count = initial
        self._began = time.monotonic()
        self._note = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.close()

    def update(self) -> None:
        """Counts one more."""
        self._count += 1
        self._bar.update()

    def note(self, text: str) -> None:
        """Keeps what is known by now, such as a loss, for the bar and the next line."""
        self._note = text
        self._bar.set_postfix_str(text, refresh=False)

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
        progress: Show progress bars on a terminal; elsewhere a line for each epoch of a training.
    """

    jobs: int | None = None
    scheduler: str | None = None
    progress: bool = False

    def bar(self, results: Iterable[T], label: str, total: int | None = None) -> Iterable[T]:
        """The same results, with a progress bar that goes when they are through.

        Args:
            results: What is looped over.
            label: What is being done.
            total: Number of results; None takes their length.
        """
        # None lets tqdm show bars on terminals alone.
        hidden = None if self.progress else True
        shown: Iterable[T] = tqdm(results, desc=printable(label), total=total, leave=False, disable=hidden)
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


# What functions take that are called without: this machine, and nothing is shown.
QUIET = Execution()
