"""Data sets as tensors in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from infoplane.errors import InfoplaneError, unknown

# So many images at a time go through what needs copies of them, which would be several times a data set.
SOME = 256


@dataclass(frozen=True)
class DatasetSpec:
    """A description of a data set that needs no files.

    Attributes:
        name: Its name.
        shape: Shape of one input.
        classes: Number of classes.
        class_names: Names of the classes 0, 1, …; empty where they have none, or are numbers themselves.
    """

    name: str
    shape: tuple[int, ...]
    classes: int
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Split:
    """Samples, in an order that means nothing.

    Attributes:
        inputs: Inputs (N, C, H, W) uint8, (N, ...) float32, or tokens (N, ...) int64.
        labels: Labels (N,) int64.
        boxes: Where in its image each object is, (N, 4) float32: x1, y1, x2, y2 as fractions of the image's width
            and height; None where that is not known.
        groups: Number of the group of each sample, (N,) int64; what is in one group, such as a video, must not be
            torn apart between training and validation. None where samples are independent or that is not known.
        true_labels: Labels before noise was added to them, (N,) int64; None where none was.
    """

    inputs: Tensor
    labels: Tensor
    boxes: Tensor | None = None
    groups: Tensor | None = None
    true_labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> Split:
        """Some of the samples, in the order of the indices (n,)."""
        return self._map(lambda values: values[indices.to(values.device)])

    def to(self, device: torch.device | str) -> Split:
        """The split on a device."""
        return self._map(lambda values: values.to(device))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Split:
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(values) for name, values in known.items() if values is not None})


def _concatenated(splits: Sequence[Split]) -> Split:
    """Splits one after the other; what is not known of one is not known of all."""
    columns = {field.name: [getattr(split, field.name) for split in splits] for field in fields(Split)}
    joined: dict[str, Any] = {
        name: None if any(part is None for part in parts) else torch.cat(parts) for name, parts in columns.items()
    }
    return Split(**joined)


@dataclass(frozen=True)
class Dataset:
    """A training and a test split with the statistics that normalise both.

    Attributes:
        spec: Name, shape of one input and number of classes.
        train: Training split.
        test: Test split.
        mean: Per channel (C,) over the training split in use, pixels in [0, 1].
        std: The same for the standard deviation.
        validation: What `hold_out` took from the training split, to make choices on; None where it took nothing.
    """

    spec: DatasetSpec
    train: Split
    test: Split
    mean: Tensor
    std: Tensor
    validation: Split | None = None

    def split(self, name: str) -> Split:
        """The split "train", "validation", "test", or "all" (these one after the other).

        Raises:
            InfoplaneError: Another name, or "validation" where none was held out.
        """
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        if name == "all":
            return _concatenated([split for split in splits.values() if split is not None])
        if name not in splits:
            raise unknown("split", name, [*splits, "all"])
        split = splits[name]
        if split is None:
            raise InfoplaneError(
                f"data set '{self.spec.name}' has no validation split; hold a part of the training split out first"
            )
        return split

    def batch(self, split: Split, indices: Tensor | slice, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """Normalised float32 inputs or plain tokens (n, *shape), and labels (n,) of some samples, on a device."""
        if isinstance(indices, Tensor):
            indices = indices.to(split.labels.device)
        inputs, labels = split.inputs[indices].to(device), split.labels[indices].to(device)
        if inputs.dtype == torch.int64:
            return inputs, labels
        inputs = inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs
        per_channel = (-1, *[1] * (len(self.spec.shape) - 1))
        mean, std = (value.to(device).view(per_channel) for value in (self.mean, self.std))
        return (inputs - mean) / std, labels

    def boxes(self, split: Split, indices: Tensor | slice, device: torch.device | str) -> Tensor:
        """Boxes (n, 4) float32 of some samples, x1, y1, x2, y2 as fractions of width and height, on a device.

        Raises:
            InfoplaneError: The split has no boxes.
        """
        if split.boxes is None:
            raise InfoplaneError(
                f"data set '{self.spec.name}' comes without boxes; use gtsrb on whole images, with GT-00000.csv to "
                "GT-00042.csv in its training folders and GT-final_test.csv"
            )
        if isinstance(indices, Tensor):
            indices = indices.to(split.boxes.device)
        return split.boxes[indices].to(device)

    def with_channels(self, channels: int) -> Dataset:
        """Grey images repeated over channels, for networks that want colour; costs no memory.

        Raises:
            InfoplaneError: The inputs have another number of channels and are not grey.
        """
        shape = self.spec.shape
        if shape[0] == channels and len(shape) == 3:
            return self
        if shape[0] != 1 or len(shape) != 3:
            raise InfoplaneError(
                f"data set '{self.spec.name}' has inputs of {'×'.join(map(str, shape))}, not images of {channels} "
                "channels; choose another model or data set"
            )
        colour = self._map(lambda split: replace(split, inputs=split.inputs.expand(-1, channels, -1, -1)))
        spec = replace(self.spec, shape=(channels, *shape[1:]))
        return replace(colour, spec=spec, mean=self.mean.repeat(channels), std=self.std.repeat(channels))

    def to(self, device: torch.device | str) -> Dataset:
        """The data set with all its tensors on a device, so that batches need no copy."""
        moved = self._map(lambda split: split.to(device))
        return replace(moved, mean=self.mean.to(device), std=self.std.to(device))

    def _map(self, change: Callable[[Split], Split]) -> Dataset:
        validation = None if self.validation is None else change(self.validation)
        return replace(self, train=change(self.train), test=change(self.test), validation=validation)


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (C,) of uint8 images scaled to [0, 1]; exact, from the histograms, on the CPU.

    The standard deviation of a channel that is constant is taken as 1, so that its normalised values are 0.
    """
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64, device=images.device)
    for part in images.split(SOME):
        for count, channel in zip(counts, part.unbind(1), strict=True):
            count += torch.bincount(channel.flatten(), minlength=256)
    values = torch.arange(256, dtype=torch.float64) / 255
    weights = counts.cpu().double()
    weights /= weights.sum(1, keepdim=True)
    mean = weights @ values
    variance = (weights * (values - mean[:, None]) ** 2).sum(1)
    return mean.float(), torch.where(variance > 0, variance.sqrt(), 1.0).float()
