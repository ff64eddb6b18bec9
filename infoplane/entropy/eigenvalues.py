"""Entropies of symmetric matrices: from a form that has their log-determinants, or from eigenvalues."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence

from infoplane.entropy.determinants import entropies_by_determinants
from infoplane.entropy.forms import Blocks, Form
from infoplane.entropy.lapack import Tridiagonal, tridiagonal_forms
from infoplane.entropy.log_sums import LN2
from infoplane.entropy.solvers import SOLVERS, fastest, solved

SINGLE = (torch.float16, torch.bfloat16, torch.float32)
_LEAST_ORDER = (
    0.2  # below, λ^α of the smallest eigenvalue above its rounding error is 1/1000 of the largest or more
)
BATCHED_UP_TO = 64  # a CPU solves blocks up to this size in one call: they cost little more than the call
_TOGETHER, TOGETHER_UP_TO = 8, 256  # matrices that a CPU reduces in one call, and their largest size
_NEGATIVE = 1e-3  # share of the trace; rounding of kernels in float32 stays far below it
logger = logging.getLogger(__name__)


def checked_order(alpha: float, *precisions: torch.dtype) -> float:
    """The order α, after the checks that every public function promises; a warning where rounding decides.

    Args:
        alpha: Order α > 0.
        precisions: Those of the matrices and of the computation.

    Raises:
        ValueError: α is not positive and finite, or below 1 in single precision.
    """
    if not (alpha > 0 and math.isfinite(alpha)):
        raise ValueError(f"the order alpha must be positive and finite, got {alpha}")
    if alpha < 1 and any(precision in SINGLE for precision in precisions):
        raise ValueError(
            f"alpha {alpha}: orders below 1 make much of rounding errors in float32; give Gram matrices in float64 "
            "and dtype float64, or take alpha >= 1"
        )
    if alpha < _LEAST_ORDER:
        _warn(float(alpha))
    return float(alpha)


@cache
def _warn(alpha: float) -> None:
    logger.warning(
        "alpha %g: below %g, entropies are decided by eigenvalues at rounding level; take a larger alpha",
        alpha,
        _LEAST_ORDER,
    )


def eigenvalues(matrix: torch.Tensor) -> torch.Tensor:
    """Eigenvalues of symmetric matrices, in the precision of the matrix.

    Args:
        matrix: (..., n, n) float32 or float64, CPU or GPU; only one triangle is read. Gradients do not pass.

    Returns:
        (..., n) float64, in no order. A float32 matrix is solved in true single precision.
    """
    matrix = matrix.detach()
    if matrix.is_cuda or matrix.ndim > 2:
        return solved(torch.linalg.eigvalsh, matrix).to(torch.float64)
    solver = SOLVERS[fastest(len(matrix), _name(matrix))]
    return torch.from_numpy(solved(lambda array: solver(array).eigenvalues(), matrix.numpy()))


def matrix_entropy(matrix: torch.Tensor, alpha: float, checked: bool = False) -> torch.Tensor:
    """Entropy of a symmetric matrix of any trace, without its eigenvalues where these are not needed.

    Args:
        matrix: (n, n) float32 or float64, CPU or GPU; only one triangle is read. Gradients do not pass.
        alpha: Order α > 0.
        checked: Refuse a matrix that is not positive semi-definite.

    Returns:
        Entropy in bits, 0-dimensional float64; from a float32 matrix in true single precision.

    Raises:
        ValueError: The matrix has negative eigenvalues.
    """
    matrix = matrix.detach()
    if matrix.is_cuda or len(matrix) <= BATCHED_UP_TO:
        return _of_eigenvalues(eigenvalues(matrix), alpha, matrix.dtype, checked)
    solver = SOLVERS[fastest(len(matrix), _name(matrix))]

    def solve(array: NDArray) -> torch.Tensor:
        return _of_forms([solver(array)], len(array), alpha, matrix.dtype, checked)[0]

    return solved(solve, matrix.numpy())


def matrix_entropies(matrices: torch.Tensor, alpha: float) -> torch.Tensor:
    """The same of several matrices of one size, (k,) float64: small ones take less time together.

    Args:
        matrices: (k, n, n) float32 or float64, CPU or GPU.
        alpha: Order α > 0.
    """
    n, matrices = matrices.shape[-1], matrices.detach()
    if matrices.is_cuda or n <= BATCHED_UP_TO:
        return entropy_of(eigenvalues(matrices), alpha, matrices.dtype)
    if n > TOGETHER_UP_TO or fastest(n, _name(matrices)) != "one-stage":
        return torch.stack([matrix_entropy(matrix, alpha) for matrix in matrices])

    def solve(arrays: NDArray) -> torch.Tensor:
        return torch.stack(_of_forms(tridiagonal_forms(arrays), n, alpha, matrices.dtype))

    return torch.cat([solved(solve, part.numpy()) for part in matrices.split(_TOGETHER)])


def _name(matrix: torch.Tensor) -> str:
    return str(matrix.dtype).removeprefix("torch.")


def _of_forms(
    forms: Sequence[Form], n: int, alpha: float, precision: torch.dtype, checked: bool = False
) -> list[torch.Tensor]:
    """Entropies of (n, n) matrices in some form, 0-dimensional float64; the rest as for `matrix_entropy`."""
    # Log-determinants exist only where no eigenvalue is negative but for rounding.
    values = entropies_by_determinants(forms, n, alpha, single=precision in SINGLE)
    return [
        _of_eigenvalues(torch.from_numpy(form.eigenvalues()), alpha, precision, checked)
        if value is None
        else torch.tensor(value, dtype=torch.float64)
        for form, value in zip(forms, values, strict=True)
    ]


def _of_eigenvalues(values: torch.Tensor, alpha: float, precision: torch.dtype, checked: bool) -> torch.Tensor:
    totals = values.sum(-1)
    if checked and (-values.clamp(max=0).sum(-1) > _NEGATIVE * totals).any():
        least = (values.amin(-1) / totals).min().item()
        raise ValueError(
            f"the Gram matrix is not positive semi-definite: an eigenvalue is {least:.3g} of its trace"
        )
    return entropy_of(values, alpha, precision)


@dataclass(frozen=True)
class Partitions:
    """One or several ways of parting samples into blocks, for many matrices of these samples.

    Attributes:
        ways: For each way, the members of its blocks: (n_i,) int64 each, together all samples, on one device.
    """

    ways: Sequence[Sequence[torch.Tensor]]

    @cached_property
    def largest(self) -> list[int]:
        """Size of the largest block of each way."""
        return [max(map(torch.numel, parts)) for parts in self.ways]

    @cached_property
    def samples(self) -> int:
        """Number of samples."""
        return sum(map(torch.numel, self.ways[0]))

    @cached_property
    def padded(self) -> torch.Tensor:
        """Members of all blocks, way after way, (blocks, largest) int64, with −1 where a block is smaller."""
        return pad_sequence([part for parts in self.ways for part in parts], batch_first=True, padding_value=-1)

    @cached_property
    def stacks(self) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Members (k, size), way (k, 1) and places among the samples of that way (k, size) of the blocks of a size.

        None has more values in its blocks than the matrix has.
        """
        blocks: dict[int, list[tuple[int, int, torch.Tensor]]] = {}
        for way, parts in enumerate(self.ways):
            start = 0
            for part in parts:
                blocks.setdefault(part.numel(), []).append((way, start, part))
                start += part.numel()
        found = []
        for size, same in blocks.items():
            most = max(1, self.samples**2 // size**2)
            for first in range(0, len(same), most):
                ways, starts, parts = zip(*same[first : first + most], strict=True)
                places = torch.tensor(starts)[:, None] + torch.arange(size)
                found.append((torch.stack(parts), torch.tensor(ways)[:, None], places))
        return found


def block_entropies(
    matrix: torch.Tensor, partitions: Partitions, alpha: float, precision: torch.dtype, checked: bool = False
) -> list[torch.Tensor]:
    """Entropies of what is left of a matrix in its diagonal blocks, for one or several ways of parting its samples.

    Args:
        matrix: Symmetric, (n, n), of any trace.
        partitions: The ways, on the device of the matrix.
        alpha: Order α > 0.
        precision: What to solve in, float32 or float64.
        checked: Refuse a matrix that is not positive semi-definite.

    Returns:
        For each way the entropy in bits, 0-dimensional float64.

    Raises:
        ValueError: The matrix has negative eigenvalues.
    """
    if matrix.is_cuda or max(partitions.largest) <= BATCHED_UP_TO:
        return list(_of_eigenvalues(_spectra(partitions, matrix, precision), alpha, precision, checked).cpu())
    found = []
    for parts in partitions.ways:
        form = solved(lambda parts: _blocks(parts, matrix, precision), parts)
        found += _of_forms([form], len(matrix), alpha, precision, checked)
    return found


def _blocks(parts: Sequence[torch.Tensor], matrix: torch.Tensor, precision: torch.dtype) -> Form:
    """The form of what is left of a matrix in its diagonal blocks."""
    forms: list[Form] = []
    array = matrix.numpy()
    for size in sorted(set(map(torch.numel, parts))):
        # Whole rows first: they lie together in memory.
        members = [part.numpy() for part in parts if part.numel() == size]
        stack = torch.from_numpy(np.stack([array.take(part, 0).take(part, 1) for part in members])).to(precision)
        name = fastest(size, _name(stack))
        if name == "one-stage":
            forms += tridiagonal_forms(stack.numpy())
        else:
            forms += [SOLVERS[name](block) for block in stack.numpy()]
    tridiagonal = [form for form in forms if isinstance(form, Tridiagonal)]
    return Tridiagonal.joined(tridiagonal) if len(tridiagonal) == len(forms) else Blocks(forms)


def _spectra(partitions: Partitions, matrix: torch.Tensor, precision: torch.dtype) -> torch.Tensor:
    """Eigenvalues of the diagonal blocks, (ways, n) float64; blocks of equal size are solved together."""
    shape = len(partitions.ways), partitions.samples
    spectra = torch.empty(shape, dtype=torch.float64, device=matrix.device)
    for members, ways, places in partitions.stacks:
        spectra[ways, places] = eigenvalues(diagonal_blocks(matrix, members).to(precision))
    return spectra


def diagonal_blocks(matrix: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """The rows and columns of a matrix (n, n) that are the members of each block, (k, size): (k, size, size)."""
    # Places in one long row are found in half of the time that rows and columns take.
    places = members[:, :, None] * len(matrix) + members[:, None, :]
    return matrix.reshape(-1).index_select(0, places.reshape(-1)).view(places.shape)


def spectral_entropy(eigenvalues: NDArray, alpha: float) -> float:
    """Rényi entropy of a spectrum that sums to 1.

    Args:
        eigenvalues: (n,), non-negative up to rounding.
        alpha: Order α > 0.

    Returns:
        Entropy in bits.
    """
    return float(entropy_of(torch.from_numpy(np.asarray(eigenvalues, dtype=np.float64)), alpha))


def entropy_of(values: torch.Tensor, alpha: float, precision: torch.dtype = torch.float64) -> torch.Tensor:
    """Entropy of spectra; rounding errors around zero are dropped, what is left is scaled to sum 1.

    Args:
        values: Eigenvalues, (..., n) float64, non-negative up to rounding.
        alpha: Order α > 0.
        precision: What the eigenvalues were computed in.

    Returns:
        Entropy in bits, (...).
    """
    kept = torch.where(values > rounding(values, alpha, precision), values, 0.0)
    kept = kept / kept.sum(-1, keepdim=True)
    logs = torch.log(torch.where(kept > 0, kept, 1.0))
    if alpha == 1:
        return -(kept * logs).sum(-1) / LN2
    if abs(alpha - 1) < 0.5:
        # tr(A^α) − 1 directly: log2 of a trace near 1 over 1 − α near 0 would cancel.
        excess = (kept * torch.expm1((alpha - 1) * logs)).sum(-1)
        return torch.log1p(excess) / ((1 - alpha) * LN2)
    powers = torch.where(kept > 0, alpha * logs, -math.inf)
    return torch.logsumexp(powers, dim=-1) / ((1 - alpha) * LN2)


def rounding(values: torch.Tensor, alpha: float, precision: torch.dtype) -> torch.Tensor:
    """Eigenvalues up to this are rounding errors of zero, (..., 1)."""
    n, largest = values.shape[-1], values.amax(-1, keepdim=True)
    if alpha < 1:
        # λ^α makes much of little: a single error that is kept counts, so the bound on all of them is taken.
        spread = float(n)
    elif precision == torch.float64:
        spread = math.sqrt(n)
    else:
        # In single precision the errors of eigenvalues near zero have both signs and largely cancel in the sum.
        spread = 0.0
    return torch.finfo(precision).eps * spread * largest
