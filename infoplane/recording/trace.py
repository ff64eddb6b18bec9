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
import inspect
import itertools
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence
from torch.utils._python_dispatch import TorchDispatchMode

from infoplane.errors import InfoplaneError, with_type
from infoplane.recording.isolation import device_and_dtype, fingerprint, is_scripted, undisturbed, writes_parameters
from infoplane.recording.samples import Inputs, as_inputs

# Operations that change no value and no order, only the axes.
VIEWS = frozenset({"view", "_unsafe_view", "reshape", "_reshape_alias", "unsqueeze", "squeeze", "flatten"})
# Those, and operations that exchange axes.
MOVING = VIEWS | {"transpose", "permute", "t", "expand"}
# Those, and copies.
RESHAPING = MOVING | {"clone", "detach", "alias", "_to_copy", "contiguous", "copy", "lift_fresh"}
Path = tuple[Any, ...]
Key = tuple[Any, ...]
IN, OUT = "in", "out"
# How many positions a packed sequence has, at least.
_LENGTH: ContextVar[Callable[[PackedSequence], int]] = ContextVar("length", default=lambda _packed: 0)
# Orders that networks make of their own (sorted, turned around, shifted) do not commute with it.
_SWAPPED = (1, 0, 2)
# Operations in which integers are names.
_LOOKUPS = ("embedding", "_embedding_bag", "_embedding_bag_forward_only", "scatter", "scatter_")


def tensors_in(value: Any, path: Path = ()) -> Iterator[tuple[Path, Tensor]]:
    """The tensors in what a module takes or gives, with their places, in order.

    Looks into tuples, lists, mappings, dataclasses and simple namespaces; a packed sequence is one padded tensor.
    """
    if isinstance(value, Tensor):
        # Inside of torch.func.vmap a tensor stands for many, and cannot be kept.
        if not torch._C._functorch.is_functorch_wrapped_tensor(value):
            yield path, value
    elif isinstance(value, PackedSequence):
        length = max(_LENGTH.get()(value), len(value.batch_sizes))
        yield path, pad_packed_sequence(value, batch_first=True, total_length=length)[0]
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


@contextmanager
def padded_to(length: Callable[[PackedSequence], int]) -> Iterator[None]:
    """Packed sequences have at least so many positions meanwhile, whatever the longest in a batch."""
    token = _LENGTH.set(length)
    try:
        yield
    finally:
        _LENGTH.reset(token)


def path_text(path: Path) -> str:
    """A place in an output as it is written after the name of a layer: `1.0`, `last_hidden_state`."""
    return ".".join(map(str, path))


class Node:
    """A tensor on the way through the network.

    Attributes:
        op: Name of the operation that made it, such as "relu"; "" for an input.
        input: Name of the input that it is; "" for anything else.
        sources: The nodes it was made of.
        owner: The innermost call during which it was made; None for an input.
        users: The nodes made of it.
        ports: Where it enters or leaves a call, in order.
        shape: Shape of the tensor, as it was made.
        index: Its number in the order in which the nodes were made.
    """

    __slots__ = ("index", "input", "op", "owner", "ports", "shape", "sources", "users")

    def __init__(self, op: str, sources: list[Node], owner: Call | None, shape: torch.Size, index: int) -> None:
        self.op, self.sources, self.owner, self.shape, self.index = op, sources, owner, shape, index
        self.input = ""
        self.users: list[Node] = []
        self.ports: list[tuple[Call, str, Path]] = []
        for source in sources:
            source.users.append(self)


def origins(node: Node) -> frozenset[str]:
    """The names of the inputs that a tensor was made of."""
    seen, stack = {node}, [node]
    while stack:
        new = [source for source in stack.pop().sources if source not in seen]
        seen.update(new)
        stack.extend(new)
    return frozenset(each.input for each in seen if each.input)


