"""A network as a chain of blocks X → T_1 → … → T_L, so that each can be trained by a loss of its own.

Blocks end where layers are recorded: after the natural units of the architecture (`infoplane.recording.layers`),
with the activation that `forward` applies to them. They share their modules with the network, which stays what is
recorded, evaluated and saved.
"""

from __future__ import annotations

import copy
import itertools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from infoplane.errors import InfoplaneError, one_line
from infoplane.recording.isolation import in_mode
from infoplane.recording.layers import Layer, eval_mode, natural_layers, tensor_of
from infoplane.recording.trace import OUT


@dataclass(frozen=True)
class Chain:
    """A network and its blocks.

    Attributes:
        model: The whole network; calling it is calling the blocks one after another.
        names: Each block's last recorded layer, by which it is called.
        blocks: The blocks, from input to output; their parameters are those of the model.
        shapes: Shape of one network input, then of one output of each block.
        channels: The axis of one output of each block that holds the channels.
    """

    model: nn.Module
    names: tuple[str, ...]
    blocks: tuple[nn.Module, ...]
    shapes: tuple[tuple[int, ...], ...]
    channels: tuple[int, ...]


def split_into_blocks(
    model: nn.Module, example: Tensor, between: Callable[[Tensor], Tensor] | None = None
) -> Chain:
    """Splits a network after each of its natural units.

    Args:
        model: Any network whose `forward` torch.fx can trace, natural units aside, and that is a chain of them.
        example: Batch of two inputs (2, *input shape), on the device of the model.
        between: Put after every block but the last, as part of the network; the chain's model holds it then.

    Raises:
        InfoplaneError: The network cannot be traced, has a single unit, is no chain, or two blocks share
            parameters.
    """
    layers = natural_layers(model, example)
    names = [layer.name for layer in layers]
    trace = _trace(model, names, example)
    cuts = [_end_of(trace, layer) for layer in layers[:-1]]
    if between is not None:
        for cut in cuts:
            _insert_after(trace.graph, cut, between)
    ends = zip(["", *names], [None, *cuts], [*cuts, None], strict=False)
    blocks = [_segment(model, trace, after, start, end) for after, start, end in ends]
    if between is not None:
        model = fx.GraphModule(model, trace.graph)
    shapes = _shapes(blocks, example)
    # What ends a block may be flattened before it is recorded.
    channels = [
        layer.port.channels if layer.shape == shape else layer.channels
        for layer, shape in zip(layers, shapes[1:], strict=True)
    ]
    chain = Chain(model, tuple(names), tuple(blocks), shapes, tuple(channels))
    _check(chain, example)
    return chain


def merge(chain: Chain, groups: Sequence[int]) -> Chain:
    """The chain with neighbouring blocks merged.

    Args:
        chain: A chain of L blocks.
        groups: Number of blocks in each group, in order; their sum is L.
    """
    ends = [sum(groups[: k + 1]) for k in range(len(groups))]
    starts = [0, *ends[:-1]]
    blocks = [
        chain.blocks[start] if end == start + 1 else nn.Sequential(*chain.blocks[start:end])
        for start, end in zip(starts, ends, strict=True)
    ]
    shapes = (chain.shapes[0], *(chain.shapes[end] for end in ends))
    names, channels = (chain.names[end - 1] for end in ends), (chain.channels[end - 1] for end in ends)
    return Chain(chain.model, tuple(names), tuple(blocks), shapes, tuple(channels))


def grouped(costs: Sequence[float], count: int) -> list[int]:
    """Sizes of `count` contiguous groups whose largest cost is as small as can be.

    Args:
        costs: Cost of each block, such as the memory that training it takes.
        count: Number of groups, from 1 to the number of blocks.

    Returns:
        Number of blocks in each group; among equal solutions the one whose squared costs sum to least.
    """
    total = len(costs)
    # best[k][i]: (largest cost, sum of squares, sizes) of the first i blocks in k groups.
    best: list[dict[int, tuple[float, float, list[int]]]] = [{0: (0.0, 0.0, [])}]
    for _ in range(count):
        row = {}
        for end in range(1, total + 1):
            options = []
            for start, (largest, squares, sizes) in best[-1].items():
                if start < end:
                    cost = float(sum(costs[start:end]))
                    options.append((max(largest, cost), squares + cost**2, [*sizes, end - start]))
            if options:
                row[end] = min(options)
        best.append(row)
    return best[count][total][2]


