"""CIFAR-100 at 16×16: each image the box average of 2×2 pixels.

`infoplane compare --config cifar100.toml` in this folder calls `load`. It reads `cifar100_16.npz` in the current
folder (train_images (50000, 16, 16, 3) uint8, train_labels, test_images, test_labels); where that is missing, it
averages the CIFAR-100 of torchvision under `data/`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torchvision.datasets import CIFAR100

FILE = Path("cifar100_16.npz")
Split = tuple[NDArray[np.uint8], NDArray[np.int64]]


def load() -> tuple[Split, Split]:
    """Training and test split: images (N, 3, 16, 16) uint8 and labels (N,)."""
    if not FILE.exists():
        return _averaged(train=True), _averaged(train=False)
    with np.load(FILE) as arrays:
        train, test = ((_channels_first(arrays[f"{s}_images"]), arrays[f"{s}_labels"]) for s in ("train", "test"))
    return train, test


def _averaged(*, train: bool) -> Split:
    published = CIFAR100("data", train=train, download=True)
    small = published.data.reshape(-1, 16, 2, 16, 2, 3).mean((2, 4))
    return _channels_first(np.rint(small).astype(np.uint8)), np.asarray(published.targets)


def _channels_first(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
