"""Training data: a validation split held out, a subset, permuted and noisy labels.

The test split is never touched. Mean and standard deviation of images are those of the training split that is left,
so that nothing of the validation split enters training; vectors keep their fixed scaling.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from infoplane.data.dataset import Dataset, Split, channel_statistics
from infoplane.data.probe import balanced_order, random_turns
from infoplane.data.streams import random_stream
from infoplane.errors import InfoplaneError, unknown

PERMUTED, _ = _NOISE_KINDS = ("permuted", "class-dependent")


def hold_out(dataset: Dataset, fraction: float, seed: int = 0) -> Dataset:
    """Move a part of the training split into a validation split, stratified by class.

    Where the training split has groups (tracks of traffic signs), each goes as a whole to one side, and the
    fraction is one of groups. Each class gives the nearest whole number, but at least one, and keeps at least one;
    so a class with a single group (or sample) stays in training. The same arguments give the same splits.

    Args:
        dataset: A data set without validation split.
        fraction: Share of the samples, or groups, of each class to hold out, between 0 and 1.
        seed: Seed of the draw.

    Raises:
        InfoplaneError: An impossible fraction, a validation split that is there already, no class with two groups
            (or samples), or a group with several classes.
    """
    train, name = dataset.train, dataset.spec.name
    if not 0 < fraction < 1:
        raise InfoplaneError(f"a validation fraction of {fraction} is impossible; choose one between 0 and 1")
    if dataset.validation is not None:
        raise InfoplaneError(f"data set '{name}' has a validation split already")
    unit_of, classes = _units(train)
    held = _draw(classes, fraction, seed)
    if not held.any():
        unit = "sample" if train.groups is None else "group"
        raise InfoplaneError(
            f"the training split of '{name}' has one {unit} in each class, so none can be held out; use more data"
        )
    held = held[unit_of]
    validation = train.take(held.nonzero().flatten())
    return _trained_on(replace(dataset, validation=validation), train.take((~held).nonzero().flatten()))


def subset(dataset: Dataset, size: int, seed: int = 0) -> Dataset:
    """Keep a random part of the training split, as balanced over classes as it allows.

    Single samples are drawn, so that of each group some may stay; to be used before `hold_out`. A smaller subset of
    the same seed is part of a larger one.

    Args:
        dataset: The data set.
        size: Number of training samples to keep.
        seed: Seed of the draw.

    Raises:
        InfoplaneError: More samples than there are, or fewer than classes.
    """
    labels = dataset.train.labels
    classes = len(labels.unique())
    if size > len(labels):
        raise InfoplaneError(
            f"a subset of {size} samples is larger than the training split of '{dataset.spec.name}'; choose "
            f"{len(labels)} or less"
        )
    if size < classes:
        raise InfoplaneError(f"a subset of {size} samples is under one for each of {classes} classes")
    # The order of the files is kept, so that a subset of all samples changes nothing.
    return _trained_on(dataset, dataset.train.take(balanced_order(labels, seed)[:size].sort().values))


def permute_labels(dataset: Dataset, fraction: float, seed: int = 0) -> Dataset:
    """Permute the labels of a random part of the training split among themselves; the control for what is learned.

    The frequencies of the classes stay the same, and some labels fall on their own class. To be used after
    `hold_out`, which would hold out permuted labels.

    Args:
        dataset: The data set.
        fraction: Share of the training samples, from 0 to 1 (all labels are shuffled).
        seed: Seed of the draw.

    Raises:
        InfoplaneError: An impossible fraction.
    """
    if not 0 <= fraction <= 1:
        raise InfoplaneError(f"a fraction of {fraction} of the labels is impossible; choose one from 0 to 1")
    labels = _permuted(dataset.train.labels, fraction, random_stream("permuted labels", seed))
    return replace(dataset, train=replace(dataset.train, labels=labels))


def noisy_labels(dataset: Dataset, rate: float, kind: str = PERMUTED, seed: int = 0) -> Dataset:
    """Give a random part of the training and of the validation samples wrong labels; the test split stays clean.

    So what is chosen by validation is chosen without a clean label. Splits keep their true labels beside the noisy
    ones. To be used after `hold_out`, since a group has one class there.

    Args:
        dataset: The data set.
        rate: Share of the samples of each split, from 0 to 1.
        kind: `permuted`: their labels are permuted among themselves, so that classes keep their frequencies and
            some labels fall on their own class. `class-dependent`: each gets the class after its own, the last the
            first (pair flipping; Han et al., "Co-teaching", NeurIPS 2018); from a rate of 0.5 on, no method can
            know which class is meant.
        seed: Seed of the draw.

    Raises:
        InfoplaneError: An impossible rate, or no such kind.
    """
    if not 0 <= rate <= 1:
        raise InfoplaneError(f"label noise of {rate} is impossible; choose a rate from 0 to 1")
    if kind not in _NOISE_KINDS:
        raise unknown("kind of label noise", kind, _NOISE_KINDS)
    generator = random_stream("label noise", seed)

    def noisy(split: Split) -> Split:
        if kind == PERMUTED:
            labels = _permuted(split.labels, rate, generator)
        else:
            labels = split.labels.clone()
            chosen = torch.randperm(len(labels), generator=generator)[: round(rate * len(labels))].to(labels.device)
            labels[chosen] = (labels[chosen] + 1) % dataset.spec.classes
        return replace(split, labels=labels, true_labels=split.labels)

    validation = None if dataset.validation is None else noisy(dataset.validation)
    test = replace(dataset.test, true_labels=dataset.test.labels)
    return replace(dataset, train=noisy(dataset.train), validation=validation, test=test)


def _permuted(labels: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """Labels of which a random share is permuted."""
    labels = labels.clone()
    count = round(fraction * len(labels))
    chosen = torch.randperm(len(labels), generator=generator)[:count]
    order = torch.randperm(count, generator=generator)
    labels[chosen.to(labels.device)] = labels[chosen[order].to(labels.device)]
    return labels


def _units(split: Split) -> tuple[Tensor, Tensor]:
    """Units that go to one side as a whole: number (N,) of the unit of each sample, class (units,) of each unit."""
    labels = split.labels.cpu()
    if split.groups is None:
        return torch.arange(len(labels)), labels
    unit_of = torch.unique(split.groups.cpu(), return_inverse=True)[1]
    classes = labels.new_empty(int(unit_of.max()) + 1)
    classes[unit_of] = labels
    if not torch.equal(classes[unit_of], labels):
        raise InfoplaneError("a group has samples of several classes; hold out before labels are permuted")
    return unit_of, classes


def _draw(classes: Tensor, fraction: float, seed: int) -> Tensor:
    """Which units (n,) are held out."""
    _, classes, counts = torch.unique(classes, return_inverse=True, return_counts=True)
    wanted = (fraction * counts.double() + 0.5).long().clamp(min=1).minimum(counts - 1)
    order, turns = random_turns(classes, seed)
    held = torch.empty_like(order, dtype=torch.bool)
    held[order] = turns < wanted[classes[order]]
    return held


def _trained_on(dataset: Dataset, train: Split) -> Dataset:
    """The data set with another training split, and the statistics of that."""
    mean, std = dataset.mean, dataset.std
    if train.inputs.dtype == torch.uint8:
        mean, std = (value.to(mean.device) for value in channel_statistics(train.inputs))
    return replace(dataset, train=train, mean=mean, std=std)
