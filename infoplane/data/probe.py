"""The probe: the fixed samples on which information is estimated."""

from __future__ import annotations

import torch
from torch import Tensor

from infoplane.errors import InfoplaneError


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
    total = len(labels)
    classes = len(labels.unique())
    if classes < 2:
        raise InfoplaneError(
            f"the {split} split has {classes} class, for which I(T;Y) is 0 by definition; "
            "choose data with two classes or more"
        )
    if size > total:
        raise InfoplaneError(
            f"probe of {size} samples is larger than the {split} split ({total} samples); "
            f"choose --probe-size {total} or less"
        )
    if size < 2 * classes:
        raise InfoplaneError(
            f"probe of {size} samples is under two for each of {classes} classes; "
            f"choose --probe-size {2 * classes} or more"
        )
    return balanced_order(labels, seed)[:size]


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
