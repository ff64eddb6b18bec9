"""How work is done: how many workers, on this machine or a cluster, and what is shown meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from tqdm.auto import tqdm

from infoplane.text import printable

T = TypeVar("T")


@dataclass(frozen=True)
class Execution:
    """How work is done; it changes no number.

    Attributes:
        jobs: Number of parallel solves, or of trainings at once; None takes what suits the machine.
        scheduler: Address of the scheduler of a Dask cluster whose workers see the run files by the same paths;
            None takes this machine.
        progress: Show progress bars.
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
        shown: Iterable[T] = tqdm(results, desc=printable(label), total=total, leave=False, disable=self._hidden)
        return shown

    def counter(self, total: int, label: str, unit: str, initial: int = 0) -> Any:
        """A progress bar that is moved by hand, and stays; a context manager of tqdm's methods.

        Args:
            total: What it counts to.
            label: What is being done.
            unit: What it counts.
            initial: Where it begins.
        """
        return tqdm(total=total, desc=label, unit=unit, initial=initial, disable=self._hidden)

    @property
    def _hidden(self) -> bool | None:
        """Whether tqdm shows nothing; None lets it show bars on terminals alone."""
        return None if self.progress else True


# What functions take that are called without: this machine, and nothing is shown.
QUIET = Execution()
