"""The hierarchical bootstrap: degenerate cases by hand, coverage on simulated nested data."""

import numpy as np
import pytest

from infoplane.analysis.bootstrap import hierarchical_bootstrap


def coverage(runs, batches, between, within, draws=400):
    """How often the interval holds the true mean, 0."""
    rng = np.random.default_rng(1)
    seeds = rng.normal(0, between, (draws, runs, 1))
    low, high = hierarchical_bootstrap(seeds + rng.normal(0, within, (draws, runs, batches)))
    return float(((low <= 0) & (high >= 0)).mean())


@pytest.mark.parametrize(("between", "within"), [(1.0, 0.0), (1.0, 1.0), (1.0, 3.0)])
def test_covers_with_many_runs(between, within):
    assert 0.90 <= coverage(30, 10, between, within) <= 0.99


def test_few_runs_are_too_narrow_as_the_documentation_says():
    assert 0.70 <= coverage(5, 10, 1.0, 0.3) < 0.93


def test_wider_than_a_bootstrap_that_forgets_the_runs():
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (8, 1)) + rng.normal(0, 0.1, (8, 20))
    low, high = hierarchical_bootstrap(values)
    flat_low, flat_high = hierarchical_bootstrap(values.reshape(1, -1))
    assert high - low > 2 * (flat_high - flat_low)


def test_known_answers():
    low, high = hierarchical_bootstrap(np.full((3, 4, 5), 7.3))
    np.testing.assert_allclose(low, 7.3, rtol=1e-12)
    np.testing.assert_allclose(high, 7.3, rtol=1e-12)
    low, high = hierarchical_bootstrap(np.array([[0.0], [1.0]]))
    assert (low, high) == (0, 1)
    one = hierarchical_bootstrap(np.array([[5.0]]))
    assert np.isnan(one).all()


def test_missing_values_are_left_out():
    values = np.random.default_rng(0).normal(5, 1, (6, 4))
    values[2] = np.nan
    low, high = hierarchical_bootstrap(values)
    assert low < np.nanmean(values) < high
    assert np.isnan(hierarchical_bootstrap(np.full((3, 3), np.nan))).all()


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).normal(size=(4, 3))
    assert hierarchical_bootstrap(values) == hierarchical_bootstrap(values)
    assert hierarchical_bootstrap(values) != hierarchical_bootstrap(values, seed=1)
