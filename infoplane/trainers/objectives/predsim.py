"""Local prediction and similarity matching (Nøkland and Eidnes, ICML 2019)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from infoplane.errors import InfoplaneError
from infoplane.trainers.objectives.base import BlockInfo, LossSettings, Objective, Pass, read_options
from infoplane.trainers.objectives.greedy_ce import GreedyCE
from infoplane.trainers.objectives.similarities import cosine, full_precision, largest, widened


class Similarity(nn.Module):
    """Mean squared difference between the similarities of outputs and of targets, over all pairs of samples.

    The similarity is the centred cosine in a projection of the output (`build_projection`), which is trained with
    the block. Targets are one-hot classes, and boxes beside them where the task has boxes.
    """

    def __init__(self, info: BlockInfo) -> None:
        super().__init__()
        self.task = info.task
        self.projection = build_projection(info)

    def forward(self, local: Pass) -> Tensor:
        """The loss, 0-dimensional, between 0 and 4."""
        similarity = cosine(self.projection(local.output))
        if "similarity of targets" not in local.memo:
            local.memo["similarity of targets"] = cosine(self.task.embedding(local.targets))
        target: Tensor = local.memo["similarity of targets"]
        return functional.mse_loss(similarity, target.to(similarity))


class Sim(Objective):
    """Similarity matching alone, without a classifier.

    Published with Adam at learning rate 5e-4, times 0.25 after 50, 75, 89 and 94 % of the training, batches of
    128, 100 to 400 epochs, dropout and leaky ReLU. What differs: the network keeps its own activations, and a
    block of several convolutions has one loss where the paper has one at each.
    """

    def __init__(self, info: BlockInfo, loss_settings: LossSettings) -> None:
        super().__init__()
        read_options(loss_settings, self.NUMBERS)
        self.similarity = Similarity(info)

    def loss(self, local: Pass) -> Tensor:
        """The similarity loss."""
        loss: Tensor = self.similarity(local)
        return loss


class PredSim(GreedyCE):
    """(1 − b) times the loss of the task at an auxiliary classifier plus b times the similarity loss.

    Published with b = 0.99 (the option `similarity_weight`), the auxiliary classifier `pool:2048` and the settings
    of `Sim`. The paper's `pred` is `GreedyCE` with these.
    """

    NUMBERS: ClassVar[Mapping[str, float]] = {"similarity_weight": 0.99}

    def __init__(self, info: BlockInfo, loss_settings: LossSettings) -> None:
        super().__init__(info, loss_settings)
        self.share = self.numbers["similarity_weight"]
        if not 0 <= self.share <= 1:
            raise InfoplaneError(f"similarity_weight is a share, 0 to 1, got {self.share:g}")
        self.similarity = Similarity(info) if self.share else None

    def loss(self, local: Pass) -> Tensor:
        """The weighted sum."""
        loss = super().loss(local)
        if self.similarity is None:
            return loss
        return (1 - self.share) * loss + self.share * self.similarity(local)


def build_projection(info: BlockInfo) -> nn.Module:
    """A layer without bias by which the samples of a block's output are compared, with random weights.

    Args:
        info: Where the block stands.

    Returns:
        From the output (n, ...) to one vector a sample, (n, d). Where the output is feature maps, a 3×3 convolution
        to as many, of which a sample has the standard deviation over each, or all values where there are three maps
        or fewer, or of one pixel. Elsewhere a linear layer from all values to as many, whose weights are the square
        of their number.
    """
    if len(info.shape) == 3:
        return _MapProjection(info.shape[0], info.shape[0], 3, padding=1, bias=False)
    width = math.prod(info.shape)
    return nn.Sequential(nn.Flatten(), nn.Linear(width, width, bias=False))


class _MapProjection(nn.Conv2d):
    """Standard deviations over more than three maps of more than one pixel; else their values."""

    def forward(self, output: Tensor) -> Tensor:
        maps = super().forward(output)
        if maps.shape[1] <= 3 or maps[0, 0].numel() == 1:
            return maps.flatten(1)
        with full_precision(maps):
            maps = widened(maps)
            return (maps / largest(maps)).flatten(2).std(2)
