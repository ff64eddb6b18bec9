"""Batches of a probe: the spread between them says how much an estimate depends on the samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import squareform

from infoplane.condensed import condense
from infoplane.errors import InfoplaneError
from infoplane.estimators.registry import BATCH_SIZE
from infoplane.runfile import Probe
from infoplane.targets import Target

_BATCH_SEED = 0
_SMALLEST = 4


@dataclass(frozen=True)
class Batches:
    """How the probe is cut: the same batches for all layers and snapshots, so that differences are paired.

    Attributes:
        count: Number of batches, at least 2.
        size: Samples of each; classes stand in each as in the probe, to within one sample.
    """

    count: int
    size: int = BATCH_SIZE

    @classmethod
    def of(cls, batches: Batches | int | None, size: int | None = None) -> Batches | None:
        """The batches that are asked for; None for the whole probe at once.

        Args:
            batches: Their number, or the batches themselves.
            size: Samples of each, where their number is given; None takes 100.

        Raises:
            InfoplaneError: The size comes without a number, one of them is no whole number, or as below.
        """
        if batches is None or isinstance(batches, Batches):
            if size is not None:
                raise InfoplaneError("`batch_size` goes with a number of `batches`; give that too, or leave it out")
            return batches
        return cls(batches, BATCH_SIZE if size is None else size)

    def __post_init__(self) -> None:
        for what, value in (("batches", self.count), ("batch_size", self.size)):
            if not isinstance(value, Integral) or isinstance(value, bool):
                raise InfoplaneError(f"`{what}` must be a whole number, got {value!r}")
        if self.count < 2:
            raise InfoplaneError(f"a standard error needs at least 2 batches, got {self.count}")
        if self.size < _SMALLEST:
            raise InfoplaneError(f"a batch needs at least {_SMALLEST} samples, got {self.size}")

    def draw(self, labels: NDArray) -> list[NDArray]:
        """The batches. No two share a sample: errors and tests over batches take them for independent.

        Args:
            labels: Class labels of the probe, (n,), or what `strata` gives.

        Returns:
            `count` arrays of positions in the probe, (size,) each, ascending.

        Raises:
            InfoplaneError: The probe has too few samples.
        """
        n = len(labels)
        if self.count * self.size > n:
            fits, total = n // self.count, self.count * self.size
            advice = f"lower `batch_size` to {fits}, or `batches`" if fits >= _SMALLEST else "lower `batches`"
            raise InfoplaneError(
                f"{self.count} batches of {self.size} need {total} samples, and the probe has {n}; {advice}"
            )
        order = stratified_order(labels, np.random.default_rng(_BATCH_SEED))
        return [np.sort(order[i * self.size : (i + 1) * self.size]) for i in range(self.count)]


def strata(target: Target) -> NDArray:
    """What is to stand in each batch as in the probe: the classes, (n,); all alike where Y is continuous."""
    return target.classes if target.discrete else np.zeros(len(target), dtype=np.int64)


def stratified_order(labels: NDArray, rng: np.random.Generator) -> NDArray:
    """A random order of which every stretch holds the classes in their proportions, to within one sample each.

    Args:
        labels: Class labels, (n,).
        rng: Source of randomness.
    """
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place[rng.permutation(members)] = (np.arange(len(members)) + rng.random()) / len(members)
    return np.argsort(place)


def sub_probe(probe: Probe, members: NDArray | None) -> Probe:
    """The probe cut down to some of its samples; None keeps all."""
    if members is None:
        return probe
    square = squareform(probe.distances)[np.ix_(members, members)]
    others = {name: target.take(members) for name, target in probe.others.items()}
    return replace(
        probe,
        target=probe.target.take(members),
        distances=condense(square),
        indices=probe.indices[members],
        others=others,
    )
