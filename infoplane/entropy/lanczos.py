"""Krylov tools behind the certified entropies: Ritz pairs with residuals, and quadrature rules of probes.

Golub and Meurant, "Matrices, Moments and Quadrature with Applications", Princeton University Press, 2010; Ubaru,
Chen and Saad, "Fast estimation of tr(f(A)) via stochastic Lanczos quadrature", SIAM J. Matrix Anal. Appl. 38(4),
2017. Products with the matrix run in its own precision (float32 is enough), everything small in float64. Vectors
are rows, so that each lies in one piece of memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

Function = Callable[[torch.Tensor], torch.Tensor]
Product = Function
_ROOM = 24  # Lanczos vectors for which there is room at first


@dataclass(frozen=True)
class Rule:
    """Quadrature rules, one per probe: Σ weights · f(nodes) stands for zᵀ f(A) z with a unit vector z.

    Attributes:
        nodes: (p, m) float64.
        weights: (p, m) float64, summing to 1 over m.
    """

    nodes: torch.Tensor
    weights: torch.Tensor

    def apply(self, f: Function) -> torch.Tensor:
        """Σ weights · f(nodes) of each probe, (p,)."""
        return (self.weights * f(self.nodes)).sum(-1)

    def up_to(self, largest: float) -> Rule:
        """The same without the weight of nodes beyond."""
        return Rule(self.nodes.clamp(max=largest), torch.where(self.nodes <= largest, self.weights, 0.0))

    def split(self, probes: int) -> list[Rule]:
        """The rules in groups of a number of probes."""
        return [Rule(*pair) for pair in zip(self.nodes.split(probes), self.weights.split(probes), strict=True)]


def ritz_pairs(
    product: Product, start: torch.Tensor, depth: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rayleigh–Ritz in the block Krylov space of a start block, with every residual measured.

    Args:
        product: Multiplies the rows of (p, n) by the symmetric matrix.
        start: Random block, (b, n), of the precision of the products.
        depth: Number of products; the space has b · depth dimensions.

    Returns:
        Ritz values (k,) descending, Ritz vectors (k, n), norms of A q − θ q (k,); float64, k = b · depth.
    """
    b, n = start.shape
    q, image = start.new_empty(2, b * depth, n, dtype=torch.float64)
    block = start.to(torch.float64)
    for first in range(0, b * depth, b):
        known = q[:first]
        for _ in range(2):  # twice is enough for orthogonality at rounding level
            block = torch.linalg.qr((block - (block @ known.mT) @ known).mT).Q.mT
        q[first : first + b] = block
        block = image[first : first + b] = product(block.to(start.dtype)).to(torch.float64)
    compressed = q @ image.mT
    values, coordinates = torch.linalg.eigh((compressed + compressed.mT) / 2)
    values, coordinates = values.flip(0), coordinates.flip(1).mT
    vectors = coordinates @ q
    residuals = torch.linalg.norm((coordinates @ image).sub_(vectors * values[:, None]), dim=1)
    return values, vectors, residuals


class ProbeLanczos:
    """Lanczos recurrences of several start vectors side by side, each with one product per step for all.

    Args:
        product: Multiplies the rows of (p, n) by the symmetric matrix.
        starts: Unit vectors, (p, n), of the precision of the products.
    """

    def __init__(self, product: Product, starts: torch.Tensor) -> None:
        self.product = product
        self.basis = starts.new_empty(len(starts), _ROOM, starts.shape[1])
        self.basis[:, 0] = starts
        self.diagonal: list[torch.Tensor] = []
        self.beside: list[torch.Tensor] = []

    @property
    def steps(self) -> int:
        """Steps taken so far."""
        return len(self.diagonal)

    def advance(self, steps: int) -> None:
        """Takes further steps, with full reorthogonalisation within each probe's own basis."""
        for _ in range(steps):
            taken = self.steps + 1
            if taken == self.basis.shape[1]:
                self.basis = torch.cat([self.basis, torch.empty_like(self.basis)], 1)
            vector, known = self.basis[:, taken - 1], self.basis[:, :taken]
            image = self.product(vector)
            middle = (vector * image).sum(1, keepdim=True, dtype=torch.float64)
            self.diagonal.append(middle[:, 0])
            size = image.norm(dim=1)
            # The recurrence takes off what is large; a pass over the whole basis then takes off its rounding.
            image = image - middle.to(image.dtype) * vector
            if taken > 1:
                image -= self.beside[-1][:, None].to(image.dtype) * self.basis[:, taken - 2]
            image = image - ((known @ image[:, :, None]).mT @ known)[:, 0]
            beta = image.norm(dim=1)
            # An exhausted Krylov space: the rule is exact, further nodes get weight 0.
            alive = beta > 10 * torch.finfo(image.dtype).eps * size
            beta = torch.where(alive, beta, 0.0)
            self.beside.append(beta.to(torch.float64))
            self.basis[:, taken] = torch.where(alive[:, None], image / beta[:, None], 0.0)

    def gauss(self) -> Rule:
        """Gauss rules: exact for polynomials up to degree 2m − 1."""
        return _rule(*self._coefficients())

    def radau(self) -> Rule:
        """Gauss–Radau rules with a node at 0: exact up to degree 2m."""
        diagonal, beside = self._coefficients()
        values, vectors = torch.linalg.eigh(_tridiagonal(diagonal, beside))
        inverse = (vectors[:, -1] ** 2 / values.clamp(min=1e-14)).sum(-1)
        last = self.beside[-1]
        diagonal = torch.cat([diagonal, (last**2 * inverse)[:, None]], 1)
        return _rule(diagonal, torch.cat([beside, last[:, None]], 1))

    def _coefficients(self) -> tuple[torch.Tensor, torch.Tensor]:
        diagonal = torch.stack(self.diagonal, 1)
        beside = torch.stack(self.beside, 1)[:, :-1]
        return diagonal, beside


def _tridiagonal(diagonal: torch.Tensor, beside: torch.Tensor) -> torch.Tensor:
    return torch.diag_embed(diagonal) + torch.diag_embed(beside, 1) + torch.diag_embed(beside, -1)


def _rule(diagonal: torch.Tensor, beside: torch.Tensor) -> Rule:
    values, vectors = torch.linalg.eigh(_tridiagonal(diagonal, beside))
    # Rounding may push a Ritz value of a positive semi-definite matrix below zero.
    return Rule(values.clamp(min=0.0), vectors[:, 0] ** 2)
