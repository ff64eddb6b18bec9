"""A sum of logarithms in the place of the function whose sum over eigenvalues gives the entropy.

S_α needs Σ_i g(λ_i) of the function g(x) = −x ln x, or (x − x^α) / (α − 1), and no eigenvalue by itself. On [0, 1]
this function is, to a known error, a sum of logarithms and powers,

    g(x) ≈ Σ_j w_j ln(1 + x / t_j) + c_1 x + c_2 x²,

as ∫ ln(1 + x/t) dt is −x ln x up to a linear term. So Σ_i g(λ_i) of A with trace 1 is
Σ_j w_j ln det(I + A / t_j) + c_1 + c_2 ‖A‖².
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

LN2 = math.log(2)
# Terms, the least and the largest shift; of orders below 1.25, and above, where tiny eigenvalues matter less.
EXACT = (40, 1e-13, 10.0), (40, 1e-9, 10.0)
ROUGH = (20, 1e-10, 3.0), (24, 1e-9, 8.0)
COARSE = 10, 5e-7, 3.0  # of all orders, where an interval says what is left
SMALL, COARSE_SMALL = 1e-4, 1e-3  # errors of g at x are weighed against x + this
LEAST = 1e-18  # of the points at which errors are measured; below, g and the sum are less than 1e-16
GRID = 6000
_ROUNDINGS = 4 * np.finfo(np.float64).eps  # of each log-determinant, times n


@dataclass(frozen=True)
class LogSum:
    """A sum of logarithms and powers in the place of g on [0, 1].

    Attributes:
        alpha: Order α, at least 1 and below 2.
        shifts: t_j, (m,), rising.
        weights: w_j, (m,).
        linear: c_1.
        square: c_2.
        error: Largest error of the sum at x, over x + `small`, on [0, 1].
        small: What that is.
    """

    alpha: float
    shifts: NDArray[np.float64]
    weights: NDArray[np.float64]
    linear: float
    square: float
    error: float
    small: float = SMALL

    def bound(self, n: int, power: float | None = None) -> float:
        """The entropy of a matrix (n, n) is off by no more than this, rounding apart, in bits.

        Σ_i |error(λ_i)| ≤ error · (1 + n · small) for every spectrum, and dS = dG / (ln 2 · tr A^α).

        Args:
            n: Size of the matrix.
            power: tr A^α; None takes the least that it can be, n^(1−α).
        """
        power = n ** (1 - self.alpha) if power is None else power
        return self.deviation(n) / (power * LN2)

    def deviation(self, n: int) -> float:
        """Σ_i g(λ_i) of an (n, n) matrix of trace 1 is off by no more than this."""
        return self.error * (1 + n * self.small)

    @cached_property
    def spread(self) -> float:
        """Half the range of the sum's derivative on [−t_1 / 2, 1].

        Σ_i |sum(λ_i) − sum(θ_i)| ≤ spread · Σ_i |λ_i − θ_i| for numbers λ and θ there of the same total, of which a
        constant part of the derivative takes no notice.
        """
        below = -np.geomspace(self.shifts[0] / 2, LEAST, GRID)
        x = np.concatenate([below, [0.0], np.geomspace(LEAST, 1, GRID)])
        slopes = (self.weights / (self.shifts + x[:, None])).sum(1) + self.linear + 2 * self.square * x
        return float(slopes.max() - slopes.min()) / 2

    def rounding(self, n: int, power: float) -> float:
        """What rounding adds at most, in bits, where log-determinants are off by 4 n units in the last place."""
        return self.deviation_by_rounding(n) / (power * LN2)

    def deviation_by_rounding(self, n: int) -> float:
        """Of Σ_i g(λ_i), where log-determinants are off by 4 n units in the last place."""
        return _ROUNDINGS * n * float(np.abs(self.weights).sum())


@cache
def log_sum(alpha: float, *, exact: bool = True) -> LogSum:
    """The sum for an order, by least squares on a logarithmic grid.

    Args:
        alpha: Order α, at least 1 and below 2.
        exact: 40 terms (entropies to 1e-9 bit up to n = 10,000 and order 1.1), or 20 to 24 (to 5e-6 bit).
    """
    return _fitted(alpha, *(EXACT if exact else ROUGH)[alpha >= 1.25], SMALL)


@cache
def coarse_sum(alpha: float) -> LogSum:
    """The sum of 10 terms for an order, entropies to 3e-4 bit at n = 1,000: for spectra with errors of 1e-7."""
    return _fitted(alpha, *COARSE, COARSE_SMALL)


def _fitted(alpha: float, terms: int, least: float, largest: float, small: float) -> LogSum:
    shifts = np.geomspace(least, largest, terms)

    def columns(x: NDArray) -> NDArray:
        return np.stack([*(np.log1p(x / shift) for shift in shifts), x, x**2], 1)

    x = np.geomspace(LEAST, 1, GRID)
    weighted = columns(x) / (x + small)[:, None]
    scale = np.linalg.norm(weighted, axis=0)
    solution = np.linalg.lstsq(weighted / scale, part(x, alpha) / (x + small), rcond=1e-16)[0] / scale
    # Between the points that it was made from.
    x = np.geomspace(LEAST, 1, 4 * GRID + 1)
    error = np.abs(columns(x) @ solution - part(x, alpha)) / (x + small)
    return LogSum(alpha, shifts, solution[:-2], float(solution[-2]), float(solution[-1]), float(error.max()), small)


def part(x: NDArray, alpha: float) -> NDArray:
    """g(x), what an eigenvalue x > 0 adds."""
    logs = np.log(x)
    return np.asarray(-x * logs if alpha == 1 else -x * np.expm1((alpha - 1) * logs) / (alpha - 1))
