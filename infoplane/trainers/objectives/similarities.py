"""Similarities between the samples of a batch, with gradients: what the losses without a classifier are made of.

`infoplane.kernels` has distances in float64 for the analysis. Here autograd keeps the batch alone, and wide batches
are multiplied in single precision (2 to 7 times as fast on a CPU), while what is (n, n) is in float64.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from infoplane.kernels import Bandwidth, hamming_distances, squared_distances

# The squared distance of copies is off by less than so many eps of the squared norms, plus the growth times the
# square root of the number of features (at most 3 and 0.25 or 0.03 were measured, up to 65,536 features).
ROUNDING = 4.0
_ROUNDING_GROWTH = {torch.float64: 1 / 2, torch.float32: 1 / 16}
# A distance below this share of the squared norms has lost digits that it needs.
LOST = 1e-7
# From so many features on the product is in single precision, which is good to 1e-4 bits as long as clusters are
# wider than 1/300 of the distance between them (measured); deep, narrow layers come closer to collapse.
WIDE = 8192
# A vector as short as this, where the largest feature of the batch is 1, has no direction.
SHORT = 1e-8


def batch_distances(x: Tensor) -> Tensor:
    """Squared Euclidean distances between samples, differentiable once, at any scale of the samples.

    Args:
        x: (n, ...), any floating dtype, also under autocast; the axes after the first are flattened. Whole numbers
            are tokens, which are compared by the positions in which they differ (`hamming_distances`).

    Returns:
        (n, n) float64, on the CPU where the device has no float64. Repeated samples have the distance 0. On a CPU
        what one sample far away leaves of the distances between others is measured again; a GPU, where asking for
        that would wait for the device, takes the product in float64 whatever the width.
    """
    if not x.is_floating_point():
        return hamming_distances(x.flatten(1)).square()
    squared: Tensor = _SquaredDistances.apply(x)
    return squared


class _SquaredDistances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        unit, scale = _centred(x)
        with full_precision(unit):
            gram = to_float64(unit @ unit.T)
        norms = gram.diagonal()
        sums = norms[:, None] + norms[None, :]
        squared = sums - 2 * gram
        rounding = ROUNDING + _ROUNDING_GROWTH[unit.dtype] * unit.shape[1] ** 0.5
        share = rounding * torch.finfo(unit.dtype).eps
        if unit.is_cuda:
            # Asking whether any distance is lost would wait for the device.
            return _without_copies(squared, share * sums) * scale**2
        share = max(share, LOST)
        # Copies, and what one sample far away leaves of the distances between all others.
        lost = (squared <= share * sums).fill_diagonal_(False)
        squared = squared_distances(unit) if lost.any() else squared.fill_diagonal_(0.0)
        return squared * scale**2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        unit, scale = _centred(x)
        # 2 Σ_j S_kj (x_k − x_j) with S = G + Gᵀ; the scale enters before the matrix leaves float64.
        pull = (gradient + gradient.mT) * scale
        pull.diagonal().sub_(pull.sum(1))
        with full_precision(unit):
            moved = (-2 * pull).to(unit) @ unit
        return moved.reshape(x.shape).to(x.dtype)


def _without_copies(squared: Tensor, rounding: Tensor) -> Tensor:
    """Squared distances that are 0 where they are no more than rounding errors."""
    return torch.where(squared > rounding, squared, 0.0).fill_diagonal_(0.0)


def _centred(x: Tensor) -> tuple[Tensor, Tensor]:
    """Samples about their mean with features of order 1, (n, d), and the factor that was taken off, float64."""
    x = x.detach().flatten(1)
    exact = torch.get_float32_matmul_precision() == "highest"
    single = x.dtype != torch.float64 and x.shape[1] >= WIDE and exact and not x.is_cuda
    x = x.to(torch.float32 if single or x.device.type == "mps" else torch.float64)
    scale = largest(x)
    # Taking off a sample before the mean makes a batch of copies exactly zero.
    unit = x / scale
    unit -= unit[:1].clone()
    unit -= unit.mean(0, keepdim=True)
    return unit, to_float64(scale)


@torch.no_grad()
def bandwidth(squared: Tensor, rule: Bandwidth) -> Tensor:
    """The bandwidth σ of the Gaussian kernel in a batch, without gradient.

    Args:
        squared: Squared distances, (n, n) float64.
        rule: knn (k is at most n−1 here), median or fixed. Where it finds 0, as among copies, σ is the root mean
            square distance, and 1 where that is 0 too.

    Returns:
        0-dimensional float64, positive.
    """
    n = len(squared)
    unit = squared.new_ones(())
    if rule.rule == "fixed":
        return rule.value * unit
    if n == 1:
        return unit
    if rule.rule == "median":
        rows, columns = torch.triu_indices(n, n, 1, device=squared.device)
        sigma = rule.value * squared[rows, columns].sqrt().quantile(0.5)
    else:
        distances = squared.sqrt().fill_diagonal_(torch.inf)
        sigma = distances.topk(min(int(rule.value), n - 1), largest=False).values.mean()
    spread = (squared.sum() / (n * (n - 1))).sqrt()
    return torch.where(sigma > 0, sigma, torch.where(spread > 0, spread, unit))


def gaussian(squared: Tensor, sigma: Tensor | float) -> Tensor:
    """exp(−d² / (2σ²)), (n, n)."""
    return torch.exp(-(squared / sigma / sigma) / 2)


def cosine(features: Tensor) -> Tensor:
    """Cosine similarity of samples, the mean over its features taken off each.

    Args:
        features: (n, d), any floating dtype, also under autocast.

    Returns:
        (n, n) float32 or wider; 0 where a sample has equal features, which get the gradient 0.
    """
    with full_precision(features):
        unit = directions(features)
        return unit @ unit.T


def directions(features: Tensor) -> Tensor:
    """The samples less the mean over their features, each at length 1.

    Args:
        features: (n, d), any floating dtype, also under autocast.

    Returns:
        (n, d) float32 or wider; 0 where a sample has equal features, which get the gradient 0.
    """
    with full_precision(features):
        features = widened(features)
        features = features / largest(features)
        # Taking off a feature before the mean makes equal features exactly zero.
        features = features - features[:, :1]
        centred = features - features.mean(1, keepdim=True)
        norms = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
        return torch.where(norms > SHORT, centred / norms.clamp(min=SHORT), 0.0)


def largest(x: Tensor) -> Tensor:
    """The largest absolute value, without gradient, 0-dimensional; 1 where all are 0."""
    low, high = torch.aminmax(x.detach())
    value = torch.maximum(-low, high)
    return torch.where(value > 0, value, torch.ones_like(value))


def widened(x: Tensor) -> Tensor:
    """The tensor in float32, or float64 where it is that."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def full_precision(x: Tensor) -> AbstractContextManager:
    """Switches autocast off on the device of a tensor."""
    available = torch.amp.is_autocast_available(x.device.type)
    return torch.autocast(x.device.type, enabled=False) if available else nullcontext()


def to_float64(x: Tensor) -> Tensor:
    """The tensor in float64, on the CPU where the device has none."""
    return (x.cpu() if x.device.type == "mps" else x).to(torch.float64)
