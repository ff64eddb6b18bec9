"""Which layers of a network can be recorded, and which of them are its natural ones.

A natural layer is a unit of the chain X -> T_1 -> ... -> T_L: a layer with its normalisation, activation and
pooling, or a whole block where the computation branches (residual sum, concatenation, gating), recorded where
the branches have met again. Inside such a block the activations are no Markov chain.

**Names.** `conv1` is the output of a module, `act#1` that of its second call where it has several (without a number
the last one), `lstm@1.0` another tensor of an output that holds several. Where `forward` applies an activation to
an output before any module receives it (`F.relu(self.fc1(x))`), the layer is what the next module receives.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from infoplane.errors import InfoplaneError, unknown
from infoplane.recording.channels import channel_axis
from infoplane.recording.isolation import eval_mode, is_scripted
from infoplane.recording.received import Received, received
from infoplane.recording.samples import Inputs
from infoplane.recording.trace import (
    IN,
    OUT,
    Call,
    Path,
    Place,
    Trace,
    origins,
    path_text,
    plain_name,
    tensors_in,
    trace,
    walk,
)
from infoplane.recording.units import recorded_calls

__all__ = [
    "Layer",
    "Port",
    "eval_mode",
    "hookable_layers",
    "natural_layers",
    "parameter_names",
    "select_layers",
    "tensor_of",
]


@dataclass(frozen=True)
class Port:
    """Where the values of a layer are taken.

    Attributes:
        module: Name of the module.
        number: Which of its calls, counted from 0 on; None for all, which share the samples among them.
        side: "out", what it gives, or "in", what it is given.
        path: Place of the tensor in that.
        axis: The axis of samples.
        calls: How often a forward pass calls the module.
        positions: The axis of one sample that follows the length of the sequences; None where none is known to.
        inputs: Names of the inputs that the values were made of.
        sequence: Names of the inputs whose length the positions follow.
        channels: The axis of one sample that holds the channels.
    """

    module: str
    number: int | None
    side: str
    path: Path
    axis: int
    calls: int
    positions: int | None = None
    inputs: frozenset[str] = frozenset()
    sequence: frozenset[str] = frozenset()
    channels: int = 0


@dataclass(frozen=True)
class Layer:
    """A submodule whose output can be recorded.

    Attributes:
        name: Its name in `model.named_modules()`, with the number of the call and the place of the tensor where
            these are needed.
        shape: Shape of one sample of its output.
        kind: Class name of the module.
        calls: How often one forward pass calls it.
        port: Where its values are taken.
        unit: Name of the module and number of the call that end its unit.
        note: What else decides its values: an activation in `forward`, which call, which tensor, which axis.
        warning: What a user should know before recording it; "" where there is nothing.
        ends: Name of the block whose unit it ends, as a normalisation after the last block does; "" for others.
        channels: The axis of one sample of its own output that holds the channels, whatever is recorded of it.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    calls: int = 1
    port: Port = Port("", None, OUT, (), 0, 1)
    unit: tuple[str, int] = ("", 0)
    note: str = ""
    warning: str = ""
    ends: str = ""
    channels: int = 0


def tensor_of(output: Any) -> Tensor:
    """The tensor a module gives: its output, or the first tensor in a tuple, list, dict or dataclass.

    Raises:
        InfoplaneError: There is no tensor in the output.
    """
    for _, tensor in tensors_in(output):
        return tensor
    raise InfoplaneError(f"no tensor in an output of type {type(output).__name__}; choose another layer")


def hookable_layers(model: nn.Module, example: Tensor | Inputs) -> list[Layer]:
    """All submodules that give a tensor with one row per sample, in the order in which they finish last.

    Args:
        model: Any network; it stays as it was, and so do all random states.
        example: Two inputs (2, *input shape) or, better, three that differ.
    """
    return hookable_of(trace(model, example))


def hookable_of(traced: Trace) -> list[Layer]:
    """As `hookable_layers`, of a network that is traced already."""
    last = {call.name: call for call in traced.calls() if call.parent}
    counts = _count(traced)
    # A module called several times stands where it is called last.
    order = [call for call in traced.calls() if last.get(call.name) is call and call.outputs]
    return [_layer(call, counts) for call in order]


def natural_layers(model: nn.Module, example: Tensor | Inputs) -> list[Layer]:
    """The natural units of a network, from input to output; the last one is the logits.

    A Sequential is opened, and so is every container through which one path leads from its main argument to its
    output. Any other container is one unit, recorded where its branches have met, and so are all modules of its
    class (in MobileNet only some of the inverted residuals branch). The network itself is always opened, so sums
    written into its own `forward` are not seen. A unit begins at a layer with parameters and ends at the last
    normalisation, activation or pooling after it; dropout is never what is recorded, nor is pooling after a
    block or, before the last unit, global pooling. A container that holds exactly one unit gives it its name.
    A layer that is called several times is a unit each time where each call works on what the one before gave,
    and one unit where it does not (a cell that reads a sequence: its last call).

    Args:
        model: Any network; it stays as it was, and so do all random states.
        example: Two inputs (2, *input shape) or, better, three that differ.

    Raises:
        InfoplaneError: The network has no layer that could be recorded.
    """
    return natural_of(trace(model, example))


