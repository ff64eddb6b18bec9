"""Random changes of training images, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional

from infoplane.errors import InfoplaneError, unknown

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def augmentation(spec: str) -> Augmentation:
    """A random change of batches, each sample by its own draw.

    Random numbers come from the generator alone, which lives on the CPU, so that a device or a resumed run changes
    nothing. Boxes are not moved along; do not shift or flip images where boxes are learned.

    Args:
        spec: "none"; "shift:P" (each image moves by up to P pixels in both directions, as by a random crop after
            padding with P pixels of 0, which is the mean after normalisation); "flip" (half of the images are
            mirrored left to right); or several in their order, such as "shift:4,flip".

    Returns:
        Function of normalised float images (n, C, H, W), on any device, and a generator, that gives images of the
        same shape. It raises InfoplaneError for inputs that are no images, or smaller than their shift.

    Raises:
        InfoplaneError: The specification is none of these.
    """
    if spec == "none":
        return lambda inputs, generator: inputs
    changes = [_change(part.strip(), spec) for part in spec.split(",")]

    def augment(inputs: Tensor, generator: torch.Generator) -> Tensor:
        if inputs.ndim != 4:
            shape = "×".join(map(str, inputs.shape[1:]))
            raise InfoplaneError(f"augmentation '{spec}' is for images, not for inputs of {shape}; choose 'none'")
        return reduce(lambda images, change: change(images, generator), changes, inputs)

    return augment


def _change(part: str, spec: str) -> Augmentation:
    name, _, number = part.partition(":")
    if name not in ("shift", "flip"):
        raise unknown("augmentation", part, ["none", "shift:4", "flip", "shift:4,flip"])
    if (name == "flip" and part != "flip") or (name == "shift" and not number.isdecimal()):
        raise InfoplaneError(f"augmentation '{spec}': write 'shift:4', 'flip' or 'shift:4,flip'")
    if name == "flip":
        return _flip
    pixels = int(number)
    return lambda images, generator: _shift(images, generator, pixels)


def _shift(images: Tensor, generator: torch.Generator, pixels: int) -> Tensor:
    """Each image moved by its own (dy, dx) from -pixels to pixels."""
    n, _, height, width = images.shape
    if pixels >= min(height, width):
        raise InfoplaneError(f"a shift of {pixels} pixels leaves nothing of {height}×{width} images; choose less")
    offsets = torch.randint(2 * pixels + 1, (n, 2), generator=generator).to(images.device)
    padded = functional.pad(images, (pixels,) * 4)
    # Index (n, C, H, W) by broadcasting: sample, channel, row and column of each pixel.
    rows = (offsets[:, :1] + torch.arange(height, device=images.device)).view(n, 1, height, 1)
    columns = (offsets[:, 1:] + torch.arange(width, device=images.device)).view(n, 1, 1, width)
    samples = torch.arange(n, device=images.device).view(n, 1, 1, 1)
    channels = torch.arange(images.shape[1], device=images.device).view(1, -1, 1, 1)
    return padded[samples, channels, rows, columns]


def _flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the images mirrored left to right, by chance."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored.to(images.device).view(-1, 1, 1, 1), images.flip(-1), images)
