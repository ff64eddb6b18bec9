"""Intervals and tests: values by hand, scipy's own, and coverage on simulated data."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from infoplane.analysis.stats import (
    bootstrap_table,
    hierarchical_bootstrap,
    holm,
    layer_orders,
    over_seeds,
    run_cube,
    student_interval,
)


def test_interval_by_hand():
    # Standard deviation 1, 0.975 quantile of Student's t with 2 degrees of freedom 4.302653.
    mean, low, high = student_interval([1.0, 2.0, 3.0])
    assert mean == 2
    assert high - mean == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    assert mean - low == pytest.approx(high - mean)


def test_interval_is_that_of_scipy_and_leaves_nan_out():
    values = np.random.default_rng(0).standard_normal(7)
    expected = stats.t.interval(0.95, 6, loc=values.mean(), scale=stats.sem(values))
    assert student_interval([*values, np.nan])[1:] == pytest.approx(expected)


def test_few_values():
    assert student_interval([])[0] != student_interval([])[0]
    mean, low, high = student_interval([3.0])
    assert mean == 3
    assert np.isnan([low, high]).all()
    assert student_interval([3.0, 3.0]) == (3, 3, 3)


def test_interval_covers_as_often_as_it_says():
    draws = np.random.default_rng(0).standard_normal((4000, 3))
    ends = np.array([student_interval(draw)[1:] for draw in draws])
    covered = ((ends[:, 0] < 0) & (ends[:, 1] > 0)).mean()
    assert covered == pytest.approx(0.95, abs=0.011)


def test_groups_keep_their_order_and_count_what_was_measured():
    table = pd.DataFrame(
        {"variant": list("bbaa"), "seed": [0, 1, 0, 1], "beta": [np.nan] * 4, "x": [1, 3, 5, np.nan]}
    )
    means = over_seeds(table, ["variant", "beta"], ["x"])
    assert means["variant"].tolist() == ["b", "a"]
    assert means["x"].tolist() == [2, 5]
    assert means["seeds"].tolist() == [2, 1]
    assert means["x_low"].isna().tolist() == [False, True]


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


def test_orders_are_exact_for_few_layers():
    orders = layer_orders(4)
    assert len(np.unique(orders, axis=0)) == math.factorial(4)
    assert orders[0].tolist() == [0, 1, 2, 3]
    many = layer_orders(12)
    assert many[0].tolist() == [*range(12)]
    assert (np.sort(many, axis=1) == np.arange(12)).all()
    assert len(np.unique(many, axis=0)) > 19000


def test_holm_by_hand():
    corrected = holm(np.array([0.01, 0.04, np.nan, 0.03, 0.005, 0.9]))
    np.testing.assert_allclose(corrected, [0.04, 0.09, np.nan, 0.09, 0.025, 0.9])
    # The second largest of these times 2 is more than the largest, which cannot be the more certain one.
    np.testing.assert_allclose(holm(np.array([0.04, 0.03, 0.8])), [0.09, 0.09, 0.8])
    np.testing.assert_allclose(holm(np.array([0.045, 0.04])), [0.08, 0.08])
    np.testing.assert_allclose(holm(np.array([0.9, 0.8])), [1, 1])


def test_tables_become_cubes_and_intervals_of_them():
    places = [(2, 0), (1, 5)]
    rows = pd.DataFrame(
        [
            {"depth": depth, "step": step, "run": run, "batch": batch, "x": depth + run_place, "y": 10.0 * batch}
            for depth, step in places
            for run_place, run in enumerate(["late", "early"])
            for batch in (0, 1)
        ]
    )
    index, cube = run_cube(rows[:-1], ["depth", "step"], ["x", "y"])
    assert index.tolist() == [(1, 5), (2, 0)]
    assert cube.shape == (2, 2, 2, 2)
    assert cube[1].tolist() == [[[2, 2], [3, 3]], [[0, 10], [0, 10]]]
    assert np.isnan(cube).sum() == 2
    assert np.isnan(cube[0, :, 1, 1]).all()
    table = bootstrap_table(rows, ["depth", "step"], ["x", "y"])
    assert table.loc[(2, 0)].to_dict() == {"x_low": 2, "y_low": 0, "x_high": 3, "y_high": 10}
