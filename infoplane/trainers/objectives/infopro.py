"""Locally supervised learning that keeps information on the input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from infoplane.errors import InfoplaneError
from infoplane.trainers.objectives.base import BlockInfo, LossSettings, Pass
from infoplane.trainers.objectives.greedy_ce import GreedyCE

WIDTH = 12
# Around its minimum the binary cross-entropy of pixels in [0, 1] is 2 (x − x̂)², which is an eighth of the squared
# error of normalised inputs where the standard deviation of pixels is a quarter, as that of natural images is.
_CROSS_ENTROPY = 1 / 8


class InfoPro(GreedyCE):
    """λ_1 · reconstruction error of X + λ_2 · loss of the task at an auxiliary classifier (Wang et al., ICLR 2021).

    The weights change linearly from the first hidden block to the last: λ_1 from 5 to 0 and λ_2 from 0.5 to 1
    (options `reconstruction_first`, `reconstruction_last`, `task_first`, `task_last`; the paper tunes the four
    numbers for every network and number of modules). A decoder, trained with the block, reconstructs X: for feature
    maps bilinear interpolation to the size of X and two 3×3 convolutions with 12 channels between them, for vectors
    a perceptron with one hidden layer as wide as they are.

    Published with SGD, momentum 0.9 with Nesterov, weight decay 1e-4, learning rate 0.8 for batches of 1024 (0.1
    for 128) with a warm-up and a cosine over 160 epochs, an auxiliary classifier of one convolution and two linear
    layers, and 2 to 16 modules. What differs: the cross-entropy variant of the paper, not the contrastive one; the
    mean squared error of normalised inputs, scaled to the same weight, in the place of the binary cross-entropy of
    pixels; momentum without Nesterov, and no warm-up; `conv:1` as the classifier.
    """

    NUMBERS: ClassVar[Mapping[str, float]] = {
        "reconstruction_first": 5.0,
        "reconstruction_last": 0.0,
        "task_first": 0.5,
        "task_last": 1.0,
    }

    def __init__(self, info: BlockInfo, loss_settings: LossSettings) -> None:
        super().__init__(info, loss_settings)
        depth = info.index / max(1, info.count - 2)
        self.reconstruction = self._at(depth, "reconstruction")
        self.prediction = self._at(depth, "task")
        self.decoder = _decoder(info) if self.reconstruction else None

    def loss(self, local: Pass) -> Tensor:
        """The weighted sum; where the reconstruction has no weight there is no decoder."""
        loss = self.prediction * super().loss(local)
        if self.decoder is None:
            return loss
        if not local.inputs.is_floating_point():
            raise InfoplaneError("infopro reconstructs numbers, and tokens are names; take another method")
        restored = self.decoder(local.output)
        error = functional.mse_loss(restored.float(), local.inputs.detach().float())
        return loss + self.reconstruction * _CROSS_ENTROPY * error

    def _at(self, depth: float, name: str) -> float:
        return (1 - depth) * self.numbers[f"{name}_first"] + depth * self.numbers[f"{name}_last"]


class _MapDecoder(nn.Module):
    def __init__(self, info: BlockInfo) -> None:
        super().__init__()
        self.size = info.image[1:]
        self.layers = nn.Sequential(
            nn.Conv2d(info.shape[0], WIDTH, 3, padding=1, bias=False),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(),
            nn.Conv2d(WIDTH, info.image[0], 3, padding=1),
        )

    def forward(self, output: Tensor) -> Tensor:
        resized = functional.interpolate(output, size=self.size, mode="bilinear", align_corners=True)
        image: Tensor = self.layers(resized)
        return image


def _decoder(info: BlockInfo) -> nn.Module:
    if len(info.shape) == len(info.image) == 3 and not (info.layout and info.layout.is_sequence):
        return _MapDecoder(info)
    width, pixels = math.prod(info.shape), math.prod(info.image)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(width, width),
        nn.LayerNorm(width),
        nn.ReLU(),
        nn.Linear(width, pixels),
        nn.Unflatten(1, info.image),
    )
