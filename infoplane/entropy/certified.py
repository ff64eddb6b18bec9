"""Entropies with an interval, by what takes least time: exactly, by a reduction in single precision, or by probes.

`infoplane.entropy.reduced` and `infoplane.entropy.stochastic` say how; benchmarks/coverage.py measures how often
the intervals cover. Operations decide, not clocks, so that a matrix always goes the same way.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from infoplane.entropy.differentiable import POLYNOMIAL
from infoplane.entropy.exact import class_blocks, class_joint_entropy, joint_entropy, renyi_entropy
from infoplane.entropy.reduced import reduced_entropy
from infoplane.entropy.stochastic import Estimate, Interval, Operator
from infoplane.entropy.stripes import square, stripes, times

SMALL = 512  # below, exact is as fast
PRODUCTS = 300  # with vectors, that probes usually take
SLOWNESS = 3.5  # of an operation in products with a few vectors, beside one in products of matrices


def certified_entropy(
    A: Any | Operator, alpha: float = 1.0, tolerance: float = 5e-3, confidence: float = 0.99, seed: int = 0
) -> Interval:
    """S_α(A) with an interval of half-width at most `tolerance`, exact where that is as cheap.

    Exact for n ≤ 512, α < 1 (tiny eigenvalues count there, products cannot see them), small integer α, and
    where the probes would cost more than eigenvalues. From a reduction in single precision up to n = 1,575, where
    1 ≤ α < 2 and its bound is within the tolerance. An `Operator` without a way to the exact value may end with a
    wider interval instead.

    Args:
        A: Normalised Gram matrix, (n, n) array or tensor, or an `Operator`.
        alpha: Order α > 0.
        tolerance: Half-width of the interval that is aimed at, bits.
        confidence: Probability with which the interval is to cover.
        seed: Seed of the probes.

    Returns:
        The interval, bits.
    """
    if isinstance(A, Operator):
        if alpha < 1:
            raise ValueError(f"orders below 1 need the matrix itself, not products with it (alpha {alpha})")
        return Estimate(A, alpha, tolerance, confidence, seed).run()
    matrix = torch.as_tensor(A).detach()
    return _certified(
        [len(matrix)],
        lambda: [matrix],
        lambda direct: _dense([matrix], direct),
        lambda: float(renyi_entropy(matrix, alpha)),
        (alpha, tolerance, confidence, seed),
    )


def certified_joint_entropy(
    *matrices: Any, alpha: float = 1.0, tolerance: float = 5e-3, confidence: float = 0.99, seed: int = 0
) -> Interval:
    """S_α of the Hadamard product, formed once; arguments as for `certified_entropy`."""
    tensors = [torch.as_tensor(matrix).detach() for matrix in matrices]
    return _certified(
        [len(tensors[0])],
        lambda: [functools.reduce(torch.mul, tensors[1:], tensors[0].double())],
        lambda direct: _dense(tensors, direct),
        lambda: float(joint_entropy(*tensors, alpha=alpha)),
        (alpha, tolerance, confidence, seed),
    )


def certified_class_joint_entropy(
    A: Any, labels: Any, alpha: float = 1.0, tolerance: float = 5e-3, confidence: float = 0.99, seed: int = 0
) -> Interval:
    """S_α(T, Y) by class blocks (constant diagonal of A asked for); arguments as for `certified_entropy`."""
    matrix = torch.as_tensor(A).detach()
    sizes = np.unique(np.asarray(torch.as_tensor(labels).cpu()), return_counts=True)[1].tolist()

    def operator(direct: Callable[[], Interval]) -> Operator:
        blocks = class_blocks(matrix, labels)
        norm = sum(square(block) for block in blocks)
        blocks = [block.to(torch.float32) for block in blocks]

        def product(x: torch.Tensor) -> torch.Tensor:
            return torch.cat([times(part, block) for block, part in zip(blocks, x.split(sizes, 1), strict=True)], 1)

        return Operator(product, len(matrix), norm, blocks[0], direct)

    return _certified(
        sizes,
        lambda: class_blocks(matrix, labels),
        operator,
        lambda: class_joint_entropy(matrix, labels, alpha),
        (alpha, tolerance, confidence, seed),
    )


def _certified(
    sizes: Sequence[int],
    blocks: Callable[[], Sequence[torch.Tensor]],
    operator: Callable[[Callable[[], Interval]], Operator],
    exact: Callable[[], float],
    wanted: tuple[float, float, float, int],
) -> Interval:
    """The interval of a matrix made of diagonal blocks, by what takes least time.

    Args:
        sizes: Those of the blocks; a single one is the matrix itself.
        blocks: Makes them.
        operator: Makes the products, from what finds the interval without them.
        exact: Computes the entropy exactly.
        wanted: Order, tolerance, confidence and seed.
    """
    alpha = wanted[0]
    # No eigenvalues needed, or few; below order 1 the bounds fail.
    if max(sizes) <= SMALL or alpha < 1 or alpha in POLYNOMIAL:
        return Interval.of_exact(exact())

    def direct() -> Interval:
        return reduced_entropy(blocks(), *wanted) or Interval.of_exact(exact())

    reduction = 4 / 3 * sum(n**3 for n in sizes)
    if reduction <= SLOWNESS * PRODUCTS * 2 * sum(n**2 for n in sizes):
        return direct()
    return Estimate(operator(direct), *wanted).run()


def certified_mutual_information(
    A: Any, B: Any, alpha: float = 1.0, tolerance: float = 5e-3, confidence: float = 0.99, seed: int = 0
) -> Interval:
    """I_α(A;B) from three intervals with independent probes; arguments as for `certified_entropy`.

    Bounds add up; the statistical parts add in squares, as independent ones do.
    """
    part = tolerance / 2  # three statistical parts of tolerance / 2 add to less than it
    terms = [
        certified_entropy(A, alpha, part, confidence, 3 * seed),
        certified_entropy(B, alpha, part, confidence, 3 * seed + 1),
        certified_joint_entropy(A, B, alpha=alpha, tolerance=part, confidence=confidence, seed=3 * seed + 2),
    ]
    return combine(terms, [1, 1, -1])


def combine(terms: list[Interval], signs: list[int]) -> Interval:
    """The interval of a signed sum of independent intervals."""
    value = sum(sign * term.value for sign, term in zip(signs, terms, strict=True))
    if all(term.exact for term in terms):
        return Interval.of_exact(value)
    bound = sum(term.bound for term in terms)
    sides = [
        (term.value - term.low, term.high - term.value)[::sign] for sign, term in zip(signs, terms, strict=True)
    ]
    downs, ups = ([side[end] for side in sides] for end in (0, 1))

    def reach(lengths: list[float]) -> float:
        statistical = [max(length - term.bound, 0.0) for length, term in zip(lengths, terms, strict=True)]
        return bound + math.hypot(*statistical)

    return Interval(
        value,
        value - reach(downs),
        value + reach(ups),
        "statistical",
        sum(term.probes for term in terms),
        max(term.steps for term in terms),
        bound,
        exact=False,
    )


def _dense(matrices: list[torch.Tensor], direct: Callable[[], Interval] | None = None) -> Operator:
    """The (Hadamard product of the) matrices as a float32 operator, its upper triangle; ‖·‖²_F in float64."""
    n = len(matrices[0])
    product = torch.empty(n, n, dtype=torch.float32, device=matrices[0].device)
    norm = trace = 0.0
    for rows in stripes(n, product.device):
        stripe = matrices[0][rows, rows.start :].double()
        for matrix in matrices[1:]:
            # n·A has unit entries on the diagonal.
            stripe = (stripe * matrix[rows, rows.start :]).mul_(n)
        norm += square(stripe)
        trace += float(stripe.diagonal().sum())
        product[rows, rows.start :] = stripe
    if len(matrices) > 1:
        product /= trace
    return Operator(lambda x: times(x, product), n, norm / trace**2, product, direct)
