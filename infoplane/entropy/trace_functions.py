"""Functions of a spectrum: the one whose trace gives the entropy, and polynomials that stand in for it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from infoplane.entropy.lanczos import Function, Rule
from infoplane.entropy.log_sums import LN2

GRID, GRID_WEIGHT = 32, 1e-4  # points that hold the polynomials, and the weight of each beside the spectrum's 1


@dataclass(frozen=True)
class Functional:
    """The function f whose trace gives the entropy of order α of an (n, n) matrix."""

    alpha: float
    n: int

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """−λ log2 λ; λ^α; near α = 1, λ^α − λ without cancellation."""
        logs = torch.log(torch.where(x > 0, x, 1.0))
        if self.alpha == 1:
            return -x * logs / LN2
        return x * torch.expm1((self.alpha - 1) * logs) if self.alpha < 1.5 else x**self.alpha

    def bits(self, total: float) -> float:
        """Entropy from tr f(A)."""
        if self.alpha == 1:
            return total
        least = math.log(self.n) * (1 - self.alpha)  # all eigenvalues equal
        if self.alpha < 1.5:
            return math.log1p(max(total, math.expm1(least))) / ((1 - self.alpha) * LN2)
        return math.log(max(total, math.exp(least))) / ((1 - self.alpha) * LN2)

    def rate(self, total: float) -> float:
        """Bits per unit of tr f(A) there."""
        if self.alpha == 1:
            return 1.0
        power = total + 1 if self.alpha < 1.5 else total
        return 1 / (abs(1 - self.alpha) * LN2 * max(power, self.n ** (1 - self.alpha)))

    def slope(self, values: torch.Tensor) -> float:
        """At most this many bits per unit of tr f(A); tr A^α is at least Σ θ^α of orthonormal Ritz vectors."""
        if self.alpha == 1:
            return 1.0
        least = max(self.n ** (1 - self.alpha), float((values**self.alpha).sum()))
        return 1 / ((self.alpha - 1) * LN2 * least)

    def pair_bounds(
        self, values: torch.Tensor, residuals: torch.Tensor, largest: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Bounds of qᵀ f(A) q from the mean θ and the variance ρ² of the spectral measure of q; ‖A‖ ≤ largest."""
        gauss = self(values)
        if self.alpha > 2:
            # Convex with a second derivative of at most α(α−1)‖A‖^(α−2).
            bend = self.alpha * (self.alpha - 1) * largest ** (self.alpha - 2)
            return gauss, gauss + residuals**2 / 2 * bend
        far = values + residuals**2 / values
        radau = values / far * self(far)
        return torch.minimum(gauss, radau), torch.maximum(gauss, radau)


@dataclass(frozen=True)
class Polynomial:
    """Σ coefficients[k] · T_k of Chebyshev polynomials on [0, scale]."""

    coefficients: NDArray
    scale: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Its values."""
        values = chebyshev.chebval(2 * x.cpu().numpy() / self.scale - 1, self.coefficients)
        return torch.from_numpy(values).to(x.device)

    @classmethod
    def fit(cls, f: Function, rules: list[Rule], degree: int, scale: float) -> Polynomial:
        """The best one for f over the spectrum that probes saw, held over all of [0, scale] by a few points."""
        nodes = np.concatenate([rule.nodes.flatten().cpu().numpy() for rule in rules])
        weights = np.concatenate([rule.weights.flatten().cpu().numpy() for rule in rules])
        grid = scale * (1 + chebyshev.chebpts2(GRID)) / 2
        nodes = np.concatenate([nodes, grid])
        roots = np.sqrt(np.concatenate([weights, np.full(GRID, GRID_WEIGHT * weights.sum())]))
        values = f(torch.from_numpy(nodes)).numpy() * roots
        basis = chebyshev.chebvander(2 * nodes / scale - 1, degree) * roots[:, None]
        return cls(np.linalg.lstsq(basis, values, rcond=None)[0], scale)

    def powers(self) -> NDArray:
        """Its coefficients of x^k; with the moments tr A^k they give the trace."""
        series = chebyshev.Chebyshev(self.coefficients, domain=[0, self.scale])
        return series.convert(kind=np.polynomial.Polynomial, domain=[-1, 1]).coef


@dataclass(frozen=True)
class Squared:
    """(f − g)²."""

    f: Function
    g: Function

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Its values."""
        return (self.f(x) - self.g(x)) ** 2
