"""Which positions of sequences are padding: what attention is told, what the inputs say, what an embedding knows.

A mask speaks for a layer whose positions follow the same sequence, which tracing tells: the padding of a source
says nothing of the layers of a decoder, though both may be of one length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from infoplane.recording.layers import Layer
from infoplane.recording.samples import Inputs
from infoplane.recording.trace import IN, Call, Trace, argument_names

# Arguments of attention layers that say which positions are padding (True), and which hold something.
_PADDED = ("src_key_padding_mask", "tgt_key_padding_mask", "key_padding_mask")
_KEPT = "attention_mask"
_DECODER = "decoder_"


class Padding:
    """Which positions of the sequences of a probe are padding.

    Args:
        inputs: The probe's inputs.
        traced: What tracing the network found.

    Attributes:
        told: The arguments that are masks of padding, with the sequences that they follow, by module and call.
    """

    def __init__(self, inputs: Inputs, traced: Trace) -> None:
        self.inputs, self.traced, self.told = inputs, traced, _told(traced)
        # Once: each batch of each layer asks for them.
        self._kept = {name: self._of_input(name) for name in inputs.parts}

    def listen(self, stack: ExitStack) -> Heard:
        """Listens for the masks that attention is given, until the stack takes the hooks away again."""
        return Heard(self, stack)

    def of_layer(self, layer: Layer) -> Tensor | None:
        """Which positions of a layer are no padding by what goes in, (n, positions) bool; None where nothing says.

        Args:
            layer: A layer; of one that is made of several sequences nothing speaks, nor do inputs that disagree.
        """
        kept = self._of_sequences(layer.port.sequence & layer.port.inputs)
        return _agreed([mask for mask in kept if mask.shape[1] == _width(layer)])

    def of_input(self, name: str) -> Tensor | None:
        """Which positions of an input are no padding, (n, positions…) bool; None where nothing says so."""
        return self._kept[name]

    def _of_input(self, name: str) -> Tensor | None:
        mask = self._attention_mask(name)
        if mask is not None:
            return mask
        padding = self.traced.tokens.get(name)
        return None if padding is None else self.inputs.parts[name].ne(padding)

    def _of_sequences(self, names: Iterable[str]) -> list[Tensor]:
        """The masks of those inputs that are plain sequences, (n, positions) bool each."""
        return [mask for name in names if (mask := self.of_input(name)) is not None and mask.ndim == 2]

    def unknown(self, layers: Sequence[Layer]) -> list[str]:
        """A warning, where some positions are padding and the network does not show which axis is theirs."""
        lost = [layer.name for layer in layers if self._stays_in(layer)]
        if not lost:
            return []
        named = f"{lost[0]} and {len(lost) - 1} more layers" if len(lost) > 1 else lost[0]
        return [
            f"padding stays in {named}: the network does not take all sequences without their last position, so it "
            "does not show which axis is that of positions; let it, as by positions[:, : ids.shape[1]]"
        ]

    def _stays_in(self, layer: Layer) -> bool:
        if layer.port.positions is not None or len(layer.shape) < 2:
            return False
        masks = self._of_sequences(layer.port.inputs)
        return any(mask.shape[1] in layer.shape and not mask.all() for mask in masks)

    def _attention_mask(self, name: str) -> Tensor | None:
        """The attention mask among the inputs that belongs to one of them: cut short with it, or of its name."""
        shape, sequences = self.inputs.parts[name].shape[:2], self.traced.sequences
        fitting = {other: mask for other, mask in self.inputs.attention_masks.items() if mask.shape == shape}
        own = [other for other in fitting if any({name, other} <= sequence for sequence in sequences)]
        free = [other for other in fitting if not any(other in sequence for sequence in sequences)]
        free = [other for other in free if name.startswith(_DECODER) == other.startswith(_DECODER)]
        return next((fitting[other] for other in (*own, *free)), None)


class Heard:
    """The masks of one forward pass after another, each of which speaks for what is inside the module that is told.

    Args:
        padding: What is known besides.
        stack: Takes the hooks away again.
    """

    def __init__(self, padding: Padding, stack: ExitStack) -> None:
        self._padding, modules = padding, padding.traced.modules
        self._kept: dict[tuple[str, frozenset[str]], Tensor] = {}
        self._calls: Counter[str] = Counter()
        for name, calls in padding.told.items():
            listener = self._listener(name, argument_names(modules[name]), calls)
            stack.callback(modules[name].register_forward_pre_hook(listener, with_kwargs=True).remove)

    def _listener(
        self, module: str, names: Sequence[str], calls: Sequence[Mapping[str, frozenset[str]]]
    ) -> Callable[[nn.Module, Any, Any], None]:
        def listen(_module: nn.Module, args: Any, kwargs: Any) -> None:
            told = calls[min(self._calls[module], len(calls) - 1)]
            self._calls[module] += 1
            for name, mask in {**dict(zip(names, args, strict=False)), **kwargs}.items():
                if not (name in told and isinstance(mask, Tensor) and mask.ndim == 2):
                    continue
                if name in _PADDED:
                    # A float mask of padding is added to the scores: −∞ where there is padding.
                    self._kept[module, told[name]] = ~(mask < 0 if mask.is_floating_point() else mask.bool())
                elif not mask.is_floating_point():
                    self._kept[module, told[name]] = mask.bool()

        return listen

    def taken(self, rows: Tensor) -> Callable[[Layer], Tensor | None]:
        """Which positions of a batch are no padding, (m, positions) bool, by layer; forgotten here.

        Args:
            rows: Which samples of the probe the batch is of, (m,). The mask nearest around a layer speaks for it,
                then what goes in, then what attention is told of the same sequence anywhere.
        """
        heard, self._kept = {key: mask for key, mask in self._kept.items() if len(mask) == len(rows)}, {}
        self._calls.clear()

        def kept(layer: Layer) -> Tensor | None:
            module = layer.port.module
            while True:
                mask = heard.get((module, layer.port.sequence))
                if mask is not None and mask.shape[1] == _width(layer):
                    return mask
                if not module:
                    break
                module = module.rpartition(".")[0]
            mask = self._padding.of_layer(layer)
            if mask is not None:
                return mask[rows.to(mask.device)]
            told = [mask for (_, sequence), mask in heard.items() if sequence and sequence == layer.port.sequence]
            return _agreed([mask for mask in told if mask.shape[1] == _width(layer)])

        return kept


def _width(layer: Layer) -> int | None:
    """The number of a layer's positions; None where they are not known."""
    axis = layer.port.positions
    return None if axis is None else layer.shape[axis]


