"""How data flow through a network: every call of a module, and every operation between them.

A network is traced as it is recorded, in evaluation mode and without gradients, on batches of two and of three
samples and once more on the three in another order. So the axis of samples is the one that follows the size of the
batch, and an output whose rows are in another order than the samples is known as such. The flow is that of the
operations which torch carries out (a `TorchDispatchMode`), so that it is there for integer inputs and for what
happens in a `forward` outside of any module. Parameters, sizes, masks and all else that does not come from the data
are constants of the trace.
"""

from __future__ import annotations

import dataclasses
import itertools
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence
from torch.utils._python_dispatch import TorchDispatchMode

from infoplane.errors import InfoplaneError
from infoplane.isolation import device_and_dtype, fingerprint, undisturbed, writes_parameters
from infoplane.samples import Inputs, as_inputs

Path = tuple[Any, ...]
Key = tuple[Any, ...]
IN, OUT = "in", "out"
ROTATED = (2, 0, 1)
# The outputs of embeddings' lookups, in which integers are names.
_LOOKUPS = ("embedding", "_embedding_bag", "_embedding_bag_forward_only", "scatter", "scatter_")


def tensors_in(value: Any, path: Path = ()) -> Iterator[tuple[Path, Tensor]]:
    """The tensors in what a module takes or gives, with their places, in order.

    Looks into tuples, lists, mappings, dataclasses and simple namespaces; a packed sequence is one padded tensor.
    """
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, PackedSequence):
        yield path, pad_packed_sequence(value, batch_first=True)[0]
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from tensors_in(item, (*path, key))
    elif isinstance(value, tuple | list):
        for key, item in enumerate(value):
            yield from tensors_in(item, (*path, key))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for entry in dataclasses.fields(value):
            yield from tensors_in(getattr(value, entry.name, None), (*path, entry.name))
    elif isinstance(value, types.SimpleNamespace):
        yield from tensors_in(vars(value), path)


def path_text(path: Path) -> str:
    """A place in an output as it is written after the name of a layer: `1.0`, `last_hidden_state`."""
    return ".".join(map(str, path))


class Node:
    """A tensor on the way through the network.

    Attributes:
        op: Name of the operation that made it, such as "relu"; "" for an input.
        sources: The nodes it was made of.
        owner: The innermost call during which it was made; None for an input.
        users: The nodes made of it.
        ports: Where it enters or leaves a call, in order.
        numel: Number of elements.
        index: Its number in the order in which the nodes were made.
    """

    __slots__ = ("index", "numel", "op", "owner", "ports", "sources", "users")

    def __init__(self, op: str, sources: list[Node], owner: Call | None, numel: int, index: int) -> None:
        self.op, self.sources, self.owner, self.numel, self.index = op, sources, owner, numel, index
        self.users: list[Node] = []
        self.ports: list[tuple[Call, str, Path]] = []
        for source in sources:
            source.users.append(self)


@dataclass(frozen=True)
class Place:
    """Where the samples of a tensor are.

    Attributes:
        axis: The axis of samples.
        shape: Shape of one sample.
    """

    axis: int
    shape: tuple[int, ...]


