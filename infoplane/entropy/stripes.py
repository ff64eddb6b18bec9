"""Products and norm of a large symmetric matrix from its upper triangle: half of the memory's traffic.

A product with few vectors takes as long as the matrix needs to come from memory. In stripes low enough for the
cache, what stands right of the diagonal is read once and used twice, for itself and for its mirror image.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

STRIPED_FROM = 2048  # smaller matrices stay in the cache
STRIPE_BYTES = 2**21  # of a stripe in single precision: the second use finds it in the cache (measured)


def stripes(n: int, device: torch.device) -> Iterator[slice]:
    """The rows of an (n, n) matrix in stripes; in a single one on a GPU and where the cache holds it all."""
    rows = max(1, STRIPE_BYTES // (4 * n)) if device.type == "cpu" and n >= STRIPED_FROM else n
    return (slice(start, min(start + rows, n)) for start in range(0, n, rows))


def times(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Product of vectors and a symmetric matrix, in the precision of the vectors.

    Args:
        x: Vectors, (p, n).
        matrix: (n, n); read from the diagonal to the right, and within a stripe's square on it below it too.

    Returns:
        (p, n).
    """
    result = torch.zeros_like(x)
    for rows in stripes(len(matrix), matrix.device):
        stripe = matrix[rows, rows.start :].to(x.dtype)
        result[:, rows.start :].addmm_(x[:, rows], stripe)
        result[:, rows].addmm_(x[:, rows.stop :], stripe[:, len(stripe) :].mT)
    return result


def square(stripe: torch.Tensor) -> float:
    """What a stripe from the diagonal to the right, (h, w ≥ h), and its mirror image add to ‖A‖²_F, in float64."""
    corner, beyond = stripe[:, : len(stripe)], stripe[:, len(stripe) :]
    sizes = [float(torch.linalg.vector_norm(part, dtype=torch.float64)) ** 2 for part in (corner, beyond)]
    return sizes[0] + 2 * sizes[1]
