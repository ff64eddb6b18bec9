"""S_α from a reduction in single precision, with an interval from what the rounding did.

LAPACK finds a band matrix B and reflections whose product is Q, with A ≈ Q B Qᵀ. Q is orthogonal whatever the
rounding, so that the eigenvalues of A and B differ by no more than R = A − Q B Qᵀ says, both divided by their
traces. Products with R take O(n²), and a few of them bound it:

1. For normal z_1 … z_k, the mean of ‖R z_j‖² is below a share s of ‖R‖²_F with a probability of at most
   (s e^(1−s))^(k/2), for every R (Chernoff's bound, which is largest at rank one).
2. Σ |λ_i − θ_i| ≤ ‖R‖_1 ≤ √n ‖R‖_F for the ordered eigenvalues λ of A and θ of B (Mirsky, "Symmetric gauge
   functions and unitarily invariant norms", Quarterly Journal of Mathematics 11, 1960).
3. The entropy is a sum over eigenvalues of a function that `infoplane.entropy.log_sums` gives with its error and
   with the range of its derivative.

The rounding of the matrix to single precision is in R. What is left out is the rounding of the products in double
precision, a millionth of it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq

from infoplane.entropy.determinants import LARGEST_ORDER
from infoplane.entropy.forms import Blocks
from infoplane.entropy.lapack import Band, Reduction, available, band_reduction
from infoplane.entropy.log_determinants import entropy_of_sum
from infoplane.entropy.log_sums import LN2, LogSum, coarse_sum
from infoplane.entropy.solvers import solved
from infoplane.entropy.stochastic import Interval

PROBES = 6  # random vectors; more would not make the interval much narrower
_MISSED = 0.1  # part of 1 − confidence that R may take: an information has three entropies
_USUAL = 4 * torch.finfo(torch.float32).eps  # ‖R‖_F / ‖A‖_F is no less, but of matrices with next to no entries


def reduced_entropy(
    blocks: Sequence[torch.Tensor], alpha: float, tolerance: float, confidence: float, seed: int
) -> Interval | None:
    """S_α of a matrix given by its diagonal blocks, divided by its trace.

    Args:
        blocks: Symmetric positive semi-definite, (n_c, n_c) each; a single one is the matrix itself.
        alpha: Order α > 0.
        tolerance: Half-width in bits that is of use.
        confidence: Probability with which the interval is to cover; it does so more often.
        seed: Seed of the random vectors.

    Returns:
        The interval, bits; None where it would be wider than the tolerance, where a matrix is on a GPU, for orders
        outside 1 ≤ α < 2, without LAPACK's routines, and where rounding makes an eigenvalue of B too negative.
    """
    if not (1 <= alpha < LARGEST_ORDER and available()) or any(block.is_cuda for block in blocks):
        return None
    n, series = sum(map(len, blocks)), coarse_sum(alpha)
    share = _share(1 - confidence)
    trace = sum(float(block.diagonal().sum(dtype=torch.float64)) for block in blocks)
    norm = math.hypot(*(float(torch.linalg.vector_norm(block)) for block in blocks)) / trace

    def deviation(error: float) -> float:
        """Of Σ g(λ_i), where ‖R‖_F is `error`."""
        return series.deviation(n) + series.spread * math.sqrt(n) * error

    if deviation(_USUAL * norm / math.sqrt(share)) > tolerance * LN2:
        return None
    reductions = solved(lambda parts: [band_reduction(_single(part), overwrite=True) for part in parts], blocks)
    total = _sum([reduction.band for reduction in reductions], series)
    if total is None:
        return None
    error = _error(blocks, reductions, trace, seed) / math.sqrt(share)
    interval = _interval(total, deviation(error) + series.deviation_by_rounding(n), n, alpha)
    return interval if interval.halfwidth <= tolerance else None


def _single(block: torch.Tensor) -> NDArray:
    """A copy in single precision."""
    return block.to(torch.float32, copy=True).numpy()


def _sum(bands: Sequence[Band], series: LogSum) -> float | None:
    """Σ g(θ_i) over the eigenvalues θ of B, divided by its trace; None where one is below −t_1 / 2."""
    form = Blocks(bands)
    trace, squares = form.moments
    # The first one only has to be there.
    shifts = np.insert(series.shifts, 0, series.shifts[0] / 2)
    logs = form.log_determinants(shifts * trace) if trace > 0 else None
    return (
        None
        if logs is None
        else float(series.weights @ logs[1:]) + series.linear + series.square * squares / trace**2
    )


def _error(blocks: Sequence[torch.Tensor], reductions: Sequence[Reduction], trace: float, seed: int) -> float:
    """Root of the mean of ‖R z‖² over random vectors z."""
    generator, squares = torch.Generator().manual_seed(seed), 0.0
    trace_of_band = sum(reduction.band.moments[0] for reduction in reductions)
    for block, reduction in zip(blocks, reductions, strict=True):
        probes = torch.randn(PROBES, len(block), generator=generator, dtype=torch.float64)
        images = reduction.band.times(probes) / trace_of_band
        probes, images = reduction.rotated(torch.cat([probes, images])).split(PROBES)
        squares += float((probes @ block.double() / trace - images).square().sum())
    return math.sqrt(squares / PROBES)


def _interval(total: float, deviation: float, n: int, alpha: float) -> Interval:
    """The interval of the entropy from Σ g(λ_i) and what it may be off."""
    # The entropy of equal eigenvalues is the largest.
    most = math.log(n) if alpha == 1 else math.expm1((1 - alpha) * math.log(n)) / (1 - alpha)
    sums = torch.tensor([total - deviation, total, total + deviation], dtype=torch.float64).clamp(0, most)
    low, value, high = entropy_of_sum(sums, alpha).tolist()
    bound = max(high - value, value - low)
    return Interval(value, low, high, "statistical", PROBES, 0, bound, exact=False)


@functools.cache
def _share(missed: float) -> float:
    """The share s of ‖R‖²_F, below which the mean of the probes is seldom enough."""
    power = (_MISSED * missed) ** (2 / PROBES)
    return float(brentq(lambda share: share * math.exp(1 - share) - power, 0, 1))