@dataclass(eq=False)
class Call:
    """One call of a module during a traced forward pass.

    Attributes:
        name: Name of the module, without the parts that torch.compile puts in.
        module: The module.
        parent: The call around it; None for that of the network.
        number: Which call of this module it is, from 0 on.
        main: Nodes of the first argument that carries data.
        sources: Nodes of all arguments.
        results: Nodes of what it gave.
        children: The calls inside it.
        shapes: Shapes of the tensors that it took and gave, by side and place.
        nodes: The nodes of those that carry data.
        places: Where the samples are, by side and place; filled in once the traces are compared.
        in_pieces: Whether the calls of the module share the samples of a batch among them.
        trouble: Why its output has no row for each sample; "" where it has.
        opened: Whether its children are looked at one by one.
    """

    name: str
    module: nn.Module
    parent: Call | None
    number: int
    main: list[Node] = field(default_factory=list)
    sources: list[Node] = field(default_factory=list)
    results: list[Node] = field(default_factory=list)
    children: list[Call] = field(default_factory=list)
    shapes: dict[tuple[str, Path], tuple[int, ...]] = field(default_factory=dict)
    nodes: dict[tuple[str, Path], Node] = field(default_factory=dict)
    values: dict[Path, Tensor] = field(default_factory=dict)
    places: dict[tuple[str, Path], Place] = field(default_factory=dict)
    in_pieces: bool = False
    trouble: str = ""
    opened: bool = False

    @property
    def outputs(self) -> list[Path]:
        """Places of the tensors it gave that have a row for each sample, those that carry data first."""
        found = [path for side, path in self.places if side == OUT]
        return sorted(found, key=lambda path: (OUT, path) not in self.nodes)

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of one sample of the first such tensor; None without any."""
        return self.places[OUT, self.outputs[0]].shape if self.outputs else None

    @property
    def result(self) -> Node | None:
        """The node of the first such tensor; None where it carries no data."""
        return self.nodes.get((OUT, self.outputs[0])) if self.outputs else None


@dataclass(frozen=True)
class Trace:
    """What tracing a network found.

    Attributes:
        root: The call of the network.
        modules: The modules by their names, without the parts that torch.compile puts in.
        tokens: Names of the inputs that are names of tokens, with their padding index (None without).
        gradients: Whether the network takes gradients in `forward`.
        writes: Whether it writes to its parameters in `forward`.
    """

    root: Call
    modules: dict[str, nn.Module]
    tokens: dict[str, int | None]
    gradients: bool
    writes: bool

    def calls(self) -> list[Call]:
        """All calls in the order in which they finish."""
        return [*walk(self.root)]


def walk(call: Call) -> Iterator[Call]:
    """A call and all calls inside it, in the order in which they finish."""
    for child in call.children:
        yield from walk(child)
    yield call


def trace(model: nn.Module, example: Tensor | Inputs) -> Trace:
    """Traces a network on a few samples; it stays as it was.

    Args:
        model: Any network.
        example: Inputs of at least two samples, better three that differ; the first three are used.

    Raises:
        InfoplaneError: The network fails on these samples, or has parameters without a shape yet.
    """
    inputs = example if isinstance(example, Inputs) else as_inputs(example)
    if any(map(nn.parameter.is_lazy, [*model.parameters(), *model.buffers()])):
        raise InfoplaneError(
            "the network has lazy layers whose parameters have no shape yet; run one batch through it first"
        )
    inputs.bind(model)
    three = inputs.take(torch.arange(3) % len(inputs))
    before = fingerprint(model)
    two, gradients = _with_or_without_gradients(model, three.take(torch.arange(2)))
    others = [_Tracing(model, part, gradients).run() for part in (three, three.take(torch.tensor(ROTATED)))]
    _compare(two, *others)
    writes = writes_parameters(model) or two.fingerprint != before
    return Trace(two.roots[0], two.modules, two.flow.tokens(), gradients, writes)


def _with_or_without_gradients(model: nn.Module, inputs: Inputs) -> tuple[_Tracing, bool]:
    """A tracing without gradients or, for a network that takes some in `forward`, with them."""
    try:
        return _Tracing(model, inputs, False).run(), False
    except InfoplaneError as error:
        if "require grad" not in str(error):
            raise
    return _Tracing(model, inputs, True).run(), True


class _Flow(TorchDispatchMode):
    """Follows the data from the inputs on.

    A tensor is known by the memory that it shows (`_key`): torch may give the same data in another Python object.
    """

    def __init__(self) -> None:
        super().__init__()
        self.open: list[Call] = []
        self.paused = False
        self._nodes: dict[Key, Node] = {}
        self._written: dict[int, Node] = {}
        self._views: dict[int, dict[Key, int]] = {}
        # Memory must outlive the trace, since tensors are known by their addresses.
        self._kept: list[Tensor] = []
        self._roots: dict[Node, str] = {}
        self._looked_up: list[tuple[Node, int | None]] = []
        self._count = itertools.count()

    def enter_input(self, name: str, tensor: Tensor) -> None:
        """Marks an input that carries data."""
        self._roots[self._made("", [], tensor)] = name

    def node(self, tensor: Tensor) -> Node | None:
        """The node of a tensor as it is now; None for a constant of the trace."""
        found = self._nodes.get(_key(tensor))
        return found or self._written.get(_storage(tensor))

    def tokens(self) -> dict[str, int | None]:
        """The inputs that are looked up in an embedding, with its padding index."""
        found: dict[str, int | None] = {}
        for node, padding in self._looked_up:
            for name in self._inputs_of(node):
                found[name] = padding if found.get(name) is None else found[name]
        return found

    def _inputs_of(self, node: Node) -> set[str]:
        seen, stack = {node}, [node]
        while stack:
            new = [source for source in stack.pop().sources if source not in seen]
            seen.update(new)
            stack.extend(new)
        return {self._roots[node] for node in seen if node in self._roots}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.paused:
            return func(*args, **kwargs)
        # Before the call: an operation in place changes what its own input is.
        given = (self.node(tensor) for _, tensor in tensors_in((args, kwargs)))
        sources = list(dict.fromkeys(node for node in given if node is not None))
        output = func(*args, **kwargs)
        if sources:
            name = func.overloadpacket.__name__
            self._note_lookup(name, args)
            written = {_key(tensor) for tensor in _written_to(func, args, kwargs)}
            for _, tensor in tensors_in(output):
                # A truth value decides which way the data go, and is none of them.
                if tensor.dtype != torch.bool:
                    node = self._made(name.removesuffix("_"), sources, tensor)
                    if _key(tensor) in written:
                        self._spread(node, tensor)
        return output

    def _note_lookup(self, name: str, args: Any) -> None:
        if name in _LOOKUPS:
            indices = args[2] if name.startswith("scatter") else args[1]
            node = self.node(indices) if isinstance(indices, Tensor) else None
            if node is not None and not indices.is_floating_point():
                padding = args[2] if name == "embedding" and len(args) > 2 and int(args[2]) >= 0 else None
                self._looked_up.append((node, padding))

    def _made(self, name: str, sources: list[Node], tensor: Tensor) -> Node:
        key, storage = _key(tensor), _storage(tensor)
        node = self._new(name, sources, tensor.numel())
        self._nodes[key] = node
        self._views.setdefault(storage, {})[key] = tensor.numel()
        self._kept.append(tensor)
        return node

    def _new(self, name: str, sources: list[Node], numel: int) -> Node:
        return Node(name, sources, self.open[-1] if self.open else None, numel, next(self._count))

    def _spread(self, node: Node, tensor: Tensor) -> None:
        """What else shows memory that was written to has changed too: as a whole, or in part."""
        storage = _storage(tensor)
        for key, numel in self._views[storage].items():
            if key != _key(tensor):
                whole = numel == tensor.numel()
                self._nodes[key] = node if whole else self._joined(self._nodes[key], node, numel)
        before = self._written.get(storage)
        self._written[storage] = node if before is None else self._joined(before, node, tensor.numel())

    def _joined(self, before: Node, node: Node, numel: int) -> Node:
        return self._new("copy", [node] if before in node.sources else [before, node], numel)


def _written_to(func: Any, args: Any, kwargs: Any) -> Iterator[Tensor]:
    """The tensors that an operation changes in place."""
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            yield from (tensor for _, tensor in tensors_in(value))


def _key(tensor: Tensor) -> Key:
    if tensor.layout != torch.strided or tensor.is_nested:
        return (id(tensor),)
    return (_storage(tensor), tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype)


def _storage(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):  # sparse and other tensors without a storage
        return -id(tensor)


class _Tracing:
    """One traced forward pass."""

    def __init__(self, model: nn.Module, inputs: Inputs, gradients: bool) -> None:
        self.model, self.inputs, self.gradients = model, inputs, gradients
        self.flow = _Flow()
        self.roots: list[Call] = []
        self.modules: dict[str, nn.Module] = {}
        self.fingerprint: list[tuple[int, float, float]] = []
        self._counts: dict[str, int] = {}

    def run(self) -> _Tracing:
        """Runs the network with hooks on every module.

        Raises:
            InfoplaneError: The network fails.
        """
        args, kwargs = self.inputs.batch(slice(None), *device_and_dtype(self.model))
        with ExitStack() as stack:
            stack.enter_context(undisturbed(self.model, gradients=self.gradients, parameters=True))
            for name, module in self.model.named_modules():
                if _is_layer(name, module):
                    self._watch(stack, plain_name(name), module)
            stack.enter_context(self.flow)
            for name, (_, tensor) in zip(self.inputs.parts, tensors_in((args, kwargs)), strict=True):
                if name not in self.inputs.masks:
                    self.flow.enter_input(name, tensor)
            try:
                self.model(*args, **kwargs)
                self.fingerprint = fingerprint(self.model)
            except Exception as error:  # whatever the network's own code raises
                raise InfoplaneError(
                    f"the network fails on {len(self.inputs)} samples of the probe in evaluation mode: "
                    f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                ) from error
        return self

    def _watch(self, stack: ExitStack, name: str, module: nn.Module) -> None:
        self.modules[name] = module

        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            parent = self.flow.open[-1] if self.flow.open else None
            number = self._counts.get(name, 0)
            self._counts[name] = number + 1
            call = Call(name, module, parent, number)
            # On entry: an operation in place gives the same tensor another node.
            self._note(call, IN, (args, kwargs))
            call.main, call.sources = self._data(args, kwargs)
            self.flow.open.append(call)

        def after(module: nn.Module, args: Any, output: Any) -> None:
            call = self.flow.open.pop()
            self._note(call, OUT, output)
            call.results = [node for (side, _), node in call.nodes.items() if side == OUT]
            self.flow.paused = True
            call.values = {path: plain(tensor) for path, tensor in tensors_in(output)}
            self.flow.paused = False
            (call.parent.children if call.parent else self.roots).append(call)

        stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
        stack.callback(module.register_forward_hook(after).remove)

    def _note(self, call: Call, side: str, value: Any) -> None:
        for path, tensor in tensors_in(value):
            # Complex numbers are recorded as (Re, Im).
            call.shapes[side, path] = (*tensor.shape, 2) if tensor.is_complex() else tuple(tensor.shape)
            node = self.flow.node(tensor)
            if node is not None:
                call.nodes[side, path] = node
                node.ports.append((call, side, path))

    def _data(self, args: Any, kwargs: Any) -> tuple[list[Node], list[Node]]:
        """Nodes of the first argument that carries data, and of all arguments."""
        arguments = [[self.flow.node(t) for _, t in tensors_in(value)] for value in (*args, *kwargs.values())]
        nodes = [[node for node in argument if node is not None] for argument in arguments]
        return next((found for found in nodes if found), []), [node for found in nodes for node in found]


def _is_layer(name: str, module: nn.Module) -> bool:
    """Whether a module computes activations: not weights, and no mere shell that torch.compile puts around one."""
    return "parametrizations" not in name.split(".") and not hasattr(module, "_orig_mod")


def plain_name(name: str) -> str:
    """The name of a module without the parts that torch.compile puts in."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def plain(tensor: Tensor) -> Tensor:
    """A copy of a tensor as dense real numbers, complex ones as (Re, Im) on a last axis."""
    tensor = tensor.detach()
    if tensor.is_quantized:
        return tensor.dequantize()
    if tensor.layout != torch.strided:
        return tensor.to_dense()
    return torch.view_as_real(tensor.resolve_conj()).clone() if tensor.is_complex() else tensor.clone()


