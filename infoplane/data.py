"""Data sets as tensors in memory, and the probe: the fixed samples on which information is estimated."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
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


DATASETS = {
    spec.name: spec
    for spec in (
        DatasetSpec("digits", (1, 8, 8), 10),
        DatasetSpec("szt", (12,), 2),
        DatasetSpec("mnist", (1, 28, 28), 10),
        DatasetSpec("fashion-mnist", (1, 28, 28), 10),
        DatasetSpec("cifar10", (3, 32, 32), 10),
        DatasetSpec("cifar100", (3, 32, 32), 100),
        DatasetSpec("gtsrb", (3, 32, 32), 43),
    )
}

_IDX_FILES = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte"
# Name of the class in torchvision.datasets, the files it reads, and the folder under root that holds them.
_TORCHVISION = {
    "mnist": ("MNIST", _IDX_FILES, "MNIST/raw"),
    "fashion-mnist": ("FashionMNIST", _IDX_FILES, "FashionMNIST/raw"),
    "cifar10": ("CIFAR10", "data_batch_1 to data_batch_5, test_batch and batches.meta", "cifar-10-batches-py"),
    "cifar100": ("CIFAR100", "train, test and meta", "cifar-100-python"),
    "gtsrb": (
        "GTSRB",
        "GTSRB/Training (folders 00000 to 00042), GTSRB/Final_Test/Images and GT-final_test.csv",
        "gtsrb",
    ),
}
_DOWNLOAD_TIMEOUT = 10.0  # seconds without an answer


def dataset_spec(name: str, image_size: int | None = None) -> DatasetSpec:
    """Shape and classes of a data set; needs no data.

    Args:
        name: A key of `DATASETS`.
        image_size: Height and width of the images; None for their own.

    Raises:
        InfoplaneError: The name is unknown, or the size is impossible.
    """
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    spec = DATASETS[name]
    if image_size is None:
        return spec
    if len(spec.shape) != 3:
        raise InfoplaneError(f"data set '{name}' holds no images; leave out --image-size")
    if image_size < 1:
        raise InfoplaneError(f"an image size of {image_size} is impossible; choose --image-size 1 or more")
    return replace(spec, shape=(spec.shape[0], image_size, image_size))


def load_dataset(name: str, root: Path, image_size: int | None = None) -> Dataset:
    """Read a data set into memory; what torchvision offers is downloaded if it is not there.

    Args:
        name: A key of `DATASETS`.
        root: Folder that holds the data sets, each as torchvision lays it out.
        image_size: Height and width to which images are resized; None for their own.

    Raises:
        InfoplaneError: The name is unknown, or the data are neither there nor to be had; the message says which
            files to put where.
    """
    spec = dataset_spec(name, image_size)
    if name == "szt":
        # Bits 0 and 1 become -1 and 1.
        return Dataset(spec, *_load_szt(root), mean=torch.tensor([0.5]), std=torch.tensor([0.5]))
    splits = _load_digits() if name == "digits" else _load_torchvision(spec, root)
    train, test = (replace(split, inputs=_resize(split.inputs, spec.shape[-1])) for split in splits)
    return Dataset(spec, train, test, *_channel_statistics(train.inputs))


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
    _, classes, counts = torch.unique(labels.cpu(), return_inverse=True, return_counts=True)
    if len(counts) < 2:
        raise InfoplaneError(
            f"the {split} split has {len(counts)} class, for which I(T;Y) is 0 by definition; "
            "choose data with two classes or more"
        )
    if size > total:
        raise InfoplaneError(
            f"probe of {size} samples is larger than the {split} split ({total} samples); "
            f"choose --probe-size {total} or less"
        )
    if size < 2 * len(counts):
        raise InfoplaneError(
            f"probe of {size} samples is under two for each of {len(counts)} classes; "
            f"choose --probe-size {2 * len(counts)} or more"
        )
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    by_class = torch.argsort(classes[order], stable=True)
    starts = torch.cumsum(counts, 0) - counts
    turn = torch.empty_like(order)
    turn[by_class] = torch.arange(total) - starts.repeat_interleave(counts)
    # One sample of every class per turn, until there are enough; the stable sort keeps each turn random.
    return order[torch.argsort(turn, stable=True)[:size]]


def _stratified(inputs: Tensor, labels: Tensor, test_size: int | float) -> tuple[Split, Split]:
    """The same split in every run, whatever its seed."""
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(
        np.arange(len(labels)), test_size=test_size, random_state=0, stratify=labels.numpy()
    )
    return Split(inputs[train], labels[train]), Split(inputs[test], labels[test])


def _load_digits() -> tuple[Split, Split]:
    """1197 and 600 handwritten digits of scikit-learn; their 17 grey values 0..16 become 0, 15, ..., 240."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    inputs = torch.from_numpy(digits.images * 15).to(torch.uint8).unsqueeze(1)
    return _stratified(inputs, torch.from_numpy(digits.target).long(), 600)


