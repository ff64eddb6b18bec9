"""Auxiliary classifiers: from the output of a block to the outputs of the task.

Which one is taken decides most of the accuracy of local training, so that methods are compared with the same one.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from infoplane.errors import InfoplaneError, unknown
from infoplane.recording.layers import eval_mode, tensor_of
from infoplane.trainers.objectives.base import BlockInfo, Layout

Shape = tuple[int, ...]


def build_head(spec: str, info: BlockInfo) -> nn.Module:
    """An auxiliary classifier with random weights, from the global random state, on the CPU.

    Args:
        spec: `linear`: averages over a 2×2 grid and one linear layer. `conv:K`: K 3×3 convolutions of the block's
            width, each with batch normalisation and ReLU, before it; auxiliary depth K+1 of Belilovsky, Eickenberg
            and Oyallon (ICML 2019). `mlp-sr`: averages over a quarter of the rows and columns, three 1×1
            convolutions, a 2×2 grid and a perceptron of three layers (Belilovsky, Eickenberg and Oyallon,
            "Decoupled greedy learning of CNNs", ICML 2020). `next:D`: the architecture of the next D blocks, then
            as `linear`; the last block of the network is never among them (after AugLocal, Ma et al., ICLR 2024,
            which picks its layers evenly over all that follow). `pool:F`: averages over as few patches as leave F
            features or less, halving rows and columns in turn, then one linear layer that starts from zero weights
            (Nøkland and Eidnes, ICML 2019). Where the block's output is no feature map, convolutions become linear
            layers of the same width, without normalisation as in the model mlp. Positions of a sequence are
            the rows of maps of one column.
        info: Where the block stands.

    Returns:
        Maps (n, *info.shape) to (n, info.task.outputs).

    Raises:
        InfoplaneError: No such auxiliary classifier.
    """
    name, separator, number = spec.partition(":")
    examples = {known: f"{known}:{_NUMBERED[known]}" if known in _NUMBERED else known for known in _HEADS}
    if name not in _HEADS:
        raise unknown("auxiliary classifier", spec, examples.values())
    counted = number.isascii() and number.isdecimal() and int(number) > 0
    if not (counted if name in _NUMBERED else not separator):
        raise InfoplaneError(f"auxiliary classifier '{spec}': write '{examples[name]}'")
    return _HEADS[name](info, int(number or 0))


def _linear(info: BlockInfo, _: int) -> nn.Module:
    return nn.Sequential(*_readout(info.shape, info.task.outputs))


def _conv(info: BlockInfo, depth: int) -> nn.Module:
    width = _width(info.shape)
    hidden: list[nn.Module] = []
    for _ in range(depth):
        hidden += _conv_layer(width, 3) if _is_map(info.shape) else [nn.Linear(width, width), nn.ReLU()]
    flat = [] if _is_map(info.shape) else [nn.Flatten()]
    return nn.Sequential(*flat, *hidden, *_readout(info.shape, info.task.outputs))


def _mlp_sr(info: BlockInfo, _: int) -> nn.Module:
    reduced: list[nn.Module] = []
    width = _width(info.shape)
    if _is_map(info.shape):
        rows, columns = info.shape[1:]
        reduced.append(nn.AdaptiveAvgPool2d((math.ceil(rows / 4), math.ceil(columns / 4))))
        for _ in range(3):
            reduced += _conv_layer(width, 1)
        shape: Shape = (width, math.ceil(rows / 4), math.ceil(columns / 4))
        reduced += _pool(shape)
        width *= min(2, shape[1]) * min(2, shape[2])
    perceptron: list[nn.Module] = []
    for _ in range(2):
        norm = [nn.BatchNorm1d(width)] if _is_map(info.shape) else []
        perceptron += [nn.Linear(width, width), *norm, nn.ReLU()]
    return nn.Sequential(*reduced, nn.Flatten(), *perceptron, nn.Linear(width, info.task.outputs))


def _next(info: BlockInfo, depth: int) -> nn.Module:
    copies = copy.deepcopy(nn.Sequential(*info.following[:-1][:depth])).cpu()
    _reinitialise(copies)
    for layer in copies.modules():
        # A first layer that works in info would change the block's output for the block after it.
        if getattr(layer, "inplace", False):
            layer.inplace = False  # type: ignore[assignment]
    layout = info.layout
    with eval_mode(copies), torch.no_grad():
        shape = tuple(tensor_of(copies(torch.zeros(2, *(layout.shape if layout else info.shape)))).shape[1:])
    if layout is None or layout.is_plain:
        return nn.Sequential(*copies, *_readout(shape, info.task.outputs))
    # Blocks alike have their channels on one axis.
    after = Layout(shape, layout.channels if len(shape) == len(layout.shape) else 0)
    given, seen = _Applied(layout.from_maps), _Applied(after.to_maps)
    return nn.Sequential(given, *copies, seen, *_readout(after.maps, info.task.outputs))


class _Applied(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _pool_to(info: BlockInfo, features: int) -> nn.Module:
    shape, rows_next = info.shape, True
    pool: list[nn.Module] = []
    if _is_map(shape):
        channels, rows, columns = shape
        while channels * rows * columns > features and max(rows, columns) > 1:
            rows, columns = (math.ceil(rows / 2), columns) if rows_next else (rows, math.ceil(columns / 2))
            rows_next = not rows_next
        pool, shape = [nn.AdaptiveAvgPool2d((rows, columns))], (channels, rows, columns)
    classifier = nn.Linear(math.prod(shape), info.task.outputs)
    nn.init.zeros_(classifier.weight)
    return nn.Sequential(*pool, nn.Flatten(), classifier)


# Auxiliary classifiers by name: the info of a block and the number in the specification to a module.
_HEADS: dict[str, Callable[[BlockInfo, int], nn.Module]] = {
    "linear": _linear,
    "conv": _conv,
    "mlp-sr": _mlp_sr,
    "next": _next,
    "pool": _pool_to,
}
# Those with a number, and an example of it.
_NUMBERED = {"conv": 1, "next": 1, "pool": 2048}


def _reinitialise(module: nn.Module) -> None:
    """Gives every layer below a module new random weights, by its own `reset_parameters`."""
    for layer in module.modules():
        # MultiheadAttention has the private name alone.
        reset = getattr(layer, "reset_parameters", None) or getattr(layer, "_reset_parameters", None)
        if reset is not None:
            reset()


def _readout(shape: Shape, outputs: int) -> Sequence[nn.Module]:
    """Averages over a 2×2 grid where there is a map, then one linear layer."""
    if not _is_map(shape):
        return [nn.Flatten(), nn.Linear(math.prod(shape), outputs)]
    features = shape[0] * min(2, shape[1]) * min(2, shape[2])
    return [*_pool(shape), nn.Flatten(), nn.Linear(features, outputs)]


def _pool(shape: Shape) -> list[nn.Module]:
    # A map of one row or column has no two to average.
    return [nn.AdaptiveAvgPool2d((min(2, shape[1]), min(2, shape[2])))]


def _conv_layer(width: int, size: int) -> list[nn.Module]:
    return [
        nn.Conv2d(width, width, size, padding=size // 2, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]


def _is_map(shape: Shape) -> bool:
    return len(shape) == 3


def _width(shape: Shape) -> int:
    return shape[0] if _is_map(shape) else math.prod(shape)
