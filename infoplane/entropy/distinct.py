"""Exact entropies in the dimension that matters: distinct samples, or features of a linear kernel.

Discrete inputs and binned layers repeat. If sample i of m distinct ones occurs w_i times among n, the Gram matrix
of all n has the nonzero eigenvalues of D^(1/2) K D^(1/2), D = diag(w_i / n), because both are products of the same
two rectangular matrices in either order. In the same way X Xᵀ and Xᵀ X share theirs.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from infoplane.entropy.eigenvalues import matrix_entropy


def distinct_samples(*variables: NDArray) -> tuple[NDArray, NDArray]:
    """The distinct (tuples of) samples.

    Args:
        variables: Samples of the same n, each (n, ...); rows count as equal where every variable's agree exactly.

    Returns:
        Index of one sample of each kind, (m,) int64, and its number of occurrences, (m,) int64.
    """
    kinds = np.zeros(len(variables[0]), dtype=np.int64)
    for variable in variables:
        rows = np.ascontiguousarray(variable).reshape(len(variable), -1)
        _, own = np.unique(rows, axis=0, return_inverse=True)
        # One number per pair, numbered anew, so that many variables cannot overflow.
        _, kinds = np.unique(kinds * len(rows) + own.ravel(), return_inverse=True)
    _, first, counts = np.unique(kinds, return_index=True, return_counts=True)
    return first, counts


def distinct_entropy(kernel: NDArray, counts: NDArray, alpha: float = 1.0) -> float:
    """S_α of n samples from the kernel of the m distinct ones.

    For a joint entropy give the Hadamard product of the kernels of the distinct tuples.

    Args:
        kernel: Kernel between the distinct samples, (m, m), unit diagonal (a Gram matrix times m, say).
        counts: Occurrences of each, (m,); n is their sum.
        alpha: Order α > 0.

    Returns:
        Entropy in bits, that of the (n, n) Gram matrix.
    """
    roots = np.sqrt(counts / counts.sum())
    weighted = np.asarray(kernel, dtype=np.float64) * roots
    weighted *= roots[:, None]
    return float(matrix_entropy(torch.from_numpy(weighted), alpha))


def linear_entropy(x: NDArray, alpha: float = 1.0) -> float:
    """S_α of the linear kernel K = X Xᵀ / tr(X Xᵀ), in the smaller of its two dimensions.

    Args:
        x: Samples, (n, d), any offset taken off already where the kernel is to be centred.
        alpha: Order α > 0.

    Returns:
        Entropy in bits, that of the (n, n) matrix; at most log2 min(n, d).
    """
    x = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
    # Unit scale keeps squares of 1e±300 in range.
    x = x / (np.abs(x).max() or 1.0)
    gram = x.T @ x if x.shape[1] < len(x) else x @ x.T
    return float(matrix_entropy(torch.from_numpy(gram / np.trace(gram)), alpha))
