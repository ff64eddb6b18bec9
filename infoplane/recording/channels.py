"""Which axis of an output holds the channels, as the modules next to it see it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import torch
from torch import nn

from infoplane.recording.trace import IN, MOVING, OUT, VIEWS, Call, Node, Path
from infoplane.runfile.schema import usual_channels

# Of these only where their `forward` is their own: a LayerNorm2d normalises images.
_READING = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.MultiheadAttention, nn.RNN, nn.LSTM, nn.GRU)
_MAPPING = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
)
# Operations that make one axis longer or shorter.
_RESIZING = frozenset({"cat", "slice", "constant_pad_nd", "index_select", "split", "split_with_sizes", "narrow"})
# The ends of a tensor at which channels are.
_FIRST, _LAST = "first", "last"


def channel_axis(call: Call, key: tuple[str, Path]) -> int:
    """The axis of one sample that holds the channels of a tensor.

    It is the one along which the nearest module that knows of channels wrote the tensor, or else reads it, with
    nothing but operations on single values in between: the last one of a linear layer, the first of a convolution.
    Where no module tells, it is the first, or the next where the first holds the positions of a sequence.

    Args:
        call: A call of a traced network.
        key: Side and place of the tensor.

    Returns:
        An axis of the shape of one sample.
    """
    place = call.places[key]
    fallback = usual_channels(place.shape, place.positions)
    if len(place.shape) < 2 or key not in call.nodes:
        return fallback
    axes = {_FIRST: 0 if place.axis == 0 else None, _LAST: len(place.shape) - 1}
    # What wrote it before what reads it: a layer over time reads the channels of a convolution as times.
    told = (
        axes[end]
        for sides in ((OUT,), (IN, OUT))
        for node, ends in _alike(call.nodes[key], written=IN not in sides)
        for other, side, path in node.ports
        if side in sides and (side, path) in other.places and (end := _told(other, side, path)) in ends
    )
    found = next(told, None)
    return fallback if found is None or found == place.positions else found


def _told(call: Call, side: str, path: Path) -> str | None:
    """At which end of a tensor a module has the channels; None where it tells of none."""
    module, own = call.module, type(call.module).forward
    if isinstance(module, _MAPPING):
        # Not one of a user's that permutes inside.
        if not own.__module__.startswith("torch."):
            return None
        return _FIRST if call.places[side, path].axis == 0 else None
    kind = next((kind for kind in _READING if isinstance(module, kind)), None)
    if kind is None or own is not kind.forward:
        return None
    if isinstance(module, nn.LayerNorm | nn.RMSNorm) and len(module.normalized_shape) > 1:
        return None
    # Names of tokens have no channels; further outputs are the weights of attention, the last state of a layer.
    names = kind is nn.Embedding and side == IN
    return None if names or path not in ((), (0,), (0, 0)) else _LAST


def _alike(node: Node, *, written: bool = False) -> Iterator[tuple[Node, frozenset[str]]]:
    """The nodes that hold the same tensor up to changes of single values, the nearest first, from itself on.

    With `written` only those that it was made of.

    Beside each stand the ends, the first axis behind that of the samples and the last one, that are those of the
    tensor: a view that merges rows and columns keeps one of them.
    """
    seen, queue = {node}, deque([(node, frozenset({_FIRST, _LAST}))])
    while queue:
        here, ends = queue.popleft()
        yield here, ends
        steps = [(source, here.op) for source in here.sources]
        steps += [] if written else [(user, user.op) for user in here.users]
        for other, op in steps:
            kept = ends & _kept(here.shape, other.shape, op)
            if kept and other not in seen:
                seen.add(other)
                queue.append((other, kept))


def _kept(shape: torch.Size, other: torch.Size, op: str) -> frozenset[str]:
    """The ends that an operation between two tensors leaves where they are."""
    if op in MOVING and op not in VIEWS:
        return frozenset()
    if shape == other:
        return frozenset({_FIRST, _LAST})
    if op not in VIEWS | _RESIZING or not (len(shape) > 1 and len(other) > 1):
        return frozenset()
    ends = {_FIRST: shape[:2] == other[:2], _LAST: shape[-1] == other[-1]}
    return frozenset(end for end, same in ends.items() if same)
