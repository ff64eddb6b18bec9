"""Greedy layer-wise training: every block with an auxiliary classifier of its own."""

from __future__ import annotations

from torch import Tensor

from infoplane.trainers.objectives.base import BlockInfo, LossSettings, Objective, Pass, read_options
from infoplane.trainers.objectives.heads import build_head


class GreedyCE(Objective):
    """Loss of the task at an auxiliary classifier (Belilovsky, Eickenberg and Oyallon, ICML 2019).

    The published settings are SGD with momentum 0.9 and weight decay 5e-4 from learning rate 0.1, divided by 5
    after every 15 of 50 epochs a block, blocks one after the other. Here the drops come after the same shares of
    the training, whatever its length, and blocks may train at the same time (Belilovsky et al., ICML 2020).
    """

    def __init__(self, info: BlockInfo, loss_settings: LossSettings) -> None:
        super().__init__()
        self.numbers = read_options(loss_settings, self.NUMBERS)
        self.task = info.task
        self.head = build_head(loss_settings.aux, info)

    def loss(self, local: Pass) -> Tensor:
        """Loss of the task, in nats."""
        return self.classification(local)

    def classification(self, local: Pass) -> Tensor:
        """Loss of the task at the auxiliary classifier, in nats."""
        return self.task.loss(self.head(local.output), local.targets)

    def predict(self, output: Tensor) -> Tensor:
        """Outputs of the auxiliary classifier."""
        outputs: Tensor = self.head(output)
        return outputs
