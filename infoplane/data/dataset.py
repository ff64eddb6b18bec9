"""Data sets as tensors in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from infoplane.errors import InfoplaneError, unknown


@dataclass(frozen=True)
class DatasetSpec:
    """What is known of a data set without having it: name, shape of one input, number of classes."""

    name: str
    shape: tuple[int, ...]
    classes: int


@dataclass(frozen=True)
class Split:
    """Inputs (N, C, H, W) uint8 or (N, d) float32, and labels (N,) int64."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """A training and a test split with the statistics that normalise both.

    Attributes:
        spec: Name, shape of one input and number of classes.
        train: Training split.
        test: Test split.
        mean: Per channel (C,) over the training split, pixels in [0, 1].
        std: The same for the standard deviation.
    """

    spec: DatasetSpec
    train: Split
    test: Split
    mean: Tensor
    std: Tensor

    def split(self, name: str) -> Split:
        """The split "train", "test", or "all" (the training split, then the test split).

        Raises:
            InfoplaneError: Another name.
        """
        splits = {"train": self.train, "test": self.test}
        if name == "all":
            inputs, labels = (
                torch.cat([getattr(s, field) for s in splits.values()]) for field in ("inputs", "labels")
            )
            return Split(inputs, labels)
        if name not in splits:
            raise unknown("split", name, [*splits, "all"])
        return splits[name]

    def batch(self, split: Split, indices: Tensor | slice, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """Normalised float32 inputs (n, *shape) and labels (n,) of some samples, on a device."""
        if isinstance(indices, Tensor):
            indices = indices.to(split.labels.device)
        inputs, labels = split.inputs[indices].to(device), split.labels[indices].to(device)
        inputs = inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs
        per_channel = (-1, *[1] * (len(self.spec.shape) - 1))
        mean, std = (value.to(device).view(per_channel) for value in (self.mean, self.std))
        return (inputs - mean) / std, labels

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
        train, test = (replace(s, inputs=s.inputs.expand(-1, channels, -1, -1)) for s in (self.train, self.test))
        spec = replace(self.spec, shape=(channels, *shape[1:]))
        return Dataset(spec, train, test, self.mean.repeat(channels), self.std.repeat(channels))

    def to(self, device: torch.device | str) -> Dataset:
        """The data set with all its tensors on a device, so that batches need no copy."""
        train, test = (Split(s.inputs.to(device), s.labels.to(device)) for s in (self.train, self.test))
        return Dataset(self.spec, train, test, self.mean.to(device), self.std.to(device))


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (C,) of uint8 images scaled to [0, 1]; exact, from the histograms."""
    values = torch.arange(256, dtype=torch.float64) / 255
    weights = torch.stack([torch.bincount(c.flatten(), minlength=256) for c in images.unbind(1)]).double()
    weights /= weights.sum(1, keepdim=True)
    mean = weights @ values
    variance = (weights * (values - mean[:, None]) ** 2).sum(1)
    return mean.float(), variance.sqrt().float()
