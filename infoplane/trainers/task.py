"""The task of a network: classes, or classes and the box of the object."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from infoplane.trainers.settings import classifier_loss_of

_BOX = 4
WHOLE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Targets:
    """The targets of a batch.

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
        box_weight: Weight of the box loss beside that of the classes.
        classifier_loss: What the classes are learnt by: ce, smoothed:SHARE or generalised:Q.
    """

    classes: int
    boxes: bool = False
    box_weight: float = 1.0
    classifier_loss: str | None = None

    @property
    def outputs(self) -> int:
        """Number of outputs of a classifier."""
        return self.classes + _BOX * self.boxes

    def loss(self, outputs: Tensor, targets: Targets) -> Tensor:
        """Mean loss of the classes in nats, plus the weighted smooth L1 distance between boxes.

        Cross-entropy; the same with labels smoothed (Szegedy et al. 2016: the share is spread over all classes); or
        generalised, (1 − p^q) / q of the probability p of the label, which is cross-entropy as q goes to 0 and
        1 − p at q = 1, and which samples of wrong labels move less (Zhang and Sabuncu 2018, eq. 6).

        Args:
            outputs: (n, outputs).
            targets: What they should be.

        Returns:
            0-dimensional, float32 or wider.
        """
        loss = self._class_loss(self.logits(outputs).float(), targets.labels)
        if not self.boxes:
            return loss
        assert targets.boxes is not None
        # Smooth L1 turns linear at a tenth of the image.
        return loss + self.box_weight * functional.smooth_l1_loss(
            self._corners(outputs), targets.boxes.float(), beta=0.1
        )

    def _class_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        name, number = self._rule
        if name != "generalised":
            return functional.cross_entropy(logits, labels, label_smoothing=number)
        log_probability = -functional.cross_entropy(logits, labels, reduction="none")
        # (1 - p^q) / q, exact where p is near 1.
        return -torch.expm1(number * log_probability).mean() / number

    @cached_property
    def _rule(self) -> tuple[str, float]:
        """What the classes are learnt by, and its number; parsed once, not at each step."""
        return classifier_loss_of(self.classifier_loss)

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
