"""The results of a finished training: test scores, cost, and every prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from infoplane.trainers.evaluate import Score, calibration_error, negative_log_likelihood
from infoplane.trainers.loop import Loop
from infoplane.trainers.meter import peak_rss
from infoplane.trainers.task import Targets, Task


def results_of(
    loop: Loop, task: Task, outputs: Sequence[Tensor | None], targets: Targets, scores: Sequence[Score]
) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """The results of a run, for its file.

    Args:
        loop: The finished training.
        task: What was trained for.
        outputs: Of every classifier on the whole test split, or None.
        targets: What they should give.
        scores: Their scores.

    Returns:
        Numbers by name, as docs/run-file.md lists them, and arrays: the last classifier's `predictions` (m,), the
        true `labels` (m,), `confusion` (C, C) with true classes in rows, predicted `boxes` and `true_boxes` (m, 4).
    """
    last = outputs[-1]
    assert last is not None
    numbers: dict[str, Any] = {
        "test_accuracy": scores[-1].accuracy,
        "test_loss": scores[-1].loss,
        "test_nll": negative_log_likelihood(task.logits(last), targets.labels),
        "calibration_error": calibration_error(task.logits(last), targets.labels),
        "blocks": {unit.name: score.accuracy for unit, score in zip(loop.units, scores, strict=True)},
        **_cost(loop),
    }
    from sklearn.metrics import confusion_matrix  # takes a second to import

    predictions, labels = task.logits(last).argmax(1).numpy(), targets.labels.numpy()
    confusion = confusion_matrix(labels, predictions, labels=np.arange(task.classes))
    arrays: dict[str, NDArray] = {"predictions": predictions, "labels": labels, "confusion": confusion}
    if task.boxes:
        numbers["test_iou"] = scores[-1].iou
        assert targets.boxes is not None
        arrays |= {"boxes": task.box(last).numpy(), "true_boxes": targets.boxes.float().numpy()}
    return numbers, arrays


def _cost(loop: Loop) -> dict[str, Any]:
    """Time, memory and operations; None where they were not measured."""
    steps = loop.total_steps
    costs = [loop.costs[kind] for kind in loop.kinds if kind in loop.costs]
    complete = len(costs) == len(loop.kinds)
    saved = [cost.saved for cost in costs if cost.saved is not None]
    parameters = sum(p.numel() for unit in loop.units for p in unit.block.parameters())
    return {
        "train_samples": len(loop.dataset.train),
        "steps": steps,
        "epochs": steps / loop.steps_per_epoch,
        "seconds": loop.cache_seconds + loop.seconds / loop.timed_steps * steps if loop.timed_steps else None,
        "peak_bytes": max(cost.peak for cost in costs) if complete else None,
        "saved_bytes": max(saved) if complete and len(saved) == len(costs) else None,
        "flops": loop.cache_flops + sum(loop.costs[kind].flops * count for kind, count in loop.kinds.items())
        if complete
        else None,
        "cache_bytes": loop.largest_cache,
        "peak_rss": peak_rss(),
        "parameters": parameters,
        "auxiliary_parameters": sum(p.numel() for u in loop.units for p in u.objective.parameters()),
        "device": str(loop.device),
    }
