"""Which layers of a network can be recorded, and which of them are its natural ones.

A natural layer is a unit of the chain X -> T_1 -> ... -> T_L: a layer with its normalisation, activation and
pooling, or a whole block where the computation branches (residual sum, concatenation, gating), recorded where
the branches have met again. Inside such a block the activations are no Markov chain.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from infoplane.errors import InfoplaneError, unknown


@dataclass(frozen=True)
class Layer:
    """A submodule whose output can be recorded.

    Attributes:
        name: Its name in `model.named_modules()`.
        shape: Shape of its output without the batch axis; of the last call if there are several.
        kind: Class name of the module.
        calls: How often one forward pass calls it.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    calls: int = 1


def tensor_of(output: Any) -> Tensor:
    """The tensor a module gives: its output, or the first tensor in a tuple, list or dict.

    Raises:
        InfoplaneError: There is no tensor in the output.
    """
    for tensor in _tensors(output):
        return tensor
    raise InfoplaneError(f"no tensor in an output of type {type(output).__name__}; choose another layer")


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode within the block; afterwards training flags and random state are as they were."""
    flags = {module: module.training for module in model.modules()}
    first = next(model.parameters(), None)
    devices = [first.device] if first is not None and first.is_cuda else []
    with torch.random.fork_rng(devices):
        model.eval()
        try:
            yield
        finally:
            for module, flag in flags.items():
                module.training = flag


def hookable_layers(model: nn.Module, example: Tensor) -> list[Layer]:
    """All submodules that give a tensor with one row per sample, in the order in which they finish.

    Args:
        model: Any network; its training flags, buffers and the global random state stay as they were.
        example: Batch of two inputs (2, *input shape), on the device of the model.
    """
    calls = [call for call in _walk(_trace(model, example)) if call.parent and call.shape is not None]
    return _as_layers(calls, _count(calls))


def natural_layers(model: nn.Module, example: Tensor) -> list[Layer]:
    """The natural units of a network, from input to output; the last one is the logits.

    A Sequential is opened, and so is every container whose own computation is a chain in the autograd graph.
    Any other container is one unit, recorded where its branches have met, and so are all modules of its class
    (in MobileNet only some of the inverted residuals branch). The network itself is always opened, so sums
    written into its own `forward` are not seen. A unit begins at a layer with parameters and ends at the last
    normalisation, activation or pooling after it; dropout is never what is recorded, nor is pooling after a
    block or, before the last unit, global pooling. A container that holds exactly one unit gives it its name.

    Args:
        model: Any network; its training flags, buffers and the global random state stay as they were.
        example: Batch of two inputs (2, *input shape), on the device of the model.

    Raises:
        InfoplaneError: The network has no layer that could be recorded.
    """
    root = _trace(model, example)
    _close_blocks(root)
    counts = _count(_walk(root))
    units = _units(root)
    picked = [_recorded(unit, unit is units[-1], counts) for unit in units]
    layers = _as_layers([call for call in picked if call is not None], counts)
    if not layers:
        raise InfoplaneError(
            f"found no layer to record in {type(model).__name__}: no submodule gives one row per sample; "
            "build it from submodules"
        )
    return layers


def select_layers(model: nn.Module, example: Tensor, patterns: Sequence[str] | None = None) -> list[Layer]:
    """The layers to record: the natural ones, or those that match names or shell patterns.

    Args:
        model: Any network.
        example: Batch of two inputs (2, *input shape), on the device of the model.
        patterns: Names or shell patterns over `hookable_layers`, in which a star stays within one part of a
            dotted name (`conv*` is conv1 and conv2, not conv1.0); None for the natural layers.

    Raises:
        InfoplaneError: A pattern matches no layer; the message holds the nearest names.
    """
    if patterns is None:
        return natural_layers(model, example)
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not patterns:
        raise InfoplaneError("the list of layers is empty; leave it out to record the natural layers")
    layers = hookable_layers(model, example)
    chosen: set[str] = set()
    for pattern in patterns:
        matches = [layer.name for layer in layers if _matches(layer.name, pattern)]
        if not matches:
            raise unknown("layer", pattern, [layer.name for layer in layers])
        chosen.update(matches)
    return [layer for layer in layers if layer.name in chosen]


def parameter_names(model: nn.Module, example: Tensor, layers: Sequence[Layer]) -> list[list[str]]:
    """The parameters of each layer's unit: those of modules that finish after the layer before it and up to it.

    A module that is called several times counts where it is called last, one that is never called itself (the
    projection inside an attention) where the module around it is. Parameters after the last layer, and those of
    modules around all layers, are in no unit; a tied parameter is in the first of its modules.

    Args:
        model: Any network; its training flags, buffers and the global random state stay as they were.
        example: Batch of two inputs (2, *input shape), on the device of the model.
        layers: Layers from input to output, as `select_layers` gives them.

    Returns:
        Names as in `model.named_parameters()`, one list per layer.
    """
    finished = {call.name: place for place, call in enumerate(_walk(_trace(model, example)))}
    ends = [finished[layer.name] for layer in layers]
    names: list[list[str]] = [[] for _ in layers]
    for name, _ in model.named_parameters():
        owner = name.rpartition(".")[0]
        while owner not in finished:
            owner = owner.rpartition(".")[0]
        unit = bisect_left(ends, finished[owner])
        if unit < len(layers):
            names[unit].append(name)
    return names


def _matches(name: str, pattern: str) -> bool:
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


@dataclass(eq=False)
class _Call:
    """One call of a module during the traced forward pass.

    Attributes:
        sources: Autograd nodes of the tensors it was given.
        results: Autograd nodes of the tensors it gave.
        shape: Of its output without the batch axis; None if that is no tensor with one row per sample.
        opened: Whether its children are looked at one by one.
    """

    name: str
    module: nn.Module
    parent: _Call | None
    sources: list[Any]
    results: list[Any] = field(default_factory=list)
    children: list[_Call] = field(default_factory=list)
    shape: tuple[int, ...] | None = None
    opened: bool = False


def _trace(model: nn.Module, example: Tensor) -> _Call:
    """Run one forward pass in evaluation mode; the call of the model with all calls inside it."""
    roots: list[_Call] = []
    open_calls: list[_Call] = []

    def enter(name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        parent = open_calls[-1] if open_calls else None
        # Nodes are taken on entry: an in-place operation inside gives the same tensor another node.
        open_calls.append(_Call(name, module, parent, _nodes((args, kwargs))))

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        call = open_calls.pop()
        call.results = _nodes(output)
        call.shape = _row_shape(output, len(example))
        call.opened = bool(call.children) and (call.parent is None or _is_sequential(module) or _is_chain(call))
        (call.parent.children if call.parent else roots).append(call)

    with ExitStack() as stack:
        stack.enter_context(eval_mode(model))
        for name, module in model.named_modules():
            if "parametrizations" in name.split("."):
                continue  # they compute weights, not activations

            def before(module: nn.Module, args: Any, kwargs: Any, name: str = name) -> None:
                enter(name, module, args, kwargs)

            stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(leave).remove)
        with torch.enable_grad():
            model(_with_graph(example))
    return roots[0]


def _with_graph(example: Tensor) -> Tensor:
    """A copy that autograd follows, where its type allows; no leaf, so that in-place layers may change it."""
    copy = example.detach().clone()
    return copy.requires_grad_().clone() if copy.is_floating_point() else copy


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(tuple(value.values()))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)


def _nodes(value: Any) -> list[Any]:
    return [tensor.grad_fn for tensor in _tensors(value) if tensor.grad_fn is not None]


def _row_shape(output: Any, rows: int) -> tuple[int, ...] | None:
    tensor = next(_tensors(output), None)
    if tensor is None or tensor.ndim < 1 or len(tensor) != rows:
        return None
    return tuple(tensor.shape[1:])


def _is_sequential(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _is_chain(call: _Call) -> bool:
    """Whether one path, never branching, leads from the input of a container to its output.

    Each child counts as one step: what branches and merges inside it is its own affair.
    """
    if not call.results:
        return False
    steps = {
        result: child.sources for child in call.children for result in child.results if result not in child.sources
    }
    reaches = dict.fromkeys(call.sources, True)  # node -> whether the input of the container lies behind it
    stack = [call.results[0]]
    while stack:  # a loop, since the graph may be deeper than Python's recursion limit
        node = stack[-1]
        if node not in steps:
            steps[node] = [parent for parent, _ in node.next_functions if parent is not None]
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


def _close_blocks(root: _Call) -> None:
    """Open no container of a class that branches elsewhere: blocks of one kind are units of one kind."""
    calls = [call for call in _walk(root) if call.parent]
    blocks = {type(call.module) for call in calls if call.children and not call.opened}
    for call in calls:
        call.opened = call.opened and type(call.module) not in blocks


def _is_a(call: _Call, *endings: str) -> bool:
    """Whether this is a leaf whose class, or a base of it, is named so (as a user's own LayerNorm2d is)."""
    pattern = re.compile(rf"({'|'.join(endings)})(\dd)?$")
    return not call.children and any(pattern.search(base.__name__) for base in type(call.module).__mro__)


def _is_transparent(call: _Call) -> bool:
    return _is_a(call, "Dropout", "StochasticDepth", "Flatten", "Identity", "Permute", "Sequential")


def _is_head(call: _Call) -> bool:
    """Whether a unit begins here or, in an opened container, somewhere inside."""
    if call.opened and any(_is_head(child) for child in call.children):
        return True
    if _is_a(call, "Norm", "PReLU"):
        return False
    # The children of an opened container begin no unit: only parameters of its own are left to do so.
    return any(True for _ in call.module.parameters(recurse=not call.opened))


def _is_opened(call: _Call) -> bool:
    """Opened and not itself the layer with the parameters (such as a layer that calls its activation)."""
    own = any(True for _ in call.module.parameters(recurse=False))
    return call.opened and not (own and not any(_is_head(child) for child in call.children))


def _parts(call: _Call) -> Iterator[_Call | None]:
    """Leaves and whole blocks in call order; None where a container with units of its own begins."""
    for child in call.children:
        if _is_opened(child):
            if _is_head(child):
                yield None
            yield from _parts(child)
        elif not _is_transparent(child):
            yield child


def _units(root: _Call) -> list[list[_Call]]:
    """The parts in groups, each with one layer or block that has parameters.

    What stands before it in its own container belongs to it (norm-activation-convolution), else what follows.
    """
    units: list[list[_Call]] = []
    prefix: list[_Call] | None = []
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


def _recorded(unit: list[_Call], is_last: bool, counts: Mapping[str, int]) -> _Call | None:
    """The call whose output stands for the unit."""
    head = next(call for call in unit if _is_head(call))

    def allowed(call: _Call) -> bool:
        if call.shape is None:
            return False
        if call is head or is_last:
            return True
        pools = ("Pool",) if head.children else ("AdaptiveAvgPool", "AdaptiveMaxPool")
        # A module shared by several units (one ReLU for all) cannot stand for one of them.
        return not _is_a(call, *pools) and counts[call.name] == 1

    after = unit[unit.index(head) :]
    best = next((call for call in reversed(after) if allowed(call)), None)
    return best and _enclosing(best, unit, head, counts)


def _enclosing(call: _Call, unit: list[_Call], head: _Call, counts: Mapping[str, int]) -> _Call:
    """The largest container that ends with the call and holds nothing but its unit, else the call."""
    until = unit[: unit.index(call) + 1]
    container = call.parent
    while container and container.parent and counts[container.name] == 1 and container.shape is not None:
        parts = [part for part in _parts(container) if part]
        if head not in parts or parts != until[-len(parts) :]:
            break
        call, container = container, container.parent
    return call


def _walk(call: _Call) -> Iterator[_Call]:
    for child in call.children:
        yield from _walk(child)
    yield call


def _count(calls: Iterable[_Call]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for call in calls:
        counts[call.name] = counts.get(call.name, 0) + 1
    return counts


def _as_layers(calls: Iterable[_Call], counts: Mapping[str, int]) -> list[Layer]:
    """One layer per name; a module called several times stands where it is called last."""
    layers: dict[str, Layer] = {}
    for call in calls:
        assert call.shape is not None
        layers.pop(call.name, None)
        layers[call.name] = Layer(call.name, call.shape, type(call.module).__name__, counts[call.name])
    return list(layers.values())