def natural_of(traced: Trace) -> list[Layer]:
    """As `natural_layers`, of a network that is traced already."""
    root = traced.root
    picked, _ = recorded_calls(root)
    layers = {layer.name: layer for layer in _natural(picked, _count(traced))}
    if not layers:
        reasons = [f"{call.name}: {call.trouble}" for call in walk(root) if call.parent and call.trouble]
        reason = f" ({reasons[0]})" if reasons else "" if root.children else " (it calls none)"
        raise InfoplaneError(
            f"found no layer to record in {type(root.module).__name__}: no submodule gives one row per sample"
            f"{reason}; build it from submodules that do, such as nn.Sequential"
        )
    return list(layers.values())


def left_out(traced: Trace) -> list[str]:
    """What the natural layers lack, in one line each: layers without a row for each sample, and lost ways."""
    lines = [
        f"{head.name} is left out: {head.trouble}; record a module around it, or name another layer"
        for head in recorded_calls(traced.root)[1]
        if head.trouble
    ]
    scripted = [name for name, module in traced.root.module.named_modules() if is_scripted(module)]
    if scripted:
        lines.append(f"{scripted[0]} is left out: TorchScript calls no hooks; put in the module it was made from")
    if not traced.root.results:
        lines.append(
            "the way of the data to the output is lost (NumPy, numbers taken out of tensors): layers after that "
            "are left out unless they are named"
        )
    return lines


def _natural(picked: Sequence[Call], counts: Mapping[str, int]) -> Iterator[Layer]:
    for call in picked:
        number = None if call.in_pieces or counts[call.name] == 1 else call.number
        yield _layer(call, counts, number)


def select_layers(model: nn.Module, example: Tensor | Inputs, patterns: Sequence[str] | None = None) -> list[Layer]:
    """The layers to record: the natural ones, or those that match names or shell patterns.

    Args:
        model: Any network.
        example: Two inputs (2, *input shape) or, better, three that differ.
        patterns: Names or shell patterns over `hookable_layers`, in which a star stays within one part of a
            dotted name (`conv*` is conv1 and conv2, not conv1.0), with `#k` or `#*` for calls and `@place` for
            another tensor of the output; None for the natural layers.

    Raises:
        InfoplaneError: A pattern matches no layer, with the nearest names, or one that cannot be recorded, with
            the reason.
    """
    return selected_of(trace(model, example), patterns)


def selected_of(traced: Trace, patterns: Sequence[str] | None = None) -> list[Layer]:
    """As `select_layers`, of a network that is traced already."""
    if patterns is None:
        return natural_of(traced)
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not patterns:
        raise InfoplaneError("the list of layers is empty; leave it out to record the natural layers")
    chosen = {layer.name: layer for pattern in patterns for layer in _named(traced, pattern)}
    places = {(call.name, call.number): place for place, call in enumerate(traced.calls())}
    return sorted(chosen.values(), key=lambda layer: places[layer.unit])


def _named(traced: Trace, pattern: str) -> list[Layer]:
    """The layers that one pattern names."""
    calls: dict[str, list[Call]] = {}
    for call in traced.calls():
        if call.parent:
            calls.setdefault(call.name, []).append(call)
    match = None if pattern in calls else re.fullmatch(r"([^#@]*)(?:#(\d+|\*))?(?:@(.+))?", pattern)
    base, wanted, path = match.groups() if match else (pattern, None, None)
    names = [pattern] if pattern in calls else [name for name in calls if _matches(name, base)]
    recordable = [name for name in names if calls[name][-1].outputs]
    if not recordable:
        for name in names:
            raise InfoplaneError(f"layer {name} cannot be recorded: {calls[name][-1].trouble}; choose another")
        raise unknown("layer", pattern, [name for name in calls if calls[name][-1].outputs])
    counts = _count(traced)
    layers = []
    for name in recordable:
        for call in _numbered(sorted(calls[name], key=lambda call: call.number), wanted):
            layers.append(_layer(call, counts, None if wanted is None else call.number, _path(call, path)))
    return layers


def _numbered(calls: list[Call], wanted: str | None) -> list[Call]:
    """The calls of a module that `#wanted` names; without it the last one."""
    if wanted is None or calls[0].in_pieces:
        return calls[-1:]
    if wanted == "*":
        return calls
    if int(wanted) >= len(calls):
        raise InfoplaneError(
            f"{calls[0].name} has no call {wanted}: a forward pass calls it {len(calls)} times, "
            f"{calls[0].name}#0 to {calls[0].name}#{len(calls) - 1}"
        )
    return [calls[int(wanted)]]


