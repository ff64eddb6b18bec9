"""Matrix-based Rényi α-order entropies, exact, in bits.

Sánchez Giraldo, Rao and Príncipe, "Measures of entropy from data using infinitely divisible kernels", IEEE
Transactions on Information Theory 61(1), 2015; several variables: Yu, Sánchez Giraldo, Jenssen and Príncipe,
"Multivariate extension of matrix-based Rényi's α-order entropy functional", IEEE TPAMI 42(11), 2020.

The public functions take NumPy arrays or torch tensors and return the same kind. They compute in float64, or in
single precision on request (`dtype="float32"`; benchmarks/estimators.md has its error). α = 1 is the von Neumann
entropy, the limit of α → 1. Negative informations, possible for α ≠ 1, are never clipped. Orders below 1 make much
of the smallest eigenvalues, so they need float64, and what does not exceed its rounding errors counts as 0.
Tensors that require gradients get them in closed form, see `infoplane.entropy.differentiable`.

A variable of classes (`label_gram`) is noticed: its matrix holds 0 and one other value. Its entropy is that of the
class frequencies, and a joint entropy with it needs eigenvalues of class blocks only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray

from infoplane.entropy.differentiable import POLYNOMIAL, entropy_with_gradient, half_powers, power_trace
from infoplane.entropy.eigenvalues import (
    SINGLE,
    Partitions,
    block_entropies,
    checked_order,
    diagonal_blocks,
    entropy_of,
    matrix_entropies,
    matrix_entropy,
)
from infoplane.entropy.log_determinants import (
    block_log_determinant_entropies,
    log_determinant_entropies,
    takes_log_determinants,
)
from infoplane.kernels import as_tensor

DTYPES = {"float64": torch.float64, "float32": torch.float32}
_CHUNK_ROWS = 256
_GATHERED = 2**18  # values of blocks at once: more do not stay in a processor's cache
Matrix = NDArray[Any] | torch.Tensor


@overload
def renyi_entropy(A: torch.Tensor, alpha: float = ..., dtype: str = ...) -> torch.Tensor: ...
@overload
def renyi_entropy(A: NDArray[Any], alpha: float = ..., dtype: str = ...) -> np.float64: ...
def renyi_entropy(A: Matrix, alpha: float = 1.0, dtype: str = "float64") -> torch.Tensor | np.float64:
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
        ValueError: A is not a square, symmetric, finite matrix of real numbers and trace 1, or α is not positive
            and finite, or below 1 where A or `dtype` is in single precision; or A has negative eigenvalues (found
            where eigenvalues are computed: not at orders 2, 3, 4, 5, 6 and 8, nor with gradients).

    Example:
        >>> ip.renyi_entropy(np.eye(8) / 8)
        np.float64(3.0)
        >>> ip.renyi_entropy(torch.eye(8) / 8, alpha=2)
        tensor(3., dtype=torch.float64)
    """
    return joint_entropy(A, alpha=alpha, dtype=dtype)


def gram_entropy(gram: torch.Tensor, alpha: float = 1.0, dtype: str = "float64") -> float:
    """S_α in bits of what is known to be a Gram matrix: unchecked, as the checks take longer than order 2 does.

    Args:
        gram: Gram matrix of any trace, (n, n).
        alpha: Order α > 0.
        dtype: "float64" or "float32", the precision of the computation.
    """
    alpha = checked_order(alpha, gram.dtype, DTYPES[dtype])
    return _entropy(gram.detach().to(DTYPES[dtype]), alpha).item()


def gram_entropies(grams: torch.Tensor, alpha: float = 1.0, dtype: str = "float64") -> torch.Tensor:
    """The same of many Gram matrices, (k,) float64; small ones are solved in one call.

    Args:
        grams: Gram matrices of any trace, (k, n, n).
        alpha: Order α > 0.
        dtype: "float64" or "float32", the precision of the computation.
    """
    alpha = checked_order(alpha, grams.dtype, DTYPES[dtype])
    if takes_log_determinants(grams, alpha):
        values = log_determinant_entropies(grams.detach().double(), alpha, exact=dtype == "float64").cpu()
        if values.isfinite().all():
            return values
    if alpha in POLYNOMIAL:
        return torch.tensor([gram_entropy(gram, alpha, dtype) for gram in grams], dtype=torch.float64)
    return matrix_entropies(grams.detach().to(DTYPES[dtype]), alpha).to(DTYPES[dtype]).double().cpu()


