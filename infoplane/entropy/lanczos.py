"""Krylov tools behind the certified entropies: Ritz pairs with residuals, and quadrature rules of probes.

Golub and Meurant, "Matrices, Moments and Quadrature with Applications", Princeton University Press, 2010; Ubaru,
Chen and Saad, "Fast estimation of tr(f(A)) via stochastic Lanczos quadrature", SIAM J. Matrix Anal. Appl. 38(4),
2017. Products with the matrix run in its own precision (float32 is enough), everything small in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

Product = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Rule:
    """Quadrature rules, one per probe: Σ weights · f(nodes) stands for zᵀ f(A) z with a unit vector z.

    Attributes:
        nodes: (p, m) float64.
        weights: (p, m) float64, summing to 1 over m.
    """

    nodes: torch.Tensor
    weights: torch.Tensor

    def apply(self, f: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Σ weights · f(nodes) of each probe, (p,)."""
        return (self.weights * f(self.nodes)).sum(-1)

    def split(self, probes: int) -> list[Rule]:
        """The rules in groups of a number of probes."""
        return [Rule(*pair) for pair in zip(self.nodes.split(probes), self.weights.split(probes), strict=True)]


def ritz_pairs(
    product: Product, start: torch.Tensor, depth: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rayleigh–Ritz in the block Krylov space of a start block, with every residual measured.

    Args:
        product: Multiplies (n, p) by the symmetric matrix.
        start: Random block, (n, b), of the precision of the products.
        depth: Number of products; the space has b · depth dimensions.

    Returns:
        Ritz values (k,) descending, Ritz vectors (n, k), norms of A q − θ q (k,); float64, k = b · depth.
    """
    basis: list[torch.Tensor] = []
    images: list[torch.Tensor] = []
    block = start.to(torch.float64)
    for _ in range(depth):
        for _ in range(2):  # twice is enough for orthogonality at rounding level
            for q in basis:
                block = block - q @ (q.mT @ block)
            block = torch.linalg.qr(block).Q
        basis.append(block)
        block = product(block.to(start.dtype)).to(torch.float64)
        images.append(block)
    q, image = torch.cat(basis, 1), torch.cat(images, 1)
    compressed = q.mT @ image
    values, coordinates = torch.linalg.eigh((compressed + compressed.mT) / 2)
    values, coordinates = values.flip(0), coordinates.flip(1)
    vectors = q @ coordinates
    return values, vectors, torch.linalg.norm(image @ coordinates - vectors * values, dim=0)


class ProbeLanczos:
    """Lanczos recurrences of several start vectors side by side, each with one product per step for all.

    Args:
        product: Multiplies (n, p) by the symmetric matrix.
        starts: Unit vectors, (n, p), of the precision of the products.
    """

    def __init__(self, product: Product, starts: torch.Tensor) -> None:
        self.product = product
        self.basis = [starts]
        self.diagonal: list[torch.Tensor] = []
        self.beside: list[torch.Tensor] = []

    @property
    def steps(self) -> int:
        """Steps taken so far."""
        return len(self.diagonal)

    def advance(self, steps: int) -> None:
        """Takes further steps, with full reorthogonalisation within each probe's own basis."""
        for _ in range(steps):
            vector = self.basis[-1]
            image = self.product(vector)
            self.diagonal.append((vector * image).sum(0, dtype=torch.float64))
            size = image.norm(dim=0)
            stacked = torch.stack(self.basis)
            for _ in range(2):
                image = image - torch.einsum("mnp,mp->np", stacked, torch.einsum("mnp,np->mp", stacked, image))
            beta = image.norm(dim=0)
            # An exhausted Krylov space: the rule is exact, further nodes get weight 0.
            alive = beta > 10 * torch.finfo(image.dtype).eps * size
            beta = torch.where(alive, beta, 0.0)
            self.beside.append(beta.to(torch.float64))
            self.basis.append(torch.where(alive, image / beta, 0.0))

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
