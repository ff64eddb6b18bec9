"""The interface between the training loop and a method: the local loss of one block.

A method is a file of its own: a subclass of `Objective`, and an entry in `infoplane.trainers.methods`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from infoplane.errors import InfoplaneError, unknown
from infoplane.trainers.task import Targets, Task


@dataclass(frozen=True)
class Layout:
    """Where the channels of a block's output are; objectives see it as maps (channels, rows, columns).

    Attributes:
        shape: Shape of one output, as the block gives it.
        channels: Its axis of the channels.
    """

    shape: tuple[int, ...]
    channels: int = 0

    @property
    def is_sequence(self) -> bool:
        """Whether it has positions in one direction only, which are the rows of maps of one column."""
        return len(self.shape) == 2

    @property
    def is_plain(self) -> bool:
        """Whether the output is as objectives see it."""
        return self.maps == self.shape and not self.channels

    @property
    def maps(self) -> tuple[int, ...]:
        """Shape of one output as objectives see it."""
        if len(self.shape) not in (2, 3):
            return self.shape
        rest = [size for axis, size in enumerate(self.shape) if axis != self.channels]
        return (self.shape[self.channels], *rest, *([1] if self.is_sequence else []))

    def to_maps(self, output: Tensor) -> Tensor:
        """A view (n, *maps) of an output (n, *shape)."""
        if len(self.shape) not in (2, 3):
            return output
        first = output.movedim(1 + self.channels, 1)
        return first[..., None] if self.is_sequence else first

    def from_maps(self, maps: Tensor) -> Tensor:
        """The output (n, *shape) of which these are the maps."""
        if len(self.shape) not in (2, 3):
            return maps
        return (maps[..., 0] if self.is_sequence else maps).movedim(1, 1 + self.channels)


@dataclass(frozen=True)
class BlockInfo:
    """Where a block stands in the network.

    Attributes:
        index: Number of blocks before it.
        count: Number of blocks.
        image: Shape of one network input.
        below: Shape of one input of the block.
        shape: Shape of one output of the block, as maps.
        following: The blocks after it, whose architecture a look-ahead classifier copies.
        task: What the network is trained for.
        layout: How the output is made maps; None where it is as it stands.
    """

    index: int
    count: int
    image: tuple[int, ...]
    below: tuple[int, ...]
    shape: tuple[int, ...]
    following: Sequence[nn.Module]
    task: Task
    layout: Layout | None = None

    @property
    def is_last(self) -> bool:
        """Whether the block ends in the network's own classifier."""
        return self.index == self.count - 1


@dataclass(frozen=True)
class LossSettings:
    """The settings of the local losses; each objective reads those that it has.

    Attributes:
        aux: Auxiliary classifier: linear, conv:K, mlp-sr, next:D or pool:F.
        beta: Weight β_l of the information term of this block.
        beta_schedule: constant, warmup (linear rise over the first half of the training of the block), or target
            (β is steered from `beta` to where the penalty has `target_bits`).
        penalty: mi_xt, entropy_t or mi_prev_t.
        correction: none, or permuted: the penalty is taken less its permuted null.
        alpha: Order α of the information term.
        bandwidth: Rule for the bandwidth in a batch: knn:K, median:C or fixed:S.
        bandwidth_gradient: none: bandwidths get no gradient; scale: they follow the scale of the output, so that
            the information terms have no gradient along it.
        every: The information term enters every so many steps, with its weight multiplied by as much.
        target_bits: What the penalty is steered to.
        fit: ce, mi_ty or both.
        fit_weight: Weight of I(T_l;Y) beside the cross-entropy.
        fit_bandwidth: Rule for the bandwidth of T_l in I(T_l;Y).
        fit_projection: What I(T_l;Y) is of. none: the output as it is; directions: those of its samples; random,
            learned: those in a projection of it whose weights stay as they are, or are trained with the block.
        seed: Seed of what the loss draws.
        options: Other numbers by name, see `option`.
    """

    aux: str = "linear"
    beta: float = 0.01
    beta_schedule: str = "constant"
    penalty: str = "mi_xt"
    alpha: float = 1.01
    bandwidth: str = "knn:10"
    bandwidth_gradient: str = "none"
    every: int = 1
    correction: str = "none"
    target_bits: float = 0.0
    fit: str = "ce"
    fit_weight: float = 0.3
    fit_bandwidth: str = "median:1"
    fit_projection: str = "none"
    seed: int = 0
    options: Mapping[str, float] = field(default_factory=dict)


def read_options(loss_settings: LossSettings, defaults: Mapping[str, float]) -> dict[str, float]:
    """The numbers of a method, its published defaults replaced by what the user gave.

    Raises:
        InfoplaneError: The user gave a number that the method does not have, or one that is not finite.
    """
    for name in loss_settings.options:
        if name not in defaults:
            if not defaults:
                raise InfoplaneError(f"the method has no option '{name}'; leave out `option`")
            raise unknown("option of the method", name, defaults)
        if not math.isfinite(loss_settings.options[name]):
            raise InfoplaneError(f"option '{name}' must be finite, got {loss_settings.options[name]}")
    return {**defaults, **loss_settings.options}


@dataclass
class Pass:
    """The tensors of one step that an objective sees.

    Attributes:
        inputs: Network inputs X, (n, ...), without graph.
        below: The block's input T_{l−1}, (n, ...), without graph; X for the first block.
        output: The block's output T_l as maps, (n, ...), with the graph of this block alone.
        targets: Labels (and boxes) of the samples.
        progress: Share of the block's training that is over, from 0 to below 1.
        step: Number of optimiser steps that the block has taken.
        memo: Kept for the length of one step and shared by all blocks: what depends on X and Y alone.
        share: Which part of the batch these samples are, where it is cut into several.
    """

    inputs: Tensor
    below: Tensor
    output: Tensor
    targets: Targets
    progress: float = 0.0
    step: int = 0
    memo: dict[str, Any] = field(default_factory=dict)
    share: float = 1.0


class Objective(nn.Module):
    """The local loss of one block, with the auxiliary classifier that it trains, if it has one.

    Attributes:
        NUMBERS: The options of the method with their defaults.
        rests: Whether some steps leave some of its parameters out.
    """

    NUMBERS: ClassVar[Mapping[str, float]] = {}
    rests: bool = False

    @abstractmethod
    def loss(self, local: Pass) -> Tensor:
        """The loss that block and auxiliary classifier are trained by.

        Args:
            local: The step.

        Returns:
            0-dimensional, with its graph.
        """

    def predict(self, output: Tensor) -> Tensor | None:
        """Outputs of the task, (n, task.outputs), from the block's output; None without a classifier."""
        return None

    def state(self) -> dict[str, float]:
        """Numbers that change while it trains, by name, for the metrics of a snapshot."""
        return {}


class OwnClassifier(Objective):
    """The loss of a block that ends in the network's own classifier, and of the whole network under SGD."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def loss(self, local: Pass) -> Tensor:
        """Loss of the task, in nats."""
        return self.task.loss(local.output, local.targets)

    def predict(self, output: Tensor) -> Tensor:
        """The block's output itself."""
        return output


def own_classifier(info: BlockInfo, loss_settings: LossSettings) -> Objective:
    """The objective of a last block, whatever the settings of the local losses."""
    return OwnClassifier(info.task)
