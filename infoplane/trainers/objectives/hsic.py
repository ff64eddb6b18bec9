"""The HSIC bottleneck."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from infoplane.trainers.objectives.base import BlockInfo, LossSettings, Objective, Pass, read_options
from infoplane.trainers.objectives.similarities import batch_distances, gaussian

_RIDGE = 1e-5


class HSICBottleneck(Objective):
    """λ_x · nHSIC(T_l, X) − λ_y · nHSIC(T_l, Y) (Ma, Lewis and Kleijn, "The HSIC bottleneck", AAAI 2020).

    nHSIC(A, B) = tr(R_A R_B) with R = K̃ (K̃ + 1e-5 n I)⁻¹ and K̃ the centred Gram matrix under the Gaussian kernel
    exp(−d² / (2σ²D)) of D features, for one-hot classes too (and boxes beside them where the task has boxes).

    Published with σ = 5, λ_y / λ_x = 50 (options `sigma`, `lambda_x`, `lambda_y`) and, in the public code, SGD at
    1e-4 with weight decay 1e-3 and batches of 512. There is no auxiliary classifier: the last block, trained on the
    outputs of the others by the loss of the task, is the paper's linear readout. What differs: the readout trains
    at the same time where blocks do; one rate for both, and small data sets, need larger and more steps, so that
    Adam at 1e-3 with batches of 256 are the defaults here.
    """

    NUMBERS: ClassVar[Mapping[str, float]] = {"sigma": 5.0, "lambda_x": 1.0, "lambda_y": 50.0}

    def __init__(self, info: BlockInfo, loss_settings: LossSettings) -> None:
        super().__init__()
        numbers = read_options(loss_settings, self.NUMBERS)
        self.sigma, self.lambda_x, self.lambda_y = numbers["sigma"], numbers["lambda_x"], numbers["lambda_y"]
        self.task = info.task

    def loss(self, local: Pass) -> Tensor:
        """The difference, 0-dimensional float64; each nHSIC is between 0 and n."""
        inputs, targets = self._given(local)
        output = resolvent(local.output, self.sigma)
        return (output * (self.lambda_x * inputs - self.lambda_y * targets)).sum()

    @torch.no_grad()
    def _given(self, local: Pass) -> tuple[Tensor, Tensor]:
        """R of X and of Y, the same for all blocks."""
        key = f"HSIC of X and Y, sigma {self.sigma}"
        if key not in local.memo:
            embedding = self.task.embedding(local.targets)
            local.memo[key] = resolvent(local.inputs, self.sigma), resolvent(embedding, self.sigma)
        known: tuple[Tensor, Tensor] = local.memo[key]
        return known


def resolvent(samples: Tensor, sigma: float) -> Tensor:
    """R = K̃ (K̃ + 1e-5 n I)⁻¹ of samples (n, ...), symmetric (n, n) float64."""
    features = samples[0].numel()
    gram = gaussian(batch_distances(samples), sigma * features**0.5)
    means = gram.mean(0, keepdim=True)
    centred = gram - means - means.T + means.mean()
    ridge = _RIDGE * len(gram) * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return torch.linalg.solve(centred + ridge, centred)