@overload
def joint_entropy(*matrices: torch.Tensor, alpha: float = ..., dtype: str = ...) -> torch.Tensor: ...
@overload
def joint_entropy(*matrices: NDArray[Any], alpha: float = ..., dtype: str = ...) -> np.float64: ...
def joint_entropy(*matrices: Matrix, alpha: float = 1.0, dtype: str = "float64") -> torch.Tensor | np.float64:
    """Joint entropy S_α(A_1, …, A_k) = S_α(A_1 ∘ … ∘ A_k / tr(A_1 ∘ … ∘ A_k)) of any number of variables.

    Args:
        matrices: Normalised Gram matrices of the same samples, each (n, n).
        alpha: Order α > 0.
        dtype: "float64" or "float32", the precision of the computation.

    Returns:
        Entropy in bits, of the same kind as the first matrix.

    Raises:
        ValueError: As for `renyi_entropy`; or the matrices differ in size.

    Example:
        >>> gram = ip.gram_matrix(np.arange(8.0))
        >>> bool(ip.joint_entropy(gram, gram) > ip.renyi_entropy(gram))  # under a narrower kernel
        True
    """
    alpha, variables = _checked(alpha, dtype, *matrices)
    return _like(_joint(variables, alpha), matrices[0])


@overload
def mutual_information(A: torch.Tensor, B: Matrix, alpha: float = ..., dtype: str = ...) -> torch.Tensor: ...
@overload
def mutual_information(A: NDArray[Any], B: Matrix, alpha: float = ..., dtype: str = ...) -> np.float64: ...
def mutual_information(
    A: Matrix, B: Matrix, alpha: float = 1.0, dtype: str = "float64"
) -> torch.Tensor | np.float64:
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

    Example:
        >>> x = np.random.default_rng(0).standard_normal((300, 5))
        >>> value = ip.mutual_information(ip.gram_matrix(x), ip.gram_matrix(x**2))
        >>> type(value).__name__, bool(value > 0)
        ('float64', True)
    """
    alpha, (a, b) = _checked(alpha, dtype, A, B)
    return _like(_joint([a], alpha) + _joint([b], alpha) - _joint([a, b], alpha), A)


@overload
def conditional_mutual_information(
    A: torch.Tensor, B: Matrix, C: Matrix, alpha: float = ..., dtype: str = ...
) -> torch.Tensor: ...
@overload
def conditional_mutual_information(
    A: NDArray[Any], B: Matrix, C: Matrix, alpha: float = ..., dtype: str = ...
) -> np.float64: ...
def conditional_mutual_information(
    A: Matrix, B: Matrix, C: Matrix, alpha: float = 1.0, dtype: str = "float64"
) -> torch.Tensor | np.float64:
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

    Example:
        >>> a, b, c = (ip.gram_matrix(np.random.default_rng(seed).standard_normal((40, 2))) for seed in range(3))
        >>> bool(ip.conditional_mutual_information(a, b, c) > 0)
        True
    """
    alpha, (a, b, c) = _checked(alpha, dtype, A, B, C)
    value = _joint([a, c], alpha) + _joint([b, c], alpha) - _joint([c], alpha) - _joint([a, b, c], alpha)
    return _like(value, A)


def class_entropy(labels: NDArray, alpha: float = 1.0) -> float:
    """S_α(Y) of labels under the delta kernel: the Rényi entropy of the class frequencies.

    Args:
        labels: Class labels, (n,).
        alpha: Order α > 0.

    Returns:
        Entropy in bits; equal to `renyi_entropy(label_gram(labels), alpha)`.
    """
    classes = np.unique(labels, return_inverse=True)[1]
    return _frequency_entropy(torch.from_numpy(classes), checked_order(alpha)).item()


def class_joint_entropy(A: Matrix, labels: Any, alpha: float = 1.0, dtype: str = "float64") -> float:
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
    return class_joint_entropies(A, [labels], alpha, dtype)[0]


def class_joint_entropies(
    A: Matrix, labelings: Sequence[Any] | Partitions, alpha: float = 1.0, dtype: str = "float64"
) -> list[float]:
    """S_α(T, Y) of a variable and each of several labelings of the same samples, such as permuted ones.

    Small blocks of all labelings are solved together, which takes a third to a half of the time.

    Args:
        A: As for `class_joint_entropy`.
        labelings: Class labels, (n,) each; or what `class_partitions` makes of them, where there are many matrices.
        alpha: Order α > 0.
        dtype: "float64" or "float32", the precision of the computation.

    Returns:
        For each labeling what `class_joint_entropy` gives, bits.
    """
    matrix = torch.as_tensor(A).detach()
    alpha = checked_order(alpha, matrix.dtype, DTYPES[dtype])
    matrix = matrix.cpu() if matrix.device.type == "mps" else matrix
    if not isinstance(labelings, Partitions):
        labelings = class_partitions(labelings, matrix.device)
    return [value.item() for value in _block_entropies(matrix, labelings, alpha, DTYPES[dtype])]


