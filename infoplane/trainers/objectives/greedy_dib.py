"""Greedy training by the deterministic information bottleneck."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from infoplane.entropy import entropy_with_gradient
from infoplane.errors import InfoplaneError, unknown
from infoplane.kernels import Bandwidth
from infoplane.trainers.objectives.base import BlockInfo, LossSettings, Pass
from infoplane.trainers.objectives.predsim import PredSim
from infoplane.trainers.objectives.similarities import bandwidth, batch_distances, gaussian
from infoplane.trainers.settings import PENALTIES

BETA_SCHEDULES = ("constant", "warmup")
RULES = ("knn", "median", "fixed")


class GreedyDIB(PredSim):
    """Loss of the task at an auxiliary classifier, plus β_l times an information in bits.

    The information is I_α(X;T_l) (mi_xt; Yu, Yu and Príncipe, "Deep deterministic information bottleneck with
    matrix-based entropy functional", ICASSP 2021), H_α(T_l) (entropy_t; after Strouse and Schwab, "The
    deterministic information bottleneck", Neural Computation 29(6), 2017) or I_α(T_{l−1};T_l) (mi_prev_t), by the
    matrix-based Rényi entropies of order α of one batch. Bandwidths σ of the kernel exp(−d² / (2σ²)) are found in
    the batch and get no gradient.

    Yu, Yu and Príncipe train a whole network with one such term at its bottleneck, with α = 1.01, σ from the 10
    nearest samples and β = 0.01 (VGG-16, CIFAR-10) or 1e-6 (MNIST, perceptron); their public code takes
    exp(−d²/σ²), which is a σ smaller by √2. Here every block has its own term and classifier. The option
    `similarity_weight`, 0, puts similarity matching beside the loss of the task, as in `PredSim`.
    """

    NUMBERS: ClassVar[Mapping[str, float]] = {"similarity_weight": 0.0}

    def __init__(self, info: BlockInfo, loss_settings: LossSettings) -> None:
        super().__init__(info, loss_settings)
        _check(loss_settings)
        self.loss_settings = loss_settings
        self.rule = Bandwidth.parse(loss_settings.bandwidth)

    def loss(self, local: Pass) -> Tensor:
        """Loss of the task in nats, plus the weighted information in bits."""
        loss = super().loss(local)
        weight = self.weight(local)
        return loss + weight * self.information(local).to(loss) if weight else loss

    def weight(self, local: Pass) -> float:
        """Weight of the information in this step; 0 leaves it out."""
        if local.step % self.loss_settings.every:
            return 0.0
        rise = min(1.0, 2 * local.progress) if self.loss_settings.beta_schedule == "warmup" else 1.0
        return self.loss_settings.beta * self.loss_settings.every * rise

    def information(self, local: Pass) -> Tensor:
        """The penalised information in bits, 0-dimensional float64, with its graph."""
        output = self._gram(local.output)
        if self.loss_settings.penalty == "entropy_t":
            return entropy_with_gradient(output, self.loss_settings.alpha)
        other, known = self._given(local)
        # One eigenproblem of two matrices is faster than two, above all on a GPU.
        own, joint = entropy_with_gradient(torch.stack([output, output * other]), self.loss_settings.alpha)
        return own + known - joint

    @torch.no_grad()
    def _given(self, local: Pass) -> tuple[Tensor, Tensor]:
        """Gram matrix and entropy of what the block does not change: X, the same for all blocks, or T_{l−1}."""
        if self.loss_settings.penalty == "mi_prev_t":
            gram = self._gram(local.below)
            return gram, entropy_with_gradient(gram, self.loss_settings.alpha)
        key = f"X with {self.rule}, alpha {self.loss_settings.alpha}"
        if key not in local.memo:
            gram = self._gram(local.inputs)
            local.memo[key] = gram, entropy_with_gradient(gram, self.loss_settings.alpha)
        known: tuple[Tensor, Tensor] = local.memo[key]
        return known

    def _gram(self, samples: Tensor) -> Tensor:
        squared = batch_distances(samples)
        return gaussian(squared, bandwidth(squared, self.rule))


def _check(loss_settings: LossSettings) -> None:
    if loss_settings.penalty not in PENALTIES:
        raise unknown("penalty", loss_settings.penalty, PENALTIES)
    if loss_settings.beta_schedule not in BETA_SCHEDULES:
        raise unknown("schedule of beta", loss_settings.beta_schedule, BETA_SCHEDULES)
    rule = Bandwidth.parse(loss_settings.bandwidth).rule
    if rule not in RULES:
        raise InfoplaneError(
            f"bandwidth '{loss_settings.bandwidth}' is not for training; choose from: {', '.join(RULES)}"
        )
    if not (loss_settings.alpha > 0 and math.isfinite(loss_settings.alpha)):
        raise InfoplaneError(f"alpha must be positive and finite, got {loss_settings.alpha}")
    if not math.isfinite(loss_settings.beta):
        raise InfoplaneError(f"beta must be finite, got {loss_settings.beta}")
    if loss_settings.every < 1:
        raise InfoplaneError(f"the information term enters every 1, 2, 3 … steps, not every {loss_settings.every}")
