"""Checks of what a run file holds: nothing of it is believed that does not fit the rest.

What does not fit raises `Damaged`; `infoplane.runfile.schema.reading` makes one line of it that names the file.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from infoplane.files import reason
from infoplane.runfile.axes import is_scale
from infoplane.runfile.schema import (
    PARAMETERS,
    Damaged,
    LayerInfo,
    dataset,
    group,
    slot_name,
    stored_name,
    usual_channels,
)
from infoplane.settings import is_number
from infoplane.targets import CLASSES, KINDS, REGRESSION, Target

ACTIVATIONS, DISTANCES = "activations", "distances"
WORDS = {str: "text", int: "whole number", float: "number", bool: "truth value"}
# What stands for a kind in NumPy and in files that other programs wrote.
STANDS_FOR: dict[type, tuple[type, ...]] = {
    str: (str, bytes),
    int: (int, np.integer),
    float: (float, int, np.floating, np.integer),
    bool: (bool, np.bool_),
}
# The arrays of `/results` with one entry for each sample of the test split.
TESTED = ("predictions", "labels", "boxes", "true_boxes")


@dataclass(frozen=True)
class StoredLayer:
    """The attributes of a layer at one snapshot.

    Attributes:
        kind: "activations" or "distances".
        nonfinite: Number of NaN or infinite activations.
        constant: Whether all samples have the same activations.
    """

    kind: str
    nonfinite: int
    constant: bool


@dataclass(frozen=True)
class StoredSnapshot:
    """All of a snapshot but the values of its arrays.

    Attributes:
        step: Number of optimiser steps taken.
        epoch: Number of epochs passed.
        metrics: Loss, accuracy and whatever else was recorded.
        layers: The attributes of each layer by its name.
        lengths: As of `parameter_lengths`.
    """

    step: int
    epoch: float
    metrics: Mapping[str, float]
    layers: Mapping[str, StoredLayer]
    lengths: NDArray | None


@contextlib.contextmanager
def _making_sense_of(place: h5py.Group | h5py.Dataset, name: str = "") -> Iterator[None]:
    """Names the object, or its attribute, of which h5py or Python can make nothing, in whatever way they say so."""
    try:
        yield
    except Damaged:
        raise
    except Exception as error:
        raise Damaged(f"{_place(place, name)} cannot be read ({reason(error)})") from error


def _place(place: h5py.Group | h5py.Dataset, name: str) -> str:
    return f"attribute '{name}' of {place.name}" if name else str(place.name)


def attribute(place: h5py.Group | h5py.Dataset, name: str, kind: type) -> Any:
    """An attribute of an object of the file.

    Args:
        place: The object.
        name: Name of the attribute.
        kind: str, int, float or bool.

    Returns:
        The attribute as that kind.

    Raises:
        Damaged: There is none, or it is of another kind.
    """
    with _making_sense_of(place, name):
        try:
            value = place.attrs[name]
        except KeyError:
            raise Damaged(f"{_place(place, name)} is missing") from None
        if not isinstance(value, STANDS_FOR[kind]) or (kind is not bool and isinstance(value, bool)):
            raise Damaged(f"{_place(place, name)} is no {WORDS[kind]}")
        return value.decode() if isinstance(value, bytes) else kind(value)


def json_attribute(place: h5py.Group | h5py.Dataset, name: str, kind: type, default: str | None = None) -> Any:
    """A JSON object (dict) or list that an attribute holds.

    Args:
        place: The object of the file.
        name: Name of the attribute.
        kind: dict or list.
        default: What stands for it where older files have none; None where all have it.

    Raises:
        Damaged: There is none, or it holds something else.
    """
    with _making_sense_of(place, name):
        text = default if default is not None and name not in place.attrs else attribute(place, name, str)
        value = json.loads(text, parse_int=_whole_number)
        if not isinstance(value, kind):
            raise Damaged(f"{_place(place, name)} is no JSON {'object' if kind is dict else 'list'}")
        return value


def _whole_number(digits: str) -> int:
    """A whole number of a JSON text; Python reads larger ones than other numbers can be compared with."""
    if len(digits) > 300:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def numbers_attribute(place: h5py.Group, name: str) -> dict[str, float]:
    """A JSON object of numbers that an attribute holds.

    Raises:
        Damaged: There is none, or it holds something else.
    """
    values: dict[str, float] = json_attribute(place, name, dict)
    for key, value in values.items():
        if not is_number(value):
            raise Damaged(f"'{key}' in attribute '{name}' of {place.name} is no number")
    return values


def sizes(value: Any, least: int, what: str) -> tuple[int, ...]:
    """A shape: whole numbers that are not below `least`.

    Raises:
        Damaged: It is none.
    """
    if not isinstance(value, list) or not all(type(size) is int and size >= least for size in value):
        raise Damaged(f"{what} is no list of whole numbers from {least}")
    return tuple(value)


def layers_of(file: h5py.File) -> list[LayerInfo]:
    """The layers that a file says it holds.

    Raises:
        Damaged: It says so of none, or of two of one name, or not of all their shape.
    """
    layers = []
    for entry in json_attribute(file, "layers", list):
        is_entry = isinstance(entry, list) and len(entry) in (2, 3)
        if not (is_entry and all(isinstance(text, str) for text in (entry[0], *entry[2:]))):
            raise Damaged("attribute 'layers' of / is no list of names, shapes and notes")
        name, shape, *note = entry
        layers.append(LayerInfo(name, sizes(shape, 1, f"the shape of layer '{name}'"), *note))
    if not layers or len({layer.name for layer in layers}) < len(layers) or not all(i.name for i in layers):
        raise Damaged("attribute 'layers' of / names no layers, or two by one name")
    positions = _axes(file, "positions", layers)
    channels = _axes(file, "channels", layers)
    return [
        replace(layer, positions=where, channels=usual_channels(layer.shape, where) if axis is None else axis)
        for layer, where, axis in zip(layers, positions, channels, strict=True)
    ]


def _axes(file: h5py.File, name: str, layers: Sequence[LayerInfo]) -> list[int | None]:
    """The axis of each layer that an attribute names; None where it names none, as files of older versions do."""
    if name not in file.attrs:
        return [None] * len(layers)
    axes = json_attribute(file, name, list)
    fits = [
        axis is None or (type(axis) is int and axis in range(len(layer.shape)))
        for axis, layer in zip(axes, layers, strict=False)
    ]
    if len(axes) != len(layers) or not all(fits):
        raise Damaged(f"attribute '{name}' of / names no axis of each layer")
    return axes


def links(file: h5py.File, name: str, layers: int) -> NDArray:
    """δ of the links between neighbouring layers, (layers − 1,) float64, NaN where it is unknown.

    Raises:
        Damaged: It is not one number, not negative, for each link.
    """
    with _making_sense_of(file, name):
        deltas = np.asarray(file.attrs[name])
        if deltas.dtype.kind != "f" or deltas.shape != (layers - 1,) or (deltas < 0).any():
            raise Damaged(f"attribute '{name}' of / is not one number for each of {layers - 1} links")
    return deltas.astype(np.float64)


def used_slots(slots: h5py.Group) -> list[str]:
    """Names of the slots up to the last that something was written to, in their order.

    Args:
        slots: The group of all slots.

    Raises:
        Damaged: They are not numbered from 0 on.
    """
    with _making_sense_of(slots):
        names = list(slots)
    if names != [slot_name(index) for index in range(len(names))]:
        raise Damaged(f"the slots in {slots.name} are not numbered from {slot_name(0)} on")
    while names and _is_empty(slots, names[-1]):
        names.pop()
    return names


def _is_empty(slots: h5py.Group, name: str) -> bool:
    """Whether nothing was written to a slot; one that cannot be read once was."""
    with contextlib.suppress(Damaged, OSError, RuntimeError):
        return not len(group(slots, name).attrs)
    return False


def check_array(data: h5py.Dataset, kinds: str, shape: Sequence[int | None]) -> int:
    """Looks at an array that was written in whole; nothing of it is read.

    Args:
        data: The dataset.
        kinds: Kinds of NumPy's dtypes that it may have, such as "f".
        shape: Its shape; None for an axis of any length.

    Returns:
        The length of its first axis.

    Raises:
        Damaged: It is of another kind or shape, or parts of it were never written.
    """
    with _making_sense_of(data):
        dtype, extents = data.dtype, data.shape or ()
        if dtype.kind not in kinds or dtype.itemsize > 8:
            raise Damaged(f"{data.name} holds {dtype}, no {'fractions' if kinds == 'f' else 'whole numbers'}")
        fits = zip(extents, shape, strict=False)
        if len(extents) != len(shape) or any(wanted not in (size, None) for size, wanted in fits):
            wanted = " × ".join("any" if size is None else str(size) for size in shape)
            raise Damaged(f"{data.name} has the shape {extents}, where {wanted} is due")
        # HDF5 invents values for what was never written.
        if not _is_whole(data):
            raise Damaged(f"{data.name} was not written in whole")
    return int(extents[0]) if extents else 1


def _is_whole(data: h5py.Dataset) -> bool:
    """Whether all of a dataset is in the file: each chunk, or where it has none each byte."""
    chunks = data.chunks
    if not chunks:
        return int(data.id.get_storage_size()) == data.size * data.dtype.itemsize
    due = math.prod(-(-size // chunk) for size, chunk in zip(data.shape, chunks, strict=True))
    return int(data.id.get_num_chunks()) == due


def stored_snapshot(slot: h5py.Group, layers: Sequence[LayerInfo], samples: int) -> StoredSnapshot:
    """What a slot holds, after a look at all its parts.

    Args:
        slot: The snapshot.
        layers: The layers.
        samples: Number of samples of the probe.

    Raises:
        Damaged: A part of it is missing, or not as it must be.
    """
    step = attribute(slot, "step", int)
    if step < 0:
        raise Damaged(f"attribute 'step' of {slot.name} is negative")
    return StoredSnapshot(
        step,
        attribute(slot, "epoch", float),
        numbers_attribute(slot, "metrics"),
        {layer.name: stored_layer(slot, layer, samples) for layer in layers},
        parameter_lengths(slot, len(layers)),
    )


def stored_layer(slot: h5py.Group, layer: LayerInfo, samples: int) -> StoredLayer:
    """The attributes of a layer at one snapshot, whose dataset is as they and the probe say.

    Args:
        slot: The snapshot.
        layer: The layer.
        samples: Number of samples of the probe.

    Raises:
        Damaged: It is not there, or not so.
    """
    name = stored_name(layer.name)
    data = dataset(slot, name)
    stored = StoredLayer(
        attribute(data, "kind", str), attribute(data, "nonfinite", int), attribute(data, "constant", bool)
    )
    if stored.kind not in (ACTIVATIONS, DISTANCES):
        raise Damaged(f"{data.name} is of the unknown kind '{stored.kind}'")
    if stored.nonfinite < 0:
        raise Damaged(f"attribute 'nonfinite' of {data.name} is negative")
    check_array(data, "f", (samples, *layer.shape) if stored.kind == ACTIVATIONS else (pairs(samples),))
    return stored


def parameter_lengths(slot: h5py.Group, layers: int) -> NDArray | None:
    """How many values the parameters of each layer's unit take, (layers,) int64; None where none are stored.

    Args:
        slot: The snapshot.
        layers: Number of layers.

    Raises:
        Damaged: They are not as long as they say.
    """
    if PARAMETERS not in slot:
        return None
    data = dataset(slot, PARAMETERS)
    length = check_array(data, "f", (None,))
    size = attribute(data, "sketch_size", int)
    with _making_sense_of(data, "counts"):
        counts = np.asarray(data.attrs["counts"])
        if counts.dtype.kind != "i" or counts.shape != (layers,) or size < 1 or (counts < 0).any():
            raise Damaged(f"{data.name} says of no number of parameters for each of {layers} layers")
        lengths = np.minimum(counts, size)
        if lengths.sum() != length:
            raise Damaged(f"{data.name} has {length} values, where its attributes say {lengths.sum()}")
    return np.asarray(lengths)


def probe_size(file: h5py.File) -> int:
    """The number of samples of a probe, all whose arrays are as long as it says.

    Raises:
        Damaged: They are not, or there are fewer than two samples.
    """
    probe = group(file, "probe")
    samples = check_array(dataset(probe, "indices"), "i", (None,))
    if samples < 2:
        raise Damaged(f"/probe has {samples} samples")
    check_array(dataset(probe, "distances"), "f", (pairs(samples),))
    probe_shape(probe)
    check_target(probe, samples)
    others = group(probe, "targets") if "targets" in probe else {}
    for name in others:
        check_target(group(others, name), samples)
    return samples


def probe_shape(probe: h5py.Group) -> tuple[int, ...] | None:
    """The shape of an input, None where it was not stored, as in the first files of schema 1.

    Raises:
        Damaged: It is no list of sizes.
    """
    if "shape" not in probe.attrs and int(probe.file.attrs["schema_version"]) == 1:
        return None
    return sizes(json_attribute(probe, "shape", list), 0, "attribute 'shape' of /probe")


def check_target(stored: h5py.Group, samples: int) -> None:
    """Looks at a target without reading its values.

    Raises:
        Damaged: It is of an unknown kind, or not one value for each sample.
    """
    kind = target_kind(stored)
    names = json_attribute(stored, "names", list, "[]")
    if not all(isinstance(name, str) for name in names):
        raise Damaged(f"attribute 'names' of {stored.name} is no list of names")
    if kind == REGRESSION:
        check_array(dataset(stored, "values"), "f", (samples, None))
    else:
        check_array(dataset(stored, "labels"), "i", (samples,))


def target_kind(stored: h5py.Group) -> str:
    """The kind of a target.

    Raises:
        Damaged: There is none of that name.
    """
    kind = attribute(stored, "kind", str) if "kind" in stored.attrs else CLASSES
    if kind not in KINDS:
        raise Damaged(f"{stored.name} is a target of the unknown kind '{kind}'")
    return str(kind)


def target(stored: h5py.Group) -> Target:
    """A target, with its values.

    Raises:
        Damaged: The values are not finite, or classes have no name where others do.
    """
    kind, names = target_kind(stored), tuple(json_attribute(stored, "names", list, "[]"))
    values = stored["values" if kind == REGRESSION else "labels"][()]
    if not np.isfinite(values).all():
        raise Damaged(f"{stored.name} has target values that are NaN or infinite")
    if kind != REGRESSION and names and not ((values >= 0) & (values < len(names))).all():
        raise Damaged(f"{stored.name} has classes without a name")
    return Target(kind, values, names)


def check_results(results: h5py.Group) -> None:
    """Looks at the results of a training without reading their arrays.

    Raises:
        Damaged: The numbers are none, or arrays over the test split are of different lengths.
    """
    json_attribute(results, "numbers", dict)
    lengths = set()
    for name in results:
        data = dataset(results, name)
        if is_scale(data):
            continue
        check_array(data, "fiu", [None] * data.ndim)
        lengths |= {len(data)} if name in TESTED and data.ndim else set()
        if name == "confusion" and (data.ndim != 2 or len(set(data.shape)) > 1):
            raise Damaged(f"{data.name} of shape {data.shape} is no square")
    if len(lengths) > 1:
        raise Damaged(
            f"{results.name} has arrays over test splits of {' and '.join(map(str, sorted(lengths)))} samples"
        )


def check_distances(values: NDArray, what: str) -> None:
    """Looks at distances.

    Args:
        values: Condensed distances.
        what: What they are, for the message.

    Raises:
        Damaged: Some are negative, NaN or infinite.
    """
    # NaN compares as false.
    if len(values) and not (values.min() >= 0 and values.max() < math.inf):
        raise Damaged(f"{what} holds distances that are negative, NaN or infinite")


def pairs(samples: int) -> int:
    """The number of pairs of so many samples."""
    return samples * (samples - 1) // 2
