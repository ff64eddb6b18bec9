"""Records the layers of any network on a fixed probe, without any effect on its training."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from infoplane.errors import InfoplaneError
from infoplane.kernels import condense, squared_distances
from infoplane.layers import Layer, eval_mode, parameter_names, select_layers, tensor_of
from infoplane.provenance import provenance
from infoplane.runfile import SLOTS, Closing, LayerInfo, Probe, RunWriter, SnapshotWriter, open_run
from infoplane.sketch import SKETCH_SIZE, sketch
from infoplane.targets import CLASSES, Target

logger = logging.getLogger(__name__)

KEEP = ("auto", "activations", "distances")
BUFFER_BYTES = 256 * 2**20


class Recorder(Closing):
    """Records a network's layers on a probe set into a run file; a context manager.

    Forward hooks stand on the network only while a snapshot is taken: in between, training runs as if there were
    no recorder. A snapshot runs the network in eval mode without gradients and puts back the mode of every module
    and the state of torch's random numbers, so recorded and unrecorded training end with the same weights.

    Example:
        >>> with Recorder(model, (inputs, labels), "run.h5") as recorder:
        ...     recorder.snapshot(step=0, loss=2.3)
    """

    def __init__(
        self,
        model: nn.Module,
        probe: tuple[Tensor, Tensor],
        path: str | os.PathLike[str],
        layers: Sequence[str] | None = None,
        *,
        keep: str = "auto",
        batch_size: int = 250,
        indices: Tensor | None = None,
        config: Mapping[str, Any] | None = None,
        snapshots: int = SLOTS,
        force: bool = False,
        resume: bool = False,
    ) -> None:
        """Opens the run file.

        Args:
            model: The network; wrappers of DistributedDataParallel and torch.compile are looked through.
            probe: Inputs (n, ...) as the network takes them, and class labels (n,), n ≥ 4, at least two classes.
            path: The run file to make, or to go on with.
            layers: Module names or patterns (`conv*`); None takes the natural units of the architecture.
            keep: What to store of a layer: "activations" (n·d values), "distances" (n (n−1) / 2 values, enough
                for every estimator that uses a Gaussian kernel on the whole layer), or "auto", the smaller one.
            batch_size: Number of probe samples in one forward pass.
            indices: Positions of the probe samples in their data set, (n,); for the record only.
            config: Settings to keep in the run file (JSON values).
            snapshots: Number of snapshots to make room for; more may be taken.
            force: Overwrite an existing file.
            resume: Go on with an existing file.

        Raises:
            InfoplaneError: A bad probe, an unknown layer, or a run file that is of another network or probe.
            RunFileError: The file exists, is being written, or cannot be written.
        """
        inputs, labels = _checked_probe(probe)
        if keep not in KEEP:
            raise InfoplaneError(f"keep '{keep}': choose one of {', '.join(KEEP)}")
        if batch_size < 1:
            raise InfoplaneError(f"batch_size must be at least 1, got {batch_size}")
        try:
            json.dumps(config)
        except (TypeError, ValueError) as error:
            raise InfoplaneError(f"config must hold JSON values only ({error})") from None
        self.model = _unwrapped(model)
        example = inputs[:2].to(_device(self.model))
        self.layers = select_layers(self.model, example, layers)
        self._parameters = parameter_names(self.model, example, self.layers)
        self._keep = keep
        self._inputs = inputs
        self._batch_size = batch_size
        self._passes = _grouped(self.layers, len(inputs))
        infos = [LayerInfo(layer.name, tuple(layer.shape)) for layer in self.layers]
        described = Probe(
            target=Target(CLASSES, labels.cpu().numpy().astype(np.int64)),
            distances=condense(squared_distances(inputs).sqrt_().cpu().numpy()),
            indices=(torch.arange(len(inputs)) if indices is None else indices).cpu().numpy().astype(np.int64),
            shape=tuple(inputs.shape[1:]),
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

    def snapshot(self, step: int, epoch: float = float("nan"), **metrics: float | Tensor) -> None:
        """Records every layer as the network is now.

        NaN, infinite or constant activations are recorded and marked; a warning names layer and step.

        Args:
            step: Number of optimiser steps taken; 0 is initialisation. Each step is recorded once.
            epoch: Number of epochs passed, may be fractional.
            metrics: Loss, accuracy and whatever else was measured, as numbers.

        Raises:
            RunFileError: The step is recorded already, or the disk is full; earlier snapshots are safe.
        """
        if step != int(step) or step < 0:
            raise InfoplaneError(f"step must be a whole number from 0, got {step}")
        numbers = {
            name: value.item() if isinstance(value, Tensor) else float(value) for name, value in metrics.items()
        }
        with self._writer.snapshot(step, epoch, numbers) as out:
            for group in self._passes:
                buffers = self._forward(group)
                for layer in group:
                    if layer.name not in buffers:
                        raise InfoplaneError(f"layer {layer.name} was not called at step {step}; record others")
                    self._store(out, layer, buffers.pop(layer.name), step)
            self._store_parameters(out)

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

    def close(self) -> None:
        """Closes the run file."""
        self._writer.close()

    def _check_same(self, layers: list[LayerInfo], probe: Probe) -> None:
        """A run goes on only with the layers and the probe that it began with."""
        with open_run(self.path) as run:
            run_probe = run.probe
        if layers != self._writer.layers:
            problem = "layers"
        elif not np.array_equal(run_probe.labels, probe.labels):
            problem = "probe labels"
        elif not np.allclose(run_probe.distances, probe.distances, rtol=1e-6):
            problem = "probe inputs"
        else:
            return
        self.close()
        raise InfoplaneError(f"{self.path} was recorded with other {problem}; record into a new file")

    def _forward(self, group: Sequence[Layer]) -> dict[str, Tensor]:
        """Activations of some layers on the whole probe, each (n, ...) on the network's device."""
        device = _device(self.model)
        n = len(self._inputs)
        buffers: dict[str, Tensor] = {}
        start = 0

        def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
            # Copied at once: an in-place operation may follow. A module called twice keeps its last call.
            def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
                value = tensor_of(output)
                if name not in buffers:
                    buffers[name] = torch.empty(n, *value.shape[1:], dtype=value.dtype, device=value.device)
                buffers[name][start : start + len(value)] = value

            return keep

        with contextlib.ExitStack() as stack:
            for layer in group:
                handle = self.model.get_submodule(layer.name).register_forward_hook(hook(layer.name))
                stack.callback(handle.remove)
            stack.enter_context(eval_mode(self.model))
            stack.enter_context(torch.no_grad())
            for start in range(0, n, self._batch_size):
                self.model(self._inputs[start : start + self._batch_size].to(device))
        return buffers

    def _store(self, out: SnapshotWriter, layer: Layer, values: Tensor, step: int) -> None:
        n = len(values)
        flat = values.reshape(n, -1)
        kind = self._keep
        if kind == "auto":
            kind = "activations" if flat.shape[1] <= (n - 1) / 2 else "distances"
        if kind == "activations":
            stored = values.to(torch.float32).cpu().numpy()
        else:
            stored = condense(squared_distances(flat).sqrt_().to(torch.float32).cpu().numpy())
        # In parts: these tests on a whole layer would take more memory than the layer itself.
        parts = flat.split(self._batch_size)
        nonfinite = flat.numel() - sum(int(torch.isfinite(part).count_nonzero()) for part in parts)
        # Finite values of which the distances, or single precision, overflow are as useless.
        nonfinite = nonfinite or int(np.count_nonzero(~np.isfinite(stored)))
        constant = all(bool((part == flat[:1]).all()) for part in parts)
        if nonfinite:
            logger.warning("layer %s at step %d: %d NaN or infinite activations", layer.name, step, nonfinite)
        elif constant:
            logger.warning("layer %s at step %d: constant, all samples have the same activations", layer.name, step)
        out.layer(layer.name, kind, stored, nonfinite=nonfinite, constant=constant)

    def _store_parameters(self, out: SnapshotWriter) -> None:
        now = dict(self.model.named_parameters())
        made = [sketch(now[name] for name in names) for names in self._parameters]
        out.parameters([values for values, _ in made], [count for _, count in made], SKETCH_SIZE)


def _checked_probe(probe: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    inputs, labels = (torch.as_tensor(part) for part in probe)
    if labels.ndim != 1 or len(inputs) != len(labels):
        raise InfoplaneError(
            f"a probe is inputs (n, ...) and labels (n,); got {tuple(inputs.shape)} and {tuple(labels.shape)}"
        )
    if len(labels) < 4:
        raise InfoplaneError(f"a probe of {len(labels)} samples is too small; take at least 4, better 500")
    if len(labels.unique()) < 2:
        raise InfoplaneError("the probe holds one class only, so I(T;Y) says nothing; take at least two classes")
    if not torch.isfinite(inputs.to(torch.float32)).all():
        raise InfoplaneError("the probe's inputs hold NaN or infinite values")
    return inputs, labels


def _unwrapped(model: nn.Module) -> nn.Module:
    """The network inside the wrappers of torch.compile and DistributedDataParallel."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(model, nn.parallel.DistributedDataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def _device(model: nn.Module) -> torch.device:
    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def _device_name(model: nn.Module) -> str:
    device = _device(model)
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
