"""The probe: the fixed samples on which information is estimated."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

from infoplane.errors import InfoplaneError
from infoplane.recording.samples import Samples, as_samples
from infoplane.targets import AUTO, as_target


def probe_from(data: Any, n: int = 500, seed: int = 0, target: str = AUTO) -> Samples:
    """Draws a probe without replacement: class-balanced, or plainly random where the target is continuous.

    The same arguments give the same probe, whatever the global random state. A `Dataset` that has its labels at
    hand, in `targets` or `labels`, is asked for no other items than those that are drawn.

    Args:
        data: A pair (inputs, labels), a mapping with "labels", a `Dataset` or a `DataLoader`.
        n: Number of samples.
        seed: Seed of the draw.
        target: What the labels are: "classes", "multilabel" or "regression"; "auto" reads classes.

    Returns:
        Inputs, labels and the positions (n,) of the samples in the data; those in a `DataLoader` are in the order
        in which it gave them.

    Raises:
        InfoplaneError: Data or labels that cannot be read, or too few for the probe; n or seed no whole number.

    Example:
        >>> probe = ip.probe_from((x, y), n=20)
        >>> len(probe.labels), int(probe.labels.sum())  # as many of each class
        (20, 10)
    """
    n, seed = _whole("n", n), _whole("seed", seed)
    if n < 4:
        raise InfoplaneError(f"a probe of {n} samples is too small; take at least 4, better 500")

    def choose(labels: Any) -> Tensor:
        read = as_target(labels, target)
        if read.discrete:
            return _draw(torch.from_numpy(read.classes), n, seed, "the data", "n")
        _refuse_larger(n, len(read), "the data", "n")
        return torch.randperm(len(read), generator=torch.Generator().manual_seed(seed))[:n]

    return as_samples(data, choose)


def _whole(name: str, value: Any) -> int:
    """A whole number of any type as int."""
    try:
        return operator.index(value)
    except TypeError:
        raise InfoplaneError(f"{name} of a probe must be a whole number, got {value!r}") from None


def balanced_probe(labels: Tensor, size: int, seed: int, split: str = "chosen") -> Tensor:
    """Indices of a class-balanced sample without replacement.

    Classes differ by at most one sample where each has enough; a class with too few gives all it has and the
    others make up for it. The same arguments give the same probe, whatever the global random state.

    Args:
        labels: Labels (N,) of the split.
        size: Number of samples.
        seed: Seed of the draw.
        split: Name of the split, for messages.

    Returns:
        Indices (size,) int64.

    Raises:
        InfoplaneError: The split is too small or has a single class, or the size is under two per class.
    """
    return _draw(labels, size, seed, f"the {split} split", "probe_size")


def _draw(labels: Tensor, size: int, seed: int, source: str, option: str) -> Tensor:
    """The balanced sample; messages name where it is from, and what sets its size."""
    classes = len(labels.unique())
    if classes < 2:
        raise InfoplaneError(
            f"{source} has {classes} class, for which I(T;Y) is 0 by definition; "
            "choose data with two classes or more"
        )
    _refuse_larger(size, len(labels), source, option)
    if size < 2 * classes:
        raise InfoplaneError(
            f"probe of {size} samples is under two for each of {classes} classes; "
            f"choose `{option}={2 * classes}` or more"
        )
    return balanced_order(labels, seed)[:size]


def _refuse_larger(size: int, total: int, source: str, option: str) -> None:
    if size > total:
        raise InfoplaneError(
            f"probe of {size} samples is larger than {source} ({total} samples); choose `{option}={total}` or less"
        )


def balanced_order(labels: Tensor, seed: int) -> Tensor:
    """A random order of samples (N,) that gives one of every class, then another, as long as each has any."""
    order, turns = random_turns(labels, seed)
    # The stable sort keeps each turn random.
    return order[torch.argsort(turns, stable=True)]


def random_turns(labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """A random order of samples (N,), and how many of its own class stand before each in that order (N,)."""
    _, classes, counts = torch.unique(labels.cpu(), return_inverse=True, return_counts=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    by_class = torch.argsort(classes[order], stable=True)
    starts = torch.cumsum(counts, 0) - counts
    turns = torch.empty_like(order)
    turns[by_class] = torch.arange(len(order)) - starts.repeat_interleave(counts)
    return order, turns
