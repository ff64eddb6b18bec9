"""Writes a run file.

Nothing that a finished snapshot needs is written again once it is finished: the groups of the snapshots
("slots") are made when the file is created, and a snapshot writes into its own slot only, data first, the mark
`complete` last, each followed by a flush. So a kill costs at most the snapshot that was being written; a run that
goes on after one is first copied, without the half-written part, into a new file.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import h5py
import numpy as np
from numpy.typing import NDArray

from infoplane.errors import InfoplaneError, RunFileError, WriteFailed
from infoplane.files import FREE_SPACE, drafts, hold, make_folder, reason, remedy, unwritten
from infoplane.runfile.axes import PAIR, RESULT_AXES, SAMPLE, name_axes, renew_axes, stored_axes
from infoplane.runfile.chunks import chunk_shape, write_array
from infoplane.runfile.names import GO_ON, another_id, refuse_existing
from infoplane.runfile.reader import Run, open_run
from infoplane.runfile.schema import (
    FORMAT,
    PARAMETERS,
    SCHEMA_VERSION,
    Closing,
    Damaged,
    LayerInfo,
    Probe,
    slot_name,
    stored_name,
)
from infoplane.targets import Target

SLOTS = 256
# Bytes that must be free beside those of the values, for what HDF5 writes around them.
MARGIN = 2**20
AHEAD = 2**24


class RunWriter(Closing):
    """Writes one run file; at most one writer at a time.

    Use `RunWriter.create` or `RunWriter.resume`; close it, or use it as a context manager.
    """

    def __init__(self, path: Path, lock: filelock.BaseFileLock) -> None:
        self.path = path
        self._lock = lock
        self._failed = self._closed = False
        with Run(path) as run:
            self.run_id = run.run_id
            self.layers = run.layers
            self.steps = [snapshot.step for snapshot in run.snapshots]
            goes_on_in_place = not run.left_open and run.is_counted
        if not goes_on_in_place:
            # What a killed writer left half-written may point to places that HDF5 takes for free.
            _rewrite(path, len(self.steps) + SLOTS)
        self._open()

    def _open(self) -> None:
        # Without HDF5's own lock, readers may look at the run while it is being written.
        self._file = h5py.File(self.path, "r+", locking=False)
        self._granted = 0
        self._mark_open(True)
        self._next = _first_free_slot(self._file["snapshots"])

    def _reopen(self, slots: int, **changes: Any) -> None:
        """Goes on in a copy with so many slots; see `_rewrite` for what may change."""
        self._file.close()
        self._failed = True
        _rewrite(self.path, slots, **changes)
        # Before the count of what is finished is written again.
        self.run_id, until = changes.get("run_id", self.run_id), changes.get("until", math.inf)
        self.steps = [step for step in self.steps if step <= until]
        self._open()
        self._failed = False

    def _mark_open(self, value: bool) -> None:
        self._file["writer"].attrs.modify("open", value)
        self._count_finished()

    def _count_finished(self) -> None:
        """Keeps the number of finished snapshots beside them, so that none can get lost without a word."""
        self._file["writer"].attrs.modify("finished", len(self.steps))
        self._file.flush()

    @classmethod
    def create(
        cls,
        path: Path,
        layers: Sequence[LayerInfo],
        probe: Probe,
        *,
        config: Mapping[str, Any],
        provenance: Mapping[str, Any],
        snapshots: int = SLOTS,
        force: bool = False,
    ) -> RunWriter:
        """Makes a run file without snapshots and opens it for writing.

        Args:
            path: Where the file goes; folders are made.
            layers: The recorded layers, from input to output.
            probe: The probe.
            config: The resolved configuration of the run (JSON values).
            provenance: See `infoplane.provenance`.
            snapshots: Number of snapshots to make room for; more may be written.
            force: Overwrite an existing file.

        Raises:
            RunFileError: The file exists, is being written, or cannot be written.
        """
        lock = _lock(path)
        try:
            refuse_existing(path, force)
            with _writing(path):
                # Made in memory: HDF5 does not survive a disk that is full.
                with h5py.File(path.name, "w", driver="core", backing_store=False) as file:
                    _write_header(file, layers, probe, config, provenance)
                    _add_slots(file, max(2 * snapshots, SLOTS))
                    file.flush()
                    image = file.id.get_file_image()
                with drafts(path) as [draft]:
                    draft.write_bytes(image)
            return cls(path, lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    @contextlib.contextmanager
    def whole(cls, path: Path, layers: Sequence[LayerInfo], probe: Probe, **settings: Any) -> Iterator[RunWriter]:
        """A run file that appears, or takes the place of another, when the block ends without an error.

        Args:
            path: Where the file goes.
            layers: The recorded layers, from input to output.
            probe: The probe.
            settings: Further arguments of `create`.

        Raises:
            RunFileError: It is being made by another process, or cannot be written.
        """
        lock = _lock(path)
        try:
            with (
                _writing(path),
                drafts(path) as [draft],
                cls.create(draft, layers, probe, **settings) as writer,
            ):
                yield writer
        finally:
            lock.release()

    @classmethod
    def resume(cls, path: Path) -> RunWriter:
        """Opens an existing run file to add snapshots.

        Raises:
            RunFileError: The file cannot be read as a run, or is being written.
        """
        open_run(path).close()
        lock = _lock(path)
        try:
            with _writing(path):
                return cls(path, lock)
        except BaseException:
            lock.release()
            raise

    @contextlib.contextmanager
    def snapshot(self, step: int, epoch: float, metrics: Mapping[str, float]) -> Iterator[SnapshotWriter]:
        """One snapshot; it counts as recorded when the block ends without an error.

        Args:
            step: Number of optimiser steps taken; 0 is initialisation.
            epoch: Number of epochs passed, may be fractional.
            metrics: Loss, accuracy and whatever else was measured at this step.

        Raises:
            RunFileError: The step is recorded already, or the disk is full.
        """
        if step in self.steps:
            raise RunFileError(f"{self.path}: step {step} is recorded already")
        with self._guarded():
            if self._next == len(self._file["snapshots"]):
                self._reopen(2 * self._next)
            slot = self._file["snapshots"][slot_name(self._next)]
            slot.attrs["step"] = step
            slot.attrs["epoch"] = epoch
            slot.attrs["metrics"] = json.dumps({name: float(value) for name, value in metrics.items()})
        self._next += 1
        yield SnapshotWriter(self, slot)
        with self._guarded():
            self._file.flush()
            slot.attrs["complete"] = True
            self._file.flush()
            self.steps.append(step)
            self._count_finished()

    def set_config(self, config: Mapping[str, Any]) -> None:
        """Replaces the configuration (a resumed run may have more epochs), all at once."""
        text = json.dumps(config)
        if text != self._file.attrs["config"]:
            with self._guarded(copied=self.path.stat().st_size):
                self._reopen(len(self.steps) + SLOTS, config=text)

    def drop_after(self, step: int) -> None:
        """Drops the snapshots of later steps and what belongs to the end, all at once; it is another run then.

        Raises:
            RunFileError: The disk is full; the file is as it was.
        """
        goes_back = any(recorded > step for recorded in self.steps)
        with self._guarded(copied=self.path.stat().st_size if goes_back else 0):
            if goes_back:
                # What was estimated of the snapshots that are dropped holds for none that take their steps.
                self._reopen(len(self.steps) + SLOTS, until=step, run_id=another_id(self.run_id))

    def set_links(self, when: str, deltas: NDArray) -> None:
        """Stores δ of the links between neighbouring layers, in the place of what was measured before.

        Args:
            when: "first", at the first snapshot, or "last", when the recording ended.
            deltas: (L − 1,) float64, NaN where it is unknown.

        Raises:
            RunFileError: The disk is full.
        """
        with self._guarded():
            self._file.attrs[f"links_{when}"] = np.asarray(deltas, np.float64)
            self._file.flush()

    def set_results(self, numbers: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> None:
        """Stores what the finished training is judged by, in the place of earlier results, all at once.

        Args:
            numbers: JSON values by name.
            arrays: Arrays by name.

        Raises:
            RunFileError: The disk is full.
        """
        # All that is finished is copied.
        copied = self.path.stat().st_size + sum(array.nbytes for array in arrays.values())
        with self._guarded(copied=copied):
            self._reopen(len(self.steps) + SLOTS, results=(json.dumps(numbers), arrays))

    def close(self) -> None:
        """Closes the file and lets others write."""
        if self._closed:
            return
        self._closed = True
        # After a failed write HDF5 cannot flush; what was finished is on disk already.
        with contextlib.suppress(OSError, RuntimeError):
            if not self._failed:
                self._mark_open(False)
            self._file.close()
        self._lock.release()

    @contextlib.contextmanager
    def _guarded(self, needed: int = 0, copied: int = 0) -> Iterator[None]:
        """Turns a write that fails into a clear error, before HDF5 meets it where that can be foreseen.

        Args:
            needed: Bytes by which the file will grow.
            copied: Bytes of a copy that is made of it.
        """
        needed += MARGIN
        if self._failed:
            raise RunFileError(f"{self.path}: an earlier write failed; open the run again to go on")
        if not self._file:
            raise RunFileError(f"{self.path} is closed; open the run again to go on")
        free = shutil.disk_usage(self.path.parent).free
        if free < needed + copied:
            wanted, left = _tenths(math.ceil, needed + copied), _tenths(math.floor, free)
            raise RunFileError(*self._refusal(f"disk full, {wanted} MiB are needed, {left} are free", FREE_SPACE))
        try:
            self._ask_for(needed)
        except OSError as error:
            raise RunFileError(*self._refusal(reason(error), remedy(error))) from error
        try:
            yield
        except (OSError, RuntimeError) as error:
            self._failed = True
            raise WriteFailed(*self._refusal(reason(error), remedy(error))) from error

    def _ask_for(self, size: int) -> None:
        """Asks the system for so many bytes more, and for more ahead where it gives them: asking takes its time.

        Raises:
            OSError: It refuses.
        """
        handle = self._file.id.get_vfd_handle()
        end = os.fstat(handle).st_size
        if end + size <= self._granted:
            return
        try:
            _try_to_grow(handle, end, size + AHEAD)
            self._granted = end + size + AHEAD
        except OSError:
            _try_to_grow(handle, end, size)

    def _refusal(self, why: str, step: str) -> tuple[str, ...]:
        """What is wrong, and what to do, where nothing can be written any more."""
        fault, count = f"cannot write {self.path}: {why}", len(self.steps)
        if not count:
            return fault, step, "try again"
        return f"{fault}; its {count} snapshot{' is' if count == 1 else 's are'} safe", step, GO_ON


class SnapshotWriter:
    """Writes the layers of one snapshot, one after another."""

    def __init__(self, writer: RunWriter, slot: h5py.Group) -> None:
        self._writer = writer
        self._slot = slot

    def layer(self, name: str, kind: str, values: NDArray, *, nonfinite: int, constant: bool) -> None:
        """Writes one layer.

        Args:
            name: Name of the layer.
            kind: "activations", (n, …), or "distances", condensed Euclidean, (n (n−1) / 2,).
            values: The values; stored as float32, but float64 as they are.
            nonfinite: Number of NaN or infinite activations.
            constant: Whether all samples have the same activations.

        Raises:
            RunFileError: The disk is full.
        """
        self._put(stored_name(name), values, kind=kind, nonfinite=nonfinite, constant=constant)

    def parameters(self, sketches: Sequence[NDArray], counts: Sequence[int], sketch_size: int) -> None:
        """Writes the parameters of all layers' units, as `infoplane.recording.sketch` makes them.

        Args:
            sketches: For each layer (min(p, k),); stored as float32.
            counts: For each layer the number p of parameters.
            sketch_size: Length k of a sketch.

        Raises:
            RunFileError: The disk is full.
        """
        values = np.concatenate([*sketches, np.empty(0, np.float32)], dtype=np.float32)
        if len(values):
            about = {"counts": np.asarray(counts, np.int64), "sketch_size": sketch_size}
            self._put(PARAMETERS, values, kind=PARAMETERS, **about)

    def _put(self, name: str, values: NDArray, **about: Any) -> None:
        values = values.astype(np.float64 if values.dtype == np.float64 else np.float32, copy=False)
        with self._writer._guarded(values.nbytes):
            # An axis may not be called as a layer is that is written later.
            taken = [stored_name(layer.name) for layer in self._writer.layers]
            _store(self._slot, name, values, stored_axes(name, about["kind"], values.ndim, taken)).attrs.update(
                about
            )


def _try_to_grow(handle: int, end: int, size: int) -> None:
    """Lets the system refuse so many bytes more before HDF5 asks for them, whose files may not open after that.

    Raises:
        OSError: The file may not grow: a quota, a limit on the size of a file, a full disk.
    """
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, end, size)
        else:
            os.truncate(handle, end + size)
    except OSError as error:
        # Some file systems cannot say.
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    finally:
        os.truncate(handle, end)


def _write_header(
    file: h5py.File,
    layers: Sequence[LayerInfo],
    probe: Probe,
    config: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> None:
    file.attrs["format"] = FORMAT
    file.attrs["schema_version"] = SCHEMA_VERSION
    file.attrs["run_id"] = uuid.uuid4().hex
    file.attrs["config"] = json.dumps(config)
    file.attrs["provenance"] = json.dumps(provenance)
    file.attrs["layers"] = json.dumps([[layer.name, list(layer.shape), layer.note] for layer in layers])
    file.attrs["positions"] = json.dumps([layer.positions for layer in layers])
    file.attrs["channels"] = json.dumps([layer.channels if layer.shape else None for layer in layers])
    group = file.create_group("probe")
    group.attrs["shape"] = json.dumps(list(probe.shape or ()))
    group.attrs["input_distance"] = probe.input_distance
    _store(group, "distances", probe.distances, [PAIR])
    _store(group, "indices", probe.indices, [SAMPLE])
    _write_target(group, probe.target)
    for name, target in probe.others.items():
        _write_target(group.create_group(f"targets/{stored_name(name)}"), target)


def _write_target(group: h5py.Group, target: Target) -> None:
    group.attrs["kind"] = target.kind
    group.attrs["names"] = json.dumps(target.names)
    _store(group, "labels" if target.discrete else "values", target.values, [SAMPLE, "value"][: target.values.ndim])


def _add_slots(file: h5py.File, count: int) -> None:
    file.create_group("writer").attrs.update(open=False, finished=0)
    slots = file.create_group("snapshots")
    for index in range(count):
        slots.create_group(slot_name(index))


def _first_free_slot(slots: h5py.Group) -> int:
    """The first slot that nothing was written to; slots are used in order."""
    return next((index for index in range(len(slots)) if not len(slots[slot_name(index)].attrs)), len(slots))


def _rewrite(
    path: Path,
    slots: int,
    config: str | None = None,
    results: tuple[str, Mapping[str, NDArray]] | None = None,
    until: int | None = None,
    run_id: str | None = None,
) -> None:
    """Copies what is finished into a new file with so many slots, which takes the place of the old one at once.

    Args:
        path: The run file.
        slots: Number of slots.
        config: Another configuration, as JSON.
        results: Other results: numbers as JSON, and arrays.
        until: The step of the last snapshot to copy; None copies all.
        run_id: Another identity.
    """
    try:
        with drafts(path) as [draft], Run(path) as run, h5py.File(draft, "w", locking=False) as new:
            _copy_finished(run, new, slots, until)
            if run_id is not None:
                new.attrs["run_id"] = run_id
            if config is not None:
                new.attrs["config"] = config
                # They belong to the training that was configured otherwise.
                new.pop("results", None)
            if results is not None:
                _write_results(new, *results)
    except Damaged as error:
        raise RunFileError(f"{path} is damaged: {error}; it is as it was; take a whole copy of it") from error
    except (OSError, RuntimeError) as error:
        raise WriteFailed(f"cannot copy {path}: {reason(error)}; it is as it was", remedy(error), GO_ON) from error


def _write_results(file: h5py.File, numbers: str, arrays: Mapping[str, NDArray]) -> None:
    if "results" in file:
        del file["results"]
    group = file.create_group("results")
    group.attrs["numbers"] = numbers
    for name, values in arrays.items():
        _store(group, name, values, RESULT_AXES.get(name) or [f"{name}_axis{axis}" for axis in range(values.ndim)])


def _copy_finished(run: Run, new: h5py.File, slots: int, until: int | None) -> None:
    for name, value in run._file.attrs.items():
        new.attrs[name] = value
    for name in ("probe", "results"):
        if name in run._file:
            run._file.copy(name, new)
            renew_axes(new[name])
    _add_slots(new, 0)
    dropped = {one.place for one in run.snapshots if until is not None and one.step > until}
    if dropped:
        # They belong to the end of what is dropped.
        new.pop("results", None)
        new.attrs.pop("links_last", None)
    new["writer"].attrs["finished"] = len(run.snapshots) - len(dropped)
    # As they are, with what an error left in some of them: whoever counts them again finds what was there.
    places = [place for place in (run._file["snapshots"][name].name for name in run.slots) if place not in dropped]
    finished = {one.place for one in run.snapshots}
    for index, place in enumerate(places):
        run._file.copy(place, new["snapshots"], name=slot_name(index))
        if place in finished:
            renew_axes(new["snapshots"][slot_name(index)])
    for index in range(len(places), max(slots, len(places) + 1)):
        new["snapshots"].create_group(slot_name(index))


def _store(parent: h5py.Group, name: str, values: NDArray, axes: Sequence[str]) -> h5py.Dataset:
    data = write_array(parent, name, values, chunk_shape(values.shape, values.itemsize))
    name_axes(data, axes)
    return data


def _tenths(rounding: Callable[[float], int], count: int) -> str:
    """Bytes in MiB, rounded so that what is too little also looks so."""
    return f"{rounding(count / 2**20 * 10) / 10:.1f}"


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunFileError(*unwritten(path, error).args) from error


def _lock(path: Path) -> filelock.BaseFileLock:
    with _writing(path):
        try:
            make_folder(path.parent)
            return hold(path, wait=0)
        except InfoplaneError as error:
            raise RunFileError(*error.args) from None
