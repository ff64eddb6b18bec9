"""The forward-forward algorithm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from infoplane.errors import InfoplaneError
from infoplane.trainers.objectives.base import BlockInfo, LossSettings, Objective, OwnClassifier, Pass, read_options
from infoplane.trainers.objectives.similarities import SHORT, largest, to_float64, widened
from infoplane.trainers.task import Targets, Task


class Goodness(Objective):
    """High mean squares for inputs with their own label, low ones with a wrong label (Hinton 2022).

    Hinton, "The forward-forward algorithm: some preliminary investigations", arXiv 2212.13345, the supervised
    variant: the logistic loss of a sample's goodness, the mean square of the block's output, less a threshold (the
    option `threshold`, 1; for sums of squares, the number of features). `expand` writes the label over the first
    pixels of the image, right in the first third of the batch and wrong in the second. `normalise` stands between
    blocks, so that a block cannot read the goodness of the one before.

    What differs: the last third of the batch are plain images, on which alone the last block, the network's own
    classifier, is trained and used; the paper's classifier reads all but the first hidden layer and images with a
    neutral label. Negative labels are drawn evenly, not by how easily they are confused. There is no peer
    normalisation. Batch normalisation, where the network has it, sees all three thirds. Boxes train the last
    block only. The paper names neither optimiser nor learning rate; the default is Adam at 1e-3. Expect little of
    networks with batch normalisation, which levels the goodness out.
    """

    NUMBERS: ClassVar[Mapping[str, float]] = {"threshold": 1.0}

    def __init__(self, info: BlockInfo, loss_settings: LossSettings) -> None:
        super().__init__()
        self.threshold = read_options(loss_settings, self.NUMBERS)["threshold"]

    def loss(self, local: Pass) -> Tensor:
        """Mean logistic loss of positive and of negative samples, 0-dimensional float64."""
        third = len(local.output) // 3
        margin = goodness(local.output[: 2 * third]) - self.threshold
        return (functional.softplus(-margin[:third]) + functional.softplus(margin[third:])).mean() / 2


class PlainReadout(OwnClassifier):
    """The loss of the task on the last, plain third of an expanded batch."""

    def __init__(self, info: BlockInfo, loss_settings: LossSettings) -> None:
        super().__init__(info.task)

    def loss(self, local: Pass) -> Tensor:
        """Loss of the task, in nats."""
        plain = slice(2 * (len(local.output) // 3), None)
        return self.task.loss(local.output[plain], local.targets[plain])


def goodness(output: Tensor) -> Tensor:
    """Mean square of the features of each sample, (n,) float64, at any scale; differentiable once."""
    squares: Tensor = _MeanSquare.apply(output.flatten(1))
    return squares


class _MeanSquare(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        # Squares of features of order 1 cannot overflow; only (n,) numbers are multiplied in double precision.
        scale = largest(widened(features))
        return to_float64((widened(features) / scale).square().mean(1)) * to_float64(scale) ** 2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (features,) = ctx.saved_tensors
        return (2 / features.shape[1] * gradient[:, None]).to(features) * features


def normalise(output: Tensor) -> Tensor:
    """Scales each sample to mean square 1, at any scale; zero stays zero."""
    features = widened(output.flatten(1))
    features = features / largest(features)
    rms = features.square().mean(1, keepdim=True).sqrt()
    unit = torch.where(rms > SHORT, features / rms.clamp(min=SHORT), 0.0)
    return unit.reshape(output.shape).to(output)


def expand(inputs: Tensor, targets: Targets, task: Task, generator: torch.Generator) -> tuple[Tensor, Targets]:
    """Positive, negative and plain samples, in this order.

    Args:
        inputs: (n, C, H, W) or (n, d).
        targets: Of the n samples.
        task: Its number of classes is at least two.
        generator: Draws the wrong labels, on the CPU.

    Returns:
        Inputs (3n, ...) and their targets; the targets of negative samples are the right ones.

    Raises:
        InfoplaneError: There is one class, or the inputs have fewer pixels than there are classes.
    """
    if task.classes < 2:
        raise InfoplaneError("forward-forward needs wrong labels, so two classes or more")
    labels = targets.labels
    shift = torch.randint(1, task.classes, labels.shape, generator=generator).to(labels.device)
    wrong = (labels + shift) % task.classes
    pictures = [overlay(inputs, labels, task.classes), overlay(inputs, wrong, task.classes), inputs]
    boxes = None if targets.boxes is None else targets.boxes.repeat(3, 1)
    return torch.cat(pictures), Targets(labels.repeat(3), boxes)


def overlay(inputs: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Writes one-hot labels over the first pixels, row by row, in all channels.

    One is the largest value of the batch and zero the smallest.

    Args:
        inputs: (n, C, H, W) or (n, d).
        labels: (n,) int64.
        classes: Number of pixels to write.

    Raises:
        InfoplaneError: The inputs are tokens, or have fewer pixels.
    """
    if not inputs.is_floating_point():
        raise InfoplaneError("forward-forward writes labels over pixels, and tokens have none; take another method")
    pixels = inputs.flatten(2) if inputs.ndim > 2 else inputs[:, None]
    if pixels.shape[2] < classes:
        raise InfoplaneError(
            f"forward-forward writes {classes} labels over inputs of {pixels.shape[2]} pixels; use larger images"
        )
    marks = functional.one_hot(labels, classes).to(inputs)
    written = pixels.clone()
    written[:, :, :classes] = (inputs.amin() + marks * (inputs.amax() - inputs.amin()))[:, None]
    return written.reshape(inputs.shape)
