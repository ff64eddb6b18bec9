"""Reads a run file, also while it is being written."""

from __future__ import annotations

import contextlib
import functools
import html
import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from infoplane.condensed import condense
from infoplane.errors import MissingData, RunFileError, unknown
from infoplane.runfile.schema import (
    FORMAT,
    PARAMETERS,
    SCHEMA_VERSION,
    Closing,
    LayerInfo,
    Probe,
    block_extents,
    dataset,
    given_name,
    group,
    reading,
    stored_name,
)
from infoplane.runfile.summary import run_html, run_text
from infoplane.targets import CLASSES, KINDS, REGRESSION, Target

if TYPE_CHECKING:
    import torch

READ_BYTES = 64 * 2**20


class Snapshot:
    """One finished snapshot of a run.

    Attributes:
        step: Number of optimiser steps taken.
        epoch: Number of epochs passed.
        metrics: Loss, accuracy and whatever else was recorded.
    """

    def __init__(self, run: Run, group: h5py.Group) -> None:
        self._run = run
        self._group = group
        self.step = int(group.attrs["step"])
        self.epoch = float(group.attrs["epoch"])
        self.metrics: dict[str, float] = json.loads(group.attrs["metrics"])

    def kind(self, layer: str) -> str:
        """What is stored of a layer: "activations" or "distances"."""
        return str(self._data(layer).attrs["kind"])

    def nonfinite(self, layer: str) -> int:
        """Number of NaN or infinite activations of a layer."""
        return int(self._data(layer).attrs["nonfinite"])

    def constant(self, layer: str) -> bool:
        """Whether all samples have the same activations."""
        return bool(self._data(layer).attrs["constant"])

    def activations(self, layer: str) -> NDArray:
        """Activations of a layer as they are stored, (n, …): float32, or float64 where that would lose too much.

        Raises:
            MissingData: Only distances were kept.
            RunFileError: The data are damaged.
        """
        if self.kind(layer) != "activations":
            raise MissingData(
                f"{self._run.path}: layer '{layer}' was recorded as distances; "
                "record it with `keep='activations'` to have its activations"
            )
        return self._read(layer)

    def distances(self, layer: str) -> NDArray:
        """Condensed Euclidean distances between the samples, (n (n−1) / 2,) float64.

        Raises:
            RunFileError: The data are damaged.
        """
        if self.kind(layer) == "distances":
            return self._read(layer).astype(np.float64)
        from infoplane.kernels import accumulated_distances  # torch, which all else does without

        data = self._data(layer)
        # Neither the activations nor a second (n, n) array stand in memory.
        square = accumulated_distances(lambda: self._feature_chunks(data, f"layer '{layer}'"), len(data))
        return condense(square.sqrt_().numpy())

    def parameters(self, layer: str) -> NDArray | None:
        """The parameters of a layer's unit, or a sketch of them; None in a run that has none recorded.

        Distances between the vectors of two snapshots are those of the parameters: exact up to their length k,
        for more parameters with a relative standard deviation of about 1 / √(2k) (`infoplane.recording.sketch`).

        Returns:
            (min(p, k),) float32 for p parameters; empty for a unit without parameters.

        Raises:
            RunFileError: The data are damaged.
        """
        place = self._run.layers.index(self._run.layer(layer))
        if PARAMETERS not in self._group:
            return None
        with reading(self._run.path):
            data = dataset(self._group, PARAMETERS)
            lengths = np.minimum(data.attrs["counts"], int(data.attrs["sketch_size"]))
        start = int(lengths[:place].sum())
        return self._checked(data, PARAMETERS)[start : start + int(lengths[place])]

    def _data(self, layer: str) -> h5py.Dataset:
        self._run.layer(layer)
        with reading(self._run.path):
            return dataset(self._group, stored_name(layer))

    def _read(self, layer: str) -> NDArray:
        return self._checked(self._data(layer), f"layer '{layer}'")

    def _feature_chunks(self, data: h5py.Dataset, what: str) -> Iterator[torch.Tensor]:
        """All samples of a dataset (n, …), a chunk of features at a time, (n, f) each."""
        import torch

        shape = data.shape[1:]
        most = block_extents(shape, READ_BYTES // (data.dtype.itemsize * len(data)))
        # Whole chunks of the file where some fit, so that none is read twice.
        extents = [
            size // chunk * chunk if chunk <= size < axis else size
            for size, chunk, axis in zip(most, (data.chunks or data.shape)[1:], shape, strict=True)
        ]
        for starts in itertools.product(*map(range, itertools.repeat(0), shape, extents)):
            block = tuple(slice(start, start + size) for start, size in zip(starts, extents, strict=True))
            part = self._checked(data, what, (slice(None), *block))
            yield torch.from_numpy(part).reshape(len(data), -1)

    def _checked(self, data: h5py.Dataset, what: str, part: tuple[slice, ...] = ()) -> NDArray:
        try:
            return data[part]
        except OSError as error:
            raise RunFileError(
                f"{self._run.path}: {what} at step {self.step} is damaged (checksum or read error)"
            ) from error


class Run(Closing):
    """A run file open for reading, also while it is being written; it shows what was finished on opening.

    Attributes:
        path: Where the file is.
        run_id: Identity of the run; a new recording at the same place has another.
        left_open: Whether a writer has it open, or was killed while it had.
        config: The resolved configuration.
        provenance: Versions, command, device.
        layers: The recorded layers, from input to output.
        links: δ of the swap test for each pair of neighbouring layers, (L − 1,) float64, NaN where it is unknown,
            at the "first" snapshot and when the recording ended ("last"); without what was not measured.
        snapshots: The finished snapshots in the order of their steps.

    Example:
        >>> with ip.open_run("own.h5") as run:
        ...     run.metrics["loss"].iloc[-1] < run.metrics["loss"].iloc[0], len(run.probe)
        (np.True_, 64)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path):
            self._file = _opened(path)
            attrs = self._file.attrs
            if attrs.get("format") != FORMAT:
                raise RunFileError(f"{path} is an HDF5 file but not an infoplane run file")
            version = int(attrs["schema_version"])
            if version > SCHEMA_VERSION:
                raise RunFileError(
                    f"{path} has schema version {version}, this infoplane reads up to {SCHEMA_VERSION}; "
                    "upgrade infoplane to read it"
                )
            self.run_id = str(attrs["run_id"])
            self.config: dict[str, Any] = json.loads(attrs["config"])
            self.provenance: dict[str, Any] = json.loads(attrs["provenance"])
            self.layers = [
                LayerInfo(name, tuple(shape), *note) for name, shape, *note in json.loads(attrs["layers"])
            ]
            self.links = {
                when: np.asarray(attrs[f"links_{when}"], np.float64)
                for when in ("first", "last")
                if np.shape(attrs.get(f"links_{when}")) == (len(self.layers) - 1,)
            }
            self.left_open = bool(group(self._file, "writer").attrs["open"])
            self.snapshots = sorted(self._finished(), key=lambda snapshot: snapshot.step)

    def _finished(self) -> Iterator[Snapshot]:
        slots = group(self._file, "snapshots")
        for name in slots:
            # A slot that a kill or a full disk left half-written may not even open.
            with contextlib.suppress(OSError, RuntimeError, KeyError):
                slot = group(slots, name)
                if slot.attrs.get("complete", False):
                    yield Snapshot(self, slot)
                elif not len(slot.attrs):
                    # Slots are used in order, so the rest of them is empty.
                    return

    @functools.cached_property
    def probe(self) -> Probe:
        """The probe.

        Raises:
            RunFileError: The data are damaged.
        """
        with reading(self.path):
            probe = group(self._file, "probe")
            distances, indices = (dataset(probe, name)[()] for name in ("distances", "indices"))
            others = group(probe, "targets") if "targets" in probe else {}
            return Probe(
                target=_target(probe, len(indices)),
                distances=distances,
                indices=indices,
                shape=tuple(json.loads(probe.attrs["shape"])),
                input_distance=str(probe.attrs.get("input_distance", "euclidean")),
                others={given_name(name): _target(group(others, name), len(indices)) for name in others},
            )

    @property
    def metrics(self) -> pd.DataFrame:
        """One row per snapshot: snapshot, step, epoch and the recorded metrics."""
        rows = [
            {"snapshot": index, "step": snapshot.step, "epoch": snapshot.epoch, **snapshot.metrics}
            for index, snapshot in enumerate(self.snapshots)
        ]
        return pd.DataFrame(rows)

    @property
    def results(self) -> dict[str, Any]:
        """What the finished training is judged by, numbers by name; empty while it is not finished.

        Raises:
            RunFileError: The data are damaged.
        """
        with reading(self.path):
            if "results" not in self._file:
                return {}
            numbers: dict[str, Any] = json.loads(group(self._file, "results").attrs["numbers"])
            return numbers

    def result(self, name: str) -> NDArray:
        """An array among the results, such as `confusion` or `predictions`; see docs/run-file.md.

        Raises:
            RunFileError: There is none of that name, or the data are damaged.
        """
        with reading(self.path):
            if "results" not in self._file or name not in group(self._file, "results"):
                raise RunFileError(f"{self.path} holds no {name}; its training is not finished, or has none")
            return np.asarray(dataset(group(self._file, "results"), name)[()])

    def parameter_distances(self, layer: str) -> NDArray | None:
        """Distances of the parameters of a layer's unit to those at the last snapshot.

        Returns:
            (snapshots,) float64, 0 at the last one; None in a run that has no parameters recorded.

        Raises:
            RunFileError: The data are damaged.
        """
        vectors = [snapshot.parameters(layer) for snapshot in self.snapshots]
        if any(vector is None for vector in vectors):
            return None
        stacked = np.asarray(vectors, dtype=np.float64)
        return np.asarray(np.linalg.norm(stacked - stacked[-1], axis=1))

    def layer(self, name: str) -> LayerInfo:
        """The recorded layer of that name.

        Raises:
            InfoplaneError: No such layer, with the nearest names.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise unknown("layer", name, [layer.name for layer in self.layers])

    def __repr__(self) -> str:
        return run_text(self) if self._file else f"{self.path}: closed"

    def _repr_html_(self) -> str:
        """The run in a notebook."""
        return run_html(self) if self._file else f"<pre>{html.escape(repr(self))}</pre>"

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _target(stored: h5py.Group, n: int) -> Target:
    """The target of n samples that a group holds; a ValueError where it is none."""
    kind, names = str(stored.attrs.get("kind", CLASSES)), tuple(json.loads(stored.attrs.get("names", "[]")))
    if kind not in KINDS:
        raise ValueError(f"'{stored.name}' is a target of unknown kind '{kind}'")
    values = dataset(stored, "values" if kind == REGRESSION else "labels")[()]
    wanted = ("f", 2) if kind == REGRESSION else ("i", 1)
    if (values.dtype.kind, values.ndim) != wanted or len(values) != n or not np.isfinite(values).all():
        raise ValueError(f"the target in '{stored.name}' is not one value for each of {n} samples")
    if names and not ((values >= 0) & (values < len(names))).all():
        raise ValueError(f"the target in '{stored.name}' has classes without a name")
    return Target(kind, values, names)


def _opened(path: Path) -> h5py.File:
    for pause in (0.02, 0.1, 0.3):
        try:
            return h5py.File(path, "r", locking=False)
        except OSError as error:
            # While a writer flushes, the file may be shorter than it says, for a moment.
            if "truncated file" not in str(error):
                raise
            time.sleep(pause)
    return h5py.File(path, "r", locking=False)


def open_run(path: str | os.PathLike[str]) -> Run:
    """Opens a run file for reading.

    Args:
        path: The run file; it may still be being written.

    Returns:
        The run; close it, or use it as a context manager. Python shows what `infoplane info` prints of it.

    Raises:
        RunFileError: The file is missing, truncated, foreign, or of a newer schema.

    Example:
        >>> with ip.open_run("own.h5") as run:
        ...     print([layer.name for layer in run.layers], run.snapshots[-1].step)
        ['hidden', 'logits'] 19
    """
    return Run(Path(path))
