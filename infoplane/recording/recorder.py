"""Records the layers of any network on a fixed probe, without any effect on its training."""

from __future__ import annotations

import functools
import json
import logging
import math
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from infoplane.condensed import condense
from infoplane.errors import InfoplaneError, RunFileError, one_line
from infoplane.kernels import squared_distances
from infoplane.provenance import provenance
from infoplane.recording.input_distance import input_distances
from infoplane.recording.isolation import device_and_dtype
from infoplane.recording.layers import Layer, left_out, parameter_names, selected_of
from infoplane.recording.passes import Passes, reductions
from infoplane.recording.samples import Inputs, Samples, as_samples
from infoplane.recording.schedule import endless
from infoplane.recording.sketch import SKETCH_SIZE, sketch
from infoplane.recording.swap_test import swap_test
from infoplane.recording.synchronous import SynchronousPath
from infoplane.recording.trace import trace
from infoplane.runfile import (
    Closing,
    LayerInfo,
    Probe,
    RunWriter,
    Snapshot,
    SnapshotWriter,
    is_metric_name,
    open_run,
)
from infoplane.targets import REGRESSION, Target, as_target

logger = logging.getLogger(__name__)

_KEEP = ("auto", "activations", "distances")
BUFFER_BYTES = 256 * 2**20