@dataclass(frozen=True)
class Place:
    """Where the samples of a tensor are.

    Attributes:
        axis: The axis of samples.
        shape: Shape of one sample.
        positions: The axis of `shape` that follows the length of the sequences; None where none is known to.
        sequence: Names of the inputs whose length it follows; none where it is made of several sequences.
    """

    axis: int
    shape: tuple[int, ...]
    positions: int | None = None
    sequence: frozenset[str] = frozenset()


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
        ends: Name of the block whose unit ends here, after a normalisation or an activation; "" where none does.
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
    ends: str = ""

    @property
    def outputs(self) -> list[Path]:
        """Places of the tensors it gave that have a row for each sample, those that carry data first."""
        paths = [path for side, path in self.places if side == OUT]
        return sorted(paths, key=lambda path: (OUT, path) not in self.nodes)

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
        sequences: Names of inputs that are of one length together, such as tokens and their mask.
        cast: Whether the network takes its inputs in the precision of its parameters, or as they are.
        gradients: Whether the network takes gradients in `forward`.
        writes: Whether it writes to its parameters in `forward`.
    """

    root: Call
    modules: dict[str, nn.Module]
    tokens: dict[str, int | None]
    sequences: tuple[frozenset[str], ...]
    cast: bool
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


def trace(model: nn.Module, example: Tensor | Inputs, *, sequences: bool = False) -> Trace:
    """Traces a network on a few samples; it stays as it was.

    Args:
        model: Any network.
        example: Inputs of at least two samples, better three that differ; the first three are used.
        sequences: Find out which axes follow the length of sequences, also where nothing speaks of any.

    Raises:
        InfoplaneError: The network fails on these samples, calls no hooks, or has parameters without a shape or
            values yet.
    """
    if is_scripted(model):
        raise InfoplaneError("a TorchScript network calls no hooks; record the module that it was made from")
    inputs = example if isinstance(example, Inputs) else as_inputs(example)
    tensors = [*model.parameters(), *model.buffers()]
    if any(map(nn.parameter.is_lazy, tensors)):
        raise InfoplaneError(
            "the network has lazy layers whose parameters have no shape yet; run one batch through it first"
        )
    if any(tensor.is_meta for tensor in tensors):
        raise InfoplaneError("the network has parameters without values (on the device 'meta'); load them first")
    inputs.bind(model)
    few = inputs.take(torch.arange(3) % len(inputs))
    before = fingerprint(model)
    two = _first(model, few.take(torch.arange(2)))
    three, swapped = (two.again(part) for part in (few, few.take(torch.tensor(_SWAPPED))))
    _compare(two, three, swapped)
    tokens = {
        name: padding for name, padding in two.flow.tokens().items() if not inputs.parts[name].is_floating_point()
    }
    # Not of all networks: one that takes no shorter sequences may do harm, as an index out of range does on a GPU.
    speaks = sequences or tokens or inputs.masks or _listens_for_padding(model)
    found = _find_positions(two) if speaks else ()
    writes = writes_parameters(model) or two.fingerprint != before
    return Trace(two.roots[0], two.modules, tokens, found, two.dtype is not None, two.gradients, writes)


def _first(model: nn.Module, inputs: Inputs) -> _Tracing:
    """A tracing in the precision of the network, or of the inputs; with gradients if `forward` takes some."""
    dtype = device_and_dtype(model)[1]
    failure: InfoplaneError | None = None
    for precision in dict.fromkeys((dtype, None)):
        for gradients in (False, True):
            try:
                return _Tracing(model, inputs, precision, gradients).run()
            except InfoplaneError as error:
                failure = failure or error
                if "require grad" not in str(error):
                    break
    assert failure is not None
    raise failure


class _Flow(TorchDispatchMode):
    """Follows the data from the inputs on.

    Truth values count as data where they were made of fractions (a spike, a sign); where they were made of whole
    numbers they say what is padding, and are a constant of the trace. A tensor is known by the memory that it shows
    (`_key`): torch may give the same data in another Python object.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.open: list[Call] = []
        self.paused = False
        self._nodes: dict[Key, Node] = {}
        self._written: dict[int, Node] = {}
        self._views: dict[int, dict[Key, int]] = {}
        # Memory must outlive the trace, since tensors are known by their addresses.
        self._kept: list[Tensor] = []
        self._looked_up: list[tuple[Node, int | None]] = []
        self._count = itertools.count()

    def enter_input(self, name: str, tensor: Tensor) -> None:
        """Marks an input that carries data."""
        self._made("", [], tensor).input = name

    def node(self, tensor: Tensor) -> Node | None:
        """The node of a tensor as it is now; None for a constant of the trace."""
        node = self._nodes.get(_key(tensor))
        return node or self._written.get(_storage(tensor))

    def tokens(self) -> dict[str, int | None]:
        """The inputs that are looked up in an embedding, with its padding index."""
        paddings: dict[str, int | None] = {}
        for node, padding in self._looked_up:
            for name in origins(node):
                paddings[name] = padding if paddings.get(name) is None else paddings[name]
        return paddings

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.paused:
            return func(*args, **kwargs)
        # Before the call: an operation in place changes what its own input is.
        given = [(tensor, self.node(tensor)) for _, tensor in tensors_in((args, kwargs))]
        sources = list(dict.fromkeys(node for _, node in given if node is not None))
        fractions = any(node is not None and _is_fraction(tensor) for tensor, node in given)
        output = func(*args, **kwargs)
        name = getattr(func, "overloadpacket", func).__name__
        # What is made in the likeness of a tensor takes its shape, and nothing of its values.
        if sources and not name.endswith("_like") and not name.startswith("new_"):
            self._note_lookup(name, args)
            written = {_key(tensor) for tensor in _written_to(func, args, kwargs)}
            for _, tensor in tensors_in(output):
                if fractions or tensor.dtype != torch.bool:
                    node = self._made(name.removesuffix("_"), sources, tensor)
                    if _key(tensor) in written:
                        self._spread(node, tensor)
        return output

    def _note_lookup(self, name: str, args: Any) -> None:
        if name in _LOOKUPS:
            indices = args[2] if name.startswith("scatter") else args[1]
            node = self.node(indices) if isinstance(indices, Tensor) else None
            if node is not None and not indices.is_floating_point():
                has_padding = name == "embedding" and len(args) > 2 and int(args[2]) >= 0
                padding = args[2] if has_padding and self._is_input(node) else None
                self._looked_up.append((node, padding))

    def _is_input(self, node: Node) -> bool:
        """Whether this is an input, in another shape perhaps."""
        while not node.input and node.op in RESHAPING and len(node.sources) == 1:
            (node,) = node.sources
        return bool(node.input)

    def _made(self, name: str, sources: list[Node], tensor: Tensor) -> Node:
        key, storage = _key(tensor), _storage(tensor)
        node = self._new(name, sources, tensor.shape)
        self._nodes[key] = node
        self._views.setdefault(storage, {})[key] = tensor.numel()
        self._kept.append(tensor)
        return node

    def _new(self, name: str, sources: list[Node], shape: torch.Size) -> Node:
        return Node(name, sources, self.open[-1] if self.open else None, shape, next(self._count))

    def _spread(self, node: Node, tensor: Tensor) -> None:
        """What else shows memory that was written to has changed too: as a whole, or in part."""
        storage = _storage(tensor)
        for key, numel in self._views[storage].items():
            if key != _key(tensor):
                whole = numel == tensor.numel()
                self._nodes[key] = node if whole else self._joined(self._nodes[key], node)
        before = self._written.get(storage)
        self._written[storage] = node if before is None else self._joined(before, node)

    def _joined(self, before: Node, node: Node) -> Node:
        return self._new("copy", [node] if before in node.sources else [before, node], before.shape)


