"""Which axis of an output holds the channels, as the modules next to it see it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from torch import nn

from infoplane.recording.trace import IN, MOVING, Call, Node, Path

# Of these only where their `forward` is their own: a LayerNorm2d normalises images.
_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.MultiheadAttention, nn.RNN, nn.LSTM, nn.GRU)
_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
)


def channel_axis(call: Call, key: tuple[str, Path]) -> int:
    """The axis of one sample that holds the channels of a tensor.

    It is the one along which the nearest module that knows of channels reads or writes the tensor, with nothing but
    operations on single values in between: the last one for a linear layer, the first for a convolution. Where no
    module tells, it is the first, or the next where the first holds the positions of a sequence.

    Args:
        call: A call of a traced network.
        key: Side and place of the tensor.

    Returns:
        An axis of the shape of one sample.
    """
    place = call.places[key]
    fallback = 1 if place.positions == 0 and len(place.shape) > 1 else 0
    if len(place.shape) < 2 or key not in call.nodes:
        return fallback
    told = (
        axis - (axis > place.axis)
        for node in _alike(call.nodes[key])
        for other, side, path in node.ports
        if other.places.get((side, path)) == place and (axis := _told(other, side, path)) is not None
    )
    found = next(told, fallback)
    return fallback if found == place.positions else found


def _told(call: Call, side: str, path: Path) -> int | None:
    """The axis of a tensor that a module takes for that of the channels; None where it tells of none."""
    place = call.places[side, path]
    module, own = call.module, type(call.module).forward
    if isinstance(module, _FIRST):
        return 1 if place.axis == 0 else None
    kind = next((kind for kind in _LAST if isinstance(module, kind)), None)
    if kind is None or own is not kind.forward:
        return None
    if isinstance(module, nn.LayerNorm | nn.RMSNorm) and len(module.normalized_shape) > 1:
        return None
    # Names of tokens have no channels; further outputs are the weights of attention, the last state of a layer.
    names = kind is nn.Embedding and side == IN
    return None if names or path not in ((), (0,), (0, 0)) else len(place.shape)


def _alike(node: Node) -> Iterator[Node]:
    """The nodes that hold a tensor with the same axes, the nearest first, from the node itself on."""
    seen, queue = {node}, deque([node])
    while queue:
        here = queue.popleft()
        yield here
        before = here.sources if here.op not in MOVING else []
        for other in [*before, *(user for user in here.users if user.op not in MOVING)]:
            if other.numel == node.numel and other not in seen:
                seen.add(other)
                queue.append(other)
