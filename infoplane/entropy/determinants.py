"""Exact entropies without eigenvalues, by log-determinants of a reduced form.

The entropy is a sum of log-determinants of shifted matrices, see `infoplane.entropy.log_sums`, and a band or
tridiagonal form has each of them by one Cholesky decomposition. The search for eigenvalues is left out, which takes
a fifth of the time at n = 1,000 and a half at n = 100.

**Error.** The weights of the sum depend on α alone, and so does its largest error at any eigenvalue. It gives a
bound in bits for each matrix, to which rounding is added. Where this exceeds 1e-9 bit (from n = 25,000 on at α
= 1, sooner where tr A^α is small), and where rounding makes an eigenvalue so negative that there is no Cholesky
decomposition, the form gives its eigenvalues instead. From single precision a shorter sum is taken, and the
bound is 5e-6 bit, beside about 1e-6 bit of the reduction itself.
"""

from __future__ import annotations

import math

from infoplane.entropy.forms import Form
from infoplane.entropy.log_sums import LN2, LogSum, log_sum

LARGEST_ORDER = 2.0  # from there on the relative error of tr A^α counts, which logarithms do not bound
EXACT, ROUGH = 1e-9, 5e-6  # bits


def entropy_by_determinants(form: Form, n: int, alpha: float, single: bool = False) -> float | None:
    """S_α of a matrix of any trace without its eigenvalues, exact to 1e-9 bit.

    Args:
        form: Its reduced form.
        n: Its size.
        alpha: Order α > 0.
        single: The form was made in single precision; the bound is 5e-6 bit beyond the error of that.

    Returns:
        Entropy in bits, between 0 and log2 n; None where it takes eigenvalues: at other orders than 1 ≤ α < 2,
        above the bound of the error, without a Cholesky decomposition.
    """
    if not 1 <= alpha < LARGEST_ORDER:
        return None
    series = log_sum(alpha, exact=not single)
    total = _total(form, series)
    if total is None:
        return None
    excess = (1 - alpha) * total  # tr A^α − 1
    if excess <= -1 or series.bound(n, 1 + excess) + series.rounding(n, 1 + excess) > (ROUGH if single else EXACT):
        return None
    bits = total / LN2 if alpha == 1 else math.log1p(excess) / ((1 - alpha) * LN2)
    return min(max(bits, 0.0), math.log2(n))


def _total(form: Form, series: LogSum) -> float | None:
    """Σ g(λ_i) of the eigenvalues divided by their sum; None where there is no Cholesky decomposition."""
    trace, squares = form.moments
    logarithms = form.log_determinants(series.shifts * trace) if trace > 0 else None
    if logarithms is None:
        return None
    return float(series.weights @ logarithms) + series.linear + series.square * squares / trace**2
