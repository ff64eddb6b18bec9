import numpy as np
import pytest
from scipy import stats

from infoplane.analysis.slope import slope_test


def random_values(seeds=5, layers=7, slope=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return slope * np.arange(layers) + rng.standard_normal((seeds, layers))


def test_the_test_over_layers_is_that_of_a_regression_on_depth():
    values = random_values(slope=0.3)
    reference = stats.linregress(np.arange(7), values.mean(axis=0), alternative="greater")
    found = slope_test(values)
    assert found.slope == pytest.approx(reference.slope)
    assert found.p_layers == pytest.approx(reference.pvalue)


def test_the_test_over_seeds_is_a_t_test_of_their_own_slopes():
    values = random_values(slope=0.2)
    slopes = [stats.linregress(np.arange(7), row).slope for row in values]
    reference = stats.ttest_1samp(slopes, 0, alternative="greater")
    interval = stats.ttest_1samp(slopes, 0).confidence_interval(0.95)
    found = slope_test(values)
    assert found.seed_slopes == pytest.approx(slopes)
    assert found.p_seeds == pytest.approx(reference.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_the_test_over_orders_counts_all_of_them():
    values = random_values(layers=5, slope=0.4)
    reference = stats.permutation_test(
        (values.mean(axis=0),),
        lambda y: stats.linregress(np.arange(5), y).slope,
        permutation_type="pairings",
        alternative="greater",
        n_resamples=np.inf,
    )
    assert slope_test(values).p_orders == pytest.approx(reference.pvalue)


def test_orders_are_sampled_where_there_are_many_layers():
    assert slope_test(random_values(layers=12, slope=3.0)).p_orders == pytest.approx(1 / 20000)


def test_a_fall_is_the_rise_of_what_has_the_other_sign():
    values = random_values(slope=-0.5)
    fall, rise = slope_test(values, falling=True), slope_test(-values)
    assert (fall.p_layers, fall.p_seeds, fall.p_orders) == (rise.p_layers, rise.p_seeds, rise.p_orders)
    assert fall.slope == -rise.slope
    assert fall.significant


def test_layers_that_are_left_out_leave_their_place():
    values = random_values(slope=1.0)
    kept = [0, 1, 4, 6]
    reference = stats.linregress(kept, values[:, kept].mean(axis=0), alternative="greater")
    found = slope_test(values[:, kept], kept)
    assert (found.slope, found.p_layers) == pytest.approx((reference.slope, reference.pvalue))


def test_many_are_tested_at_once():
    values = np.stack([random_values(slope=slope, seed=seed) for seed, slope in enumerate((0.0, 0.3, -0.3))])
    found = slope_test(values)
    for place, one in enumerate(map(slope_test, values)):
        for name in ("slope", "low", "high", "p_layers", "p_seeds", "p_orders", "significant"):
            assert getattr(found, name)[place] == pytest.approx(getattr(one, name))


def test_what_has_no_spread_is_certain_and_what_has_no_slope_is_no_evidence():
    steady = slope_test(np.tile(np.arange(4.0), (3, 1)))
    assert steady.p_seeds == 0
    assert steady.p_layers < 1e-6
    flat = slope_test(np.ones((3, 4)))
    assert (flat.p_layers, flat.p_seeds, flat.p_orders) == (0.5, 0.5, 1.0)


def test_one_seed_and_two_layers_leave_nothing_to_test():
    assert np.isnan(slope_test(random_values(seeds=1)).p_seeds)
    assert np.isnan(slope_test(random_values(layers=2)).p_layers)


def test_each_test_errs_as_often_as_it_says():
    values = np.random.default_rng(1).standard_normal((4000, 5, 6))
    found = slope_test(values)
    for p in (found.p_layers, found.p_seeds):
        assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.012)


def test_the_test_over_links_is_a_t_test_of_the_differences_between_neighbours():
    values = np.random.default_rng(0).normal(0, 1, (5, 9)) + 0.4 * np.arange(9)
    steps = np.diff(values.mean(axis=0))
    expected = stats.ttest_1samp(steps, 0, alternative="greater").pvalue
    assert slope_test(values).p_links == pytest.approx(expected)
    assert slope_test(values, falling=True).p_links == pytest.approx(1 - expected)
    # Where layers are left out, a difference over g links has g times the variance: a line through the origin.
    kept, gaps = [0, 1, 4, 5, 8], np.array([1, 3, 1, 3])
    wide = np.diff(values[:, kept].mean(axis=0))
    line = np.linalg.lstsq(np.sqrt(gaps)[:, None], wide / np.sqrt(gaps), rcond=None)
    error = np.sqrt(line[1][0] / 3 / gaps.sum())
    assert slope_test(values[:, kept], kept).p_links == pytest.approx(stats.t.sf(line[0][0] / error, 3))
    assert np.isnan(slope_test(values[:, :2]).p_links)


def test_what_adds_up_from_layer_to_layer_is_no_slope_to_the_links():
    rng = np.random.default_rng(1)
    walk = np.cumsum(rng.standard_normal((2000, 1, 8)), axis=-1) + 0.01 * rng.standard_normal((2000, 5, 8))
    test = slope_test(walk)
    assert np.mean(test.significant) > 0.2
    assert np.mean(test.p_links < 0.05) == pytest.approx(0.05, abs=0.015)
