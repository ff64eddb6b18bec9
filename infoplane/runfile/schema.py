"""What stands in a run file, and the errors of reading it; docs/run-file.md is its manual."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
from numpy.typing import NDArray

from infoplane.condensed import share_of_repeats
from infoplane.errors import RunFileError
from infoplane.files import reason
from infoplane.targets import Target

FORMAT = "infoplane run"
# Version 1 has targets of classes only, without names, and no notes on layers.
SCHEMA_VERSION = 2
# No layer can be called so: every module has a method of this name.
PARAMETERS = "parameters"
# All samples have the same activations.
CONSTANT = "constant"
# δ of a link between layers (`Run.links`) up to which it counts as that of a chain: rounding in single precision
# stays far below it.
EXACT = 1e-5


def usual_channels(shape: tuple[int, ...], positions: int | None) -> int:
    """Where channels are if nothing tells: on the first axis, or the next where the first holds positions."""
    return int(positions == 0 and len(shape) > 1)


# The columns that tables of metrics have beside them; `self` is what no call can name.
_TAKEN = frozenset({"run", "seed", "snapshot", "step", "epoch", "runs", "self"})
# How the column of a deviation over runs ends.
_DEVIATION = "_sd"


@dataclass(frozen=True)
class LayerInfo:
    """A recorded layer.

    Attributes:
        name: Module name of the layer.
        shape: Feature shape, without the sample axis.
        note: What else decides its values, such as an activation in `forward` or a mean over positions.
        positions: The axis of `shape` that holds the positions of a sequence; None where none is known to.
        channels: The axis of `shape` that holds the channels.
    """

    name: str
    shape: tuple[int, ...]
    note: str = ""
    # Files of older versions do not say these.
    positions: int | None = field(default=None, compare=False)
    channels: int = field(default=0, compare=False)

    @property
    def features(self) -> int:
        """Number of features d."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Probe:
    """The fixed samples on which every snapshot is taken.

    Attributes:
        target: What the network is asked for, Y.
        distances: Condensed distances between the inputs, (n (n−1) / 2,) float64.
        indices: Positions of the samples in their data set, (n,) int64.
        shape: Shape of one input; None where a file of the first version does not say it.
        input_distance: How the distances between the inputs were measured.
        others: Further targets by name, such as the box of an object.
    """

    target: Target
    distances: NDArray
    indices: NDArray
    shape: tuple[int, ...] | None
    input_distance: str = "euclidean"
    others: Mapping[str, Target] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of samples n."""
        return len(self.target)

    @property
    def labels(self) -> NDArray:
        """Class labels of the target, (n,) int64; an `InfoplaneError` where it is continuous."""
        return self.target.classes

    @property
    def repeats(self) -> float:
        """Share of the samples whose input repeats that of another, 1 − distinct / n."""
        return share_of_repeats(self.distances)

    @property
    def features(self) -> int:
        """Number of features d of one input, 0 where it is not known."""
        return 0 if self.shape is None else math.prod(self.shape)


def is_metric_name(name: str) -> bool:
    """Whether a metric may be called so: not as another column of its tables is, such as the deviation of a metric.

    Args:
        name: The name.
    """
    # Those of blocks, such as "test_accuracy@conv1", end in names that networks give.
    return name not in _TAKEN and ("@" in name or not name.endswith(_DEVIATION))


class Damaged(ValueError):
    """A part of a run file that is not what it must be, or does not fit the others."""


class Closing:
    """What has a `close` and calls it at the end of a `with` block."""

    def close(self) -> None:
        """Closes it."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def stored_name(name: str) -> str:
    """Name in the file of a layer or target: a slash would be a group to HDF5."""
    return name.replace("/", "%2F")


def given_name(stored: str) -> str:
    """The name that is stored so."""
    return stored.replace("%2F", "/")


def slot_name(index: int) -> str:
    """Name in the file of the slot with this number."""
    return f"{index:06d}"


def group(parent: h5py.Group, name: str) -> h5py.Group:
    """A group of the file itself.

    Raises:
        Damaged: There is none, or it is a link or no group.
    """
    return member(parent, name, h5py.Group)


def dataset(parent: h5py.Group, name: str) -> h5py.Dataset:
    """A dataset stored in the file itself; nothing of it is read.

    Raises:
        Damaged: There is none, or it is a link, points to another file, or is no dataset.
    """
    data = member(parent, name, h5py.Dataset)
    if data.is_virtual or data.external:
        raise Damaged(f"'{data.name}' points to another file, which a run file must not")
    return data


def member(parent: h5py.Group, name: str, kind: type = h5py.HLObject) -> Any:
    """What stands in a group of the file itself; not all that damaged bytes make h5py raise is a KeyError.

    Raises:
        Damaged: There is nothing, or it is a link or not of that kind.
    """
    try:
        link = parent.get(name, getlink=True)
        found = parent[name] if isinstance(link, h5py.HardLink) else None
    except Exception as error:
        raise Damaged(f"{_path(parent, name)} cannot be read ({reason(error)})") from error
    if link is None:
        raise Damaged(f"{_path(parent, name)} is missing")
    if found is None:
        raise Damaged(f"{_path(parent, name)} is a link, which a run file must not hold")
    if not isinstance(found, kind):
        raise Damaged(f"{_path(parent, name)} is no {kind.__name__.lower()}")
    return found


def _path(parent: h5py.Group, name: str) -> str:
    return f"{str(parent.name).rstrip('/')}/{name}"


def block_extents(shape: Sequence[int], most: int) -> tuple[int, ...]:
    """Extents of blocks of at most `most` values that an array is cut into: whole axes from the last one on."""
    extents: list[int] = []
    for size in reversed(shape):
        pieces = -(-size // max(most, 1))
        # Pieces of nearly the same size leave no block almost empty.
        extents.insert(0, max(1, -(-size // max(pieces, 1))))
        most //= extents[0]
    return tuple(extents)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what goes wrong while reading into one clear line."""
    try:
        yield
    except FileNotFoundError:
        if re.search(r"[*?]|\[.*\]", path.name):  # a shell hands on what matches nothing
            raise RunFileError(
                f"no file is called {path}; record some first: infoplane record --seed 0 -o seed0.h5, and so on"
            ) from None
        raise RunFileError(f"{path} does not exist; record it first: infoplane record -o {path}") from None
    except IsADirectoryError:
        raise RunFileError(f"{path} is a folder, not a run file") from None
    except PermissionError:
        raise RunFileError(f"{path} may not be read (permission denied)") from None
    except OSError as error:
        if path.is_dir():
            raise RunFileError(f"{path} is a folder, not a run file") from None
        if "signature not found" in str(error):
            raise RunFileError(f"{path} is not an HDF5 file, so not an infoplane run file") from None
        raise RunFileError(f"{path} is truncated or damaged ({reason(error)})") from error
    except Damaged as error:
        raise RunFileError(
            f"{path} is damaged or no complete run file: {error}; take a whole copy of it, or record it again"
        ) from error
    except MemoryError as error:
        raise RunFileError(f"{path} holds more than there is memory for ({reason(error)})") from error
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise RunFileError(f"{path} is damaged or no complete run file ({reason(error)})") from error
