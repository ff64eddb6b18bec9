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
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from infoplane.entropy.forms import Form
from infoplane.entropy.lapack import Tridiagonal, log_determinants
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
    return entropies_by_determinants([form], n, alpha, single)[0]


def entropies_by_determinants(
    forms: Sequence[Form], n: int, alpha: float, single: bool = False
) -> list[float | None]:
    """The same of several matrices of one size: small ones take less time together.

    Args:
        forms: Their reduced forms.
        n: Their size.
        alpha: Order α > 0.
        single: The forms were made in single precision.
    """
    if not 1 <= alpha < LARGEST_ORDER:
        return [None] * len(forms)
    series = log_sum(alpha, exact=not single)
    return [_entropy(total, series, n, alpha, single) for total in _totals(forms, series)]


def _entropy(total: float | None, series: LogSum, n: int, alpha: float, single: bool) -> float | None:
    """The entropy from Σ g(λ_i), in bits; None where there is no sum or its error is too large."""
    if total is None:
        return None
    excess = (1 - alpha) * total  # tr A^α − 1
    if excess <= -1 or series.bound(n, 1 + excess) + series.rounding(n, 1 + excess) > (ROUGH if single else EXACT):
        return None
    bits = total / LN2 if alpha == 1 else math.log1p(excess) / ((1 - alpha) * LN2)
    return min(max(bits, 0.0), math.log2(n))


def _totals(forms: Sequence[Form], series: LogSum) -> list[float | None]:
    """Σ g(λ_i) of the eigenvalues divided by their sum; None where there is no Cholesky decomposition."""
    moments = [form.moments for form in forms]
    shifts = [series.shifts * trace for trace, _ in moments]
    is_sound = all(trace > 0 for trace, _ in moments)
    same = [form for form in forms if isinstance(form, Tridiagonal)]
    logarithms: Sequence[NDArray | None] | NDArray | None = None
    if is_sound and 1 < len(same) == len(forms):
        logarithms = log_determinants(same, np.stack(shifts))
    if logarithms is None:
        pairs = zip(forms, shifts, moments, strict=True)
        logarithms = [form.log_determinants(shift) if trace > 0 else None for form, shift, (trace, _) in pairs]
    return [
        None if logs is None else float(series.weights @ logs) + series.linear + series.square * squares / trace**2
        for logs, (trace, squares) in zip(logarithms, moments, strict=True)
    ]
