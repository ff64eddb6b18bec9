"""Entropies with closed-form gradients, for training.

Autograd through `torch.linalg.eigh` divides by differences of eigenvalues and gives NaN where some repeat, as with
repeated samples. The gradient of a spectral function needs no such difference: for S = S_α(A / tr A),

    dS/dA = α / ((1−α) ln 2) · (A^(α−1) / tr(A^α) − I / tr A),    α ≠ 1,
    dS/dA = −(log2(A / tr A) + S · I) / tr A,                     α = 1

(Yu, Alesiani, Yu, Jenssen and Príncipe, "Measuring dependence with matrix-based entropy functional", AAAI 2021, for
unit trace). At small integer α matrix products replace the eigenvectors; on a GPU, at α from 1 to 1.1, the sum of
log-determinants does, whose entropies are right to 5e-6 bit.

Zero eigenvalues: for α > 1 the formula holds as it stands (0^(α−1) = 0). For α ≤ 1 the slope at zero is infinite;
eigenvalues at rounding level are held at zero there and get the gradient 0. Along any path of positive
semi-definite matrices through the point, as when samples move, such an eigenvalue is at its minimum and does not
change at first order, so that the gradient with respect to the samples is right either way.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from infoplane.entropy.eigenvalues import checked_order, eigenvalues, entropy_of, rounding
from infoplane.entropy.log_determinants import (
    log_determinant_entropies,
    log_determinant_slopes,
    takes_log_determinants,
)
from infoplane.entropy.log_sums import LN2
from infoplane.entropy.solvers import solved

POLYNOMIAL = (2, 3, 4, 5, 6, 8)  # orders that need at most two matrix products, no more than eigenvalues cost


def entropy_with_gradient(A: torch.Tensor, alpha: float = 1.01) -> torch.Tensor:
    """S_α(A / tr A) of symmetric positive semi-definite matrices, differentiable once.

    No check is made of symmetry, trace or finiteness; `infoplane.renyi_entropy` makes them.

    Args:
        A: (..., n, n) float32 or float64, CPU or GPU.
        alpha: Order α > 0; below 1 in float64 only.

    Returns:
        Entropy in bits, (...), of the dtype of A.

    Raises:
        ValueError: An order out of range, or below 1 in single precision.
    """
    alpha = checked_order(alpha, A.dtype)
    return _Quadratic.apply(A) if alpha == 2 else _Entropy.apply(A, alpha)


class _Quadratic(torch.autograd.Function):
    """S_2(A / tr A) = 2 log2 tr A − log2 ‖A‖²_F: one pass over the matrix forward, one backward."""

    @staticmethod
    def forward(ctx: Any, A: torch.Tensor) -> torch.Tensor:
        trace, square = A.diagonal(dim1=-2, dim2=-1).sum(-1), power_trace(A, 2)
        ctx.save_for_backward(A, trace, square)
        return 2 * torch.log2(trace) - torch.log2(square)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        A, trace, square = ctx.saved_tensors
        factor = 2 / LN2 * gradient
        slope = A * (-factor / square)[..., None, None]
        slope.diagonal(dim1=-2, dim2=-1).add_((factor / trace)[..., None])
        return slope


class _Entropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, A: torch.Tensor, alpha: float) -> torch.Tensor:
        ctx.alpha = alpha
        trace = A.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
        if alpha in POLYNOMIAL:
            ctx.save_for_backward(A, trace)
            return -torch.log2(power_trace(A / trace, int(alpha))) / (alpha - 1)
        if takes_log_determinants(A, alpha):
            # Nothing here waits for the GPU. Of a matrix that is no Gram matrix it makes NaN.
            stack = A.reshape(-1, *A.shape[-2:]).to(torch.float64)
            if not ctx.needs_input_grad[0]:
                return log_determinant_entropies(stack, alpha, exact=False).reshape(A.shape[:-2]).to(A.dtype)
            values, slopes = log_determinant_slopes(stack, alpha)
            ctx.save_for_backward(slopes.reshape(A.shape).to(A.dtype))
            return values.reshape(A.shape[:-2]).to(A.dtype)
        normalised = A / trace
        if not ctx.needs_input_grad[0]:
            return entropy_of(eigenvalues(normalised), alpha, A.dtype).to(A.dtype)
        values, vectors = solved(torch.linalg.eigh, (normalised + normalised.mT) / 2)
        ctx.save_for_backward(values, vectors, trace)
        return entropy_of(values.to(torch.float64), alpha, A.dtype).to(A.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        gradient = gradient[..., None, None]
        if ctx.alpha in POLYNOMIAL:
            A, trace = ctx.saved_tensors
            return gradient / trace * _polynomial_slope(A / trace, int(ctx.alpha)), None
        if len(ctx.saved_tensors) == 1:
            [slopes] = ctx.saved_tensors
            return gradient * slopes, None
        values, vectors, trace = ctx.saved_tensors
        slope = _spectral_slope(values.to(torch.float64), ctx.alpha, values.dtype).to(values.dtype)
        return gradient / trace * ((vectors * slope[..., None, :]) @ vectors.mT), None


def power_trace(A: torch.Tensor, alpha: int) -> torch.Tensor:
    """tr(A^α) of symmetric matrices for one of the `POLYNOMIAL` orders, (...)."""
    half, other = half_powers(A, alpha)
    if A.ndim == 2:
        # A dot product makes no third matrix.
        return torch.dot(half.reshape(-1), other.reshape(-1))
    return (half * other).sum((-2, -1))


def half_powers(A: torch.Tensor, alpha: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two powers of symmetric matrices whose inner product is tr(A^α)."""
    half = A if alpha < 4 else torch.linalg.matrix_power(A, alpha // 2)
    return half, half @ A if alpha % 2 else half


def _polynomial_slope(A: torch.Tensor, alpha: int) -> torch.Tensor:
    power = torch.linalg.matrix_power(A, alpha - 1)
    slope = power / (power * A).sum((-2, -1), keepdim=True)
    slope.diagonal(dim1=-2, dim2=-1).sub_(1.0)
    return slope * (-alpha / ((alpha - 1) * LN2))


def _spectral_slope(values: torch.Tensor, alpha: float, precision: torch.dtype) -> torch.Tensor:
    """dS/dλ_i of S_α(λ / Σλ) at Σλ = 1, (..., n) bits."""
    positive = values > rounding(values, alpha, precision)
    kept = torch.where(positive, values, 0.0)
    total = kept.sum(-1, keepdim=True)
    shares = kept / total
    logs = torch.log(torch.where(positive, shares, 1.0))
    if alpha == 1:
        entropy = -(shares * logs).sum(-1, keepdim=True)
        return torch.where(positive, -(logs + entropy), 0.0) / (LN2 * total)
    # λ^(α−1) / tr − 1 = (expm1((α−1) ln λ) − (tr − 1)) / tr keeps its digits where α is close to 1.
    excess = torch.expm1((alpha - 1) * logs)
    mean = (shares * excess).sum(-1, keepdim=True)
    at_zero = -1.0 if alpha > 1 else math.nan
    slope = torch.where(positive, excess, at_zero) - mean
    slope = slope * (alpha / ((1 - alpha) * LN2)) / ((1 + mean) * total)
    return slope if alpha > 1 else torch.where(positive, slope, 0.0)
