"""tr f(A) of a large matrix by deflation and two levels of random probes, with an interval.

Any orthonormal Q with P = I − Q Qᵀ splits tr f(A) = tr(Qᵀ f(A) Q) + tr(P f(A) P) exactly, whether or not Q spans an
invariant subspace (Meyer, Musco, Musco and Woodruff, "Hutch++", SOSA 2021). So deflation leaves no bias here:

1. Q: Ritz vectors of a block Krylov space. One with Ritz value θ and residual norm ρ sees a spectral measure of
   mean θ and variance ρ², so that Gauss and Gauss–Radau rules bound qᵀ f(A) q: a *bound*. Only vectors whose
   bounds nearly meet are locked.
2. The complement of Q in three parts, P f(A) P = (P f(A) P − p(B)) + (p − r)(B) + r(B) with B = P A P and
   polynomials p of degree 7 and r of degree 2 (Giles, "Multilevel Monte Carlo methods", Acta Numerica 24, 2015).
   The trace of r(B) is known exactly, from tr A, ‖A‖²_F and n; four Lanczos steps give zᵀ (p − r)(B) z exactly, so
   that the *coarse* probes are cheap and many; the *fine* ones, with as many steps in A as it takes, are few, since
   p leaves little of f. Gauss and Gauss–Radau at 0 bracket zᵀ f(A) z: a *bound* again. p is fitted on other fine
   probes than those it serves, which keeps the mean right, and taken of B, since A brings back the large
   eigenvalues, on which p is huge.
3. The means over the probes: a *statistical* interval, Student's t with the larger of two variances on each level,
   the sample's and the one that the fine rules give for the square of the function (each probe alone estimates it,
   so that few probes do not underestimate it).

Products run in float32, ‖A‖²_F, all small algebra and the products with the largest Ritz vectors in float64, since
‖B‖²_F is what they leave of ‖A‖²_F. The interval is widened by an *allowance* for the rounding of float32, an
estimate of its size and no proven bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import t as student

from infoplane.entropy.lanczos import Function, ProbeLanczos, Product, Rule, ritz_pairs
from infoplane.entropy.trace_functions import Functional, Polynomial, Squared

BLOCK, DEPTH = 16, 8  # of the Krylov space that is deflated: deep beats wide
FINE = 4  # fine probes drawn at once; each half has a polynomial fitted on another half
_FIRST_STEPS, _MORE_STEPS, _MOST_STEPS = 8, 4, 60  # of a fine probe
COARSE_STEPS, LEAST, MOST_COARSE = 4, 8, 64  # steps of a coarse probe; at least and at most so many at once
_DEGREE = 2 * COARSE_STEPS - 1
_LOCK_SHARE, _GAP_SHARE = 0.1, 0.3  # parts of the tolerance that the bounds may take
_EPS = 1e-12  # relative error allowed for in what float64 products give
ROUNDING = 8 * torch.finfo(torch.float32).eps  # relative error allowed for in what float32 products give
NOISE = torch.finfo(torch.float32).eps  # times ‖A‖_F / √n, the norm of the rounding errors of A
MARGIN = 1.1  # few steps find the largest eigenvalue of B up to some per cent
_REFINED = 8  # Ritz vectors of the largest values, multiplied in float64
_VISIBLE = 10  # times its uncertainty, what must be left outside Q of ‖A‖²_F to be used
_BUDGET = 1.5  # products per sample beyond which it is cheaper without


@dataclass(frozen=True)
class Operator:
    """A symmetric positive semi-definite matrix of trace 1, known by its products.

    Attributes:
        product: Multiplies the rows of (p, n) by it, in float32 or float64 as they are.
        n: Size.
        square: ‖A‖²_F; None where unknown (one control variate less).
        like: Any tensor of the device and of the dtype in which most products run.
        direct: Finds the interval without products; None where only these are known.
    """

    product: Product
    n: int
    square: float | None
    like: torch.Tensor
    direct: Callable[[], Interval] | None = None


@dataclass(frozen=True)
class Interval:
    """An entropy or information in bits and where it lies.

    Attributes:
        value: The estimate.
        low: Lower end.
        high: Upper end.
        kind: "exact" (up to rounding; low = value = high) or "statistical" (covers with the asked confidence).
        probes: Random probes spent.
        steps: Lanczos steps of each fine one; 0 where they measure the error of a reduction.
        bound: Half the width that bounds take, bits: all of it, or that of quadrature and deflation; the rest is
            statistical.
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

    @property
    def halfwidth(self) -> float:
        """The larger distance from the value to an end, bits."""
        return max(self.high - self.value, self.value - self.low)