def _compare(two: _Tracing, three: _Tracing, rotated: _Tracing) -> None:
    """Finds in the calls of the first tracing where the samples are, by comparison with the others."""
    calls = [_by_name(tracing.roots) for tracing in (two, three, rotated)]
    for name, found in calls[0].items():
        same = [found, calls[1].get(name, []), calls[2].get(name, [])]
        if not _compare_calls(*same):
            _compare_pieces(*same)


def _by_name(roots: Sequence[Call]) -> dict[str, list[Call]]:
    found: dict[str, list[Call]] = {}
    for call in walk(roots[0]):
        found.setdefault(call.name, []).append(call)
    return {name: sorted(calls, key=lambda call: call.number) for name, calls in found.items()}


def _compare_calls(two: list[Call], three: list[Call], rotated: list[Call]) -> bool:
    """Each call by itself; False where the calls share the samples of a batch among them, perhaps."""
    if not len(two) == len(three) == len(rotated):
        return False
    for calls in zip(two, three, rotated, strict=True):
        _compare_one(*([call] for call in calls))
    return len(two) == 1 or any(call.outputs for call in two)


def _compare_pieces(two: list[Call], three: list[Call], rotated: list[Call]) -> None:
    if not three or not rotated:
        return
    _compare_one(two, three, rotated)
    for call in two:
        call.in_pieces = bool(call.outputs)
        call.places, call.trouble = two[0].places, two[0].trouble