def saved_bytes(chain: Chain, example: Tensor) -> list[int]:
    """Bytes that each block keeps for its backward pass, on the example; parameters left out."""
    sizes = []
    below = example
    for block in chain.blocks:
        # In a copy, since training mode moves the statistics of batch norm.
        trained = copy.deepcopy(block).train()
        kept: dict[int, int] = {p.untyped_storage().data_ptr(): 0 for p in trained.parameters()}

        def pack(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
            storage = tensor.untyped_storage()
            kept.setdefault(storage.data_ptr(), storage.nbytes())
            return tensor

        with torch.random.fork_rng([]), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = tensor_of(trained(below))
        sizes.append(sum(kept.values()))
        below = output.detach()
    return sizes


@dataclass(frozen=True)
class _Trace:
    """The calls of a network between its units.

    Attributes:
        graph: Of one forward pass, all arguments but the first at their defaults.
        values: What each node gives for a batch of two and for one of three.
        free: Nodes that do not depend on what is in the samples, such as sizes, masks made of them, parameters.
    """

    graph: fx.Graph
    values: Sequence[dict[fx.Node, Any]]
    free: set[fx.Node]


def _trace(model: nn.Module, names: Sequence[str], example: Tensor) -> _Trace:
    tracer, in_training = _Tracer(names, example), _Tracer(names, example)
    more = torch.cat([example, example[:1]])
    devices = [example.device] if example.is_cuda else []
    try:
        with torch.random.fork_rng(devices), eval_mode(model):
            graph = tracer.trace(model)
            before = {*vars(model)}
            with in_mode(model, True):
                other = in_training.trace(model)
            # Tensors that `forward` makes are kept on the network, by names of their own in each trace.
            made = {name: vars(model).pop(name) for name in {*vars(model)} - before}
            # Unpacking takes all parts of a value; those that nobody uses are no bypass.
            for each in (graph, other):
                each.eliminate_dead_code(lambda node: node.target is not operator.getitem)
            asked = _ask_for_training(model, graph, other, made)
            again = _Values(model, garbage_collect_values=False, graph=graph)
            again.run(more)
    except InfoplaneError:
        raise
    except Exception as error:  # a network that cannot be traced raises whatever its own code does
        raise InfoplaneError(
            f"the {type(model).__name__} cannot be split into blocks: its forward depends on the values or the "
            f"types of its inputs ({one_line(error, 100)}); use `method='sgd'`"
        ) from error
    return _Trace(graph, (tracer.values.env, again.env), tracer.free | asked)


def _ask_for_training(
    model: nn.Module, graph: fx.Graph, in_training: fx.Graph, made: Mapping[str, Any]
) -> set[fx.Node]:
    """Puts the flag of the block where `forward` gave that of the network: `F.dropout(x, 0.5, self.training)`.

    Args:
        model: The network.
        graph: The network in evaluation, which is changed.
        in_training: The same in training.
        made: The tensors that it made there, by their names.

    Returns:
        The nodes that are new, which depend on no sample.

    Raises:
        InfoplaneError: Something else than a flag differs in training.
    """
    asked: dict[bool, fx.Node] = {}
    same: dict[fx.Node, fx.Node] = {}

    def flag(in_evaluation: bool) -> fx.Node:
        if not asked:
            with graph.inserting_before(next(iter(graph.nodes))):
                asked[False] = graph.create_node("get_attr", "training")
        if in_evaluation not in asked:
            with graph.inserting_after(asked[False]):
                asked[True] = graph.call_function(operator.not_, (asked[False],))
        return asked[in_evaluation]

    def merged(one: Any, other: Any, place: str) -> Any:
        if isinstance(one, bool) and isinstance(other, bool) and one is not other:
            return flag(one)
        if isinstance(one, slice) and isinstance(other, slice):
            ends = zip((one.start, one.stop, one.step), (other.start, other.stop, other.step), strict=True)
            return slice(*(merged(a, b, place) for a, b in ends))
        if isinstance(one, tuple | list) and type(one) is type(other) and len(one) == len(other):
            return type(one)(merged(a, b, place) for a, b in zip(one, other, strict=True))
        if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
            return {key: merged(one[key], other[key], place) for key in one}
        if same.get(other) is not one if isinstance(other, fx.Node) else one is not other and one != other:
            raise _other_in_training(place)
        return one

    nodes = [*graph.nodes]
    for node, other in itertools.zip_longest(nodes, in_training.nodes):
        if node is None or other is None or not _same_target(model, node, other, made):
            raise _other_in_training((node or other).name)
        same[other] = node
        node.args = merged(tuple(node.args), tuple(other.args), node.name)
        node.kwargs = merged(dict(node.kwargs), dict(other.kwargs), node.name)
    return {*asked.values()}


def _same_target(model: nn.Module, node: fx.Node, other: fx.Node, made: Mapping[str, Any]) -> bool:
    """Whether two nodes do the same, tensors that `forward` makes being the same by their values."""
    if node.op != other.op:
        return False
    value = made.get(other.target) if other.op == "get_attr" and isinstance(other.target, str) else None
    if not isinstance(value, Tensor):
        return node.target == other.target
    own = getattr(model, str(node.target), None)
    return isinstance(own, Tensor) and own.dtype == value.dtype and torch.equal(own, value)


def _other_in_training(name: str) -> InfoplaneError:
    return InfoplaneError(
        f"the forward of the network asks for self.training outside of its units, and goes another way ({name}) in "
        "training; put that into a module, such as nn.Dropout, or use `method='sgd'`"
    )


class _Values(fx.Interpreter):
    """Outputs of the nodes of a graph; the network's flags and buffers stay as they are."""

    def run_node(self, n: fx.Node) -> Any:
        with torch.no_grad():
            return super().run_node(n)

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with eval_mode(self.fetch_attr(target)):
            return super().call_module(target, args, kwargs)

    def get_attr(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = super().get_attr(target, args, kwargs)
        # A copy, since functions such as batch_norm change what they are given.
        return value.clone() if isinstance(value, Tensor) else value


class _Proxy(fx.Proxy):
    """A value of the trace, which answers for itself where Python wants to know a size now.

    A batch size known so is frozen into the graph, and `_check` refuses that.
    """

    tracer: _Tracer

    def __getattr__(self, name: str) -> Any:
        if name in _METADATA:  # at once and not when it is used, as fx has it, so that it answers too
            return self.tracer.create_proxy("call_function", getattr, (self, name), {})
        return super().__getattr__(name)

    def __len__(self) -> int:
        return len(self.tracer.values.env[self.node])

    def __index__(self) -> int:
        return self.tracer.known(self.node).__index__()


class _Tracer(fx.Tracer):
    """Traces a network, its units aside, along with the values for an example.

    Attributes:
        values: Of the nodes so far.
        free: Nodes that do not depend on what is in the samples.
        fixed: Those of them that do not depend on what is in the network's tensors either.
    """

    def __init__(self, names: Sequence[str], example: Tensor) -> None:
        super().__init__()
        self.free: set[fx.Node] = set()
        self.fixed: set[fx.Node] = set()
        self._names, self._example, self._computing = names, example, False

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        """The network and its input; optional arguments, such as masks, keep their defaults."""
        self.values = _Values(self.root, garbage_collect_values=False, graph=self.graph)
        self.values.args_iter = iter([self._example.clone()])
        return root_fn, [self.root, self.create_proxy("placeholder", "x", (), {})]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Takes a unit as one node: it may branch, have control flow and ask for self.training."""
        return not any(unit.startswith(f"{module_qualified_name}.") for unit in self._names)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """A proxy that stands for the value of a node."""
        return _Proxy(node, self)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """A new node of the graph, whose value is computed at once."""
        node = super().create_node(*args, **kwargs)
        if node.op != "output":
            self._classify(node)
            self._computing = True
            self.values.env[node] = self.values.run_node(node)
            self._computing = False
        return node

    def _classify(self, node: fx.Node) -> None:
        sources = node.all_input_nodes
        if _is_size(node) or (node.op != "placeholder" and self.free.issuperset(sources)):
            self.free.add(node)
            if _is_size(node) or (node.op not in ("get_attr", "call_module") and self.fixed.issuperset(sources)):
                self.fixed.add(node)

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call of a module; not part of the graph when it computes a value."""
        return forward(*args, **kwargs) if self._computing else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """An attribute of a module; not part of the graph when it helps to compute a value."""
        return attr_val if self._computing else super().getattr(attr, attr_val, parameter_proxy_cache)

    def known(self, node: fx.Node) -> Any:
        """The value of a node that is the same for all samples and all the way through training.

        Raises:
            TraceError: It is not.
        """
        if node not in self.fixed:
            raise fx.proxy.TraceError(f"{node.name} decides what is computed")
        return self.values.env[node]

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Whether a value counts as true, for an `if`."""
        return bool(self.known(obj.node))

    def iter(self, obj: Any) -> Any:
        """The parts of a value, for a loop over them or to unpack it."""
        return iter([obj[place] for place in range(len(self.values.env[obj.node]))])


_FLATTENING = (torch.flatten, torch.reshape, "flatten", "view", "reshape", "contiguous")
_METADATA = ("shape", "dtype", "device", "ndim")


def _is_size(node: fx.Node) -> bool:
    """Whether a node asks a tensor for its size, type or device."""
    if node.op == "call_function":
        return node.target is getattr and node.args[1] in _METADATA
    return node.op == "call_method" and node.target in ("size", "dim", "numel")


def _node_of(trace: _Trace, name: str) -> fx.Node:
    """The node that gives what is recorded of a unit."""
    name = name.partition("#")[0]
    calls = [node for node in trace.graph.nodes if node.op == "call_module" and node.target == name]
    if len(calls) != 1:
        raise InfoplaneError(f"the network calls {name} {len(calls)} times, so it is no chain of blocks")
    values = trace.values[0]
    recorded = tensor_of(values[calls[0]])
    # Where a unit gives several results (an LSTM its states too), what takes the recorded one out of them.
    for node in (calls[0], *calls[0].users):
        if values.get(node) is recorded:
            return node
    raise InfoplaneError(f"{name} gives several results, so the network is no chain of blocks")


def _end_of(trace: _Trace, layer: Layer) -> fx.Node:
    """The node that ends a unit: where `forward` applies an activation to it, what the next module receives."""
    end = _node_of(trace, layer.name)
    receiving = [
        node for node in trace.graph.nodes if node.op == "call_module" and node.target == layer.port.module
    ]
    if layer.port.side == OUT or len(receiving) != 1:
        return end
    data = [node for node in receiving[0].all_input_nodes if node not in trace.free]
    # A flattened map stays a map for the auxiliary classifier.
    while len(data) == 1 and data[0].target in _FLATTENING:
        data = [node for node in data[0].all_input_nodes if node not in trace.free]
    return data[0] if len(data) == 1 else end


def _insert_after(graph: fx.Graph, cut: fx.Node, function: Callable[[Tensor], Tensor]) -> None:
    with graph.inserting_after(cut):
        node = graph.call_function(function, (cut,))
    cut.replace_all_uses_with(node, delete_user_cb=lambda user: user is not node)


def _segment(model: nn.Module, trace: _Trace, after: str, start: fx.Node | None, end: fx.Node | None) -> nn.Module:
    """The part of the graph after `start` up to `end`, sharing the modules of the network.

    Raises:
        InfoplaneError: It uses what was computed from the samples before `start`, the end of the unit `after`.
    """
    part = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}

    def copied(source: fx.Node) -> Any:
        if source not in copies:
            if source not in trace.free:
                raise InfoplaneError(
                    f"the network is no chain of blocks: what comes after {after} also uses {source.name}, "
                    "from before it; only end-to-end methods such as sgd train it"
                )
            if _is_size(source) and source.all_input_nodes[0] not in copies.keys() | trace.free:
                assert start is not None  # the first block sees all that its nodes are computed from
                return _size(part, copies[start], *(values[source] for values in trace.values))
            copies[source] = part.node_copy(source, copied)
        return copies[source]

    inside = start is None
    for node in trace.graph.nodes:
        if start is not None and node is start:
            copies[node] = part.placeholder("below")
            inside = True
        elif node.op == "output":
            if inside:
                part.output(fx.map_arg(node.args[0], copied))
        elif inside and node not in trace.free:
            copies[node] = part.node_copy(node, copied)
            if end is not None and node is end:
                part.output(copies[node])
                break
    return fx.GraphModule(model, part, class_name="Block")


def _size(part: fx.Graph, below: fx.Node, two: Any, three: Any) -> Any:
    """The size of something a block does not see: known where all batches have the same, else by its own input."""
    return two if two == three else part.call_function(_grown, (below, two, three))


def _grown(below: Tensor, two: Any, three: Any) -> Any:
    """The size for as many samples as there are below, from the sizes for two and for three."""
    if isinstance(two, tuple):
        return torch.Size(_grown(below, *sizes) for sizes in zip(two, three, strict=True))
    return two + (three - two) * (len(below) - 2)


def _shapes(blocks: Sequence[nn.Module], example: Tensor) -> tuple[tuple[int, ...], ...]:
    shapes = [tuple(example.shape[1:])]
    value = example
    for block in blocks:
        with eval_mode(block), torch.no_grad():
            value = tensor_of(block(value))
        shapes.append(tuple(value.shape[1:]))
    return tuple(shapes)


def _check(chain: Chain, example: Tensor) -> None:
    """The blocks one after another are the network, and each parameter is in one of them."""
    seen: dict[int, str] = {}
    for name, block in zip(chain.names, chain.blocks, strict=True):
        for parameter in block.parameters():
            if seen.setdefault(id(parameter), name) != name:
                raise InfoplaneError(
                    f"blocks {seen[id(parameter)]} and {name} share parameters, so they cannot be trained apart"
                )
    left = [name for name, parameter in chain.model.named_parameters() if id(parameter) not in seen]
    if left:
        raise InfoplaneError(f"parameter {left[0]} is in no block, so the network is no chain of blocks")
    # Of another size too, lest a batch size be part of a block.
    for batch in (example, torch.cat([example, example[:1]])):
        # Blocks have a flag of their own beside those of the modules that they share with the network.
        with eval_mode(nn.ModuleList([chain.model, *chain.blocks])), torch.no_grad():
            value = batch
            for block in chain.blocks:
                value = tensor_of(block(value))
            if not torch.equal(value, tensor_of(chain.model(batch))):
                raise InfoplaneError(
                    f"the blocks one after another do not give what the network gives for {len(batch)} inputs"
                )
