"""Data sets by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infoplane.data.class_names import CLASS_NAMES
from infoplane.data.dataset import SOME, Dataset, DatasetSpec, Split, channel_statistics
from infoplane.data.download import obtain, reason
from infoplane.data.gtsrb import REGIONS, load_gtsrb
from infoplane.data.own import load_own
from infoplane.errors import InfoplaneError, unknown
from infoplane.user_code import names_code

DATASETS = {
    spec.name: spec
    for spec in (
        DatasetSpec("digits", (1, 8, 8), 10),
        DatasetSpec("szt", (12,), 2),
        DatasetSpec("mnist", (1, 28, 28), 10),
        DatasetSpec("fashion-mnist", (1, 28, 28), 10, CLASS_NAMES["fashion-mnist"]),
        DatasetSpec("cifar10", (3, 32, 32), 10, CLASS_NAMES["cifar10"]),
        DatasetSpec("cifar100", (3, 32, 32), 100, CLASS_NAMES["cifar100"]),
        DatasetSpec("gtsrb", (3, 32, 32), 43, CLASS_NAMES["gtsrb"]),
    )
}


def dataset_spec(name: str, image_size: int | None = None) -> DatasetSpec:
    """Shape and classes of a data set; needs no data.

    Args:
        name: A key of `DATASETS`.
        image_size: Height and width of the images; None for their own.

    Raises:
        InfoplaneError: The name is unknown, or the size is impossible.
    """
    if name not in DATASETS:
        raise unknown("data set", name, [*DATASETS, "package.module:function"])
    return _resized(DATASETS[name], image_size)


def _resized(spec: DatasetSpec, image_size: int | None) -> DatasetSpec:
    """The description of a data set whose images are resized."""
    if image_size is None:
        return spec
    if len(spec.shape) != 3:
        raise InfoplaneError(f"data set '{spec.name}' holds no images; leave out `image_size`")
    if image_size < 1:
        raise InfoplaneError(f"an image size of {image_size} is impossible; choose `image_size=1` or more")
    return replace(spec, shape=(spec.shape[0], image_size, image_size))


def load_dataset(
    name: str, root: Path, image_size: int | None = None, region: str = "whole", *, download: bool = True
) -> Dataset:
    """Read a data set into memory; what torchvision offers is downloaded if it is not there.

    Args:
        name: A key of `DATASETS`, or `package.module:function` for the user's own, which runs that code.
        root: Folder that holds the data sets, each as torchvision lays it out.
        image_size: Height and width to which images are resized; None for their own.
        region: "whole", or "sign" to crop each image of gtsrb to its sign before it is resized.
        download: Download what is not there.

    Raises:
        InfoplaneError: The name or the region is unknown, or the data are damaged, or neither there nor to be had;
            the message says which files to put where.
    """
    if region not in REGIONS:
        raise unknown("region", region, REGIONS)
    if region == "sign" and name != "gtsrb":
        raise InfoplaneError(f"data set '{name}' has no signs to crop to; choose gtsrb, or the region 'whole'")
    if names_code(name):
        return _with_size(load_own(name), image_size)
    spec = dataset_spec(name, image_size)
    if name == "szt":
        # Bits 0 and 1 become -1 and 1.
        return Dataset(spec, *_load_szt(root), mean=torch.tensor([0.5]), std=torch.tensor([0.5]))
    splits = _load_digits() if name == "digits" else _load_torchvision(spec, root, region, download)
    for split in splits:
        _refuse_other_classes(split, spec, root)
    return _of_images(spec, *splits)


def _of_images(spec: DatasetSpec, *splits: Split) -> Dataset:
    """Images of the size that they should have, and their statistics."""
    train, test = (replace(split, inputs=_resize(split.inputs, spec.shape[-1])) for split in splits)
    return Dataset(spec, train, test, *channel_statistics(train.inputs))


def _with_size(dataset: Dataset, image_size: int | None) -> Dataset:
    """The user's own data set, its images resized."""
    if image_size is None:
        return dataset
    spec = _resized(dataset.spec, image_size)
    if dataset.train.inputs.dtype != torch.uint8:
        raise InfoplaneError(f"data set '{spec.name}' holds no uint8 images; leave out `image_size`")
    return _of_images(spec, dataset.train, dataset.test)


def _stratified(inputs: Tensor, labels: Tensor, test_size: int | float) -> tuple[Split, Split]:
    """Splits data alike in every run, whatever its seed."""
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
            f"{path} does not hold F (4096, 12) and y (1, 4096): {reason(error)}; take data/var_u.mat from "
            "github.com/ravidziv/IDNNs again"
        ) from error
    return _stratified(torch.from_numpy(inputs).float(), torch.from_numpy(labels).long(), 0.15)


def _refuse_other_classes(split: Split, spec: DatasetSpec, root: Path) -> None:
    least, most = int(split.labels.min()), int(split.labels.max())
    if least < 0 or most >= spec.classes:
        raise InfoplaneError(
            f"data set '{spec.name}' in {root} has a sample of class {least if least < 0 else most}, but its "
            f"classes are 0 to {spec.classes - 1}; take its files anew"
        )


def _load_torchvision(spec: DatasetSpec, root: Path, region: str, download: bool) -> tuple[Split, Split]:
    train, test = obtain(spec.name, root, download)
    if spec.name == "gtsrb":
        size = spec.shape[-1]
        return load_gtsrb(train, size, region), load_gtsrb(test, size, region)
    return _from_arrays(train), _from_arrays(test)


def _from_arrays(dataset: Any) -> Split:
    """MNIST holds tensors (N, H, W), CIFAR arrays (N, H, W, C)."""
    images = torch.as_tensor(dataset.data)
    images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
    return Split(images.contiguous(), torch.as_tensor(dataset.targets).long())


def _resize(images: Tensor, size: int) -> Tensor:
    """Images (N, C, H, W) uint8 as (N, C, size, size) uint8, bilinear with antialiasing."""
    if images.shape[-2:] == (size, size):
        return images
    resized = images.new_empty(*images.shape[:2], size, size)
    for part, place in zip(images.split(SOME), resized.split(SOME), strict=True):
        values = torch.nn.functional.interpolate(part.float(), (size, size), mode="bilinear", antialias=True)
        place.copy_(values.round_().clamp_(0, 255))
    return resized
