"""The sum of logarithms stands for the function of an eigenvalue."""

import numpy as np
import pytest

from infoplane.entropy.log_sums import SMALL, log_sum, part


@pytest.mark.parametrize("alpha", [1.0, 1.01, 1.1, 1.3, 1.5, 1.9])
@pytest.mark.parametrize("exact", [True, False])
def test_the_error_is_what_the_sum_says_between_the_points_of_its_grid(alpha, exact):
    series = log_sum(alpha, exact=exact)
    x = 10 ** np.random.default_rng(0).uniform(-18, 0, 20_000)
    found = np.log1p(x[:, None] / series.shifts) @ series.weights + series.linear * x + series.square * x**2
    errors = np.abs(found - part(x, alpha)) / (x + SMALL)
    assert 0.1 * series.error < errors.max() < 1.001 * series.error + 1e-14
    below = np.array([1e-300, 1e-40, 1e-20])
    assert np.abs(np.log1p(below[:, None] / series.shifts) @ series.weights).max() < 1e-16
