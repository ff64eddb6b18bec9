"""Whether a quantity rises or falls with depth: a slope over the layers, tested over layers and over seeds.

A slope that is the same in every seed may still be an accident of these layers, which no number of seeds makes up
for; one that the layers agree on may be an accident of these seeds. So there are two one-sided t-tests, and a claim
needs both: over layers, by what the layers' means leave of a straight line, and over seeds, by how far the seeds'
own slopes are apart. The permutation test over orders of layers, beside them, needs no normal residuals. Both take
the deviations of layers from a straight line for independent; the test over links does not, and is printed beside
them: where layers differ from their neighbours by chance, as in a random walk, a slope comes about by itself.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.optimize import brentq

from infoplane.analysis.stats import LEVEL, SIGNIFICANCE, layer_orders

_POWER = 0.8
_QUANTILES = 1000
# Sums in another order differ by rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class SlopeTest:
    """A slope over the layers with its tests; arrays have the leading axes of the values that were tested.

    Attributes:
        slope: Least-squares slope of the layers' means, in units of the values a layer, (...).
        low: Lower end of its 95 % interval, by Student's t over the seeds' own slopes, (...); NaN with one seed.
        high: Upper end, (...).
        p_layers: One-sided p of the t-test over layers, L − 2 degrees of freedom, (...); NaN with two layers.
        p_seeds: One-sided p of the t-test over the seeds' slopes, R − 1 degrees of freedom, (...); NaN with one.
        error_layers: Standard error of the slope from what the layers' means leave of a straight line, (...).
        error_seeds: Standard error of the slope from the seeds' own slopes, (...).
        seed_slopes: Slope of each seed, (..., R).
        means: Means over seeds, (..., L).
        depths: Numbers of the layers, (L,).
        falling: Whether a fall is asked for in the place of a rise.
    """

    slope: NDArray
    low: NDArray
    high: NDArray
    p_layers: NDArray
    p_seeds: NDArray
    error_layers: NDArray
    error_seeds: NDArray
    seed_slopes: NDArray
    means: NDArray
    depths: NDArray
    falling: bool

    @property
    def significant(self) -> NDArray:
        """Whether both t-tests are below 0.05, (...) boolean."""
        return (self.p_layers < SIGNIFICANCE) & (self.p_seeds < SIGNIFICANCE)

    @property
    def p_links(self) -> NDArray:
        """One-sided p of the t-test of the differences between neighbouring layers' means, (...).

        L − 2 degrees of freedom; NaN with two layers. It allows for deviations that add up from layer to layer: a
        difference over g links, where layers between are left out, has g times the variance of one.
        """
        gaps, steps = np.diff(self.depths), np.diff(self.means, axis=-1)
        slope, count = steps.sum(axis=-1) / gaps.sum(), len(gaps) - 1
        with np.errstate(invalid="ignore", divide="ignore"):
            variance = ((steps - slope[..., None] * gaps) ** 2 / gaps).sum(axis=-1) / np.float64(count)
        return _p((-1.0 if self.falling else 1.0) * slope, np.sqrt(variance / gaps.sum()), count)

    @functools.cached_property
    def p_orders(self) -> NDArray:
        """The share of orders of the layers whose slope is as steep, (...).

        Exact for up to 8 layers, over sampled orders for more; with 3 layers it cannot fall below 1/6.
        """
        sign = -1.0 if self.falling else 1.0
        orders, weights = layer_orders(len(self.depths)), sign * _weights(self.depths)
        flat = self.means.reshape(-1, len(self.depths))
        slopes = (means[orders] @ weights for means in flat)
        p = [np.mean(steep >= steep[0] - _ROUNDING * np.abs(steep).max()) for steep in slopes]
        return np.reshape(p, self.means.shape[:-1])


def slope_test(values: ArrayLike, depths: ArrayLike | None = None, *, falling: bool = False) -> SlopeTest:
    """Tests whether values rise (or fall) with depth.

    Args:
        values: One value for each seed and layer, (..., R, L), at least 2 layers; further axes are tested apart.
        depths: Numbers of the layers, (L,), where some are left out; None takes 0 … L − 1.
        falling: Ask for a fall in the place of a rise.

    Returns:
        The slope with its interval and tests.
    """
    array = np.asarray(values, dtype=np.float64)
    places = np.arange(array.shape[-1], dtype=np.float64) if depths is None else np.asarray(depths, np.float64)
    weights, sign = _weights(places), -1.0 if falling else 1.0
    # Differences to the mean, so that equal values have a slope of 0 without any rounding.
    seed_slopes = (array - array.mean(axis=-1, keepdims=True)) @ weights
    means, slope = array.mean(axis=-2), seed_slopes.mean(axis=-1)
    seeds, layers = array.shape[-2:]
    # A straight line through the layers' means: its slope has the standard error √(residual variance / Σ(d − d̄)²).
    residuals = means - means.mean(axis=-1, keepdims=True) - slope[..., None] * (places - places.mean())
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = (residuals**2).sum(axis=-1) / np.float64(layers - 2)
        layer_error = np.sqrt(variance * (weights @ weights))
        seed_error = stats.sem(seed_slopes, axis=-1, ddof=1) if seeds > 1 else np.full(slope.shape, np.nan)
        half = seed_error * stats.t.ppf((1 + LEVEL) / 2, seeds - 1)
    return SlopeTest(
        slope=slope,
        low=slope - half,
        high=slope + half,
        p_layers=_p(sign * slope, layer_error, layers - 2),
        p_seeds=_p(sign * slope, seed_error, seeds - 1),
        error_layers=layer_error,
        error_seeds=seed_error,
        seed_slopes=seed_slopes,
        means=means,
        depths=places,
        falling=falling,
    )


def detectable_slope(test: SlopeTest, *, least: float = 0.0, power: float = _POWER) -> float:
    """The slope that both tests would find together in 80 % of repetitions with spreads like these.

    The estimate b is normal around the slope with the standard error s of the layers' means, and independent of
    both estimates of spread, s² χ²/ν of each test. A test with ν degrees of freedom and critical value t finds b
    where χ² < ν (b / t s)², so that the power is the mean over b of the product of two distributions of χ².

    Args:
        test: The test of one slope, with at least 3 layers and 2 seeds.
        least: The least slope that counts, beside the tests.
        power: Probability of finding it.

    Returns:
        A slope above 0, in units of the values a layer; NaN where a test has no degrees of freedom.
    """
    spreads = (
        (float(test.error_layers), len(test.depths) - 2),
        (float(test.error_seeds), len(test.seed_slopes) - 1),
    )
    error = max(spread for spread, _ in spreads)
    if not np.isfinite([spread for spread, _ in spreads]).all() or not error:
        return least if error == 0 else np.nan
    normal = stats.norm.ppf((np.arange(_QUANTILES) + 0.5) / _QUANTILES)

    def missing(slope: float) -> float:
        estimates = np.maximum(slope + error * normal, 0)
        chances = np.where(estimates >= least, 1.0, 0.0)
        for spread, freedom in spreads:
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = estimates / (stats.t.isf(SIGNIFICANCE, freedom) * spread)
            # Without any spread each slope is found, and none at all is not.
            chances *= stats.chi2.cdf(freedom * np.where(estimates > 0, ratio, 0.0) ** 2, freedom)
        return float(chances.mean() - power)

    return float(brentq(missing, 0, least + 100 * error, xtol=1e-3 * error))


def _weights(depths: NDArray) -> NDArray:
    """Weights of the layers, (L,); the sum of their weighted values is the least-squares slope."""
    centred = depths - depths.mean()
    return np.asarray(centred / (centred @ centred))


def _p(slope: NDArray, error: NDArray, freedom: int) -> NDArray:
    """One-sided p of a slope above 0; without any spread a slope is certain, and none at all is no evidence."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(error > 0, slope / error, np.where(slope == 0, 0.0, np.copysign(np.inf, slope)))
    return np.asarray(stats.t.sf(ratio, freedom) if freedom > 0 else np.full(np.shape(slope), np.nan))