class Recorder(Closing):
    """Records a network's layers on a probe set into a run file; a context manager.

    Forward hooks stand on the network only while a snapshot is taken: in between, training runs as if there were
    no recorder. A snapshot runs the network in eval mode without gradients, on copies of the probe, and puts back
    what `infoplane.recording.isolation` names, so recorded and unrecorded training end with the same weights.

    Attributes:
        model: The network, without its wrappers.
        layers: The layers that are recorded, from input to output.
        steps_taken: Number of optimiser steps so far, as `step` counts them; a recording that goes on starts at its
            last snapshot. Where the training goes on from an earlier step, `rewind` to it.

    Example:
        `step` stands before the optimiser's own, so that the metrics are those of the recorded weights:

        >>> model = nn.Sequential(OrderedDict(hidden=nn.Linear(20, 8), act=nn.Tanh(), logits=nn.Linear(8, 2)))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with ip.Recorder(model, (x, y), "loop.h5", snapshots=40) as recorder:
        ...     for _ in range(10):
        ...         loss = nn.functional.cross_entropy(model(x), y)
        ...         recorded = recorder.step(loss=loss)
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         _ = optimizer.step()
        >>> recorder.steps
        [0, 1, 2, 3, 4, 5, 6, 8, 9, 10]
    """

    def __init__(
        self,
        model: nn.Module,
        probe: Any,
        path: str | os.PathLike[str],
        layers: Sequence[str] | None = None,
        *,
        target: str = "auto",
        others: Mapping[str, Target] | None = None,
        input_distance: str | Callable[..., Any] = "auto",
        reduce: str | Mapping[str, str] = "flatten",
        keep: str = "auto",
        batch_size: int = 100,
        indices: Tensor | None = None,
        config: Mapping[str, Any] | None = None,
        snapshots: int = 40,
        synchronous_path: bool = False,
        force: bool = False,
        resume: bool = False,
    ) -> None:
        """Opens the run file.

        Args:
            model: The network; wrappers of DistributedDataParallel, DataParallel, AveragedModel and torch.compile
                are looked through.
            probe: The samples and their targets, n ≥ 4: (inputs, labels), a Dataset or DataLoader of such pairs,
                or a dict with "labels". Inputs are a tensor (n, …), an array, a table, a tuple of several or a dict
                of keyword arguments; they are copied, and cast to the precision of the network.
            path: The run file to make, or to go on with.
            layers: Module names or patterns (`conv*`), with `#k` for the k-th call and `@place` for another tensor
                of an output; None takes the natural units of the architecture.
            target: What the labels are: "classes" (whole numbers, truth values, words), "multilabel" (n, k) of 0
                and 1, or "regression" (n,) or (n, k); "auto" takes classes and refuses what is none.
            others: Further targets by name, such as the box of an object, n values each.
            input_distance: How the distances between inputs are measured: "euclidean"; "hamming", the positions in
                which token sequences differ, padding left out; the name of a layer, whose outputs are compared as
                the network is now; or a function that is called as the network is and gives distances, (n, n) or
                (n (n−1) / 2,). "auto" takes "hamming" for whole numbers that go into an embedding.
            reduce: What becomes of layers of sequences, (n, positions, features): "flatten", or one vector, that of
                the "first" or "last" position or the "mean" over positions, padding left out; for all of them, or
                by name.
            keep: What to store of a layer: "activations" (n·d values), "distances" (n (n−1) / 2 values, enough
                for every estimator that uses a Gaussian kernel on the whole layer), or "auto", the smaller one.
            batch_size: Number of probe samples in one forward pass.
            indices: Positions of the probe samples in their data set, (n,); for the record only.
            config: Settings to keep in the run file (JSON values).
            snapshots: Number of snapshots that `step` takes in the first 10,000 steps, log-spaced, and some more in
                each ten times as many (`infoplane.recording.schedule.endless`); the file has room for more.
            synchronous_path: At the end, record the way from the first to the last weights on which all layers keep
                step (`infoplane.recording.synchronous`) into `NAME.synchronous.h5`, with the same snapshots. Until
                then the weights of the first snapshot stand in `NAME.first.pt`. A recording that goes on after the
                end makes the path again, where the network is as at the first snapshot when the recorder is made.
            force: Overwrite an existing file.
            resume: Go on with an existing file.

        Raises:
            InfoplaneError: A bad probe, an unknown layer, a network that cannot be recorded, or a run file that is
                of another network or probe.
            RunFileError: The file exists, is being written, or cannot be written.
        """
        _refuse_impossible(keep, batch_size, config)
        self._spacing = snapshots
        self._schedule, self._due = endless(snapshots), -1
        samples, main = _checked_probe(probe, target)
        self.model = _network_of(model)
        inputs = samples.inputs.bind(self.model)
        traced = trace(self.model, inputs.take(_different(inputs)), sequences=reduce != "flatten")
        _refuse_tokens(main, inputs, traced.tokens)
        self.layers = selected_of(traced, layers)
        _refuse_without_features(self.layers)
        reduced = reductions(self.layers, reduce)
        self._passes = Passes(self.model, inputs, traced, batch_size, reduced)
        warnings = [*(layer.warning for layer in self.layers), *(left_out(traced) if layers is None else ())]
        for warning in filter(None, dict.fromkeys([*warnings, *self._passes.padding.unknown(self.layers)])):
            logger.warning("%s", warning)
        self._parameters = parameter_names(traced, self.layers)
        self._keep = keep
        self._groups = _grouped(self.layers, len(inputs))
        for group in self._groups:
            self._passes.check_order(group)
        infos = [_info(layer, reduced.get(layer.name)) for layer in self.layers]
        measure, distances = input_distances(self._passes, input_distance)
        self._path = SynchronousPath(self.model, Path(path))
        self._wants_path, self._moved, self._finished = synchronous_path, False, False
        described = Probe(
            target=main,
            distances=distances,
            indices=_positions(samples.indices if indices is None else indices, len(inputs)),
            shape=inputs.shape,
            input_distance=measure,
            others=_checked_others(others or {}, len(inputs)),
        )
        if resume:
            self._writer = RunWriter.resume(Path(path))
            self._check_same(infos, described)
        else:
            self._writer = RunWriter.create(
                Path(path),
                infos,
                described,
                config=dict(config or {}),
                provenance=provenance(_device_name(self.model)),
                snapshots=snapshots,
                force=force,
            )
            self._path.discard()
        if synchronous_path and self.steps and not self._path.has_first(self.run_id) and self._is_at_first():
            self._keep_first()
        self.steps_taken = max(self.steps, default=0)
        self._epochs: deque[float] = deque(maxlen=2)  # of the last calls of `step`

    @property
    def path(self) -> Path:
        """Where the run file is."""
        return self._writer.path

    @property
    def run_id(self) -> str:
        """Identity of the run."""
        return self._writer.run_id

    @property
    def steps(self) -> list[int]:
        """Steps of the snapshots that are recorded."""
        return list(self._writer.steps)

    def step(self, epoch: float = float("nan"), **metrics: float | Tensor) -> bool:
        """Counts an optimiser step that is about to be taken, and takes a snapshot before it when one is due.

        Called once in each turn of the training loop, before the step of the optimiser: the first call records
        initialisation, and the metrics are those of the weights that are recorded. `close` records the end, without
        metrics; `snapshot()` after the loop records it with some.

        Args:
            epoch: Number of epochs passed, may be fractional.
            metrics: Loss, accuracy and whatever else was measured, one number each.

        Returns:
            Whether a snapshot was taken; what is recorded already is not taken again.

        Raises:
            InfoplaneError: As for `snapshot`.
            RunFileError: As for `snapshot`.
        """
        _refuse_taken(metrics)
        step = self.steps_taken
        self.steps_taken += 1
        self._epochs.append(_number("epoch", epoch))
        if self._due < 0:  # a training that goes on waits for the next snapshot that its schedule has
            self._due = next(due for due in self._schedule if due >= step)
        if step < self._due:
            return False
        # Some trainings count several steps at once: what they passed over is taken here.
        self._due = next(due for due in self._schedule if due > step)
        if step in self._writer.steps:
            return False
        self.snapshot(step, epoch, **metrics)
        return True

    def snapshot(self, step: int | None = None, epoch: float = float("nan"), **metrics: float | Tensor) -> None:
        """Records every layer as the network is now.

        NaN, infinite or constant activations are recorded and marked; a warning names layer and step.

        Args:
            step: Number of optimiser steps taken; 0 is initialisation. Each step is recorded once. None takes the
                number that `step` counted.
            epoch: Number of epochs passed, may be fractional.
            metrics: Loss, accuracy and whatever else was measured, one number each.

        Raises:
            InfoplaneError: A step or metric that is no number, or a layer that did not bring one row for each
                sample; earlier snapshots are safe.
            RunFileError: The step is recorded already, or the disk is full; earlier snapshots are safe.
        """
        number = _step(self.steps_taken if step is None else step)
        _refuse_taken(metrics)
        numbers = {name: _number(f"metric '{name}'", value) for name, value in metrics.items()}
        self._take(self._writer, number, _number("epoch", epoch), numbers)
        self._moved, self._finished = True, False
        # It is that of a shorter training now.
        self._path.path.unlink(missing_ok=True)
        if len(self.steps) == 1:
            self._measure_links("first")
            if self._wants_path:
                self._keep_first()

    def rewind(self, step: int) -> None:
        """Goes back to a step, as a training does that goes on from a checkpoint.

        Later snapshots are of another continuation than that which comes now; they are dropped, with a warning.

        Args:
            step: Number of optimiser steps that the network has taken.

        Raises:
            InfoplaneError: The step is no whole number from 0.
            RunFileError: The recorder is closed, or the disk is full; the file is as it was.
        """
        step = _step(step)
        later = [one for one in sorted(self.steps) if one > step]
        if later:
            which = ", ".join(map(str, later[:2])) + (f" to {later[-1]}" if len(later) > 2 else "")
            logger.warning(
                "%s: the training goes on from step %d; what was recorded after it is dropped, at step %s",
                *(self.path, step, which),
            )
            self._path.path.unlink(missing_ok=True)
            self._moved, self._finished = True, False
        self._writer.drop_after(step)
        if not self.steps:
            self._path.discard()
        self.steps_taken = step
        self._schedule, self._due = endless(self._spacing), -1
        self._epochs.clear()

    def finish(self) -> None:
        """Records what belongs to the end of a training; `close` does so unless an error ended it.

        That is the network as it is now, if `step` has counted steps since the last snapshot, the links between
        layers (`infoplane.recording.swap_test`), and the synchronous path where it is wanted; what cannot be
        recorded is left out with a warning.

        Raises:
            RunFileError: The disk is full; earlier snapshots are safe.
        """
        if self._due >= 0 and self.steps_taken > max(self.steps, default=-1):
            self._record_end()
        if self._finished:
            return
        self._finished = True
        if self._moved:
            self._measure_links("last")
        if self._wants_path and len(self.steps) > 1:
            self._record_path()

    def _record_end(self) -> None:
        """Takes the last snapshot; like the links, it is never worth the end of a recording."""
        before, last = self._epochs if len(self._epochs) == 2 else (math.nan, math.nan)
        try:
            self.snapshot(epoch=2 * last - before)
        except RunFileError:
            raise
        except Exception as error:  # a network may raise anything where it was changed after its training
            logger.warning("the end is not recorded: %s", one_line(error, 200))

    def _take(
        self, writer: RunWriter, step: int, epoch: float, metrics: Mapping[str, float], where: str = ""
    ) -> None:
        """Every layer and all parameters, as the network is now, into one snapshot of a file."""
        with writer.snapshot(step, epoch, metrics) as out:
            for group in self._groups:
                values = self._passes.collect(group)
                for layer in group:
                    self._store(out, layer, values.pop(layer.name), f"at step {step}{where}")
            self._store_parameters(out)

    def _is_at_first(self) -> bool:
        """Whether the network has the parameters of the first snapshot, as one that was made anew from its seed."""
        with open_run(self.path) as run:
            first = [run.snapshots[0].parameters(layer.name) for layer in run.layers]
        now = [values for values, _ in self._sketches()]
        return all(a is not None and np.array_equal(a, b) for a, b in zip(first, now, strict=True))

    def _keep_first(self) -> None:
        try:
            self._path.keep_first(self.run_id)
        except InfoplaneError as error:
            logger.warning("there will be no synchronous path: %s", error)

    def _record_path(self) -> None:
        """Records the synchronous path; like the links, it is never worth the end of a recording."""

        def take(writer: RunWriter, snapshot: Snapshot, progress: float) -> None:
            place = " of the synchronous path"
            self._take(writer, snapshot.step, snapshot.epoch, {"progress": progress}, place)

        try:
            if not self._path.path.exists():
                self._path.record(take, _device_name(self.model))
            self._path.first.unlink(missing_ok=True)
        except Exception as error:  # a network may raise anything where its weights are those of no training
            logger.warning("no synchronous path is recorded: %s", one_line(error, 200))

    def _measure_links(self, when: str) -> None:
        """Stores δ of the links between layers; what it takes is never worth the end of a recording."""
        if len(self.layers) < 2:
            return
        try:
            deltas = swap_test(self._passes, self.layers)
        except Exception as error:  # whatever a network raises whose values were changed on their way
            logger.warning("the links between layers cannot be measured: %s", one_line(error, 200))
            return
        self._writer.set_links(when, deltas)

    def set_config(self, config: Mapping[str, Any]) -> None:
        """Replaces the settings kept in the run file."""
        self._writer.set_config(config)

    def set_results(self, numbers: Mapping[str, Any], arrays: Mapping[str, NDArray] | None = None) -> None:
        """Stores what the finished training is judged by, such as test scores and cost.

        Args:
            numbers: JSON values by name.
            arrays: Arrays by name, such as predictions (m,).

        Raises:
            RunFileError: The disk is full.
        """
        self._writer.set_results(numbers, arrays or {})

    def close(self, ended: bool = True) -> None:
        """Records what belongs to the end, see `finish`, and closes the run file.

        Args:
            ended: False for a training that an error ended: the network may be in any state, and no time is to be
                lost.
        """
        try:
            if ended:
                self.finish()
        finally:
            self._writer.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(ended=kind is None)

    def _check_same(self, layers: list[LayerInfo], probe: Probe) -> None:
        """A run goes on only with the layers and the probe that it began with."""
        with open_run(self.path) as run:
            run_probe = run.probe
        if layers != self._writer.layers:
            problem = "layers"
        elif not np.array_equal(run_probe.target.values, probe.target.values):
            problem = "probe labels"
        elif run_probe.input_distance != probe.input_distance:
            problem = "distances between inputs"
        elif not np.allclose(run_probe.distances, probe.distances, rtol=1e-6):
            problem = "probe inputs"
        else:
            return
        self._writer.close()
        raise InfoplaneError(f"{self.path} was recorded with other {problem}; record into a new file")

    def _store(self, out: SnapshotWriter, layer: Layer, values: Tensor, when: str) -> None:
        n = len(values)
        flat = values.reshape(n, -1)
        kind = self._keep
        if kind == "auto":
            kind = "activations" if flat.shape[1] <= (n - 1) / 2 else "distances"
        if kind == "activations":
            stored = _in_single_precision_if_exact(values.cpu()).numpy()
        else:
            stored = condense(_in_single_precision_if_in_range(squared_distances(flat).sqrt_()).cpu().numpy())
        # In parts: these tests on a whole layer would take more memory than the layer itself.
        parts = flat.split(self._passes.batch_size)
        # Finite values of which the distances, or single precision, overflow are as useless as those that are not.
        nonfinite = int(np.count_nonzero(~np.isfinite(stored)))
        if nonfinite:
            nonfinite = sum(int((~torch.isfinite(part)).count_nonzero()) for part in parts) or nonfinite
        constant = all(bool((part == flat[:1]).all()) for part in parts)
        if nonfinite:
            logger.warning("layer %s %s: %d NaN or infinite activations", layer.name, when, nonfinite)
        elif constant:
            logger.warning("layer %s %s: constant, all samples have the same activations", layer.name, when)
        out.layer(layer.name, kind, stored, nonfinite=nonfinite, constant=constant)

    def _store_parameters(self, out: SnapshotWriter) -> None:
        made = self._sketches()
        out.parameters([values for values, _ in made], [count for _, count in made], SKETCH_SIZE)

    def _sketches(self) -> list[tuple[NDArray, int]]:
        """The sketch of each layer's parameters, and their number."""
        return [sketch(self._parameter(name) for name in names) for names in self._parameters]

    def _parameter(self, name: str) -> Tensor:
        """A parameter as it is now; where pruning or a parametrization took its place, what that gives."""
        try:
            value = functools.reduce(getattr, name.split("."), self.model)
        except AttributeError:
            value = None
        if not isinstance(value, Tensor):
            raise InfoplaneError(
                f"parameter {name} is not there any more: the network was changed; record it into a new file"
            )
        return value


