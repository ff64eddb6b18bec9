"""Reads a run file, also while it is being written."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import html
import itertools
import logging
import math
import os
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from infoplane.condensed import condense
from infoplane.errors import InfoplaneError, MissingData, RunFileError, unknown, warn_once
from infoplane.files import reason, refuse_no_file
from infoplane.runfile.checks import (
    ACTIVATIONS,
    DISTANCES,
    StoredLayer,
    StoredSnapshot,
    attribute,
    check_distances,
    check_results,
    json_attribute,
    layers_of,
    links,
    probe_shape,
    probe_size,
    stored_snapshot,
    target,
    used_slots,
)
from infoplane.runfile.heap import refuse_endless_heap
from infoplane.runfile.names import run_names
from infoplane.runfile.schema import (
    CONSTANT,
    FORMAT,
    PARAMETERS,
    SCHEMA_VERSION,
    Closing,
    Damaged,
    LayerInfo,
    Probe,
    block_extents,
    dataset,
    given_name,
    group,
    is_metric_name,
    reading,
    stored_name,
)
from infoplane.runfile.summary import run_html, run_text

if TYPE_CHECKING:
    import pandas as pd
    import torch
    import xarray

logger = logging.getLogger(__name__)

READ_BYTES = 64 * 2**20
# How long a reader waits for a writer that is half-way through a flush, and when it takes a file for one that is
# being written.
PAUSES = (0.02, 0.1, 0.3)
FRESH_SECONDS = 2.0


class Snapshot:
    """One finished snapshot of a run.

    Attributes:
        place: Path of its slot in the file.
        step: Number of optimiser steps taken.
        epoch: Number of epochs passed.
        metrics: Loss, accuracy and whatever else was recorded.
    """

    def __init__(self, run: Run, group: h5py.Group, stored: StoredSnapshot) -> None:
        self._run = run
        self._group = group
        self._about = stored
        self.place = str(group.name)
        self.step = stored.step
        self.epoch = stored.epoch
        self.metrics = dict(stored.metrics)

    def kind(self, layer: str) -> str:
        """What is stored of a layer: "activations" or "distances"."""
        return self._stored(layer).kind

    def nonfinite(self, layer: str) -> int:
        """Number of NaN or infinite activations of a layer."""
        return self._stored(layer).nonfinite

    def constant(self, layer: str) -> bool:
        """Whether all samples have the same activations."""
        return self._stored(layer).constant

    def trouble(self, layer: str) -> str:
        """Why a layer has nothing to estimate: "not finite", "constant" or "" where all is well."""
        return "not finite" if self.nonfinite(layer) else CONSTANT if self.constant(layer) else ""

    def activations(self, layer: str) -> NDArray:
        """Activations of a layer as they are stored, (n, …): float32, or float64 where they have more digits.

        Raises:
            MissingData: Only distances were kept.
            RunFileError: The data are damaged.
        """
        if self.kind(layer) != ACTIVATIONS:
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
        if self.kind(layer) == DISTANCES:
            return self._read(layer).astype(np.float64)
        from infoplane.kernels import accumulated_distances  # torch, which all else does without

        data = self._data(layer)
        # Neither the activations nor a second (n, n) array stand in memory.
        square = accumulated_distances(lambda: self._feature_chunks(data, layer), len(data))
        condensed = condense(square.numpy())
        return np.sqrt(condensed, out=condensed)

    def square(self, layer: str, device: torch.device) -> torch.Tensor:
        """Euclidean distances of all pairs of samples, (n, n) float64 on a device, where they are computed.

        Raises:
            RunFileError: The data are damaged.
        """
        import torch

        from infoplane.kernels import accumulated_distances, square_form

        data = self._data(layer)
        if self.kind(layer) == DISTANCES:
            return square_form(torch.from_numpy(self._read(layer)).to(device, torch.float64), self._run.samples)
        chunks = self._feature_chunks
        return accumulated_distances(lambda: (part.to(device) for part in chunks(data, layer)), len(data)).sqrt_()

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
        lengths = self._about.lengths
        if lengths is None:
            return None
        with reading(self._run.path):
            data = dataset(self._group, PARAMETERS)
            start, length = int(lengths[:place].sum()), int(lengths[place])
            values = self._part(data, PARAMETERS, (slice(start, start + length),))
        if not (np.isfinite(values).all() or self.nonfinite(layer)):
            # A parameter that the network holds and never uses may be anything.
            warn_once(
                logger,
                f"{self._run.path}: parameters of layer '{layer}' at step {self.step} are NaN or infinite, though "
                "its activations are not",
            )
        return values

    def _stored(self, layer: str) -> StoredLayer:
        return self._about.layers[self._run.layer(layer).name]

    def _data(self, layer: str) -> h5py.Dataset:
        self._run.layer(layer)
        with reading(self._run.path):
            return dataset(self._group, stored_name(layer))

    def _read(self, layer: str) -> NDArray:
        return self._checked(self._data(layer), layer)

    def _feature_chunks(self, data: h5py.Dataset, layer: str) -> Iterator[torch.Tensor]:
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
            part = self._checked(data, layer, (slice(None), *block))
            yield torch.from_numpy(part).reshape(len(data), -1)

    def _checked(self, data: h5py.Dataset, layer: str, part: tuple[slice, ...] = ()) -> NDArray:
        """A part of what is stored of a layer, which is as the attributes say."""
        stored, what = self._stored(layer), f"layer '{layer}' at step {self.step}"
        with reading(self._run.path):
            values = self._part(data, f"layer '{layer}'", part)
            if stored.nonfinite:
                return values
            if stored.kind == DISTANCES:
                check_distances(values, what)
            elif not np.isfinite(values).all():
                raise Damaged(f"{what} holds NaN or infinite activations, and none by its attributes")
            if stored.constant and (values != (0 if stored.kind == DISTANCES else values[:1])).any():
                raise Damaged(f"{what} is constant by its attributes, and is not")
        return values

    def _part(self, data: h5py.Dataset, what: str, part: tuple[slice, ...]) -> NDArray:
        try:
            return np.asarray(data[part])
        except (OSError, RuntimeError) as error:
            raise Damaged(f"{what} at step {self.step} is damaged (checksum or read error)") from error


class Run(Closing):
    """A run file open for reading, also while it is being written; it shows what was finished on opening.

    Attributes:
        path: Where the file is.
        samples: Number of samples of the probe.
        run_id: Identity of the run; a new recording at the same place has another.
        left_open: Whether a writer has it open, or was killed while it had.
        config: The resolved configuration.
        provenance: Versions, command, device.
        layers: The recorded layers, from input to output.
        input_distance: How the distances between the inputs of the probe were measured.
        links: δ of the swap test for each pair of neighbouring layers, (L − 1,) float64, NaN where it is unknown,
            at the "first" snapshot and when the recording ended ("last"); without what was not measured.
        snapshots: The finished snapshots in the order of their steps.
        slots: Names of the slots in the file that are in use, without one that is being written.
        is_counted: Whether the file keeps the number of its finished snapshots, as those of before do not.

    Example:
        >>> with ip.open_run("own.h5") as run:
        ...     run.metrics["loss"].min() < run.metrics["loss"].iloc[0], len(run.probe)
        (np.True_, 64)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        for pause in (*PAUSES, 0.0):
            self.left_open, before = True, _state(path)
            with contextlib.ExitStack() as stack:
                try:
                    with reading(path):
                        self._file = stack.enter_context(_opened(path))
                        self._load()
                    stack.pop_all()
                    return
                except RunFileError:
                    # A writer may be half-way through a flush at this moment, or have come since.
                    is_written = _is_fresh(path) if self.left_open else _state(path) != before
                    if not (pause and is_written):
                        raise
            time.sleep(pause)

    def _load(self) -> None:
        """Reads and checks everything but the values of arrays."""
        file = self._file
        if "format" not in file.attrs or attribute(file, "format", str) != FORMAT:
            raise RunFileError(f"{self.path} is an HDF5 file but not an infoplane run file")
        version = attribute(file, "schema_version", int)
        if version > SCHEMA_VERSION:
            raise RunFileError(
                f"{self.path} has schema version {version}, this infoplane reads up to {SCHEMA_VERSION}; "
                "upgrade infoplane to read it"
            )
        writer = group(file, "writer")
        self.left_open = attribute(writer, "open", bool)
        # Counted before the slots are looked at, which a writer may be filling.
        count = attribute(writer, "finished", int) if "finished" in writer.attrs else None
        self.is_counted = count is not None
        self.run_id: str = attribute(file, "run_id", str)
        self.config: dict[str, Any] = json_attribute(file, "config", dict)
        self.provenance: dict[str, Any] = json_attribute(file, "provenance", dict)
        if not isinstance(self.provenance.get("versions", {}), dict):
            raise Damaged("attribute 'provenance' of / holds no versions by name")
        self.layers = layers_of(file)
        self.samples = probe_size(file)
        self.input_distance = str(group(file, "probe").attrs.get("input_distance", "euclidean"))
        self.links = {
            when: links(file, f"links_{when}", len(self.layers))
            for when in ("first", "last")
            if f"links_{when}" in file.attrs
        }
        if "results" in file:
            check_results(group(file, "results"))
        slots = group(file, "snapshots")
        names, finished = self._finished(count)
        self.slots = [*names]
        snapshots = [Snapshot(self, group(slots, name), stored) for name, stored in finished.items()]
        self.snapshots = sorted(snapshots, key=lambda snapshot: snapshot.step)

    def _finished(self, count: int | None) -> tuple[list[str], dict[str, StoredSnapshot]]:
        """The slots in use and the finished snapshots in their order; only a slot being written may be broken.

        Args:
            count: How many there are at least, by the writer's account; None in files of before it kept any.
        """
        slots = group(self._file, "snapshots")
        names = used_slots(slots)
        finished: dict[str, StoredSnapshot] = {}
        broken = ""
        for name in names:
            is_marked = False
            try:
                slot = group(slots, name)
                is_marked = "complete" in slot.attrs and attribute(slot, "complete", bool)
                if is_marked:
                    finished[name] = stored_snapshot(slot, self.layers, self.samples)
            except (Damaged, OSError, RuntimeError) as error:
                broken = f"slot {name}: {reason(error)}"
                # A kill leaves the last slot in any state, and a writer fills slots while they are looked at here.
                if self.left_open and (count is not None or (name == names[-1] and not is_marked)):
                    names = names[: names.index(name)]
                    break
                raise Damaged(broken) from error
        if self.left_open and names and names[-1] not in finished:
            names.pop()
        self._refuse_absent([*finished.values()], [n for n in names if n not in finished], broken, count)
        return names, finished

    def _refuse_absent(
        self, finished: list[StoredSnapshot], unmarked: list[str], broken: str, count: int | None
    ) -> None:
        """Lets no finished snapshot be absent without a word.

        Args:
            finished: The snapshots that are finished and can be read.
            unmarked: Names of used slots without the mark, as a recording has that went on after an error.
            broken: What is wrong with the first slot that cannot be read.
            count: See `_finished`.
        """
        steps = [snapshot.step for snapshot in finished]
        if len(set(steps)) < len(steps):
            raise Damaged(f"step {next(step for step in steps if steps.count(step) > 1)} stands in it twice")
        marks = f"slots without the mark of a finished snapshot: {', '.join(unmarked)}" if unmarked else ""
        if count is not None and len(finished) < count:
            why = "; ".join(filter(None, [broken, marks])) or "the others are gone"
            raise Damaged(f"{len(finished)} of {count} finished snapshots can be read ({why})")
        if count is None and marks:
            warn_once(logger, f"{self.path}: {marks}; they are left out")

    @functools.cached_property
    def probe(self) -> Probe:
        """The probe.

        Raises:
            RunFileError: The data are damaged.
        """
        with reading(self.path):
            probe = group(self._file, "probe")
            distances, indices = (dataset(probe, name)[()] for name in ("distances", "indices"))
            check_distances(distances, "/probe")
            others = group(probe, "targets") if "targets" in probe else {}
            return Probe(
                target=target(probe),
                distances=distances,
                indices=indices,
                shape=probe_shape(probe),
                input_distance=self.input_distance,
                others={given_name(name): target(group(others, name)) for name in others},
            )

    def require_snapshots(self) -> None:
        """Refuses a run of which nothing can be said yet.

        Raises:
            InfoplaneError: No snapshot is finished.
        """
        if not self.snapshots:
            raise InfoplaneError(f"{self.path} holds no finished snapshot yet; wait for the first one")

    @property
    def metrics(self) -> pd.DataFrame:
        """One row per snapshot: snapshot, step, epoch and the recorded metrics."""
        import pandas as pd  # takes longer to load than a run

        rows = [
            {"snapshot": index, "step": snapshot.step, "epoch": snapshot.epoch} | _metrics(snapshot)
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
            numbers: dict[str, Any] = json_attribute(group(self._file, "results"), "numbers", dict)
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

    def to_xarray(self, layers: Collection[str] = ()) -> xarray.Dataset:
        """The run as a labelled data set, in memory.

        Args:
            layers: Names of the layers to take; none takes all.

        Returns:
            A variable a layer: activations over `step`, `sample` and the axes of the layer, or condensed distances
            over `step` and `pair`; `metrics` over `step` and `metric`; `input_distances` over `pair`; the
            coordinates `step`, `epoch`, `sample` (positions in the data set), `pair_i`, `pair_j`, and the target.
            Layers of these names have an underscore more.

        Raises:
            InfoplaneError: xarray is missing, there is no such layer or no snapshot, or the data are damaged.

        Example:
            >>> with ip.open_run("own.h5") as run:
            ...     run.to_xarray()["hidden"].sel(step=20).dims
            ('sample', 'hidden_axis1')
        """
        from infoplane.runfile.labelled import labelled

        return labelled(self, layers)

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

    @functools.cached_property
    def ends(self) -> tuple[bytes | None, bytes | None]:
        """Digests of the parameters of all layers at initialisation and at the last snapshot.

        None where they are not known, or not finite: trainings that diverged are alike in that alone.
        """
        at = {snapshot.step: snapshot for snapshot in self.snapshots}
        first, last = at.get(0), self.snapshots[-1] if self.snapshots else None
        return self._digest(first), self._digest(last)

    def _digest(self, snapshot: Snapshot | None) -> bytes | None:
        if snapshot is None:
            return None
        sketches = [snapshot.parameters(layer.name) for layer in self.layers]
        known = [values for values in sketches if values is not None and values.size]
        if not known or not all(np.isfinite(values).all() for values in known):
            return None
        return hashlib.sha256(b"".join(values.tobytes() for values in known)).digest()

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


def _metrics(snapshot: Snapshot) -> dict[str, float]:
    """The metrics of a snapshot, without those that older versions recorded under names of other columns."""
    known = {name: value for name, value in snapshot.metrics.items() if is_metric_name(name)}
    if other := sorted({*snapshot.metrics} - {*known}):
        warn_once(logger, f"metrics called as other columns of their tables are left out: {', '.join(other)}")
    return known


def _opened(path: Path) -> h5py.File:
    if not path.is_dir():
        refuse_no_file(path)
        refuse_endless_heap(path)
    return h5py.File(path, "r", locking=False)


def _is_fresh(path: Path) -> bool:
    """Whether a file was written a moment ago."""
    with contextlib.suppress(OSError):
        return time.time() - path.stat().st_mtime < FRESH_SECONDS
    return False


def _state(path: Path) -> tuple[int, ...]:
    """What changes when a file is written or another takes its place."""
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns
    return ()


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
        ['hidden', 'logits'] 20
    """
    return Run(Path(path))


@contextlib.contextmanager
def opened(run: Path | Run) -> Iterator[Run]:
    """Gives a run to read from: a file is opened and closed again, a run that is open stays so.

    At the end the probe is out of memory, where its distances may take more room than all else of a run.

    Args:
        run: A run file, or a run that is open.

    Raises:
        RunFileError: As for `open_run`.
    """
    if not isinstance(run, Run):
        with open_run(run) as file:
            yield file
        return
    try:
        yield run
    finally:
        vars(run).pop("probe", None)


@contextlib.contextmanager
def open_runs(runs: Sequence[Path | Run]) -> Iterator[dict[str, Run]]:
    """Opens several runs side by side, by their names as of `run_names`; those that are open stay so.

    Args:
        runs: Run files, or runs that are open.

    Raises:
        InfoplaneError: A run is given twice.
        RunFileError: As for `open_run`.
    """
    names = run_names([run.path if isinstance(run, Run) else run for run in runs])
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(opened(run)) for name, run in zip(names, runs, strict=True)}


def trial_score(path: Path) -> float:
    """By what a trial of a learning rate is chosen: its validation accuracy at the end, −1 where it diverged.

    A network whose outputs are no numbers is as right as one that always says the first class.

    Args:
        path: Its run file.

    Raises:
        RunFileError: As for `open_run`.
    """
    with open_run(path) as run:
        metrics = run.snapshots[-1].metrics if run.snapshots else {}
    losses = [value for name, value in metrics.items() if name in ("train_loss", "validation_loss")]
    value = float(metrics.get("validation_accuracy", math.nan))
    return value if all(map(math.isfinite, [value, *losses])) else -1.0
