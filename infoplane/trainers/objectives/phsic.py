"""The plausible kernelized bottleneck."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from infoplane.trainers.objectives.base import BlockInfo, LossSettings, Objective, Pass, read_options
from infoplane.trainers.objectives.similarities import cosine, full_precision, largest, widened

# A variance this small, where the largest feature of the batch is at most 1, counts as this.
SMALL = 1e-12


class PlausibleHSIC(Objective):
    """pHSIC(T_l, T_l) − γ · pHSIC(T_l, Y) (Pogodin and Latham, NeurIPS 2020).

    pHSIC(A, B) is the covariance of the entries of two Gram matrices, here of the cosine kernel: for outputs on
    centred powers of smoothed variances within groups of neighbouring features, (Σ(t − mean)² + δ)^p / size^p, for
    classes on centred one-hot vectors (with boxes beside them where the task has boxes).

    Published on CIFAR-10 for a cosine kernel with grouping: γ = 2, 32 groups, p = 0.5, δ = 1 (options `gamma`,
    `groups`, `power`, `delta`), AdamW at 5e-4 with weight decay 1e-7, times 0.25 after 60, 70, 90 and 95 % of 500
    epochs of batches of 128. What differs: no divisive normalisation is put into the network, the number of groups
    is the next smaller divisor of the features, and the last block is all that the loss of the task trains.
    """

    NUMBERS: ClassVar[Mapping[str, float]] = {"gamma": 2.0, "groups": 32, "power": 0.5, "delta": 1.0}

    def __init__(self, info: BlockInfo, loss_settings: LossSettings) -> None:
        super().__init__()
        self.numbers = read_options(loss_settings, self.NUMBERS)
        self.task = info.task

    def loss(self, local: Pass) -> Tensor:
        """The difference, 0-dimensional."""
        numbers = self.numbers
        grouped = group(local.output, int(numbers["groups"]), numbers["power"], numbers["delta"])
        output = cosine(grouped)
        targets = cosine(self.task.embedding(local.targets)).to(output)
        return plausible(output, output) - numbers["gamma"] * plausible(output, targets)


def plausible(left: Tensor, right: Tensor) -> Tensor:
    """pHSIC: covariance of the entries of two Gram matrices (n, n), 0-dimensional."""
    return (left * right).mean() - left.mean() * right.mean()


def group(output: Tensor, groups: int, power: float, delta: float) -> Tensor:
    """Powers of smoothed variances within groups, (n, groups), up to a factor; the features where they are few.

    Args:
        output: (n, ...), at any scale.
        groups: Wanted number of groups; at least two features make a group, at least two groups are made.
        power: The power p of the variance.
        delta: Added to the sum of squares in a group.
    """
    with full_precision(output):
        features = widened(output.flatten(1))
        groups = _divisor(features.shape[1], groups)
        if groups < 2:
            return features
        # The cosine knows no scale, so that dividing keeps the squares in range and the loss as it is.
        scale = largest(features).clamp(min=1.0)
        variances = (features / scale).unflatten(1, (groups, -1)).var(2, correction=0)
        smoothing = delta * groups / features.shape[1] / scale / scale
        return (variances + smoothing).clamp(min=SMALL) ** power


def _divisor(features: int, wanted: int) -> int:
    """The largest divisor of the number of features that is no more than wanted and leaves two in a group."""
    return next((g for g in range(min(wanted, features // 2), 1, -1) if features % g == 0), 1)
