"""Student's intervals over seeds, against values by hand and scipy's own."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from infoplane.analysis.seeds import over_seeds, student_interval


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