def class_partitions(labelings: Sequence[Any], device: torch.device) -> Partitions:
    """The classes of several labelings of the same samples, (n,) each, on the device of a matrix of the samples."""
    return Partitions([class_members(labels, device) for labels in labelings])


def class_members(labels: Any, device: torch.device) -> list[torch.Tensor]:
    """The samples of each class, (n_c,) int64 each, ascending, on a device."""
    ordered, order = torch.as_tensor(labels).cpu().sort(stable=True)
    sizes = torch.unique_consecutive(ordered, return_counts=True)[1]
    return list(order.to(device).split(sizes.tolist()))


def class_blocks(A: torch.Tensor, labels: Any) -> list[torch.Tensor]:
    """The diagonal blocks of A sorted by class, each (n_c, n_c)."""
    return [A[part[:, None], part[None, :]] for part in class_members(labels, A.device)]


@dataclass(frozen=True)
class _Variable:
    """A Gram matrix, (n, n), and the class of each sample, (n,) int64, where it is a delta kernel."""

    matrix: torch.Tensor
    classes: torch.Tensor | None


def _checked(alpha: float, dtype: str, *matrices: Matrix) -> tuple[float, list[_Variable]]:
    """The order and the matrices in a dtype, after the checks that every public function promises."""
    if not matrices:
        raise ValueError("expected at least one Gram matrix")
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype}")
    tensors = [as_tensor(matrix, "Gram matrices") for matrix in matrices]
    alpha = checked_order(alpha, DTYPES[dtype], *[matrix.dtype for matrix in tensors])
    variables = []
    for matrix in tensors:
        matrix = matrix.cpu() if matrix.device.type == "mps" else matrix
        _check(matrix.detach())
        # With gradients every entry matters; order 2 costs no more than to look.
        classes = None if matrix.requires_grad or alpha == 2 else delta_classes(matrix)
        variables.append(_Variable(matrix.to(DTYPES[dtype]), classes))
    sizes = {len(matrix) for matrix in tensors}
    if len(sizes) > 1:
        raise ValueError(f"Gram matrices of the same samples expected, got sizes {sorted(sizes)}")
    return alpha, variables


def delta_classes(matrix: torch.Tensor) -> torch.Tensor | None:
    """The classes behind a matrix that is a delta kernel up to a factor: O(n²), and O(n) where it is none.

    Args:
        matrix: (n, n), n > 0.

    Returns:
        A number for the class of each sample, (n,) int64; None where entries differ from 0 and from the first one,
        or samples are no classes by them.
    """
    first, value = matrix[0], matrix[0, 0]
    if not ((first == 0) | (first == value)).all():
        return None
    stripes = matrix.split(_CHUNK_ROWS)
    # A class is named by its first member.
    classes = torch.cat([(stripe != 0).to(torch.uint8).argmax(1) for stripe in stripes])
    for stripe, own in zip(stripes, classes.split(_CHUNK_ROWS), strict=True):
        if not torch.equal(stripe, torch.where(own[:, None] == classes, value, 0)):
            return None
    return classes


def _check(matrix: torch.Tensor) -> None:
    """Refuses what is no normalised Gram matrix; works in stripes of rows, without a second (n, n) array."""
    if matrix.dtype == torch.bool:
        raise ValueError("expected a Gram matrix of numbers, got booleans; label_gram makes one of labels")
    if matrix.is_complex():
        raise ValueError("expected a Gram matrix of real numbers, got complex ones")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
        raise ValueError(f"expected a square Gram matrix (n, n), got shape {tuple(matrix.shape)}")
    tolerance = 1e-3 if matrix.dtype in SINGLE else 1e-8
    worst = 0.0
    for stripe, mirrored in zip(matrix.split(_CHUNK_ROWS), matrix.split(_CHUNK_ROWS, dim=1), strict=True):
        # NaN and infinity spread into the difference of the two.
        worst = max(worst, (stripe - mirrored.T).abs().max().item(), key=lambda x: (math.isnan(x), x))
    if not math.isfinite(worst):
        raise ValueError("the Gram matrix holds NaN or infinite values")
    trace = matrix.diagonal().sum(dtype=torch.float64).item()
    if abs(trace - 1) > tolerance:
        raise ValueError(f"expected a Gram matrix of trace 1, got trace {trace:g}; see gram_matrix")
    if worst > tolerance:
        raise ValueError("the Gram matrix is not symmetric")


def _like(value: torch.Tensor, given: Matrix) -> torch.Tensor | np.float64:
    return value if isinstance(given, torch.Tensor) else np.float64(value.item())


