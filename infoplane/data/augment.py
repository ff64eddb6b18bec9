"""Random changes of training images, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from infoplane.errors import InfoplaneError, unknown

_Change = Callable[[Tensor, Tensor | None, torch.Generator], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Augmentation:
    """A random change of batches, each sample by its own draw, on any device.

    Random numbers come from the generator alone, which lives on the CPU, so that neither the device nor going on
    after a stop changes anything.

    Attributes:
        spec: The specification that `augmentation` takes.
        changes: What is done, in this order.
    """

    spec: str
    changes: tuple[_Change, ...]

    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Changed inputs, of the same shape.

        Args:
            inputs: Normalised float images (n, C, H, W).
            generator: Source of the draws.

        Raises:
            InfoplaneError: The inputs are no images, or not larger than their shift.
        """
        return self._apply(inputs, None, generator)[0]

    def with_boxes(self, inputs: Tensor, boxes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Augments images with the boxes in them, (n, 4) as fractions; parts outside the image are cut off."""
        images, moved = self._apply(inputs, boxes, generator)
        assert moved is not None
        return images, moved

    def _apply(
        self, inputs: Tensor, boxes: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        if self.changes and inputs.ndim != 4:
            shape = "×".join(map(str, inputs.shape[1:]))
            raise InfoplaneError(
                f"augmentation '{self.spec}' is for images, not for inputs of {shape}; choose 'none'"
            )
        for change in self.changes:
            inputs, boxes = change(inputs, boxes, generator)
        return inputs, boxes


def augmentation(spec: str) -> Augmentation:
    """An augmentation by name.

    Args:
        spec: "none"; "shift:P" (each image moves by up to P pixels in both directions, as by a random crop after
            padding with P pixels of 0, which is the mean after normalisation); "flip" (half of the images are
            mirrored left to right); or several in their order, such as "shift:4,flip".

    Raises:
        InfoplaneError: The specification is none of these.
    """
    if spec == "none":
        return Augmentation(spec, ())
    return Augmentation(spec, tuple(_change(part.strip(), spec) for part in spec.split(",")))


def _change(part: str, spec: str) -> _Change:
    name, _, number = part.partition(":")
    if name not in ("shift", "flip"):
        raise unknown("augmentation", part, ["none", "shift:4", "flip", "shift:4,flip"])
    if (name == "flip" and part != "flip") or (name == "shift" and not number.isdecimal()):
        raise InfoplaneError(f"augmentation '{spec}': write 'shift:4', 'flip' or 'shift:4,flip'")
    if name == "flip":
        return _flip
    pixels = int(number)
    return lambda images, boxes, generator: _shift(images, boxes, generator, pixels)


def _shift(
    images: Tensor, boxes: Tensor | None, generator: torch.Generator, pixels: int
) -> tuple[Tensor, Tensor | None]:
    """Each image moved by its own (dy, dx) from -pixels to pixels."""
    n, _, height, width = images.shape
    if pixels >= min(height, width):
        raise InfoplaneError(f"a shift of {pixels} pixels leaves nothing of {height}×{width} images; choose less")
    device = images.device
    moves = torch.randint(-pixels, pixels + 1, (n, 2), generator=generator).to(device)
    padded = functional.pad(images, (pixels,) * 4)
    # Index (n, C, H, W) by broadcasting: sample, channel, row and column of each pixel.
    rows = (pixels - moves[:, :1] + torch.arange(height, device=device)).view(n, 1, height, 1)
    columns = (pixels - moves[:, 1:] + torch.arange(width, device=device)).view(n, 1, 1, width)
    samples = torch.arange(n, device=device).view(n, 1, 1, 1)
    channels = torch.arange(images.shape[1], device=device).view(1, -1, 1, 1)
    if boxes is not None:
        moved = boxes + moves.flip(1).repeat(1, 2) / boxes.new_tensor([width, height] * 2)
        boxes = moved.clamp(0, 1)
    return padded[samples, channels, rows, columns], boxes


def _flip(images: Tensor, boxes: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """Half of the images mirrored left to right, by chance."""
    mirrored = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
    if boxes is not None:
        x1, y1, x2, y2 = boxes.unbind(1)
        boxes = torch.where(mirrored[:, None], torch.stack([1 - x2, y1, 1 - x1, y2], 1), boxes)
    return torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images), boxes
