"""Targets Y: classes, sets of labels, or continuous values, and how they are read from what people have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from infoplane.errors import InfoplaneError

CLASSES, MULTILABEL, REGRESSION = "classes", "multilabel", "regression"
KINDS = (CLASSES, MULTILABEL, REGRESSION)


@dataclass(frozen=True)
class Target:
    """What the network is asked for, one value a sample.

    Attributes:
        kind: "classes", "multilabel" (a set of labels is a class of its own: the product of one delta kernel a
            label) or "regression" (continuous values under a Gaussian kernel).
        values: Number of the class of each sample, (n,) int64; continuous values, (n, k) float64.
        names: Names of the classes 0, 1, …, where they have any.
    """

    kind: str
    values: NDArray
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    @property
    def discrete(self) -> bool:
        """Whether there are classes, so that H(Y) exists."""
        return self.kind != REGRESSION

    @property
    def classes(self) -> NDArray:
        """Number of the class of each sample, (n,) int64.

        Raises:
            InfoplaneError: The target is continuous.
        """
        if not self.discrete:
            raise InfoplaneError("this needs classes, and the run has a continuous target")
        return self.values

    def take(self, members: NDArray) -> Target:
        """The target of some of the samples."""
        return Target(self.kind, self.values[members], self.names)


def as_target(values: Any, kind: str = CLASSES) -> Target:
    """Reads a target."""
    raise NotImplementedError
