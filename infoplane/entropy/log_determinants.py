"""Entropies of matrices from log-determinants: the way of a GPU, which waits in every eigenvalue solver.

The entropy is a sum of log-determinants, see `infoplane.entropy.log_sums`. They are those of positive definite
matrices, whose Cholesky factors are found for all shifts t_j, and for many matrices, at once. The gradient is
Σ_j w_j (t_j I + A)⁻¹ and so on: that of the sum, exactly.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from infoplane.entropy.eigenvalues import Partitions, diagonal_blocks
from infoplane.entropy.log_sums import LN2, log_sum

# Orders for which the error of the sum stays that of the entropy, nearly: tr A^α is no smaller than n^(1−α).
LARGEST_ORDER = 1.1
BLOCK = 128  # rows of a Cholesky factor that are found at once
CHUNK_BYTES = 2**31
_SLOPE_BYTES = 2**25


def takes_log_determinants(matrices: Tensor, alpha: float) -> bool:
    """Whether entropies of an order are found from log-determinants where these matrices are: on a GPU."""
    return matrices.is_cuda and 1 <= alpha <= LARGEST_ORDER


def log_determinant_entropies(matrices: Tensor, alpha: float, *, exact: bool = True) -> Tensor:
    """S_α(A / tr A) of symmetric positive semi-definite matrices, without gradient.

    Args:
        matrices: (k, n, n) float64, on any device.
        alpha: Order α, from 1 to 1.1.
        exact: As for `log_sum`; the error is at most `LogSum.bound`.

    Returns:
        Entropy in bits, (k,) float64; NaN where a matrix has a negative eigenvalue beyond rounding.
    """
    normalised = matrices / matrices.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
    return entropy_of_sum(_log_determinant_sums(normalised, alpha, exact=exact), alpha)


def _log_determinant_sums(matrices: Tensor, alpha: float, *, exact: bool = True) -> Tensor:
    """Σ_i g(λ_i) of symmetric matrices with eigenvalues in [0, 1].

    It adds up over the blocks of a matrix, and zero rows and columns add nothing.

    Args:
        matrices: (k, n, n) float64, on any device.
        alpha: Order α, from 1 to 1.1.
        exact: As for `log_sum`.

    Returns:
        (k,) float64; NaN where a matrix has a negative eigenvalue beyond rounding.
    """
    form = log_sum(alpha, exact=exact)
    n, total = matrices.shape[-1], torch.zeros(len(matrices), dtype=torch.float64, device=matrices.device)
    together = max(1, CHUNK_BYTES // (8 * n * n * len(matrices)))
    terms = _terms(alpha, exact, matrices.device)
    for inverses, weights in zip(*(term.split(together) for term in terms), strict=True):
        total += weights @ _log_determinants(_shifted(matrices, inverses)).view(len(weights), -1)
    trace = matrices.diagonal(dim1=-2, dim2=-1).sum(-1)
    return total + form.linear * trace + form.square * matrices.square().sum((-2, -1))


def entropy_of_sum(total: Tensor, alpha: float) -> Tensor:
    """Entropy in bits from Σ_i g(λ_i) of eigenvalues of sum 1, of any shape."""
    if alpha == 1:
        return total / LN2
    return torch.log1p((1 - alpha) * total) / ((1 - alpha) * LN2)


def block_log_determinant_entropies(
    matrix: Tensor, partitions: Partitions, alpha: float, *, exact: bool = True
) -> Tensor:
    """S_α of what is left of a matrix in its diagonal blocks, for each of several ways to part its samples.

    Args:
        matrix: Symmetric positive semi-definite, (n, n).
        partitions: The ways, on the device of the matrix.
        alpha: Order α, from 1 to 1.1.
        exact: As for `log_sum`.

    Returns:
        Entropy in bits, (ways,) float64; NaN where a block has a negative eigenvalue beyond rounding.
    """
    # Smaller blocks are filled up with zeros, so that all are solved together.
    members, is_member = partitions.padded.clamp(min=0), partitions.padded >= 0
    stack = diagonal_blocks(matrix.double(), members) / matrix.diagonal().double().sum()
    stack *= is_member[:, :, None] & is_member[:, None, :]
    sums = _log_determinant_sums(stack, alpha, exact=exact).split([len(parts) for parts in partitions.ways])
    return entropy_of_sum(torch.stack([part.sum() for part in sums]), alpha)


def log_determinant_slopes(matrices: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """S_α(A / tr A) by 20 terms, to 5e-6 bit, and its gradient: for training on small batches.

    Args:
        matrices: Symmetric positive semi-definite, (k, n, n) float64.
        alpha: Order α, from 1 to 1.1.

    Returns:
        Entropy in bits, (k,), and dS/dA, (k, n, n), both float64.
    """
    form = log_sum(alpha, exact=False)
    n, trace = matrices.shape[-1], matrices.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
    normalised = matrices / trace
    total = form.linear + form.square * normalised.square().sum((-2, -1))
    slope = 2 * form.square * normalised
    # Training must not need more memory for this than for the network.
    together = max(1, _SLOPE_BYTES // matrices.nbytes)
    terms = _terms(alpha, False, matrices.device)
    for inverse_shifts, weights in zip(*(term.split(together) for term in terms), strict=True):
        roots, logs = _roots(_shifted(normalised, inverse_shifts))
        inverses, logs = (roots.mT @ roots).view(len(weights), -1, n, n), logs.view(len(weights), -1)
        total = total + weights @ logs
        slope += torch.einsum("j,jkab->kab", weights * inverse_shifts, inverses)
    slope.diagonal(dim1=-2, dim2=-1).add_(form.linear)
    # What a change of the trace does, which divides A.
    slope.diagonal(dim1=-2, dim2=-1).sub_((slope * normalised).sum((-2, -1))[:, None])
    power = 1 - (alpha - 1) * total
    return entropy_of_sum(total, alpha), slope / (trace * (LN2 * power)[:, None, None])


@functools.lru_cache(maxsize=16)
def _terms(alpha: float, exact: bool, device: torch.device) -> tuple[Tensor, Tensor]:
    """1 / t_j and w_j, (m,) float64 each, kept on a device: a GPU stands still while it is sent any."""
    form = log_sum(alpha, exact=exact)
    with torch.inference_mode(False):
        return torch.from_numpy(1 / form.shifts).to(device), torch.from_numpy(form.weights).to(device)


def _shifted(matrices: Tensor, inverses: Tensor) -> Tensor:
    """I + A / t_j of all matrices (k, n, n) for each 1 / t_j, (m,): (m·k, n, n), shift by shift."""
    stack = (inverses[:, None, None, None] * matrices).flatten(0, 1)
    stack.diagonal(dim1=-2, dim2=-1).add_(1.0)
    return stack


def _log_determinants(stack: Tensor) -> Tensor:
    """Logarithms of the determinants of positive definite matrices (m, n, n), used up; NaN of others.

    Block by block, so that nearly all of the work is in batched products.
    """
    n, logs = stack.shape[-1], torch.zeros(len(stack), dtype=stack.dtype, device=stack.device)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        factor, of_block = _factors(stack[:, start:stop, start:stop])
        logs += of_block
        if stop < n:
            side = torch.linalg.solve_triangular(factor, stack[:, start:stop, stop:], upper=False)
            stack[:, stop:, stop:].baddbmm_(side.mT, side, alpha=-1.0)
    return logs


def _roots(stack: Tensor) -> tuple[Tensor, Tensor]:
    """L⁻¹ of positive definite matrices L Lᵀ (m, n, n), and the logarithms of their determinants; NaN of others.

    By halves, so that nearly all of the work is in batched products. Those are of L, whose condition is the root of
    the matrix's.
    """
    n = stack.shape[-1]
    if n <= BLOCK:
        factors, logs = _factors(stack)
        unit = torch.eye(n, dtype=stack.dtype, device=stack.device)
        return torch.linalg.solve_triangular(factors, unit, upper=False), logs
    half, root = n // 2, torch.zeros_like(stack)
    above, logs = _roots(stack[:, :half, :half])
    side = stack[:, half:, :half] @ above.mT
    below, more = _roots(torch.baddbmm(stack[:, half:, half:], side, side.mT, alpha=-1.0))
    root[:, :half, :half], root[:, half:, half:] = above, below
    root[:, half:, :half] = -(below @ side @ above)
    return root, logs + more


def _factors(stack: Tensor) -> tuple[Tensor, Tensor]:
    """L of positive definite matrices L Lᵀ (m, n, n), and the logarithms of their determinants; NaN of others."""
    factors, failed = torch.linalg.cholesky_ex(stack)
    logs = 2 * factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return factors, logs.masked_fill(failed > 0, math.nan)