def _refuse_impossible(keep: str, batch_size: int, config: Mapping[str, Any] | None) -> None:
    """Refuses options that are wrong whatever the network."""
    if keep not in _KEEP:
        raise InfoplaneError(f"keep '{keep}': choose one of {', '.join(_KEEP)}")
    if batch_size < 1:
        raise InfoplaneError(f"batch_size must be at least 1, got {batch_size}")
    try:
        json.dumps(config)
    except (TypeError, ValueError) as error:
        raise InfoplaneError(f"config must hold JSON values only ({error})") from None


def _refuse_without_features(layers: Iterable[Layer]) -> None:
    for layer in layers:
        if 0 in layer.shape:
            raise InfoplaneError(f"layer {layer.name} has no features, only {layer.shape} a sample; leave it out")


def _positions(indices: Any, n: int) -> NDArray:
    """Positions of the samples in their data set, (n,) int64; 0 to n − 1 where none are given."""
    if indices is None:
        return np.arange(n)
    positions = torch.as_tensor(indices)
    if positions.shape != (n,):
        raise InfoplaneError(f"indices are one position a sample, ({n},), got {tuple(positions.shape)}")
    return np.asarray(positions.cpu(), np.int64)


def _checked_probe(probe: Any, kind: str) -> tuple[Samples, Target]:
    samples = as_samples(probe)
    n = len(samples.inputs)
    if n < 4:
        raise InfoplaneError(f"a probe of {n} samples is too small; take at least 4, better 500")
    return samples, as_target(samples.labels, kind)


