"""Test images that are changed by code: corrupted as in practice, and such as belong to no class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from infoplane.data.dataset import Split

Change = Callable[[Tensor, torch.Generator], Tensor]
# Three of the five strengths of CIFAR-10-C (Hendrycks and Dietterich, ICLR 2019), of images in [0, 1].
_NOISE = (0.04, 0.08, 0.10)  # standard deviation of Gaussian noise
_BLUR = (0.4, 0.7, 1.0)  # standard deviation of a Gaussian filter, in pixels
_BRIGHTER = (0.05, 0.15, 0.3)  # added to all channels
_PATCHES = 4  # a side


def corruptions() -> Mapping[str, Change]:
    """Changes after which an image still shows what it did, by name: noise, blur, brightness, of strength 1 to 3.

    Each takes images in [0, 1], (n, C, H, W), and a generator on the CPU.
    """
    kinds: tuple[tuple[str, tuple[float, ...], Callable[[float], Change]], ...] = (
        ("noise", _NOISE, _noise),
        ("blur", _BLUR, _blur),
        ("brightness", _BRIGHTER, _brighter),
    )
    return {
        f"{name}:{strength}": make(value)
        for name, values, make in kinds
        for strength, value in enumerate(values, start=1)
    }


def outsiders() -> Mapping[str, Change]:
    """Changes after which an image is of no class any more, as `corruptions`: noise alone, patches in disorder."""
    return {"uniform": _uniform, "patches": _patches}


def changed(split: Split, change: Change, seed: int = 0, batch_size: int = 500) -> Split:
    """A split with changed images.

    Args:
        split: A split of images, (N, C, H, W) uint8.
        change: The change.
        seed: Seed of what it draws, on the CPU, so that all methods and devices meet the same images.
        batch_size: Images at once.

    Returns:
        The split with images that are rounded to uint8 again.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = [change(part.float() / 255, generator) for part in split.inputs.split(batch_size)]
    inputs = torch.cat([(part.clamp(0, 1) * 255).round().to(torch.uint8) for part in parts])
    return replace(split, inputs=inputs)


def _noise(deviation: float) -> Change:
    return lambda images, generator: images + deviation * _normal(images, generator)


def _blur(deviation: float) -> Change:
    from torchvision.transforms.functional import gaussian_blur

    return lambda images, _: gaussian_blur(images, [5, 5], [deviation, deviation])


def _brighter(value: float) -> Change:
    return lambda images, _: images + value


def _uniform(images: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(images.shape, generator=generator).to(images.device)


def _patches(images: Tensor, generator: torch.Generator) -> Tensor:
    """The 4×4 patches of each image in an order of its own; what is left over at the edges stays."""
    n, channels, height, width = images.shape
    size = (height // _PATCHES, width // _PATCHES)
    inner = images[:, :, : size[0] * _PATCHES, : size[1] * _PATCHES]
    parts = inner.unflatten(2, (_PATCHES, size[0])).unflatten(4, (_PATCHES, size[1]))
    parts = parts.permute(0, 2, 4, 1, 3, 5).reshape(n, _PATCHES**2, channels, *size)
    order = torch.rand(n, _PATCHES**2, generator=generator).argsort(1).to(images.device)
    mixed = parts.gather(1, order.view(n, -1, 1, 1, 1).expand_as(parts))
    mixed = mixed.view(n, _PATCHES, _PATCHES, channels, *size).permute(0, 3, 1, 4, 2, 5)
    result = images.clone()
    result[:, :, : inner.shape[2], : inner.shape[3]] = mixed.reshape(inner.shape)
    return result


def _normal(images: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(images.shape, generator=generator).to(images.device)
