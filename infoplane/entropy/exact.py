"""Matrix-based Rényi α-order entropies, exact, in bits.

Sánchez Giraldo, Rao and Príncipe, "Measures of entropy from data using infinitely divisible kernels", IEEE
Transactions on Information Theory 61(1), 2015; several variables: Yu, Sánchez Giraldo, Jenssen and Príncipe,
"Multivariate extension of matrix-based Rényi's α-order entropy functional", IEEE TPAMI 42(11), 2020.

The public functions take NumPy arrays or torch tensors and return the same kind. They compute in float64, or in
single precision on request (`dtype="float32"`; benchmarks/estimators.md has its error). α = 1 is the von Neumann
entropy, the limit of α → 1. Negative informations, possible for α ≠ 1, are never clipped. Tensors that require
gradients get them in closed form, see `infoplane.entropy.differentiable`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from infoplane.entropy.differentiable import POLYNOMIAL, entropy_with_gradient, half_powers, power_trace
from infoplane.entropy.spectrum import block_eigenvalues, eigenvalues, entropy_of, spectral_entropy

DTYPES = {"float64": torch.float64, "float32": torch.float32}
CHUNK_ROWS = 256


def renyi_entropy(A: Any, alpha: float = 1.0, dtype: str = "float64") -> Any:
    """Matrix-based Rényi entropy S_α(A) = 1/(1−α) · log2 tr(A^α).

    Args:
        A: Normalised Gram matrix, (n, n): symmetric, positive semi-definite, trace 1.
        alpha: Order α > 0; 1 gives −Σ λ log2 λ, 2 gives −log2 ‖A‖²_F, and 3, 4, 5, 6 and 8 take one or two
            matrix products, without eigenvalues.
        dtype: "float64" or "float32", the precision of the computation.

    Returns:
        Entropy in bits, between 0 and log2 n: `np.float64` for an array, 0-dimensional tensor of `dtype` for a
        tensor.

    Raises:
        ValueError: A is not a square, symmetric, finite matrix of trace 1, or α is not positive and finite.
    """
    (matrix,) = _checked(A, dtype=dtype)
    return _like(_entropy(matrix, _order(alpha)), A)


def gram_entropy(gram: torch.Tensor, alpha: float = 1.0, dtype: str = "float64") -> float:
    """S_α in bits of what is known to be a Gram matrix: unchecked, as the checks take longer than order 2 does.

    Args:
        gram: Gram matrix of any trace, (n, n).
        alpha: Order α > 0.
        dtype: "float64" or "float32", the precision of the computation.
    """
    return _entropy(gram.detach().to(DTYPES[dtype]), alpha).item()


def joint_entropy(*matrices: Any, alpha: float = 1.0, dtype: str = "float64") -> Any:
    """Joint entropy S_α(A_1, …, A_k) = S_α(A_1 ∘ … ∘ A_k / tr(A_1 ∘ … ∘ A_k)) of any number of variables.

    Args:
        matrices: Normalised Gram matrices of the same samples, each (n, n).
        alpha: Order α > 0.
        dtype: "float64" or "float32", the precision of the computation.

    Returns:
        Entropy in bits, of the same kind as the first matrix.

    Raises:
        ValueError: As for `renyi_entropy`; or the matrices differ in size.
    """
    return _like(_joint(_checked(*matrices, dtype=dtype), _order(alpha)), matrices[0])


def mutual_information(A: Any, B: Any, alpha: float = 1.0, dtype: str = "float64") -> Any:
    """Mutual information I_α(A;B) = S_α(A) + S_α(B) − S_α(A,B).

    Never negative at α = 1 (sub-additivity of the von Neumann entropy); it can be at other α.

    Args:
        A: Normalised Gram matrix, (n, n).
        B: Normalised Gram matrix of the same samples, (n, n).
        alpha: Order α > 0.
        dtype: "float64" or "float32", the precision of the computation.

    Returns:
        Information in bits, of the same kind as A.

    Raises:
        ValueError: As for `joint_entropy`.
    """
    alpha = _order(alpha)
    a, b = _checked(A, B, dtype=dtype)
    return _like(_entropy(a, alpha) + _entropy(b, alpha) - _joint([a, b], alpha), A)


def conditional_mutual_information(A: Any, B: Any, C: Any, alpha: float = 1.0, dtype: str = "float64") -> Any:
    """Conditional mutual information I_α(A;B|C) = S(A,C) + S(B,C) − S(C) − S(A,B,C).

    Never negative at α = 1 (strong sub-additivity, with real matrices); it can be at other α.

    Args:
        A: Normalised Gram matrix, (n, n).
        B: Normalised Gram matrix of the same samples, (n, n).
        C: Normalised Gram matrix of the variable that is conditioned on, (n, n).
        alpha: Order α > 0.
        dtype: "float64" or "float32", the precision of the computation.

    Returns:
        Information in bits, of the same kind as A.

    Raises:
        ValueError: As for `joint_entropy`.
    """
    alpha = _order(alpha)
    a, b, c = _checked(A, B, C, dtype=dtype)
    value = _joint([a, c], alpha) + _joint([b, c], alpha) - _entropy(c, alpha) - _joint([a, b, c], alpha)
    return _like(value, A)


def class_entropy(labels: NDArray, alpha: float = 1.0) -> float:
    """S_α(Y) of labels under the delta kernel: the Rényi entropy of the class frequencies.

    Args:
        labels: Class labels, (n,).
        alpha: Order α > 0.

    Returns:
        Entropy in bits; equal to `renyi_entropy(label_gram(labels), alpha)`.
    """
    _, counts = np.unique(labels, return_counts=True)
    return spectral_entropy(counts / len(labels), _order(alpha))


def class_joint_entropy(A: Any, labels: Any, alpha: float = 1.0, dtype: str = "float64") -> float:
    """S_α(T, Y) of a variable and labels under the delta kernel, by class blocks.

    A ∘ A_Y is block-diagonal once sorted by class, so its spectrum is the union of the spectra of the class
    blocks: Σ n_c³ operations instead of n³, exactly.

    Args:
        A: Normalised Gram matrix of T with a constant diagonal 1/n, (n, n), array or tensor.
        labels: Class labels, (n,).
        alpha: Order α > 0.
        dtype: "float64" or "float32", the precision of the computation.

    Returns:
        Entropy in bits; equal to `joint_entropy(A, label_gram(labels), alpha=alpha)`.
    """
    alpha = _order(alpha)
    matrix = torch.as_tensor(A).detach()
    matrix = matrix.cpu() if matrix.device.type == "mps" else matrix
    blocks = [block.to(DTYPES[dtype]) for block in class_blocks(matrix, labels)]
    if alpha in POLYNOMIAL:
        return -math.log2(sum(power_trace(block.double(), int(alpha)).item() for block in blocks)) / (alpha - 1)
    return entropy_of(block_eigenvalues(blocks), alpha, DTYPES[dtype]).item()


def class_blocks(A: torch.Tensor, labels: Any) -> list[torch.Tensor]:
    """The diagonal blocks of A sorted by class, each (n_c, n_c)."""
    labels = np.asarray(torch.as_tensor(labels).cpu())
    order = np.argsort(labels, kind="stable")
    edges = np.flatnonzero(np.diff(labels[order])) + 1
    members = [torch.from_numpy(part).to(A.device) for part in np.split(order, edges)]
    return [A[part[:, None], part[None, :]] for part in members]


def _order(alpha: float) -> float:
    if not (alpha > 0 and math.isfinite(alpha)):
        raise ValueError(f"the order alpha must be positive and finite, got {alpha}")
    return float(alpha)


def _checked(*matrices: Any, dtype: str = "float64") -> list[torch.Tensor]:
    """The matrices as tensors of a dtype, after the checks that every public function promises."""
    if not matrices:
        raise ValueError("expected at least one Gram matrix")
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype}")
    checked = []
    for given in matrices:
        matrix = torch.as_tensor(given)
        matrix = matrix.cpu() if matrix.device.type == "mps" else matrix
        _check(matrix.detach())
        checked.append(matrix.to(DTYPES[dtype]))
    sizes = {len(matrix) for matrix in checked}
    if len(sizes) > 1:
        raise ValueError(f"Gram matrices of the same samples expected, got sizes {sorted(sizes)}")
    return checked


def _check(matrix: torch.Tensor) -> None:
    """Refuses what is no normalised Gram matrix; works in stripes of rows, without a second (n, n) array."""
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
        raise ValueError(f"expected a square Gram matrix (n, n), got shape {tuple(matrix.shape)}")
    single = matrix.dtype in (torch.float16, torch.bfloat16, torch.float32)
    tolerance = 1e-3 if single else 1e-8
    worst = 0.0
    for stripe, mirrored in zip(matrix.split(CHUNK_ROWS), matrix.split(CHUNK_ROWS, dim=1), strict=True):
        # NaN and infinity spread into the difference of the two.
        worst = max(worst, (stripe - mirrored.T).abs().max().item(), key=lambda x: (math.isnan(x), x))
    if not math.isfinite(worst):
        raise ValueError("the Gram matrix holds NaN or infinite values")
    trace = matrix.diagonal().sum(dtype=torch.float64).item()
    if abs(trace - 1) > tolerance:
        raise ValueError(f"expected a Gram matrix of trace 1, got trace {trace:g}; see gram_matrix")
    if worst > tolerance:
        raise ValueError("the Gram matrix is not symmetric")


def _like(value: torch.Tensor, given: Any) -> Any:
    return value if isinstance(given, torch.Tensor) else np.float64(value.item())


def hadamard(matrices: list[torch.Tensor]) -> torch.Tensor:
    """Hadamard product of normalised Gram matrices, up to a factor, (n, n); a single one is given back as it is."""
    product = matrices[0]
    for index, matrix in enumerate(matrices[1:]):
        own = index > 0 and not (product.requires_grad or matrix.requires_grad)
        product = product.mul_(matrix) if own else product * matrix
        # n·A has unit entries on the diagonal, so a product of many matrices neither overflows nor underflows.
        product = product * len(matrix) if product.requires_grad else product.mul_(len(matrix))
    return product


def _joint(matrices: list[torch.Tensor], alpha: float) -> torch.Tensor:
    return _entropy(hadamard(matrices), alpha)


def _entropy(matrix: torch.Tensor, alpha: float) -> torch.Tensor:
    if matrix.requires_grad:
        return entropy_with_gradient(matrix, alpha)
    trace = matrix.diagonal().sum(dtype=torch.float64)
    if alpha in POLYNOMIAL:
        # The trace enters with its power: dividing by a power of n is right for a unit diagonal only.
        return -torch.log2(_power_trace(matrix, int(alpha)) / trace**alpha).to(matrix.dtype) / (alpha - 1)
    # Eigenvalues are scaled to sum 1 in there, which divides out the trace.
    return entropy_of(eigenvalues(matrix), alpha, matrix.dtype).to(matrix.dtype)


def _power_trace(matrix: torch.Tensor, alpha: int) -> torch.Tensor:
    """tr(A^α), summed in float64 whatever the matrix: n² float32 terms would lose digits."""
    if matrix.dtype == torch.float64:
        return power_trace(matrix, alpha)
    stripes = zip(*(power.split(CHUNK_ROWS) for power in half_powers(matrix, alpha)), strict=True)
    return torch.stack([(a.double() * b.double()).sum() for a, b in stripes]).sum()
