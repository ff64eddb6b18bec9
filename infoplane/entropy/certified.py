"""Entropies of large matrices by stochastic Lanczos quadrature, with an interval, in O(n²) per product.

Any orthonormal Q with P = I − Q Qᵀ splits tr f(A) = tr(Qᵀ f(A) Q) + tr(P f(A) P) exactly, whether or not Q spans an
invariant subspace (Meyer, Musco, Musco and Woodruff, "Hutch++", SOSA 2021). So deflation leaves no bias here:

1. Q: Ritz vectors of a block Krylov space. One with Ritz value θ and residual norm ρ sees a spectral measure of
   mean θ and variance ρ², so that Gauss and Gauss–Radau rules bound qᵀ f(A) q: a *bound*. Only vectors whose
   bounds nearly meet are locked.
2. The rest by random probes in the complement of Q, each bracketed by Gauss and Gauss–Radau at 0: a *bound*
   again.
3. Control variates: tr A, ‖A‖²_F and n are known exactly and so are their parts in Q; probes only see what a
   quadratic polynomial leaves of f. Its coefficients are fitted on other probes than those it serves, which
   keeps the mean right.
4. The mean over the probes: a *statistical* interval, Student's t with the larger of two variances, the
   sample's and the one that the rules give for f² (each probe alone estimates it, so that few probes do not
   underestimate it).

Products run in float32, ‖A‖²_F and all small algebra in float64. The interval is widened by an *allowance* for the
rounding of float32, an estimate of its size and no proven bound. benchmarks/coverage.py measures how often
intervals cover.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import norm
from scipy.stats import t as student

from infoplane.entropy.differentiable import POLYNOMIAL
from infoplane.entropy.exact import CHUNK_ROWS, class_blocks, class_joint_entropy, joint_entropy, renyi_entropy
from infoplane.entropy.lanczos import ProbeLanczos, Product, Rule, ritz_pairs
from infoplane.entropy.spectrum import LN2

SMALL = 512  # below, exact is as fast
BLOCK, DEPTH = 16, 8  # of the Krylov space that is deflated: deep beats wide
PROBES = 16  # drawn at once; each half is fitted on another half
FIRST_STEPS, MORE_STEPS, MOST_STEPS = 8, 4, 60
LOCK_SHARE, GAP_SHARE = 0.1, 0.3  # parts of the tolerance that the bounds may take
ROUNDING = 8 * torch.finfo(torch.float32).eps  # relative error allowed for in what float32 products give
VISIBLE = 3e-6  # part of ‖A‖²_F that must be left outside Q for rounding not to swallow it
BUDGET = 1.5  # products per sample beyond which exact eigenvalues are cheaper


Function = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Interval:
    """An entropy or information in bits and where it lies.

    Attributes:
        value: The estimate.
        low: Lower end.
        high: Upper end.
        kind: "exact" (up to rounding; low = value = high) or "statistical" (covers with the asked confidence).
        probes: Random probes spent.
        steps: Lanczos steps of each.
        bound: Half the width that quadrature and deflation bounds take, bits; the rest of the width is statistical.
        exact: Whether the value was computed exactly.
    """

    value: float
    low: float
    high: float
    kind: str
    probes: int
    steps: int
    bound: float
    exact: bool

    @classmethod
    def of_exact(cls, value: float) -> Interval:
        """An exact value."""
        return cls(value, value, value, "exact", 0, 0, 0.0, True)


@dataclass(frozen=True)
class Operator:
    """A symmetric positive semi-definite matrix of trace 1, known by its products.

    Attributes:
        product: Multiplies (n, p) by it.
        n: Size.
        square: ‖A‖²_F; None where unknown (one control variate less).
        like: Any tensor of the dtype and device that `product` takes.
        exact: Computes the entropy exactly; None where only products are known.
        share: Cost of a product beside that of a dense (n, n) matrix.
    """

    product: Product
    n: int
    square: float | None
    like: torch.Tensor
    exact: Callable[[], float] | None = None
    share: float = 1.0


def certified_entropy(
    A: Any | Operator, alpha: float = 1.0, tolerance: float = 5e-3, confidence: float = 0.99, seed: int = 0
) -> Interval:
    """S_α(A) with an interval of half-width at most `tolerance`, exact where that is as cheap.

    Exact for n ≤ 512, α < 1 (tiny eigenvalues count there, products cannot see them), small integer α, and
    where the probes would cost more than eigenvalues. An `Operator` without a way to the exact value may end with a wider
    interval instead.

    Args:
        A: Normalised Gram matrix, (n, n) array or tensor, or an `Operator`.
        alpha: Order α > 0.
        tolerance: Half-width of the interval that is aimed at, bits.
        confidence: Probability with which the interval is to cover.
        seed: Seed of the probes.

    Returns:
        The interval, bits.
    """
    operator = A if isinstance(A, Operator) else _dense([torch.as_tensor(A).detach()], alpha)
    # Cheap and exact: no eigenvalues needed, or few; below order 1 the bounds fail.
    if operator.exact and (operator.n <= SMALL or alpha < 1 or alpha in POLYNOMIAL):
        return Interval.of_exact(operator.exact())
    if alpha < 1:
        raise ValueError(f"orders below 1 need the matrix itself, not products with it (alpha {alpha})")
    return _Estimate(operator, alpha, tolerance, confidence, seed).run()


def certified_joint_entropy(
    *matrices: Any, alpha: float = 1.0, tolerance: float = 5e-3, confidence: float = 0.99, seed: int = 0
) -> Interval:
    """S_α of the Hadamard product, formed once in float32; arguments as for `certified_entropy`."""
    operator = _dense([torch.as_tensor(matrix).detach() for matrix in matrices], alpha)
    return certified_entropy(operator, alpha, tolerance, confidence, seed)


def certified_class_joint_entropy(
    A: Any, labels: Any, alpha: float = 1.0, tolerance: float = 5e-3, confidence: float = 0.99, seed: int = 0
) -> Interval:
    """S_α(T, Y) by class blocks (constant diagonal of A asked for); arguments as for `certified_entropy`."""
    matrix = torch.as_tensor(A).detach()
    blocks = class_blocks(matrix, labels)
    square = sum(_square(block) for block in blocks)
    sizes = [len(block) for block in blocks]
    blocks = [block.to(torch.float32) for block in blocks]

    def product(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([block @ part for block, part in zip(blocks, x.split(sizes), strict=True)])

    operator = Operator(
        product,
        len(matrix),
        square,
        blocks[0],
        lambda: class_joint_entropy(matrix, labels, alpha),
        sum(size**2 for size in sizes) / len(matrix) ** 2,
    )
    # Eigenvalues of small blocks are cheaper than any probe.
    if max(sizes) <= SMALL:
        return Interval.of_exact(class_joint_entropy(matrix, labels, alpha))
    return certified_entropy(operator, alpha, tolerance, confidence, seed)


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
    bound = sum(term.bound for term in terms)
    sides = [
        (term.value - term.low, term.high - term.value)[::sign] for sign, term in zip(signs, terms, strict=True)
    ]
    downs, ups = ([side[end] for side in sides] for end in (0, 1))

    def reach(lengths: list[float]) -> float:
        statistical = [max(length - term.bound, 0.0) for length, term in zip(lengths, terms, strict=True)]
        return bound + math.hypot(*statistical)

    exact = all(term.exact for term in terms)
    return Interval(
        value,
        value - reach(downs),
        value + reach(ups),
        "exact" if exact else "statistical",
        sum(term.probes for term in terms),
        max(term.steps for term in terms),
        bound,
        exact,
    )


class _Estimate:
    """One run of the estimator; see the module's docstring for the parts."""

    def __init__(self, operator: Operator, alpha: float, tolerance: float, confidence: float, seed: int) -> None:
        self.operator, self.alpha, self.tolerance, self.confidence = operator, alpha, tolerance, confidence
        self.generator = torch.Generator().manual_seed(seed)
        self.products = 0
        self.steps = 0
        self.rules: list[tuple[Rule, Rule]] = []

    def run(self) -> Interval:
        """Deflates, then draws batches of probes until the tolerance is met or exact is cheaper."""
        self._deflate()
        while True:
            self._probe()
            found = self._interval()
            width = max(found.high - found.value, found.value - found.low)
            if width <= self.tolerance:
                return found
            # Halving the width takes four times the probes.
            missing = found.probes * self.steps * ((width / self.tolerance) ** 2 - 1)
            if self.products + missing > BUDGET * self.operator.n:
                return Interval.of_exact(self.operator.exact()) if self.operator.exact else found

    def _product(self, x: torch.Tensor) -> torch.Tensor:
        self.products += x.shape[1]
        return self.operator.product(x)

    def _normal(self, columns: int) -> torch.Tensor:
        drawn = torch.randn(self.operator.n, columns, generator=self.generator, dtype=torch.float64)
        return drawn.to(self.operator.like.device)

    def f(self, x: torch.Tensor) -> torch.Tensor:
        """The function whose trace gives the entropy: −λ log2 λ; λ^α; near α = 1, λ^α − λ without cancellation."""
        logs = torch.log(torch.where(x > 0, x, 1.0))
        if self.alpha == 1:
            return -x * logs / LN2
        return x * torch.expm1((self.alpha - 1) * logs) if self.alpha < 1.5 else x**self.alpha

    def bits(self, total: float) -> float:
        """Entropy from tr f(A)."""
        if self.alpha == 1:
            return total
        least = math.log(self.operator.n) * (1 - self.alpha)  # all eigenvalues equal
        if self.alpha < 1.5:
            return math.log1p(max(total, math.expm1(least))) / ((1 - self.alpha) * LN2)
        return math.log(max(total, math.exp(least))) / ((1 - self.alpha) * LN2)

    def _slope(self, values: torch.Tensor) -> float:
        """At most this many bits per unit of tr f(A); tr A^α is at least Σ θ^α of orthonormal Ritz vectors."""
        if self.alpha == 1:
            return 1.0
        least = max(self.operator.n ** (1 - self.alpha), float((values**self.alpha).sum()))
        return 1 / ((self.alpha - 1) * LN2 * least)

    def _deflate(self) -> None:
        block = min(BLOCK, self.operator.n // (2 * DEPTH))
        start = self._normal(block).to(self.operator.like.dtype)
        values, vectors, residuals = ritz_pairs(self._product, start, DEPTH)
        values = values.clamp(min=1e-300)
        low, high = self._pair_bounds(values, residuals)
        gaps = high - low
        order = torch.argsort(gaps)
        fits = torch.cumsum(gaps[order], 0) * self._slope(values) <= LOCK_SHARE * self.tolerance
        locked = order[fits]
        self.locked = vectors[:, locked]
        self.low, self.high = float(low[locked].sum()), float(high[locked].sum())
        self.size = float(self.f(values[locked]).abs().sum())
        moments = values[locked], values[locked] ** 2 + residuals[locked] ** 2
        square = self.operator.square
        self.free = self.operator.n - len(locked)
        # tr P, tr P A P and tr P A² P, and what float32 leaves uncertain in them.
        self.moments, self.unsure = [float(self.free)], [0.0]
        for whole, inside in zip((1.0, square), moments, strict=True):
            if whole is None or (len(self.moments) > 1 and whole - float(inside.sum()) < VISIBLE * whole):
                break
            self.moments.append(max(whole - float(inside.sum()), 0.0))
            self.unsure.append(ROUNDING * float(inside.sum()))

    def _pair_bounds(self, values: torch.Tensor, residuals: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Bounds of qᵀ f(A) q from the mean θ and the variance ρ² of the spectral measure of q."""
        gauss = self.f(values)
        if self.alpha > 2:
            # Convex with a second derivative of at most α(α−1)‖A‖^(α−2).
            norm_bound = min(1.0, math.sqrt(self.operator.square or 1.0))
            bend = self.alpha * (self.alpha - 1) * norm_bound ** (self.alpha - 2)
            return gauss, gauss + residuals**2 / 2 * bend
        far = values + residuals**2 / values
        radau = values / far * self.f(far)
        return torch.minimum(gauss, radau), torch.maximum(gauss, radau)

    def _probe(self) -> None:
        """One batch of probes, uniform on the unit sphere of the complement."""
        starts = self._normal(PROBES)
        for _ in range(2):
            starts = starts - self.locked @ (self.locked.mT @ starts)
        starts = (starts / starts.norm(dim=0)).to(self.operator.like.dtype)
        lanczos = ProbeLanczos(self._product, starts)
        lanczos.advance(min(self.steps or self._first(), self.operator.n - 1))
        if not self.rules:
            while (
                lanczos.steps < min(MOST_STEPS, self.operator.n - 1)
                and self._gap(lanczos) > GAP_SHARE * self.tolerance
            ):
                lanczos.advance(MORE_STEPS)
            self.steps = lanczos.steps
        halves = zip(lanczos.gauss().split(PROBES // 2), lanczos.radau().split(PROBES // 2), strict=True)
        self.rules.extend(halves)

    def _first(self) -> int:
        # The signs of the derivatives that make the bounds alternate from order α on.
        return max(FIRST_STEPS, math.ceil(self.alpha / 2) + 1)

    def _gap(self, lanczos: ProbeLanczos) -> float:
        """Half the mean gap between the two rules, bits."""
        sums = [
            self.free * float(rule.apply(self.f).mean()) + self.low for rule in (lanczos.gauss(), lanczos.radau())
        ]
        return abs(self.bits(sums[0]) - self.bits(sums[1])) / 2

    def _interval(self) -> Interval:
        fits = [self._fit(rules) for rules in self.rules]
        lows, highs, squares = [], [], []
        for index, (gauss, radau) in enumerate(self.rules):
            # Every half batch is fitted on another one: the first on the second, all others on the first.
            rest, known, _ = fits[1 if index == 0 else 0]
            sides = self.free * gauss.apply(rest), self.free * radau.apply(rest)
            lows.append(torch.minimum(*sides) + known)
            highs.append(torch.maximum(*sides) + known)
            squares.append(self.free * Rule(rest(gauss.nodes), gauss.weights).apply(torch.square))
        low, high, square = torch.cat(lows), torch.cat(highs), torch.cat(squares)
        middle = (low + high) / 2
        # Variance of zᵀHz for z uniform on the sphere of radius √d: at most 2d/(d+2) ‖H‖²_F.
        variance = max(float(middle.var()), 2 * self.free / (self.free + 2) * float(square.mean()))
        error = _quantile(self.confidence, len(middle)) * math.sqrt(variance / len(middle))
        ends = float(low.mean()) + self.low, float(high.mean()) + self.high
        allowance = max(unsure for _, _, unsure in fits) + ROUNDING * (self.size + abs(ends[0]))
        return self._finish(*ends, error + allowance, len(middle))

    def _finish(self, low: float, high: float, error: float, probes: int) -> Interval:
        value = self.bits((low + high) / 2)
        ends = sorted((self.bits(low - error), self.bits(high + error)))
        bound = abs(self.bits(high) - self.bits(low)) / 2
        floor, ceiling = 0.0, math.log2(self.operator.n)
        if self.operator.square is not None and self.alpha <= 2:
            floor = -math.log2(self.operator.square)  # S_α falls with α: S_2 is a lower bound
        ends = [min(max(end, floor), ceiling) for end in ends]
        value = min(max(value, ends[0]), ends[1])
        return Interval(value, ends[0], ends[1], "statistical", probes, self.steps, bound, False)

    def _fit(self, rules: tuple[Rule, Rule]) -> tuple[Function, float, float]:
        """What the best quadratic leaves of f over the spectrum that half a batch of probes saw.

        Returns:
            f less the quadratic, the quadratic's trace over the complement, and what rounding may spoil of that.
        """
        nodes, weights = rules[0].nodes.flatten(), rules[0].weights.flatten().sqrt()
        scale = float(nodes.max()) or 1.0
        powers = len(self.moments)

        def monomials(x: torch.Tensor) -> torch.Tensor:
            return torch.stack([(x / scale) ** power for power in range(powers)], -1)

        # The pseudo-inverse also serves where nodes coincide, as those of a flat spectrum do.
        found = torch.linalg.pinv(monomials(nodes) * weights[:, None], rtol=1e-12) @ (self.f(nodes) * weights)

        coefficients = [float(c) / scale**power for power, c in enumerate(found)]
        known = sum(c * moment for c, moment in zip(coefficients, self.moments, strict=True))
        unsure = sum(abs(c) * size for c, size in zip(coefficients, self.unsure, strict=True))
        return (lambda x: self.f(x) - monomials(x) @ found), known, unsure


def _quantile(confidence: float, probes: int) -> float:
    return (
        float(student.ppf((1 + confidence) / 2, probes - 1))
        if probes < 200
        else float(norm.ppf((1 + confidence) / 2))
    )


def _square(matrix: torch.Tensor) -> float:
    """‖A‖²_F in float64, by stripes."""
    return sum(float((stripe.double() ** 2).sum()) for stripe in matrix.split(CHUNK_ROWS))


def _dense(matrices: list[torch.Tensor], alpha: float) -> Operator:
    """The (Hadamard product of the) matrices as a float32 operator; ‖·‖²_F in float64."""
    n = len(matrices[0])
    product = torch.empty(n, n, dtype=torch.float32, device=matrices[0].device)
    square = trace = 0.0
    for start in range(0, n, CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        stripe = matrices[0][rows].double()
        for matrix in matrices[1:]:
            stripe = stripe * matrix[rows] * n
        square += float((stripe**2).sum())
        trace += float(stripe.diagonal(start).sum())
        product[rows] = stripe
    product /= trace

    def exact() -> float:
        return float(
            joint_entropy(*matrices, alpha=alpha) if len(matrices) > 1 else renyi_entropy(matrices[0], alpha)
        )

    return Operator(lambda x: product @ x, n, square / trace**2, product, exact)
