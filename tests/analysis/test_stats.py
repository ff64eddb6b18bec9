"""Intervals and tests: values by hand, scipy's own, and coverage on simulated data."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from infoplane.analysis.stats import (
    holm,
    interval_table,
    layer_orders,
    nested_interval,
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
    assert np.isnan(student_interval([3.0, 4.0])[1:]).all()
    assert student_interval([3.0, 5.0], least=2)[2] == pytest.approx(4 + 12.706205, rel=1e-6)
    assert student_interval([3.0, 3.0, 3.0]) == (3, 3, 3)


def test_interval_covers_as_often_as_it_says():
    _, low, high = student_interval(np.random.default_rng(0).standard_normal((4000, 3)))
    assert ((low < 0) & (high > 0)).mean() == pytest.approx(0.95, abs=0.011)


def test_groups_keep_their_order_and_count_what_was_measured():
    table = pd.DataFrame(
        {"variant": list("bbbaa"), "seed": [0, 1, 2, 0, 1], "beta": [np.nan] * 5, "x": [1, 2, 3, 5, np.nan]}
    )
    means = over_seeds(table, ["variant", "beta"], ["x"])
    assert means["variant"].tolist() == ["b", "a"]
    assert means["x"].tolist() == [2, 5]
    assert means["seeds"].tolist() == [3, 1]
    assert means["x_low"].isna().tolist() == [False, True]


@pytest.mark.parametrize(("between", "within"), [(1.0, 0.3), (0.0, 1.0)])
@pytest.mark.parametrize("runs", [3, 5])
def test_nested_values_cover_as_often_as_they_say(runs, between, within):
    rng = np.random.default_rng(1)
    values = rng.normal(0, between, (3000, runs, 1)) + rng.normal(0, within, (3000, runs, 10))
    mean, low, high = nested_interval(values)
    assert mean == pytest.approx(values.mean(axis=(1, 2)))
    assert ((low <= 0) & (high >= 0)).mean() == pytest.approx(0.95, abs=0.015)


def test_batches_of_several_runs_do_not_narrow_the_interval():
    values = np.random.default_rng(0).normal(size=(4, 1)) + np.zeros((4, 20))
    assert nested_interval(values) == pytest.approx(student_interval(values[:, 0]))


def test_one_run_has_the_interval_of_its_batches_and_two_have_none():
    values = np.random.default_rng(0).normal(5, 1, (6, 4))
    assert nested_interval(values[:1]) == student_interval(values[0])
    assert np.isnan(nested_interval(values[:2])[1:]).all()
    assert nested_interval(values[:2])[0] == pytest.approx(values[:2].mean())
    assert np.isnan(nested_interval(np.array([[5.0]]))[1:]).all()


def test_missing_values_are_left_out():
    values = np.random.default_rng(0).normal(5, 1, (6, 4))
    values[2] = np.nan
    values[3, 1:] = np.nan
    kept = [*values[[0, 1, 4, 5]].mean(axis=1), values[3, 0]]
    assert nested_interval(values) == pytest.approx(student_interval(kept))
    assert np.isnan(nested_interval(np.full((3, 3), np.nan))).all()


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
    table = interval_table(rows, ["depth", "step"], ["x", "y"])
    assert table.loc[(2, 0), ["x", "y"]].tolist() == [2.5, 5]
    assert table[["x_low", "y_high"]].isna().all(axis=None)
    third = rows[rows["run"] == "late"].assign(run="third", x=rows["x"] + 2)
    table = interval_table(pd.concat([rows, third]), ["depth", "step"], ["x", "y"])
    # Runs of 2, 3 and 4 at this place: as in the interval by hand.
    assert table.loc[(2, 0), ["x", "x_low"]].tolist() == pytest.approx([3, 3 - 4.302653 / 3**0.5], rel=1e-6)
    assert table.loc[(2, 0), ["y_low", "y_high"]].tolist() == [5, 5]