def _path(call: Call, wanted: str | None) -> Path | None:
    if wanted is None:
        return None
    for path in call.outputs:
        if path_text(path) == wanted:
            return path
    raise unknown(f"tensor in the output of {call.name}", wanted, [path_text(path) for path in call.outputs])


def parameter_names(traced: Trace, layers: Sequence[Layer]) -> list[list[str]]:
    """The parameters of each layer's unit: those of modules that finish after the layer before it and up to it.

    A module that is called several times counts where it is called last, one that is never called itself (the
    projection inside an attention) where the module around it is. Parameters after the last layer, and those of
    modules around all layers, are in no unit; a tied parameter is in the first of its modules.

    Args:
        traced: The network, traced.
        layers: Layers from input to output, as `select_layers` gives them.

    Returns:
        Names as in `model.named_parameters()`, one list per layer.
    """
    calls = traced.calls()
    finished = {call.name: place for place, call in enumerate(calls)}
    places = {(call.name, call.number): place for place, call in enumerate(calls)}
    ends = [places[layer.unit] for layer in layers]
    names: list[list[str]] = [[] for _ in layers]
    for name, _ in traced.root.module.named_parameters():
        owner = plain_name(name).rpartition(".")[0]
        while owner not in finished:
            owner = owner.rpartition(".")[0]
        unit = bisect_left(ends, finished[owner])
        if unit < len(layers):
            names[unit].append(name)
    return names


def _matches(name: str, pattern: str) -> bool:
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _layer(call: Call, counts: Mapping[str, int], number: int | None = None, path: Path | None = None) -> Layer:
    """A call as a layer, its name with the number of the call and the place of the tensor where they are given."""
    chosen = call.outputs[0] if path is None else path
    calls = 1 if call.in_pieces else counts[call.name]
    name = call.name + (f"#{number}" if number is not None else "") + (f"@{path_text(path)}" if path else "")
    notes = _notes(call, calls, number, chosen)
    after = received(call) if chosen == call.outputs[0] else Received()
    port, place = _port(call, (OUT, chosen), calls)
    channels = port.channels
    if after.port is not None:
        other, side, where = after.port
        port, place = _port(other, (side, where), 1 if other.in_pieces else counts[other.name])
        by = f"{other.name} receives" if side == IN else f"{other.name} gives"
        notes.insert(0, f"with {', '.join(after.operations)} in forward, as {by} it")
    if place.axis:
        notes.append(f"samples on axis {place.axis}")
    return Layer(
        name,
        place.shape,
        type(call.module).__name__,
        calls,
        port,
        (call.name, call.number),
        "; ".join(notes),
        _warning(call, calls, number, after),
        call.ends,
        channels,
    )


def _port(call: Call, key: tuple[str, Path], calls: int) -> tuple[Port, Place]:
    """Where a tensor that a call takes or gives is recorded, and where its samples are."""
    place, node = call.places[key], call.nodes.get(key)
    number = None if call.in_pieces else call.number
    inputs = origins(node) if node else frozenset()
    channels = channel_axis(call, key)
    return Port(
        call.name, number, *key, place.axis, calls, place.positions, inputs, place.sequence, channels
    ), place


def _notes(call: Call, calls: int, number: int | None, path: Path) -> list[str]:
    notes = []
    if calls > 1 and number is None:
        notes.append(f"last of {calls} calls, {call.name}#0 to {call.name}#{calls - 1}")
    if len(call.outputs) > 1:
        others = [path_text(other) for other in call.outputs if other != path]
        notes.append(f"tensor {path_text(path)} of its output, which also has {', '.join(others)}")
    return notes


def _warning(call: Call, calls: int, number: int | None, after: Received) -> str:
    if after.joined_by:
        then = f" and followed by {after.followed_by}" if after.followed_by else ""
        return (
            f"{call.name} is joined with other data in forward ({after.joined_by}){then}: its value before that is "
            "recorded; put what belongs together into a module of its own"
        )
    if after.head:
        return (
            f"{call.name} is followed in forward by a product with parameters ({after.head}), the output: "
            "neither that nor what comes before it is recorded; put it into a module, such as nn.Linear"
        )
    if after.followed_by:
        return (
            f"{call.name} is followed by {after.followed_by} in forward: its value before it is recorded; "
            "write it as a module, such as nn.ReLU()"
        )
    if calls > 1 and number is None:
        return (
            f"{call.name} is called {calls} times in a forward pass: its last call is recorded; "
            f"{call.name}#0 to {call.name}#{calls - 1} name one of them"
        )
    return ""


def _count(traced: Trace) -> dict[str, int]:
    """How often a forward pass calls each module."""
    counts: dict[str, int] = {}
    for call in traced.calls():
        counts[call.name] = counts.get(call.name, 0) + 1
    return counts