@dataclass(frozen=True)
class Deflated:
    """What the locked Ritz vectors took off.

    Attributes:
        locked: Orthonormal rows, (k, n).
        low: Lower bound of their part of tr f(A).
        high: Upper bound.
        size: Sum of the magnitudes that this part is made of.
        free: Dimensions of the complement, n − k.
        moments: Traces over the complement of I, B and B² with B = P A P, as far as they are known.
        unsure: What float32 leaves uncertain in each of them.
    """

    locked: torch.Tensor
    low: float
    high: float
    size: float
    free: int
    moments: list[float]
    unsure: list[float]


def _deflate(operator: Operator, f: Functional, start: torch.Tensor, tolerance: float) -> Deflated:
    """Locks the Ritz vectors of a block Krylov space whose bounds are within a part of the tolerance (bits)."""
    values, vectors, residuals = ritz_pairs(operator.product, start, DEPTH)
    refined = vectors[:_REFINED]
    images = operator.product(refined)
    values[:_REFINED] = (refined * images).sum(1)
    residuals[:_REFINED] = (images - values[:_REFINED, None] * refined).norm(dim=1)
    values = values.clamp(min=1e-300)
    square = operator.square
    low, high = f.pair_bounds(values, residuals, min(1.0, math.sqrt(square or 1.0)))
    order = torch.argsort(high - low)
    fits = torch.cumsum((high - low)[order], 0) * f.slope(values) <= _LOCK_SHARE * tolerance
    locked = order[fits]
    free = operator.n - len(locked)
    # ‖A‖²_F less the block of Q and the two beside it.
    inside = values[locked], values[locked] ** 2 + 2 * residuals[locked] ** 2
    moments, unsure = [float(free)], [0.0]
    for whole, taken in zip((1.0, square), inside, strict=True):
        left = -1.0 if whole is None else whole - float(taken.sum())
        doubt = ROUNDING * float(taken[locked >= _REFINED].sum()) + _EPS * float(taken.sum())
        if len(moments) == 2 and left <= _VISIBLE * doubt:
            break
        moments.append(max(left, 0.0))
        unsure.append(doubt)
    sides = float(low[locked].sum()), float(high[locked].sum())
    return Deflated(vectors[locked], *sides, float(f(values[locked]).abs().sum()), free, moments, unsure)


@dataclass(frozen=True)
class Fine:
    """Half a batch of fine probes: the rules in A that bracket, and those in B for the polynomial."""

    gauss: Rule
    radau: Rule
    coarse: Rule

    def sides(self, f: Function, p: Function) -> tuple[torch.Tensor, torch.Tensor]:
        """Bounds of zᵀ f(A) z − zᵀ p(B) z, (p,) each."""
        ends = self.gauss.apply(f), self.radau.apply(f)
        served = self.coarse.apply(p)
        return torch.minimum(*ends) - served, torch.maximum(*ends) - served


