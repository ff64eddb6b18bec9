"""Pairwise-distance bounds: equal to the published code, right at the extremes, bounds where the truth is known."""

import numpy as np
import pytest
from reference import T, Y, stored
from scipy.integrate import trapezoid
from scipy.spatial.distance import cdist

from infoplane.errors import InfoplaneError
from infoplane.estimators.kde import LOWER, UPPER, mixture_information, parse_noise

# Printed by the public code ibsgd/kde.py: I(X;T) and I(T;Y) in bits, for a noise variance of 0.1.
PUBLISHED = {UPPER: (7.60873417747, 3.29227325224), LOWER: (6.31523446837, 2.17224583632)}
FILED = {"upper_kl": UPPER, "lower_bd": LOWER}


def both(t, labels, variance, divisor):
    kernel = np.exp(-(cdist(t, t) ** 2) / variance / divisor)
    whole = mixture_information(kernel)
    return whole, whole - mixture_information(kernel, labels)


@pytest.mark.parametrize("divisor", PUBLISHED)
def test_agrees_with_the_published_code(divisor):
    assert both(T, Y, 0.1, divisor) == pytest.approx(PUBLISHED[divisor], abs=1e-10)


def test_agrees_with_the_whole_file():
    for noise, bounds in stored("kde_kolchinsky").items():
        for name, values in bounds.items():
            found = both(T, Y, float(noise.removeprefix("noise_var=")), FILED[name])
            assert found == pytest.approx((values["I_XT_bits"], values["I_TY_bits"]), abs=1e-10)


def test_limits_of_the_noise():
    for divisor in (UPPER, LOWER):
        assert both(T, Y, 1e-9, divisor) == pytest.approx((np.log2(200), np.log2(10)))
        assert both(T, Y, 1e9, divisor) == pytest.approx((0, 0), abs=1e-6)
        permuted = np.random.default_rng(0).permutation(Y)
        assert both(T, permuted, 1e-9, divisor)[1] == pytest.approx(np.log2(10))


def test_the_two_bounds_hold_the_truth_for_two_far_and_near_gaussians():
    # Two components: I(X;T) = H(mixture) − H(noise) by numerical integration.
    for gap in (0.5, 2.0, 6.0):
        grid = np.linspace(-15, 15 + gap, 20001)
        density = sum(np.exp(-((grid - centre) ** 2) / 2) for centre in (0, gap)) / np.sqrt(8 * np.pi)
        kept = density > 1e-300
        entropy = -trapezoid(density[kept] * np.log2(density[kept]), grid[kept])
        truth = entropy - np.log2(2 * np.pi * np.e) / 2
        t = np.array([[0.0], [gap]])
        assert both(t, np.array([0, 1]), 1.0, LOWER)[0] <= truth <= both(t, np.array([0, 1]), 1.0, UPPER)[0]


def test_classes_of_identical_samples_are_known_exactly():
    labels = np.repeat([0, 1, 2, 2], 5)
    t = 100.0 * labels[:, None]
    for divisor in (UPPER, LOWER):
        assert both(t, labels, 1.0, divisor) == pytest.approx((1.5, 1.5), abs=1e-12)


def test_noise_is_a_variance_or_a_rule():
    assert parse_noise("0.1") == 0.1
    assert str(parse_noise("median:0.2")) == "median:0.2"
    for bad in ("0", "-1", "inf", "medain"):
        with pytest.raises(InfoplaneError):
            parse_noise(bad)
