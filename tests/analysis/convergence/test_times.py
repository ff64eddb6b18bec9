"""Convergence times: planted ones come back; flat, saturated and unmeasured layers are dropped with the reason."""

import numpy as np
import pandas as pd
import pytest
from made_curves import PLANTED, STEPS, ramp, table
from scipy.ndimage import median_filter
from scipy.stats import spearmanr

from infoplane.analysis.convergence.order import correlations, depth_order
from infoplane.analysis.convergence.times import (
    Curves,
    convergence_times,
    curves,
    final_value,
    last_snapshots,
    layer_times,
    noise_range,
    smooth,
    standard_errors,
)
from infoplane.errors import InfoplaneError


def planted(**options):
    return table({name: ramp(end) for name, end in PLANTED.items()}, **options)


def naive_time(values, steps, tolerance, floor):
    """The definition read out loud."""
    smoothed = median_filter(values, 3, mode="nearest")
    last = [i for i, step in enumerate(steps) if step >= 0.95 * steps[-1]]
    count = max(len(last), 2, int(np.ceil(0.05 * len(steps))))
    end = np.mean(smoothed[-count:])
    allowed = tolerance * max(smoothed.max() - smoothed.min(), floor)
    for i in range(len(steps)):
        if all(abs(value - end) <= allowed for value in smoothed[i:]):
            return steps[i] if i else np.nan
    return np.inf


@pytest.mark.parametrize("tolerance", [0.02, 0.05, 0.1])
def test_times_are_those_of_the_definition(tolerance):
    rng = np.random.default_rng(1)
    walks = rng.normal(0, 1, (200, 40)).cumsum(axis=1) * rng.uniform(0, 0.3, (200, 1))
    found = convergence_times(walks, STEPS, tolerance, 0.1)
    np.testing.assert_array_equal(found, [naive_time(walk, STEPS, tolerance, 0.1) for walk in walks])


def test_a_later_excursion_counts_and_a_single_outlier_does_not():
    curve = ramp(20)
    early = convergence_times(curve, STEPS)
    outlier, excursion = curve.copy(), curve.copy()
    outlier[30] += 1
    excursion[30:32] += 1
    assert convergence_times(outlier, STEPS) == early
    assert convergence_times(excursion, STEPS) == STEPS[32]
    assert np.isinf(convergence_times(np.linspace(0, 1, 40) ** 8, STEPS))
    assert np.isnan(convergence_times(np.full(40, 3.0), STEPS))
    assert np.isnan(convergence_times(np.append(curve[:-1], np.nan), STEPS))


def test_the_last_five_per_cent():
    assert last_snapshots(STEPS) == 2
    assert last_snapshots(np.arange(0, 1001, 10)) == 6
    assert last_snapshots(np.arange(0, 201, 1)) == 11
    assert last_snapshots(np.array([0])) == 1
    assert final_value(np.arange(40.0), STEPS) == 38.5


def test_smoothing_is_the_median_of_three():
    values = np.random.default_rng(0).normal(size=(3, 20))
    np.testing.assert_array_equal(smooth(values), median_filter(values, (1, 3), mode="nearest"))
    assert smooth(values[:, :2]) is not None


def test_planted_times_are_recovered():
    times = layer_times(curves(planted(), "I_XT"))
    # 95 % of the way is reached a little before the end of the ramp; a snapshot is a factor of 1.2 later.
    for name, end in PLANTED.items():
        found = times.loc[times["layer"] == name, "time"]
        reached = np.expm1(0.95 * np.log1p(end))
        assert found.between(reached / 1.25, end * 1.25).all(), (name, found.tolist())
    order = depth_order(curves(planted(), "I_XT"))
    assert order.median == 1.0
    assert order.low > 0.8
    assert order.p == pytest.approx(1 / 120)
    assert order.attainable == pytest.approx(1 / 120)


def test_permuting_the_layers_destroys_the_order():
    rng = np.random.default_rng(0)
    names = list(PLANTED)
    found = []
    for _ in range(40):
        shuffled = {name: ramp(PLANTED[names[i]]) for name, i in zip(names, rng.permutation(5), strict=True)}
        found.append(depth_order(curves(table(shuffled, runs=2), "I_XT"), resamples=50, draws=5))
    assert abs(np.mean([order.median for order in found])) < 0.25
    assert np.mean([order.p < 0.05 for order in found]) < 0.2
    assert all(abs(order.null.mean()) < 0.02 for order in found)


def test_dropped_layers_are_named_and_not_counted_as_first():
    layers = {
        "saturated": np.full(40, 8.97),
        "flat": np.full(40, 3.0) + 0.001 * np.sin(np.arange(40)),
        "noisy": np.full(40, 4.0),
        **{name: ramp(end) for name, end in PLANTED.items()},
    }
    data = table(layers, noise=0.001)
    rng = np.random.default_rng(3)
    noisy = data["layer"] == "noisy"
    data.loc[noisy, "I_XT"] += rng.normal(0, 0.5, noisy.sum())
    limits = {"I_TY": 1.0, "S_Y": 3.0, "n": 512, "I_TY_null": 0.2, "I_TY_null_std": 0.01, "limit_XT": np.nan}
    data = data.assign(**limits)
    data.loc[data["layer"] == "saturated", "limit_XT"] = 8.97
    times = layer_times(curves(data, "I_XT"))
    reasons = times.groupby("layer")["dropped"].first()
    assert reasons["saturated"].startswith("saturated at 40 of 40")
    assert "tolerance" in reasons["flat"] or "noise" in reasons["flat"]
    assert "is within noise" in reasons["noisy"]
    assert (reasons[list(PLANTED)] == "").all()
    assert times.loc[times["dropped"] != "", "time"].isna().all()
    order = depth_order(curves(data, "I_XT"))
    assert (order.median, order.attainable) == (1.0, pytest.approx(1 / 120))


