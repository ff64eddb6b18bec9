"""What a network is trained for: classes, or classes and the box of the object."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_BOX = 4
WHOLE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Targets:
    """What a batch should give.

    Attributes:
        labels: Classes, (n,) int64.
        boxes: x1, y1, x2, y2 as fractions of the image, (n, 4) float32; None where the task has no boxes.
    """

    labels: Tensor
    boxes: Tensor | None = None

    def __getitem__(self, part: slice | Tensor) -> Targets:
        return Targets(self.labels[part], None if self.boxes is None else self.boxes[part])


@dataclass(frozen=True)
class Task:
    """Classification, optionally with a second head that predicts the object's box.

    The two heads are one linear layer with `outputs` rows: the first `classes` are the logits, four more how far
    the corners of the box are from those of the whole image. Every classifier, auxiliary or last, is of this form.
    No sigmoid squeezes the box: where it saturates, its gradient would be lost for good.

    Attributes:
        classes: Number of classes.
        boxes: Whether the box is predicted too.
        box_weight: Weight of the box loss beside the cross-entropy.
    """

    classes: int
    boxes: bool = False
    box_weight: float = 1.0

    @property
    def outputs(self) -> int:
        """Number of outputs of a classifier."""
        return self.classes + _BOX * self.boxes

    def loss(self, outputs: Tensor, targets: Targets) -> Tensor:
        """Mean cross-entropy in nats, plus the weighted smooth L1 distance between boxes.

        Args:
            outputs: (n, outputs).
            targets: What they should be.

        Returns:
            0-dimensional, float32 or wider.
        """
        loss = functional.cross_entropy(self.logits(outputs).float(), targets.labels)
        if not self.boxes:
            return loss
        assert targets.boxes is not None
        # Smooth L1 turns linear at a tenth of the image.
        return loss + self.box_weight * functional.smooth_l1_loss(
            self._corners(outputs), targets.boxes.float(), beta=0.1
        )

    def logits(self, outputs: Tensor) -> Tensor:
        """The logits among the outputs, (n, classes)."""
        return outputs[:, : self.classes] if self.boxes else outputs

    def box(self, outputs: Tensor) -> Tensor:
        """The predicted boxes, (n, 4) float32, cut to the image."""
        return self._corners(outputs).clamp(0, 1)

    def _corners(self, outputs: Tensor) -> Tensor:
        offsets = outputs[:, self.classes :].float()
        return offsets + offsets.new_tensor(WHOLE)

    def embedding(self, targets: Targets) -> Tensor:
        """Targets as vectors, for losses that compare similarities: one-hot classes, then the box, (n, outputs)."""
        one_hot = functional.one_hot(targets.labels, self.classes).float()
        return one_hot if targets.boxes is None or not self.boxes else torch.cat([one_hot, targets.boxes], 1)
