"""A network as a chain of blocks X → T_1 → … → T_L, so that each can be trained by a loss of its own.

Blocks end where layers are recorded: after the natural units of the architecture (`infoplane.layers`). They share
their modules with the network, which stays what is recorded, evaluated and saved.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from infoplane.errors import InfoplaneError
from infoplane.layers import eval_mode, natural_layers, tensor_of


@dataclass(frozen=True)
class Chain:
    """A network and its blocks.

    Attributes:
        model: The whole network; calling it is calling the blocks one after another.
        names: Each block's last recorded layer, by which it is called.
        blocks: The blocks, from input to output; their parameters are those of the model.
        shapes: Shape of one network input, then of one output of each block.
    """

    model: nn.Module
    names: tuple[str, ...]
    blocks: tuple[nn.Module, ...]
    shapes: tuple[tuple[int, ...], ...]


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
    names = [layer.name for layer in natural_layers(model, example)]
    graph = _trace(model, names)
    cuts = [_node_of(graph, name) for name in names[:-1]]
    for cut in cuts:
        _refuse_bypass(graph, cut)
    if between is not None:
        for cut in cuts:
            _insert_after(graph, cut, between)
        model = fx.GraphModule(model, graph)
    blocks = [_segment(model, graph, *ends) for ends in zip([None, *cuts], [*cuts, None], strict=True)]
    chain = Chain(model, tuple(names), tuple(blocks), _shapes(blocks, example))
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
    return Chain(chain.model, tuple(chain.names[end - 1] for end in ends), tuple(blocks), shapes)


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


def _trace(model: nn.Module, names: Sequence[str]) -> fx.Graph:
    class Tracer(fx.Tracer):
        def is_leaf_module(self, module: nn.Module, name: str) -> bool:
            # What happens inside a unit is its own affair: branches, control flow, functions of self.training.
            return not any(unit.startswith(f"{name}.") for unit in names)

    try:
        return Tracer().trace(model)
    except Exception as error:  # a network that cannot be traced raises whatever its own code does
        raise InfoplaneError(
            f"the {type(model).__name__} cannot be split into blocks: its forward depends on the values or the "
            f"types of its inputs ({' '.join(str(error).split())[:100]}); use --method sgd"
        ) from error


def _node_of(graph: fx.Graph, name: str) -> fx.Node:
    nodes = [node for node in graph.nodes if node.op == "call_module" and node.target == name]
    if len(nodes) != 1:
        raise InfoplaneError(f"the network calls {name} {len(nodes)} times, so it is no chain of blocks")
    return nodes[0]


def _refuse_bypass(graph: fx.Graph, cut: fx.Node) -> None:
    """Nothing after a cut may use what was computed before it."""
    before, passed = set(), False
    for node in graph.nodes:
        used = {source for source in node.all_input_nodes if source in before}
        if (passed and used and node.op != "output") or (node.op == "output" and used):
            raise InfoplaneError(
                f"the network is no chain of blocks: what comes after {cut.target} also uses {used.pop().name}, "
                "from before it; only end-to-end methods such as sgd train it"
            )
        if node is cut:
            passed = True
        elif not passed and node.op != "get_attr":
            before.add(node)


def _insert_after(graph: fx.Graph, cut: fx.Node, function: Callable[[Tensor], Tensor]) -> None:
    with graph.inserting_after(cut):
        node = graph.call_function(function, (cut,))
    cut.replace_all_uses_with(node, delete_user_cb=lambda user: user is not node)


def _segment(model: nn.Module, graph: fx.Graph, start: fx.Node | None, end: fx.Node | None) -> nn.Module:
    """The part of the graph after `start` up to `end`, sharing the modules of the network."""
    part = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    inside = start is None
    for node in graph.nodes:
        if start is not None and node is start:
            copies[node] = part.placeholder("below")
            inside = True
        elif node.op == "output":
            if inside:
                part.output(fx.map_arg(node.args[0], lambda source: copies[source]))
        elif inside or node.op == "get_attr":
            copies[node] = part.node_copy(node, lambda source: copies[source])
            if end is not None and node is end:
                part.output(copies[node])
                break
    part.eliminate_dead_code(lambda node: node.op not in ("placeholder", "get_attr"))
    return fx.GraphModule(model, part, class_name="Block")


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
    with eval_mode(chain.model), torch.no_grad():
        value = example
        for block in chain.blocks:
            value = tensor_of(block(value))
        if not torch.equal(value, tensor_of(chain.model(example))):
            raise InfoplaneError("the blocks one after another do not give what the network gives")