def test_a_layer_with_nan_is_dropped_with_its_status():
    data = planted()
    bad = (data["layer"] == "conv2") & (data["step"] == STEPS[7]) & (data["run"] == "r1")
    data.loc[bad, ["I_XT", "status"]] = [np.nan, "not finite"]
    times = layer_times(curves(data, "I_XT")).set_index(["run", "layer"])
    assert times.loc[("r1", "conv2"), "dropped"] == "not finite at 1 of 40 snapshots"
    assert times.loc[("r0", "conv2"), "dropped"] == ""
    assert depth_order(curves(data, "I_XT")).rho["r1"] == 1.0


def test_standard_errors_are_paired_over_batches():
    rng = np.random.default_rng(0)
    values = rng.normal(0, 5, (400, 4, 1, 1)) + rng.normal(0, 0.1, (400, 4, 1, 30)) + np.arange(30)
    # The level of a batch cancels; what is left is the noise over √4 batches.
    assert np.sqrt(np.square(standard_errors(values)).mean()) == pytest.approx(0.1 / 2, rel=0.05)
    assert np.isnan(standard_errors(values[:, :1])).all()


def test_noise_is_dropped_at_the_stated_rate():
    rng = np.random.default_rng(0)
    curve = table({f"l{i}": np.full(40, 4.0) for i in range(200)}, runs=1)
    curve["I_XT"] += rng.normal(0, 0.3, len(curve))
    dropped = layer_times(curves(curve, "I_XT"))["dropped"]
    assert (dropped != "").mean() > 0.93
    assert noise_range(40) == pytest.approx(
        np.quantile(np.ptp(rng.normal(size=(20000, 40)), axis=1), 0.95), rel=0.01
    )
    assert noise_range(2) == 3


def test_correlations_are_spearmans_with_ties():
    rng = np.random.default_rng(0)
    times = rng.integers(0, 4, (50, 6)).astype(float)
    times[:, 2] = np.nan
    times[3] = [1, 1, np.nan, 1, 1, 1]
    found = correlations(times, np.arange(6))
    kept = [0, 1, 3, 4, 5]
    expected = [0 if len(set(row[kept])) == 1 else spearmanr(kept, row[kept]).statistic for row in times]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert correlations(np.array([1, 2, np.inf, np.inf]), np.arange(4)) == pytest.approx(
        spearmanr([0, 1, 2, 3], [1, 2, 9, 9]).statistic
    )
    assert np.isnan(correlations(np.array([1, 2, np.nan]), np.arange(3)))


def test_the_interval_knows_seeds_and_batches():
    ordered = {name: ramp(end) for name, end in PLANTED.items()}
    reversed_ = dict(zip(PLANTED, list(ordered.values())[::-1], strict=True))
    up, down = table(ordered, runs=3), table(reversed_, runs=3)
    down["run"] = "x" + down["run"]
    mixed = depth_order(curves(pd.concat([up, down]), "I_XT"))
    assert (mixed.low, mixed.high) == (-1.0, 1.0)
    noisy = depth_order(curves(table(ordered, runs=3, noise=0.4), "I_XT"))
    assert noisy.high - noisy.low > 0


def test_a_layer_that_stands_still_in_some_batches_converges_first_there():
    still = np.array([np.append(-2.0, np.zeros(39)), np.zeros(40)])
    values = np.array([[[curve, *map(ramp, (60, 150, 300, 600))] for curve in still]] * 5)
    names = tuple(f"r{run}" for run in range(5))
    trouble = np.full((5, 5), "", dtype=object)
    order = depth_order(Curves("I_XT", names, tuple("abcde"), STEPS, values, trouble, 0.1))
    assert order.layers["dropped"].eq("").all()
    assert (order.median, order.low, order.high) == (1.0, pytest.approx(1.0), pytest.approx(1.0))


@pytest.mark.parametrize(
    ("data", "limitation"),
    [
        (lambda: planted(steps=STEPS)[lambda t: t["depth"] <= 2], "at most 2 usable layers"),
        (lambda: planted()[lambda t: t["step"] == 1000], "1 common snapshots"),
        (lambda: planted()[lambda t: t["step"].isin(STEPS[::13])], "4 common snapshots, at least 5 are needed"),
        (lambda: planted().assign(status="not recorded", I_XT=np.nan), "not recorded in these runs"),
        (lambda: planted().assign(I_XT=3.0), "at most 0 usable layers"),
    ],
)
def test_what_cannot_be_judged_says_why(data, limitation):
    order = depth_order(curves(data(), "I_XT"))
    assert limitation in order.limitation
    assert np.isnan([order.median, order.low, order.p]).all()


def test_runs_that_cannot_stand_side_by_side_are_refused():
    data = planted(runs=2)
    with pytest.raises(InfoplaneError, match="different layers"):
        curves(data[(data["run"] == "r0") | (data["depth"] < 4)], "I_XT")
    with pytest.raises(InfoplaneError, match="end at different steps"):
        curves(data[(data["run"] == "r0") | (data["step"] < 500)], "I_XT")
    with pytest.raises(InfoplaneError, match="different batches"):
        curves(data[(data["run"] == "r0") | (data["batch"] == 0)], "I_XT")
    with pytest.raises(InfoplaneError, match="holds no cka"):
        curves(data, "cka")


def test_without_batches_and_of_relative_quantities():
    data = planted(batches=1, runs=3, quantity="cka").drop(columns="batch")
    found = curves(data, "cka")
    assert found.floor == 0.01
    assert found.values.shape == (3, 1, 5, 40)
    order = depth_order(found)
    assert order.median == 1.0
    assert np.isnan(order.layers["standard_error"]).all()
