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
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from infoplane.errors import InfoplaneError, unknown
from infoplane.isolation import eval_mode
from infoplane.samples import Inputs
from infoplane.trace import IN, OUT, Call, Node, Path, Trace, path_text, plain_name, tensors_in, trace, walk

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

# Operations that are the activation of the layer before them, by the names that torch has for them.
ACTIVATIONS = frozenset(
    {
        *("relu", "relu6", "leaky_relu", "gelu", "silu", "elu", "celu", "selu", "tanh", "sigmoid", "hardtanh"),
        *("hardsigmoid", "hardswish", "mish", "softplus", "glu", "threshold", "clamp", "clamp_min", "clamp_max"),
        *("_prelu_kernel", "rrelu_with_noise", "log_sigmoid_forward", "sin", "_softmax"),
    }
)


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
    """

    module: str
    number: int | None
    side: str
    path: Path
    axis: int
    calls: int


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
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    calls: int = 1
    port: Port = Port("", None, OUT, (), 0, 1)
    unit: tuple[str, int] = ("", 0)
    note: str = ""
    warning: str = ""


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
    for call in walk(root):
        call.opened = bool(call.children) and (
            call.parent is None or _is_sequential(call.module) or _is_chain(call)
        )
    _close_blocks(root)
    units = _without_repeats(_units(root))
    picked = [_recorded(unit, unit is units[-1]) for unit in units]
    layers = {layer.name: layer for layer in _natural(picked, _count(traced))}
    if not layers:
        reasons = [f"{call.name}: {call.trouble}" for call in walk(root) if call.parent and call.trouble]
        raise InfoplaneError(
            f"found no layer to record in {type(root.module).__name__}: no submodule gives one row per sample"
            f"{f' ({reasons[0]})' if reasons else ''}; build it from submodules that do"
        )
    return list(layers.values())


def _natural(picked: Sequence[Call | None], counts: Mapping[str, int]) -> Iterator[Layer]:
    for call in picked:
        if call is not None:
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
    match = re.fullmatch(r"([^#@]*)(?:#(\d+|\*))?(?:@(.+))?", pattern)
    calls: dict[str, list[Call]] = {}
    for call in traced.calls():
        if call.parent:
            calls.setdefault(call.name, []).append(call)
    base, wanted, path = match.groups() if match else (pattern, None, None)
    names = [name for name in calls if _matches(name, base)]
    recordable = [name for name in names if calls[name][-1].outputs]
    if not recordable:
        for name in names:
            raise InfoplaneError(f"layer {name} cannot be recorded: {calls[name][-1].trouble}; choose another")
        raise unknown("layer", pattern, [name for name in calls if calls[name][-1].outputs])
    counts = _count(traced)
    found = []
    for name in recordable:
        for call in _numbered(sorted(calls[name], key=lambda call: call.number), wanted):
            found.append(_layer(call, counts, None if wanted is None else call.number, _path(call, path)))
    return found


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
    place = call.places[OUT, chosen]
    index = None if call.in_pieces else call.number
    port, shape = Port(call.name, index, OUT, chosen, place.axis, calls), place.shape
    notes = _notes(call, calls, number, chosen)
    received = _received(call) if chosen == call.outputs[0] else Received()
    if received.port is not None:
        other, side, where = received.port
        place = other.places[side, where]
        total = 1 if other.in_pieces else counts[other.name]
        port = Port(other.name, None if other.in_pieces else other.number, side, where, place.axis, total)
        shape = place.shape
        by = f"{other.name} receives" if side == IN else f"{other.name} gives"
        notes.insert(0, f"with {', '.join(received.operations)} in forward, as {by} it")
    if place.axis:
        notes.append(f"samples on axis {place.axis}")
    return Layer(
        name,
        shape,
        type(call.module).__name__,
        calls,
        port,
        (call.name, call.number),
        "; ".join(notes),
        _warning(call, calls, number, received),
    )


def _notes(call: Call, calls: int, number: int | None, path: Path) -> list[str]:
    notes = []
    if calls > 1 and number is None:
        notes.append(f"last of {calls} calls, {call.name}#0 to {call.name}#{calls - 1}")
    if len(call.outputs) > 1:
        others = [path_text(other) for other in call.outputs if other != path]
        notes.append(f"tensor {path_text(path)} of its output, which also has {', '.join(others)}")
    return notes


def _warning(call: Call, calls: int, number: int | None, received: Received) -> str:
    if received.followed_by:
        return (
            f"{call.name} is followed by {received.followed_by} in forward: its value before it is recorded; "
            "write it as a module, such as nn.ReLU()"
        )
    if calls > 1 and number is None:
        return (
            f"{call.name} is called {calls} times in a forward pass: its last call is recorded; "
            f"{call.name}#0 to {call.name}#{calls - 1} name one of them"
        )
    return ""


@dataclass(frozen=True)
class Received:
    """What becomes of an output in `forward` before the next module has it.

    Attributes:
        port: Where the outcome enters or leaves a call; None where nothing is done, or no one path leads there.
        operations: What was done on the way, activations and pooling.
        followed_by: The activation that could not be followed; "" without one.
    """

    port: tuple[Call, str, Path] | None = None
    operations: tuple[str, ...] = ()
    followed_by: str = ""


def _received(call: Call) -> Received:
    """What the next module receives of an output, where `forward` applies an activation in between.

    All operations between modules on the way are followed, branches too (x * sigmoid(x)), as long as they take in
    nothing but this output and meet again in one tensor.
    """
    start = call.result
    if start is None:
        return Received()
    around = {*_around(call)}
    region, pending = {start}, _used(start, around)
    activations = [_spelled(node) for node in pending if node.op in ACTIVATIONS] if _enters(start, call) else []
    while pending and not _enters(start, call):
        node = min(pending, key=lambda node: node.index)
        if not region.issuperset(node.sources):
            break
        if not activations and node.numel != start.numel and node.op not in ACTIVATIONS:
            return Received()
        region.add(node)
        if node.op in ACTIVATIONS:
            activations.append(_spelled(node))
        following = _used(node, around)
        pending = (pending | following) - {node}
        if activations and pending == following:
            port = _surface(node, around)
            if port is not None:
                is_end = port[0].parent is None and port[1] == OUT
                return Received() if is_end else Received(port, _operations(region))
        if _enters(node, call):
            break
    activations += [_spelled(node) for node in pending if node.op in ACTIVATIONS]
    return Received(followed_by=activations[0] if activations else "")


def _used(node: Node, around: set[Call]) -> set[Node]:
    """What is made of a tensor between modules, in the `forward` of what is around; dead ends are none of it."""
    return {user for user in node.users if user.owner in around and (user.users or user.ports)}


def _around(call: Call) -> Iterator[Call]:
    while call.parent:
        call = call.parent
        yield call


def _enters(node: Node, call: Call) -> bool:
    """Whether a module is given this tensor after the call has given it."""
    own = next((place for place, port in enumerate(node.ports) if port[0] is call and port[1] == OUT), -1)
    return any(side == IN for _, side, _ in node.ports[own + 1 :])


def _surface(node: Node, around: set[Call]) -> tuple[Call, str, Path] | None:
    """The first call that takes a tensor in, or is left with it, with one row for each sample."""
    for other, side, path in node.ports:
        if (side, path) in other.places and (side == IN or other in around):
            return other, side, path
    return None


def _spelled(node: Node) -> str:
    return {"_prelu_kernel": "prelu", "_softmax": "softmax", "log_sigmoid_forward": "logsigmoid"}.get(
        node.op, node.op
    )


def _operations(region: set[Node]) -> tuple[str, ...]:
    """The activations and poolings among some operations, in order."""
    ordered = sorted(region, key=lambda node: node.index)
    return tuple(_spelled(node) for node in ordered if node.op in ACTIVATIONS or "pool" in node.op)


def _is_sequential(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _is_chain(call: Call) -> bool:
    """Whether one path, never branching, leads from the main argument of a container to its output.

    Each child counts as one step: what branches and merges inside it is its own affair. Further arguments (the
    memory of a decoder, a condition) come from the side.
    """
    if not call.results:
        return False
    steps = {
        result: list(dict.fromkeys(child.sources))
        for child in call.children
        for result in child.results
        if result not in child.sources
    }
    # node -> whether the main argument of the container lies behind it
    reaches = {source: source in call.main for source in call.sources}
    stack = [call.results[0]]
    while stack:  # a loop, since the graph may be deeper than Python's recursion limit
        node = stack[-1]
        if node not in steps:
            steps[node] = node.sources
        unseen = [] if node in reaches else [parent for parent in steps[node] if parent not in reaches]
        if unseen:
            stack.extend(unseen)
            continue
        stack.pop()
        if node not in reaches:
            paths = sum(reaches[parent] for parent in steps[node])
            if paths > 1:
                return False
            reaches[node] = paths == 1
    return reaches[call.results[0]]


def _close_blocks(root: Call) -> None:
    """Open no container of a class that branches elsewhere: blocks of one kind are units of one kind."""
    calls = [call for call in walk(root) if call.parent]
    blocks = {type(call.module) for call in calls if call.children and not call.opened}
    blocks |= {type(call.module) for call in calls if _is_block_of_blocks(call, root.module)}
    for call in calls:
        call.opened = call.opened and type(call.module) not in blocks


def _is_block_of_blocks(call: Call, network: nn.Module) -> bool:
    """Whether this is one of several alike in a ModuleList, made of unlike branching parts (as T5's blocks are).

    Attention, then a feed-forward part: what the architecture repeats is the pair.
    """
    stack, _, number = call.name.rpartition(".")
    if not (call.opened and number.isdigit() and call.children):
        return False
    alike = network.get_submodule(stack)
    kinds = [type(child.module) for child in call.children if child.results]
    return (
        isinstance(alike, nn.ModuleList)
        and sum(type(module) is type(call.module) for module in alike) > 1
        and all(child.children and not child.opened for child in call.children if child.results)
        and len(kinds) == len(set(kinds)) > 1
    )


def _is_a(call: Call, *endings: str) -> bool:
    """Whether the class of this, or a base of it, is named so (as a user's own LayerNorm2d is).

    It is a leaf, or has no parameters but its own: a normalisation may hold its activation.
    """
    pattern = re.compile(rf"({'|'.join(endings)})(Act)?(\dd)?$")
    leaf = not any(any(True for _ in child.module.parameters()) for child in call.children)
    return leaf and any(pattern.search(base.__name__) for base in type(call.module).__mro__)


def _is_transparent(call: Call) -> bool:
    return _is_a(call, "Dropout", "StochasticDepth", "Flatten", "Identity", "Permute", "Sequential")


def _is_head(call: Call) -> bool:
    """Whether a unit begins here or, in an opened container, somewhere inside."""
    if call.opened and any(_is_head(child) for child in call.children):
        return True
    if _is_a(call, "Norm", "PReLU"):
        return False
    # The children of an opened container begin no unit: only parameters of its own are left to do so.
    return _has_parameters(call.module, recurse=not call.opened)


def _has_parameters(module: nn.Module, recurse: bool) -> bool:
    """Whether a module has parameters, packed ones of quantised layers too."""
    modules = module.modules() if recurse else [module]
    packed = any(hasattr(one, "_packed_params") for one in modules)
    return packed or any(True for _ in module.parameters(recurse=recurse))


def _is_opened(call: Call) -> bool:
    """Opened and not itself the layer with the parameters (such as a layer that calls its activation)."""
    own = _has_parameters(call.module, recurse=False)
    return call.opened and not (own and not any(_is_head(child) for child in call.children))


def _parts(call: Call) -> Iterator[Call | None]:
    """Leaves and whole blocks in call order; None where a container with units of its own begins."""
    for child in call.children:
        if not child.results:
            continue  # positions, frequencies: constants of the trace
        if _is_opened(child):
            if _is_head(child):
                yield None
            yield from _parts(child)
        elif not _is_transparent(child):
            yield child


def _units(root: Call) -> list[list[Call]]:
    """The parts in groups, each with one layer or block that has parameters.

    What stands before it in its own container belongs to it (norm-activation-convolution), else what follows.
    """
    units: list[list[Call]] = []
    prefix: list[Call] | None = []
    for part in _parts(root):
        if part is None:
            prefix = prefix or []
        elif _is_head(part):
            units.append([*(prefix or []), part])
            prefix = None
        elif prefix is not None:
            prefix.append(part)
        else:
            units[-1].append(part)
    return units


def _without_repeats(units: list[list[Call]]) -> list[list[Call]]:
    """The units, of which those of a layer that is called several times stay only where each builds on the last.

    Of a cell that reads a sequence the last call stays, of an embedding that is used twice the first.
    """
    by_head: dict[str, list[Call]] = {}
    for unit in units:
        head = _head(unit)
        by_head.setdefault(head.name, []).append(head)
    kept: set[int] = set()
    for heads in by_head.values():
        builds = all(_builds_on(after, before) for before, after in pairwise(heads))
        one = heads[0] if heads[0].in_pieces or _is_a(heads[0], "Embedding") else heads[-1]
        kept.update(id(head) for head in (heads if builds and not heads[0].in_pieces else [one]))
    return [unit for unit in units if id(_head(unit)) in kept]


def _builds_on(call: Call, before: Call) -> bool:
    """Whether all that a call is given comes through what another one gave."""
    seen, stack = set(before.results), list(call.sources)
    reached = False
    while stack:
        node = stack.pop()
        reached = reached or node in before.results
        if node in seen:
            continue
        seen.add(node)
        if not node.sources:
            return False
        stack.extend(node.sources)
    return reached


def _head(unit: list[Call]) -> Call:
    return next(call for call in unit if _is_head(call))


def _recorded(unit: list[Call], is_last: bool) -> Call | None:
    """The call whose output stands for the unit."""
    head = _head(unit)

    def allowed(call: Call) -> bool:
        if call.shape is None:
            return False
        if call is head or is_last:
            return True
        pools = ("Pool",) if head.children else ("AdaptiveAvgPool", "AdaptiveMaxPool")
        return not _is_a(call, *pools)

    after = unit[unit.index(head) :]
    best = next((call for call in reversed(after) if allowed(call)), None)
    return best and _enclosing(best, unit, head)


def _enclosing(call: Call, unit: list[Call], head: Call) -> Call:
    """The largest container that ends with the call and holds nothing but its unit, else the call."""
    until = unit[: unit.index(call) + 1]
    container = call.parent
    while container and container.parent and container.shape is not None:
        parts = [part for part in _parts(container) if part]
        if head not in parts or parts != until[-len(parts) :]:
            break
        call, container = container, container.parent
    return call


def _count(traced: Trace) -> dict[str, int]:
    """How often a forward pass calls each module."""
    counts: dict[str, int] = {}
    for call in traced.calls():
        counts[call.name] = counts.get(call.name, 0) + 1
    return counts