def _compare_one(two: list[Call], three: list[Call], rotated: list[Call]) -> None:
    """Where the samples are in what these calls take and give together; of the places, the first call has them."""
    first = two[0]
    for key in first.shapes:
        shapes = [[call.shapes.get(key) for call in calls] for calls in (two, three, rotated)]
        place = _place(shapes)
        if place is None:
            continue
        if key[0] == OUT and _reordered(three, rotated, key[1], place.axis):
            first.trouble = "its rows are in another order than the samples"
            continue
        first.places[key] = place
    if first.outputs:
        first.trouble = ""
    elif not first.trouble:
        shapes_out = [shape for (side, _), shape in first.shapes.items() if side == OUT]
        first.trouble = (
            f"no axis of its output {shapes_out[0]} has one row for each of 2 samples, and of 3"
            if shapes_out
            else "it gives no tensor"
        )


def _place(shapes: list[list[tuple[int, ...] | None]]) -> Place | None:
    """The axis along which the tensors of each pass have as many rows as it had samples, all else being equal."""
    every = [shape for shapes_of_pass in shapes for shape in shapes_of_pass]
    if any(shape is None or len(shape) != len(every[0] or ()) for shape in every):
        return None
    for axis in range(len(every[0] or ())):
        rows = [sum(shape[axis] for shape in found if shape) for found in shapes]
        rest = {shape[:axis] + shape[axis + 1 :] for shape in every if shape is not None}
        if rows == [2, 3, 3] and len(rest) == 1:
            return Place(axis, rest.pop())
    return None


def _reordered(three: list[Call], rotated: list[Call], path: Path, axis: int) -> bool:
    """Whether the rows of three samples, given in another order, come in an order that is not theirs."""
    straight, turned = (
        torch.cat([call.values[path].movedim(axis, 0) for call in calls]).reshape(3, -1).float()
        for calls in (three, rotated)
    )
    if _close(turned, straight[list(ROTATED)]):
        return False
    others = (order for order in itertools.permutations(range(3)) if order != ROTATED)
    return any(_close(turned, straight[list(order)]) for order in others)


def _close(a: Tensor, b: Tensor) -> bool:
    scale = b.abs().max().item() if b.numel() else 0.0
    return torch.allclose(a, b, rtol=1e-3, atol=1e-4 * scale)