def _refuse_tokens(target: Target, inputs: Inputs, tokens: Iterable[str]) -> None:
    """Refuses the targets of a language model as continuous values: numbers of tokens are names."""
    shapes = [inputs.parts[name].shape for name in tokens]
    values = target.values
    if target.kind == REGRESSION and values.shape[1] > 1 and values.shape in shapes and (values % 1 == 0).all():
        raise InfoplaneError(
            f"targets of shape {values.shape} are a token for each of the input's, and tokens are no continuous "
            "values; take one target a sample, such as that of the last position, labels[:, -1], with reduce='last'"
        )


def _checked_others(others: Mapping[str, Target], n: int) -> dict[str, Target]:
    """Further targets, each with a name that a file can be called by and a value for each sample."""
    for name, target in others.items():
        if not re.fullmatch(r"[\w.+-]+", name) or name == "labels":
            raise InfoplaneError(f"further target {name!r}: name it by letters, digits and _.+-, and not 'labels'")
        if not isinstance(target, Target):
            raise InfoplaneError(f"further target '{name}' is no Target; make one by infoplane.targets.as_target")
        if len(target) != n:
            raise InfoplaneError(f"further target '{name}' has {len(target)} values for {n} samples")
    return dict(others)


def _different(inputs: Inputs) -> Tensor:
    """Positions of three samples that differ, as far as there are any."""
    chosen = [0]
    for row in range(1, len(inputs)):
        parts = inputs.parts.values()
        if all(any(not torch.equal(part[row], part[other]) for part in parts) for other in chosen):
            chosen.append(row)
        if len(chosen) == 3:
            break
    return torch.tensor([*chosen, *(row for row in range(3) if row not in chosen)][:3])