def _load_szt(root: Path) -> tuple[Split, Split]:
    """All 4096 inputs of 12 bits of Shwartz-Ziv and Tishby (2017), 85 % of them for training."""
    from scipy.io import loadmat

    path = next((p for p in (root / "szt" / "var_u.mat", root / "var_u.mat") if p.is_file()), None)
    if path is None:
        raise InfoplaneError(
            f"data set 'szt' is not in {root}; take data/var_u.mat from github.com/ravidziv/IDNNs and put it "
            f"at {root / 'szt' / 'var_u.mat'}"
        )
    try:
        content = loadmat(path)
        inputs, labels = content["F"].reshape(4096, 12), content["y"].reshape(4096)
    except Exception as error:  # a damaged file fails in as many ways as the format has fields
        raise InfoplaneError(
            f"{path} does not hold F (4096, 12) and y (1, 4096): {_reason(error)}; take data/var_u.mat from "
            "github.com/ravidziv/IDNNs again"
        ) from error
    return _stratified(torch.from_numpy(inputs).float(), torch.from_numpy(labels).long(), 0.15)


def _load_torchvision(spec: DatasetSpec, root: Path) -> tuple[Split, Split]:
    train, test = _obtain(spec.name, root)
    if spec.name == "gtsrb":
        return _decode(train, spec.shape[-1]), _decode(test, spec.shape[-1])
    return _from_arrays(train), _from_arrays(test)


def _obtain(name: str, root: Path) -> tuple[Any, Any]:
    """Training and test set of torchvision: those that are there, or else downloaded."""
    _, files, folder = _TORCHVISION[name]
    try:
        return _open_torchvision(name, root)
    except Exception as error:  # missing and damaged files raise whatever the reader met first
        missing = _reason(error)
    try:
        _download(name, root)
        return _open_torchvision(name, root)
    except Exception as error:
        raise InfoplaneError(
            f"data set '{name}' is not in {root} ({missing}) and cannot be downloaded ({_reason(error)}); "
            f"put {files} into {root / folder}"
        ) from error


def _open_torchvision(name: str, root: Path, download: bool = False) -> tuple[Any, Any]:
    import torchvision.datasets

    make: Callable[..., Any] = getattr(torchvision.datasets, _TORCHVISION[name][0])
    if name == "gtsrb":
        return make(root, split="train", download=download), make(root, split="test", download=download)
    return make(root, train=True, download=download), make(root, train=False, download=download)


def _download(name: str, root: Path) -> None:
    """Fetch a data set; its files appear under root only once they are complete."""
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as folder:
        with _impatient(), _quiet():
            _open_torchvision(name, Path(folder), download=True)
        archives = shutil.ignore_patterns("*.gz", "*.zip")
        shutil.copytree(folder, root, ignore=archives, dirs_exist_ok=True)


@contextmanager
def _impatient() -> Iterator[None]:
    """Sockets that give up, so that a machine without network does not wait forever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing of torchvision's printing but the progress bar on a terminal."""
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(StringIO()))
        if not sys.stderr.isatty():
            stack.enter_context(redirect_stderr(StringIO()))
        yield


def _reason(error: Exception) -> str:
    """The first sentence of an error; torchvision's go on to recommend options of its own."""
    return str(error).strip().split("\n")[0].split(". ")[0].rstrip(" :.") or type(error).__name__


def _from_arrays(dataset: Any) -> Split:
    """MNIST holds tensors (N, H, W), CIFAR arrays (N, H, W, C)."""
    images = torch.as_tensor(dataset.data)
    images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
    return Split(images.contiguous(), torch.as_tensor(dataset.targets).long())


def _decode(dataset: Any, size: int) -> Split:
    """Decode images and resize each as a whole, in the order of the files (sorted by class)."""
    from PIL import Image

    images = np.empty((len(dataset), size, size, 3), dtype=np.uint8)
    labels = torch.empty(len(dataset), dtype=torch.int64)

    def decode(index: int) -> None:
        image, labels[index] = dataset[index]
        images[index] = image.resize((size, size), Image.Resampling.BILINEAR)

    # Threads suffice, since Pillow decodes and resizes without the interpreter lock.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(decode, range(len(dataset))))
    return Split(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), labels)


def _resize(images: Tensor, size: int, chunk: int = 2048) -> Tensor:
    """Images (N, C, H, W) uint8 as (N, C, size, size) uint8, bilinear with antialiasing."""
    if images.shape[-2:] == (size, size):
        return images
    resized = [
        torch.nn.functional.interpolate(part.float(), (size, size), mode="bilinear", antialias=True)
        .round()
        .clamp(0, 255)
        .to(torch.uint8)
        for part in images.split(chunk)
    ]
    return torch.cat(resized)


def _channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (C,) of uint8 images scaled to [0, 1]; exact, from the histograms."""
    values = torch.arange(256, dtype=torch.float64) / 255
    weights = torch.stack([torch.bincount(c.flatten(), minlength=256) for c in images.unbind(1)]).double()
    weights /= weights.sum(1, keepdim=True)
    mean = weights @ values
    variance = (weights * (values - mean[:, None]) ** 2).sum(1)
    return mean.float(), variance.sqrt().float()
