"""The data sets of torchvision: found on disk, or downloaded."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from infoplane.data.gtsrb import find_gtsrb
from infoplane.errors import InfoplaneError
from infoplane.files import scratch

_IDX_FILES = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte"
# Name of the class in torchvision.datasets, the files it reads, and the folder under root that holds them.
TORCHVISION = {
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


def obtain(name: str, root: Path, download: bool = True) -> tuple[Any, Any]:
    """Training and test set of torchvision, of gtsrb its `Signs`: those that are there, or else downloaded."""
    _, files, folder = TORCHVISION[name]
    try:
        return _open_torchvision(name, root)
    except InfoplaneError:
        raise
    except Exception as error:  # missing and damaged files raise whatever the reader met first
        missing = reason(error)
    if not download:
        raise InfoplaneError(
            f"data set '{name}' is not in {root} ({missing}), which the run file names; give `data_root`"
        )
    try:
        _download(name, root)
        return _open_torchvision(name, root)
    except Exception as error:
        raise InfoplaneError(
            f"data set '{name}' is not in {root} ({missing}) and cannot be downloaded ({reason(error)}); "
            f"put {files} into {root / folder}"
        ) from error


def _open_torchvision(name: str, root: Path, download: bool = False) -> tuple[Any, Any]:
    import torchvision.datasets

    make: Callable[..., Any] = getattr(torchvision.datasets, TORCHVISION[name][0])
    if name == "gtsrb":
        for split in ("train", "test") if download else ():
            make(root, split=split, download=True)
        return find_gtsrb(root / "gtsrb")
    return make(root, train=True, download=download), make(root, train=False, download=download)


def _download(name: str, root: Path) -> None:
    """Fetch a data set; its files appear under root only once they are complete."""
    with scratch(root) as folder:
        with _impatient(), _quiet():
            _open_torchvision(name, folder, download=True)
        for archive in [*folder.rglob("*.gz"), *folder.rglob("*.zip")]:
            archive.unlink()
        _move_into(folder, root)


def _move_into(source: Path, target: Path) -> None:
    """Moves what is in a folder into another; folders that are not there yet appear whole."""
    for path in source.iterdir():
        place = target / path.name
        if path.is_dir() and place.is_dir():
            _move_into(path, place)
        else:
            path.replace(place)


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


def reason(error: Exception) -> str:
    """The first sentence of an error; torchvision's go on to recommend options of its own."""
    return str(error).strip().split("\n")[0].split(". ")[0].rstrip(" :.") or type(error).__name__
