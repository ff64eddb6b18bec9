"""The order of convergence: planted times give their factor back, equal ones none, and what cannot be judged."""

import math

import numpy as np
import pytest
from made_curves import STEPS, UP, approach, made
from scipy import stats

from infoplane.analysis.convergence.order import (
    MIN_FACTOR,
    area,
    convergence_order,
    envelope_area,
    log_half_time,
    missing,
    rises,
)
from infoplane.analysis.slope import detectable_slope, slope_test

EQUAL = (150,) * 8


@pytest.mark.parametrize("factor", [1.25, 1.5, 1 / 1.5])
@pytest.mark.parametrize("measure", [area, envelope_area, log_half_time])
def test_planted_times_give_their_factor_back(factor, measure):
    times = 150 * factor ** (np.arange(8) - 3.5)
    order = convergence_order(made(times, jitter=0.2), measure)
    assert order.factor == pytest.approx(factor, rel=0.06)
    assert order.low < order.factor < order.high
    assert order.shows is (factor > 1)
    assert order.opposes is (factor < 1)
    assert order.limitation == ""


def test_the_factor_is_that_of_a_regression_of_the_areas():
    order = convergence_order(made(UP, jitter=0.3))
    line = stats.linregress(np.arange(8), order.areas.mean(axis=0), alternative="greater")
    slopes = [stats.linregress(np.arange(8), row).slope for row in order.areas]
    interval = stats.ttest_1samp(slopes, 0).confidence_interval(0.95)
    assert math.log(order.factor) == pytest.approx(line.slope)
    assert order.test.p_layers == pytest.approx(line.pvalue)
    assert (math.log(order.low), math.log(order.high)) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("ranges", [(0.012, 0.25), (0.25, 0.012)])
def test_layers_that_converge_at_once_are_in_no_order_whatever_their_ranges(ranges):
    spans = np.geomspace(*ranges, 8)
    orders = [convergence_order(made(EQUAL, jitter=0.4, ranges=spans, seed=seed)) for seed in range(120)]
    assert np.mean([order.shows for order in orders]) <= 0.05
    assert np.mean([order.opposes for order in orders]) <= 0.05
    assert np.exp(np.mean([order.test.slope for order in orders])) == pytest.approx(1, abs=0.03)


def test_both_tests_and_the_least_factor_are_asked_for():
    rng = np.random.default_rng(0)
    line = np.arange(8) * math.log(1.5)
    by_layers = slope_test(line + 3 * (-1.0) ** np.arange(8) + rng.normal(0, 0.01, (5, 8)))
    by_seeds = slope_test(line + np.arange(8) * np.array([[3], [-2], [2], [-1], [1]]))
    small = slope_test(np.arange(8) * math.log(MIN_FACTOR - 0.01) + rng.normal(0, 1e-3, (5, 8)))
    assert by_layers.p_seeds < 0.05 < by_layers.p_layers
    assert by_seeds.p_layers < 0.05 < by_seeds.p_seeds
    assert small.significant
    assert not any(map(rises, (by_layers, by_seeds, small)))
    assert rises(slope_test(line + rng.normal(0, 0.1, (5, 8))))


def test_a_layer_that_cannot_be_used_in_a_run_is_left_out_in_all():
    curves = made((*UP, 0.002 * (-1.0) ** np.arange(40)), jitter=0.1)
    curves.trouble[3, 2] = "not finite at 3 of 40 snapshots"
    order = convergence_order(curves)
    assert order.left_out["layer3"] == "not finite at 3 of 40 snapshots in 1 of 5 runs"
    assert "not above the fluctuations at its end" in order.left_out["layer9"]
    assert np.isnan(order.areas[:, [2, 8]]).all()
    assert order.test.depths.tolist() == [0, 1, 3, 4, 5, 6, 7]
    assert order.factor == pytest.approx(1.5, rel=0.06)
    table = order.table()
    assert table["area"].notna().sum() == 5 * 7
    assert (table.loc[table["layer"] == "layer9", "left_out"] == order.left_out["layer9"]).all()
    assert order.numbers()["layers"] == 7


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"shapes": UP[:5]}, "layers: 5, and at least 6 are needed"),
        ({"runs": 4}, "runs of different seeds: 4, and at least 5 are needed"),
        ({"steps": STEPS[-9:]}, "snapshots: 9, and at least 10 are needed"),
        ({"shapes": tuple(40 * time for time in UP)}, "has not settled: layer2, layer3"),
    ],
)
def test_what_cannot_be_judged(changes, reason):
    order = convergence_order(made(**{"shapes": UP, **changes}))
    assert reason in order.limitation
    assert order.shows is None
    assert not order.opposes
    assert math.isnan(order.detectable)
    assert order.numbers()["shows"] is None


def test_a_synchronous_path_need_not_settle():
    slow = made(tuple(40 * time for time in UP))
    assert convergence_order(slow, must_settle=False).limitation == ""


def test_one_layer_or_one_run_leaves_no_test():
    assert convergence_order(made(UP[:1])).test is None
    order = convergence_order(made(UP, runs=1))
    assert order.factor == pytest.approx(1.5, rel=0.06)
    assert math.isnan(order.low)
    assert order.numbers()["p_seeds"] is None


def test_what_is_missing_is_said_in_words():
    assert missing(6, 5, 10) == []
    assert missing(3, 2, 40) == [
        "layers: 3, and at least 6 are needed",
        "runs of different seeds: 2, and at least 5 are needed",
    ]


@pytest.mark.parametrize(("layers", "seeds", "between"), [(6, 5, 0.0), (8, 5, 0.3), (10, 5, 0.1)])
def test_the_detectable_factor_is_found_in_four_of_five_studies(layers, seeds, between):
    rng = np.random.default_rng(0)

    def studies(slope, draws):
        noise = rng.normal(0, 0.4, (draws, seeds, layers)) + rng.normal(0, between, (draws, 1, layers))
        return slope_test(slope * np.arange(layers) + noise)

    # The spreads themselves, not an estimate of them.
    true = slope_test(rng.normal(size=(seeds, layers)))
    width = np.sum((np.arange(layers) - (layers - 1) / 2) ** 2)
    spreads = {
        "error_layers": np.sqrt((between**2 + 0.4**2 / seeds) / width),
        "error_seeds": np.sqrt(0.4**2 / seeds / width),
    }
    for name, value in spreads.items():
        object.__setattr__(true, name, value)
    slope = detectable_slope(true, least=math.log(MIN_FACTOR))
    assert rises(studies(slope, 4000)).mean() == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("spread", ["layers", "seeds"])
def test_a_detectable_factor_where_one_of_the_spreads_is_zero(spread):
    rng, depth = np.random.default_rng(0), np.arange(8)
    same = np.tile(rng.normal(size=8), (5, 1))
    line = depth * (0.3 + 0.1 * rng.standard_normal((5, 1)))
    test = slope_test(same if spread == "layers" else line)
    least = math.log(MIN_FACTOR)
    assert least <= detectable_slope(test, least=least) < 10


def test_curves_that_leave_their_end_and_come_back_are_longer_under_the_envelope_alone():
    back = approach(20.0)
    back[30:33] -= 0.4
    curves = made((back,) * 8, noise=1e-4)
    plain, envelope = (convergence_order(curves, measure).areas for measure in (area, envelope_area))
    assert (envelope > plain + 0.3).all()