def _agreed(masks: Sequence[Tensor]) -> Tensor | None:
    """What all masks say; None where there are none, or they differ."""
    return masks[0] if masks and all(torch.equal(mask, masks[0]) for mask in masks) else None


def _told(traced: Trace) -> dict[str, list[dict[str, frozenset[str]]]]:
    """The arguments that are masks of padding, by module and call, each with the sequence whose length it follows.

    They have a row for each sample, which a causal mask has not.
    """
    told: dict[str, list[dict[str, frozenset[str]]]] = {}
    for call in sorted(traced.calls(), key=lambda call: call.number):
        if {*_PADDED, _KEPT} & {*(names := argument_names(call.module))}:
            told.setdefault(call.name, []).append(dict(_masks(call, names)))
    return {name: calls for name, calls in told.items() if any(calls)}


def _masks(call: Call, names: Sequence[str]) -> Iterator[tuple[str, frozenset[str]]]:
    for (side, path), place in call.places.items():
        if side != IN or len(path) != 2 or place.axis != 0 or place.positions != 0 or len(place.shape) != 1:
            continue
        name = path[1] if isinstance(path[1], str) else names[path[1]] if path[1] < len(names) else ""
        if place.sequence and name in (*_PADDED, _KEPT):
            yield name, place.sequence