def _info(layer: Layer, reduced: str | None) -> LayerInfo:
    """What the run file says of a layer."""
    notes = [layer.note, f"{reduced} of positions" if reduced else ""]
    shape, positions, channels = layer.shape, layer.port.positions, layer.port.channels
    if reduced and positions is not None:
        shape, channels = shape[:positions] + shape[positions + 1 :], channels - (channels > positions)
        positions = None
    return LayerInfo(layer.name, shape, "; ".join(filter(None, notes)), positions, channels)


def _network_of(model: Any) -> nn.Module:
    """The network inside the wrappers of torch.compile, data parallelism and weight averaging.

    Raises:
        InfoplaneError: No network whose modules Python calls, one after another, on this process.
    """
    wrappers = (nn.parallel.DistributedDataParallel, nn.DataParallel, torch.optim.swa_utils.AveragedModel)
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(model, wrappers):
            inner = model.module
        if not isinstance(inner, nn.Module):
            break
        model = inner
    if not isinstance(model, nn.Module):
        raise InfoplaneError(
            f"a network to record is a torch.nn.Module, and this is of type {type(model).__name__}; layers are "
            "recorded where modules are called"
        )
    sharded = [type(module).__name__ for module in model.modules() if _is_sharded(module)]
    if sharded:
        raise InfoplaneError(
            f"the network is sharded ({sharded[0]}), so no process has its whole parameters; record one that is "
            "not, such as one with DistributedDataParallel"
        )
    return model