def _hadamard(matrices: list[torch.Tensor]) -> torch.Tensor:
    """Hadamard product of normalised Gram matrices, up to a factor, (n, n); a single one is given back as it is."""
    product = matrices[0]
    for index, matrix in enumerate(matrices[1:]):
        own = index > 0 and not (product.requires_grad or matrix.requires_grad)
        product = product.mul_(matrix) if own else product * matrix
        # n·A has unit entries on the diagonal, so a product of many matrices neither overflows nor underflows.
        product = product * len(matrix) if product.requires_grad else product.mul_(len(matrix))
    return product


def _joint(variables: list[_Variable], alpha: float) -> torch.Tensor:
    """Joint entropy, 0-dimensional, of the dtype of the matrices; by class blocks where some are of classes."""
    matrices = [variable.matrix for variable in variables]
    known = [variable.classes for variable in variables if variable.classes is not None]
    if not known or any(matrix.requires_grad for matrix in matrices):
        return _entropy(_hadamard(matrices), alpha, checked=True)
    classes = torch.unique(torch.stack(known, 1), dim=0, return_inverse=True)[1]
    others = [variable.matrix for variable in variables if variable.classes is None]
    if others:
        matrix = _hadamard(others)
        [value] = _block_entropies(
            matrix, class_partitions([classes], matrix.device), alpha, matrix.dtype, checked=True
        )
    else:
        value = _frequency_entropy(classes, alpha)
    return value.to(matrices[0])


def _frequency_entropy(classes: torch.Tensor, alpha: float) -> torch.Tensor:
    """Rényi entropy of class frequencies, 0-dimensional float64."""
    return entropy_of(torch.unique(classes, return_counts=True)[1] / torch.tensor(len(classes)).double(), alpha)


def _block_entropies(
    matrix: torch.Tensor,
    partitions: Partitions,
    alpha: float,
    precision: torch.dtype,
    checked: bool = False,
) -> list[torch.Tensor]:
    """Entropies of what is left of a matrix (n, n) of any trace in its diagonal blocks, 0-dimensional float64 each.

    The members of the blocks are those of each partition; the rest as in `_entropy`.
    """
    if alpha in POLYNOMIAL:
        return _block_powers(matrix, partitions, alpha, precision)
    if takes_log_determinants(matrix, alpha):
        exact = precision == torch.float64
        values = block_log_determinant_entropies(matrix, partitions, alpha, exact=exact).cpu()
        if values.isfinite().all():
            return list(values)
    return block_entropies(matrix, partitions, alpha, precision, checked)


def _block_powers(
    matrix: torch.Tensor, partitions: Partitions, alpha: float, precision: torch.dtype
) -> list[torch.Tensor]:
    """`_block_entropies` at an order that needs no eigenvalues."""
    powers, owners = list[torch.Tensor](), list[torch.Tensor]()
    for members, ways, _ in partitions.stacks:
        for some in members.split(max(1, _GATHERED // members.shape[1] ** 2)):
            blocks = diagonal_blocks(matrix, some).to(precision)
            powers.append(power_trace(blocks.double(), int(alpha)))
        owners.append(ways[:, 0])
    trace = matrix.diagonal().to(precision).sum(dtype=torch.float64).cpu()
    totals = torch.zeros(len(partitions.ways), dtype=torch.float64)
    totals.index_add_(0, torch.cat(owners), torch.cat(powers).cpu())
    return list(-torch.log2(totals / trace**alpha) / (alpha - 1))


def _entropy(matrix: torch.Tensor, alpha: float, checked: bool = False) -> torch.Tensor:
    """Entropy of a matrix of any trace, 0-dimensional; negative eigenvalues are refused if `checked`."""
    if matrix.requires_grad:
        return entropy_with_gradient(matrix, alpha)
    if alpha in POLYNOMIAL:
        trace = matrix.diagonal().sum(dtype=torch.float64)
        # The trace enters with its power: dividing by a power of n is right for a unit diagonal only.
        return -torch.log2(_power_trace(matrix, int(alpha)) / trace**alpha).to(matrix.dtype) / (alpha - 1)
    if takes_log_determinants(matrix, alpha):
        exact = matrix.dtype == torch.float64
        [value] = log_determinant_entropies(matrix[None].double(), alpha, exact=exact)
        # Of a matrix that is not positive semi-definite, eigenvalues say more.
        if value.isfinite():
            return value.to(matrix.dtype)
    return matrix_entropy(matrix, alpha, checked).to(matrix.dtype)


def _power_trace(matrix: torch.Tensor, alpha: int) -> torch.Tensor:
    """tr(A^α), summed in float64 whatever the matrix: n² float32 terms would lose digits."""
    if matrix.dtype == torch.float64:
        return power_trace(matrix, alpha)
    stripes = zip(*(power.split(_CHUNK_ROWS) for power in half_powers(matrix, alpha)), strict=True)
    return torch.stack([(a.double() * b.double()).sum() for a, b in stripes]).sum()
