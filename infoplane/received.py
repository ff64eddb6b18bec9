"""What the next module receives of an output, where `forward` applies an activation in between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from infoplane.trace import IN, OUT, Call, Node, Path

# Operations that are the activation of the layer before them, by the names that torch has for them.
ACTIVATIONS = frozenset(
    {
        *("relu", "relu6", "leaky_relu", "gelu", "silu", "elu", "celu", "selu", "tanh", "sigmoid", "hardtanh"),
        *("hardsigmoid", "hardswish", "mish", "softplus", "glu", "threshold", "clamp", "clamp_min", "clamp_max"),
        *("_prelu_kernel", "rrelu_with_noise", "log_sigmoid_forward", "sin", "_softmax"),
    }
)


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


def received(call: Call) -> Received:
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