def _is_sharded(module: nn.Module) -> bool:
    return any(base.__name__ in ("FullyShardedDataParallel", "FSDPModule") for base in type(module).__mro__)


def _step(value: Any) -> int:
    number = _number("step", value)
    if not (math.isfinite(number) and 0 <= number == int(number) < 2**63):
        raise InfoplaneError(f"step must be a whole number from 0, got {value}")
    return int(number)


def _refuse_taken(metrics: Iterable[str]) -> None:
    """Refuses metrics that would stand in the place of another column."""
    for name in metrics:
        if not is_metric_name(name):
            raise InfoplaneError(
                f"no metric can be called '{name}': tables of metrics have columns of their own for steps, epochs, "
                "runs and for deviations, whose names end in _sd; rename it"
            )


def _number(what: str, value: Any) -> float:
    """A metric as a number; tensors and arrays of one element count as one."""
    try:
        if isinstance(value, str | bytes) or value is None:
            raise TypeError
        if isinstance(value, Tensor):
            value = value.detach().cpu()
            value = (value.double() if value.is_floating_point() else value).numpy()
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise TypeError
    except (TypeError, ValueError):
        raise InfoplaneError(f"{what} must be a number, got {value!r:.60}") from None
    if array.size != 1:
        raise InfoplaneError(f"{what} has {array.size} values; give one number, such as their mean")
    return float(array.reshape(()))


def _in_single_precision_if_exact(values: Tensor) -> Tensor:
    """Activations as float32, or float64 where they have more digits: rounded, near samples could fall together."""
    single = values.to(torch.float32)
    if values.dtype == torch.float64 or not values.is_floating_point():
        double = values.to(torch.float64)
        # What float32 cannot hold is infinite there, and marked so.
        fits = bool(double.abs().max() <= torch.finfo(torch.float32).max)
        if fits and not torch.equal(single.to(torch.float64), double):
            return double
    return single


def _in_single_precision_if_in_range(distances: Tensor) -> Tensor:
    """Distances as float32, which rounds each in proportion; as they are where some are too small for that."""
    single = distances.to(torch.float32)  # what is too large is infinite, and marked so
    lost = (distances > 0) & (single < torch.finfo(torch.float32).tiny)
    return distances if bool(lost.any()) else single


def _device_name(model: nn.Module) -> str:
    device, _ = device_and_dtype(model)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _grouped(layers: Sequence[Layer], n: int) -> list[list[Layer]]:
    """Layers that share a forward pass: no pass holds more than the largest single layer (or 256 MiB)."""
    sizes = [4 * n * int(np.prod(layer.shape)) for layer in layers]
    budget = max([*sizes, BUFFER_BYTES])
    groups: list[list[Layer]] = []
    held = budget + 1
    for layer, size in zip(layers, sizes, strict=True):
        if held + size > budget:
            groups.append([])
            held = 0
        groups[-1].append(layer)
        held += size
    return groups
