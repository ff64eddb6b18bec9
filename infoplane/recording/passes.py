"""Forward passes of the probe that bring the values of layers, every row accounted for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from infoplane.errors import InfoplaneError
from infoplane.recording.isolation import device_and_dtype, undisturbed
from infoplane.recording.layers import Layer
from infoplane.recording.padding import Padding
from infoplane.recording.samples import Inputs
from infoplane.recording.trace import IN, Trace, padded_to, plain, tensors_in

Change = Callable[[ExitStack, Mapping[str, nn.Module]], None]
REDUCTIONS = ("flatten", "first", "last", "mean")
# So many samples show whether rows come in the order of the samples.
_CHECKED_ROWS = 64


class Passes:
    """Runs a network on its probe and collects layers.

    Args:
        model: The network.
        inputs: The probe's inputs; every pass gets a copy.
        traced: What tracing the network found.
        batch_size: Number of samples in one forward pass, at most.
        reduce: For each layer's name, what becomes of an output of positions, (n, positions, features): "flatten",
            or one vector, that of the "first" or "last" position or the "mean" over them, padding left out.
    """

    def __init__(
        self, model: nn.Module, inputs: Inputs, traced: Trace, batch_size: int, reduce: Mapping[str, str]
    ) -> None:
        self.model, self.inputs, self.traced = model, inputs, traced
        self.batch_size, self.reduce = batch_size, reduce
        self.padding = Padding(inputs, traced)

    def collect(self, layers: Sequence[Layer]) -> dict[str, Tensor]:
        """Values of some layers on the whole probe, each (n, *shape) real, on the network's device.

        Raises:
            InfoplaneError: A layer did not bring exactly the rows of a batch, or rows of another shape.
        """
        return self._collect(layers, torch.arange(len(self.inputs)), self._reduced)

    def raw(self, layers: Sequence[Layer], samples: Tensor, change: Change | None = None) -> dict[str, Tensor]:
        """Values of some layers on some samples, with padding and all positions.

        Args:
            layers: The layers.
            samples: Positions in the probe, (m,).
            change: Puts hooks on the modules, given by name, that change values on their way, before they are read.
        """
        return self._collect(layers, samples, lambda layer, values, kept: values, change)

    def check_order(self, layers: Sequence[Layer]) -> None:
        """Makes sure that rows come in the order of the samples, by samples from all over the probe in two orders.

        Raises:
            InfoplaneError: The rows of a layer are those of other samples.
        """
        n = len(self.inputs)
        rows = torch.linspace(0, n - 1, min(n, _CHECKED_ROWS)).long()
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
        straight, turned = self.raw(layers, rows), self.raw(layers, rows[order])
        for name, values in straight.items():
            flat, other = (part.reshape(len(rows), -1).cpu().double() for part in (values, turned[name]))
            if _are_others(flat[order], other):
                raise InfoplaneError(
                    f"layer {name} gives its rows in another order than the samples; record another layer"
                )

    def _collect(
        self,
        layers: Sequence[Layer],
        samples: Tensor,
        finish: Callable[[Layer, Tensor, Tensor | None], Tensor],
        change: Change | None = None,
    ) -> dict[str, Tensor]:
        """What `finish` makes of each layer's values of a batch and of which positions are kept, (m, …) each."""
        device, dtype = device_and_dtype(self.model)
        buffers: dict[str, Tensor] = {}
        with ExitStack() as stack:
            stack.enter_context(
                undisturbed(self.model, gradients=self.traced.gradients, parameters=self.traced.writes)
            )
            if change is not None:
                change(stack, self.traced.modules)
            watched = [_Watched(stack, self.traced.modules[layer.port.module], layer) for layer in layers]
            heard = self.padding.listen(stack)
            start = 0
            # Batches of nearly one size: none of a single sample is left over.
            for rows in samples.tensor_split(-(-len(samples) // self.batch_size)):
                args, kwargs = self.inputs.batch(rows, device, dtype if self.traced.cast else None)
                self.model(*args, **kwargs)
                kept = heard.taken(rows)
                for watcher in watched:
                    values = finish(watcher.layer, watcher.taken(len(rows)), kept(watcher.layer))
                    if watcher.layer.name not in buffers:
                        buffers[watcher.layer.name] = values.new_zeros(len(samples), *values.shape[1:])
                    buffers[watcher.layer.name][start : start + len(rows)] = values
                start += len(rows)
        return buffers

    def _reduced(self, layer: Layer, values: Tensor, kept: Tensor | None) -> Tensor:
        """Values with padded positions left out (0), and one vector a sample where that is asked for."""
        how, axis = self.reduce.get(layer.name, "flatten"), layer.port.positions
        if axis is None or (kept is None and how == "flatten"):
            return values
        kept = values.new_ones(values.shape[0], values.shape[axis + 1], dtype=torch.bool) if kept is None else kept
        return _over_positions(values.movedim(axis + 1, 1), kept.to(values.device), how, axis)


def _over_positions(values: Tensor, kept: Tensor, how: str, axis: int) -> Tensor:
    """What becomes of (n, positions, …) and which of the positions are kept, (n, positions)."""
    weights = kept.reshape(*kept.shape, *[1] * (values.ndim - 2))
    if how == "flatten":
        return torch.where(weights, values, 0).movedim(1, axis + 1)
    if how == "mean":
        return torch.where(weights, values, 0).sum(1) / weights.sum(1).clamp(min=1)
    place = kept.int().argmax(1) if how == "first" else kept.shape[1] - 1 - kept.int().flip(1).argmax(1)
    return values[torch.arange(len(values), device=values.device), place]


def _are_others(expected: Tensor, given: Tensor) -> bool:
    """Whether rows that are not what is expected are those of other samples: no noise, but another order."""
    scale = expected.abs().max()
    wrong = (expected - given).abs().amax(1) > 1e-3 * scale
    if not bool(torch.isfinite(given).all() & torch.isfinite(expected).all() & wrong.any()):
        return False
    nearest = torch.cdist(given[wrong], expected, p=torch.inf).amin(1)
    return bool((nearest <= 1e-5 * scale).any())


def reductions(layers: Sequence[Layer], reduce: str | Mapping[str, str]) -> dict[str, str]:
    """What becomes of each layer's positions.

    Args:
        layers: The layers.
        reduce: One of `REDUCTIONS` for all layers of sequences, or for some by name.

    Raises:
        InfoplaneError: An unknown reduction or layer, or a layer without positions.
    """
    named = dict(reduce) if isinstance(reduce, Mapping) else {}
    wanted = [*named.values()] or [str(reduce)]
    for how in wanted:
        if how not in REDUCTIONS:
            raise InfoplaneError(f"reduce '{how}': choose one of {', '.join(REDUCTIONS)}")
    every = {layer.name: layer for layer in layers}
    if not isinstance(reduce, Mapping):
        named = {name: str(reduce) for name, layer in every.items() if layer.port.positions is not None}
        if not named and reduce != "flatten":
            raise InfoplaneError(f"no layer has positions to take the {reduce} of; leave reduce out")
    for name, how in named.items():
        if name not in every:
            raise InfoplaneError(f"reduce names the layer '{name}', which is not recorded")
        if how != "flatten" and every[name].port.positions is None:
            raise InfoplaneError(
                f"layer {name} has no positions to take the {how} of: no axis of its shape {every[name].shape} "
                "follows the length of the sequences"
            )
    return {name: how for name, how in named.items() if how != "flatten"}


class _Watched:
    """A layer with a hook that keeps what comes by during one forward pass."""

    def __init__(self, stack: ExitStack, module: nn.Module, layer: Layer) -> None:
        self.layer = layer
        self._seen: list[Tensor] = []
        if layer.port.side == IN:
            handle = module.register_forward_pre_hook(self._before, with_kwargs=True)
        else:
            handle = module.register_forward_hook(self._after)
        stack.callback(handle.remove)

    def _before(self, _module: nn.Module, args: Any, kwargs: Any) -> None:
        self._keep((args, kwargs))

    def _after(self, _module: nn.Module, _args: Any, output: Any) -> None:
        self._keep(output)

    def _keep(self, value: Any) -> None:
        port = self.layer.port
        with padded_to(lambda _packed: self.layer.shape[0] if self.layer.shape else 0):
            tensor = next((tensor for path, tensor in tensors_in(value) if path == port.path), None)
        if tensor is None or tensor.ndim <= port.axis:
            raise InfoplaneError(f"layer {self.layer.name} gave no tensor this time; record another layer")
        self._seen.append(plain(tensor).movedim(port.axis, 0))

    def taken(self, rows: int) -> Tensor:
        """What came by, (rows, *shape), forgotten here.

        Raises:
            InfoplaneError: It is not one row for each sample of the batch.
        """
        layer, seen, self._seen = self.layer, self._seen, []
        if not seen:
            raise InfoplaneError(
                f"layer {layer.name} was not called on a batch of {rows}; record another layer, or make the "
                "recorder anew where the module was replaced"
            )
        shapes = {tuple(part.shape[1:]) for part in seen}
        if layer.port.calls == 1 and len(shapes) == 1:
            values = seen[0] if len(seen) == 1 else torch.cat(seen)
        else:
            values = self._call(seen, rows)
        if len(values) != rows:
            raise InfoplaneError(
                f"{layer.name} gave {len(values)} rows of a batch of {rows}: it sees "
                f"{'part of the batch' if len(values) < rows else 'samples more than once'}; record another layer"
            )
        if tuple(values.shape[1:]) != layer.shape:
            raise InfoplaneError(
                f"{layer.name} gave rows of shape {tuple(values.shape[1:])}, and {layer.shape} when it was chosen; "
                "the shape must not depend on the batch: pad all samples to one length"
            )
        return values

    def _call(self, seen: list[Tensor], rows: int) -> Tensor:
        """The call that the layer names, of several with all rows each."""
        port, lengths = self.layer.port, ", ".join(str(len(part)) for part in seen)
        if any(len(part) != rows for part in seen) or len(seen) != port.calls:
            raise InfoplaneError(
                f"{port.module} was called {len(seen)} times on a batch of {rows}, with {lengths} rows, and "
                f"{port.calls} times when it was chosen: which call is which cannot be told; record another layer"
            )
        return seen[-1 if port.number is None else port.number]
