"""Data sets of the user's own, made by a function that is named as package.module:function."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from infoplane.data.dataset import Dataset, DatasetSpec, Split, channel_statistics
from infoplane.errors import InfoplaneError
from infoplane.recording.samples import Samples, as_samples, random_states_kept
from infoplane.targets import CLASSES, as_target
from infoplane.user_code import call_user

_FORM = "give two splits, train and test, each as (inputs, labels) or as a Dataset"


def load_own(name: str) -> Dataset:
    """The data set that a function of the user's gives, without arguments: its training and its test split.

    Each split is what a recorder takes as a probe, with one tensor of inputs: images (N, C, H, W) uint8, normalised
    by the statistics of the training split; fractions (N, ...), taken as they are; or other whole numbers, which
    are tokens of an embedding. The global generators of torch, NumPy and Python stand at the seed 0 while it is
    called, so that all runs have the same data.

    Args:
        name: `package.module:function`.

    Raises:
        InfoplaneError: The function fails, or gives no such splits.
    """
    with random_states_kept():
        torch.default_generator.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 - the user's code may draw from it
        random.seed(0)
        train, test = (_samples(name, split) for split in _splits(name, call_user(name, "data set")))
    labels, classes, names = _labels(name, train, test)
    inputs = [_inputs(name, split) for split in (train, test)]
    shape, other = (tuple(part.shape[1:]) for part in inputs)
    if shape != other or inputs[0].dtype != inputs[1].dtype:
        raise InfoplaneError(
            f"the splits of data set '{name}' have unlike inputs: {_kind(inputs[0])} and {_kind(inputs[1])}"
        )
    images = inputs[0].dtype == torch.uint8
    mean, std = channel_statistics(inputs[0]) if images else (torch.zeros(1), torch.ones(1))
    of_train, of_test = (Split(*pair) for pair in zip(inputs, labels, strict=True))
    return Dataset(DatasetSpec(name, shape, classes, names), of_train, of_test, mean, std)


def _splits(name: str, given: Any) -> tuple[Any, Any]:
    """Training and test split, told from inputs and labels of one."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise InfoplaneError(f"data set '{name}' gave a {type(given).__name__}; {_FORM}")
    if any(isinstance(split, Tensor | np.ndarray | pd.DataFrame | pd.Series) for split in given):
        raise InfoplaneError(f"data set '{name}' gave one split; {_FORM}")
    return given[0], given[1]


def _samples(name: str, split: Any) -> Samples:
    try:
        return as_samples(split)
    except InfoplaneError as error:
        raise InfoplaneError(f"data set '{name}': {error}") from error


def _inputs(name: str, split: Samples) -> Tensor:
    """The inputs of a split as uint8 images, float32 numbers or int64 tokens."""
    parts = split.inputs.parts
    if len(parts) > 1:
        raise InfoplaneError(
            f"data set '{name}' has several inputs ({', '.join(parts)}), and a training by infoplane takes one; "
            "record the others in a loop of your own by infoplane.Recorder"
        )
    (inputs,) = parts.values()
    if inputs.is_complex():
        raise InfoplaneError(f"the inputs of data set '{name}' are complex; give real and imaginary parts apart")
    if inputs.dtype == torch.uint8 and inputs.ndim == 4:
        return inputs
    inputs = inputs[:, None] if inputs.ndim == 1 else inputs
    are_tokens = not inputs.is_floating_point() and inputs.dtype not in (torch.bool, torch.uint8)
    if are_tokens:
        return inputs.to(torch.int64)
    numbers = inputs.to(torch.float32)
    if not numbers.isfinite().all():
        raise InfoplaneError(
            f"the inputs of data set '{name}' go up to {inputs.abs().max():.3g}, which float32 cannot hold; "
            "scale them"
        )
    return numbers


def _labels(name: str, *splits: Samples) -> tuple[list[Tensor], int, tuple[str, ...]]:
    """The classes of the samples of each split, (N,) int64, from 0, their number, and their names or ()."""
    together = [label for split in splits for label in _column(split.labels)]
    try:
        target = as_target(together, CLASSES)
    except InfoplaneError as error:
        raise InfoplaneError(
            f"the labels of data set '{name}' are no classes: {error}; other targets are for infoplane.Recorder"
        ) from error
    classes = torch.from_numpy(target.classes)
    present = classes.unique()
    if not torch.equal(present, torch.arange(len(present))):
        raise InfoplaneError(
            f"the {len(present)} classes of data set '{name}' are numbered from {present[0]} to {present[-1]}; "
            f"number them from 0 to {len(present) - 1}, or give their names"
        )
    return list(classes.split([len(split) for split in splits])), len(present), target.names


def _column(labels: Any) -> Any:
    return labels.squeeze(axis=1) if isinstance(labels, pd.DataFrame) else labels


def _kind(inputs: Tensor) -> str:
    return f"{str(inputs.dtype).removeprefix('torch.')} of {'×'.join(map(str, inputs.shape[1:]))}"
