"""Forward passes of the probe that bring the values of layers, every row accounted for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from infoplane.errors import InfoplaneError
from infoplane.isolation import device_and_dtype, undisturbed
from infoplane.layers import Layer
from infoplane.samples import Inputs
from infoplane.trace import IN, Trace, plain, tensors_in

REDUCTIONS = ("flatten", "first", "last", "mean")
# Arguments of attention layers that say which positions are padding (True), or which are not.
_PADDED = ("src_key_padding_mask", "tgt_key_padding_mask", "key_padding_mask")
_KEPT = ("attention_mask",)


class Passes:
    """Runs a network on its probe and collects layers.

    Args:
        model: The network.
        inputs: The probe's inputs; every pass gets a copy.
        traced: What tracing the network found.
        batch_size: Number of samples in one forward pass.
        reduce: For each layer's name, what becomes of an output of positions, (n, positions, features): "flatten",
            or one vector, that of the "first" or "last" position or the "mean" over them, padding left out.
    """

    def __init__(
        self, model: nn.Module, inputs: Inputs, traced: Trace, batch_size: int, reduce: Mapping[str, str]
    ) -> None:
        self.model, self.inputs, self.traced = model, inputs, traced
        self.batch_size, self.reduce = batch_size, reduce
        self.mask = kept_positions(inputs, traced)

    def collect(self, layers: Sequence[Layer]) -> dict[str, Tensor]:
        """Values of some layers on the whole probe, each (n, *shape) real, on the network's device.

        Raises:
            InfoplaneError: A layer did not bring exactly the rows of a batch, or rows of another shape.
        """
        n = len(self.inputs)
        device, dtype = device_and_dtype(self.model)
        found: dict[str, Tensor] = {}
        with ExitStack() as stack:
            stack.enter_context(
                undisturbed(self.model, gradients=self.traced.gradients, parameters=self.traced.writes)
            )
            watched = [_Watched(stack, self.traced.modules[layer.port.module], layer) for layer in layers]
            padding = _Padding(stack, self.model)
            for start in range(0, n, self.batch_size):
                rows = slice(start, min(start + self.batch_size, n))
                args, kwargs = self.inputs.batch(rows, device, dtype)
                self.model(*args, **kwargs)
                masks = padding.taken() if self.mask is None else {self.mask.shape[1]: self.mask[rows]}
                for one in watched:
                    values = self._reduced(one.layer, one.taken(rows.stop - rows.start), masks)
                    if one.layer.name not in found:
                        found[one.layer.name] = values.new_zeros(n, *values.shape[1:])
                    found[one.layer.name][rows] = values
        return found

    def _reduced(self, layer: Layer, values: Tensor, masks: Mapping[int, Tensor]) -> Tensor:
        """Values with padded positions left out (0), and one vector a sample where that is asked for."""
        how = self.reduce.get(layer.name, "flatten")
        kept = masks.get(values.shape[1]) if values.ndim > 2 else None
        if kept is None and how == "flatten":
            return values
        kept = values.new_ones(values.shape[:2], dtype=torch.bool) if kept is None else kept.to(values.device)
        weights = kept.reshape(*kept.shape, *[1] * (values.ndim - 2))
        if how in ("flatten", "mean"):
            values = torch.where(weights, values, 0)
        if how == "mean":
            return values.sum(1) / weights.sum(1).clamp(min=1)
        if how == "flatten":
            return values
        order = kept.int() if how == "first" else kept.int().flip(1)
        place = order.argmax(1) if how == "first" else kept.shape[1] - 1 - order.argmax(1)
        return values[torch.arange(len(values), device=values.device), place]


def reductions(layers: Sequence[Layer], reduce: str | Mapping[str, str]) -> dict[str, str]:
    """What becomes of each layer's positions.

    Args:
        layers: The layers.
        reduce: One of `REDUCTIONS` for all layers of sequences, (n, positions, features), or for some by name.

    Raises:
        InfoplaneError: An unknown reduction or layer, or a layer without positions.
    """
    named = dict(reduce) if isinstance(reduce, Mapping) else {}
    wanted = [*named.values()] or [str(reduce)]
    for how in wanted:
        if how not in REDUCTIONS:
            raise InfoplaneError(f"reduce '{how}': choose one of {', '.join(REDUCTIONS)}")
    shapes = {layer.name: layer.shape for layer in layers}
    if not isinstance(reduce, Mapping):
        named = {name: str(reduce) for name, shape in shapes.items() if len(shape) == 2}
    for name, how in named.items():
        if name not in shapes:
            raise InfoplaneError(f"reduce names the layer '{name}', which is not recorded")
        if how != "flatten" and len(shapes[name]) < 2:
            raise InfoplaneError(f"layer {name} has no positions to take the {how} of: its shape is {shapes[name]}")
    return {name: how for name, how in named.items() if how != "flatten"}


def kept_positions(inputs: Inputs, traced: Trace) -> Tensor | None:
    """Which positions of token sequences are no padding, (n, positions) bool; None where nothing says so.

    An `attention_mask` among the inputs says so, else the padding index of the embedding that the tokens go into.
    """
    if inputs.mask is not None:
        return inputs.mask
    for name, padding in traced.tokens.items():
        ids = inputs.parts[name]
        if padding is not None and ids.ndim == 2:
            return ids != padding
    return None


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
            raise InfoplaneError(f"layer {layer.name} was not called on a batch of {rows}; record another layer")
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


class _Padding:
    """Listens for the masks of padding that attention layers are given."""

    def __init__(self, stack: ExitStack, model: nn.Module) -> None:
        self._kept: dict[int, Tensor] = {}
        for module in model.modules():
            names = _parameters(module)
            if any(name in names for name in (*_PADDED, *_KEPT)):
                hook = module.register_forward_pre_hook(self._listener(names), with_kwargs=True)
                stack.callback(hook.remove)

    def _listener(self, names: list[str]) -> Callable[[nn.Module, Any, Any], None]:
        def listen(_module: nn.Module, args: Any, kwargs: Any) -> None:
            for name, mask in {**dict(zip(names, args, strict=False)), **kwargs}.items():
                if name in (*_PADDED, *_KEPT) and isinstance(mask, Tensor) and mask.ndim == 2:
                    # A float mask of padding is added to the scores: −∞ where there is padding.
                    padded = mask < 0 if mask.is_floating_point() and name in _PADDED else mask.bool()
                    self._kept[mask.shape[1]] = padded if name in _KEPT else ~padded

        return listen

    def taken(self) -> dict[int, Tensor]:
        """Which positions of the batch are no padding, (rows, positions), by their number; forgotten here."""
        kept, self._kept = self._kept, {}
        return kept


def _parameters(module: nn.Module) -> list[str]:
    try:
        return [*inspect.signature(module.forward).parameters]
    except (TypeError, ValueError):  # not written in Python
        return []
