"""Names of the axes of arrays in a run file, as HDF5's dimension scales, so that xarray and netCDF know them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import h5py
import numpy as np

from infoplane.runfile.schema import Damaged, member

SAMPLE, PAIR = "sample", "pair"
# Of the arrays over the test split; others among the results have names of their own.
RESULT_AXES = {
    **{name: ["test_sample"] for name in ("predictions", "labels")},
    **{name: ["test_sample", "corner"] for name in ("boxes", "true_boxes")},
    "confusion": ["true_class", "predicted_class"],
}
_FIRST = {"activations": SAMPLE, "distances": PAIR, "parameters": "parameter"}
_LABELS, _SCALES = "DIMENSION_LABELS", "DIMENSION_LIST"
# How netCDF marks an axis that has a length and no values.
_NO_VALUES = "This is a netCDF dimension but not a netCDF variable. {:9d}"


def stored_axes(name: str, kind: str, axes: int, taken: Iterable[str] = ()) -> list[str]:
    """The names of the axes of what a snapshot stores.

    Args:
        name: The name under which it is stored.
        kind: "activations", (n, …), "distances", (n (n−1) / 2,), or "parameters", (p,).
        axes: Number of its axes.
        taken: Names under which other arrays are stored, which no axis may have.
    """
    return free([_FIRST[kind], *(f"{name}_axis{axis}" for axis in range(1, axes))], taken)


def free(names: Sequence[str], taken: Iterable[str]) -> list[str]:
    """Names with an underscore behind those that something else has."""
    others = set(taken)
    found = []
    for name in names:
        while name in others:
            name += "_"
        found.append(name)
    return found


def name_axes(data: h5py.Dataset, names: Sequence[str]) -> None:
    """Names the axes of an array, and gives each a dimension scale in the group of the array.

    The scales stand in the same group: a snapshot writes into its own slot only, see `infoplane.runfile.writer`.

    Args:
        data: The array.
        names: A name for each axis.
    """
    for dimension, name, size in zip(data.dims, names, data.shape, strict=True):
        dimension.label = name
        dimension.attach_scale(_scale(data.parent, name, size))


def is_scale(data: h5py.Dataset) -> bool:
    """Whether something is the scale of an axis, and no array of its own."""
    return bool(data.is_scale)


def renew_axes(group: h5py.Group) -> None:
    """Makes the scales in a group and below it anew: those of a copy point into the file that it was made of.

    Args:
        group: The group.

    Raises:
        Damaged: What names the axes of an array is something else or gone, or an array is a link.
    """
    members = [member(group, name) for name in group]
    arrays = [one for one in members if isinstance(one, h5py.Dataset)]
    for array in arrays:
        if is_scale(array):
            del group[array.name]
    others = list(group)
    for array in arrays:
        if array and (_LABELS in array.attrs or _SCALES in array.attrs):
            names = _labels(array)
            for attribute in (_LABELS, _SCALES):
                array.attrs.pop(attribute, None)
            name_axes(array, free(names, others))
    for below in members:
        if isinstance(below, h5py.Group):
            renew_axes(below)


def _labels(array: h5py.Dataset) -> list[str]:
    """The names of the axes as they are stored; HDF5 crashes where it reads them and they are something else."""
    names = np.asarray(array.attrs.get(_LABELS, "missing")).tolist()
    are_names = isinstance(names, list) and all(
        isinstance(name, str) and name and "/" not in name for name in names
    )
    if not are_names or len(names) != array.ndim:
        raise Damaged(f"the names of the axes of {array.name} are {names!r:.60}")
    return list(names)


def _scale(group: h5py.Group, name: str, size: int) -> h5py.Dataset:
    """The scale of an axis, which takes no room as it has no values."""
    if name not in group:
        group.create_dataset(name, shape=(size,), dtype=">f4").make_scale(_NO_VALUES.format(size))
    return group[name]