class Estimate:
    """One run of the estimator; see the module's docstring for the parts.

    Args:
        operator: The matrix.
        alpha: Order α ≥ 1.
        tolerance: Half-width of the interval that is aimed at, bits.
        confidence: Probability with which the interval is to cover.
        seed: Seed of the probes.
    """

    def __init__(self, operator: Operator, alpha: float, tolerance: float, confidence: float, seed: int) -> None:
        self.operator, self.tolerance, self.confidence = operator, tolerance, confidence
        self.f = Functional(alpha, operator.n)
        self.generator = torch.Generator().manual_seed(seed)
        self.products, self.steps = 0, 0
        self.fine: list[Fine] = []
        self.coarse: list[Rule] = []

    def run(self) -> Interval:
        """Deflates, then draws probes until the tolerance is met or a reduction is cheaper."""
        block = min(BLOCK, self.operator.n // (2 * DEPTH))
        start = self._normal(block).to(self.operator.like.dtype)
        self.deflated = _deflate(self.operator, self.f, start, self.tolerance)
        self.locked = self.deflated.locked.to(self.operator.like.dtype)
        self.products = block * DEPTH
        self._draw_fine()
        while True:
            found, (fine, coarse) = self._interval()
            if found.halfwidth <= self.tolerance:
                return found
            if self.products + fine * self.steps + coarse * COARSE_STEPS > _BUDGET * self.operator.n:
                if self.operator.direct:
                    return self.operator.direct()
                if self.coarse:
                    return found
                fine, coarse = 0, MOST_COARSE
            if fine:
                self._draw_fine()
            if coarse:
                self._draw_coarse(coarse)

    def _normal(self, rows: int) -> torch.Tensor:
        drawn = torch.randn(rows, self.operator.n, generator=self.generator, dtype=torch.float64)
        return drawn.to(self.operator.like.device)

    def _starts(self, count: int) -> torch.Tensor:
        """Probes uniform on the unit sphere of the complement."""
        starts, locked = self._normal(count), self.deflated.locked
        for _ in range(2):
            starts = starts - (starts @ locked.mT) @ locked
        return (starts / starts.norm(dim=1, keepdim=True)).to(self.operator.like.dtype)

    def _coarse(self, starts: torch.Tensor) -> Rule:
        """Rules in B = P A P, exact for polynomials up to `_DEGREE`."""

        def projected(x: torch.Tensor) -> torch.Tensor:
            image = self.operator.product(x)
            return image - (image @ self.locked.mT) @ self.locked

        lanczos = ProbeLanczos(projected, starts)
        lanczos.advance(COARSE_STEPS)
        self.products += len(starts) * COARSE_STEPS
        return lanczos.gauss()

    def _draw_fine(self) -> None:
        starts, most = self._starts(FINE), min(_MOST_STEPS, self.operator.n - 1)
        lanczos = ProbeLanczos(self.operator.product, starts)
        # The signs of the derivatives that make the bounds alternate from order α on.
        first = max(_FIRST_STEPS, math.ceil(self.f.alpha / 2) + 1)
        lanczos.advance(min(self.steps or first, most))
        while not self.steps and lanczos.steps < most and self._gap(lanczos) > _GAP_SHARE * self.tolerance:
            lanczos.advance(_MORE_STEPS)
        self.steps = lanczos.steps
        self.products += FINE * self.steps
        rules = (rule.split(FINE // 2) for rule in (lanczos.gauss(), lanczos.radau(), self._coarse(starts)))
        self.fine.extend(Fine(*half) for half in zip(*rules, strict=True))

    def _draw_coarse(self, count: int) -> None:
        self.coarse.extend(
            self._coarse(self._starts(min(MOST_COARSE, count - i))) for i in range(0, count, MOST_COARSE)
        )

    def _gap(self, lanczos: ProbeLanczos) -> float:
        """Half the mean gap between the two rules, bits."""
        ends = [
            self.f.bits(self.deflated.free * float(rule.apply(self.f).mean()) + self.deflated.low)
            for rule in (lanczos.gauss(), lanczos.radau())
        ]
        return abs(ends[0] - ends[1]) / 2

    def _interval(self) -> tuple[Interval, tuple[int, int]]:
        """The interval that all probes give (endless without coarse ones), and fine and coarse ones missing."""
        free = self.deflated.free
        scale = MARGIN * max(float(half.coarse.nodes.max()) for half in self.fine) or 1.0
        seen = [half.gauss.up_to(scale) for half in self.fine]
        # Every half batch is served by another one: the first by the second, all others by the first.
        first, second = (Polynomial.fit(self.f, [rule], _DEGREE, scale) for rule in seen[:2])
        served = [second] + [first] * (len(seen) - 1)
        mean = Polynomial(np.mean([p.coefficients for p in served], axis=0), scale)
        known = Polynomial.fit(mean, seen, len(self.deflated.moments) - 1, scale)

        def rest(x: torch.Tensor) -> torch.Tensor:
            return mean(x) - known(x)

        sides = [half.sides(self.f, p) for half, p in zip(self.fine, served, strict=True)]
        low, high = (free * torch.cat(ends) for ends in zip(*sides, strict=True))
        squares = [rule.apply(Squared(self.f, p)) for rule, p in zip(seen, served, strict=True)]
        fine = Level.of((low + high) / 2, torch.cat(squares), free)
        values = torch.cat([free * rule.apply(rest) for rule in self.coarse]) if self.coarse else low[:0]
        coarse = Level.of(values, torch.cat([rule.apply(Squared(mean, known)) for rule in seen]), free)
        powers = known.powers()
        total = float(powers @ self.deflated.moments) + coarse.mean
        ends = total + float(low.mean()) + self.deflated.low, total + float(high.mean()) + self.deflated.high
        allowance = float(abs(powers) @ self.deflated.unsure) + ROUNDING * (self.deflated.size + abs(ends[0]))
        allowance += free * self._drowned(
            torch.tensor(NOISE * math.sqrt((self.operator.square or 1.0) / self.operator.n))
        )
        found = self._finish(*ends, fine.error(coarse, self.confidence) + allowance, fine.count + coarse.count)
        return found, self._missing(fine, coarse, found, sum(ends) / 2)

    def _drowned(self, noise: torch.Tensor) -> float:
        """Mean of f over eigenvalues that the rounding of a float32 matrix makes of zeros: f is steep there."""
        share = torch.stack([(half.gauss.weights * (half.gauss.nodes < noise)).sum(1).mean() for half in self.fine])
        return float(share.mean() * self.f(noise.to(torch.float64)).abs())

    def _finish(self, low: float, high: float, error: float, probes: int) -> Interval:
        value = self.f.bits((low + high) / 2)
        ends = sorted((self.f.bits(low - error), self.f.bits(high + error)))
        bound = abs(self.f.bits(high) - self.f.bits(low)) / 2
        floor, ceiling = 0.0, math.log2(self.operator.n)
        if self.operator.square is not None and self.f.alpha <= 2:
            floor = -math.log2(self.operator.square)  # S_α falls with α: S_2 is a lower bound
        ends = [min(max(end, floor), ceiling) for end in ends]
        value = min(max(value, ends[0]), ends[1])
        return Interval(value, ends[0], ends[1], "statistical", probes, self.steps, bound, False)

    def _missing(self, fine: Level, coarse: Level, found: Interval, total: float) -> tuple[int, int]:
        """How many fine and coarse probes are missing at the cheapest mixture that meets the tolerance."""
        room = max(self.tolerance - found.bound, self.tolerance / 10) / self.f.rate(total)
        wanted = (room / student.ppf((1 + self.confidence) / 2, 2 * FINE)) ** 2
        costs = math.sqrt(fine.variance * self.steps) + math.sqrt(coarse.variance * COARSE_STEPS)
        needs = [
            math.sqrt(level.variance / steps) * costs / wanted - level.count
            for level, steps in ((fine, self.steps), (coarse, COARSE_STEPS))
        ]
        # Where both seem enough and are not, a few more.
        return max(math.ceil(needs[0]), 0), max(math.ceil(needs[1] / LEAST) * LEAST, 0 if needs[0] > 0 else LEAST)


@dataclass(frozen=True)
class Level:
    """What the probes of one level say.

    Attributes:
        mean: Their mean, 0 without any.
        variance: Variance of a single one.
        count: Their number.
    """

    mean: float
    variance: float
    count: int

    @classmethod
    def of(cls, values: torch.Tensor, squares: torch.Tensor, free: int) -> Level:
        """From the values of the probes and what others say of the square of the function."""
        # Variance of zᵀHz for z uniform on the sphere of radius √d: at most 2d/(d+2) ‖H‖²_F.
        variance = 2 * free / (free + 2) * free * float(squares.mean())
        if len(values) < 2:
            return cls(0.0, variance, 0)
        return cls(float(values.mean()), max(float(values.var()), variance), len(values))

    def error(self, other: Level, confidence: float) -> float:
        """Half-width of the interval of the sum of both means, by Welch and Satterthwaite's degrees of freedom."""
        shares = [level.variance / level.count if level.count else math.inf for level in (self, other)]
        if not 0 < sum(shares) < math.inf:
            return sum(shares)
        parts = sum(s**2 / (level.count - 1) for s, level in zip(shares, (self, other), strict=True))
        return float(student.ppf((1 + confidence) / 2, sum(shares) ** 2 / parts)) * math.sqrt(sum(shares))