def _written_to(func: Any, args: Any, kwargs: Any) -> Iterator[Tensor]:
    """The tensors that an operation changes in place."""
    schema = getattr(func, "_schema", None)  # operators of higher order have none, and write to nothing
    for place, argument in enumerate(schema.arguments if schema else ()):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            yield from (tensor for _, tensor in tensors_in(value))


def _is_fraction(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool


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

    def __init__(self, model: nn.Module, inputs: Inputs, dtype: torch.dtype | None, gradients: bool) -> None:
        self.model, self.inputs, self.dtype, self.gradients = model, inputs, dtype, gradients
        self.flow = _Flow()
        self.roots: list[Call] = []
        self.modules: dict[str, nn.Module] = {}
        self.fingerprint: list[tuple[int, float, float]] = []
        self._counts: dict[str, int] = {}

    def again(self, inputs: Inputs) -> _Tracing:
        """The same on other inputs."""
        return _Tracing(self.model, inputs, self.dtype, self.gradients).run()

    def run(self) -> _Tracing:
        """Runs the network with hooks on every module.

        Raises:
            InfoplaneError: The network fails.
        """
        args, kwargs = self.inputs.batch(slice(None), device_and_dtype(self.model)[0], self.dtype)
        with ExitStack() as stack:
            stack.enter_context(undisturbed(self.model, gradients=self.gradients, parameters=True))
            for name, module in self.model.named_modules():
                if _is_layer(name, module):
                    self._watch(stack, plain_name(name), module)
            stack.enter_context(self.flow)
            stack.enter_context(padded_to(self._length))
            for name, (_, tensor) in zip(self.inputs.parts, tensors_in((args, kwargs)), strict=True):
                if name not in self.inputs.masks:
                    self.flow.enter_input(name, tensor)
            try:
                self.model(*args, **kwargs)
                self.fingerprint = fingerprint(self.model)
            except Exception as error:  # whatever the network's own code raises
                raise InfoplaneError(
                    f"the network fails on {len(self.inputs)} samples of the probe in evaluation mode: "
                    f"{with_type(error, 200)}"
                ) from error
        return self

    def _length(self, packed: PackedSequence) -> int:
        """The number of positions of the sequences that were packed; 0 where it is not known."""
        node = self.flow.node(packed.data)
        parts = [self.inputs.parts[name] for name in (origins(node) if node else ())]
        # A table beside them is no sequence.
        sequences = [part for part in parts if part.ndim == 3 or (part.ndim == 2 and not part.is_floating_point())]
        return max((part.shape[1] for part in sequences or parts if part.ndim in (2, 3)), default=0)

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
        return next((argument for argument in nodes if argument), []), [
            node for argument in nodes for node in argument
        ]


def _is_layer(name: str, module: nn.Module) -> bool:
    """Whether a module computes activations and calls hooks: no weights, shell of torch.compile or TorchScript."""
    is_shell = hasattr(module, "_orig_mod") or is_scripted(module)
    return "parametrizations" not in name.split(".") and not is_shell


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
    for name, in_two in calls[0].items():
        same = [in_two, calls[1].get(name, []), calls[2].get(name, [])]
        if not _compare_calls(*same):
            _compare_pieces(*same)


def _by_name(roots: Sequence[Call]) -> dict[str, list[Call]]:
    calls_of: dict[str, list[Call]] = {}
    for call in walk(roots[0]):
        calls_of.setdefault(call.name, []).append(call)
    return {name: sorted(calls, key=lambda call: call.number) for name, calls in calls_of.items()}


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
        rows = [sum(shape[axis] for shape in tensors if shape) for tensors in shapes]
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
    if _close(turned, straight[list(_SWAPPED)]):
        return False
    others = (order for order in itertools.permutations(range(3)) if order != _SWAPPED)
    return any(_close(turned, straight[list(order)]) for order in others)


def _close(a: Tensor, b: Tensor) -> bool:
    finite = b[torch.isfinite(b)].abs()
    scale = finite.max().item() if finite.numel() else 0.0
    return torch.allclose(a, b, rtol=1e-3, atol=1e-4 * scale, equal_nan=True)


def _listens_for_padding(model: nn.Module) -> bool:
    """Whether a module takes a mask of padding."""
    return any("padding_mask" in name for module in model.modules() for name in argument_names(module))


def argument_names(module: nn.Module) -> list[str]:
    """Names of what the `forward` of a module takes; none where it is not written in Python."""
    try:
        return [*inspect.signature(module.forward).parameters]
    except (TypeError, ValueError):
        return []


def _find_positions(two: _Tracing) -> tuple[frozenset[str], ...]:
    """Finds the axes that follow the length of a sequence, by sequences that are shorter by one position.

    A network that takes one length only has none that are known.

    Returns:
        Names of the inputs that are of one length together: an input by itself where the network takes it so, else
        with one other, such as its mask, else with as few of those that are as long as it goes with.
    """
    for axis in (1, 2):
        parts, masks = two.inputs.parts, two.inputs.masks
        lengths = {name: part.shape[axis] for name, part in parts.items() if axis < part.ndim < 4}
        found: list[frozenset[str]] = []
        for name in [name for name in lengths if name not in masks and lengths[name] > 1]:
            if any(name in sequence for sequence in found):
                continue
            alike = [other for other in lengths if lengths[other] == lengths[name] and other != name]
            # Masks first: they belong to an input more often than another input does.
            together = _cut_together(two, axis, name, sorted(alike, key=lambda other: other not in masks))
            if together:
                found.append(together)
        if found:
            return tuple(found)
    return ()


def _cut_together(two: _Tracing, axis: int, name: str, others: Sequence[str]) -> frozenset[str] | None:
    """The fewest inputs, with this one, of which the network takes all shorter; None where it takes none so.

    What becomes shorter with them is noted.
    """
    alone_or_two = [frozenset({name}), *(frozenset({name, other}) for other in others)]
    tried = ((names, _cut(two, axis, names)) for names in alone_or_two)
    names, shorter = next((pair for pair in tried if pair[1]), (frozenset({name, *others}), None))
    if shorter is None and len(others) > 1:
        shorter = _cut(two, axis, names)
        for other in others if shorter else ():
            if (without := _cut(two, axis, names - {other})) is not None:
                names, shorter = names - {other}, without
    if shorter is None:
        return None
    for call, short in _pairs(two, shorter):
        for key, shortened in [*_shortened(call, short)]:
            # What follows the length of two sequences holds the positions of both.
            sequence = names if call.places[key].positions is None else frozenset()
            call.places[key] = dataclasses.replace(call.places[key], positions=shortened, sequence=sequence)
    return names


def _cut(two: _Tracing, axis: int, names: frozenset[str]) -> _Tracing | None:
    """A tracing of these inputs without their last position, where the network then gives something shorter."""
    try:
        shorter = two.again(two.inputs.cut(axis, names))
    except InfoplaneError:
        return None
    given = (key for call, short in _pairs(two, shorter) for key, _ in _shortened(call, short) if key[0] == OUT)
    return shorter if next(given, None) else None


def _pairs(two: _Tracing, shorter: _Tracing) -> Iterator[tuple[Call, Call]]:
    """The calls of two tracings that belong together."""
    other = _by_name(shorter.roots)
    for name, calls in _by_name(two.roots).items():
        yield from zip(calls, other.get(name, []), strict=False)


def _shortened(call: Call, shorter: Call) -> Iterator[tuple[tuple[str, Path], int]]:
    """What a call takes and gives of which one axis of a sample became shorter, and which axis."""
    for key, place in call.places.items():
        shape = shorter.shapes.get(key, ())
        rest = shape[: place.axis] + shape[place.axis + 1 :]
        differing = [
            axis for axis, sizes in enumerate(zip(place.shape, rest, strict=False)) if sizes[0] != sizes[1]
        ]
        if len(rest) == len(place.shape) and len(differing) == 1:
            yield key, differing[0]
