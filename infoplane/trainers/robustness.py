"""How well a network does on images unlike those it was trained on: corrupted ones, and such as are of no class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from infoplane.data import Dataset
from infoplane.data.corrupt import changed, corruptions, outsiders
from infoplane.errors import InfoplaneError
from infoplane.trainers.evaluate import predict
from infoplane.trainers.task import Task
from infoplane.trainers.unit import Unit


def refuse_no_images(dataset: Dataset) -> None:
    """Lets nobody train first and learn afterwards that nothing can be corrupted.

    Args:
        dataset: The data set.

    Raises:
        InfoplaneError: It holds no images.
    """
    if dataset.test.inputs.dtype != torch.uint8 or dataset.test.inputs.dim() != 4:
        raise InfoplaneError(f"data set '{dataset.spec.name}' holds no images to corrupt; leave out `robustness`")


def robustness(units: Sequence[Unit], dataset: Dataset, task: Task, outputs: Tensor) -> dict[str, Any]:
    """Scores on changed test images, the same ones for every method.

    Args:
        units: The trained units.
        dataset: The data set.
        task: What they were trained for.
        outputs: Of the last classifier on the test split as it is, (m, task.outputs).

    Returns:
        `corruptions`, accuracy by corruption and strength, and its mean `corrupted_accuracy`; `outsiders`, by kind
        the area under the ROC curve of telling the test split from images of no class by the largest predicted
        probability (Hendrycks and Gimpel, ICLR 2017), and their mean `ood_auroc`, NaN where a probability is.
    """
    from sklearn.metrics import roc_auc_score

    everything = torch.arange(len(dataset.test))

    def logits(change: Any) -> tuple[Tensor, Tensor]:
        outputs, targets = predict(units, dataset, changed(dataset.test, change), everything)
        assert outputs[-1] is not None
        return task.logits(outputs[-1]), targets.labels

    accuracies, areas = {}, {}
    for name, change in corruptions().items():
        values, labels = logits(change)
        accuracies[name] = (values.argmax(1) == labels).float().mean().item()
    inside = _confidence(task.logits(outputs))
    for name, change in outsiders().items():
        confidences = torch.cat([inside, _confidence(logits(change)[0])])
        is_inside = torch.arange(len(confidences)) < len(inside)
        finite = bool(confidences.isfinite().all())
        areas[name] = float(roc_auc_score(is_inside.numpy(), confidences.numpy())) if finite else math.nan
    return {
        "corruptions": accuracies,
        "corrupted_accuracy": sum(accuracies.values()) / len(accuracies),
        "outsiders": areas,
        "ood_auroc": sum(areas.values()) / len(areas),
    }


def _confidence(logits: Tensor) -> Tensor:
    return logits.double().softmax(1).amax(1)
