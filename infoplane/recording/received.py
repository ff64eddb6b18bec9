"""What the next module receives of an output, where `forward` does something to it in between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from infoplane.recording.trace import IN, OUT, RESHAPING, Call, Node, Path

# Operations that are linear in what they are given, and so no activation.
_LINEAR = RESHAPING | {
    *("add", "sub", "rsub", "mul", "div", "neg", "mean", "sum", "slice", "select", "index", "index_select", "cat"),
    *(
        "stack",
        "split",
        "split_with_sizes",
        "chunk",
        "unbind",
        "narrow",
        "constant_pad_nd",
        "gather",
        "roll",
        "flip",
    ),
    *("mm", "addmm", "bmm", "baddbmm", "matmul", "linear", "convolution", "masked_fill", "fill", "zero"),
    *(
        "avg_pool1d",
        "avg_pool2d",
        "avg_pool3d",
        "_adaptive_avg_pool2d",
        "_adaptive_avg_pool3d",
        "upsample_nearest2d",
    ),
    *(
        "upsample_bilinear2d",
        "_pack_padded_sequence",
        "_pad_packed_sequence",
        "unfold",
        "im2col",
        "native_dropout",
        "repeat",
        "index_put",
    ),
}
# With a tensor that carries no data, such as a parameter, they are a layer that is no module.
_PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "matmul", "linear", "convolution", "mv", "addmv", "_cdist_forward"}
# Of two tensors that both carry data, these stay linear: sums, and what takes rows or lengths that were counted.
_SUMS = {"add", "sub", "cat", "stack", "copy", "index_put", "index_select", "_pack_padded_sequence"}
_SPELLED = {
    "_prelu_kernel": "prelu",
    "_softmax": "softmax",
    "_log_softmax": "log_softmax",
    "log_sigmoid_forward": "logsigmoid",
    "max_pool2d_with_indices": "max_pool2d",
    "native_layer_norm": "layer_norm",
}


@dataclass(frozen=True)
class Received:
    """What becomes of an output in `forward` before the next module has it.

    Attributes:
        port: Where the outcome enters or leaves a call; None where nothing but linear operations is done, or no
            one path leads there.
        operations: What was done on the way and is not linear.
        followed_by: What could not be followed and is not linear; "" without any.
        joined_by: What joined it with other data before that; "" without any.
        head: The product with parameters that makes the network's output of it outside of any module; "" without.
    """

    port: tuple[Call, str, Path] | None = None
    operations: tuple[str, ...] = ()
    followed_by: str = ""
    joined_by: str = ""
    head: str = ""


def received(call: Call) -> Received:
    """What the next module receives of an output, where `forward` does more to it than a linear operation.

    All operations between modules on the way are followed, branches too (x * sigmoid(x)), as long as they take in
    nothing but this output and meet again in one tensor. Pooling by itself is no activation, and neither is what
    follows the last layer, unless that is a layer itself.
    """
    start = call.result
    if start is None:
        return Received()
    around = {*_around(call)}
    region, pending = {start}, _used(start, around)
    while pending and not _enters(start, call):
        node = min(pending, key=lambda node: node.index)
        if not region.issuperset(node.sources):
            return _not_followed(region, pending, around, node)
        region.add(node)
        following = _used(node, around)
        pending = (pending | following) - {node}
        if pending == following:
            port, operations = _surface(node, around), _operations(region)
            if port is not None and port[0].parent is None and port[1] == OUT:
                return Received(head=_head(region))
            if port is not None:
                pools = all(_is_pooling(name, call) for name in operations)
                return Received() if pools else Received(port, operations)
        if _enters(node, call):
            break
    return _not_followed(region, pending, around)


def _head(region: Iterable[Node]) -> str:
    """The last product with parameters on the way to the network's output."""
    ordered = sorted(region, key=lambda node: node.index)[1:]
    made = [node for node in ordered if node.op in _PRODUCTS and len(node.sources) == 1]
    return _spelled(made[-1]) if made else ""


def _not_followed(region: set[Node], pending: set[Node], around: set[Call], join: Node | None = None) -> Received:
    """What to say of an output whose way cannot be followed to one tensor: what is done next that is not linear."""
    before = [name for name in _operations(region) if "pool" not in name]
    if before:
        return Received(followed_by=before[0])
    ahead, stack = set(region), [*pending]
    while stack:
        node = stack.pop()
        if node not in ahead:
            ahead.add(node)
            if not any(side == IN for _, side, _ in node.ports):
                stack.extend(_used(node, around))
    operations = [name for name in _operations(ahead - {join}) if "pool" not in name]
    return Received(followed_by=operations[0] if operations else "", joined_by=_spelled(join) if join else "")


def _is_pooling(name: str, call: Call) -> bool:
    """Whether an operation pools: a largest value too, unless it is the activation of a layer (maxout)."""
    has_parameters = any(True for _ in call.module.parameters(recurse=False))
    return "pool" in name or (name in ("max", "amax", "min", "amin") and not has_parameters)


def _used(node: Node, around: set[Call]) -> set[Node]:
    """What is made of a tensor between modules, in the `forward` of what is around; dead ends are none of it."""
    return {user for user in node.users if user.owner in around and (user.users or user.ports)}


def _around(call: Call) -> Iterator[Call]:
    while call.parent:
        call = call.parent
        yield call


def _enters(node: Node, call: Call) -> bool:
    """Whether a module is given this tensor after the call has given it."""
    place_of_call = next((place for place, port in enumerate(node.ports) if port[0] is call and port[1] == OUT), -1)
    return any(side == IN for _, side, _ in node.ports[place_of_call + 1 :])


def _surface(node: Node, around: set[Call]) -> tuple[Call, str, Path] | None:
    """The first call that takes a tensor in, or is left with it, with one row for each sample."""
    for other, side, path in node.ports:
        if (side, path) in other.places and (side == IN or other in around):
            return other, side, path
    return None


def _spelled(node: Node) -> str:
    return _SPELLED.get(node.op, node.op.strip("_").removesuffix("_forward"))


def _operations(region: Iterable[Node]) -> tuple[str, ...]:
    """The operations that are not linear, in order."""
    ordered = sorted(region, key=lambda node: node.index)[1:]
    return tuple(_spelled(node) for node in ordered if not _is_linear(node))


def _is_linear(node: Node) -> bool:
    return node.op in _LINEAR and (len(node.sources) == 1 or node.op in _SUMS)
