"""Loss and accuracy of every classifier of a network, last and auxiliary, and what it predicts."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from infoplane.data import Dataset, Split
from infoplane.data.boxes import intersection_over_union
from infoplane.trainers.loop import batch_of, evaluation
from infoplane.trainers.task import Targets, Task
from infoplane.trainers.unit import Unit

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Score:
    """How good one classifier is.

    Attributes:
        loss: Mean loss of the task, in nats where it has classes only.
        accuracy: Share of right classes, between 0 and 1.
        iou: Mean intersection over union of the boxes; NaN without boxes.
    """

    loss: float
    accuracy: float
    iou: float = math.nan


_NO_SCORE = Score(math.nan, math.nan)


def predict(
    units: Sequence[Unit], dataset: Dataset, split: Split, indices: Tensor, batch_size: int = 100
) -> tuple[list[Tensor | None], Targets]:
    """Outputs of every classifier, in evaluation mode and without a trace on training.

    Args:
        units: Units from the input on; those after are left out.
        dataset: Where the samples come from.
        split: The split of it.
        indices: Positions in the split, (m,).
        batch_size: Samples of one forward pass; few enough for the C library to hand the same memory out again.

    Returns:
        For each unit its classifier's outputs, (m, task.outputs) float32, or None where it has none; and the
        targets; all on the CPU.
    """
    device = next(units[0].parameters()).device
    collected: list[list[Tensor]] = [[] for _ in units]
    targets: list[Targets] = []
    with evaluation(units):
        reordered = device.type == "cpu" and _takes_channels_last(
            units, batch_of(dataset, split, indices[:2], device)[0]
        )
        for part in indices.split(batch_size):
            below, wanted = batch_of(dataset, split, part, device)
            below = _channels_last(below) if reordered else below
            targets.append(wanted)
            for outputs, unit in zip(collected, units, strict=True):
                below, output = unit.predict(below)
                if output is not None:
                    outputs.append(output.float().cpu())
    boxes = [wanted.boxes.cpu() for wanted in targets if wanted.boxes is not None]
    labels = torch.cat([wanted.labels for wanted in targets]).cpu()
    return [torch.cat(parts) if parts else None for parts in collected], Targets(
        labels, torch.cat(boxes) if boxes else None
    )


def _channels_last(images: Tensor) -> Tensor:
    """Images (n, C, H, W) in channels-last order: without gradients a CPU is up to twice as fast with them."""
    _, channels, height, width = images.shape
    # With one channel both orders are the same, and strides alone say which is meant.
    strides = (channels * height * width, 1, width * channels, channels)
    return images.new_empty_strided(images.shape, strides).copy_(images)


def _takes_channels_last(units: Sequence[Unit], inputs: Tensor) -> bool:
    """Whether inputs are images that units take in this order too, which one that calls `view` does not."""
    if inputs.ndim != 4:
        return False
    below = _channels_last(inputs)
    try:
        for unit in units:
            below, _ = unit.predict(below)
    except Exception:  # of a network, any; with images in plain order it is shown
        return False
    return True


def scores(task: Task, outputs: Sequence[Tensor | None], targets: Targets) -> list[Score]:
    """Loss and accuracy of each classifier.

    Args:
        task: What they are trained for.
        outputs: For each, (m, task.outputs), or None.
        targets: What they should give.

    Returns:
        One score each, NaN where there is no classifier.
    """
    every = [_NO_SCORE if output is None else _score(task, output, targets) for output in outputs]
    if any(not math.isfinite(score.loss) for score in every if score is not _NO_SCORE):
        logger.warning("the loss is not finite any more; try a smaller learning rate")
    return every


def _score(task: Task, outputs: Tensor, targets: Targets) -> Score:
    right = (task.logits(outputs).argmax(1) == targets.labels).float().mean().item()
    iou = math.nan
    if task.boxes:
        assert targets.boxes is not None
        iou = intersection_over_union(task.box(outputs), targets.boxes).mean().item()
    loss = dataclasses.replace(task, classifier_loss=None).loss(outputs, targets)  # alike, whatever it learnt by
    return Score(loss.item(), right, iou)


def negative_log_likelihood(logits: Tensor, labels: Tensor) -> float:
    """Mean negative log-likelihood of the labels, in nats.

    Args:
        logits: (m, C).
        labels: (m,) int64.
    """
    return functional.cross_entropy(logits.double(), labels).item()


def calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017, eq. 3): how far confidence is from accuracy.

    Args:
        logits: (m, C).
        labels: (m,) int64.
        bins: Number of bins of equal width that the predicted probabilities are sorted into.

    Returns:
        Mean absolute difference between accuracy and confidence over the bins, weighted by their samples; 0 to 1,
        NaN where a logit is.
    """
    confidence, predictions = logits.double().softmax(1).max(1)
    if not confidence.isfinite().all():
        return math.nan
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    surplus = (predictions == labels).double() - confidence
    return (torch.zeros(bins, dtype=torch.double).index_add_(0, place, surplus).abs().sum() / len(labels)).item()
