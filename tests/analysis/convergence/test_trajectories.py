"""Distances to the end and times: closed forms, and what noise, ranges and humps do to them."""

import numpy as np
import pytest
from made_curves import PLANTED, STEPS, approach, made, table
from scipy.ndimage import median_filter

from infoplane.analysis.convergence.trajectories import (
    before_the_end,
    half_time,
    last_snapshots,
    log_time_area,
    relative_distance,
    smooth,
    trajectories,
    unsettled,
    within_noise,
)
from infoplane.errors import InfoplaneError

FINE = np.unique(np.rint(np.geomspace(1, 100_000, 400)).astype(int))
FINE = np.concatenate([[0], FINE])


def test_smoothing_is_the_median_of_three():
    values = np.random.default_rng(0).normal(size=(3, 20))
    np.testing.assert_array_equal(smooth(values), median_filter(values, (1, 3), mode="nearest"))
    assert smooth(values[:, :2]) is not None


def test_the_last_five_per_cent():
    assert last_snapshots(STEPS) == 2
    assert last_snapshots(np.arange(0, 1001, 10)) == 6
    assert last_snapshots(np.array([0])) == 1
    assert before_the_end(np.arange(0, 101, 10)).tolist() == list(range(0, 100, 10))
    assert before_the_end(STEPS).tolist() == STEPS[:-1].tolist()


def test_an_exponential_approach_has_the_distance_the_area_and_the_half_time_of_its_formula():
    times = np.array([50.0, 500.0])
    distances = relative_distance(np.stack([approach(time, FINE) for time in times]), FINE)
    assert distances[0] == pytest.approx(np.exp(-FINE / 50), abs=0.01)
    # ∫ exp(−s / τ) d ln(1 + s) is exp(1 / τ) E₁(1 / τ), near ln τ − γ.
    areas = log_time_area(distances, FINE)
    assert areas == pytest.approx(np.log(times) - np.euler_gamma, abs=0.1)
    assert np.exp(areas[1] - areas[0]) == pytest.approx(10, rel=0.1)
    assert half_time(distances, FINE) == pytest.approx(np.log(2) * times, rel=0.03)


@pytest.mark.parametrize("scale", [0.012, -0.25, 5.0])
def test_neither_range_nor_level_nor_sign_matter(scale):
    curve = approach(np.array([[30.0], [300.0]]))
    plain, changed = (relative_distance(values, STEPS) for values in (curve, 7 + scale * curve))
    assert changed == pytest.approx(plain, abs=1e-9)


def test_noise_does_not_make_small_ranges_early_or_late():
    rng = np.random.default_rng(0)
    curves = approach(300.0) + np.array([0.001, 0.1])[:, None, None] * rng.normal(size=(2, 2000, 40))
    calm, noisy = log_time_area(relative_distance(curves, STEPS), STEPS).mean(axis=1)
    assert noisy == pytest.approx(calm, abs=0.1)


def test_the_envelope_takes_what_comes_after():
    curve = approach(20.0)
    back = curve.copy()
    back[30:33] -= 0.4
    plain, upper = (relative_distance(back, STEPS, envelope=envelope) for envelope in (False, True))
    assert plain[25] < 0.05
    assert upper[25] == pytest.approx(plain[31])
    assert (np.diff(upper) <= 0).all()
    assert half_time(relative_distance(curve, STEPS), STEPS) == half_time(plain, STEPS)


def test_half_times_are_interpolated_between_snapshots():
    steps = np.array([0, 1, 3, 7])
    halves = half_time(np.array([[1, 0.75, 0.25, 0], [1, 0.2, 0.6, 0.4], [0, 0, 0, 0], [1, 1, 1, 1]]), steps)
    middle = np.sqrt(2 * 4) - 1
    assert halves[0] == pytest.approx(middle)
    assert halves[1] == pytest.approx(np.sqrt(4 * 8) - 1)
    assert np.isnan(halves[2])
    assert halves[3] == pytest.approx(7)


def test_noise_alone_is_noticed_and_a_curve_is_not_taken_for_it():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(400, 5, 40))
    assert within_noise(noise, STEPS).any(axis=1).mean() > 0.95
    assert within_noise(noise + 20 * approach(300.0), STEPS).mean() < 0.01
    assert within_noise(np.full(40, 3.0), STEPS)
    assert (relative_distance(np.full(40, 3.0), STEPS) == 0).all()


def test_what_is_on_its_way_at_the_end_has_not_settled():
    curves = np.stack([[approach(300.0), approach(20_000.0)]] * 3)
    assert unsettled(relative_distance(curves, STEPS), STEPS).tolist() == [False, True]
    # A schedule that is dense at the end says the same.
    even = np.arange(0, 5001, 50)
    curves = np.stack([[approach(300.0, even), approach(20_000.0, even)]] * 3)
    assert unsettled(relative_distance(curves, even), even).tolist() == [False, True]


def test_a_table_becomes_trajectories():
    curves = trajectories(table(PLANTED, runs=3, batches=2), "I_XT_corrected")
    assert curves.values.shape == (3, 2, 8, 40)
    assert curves.layers == tuple(PLANTED)
    assert (curves.troubles() == "").all()
    similar = trajectories(table(PLANTED, runs=3, quantity="cka"), "cka")
    assert similar.steps.tolist() == STEPS[:-1].tolist()


def test_layers_in_trouble_are_named():
    rows = table(PLANTED, runs=2, noise=0.0)
    rows.loc[(rows["run"] == "r1") & (rows["layer"] == "layer2"), "I_XT_corrected"] = np.nan
    rows.loc[(rows["layer"] == "layer3") & (rows["step"] < 3), "status"] = "constant"
    rows.loc[rows["layer"] == "layer5", "I_XT_corrected"] = 3.0
    columns = {"I_XT": 1.0, "I_TY": 1.0, "S_Y": 3.0, "n": 512, "I_TY_null": 0.2, "I_TY_null_std": 0.01}
    rows = rows.assign(**columns, limit_XT=np.where(rows["layer"] == "layer4", 1.0, 9.0))
    reasons = trajectories(rows, "I_XT_corrected").troubles()
    assert reasons[:, 1].tolist() == ["", "not measured at 40 of 40 snapshots"]
    assert reasons[0, 2] == "constant at 3 of 40 snapshots"
    assert reasons[0, 3] == "saturated at 40 of 40 snapshots"
    assert reasons[0, 4] == "its range is not above the fluctuations at its end"
    assert (reasons[:, [0, 5, 6, 7]] == "").all()


def test_runs_that_cannot_stand_side_by_side():
    rows = table(PLANTED, runs=2)
    with pytest.raises(InfoplaneError, match="holds no speed"):
        trajectories(rows, "speed")
    for changed, message in (
        (rows[(rows["run"] == "r0") | (rows["layer"] != "layer2")], "different layers"),
        (rows[(rows["run"] == "r0") | (rows["batch"] != 2)], "different batches"),
        (rows[(rows["run"] == "r0") | (rows["step"] < 4000)], "end at different steps"),
    ):
        with pytest.raises(InfoplaneError, match=message):
            trajectories(changed, "I_XT_corrected")


def test_steps_that_only_some_runs_have_are_left_out():
    rows = table(PLANTED, runs=2)
    curves = trajectories(rows[(rows["run"] == "r0") | (rows["step"] != STEPS[7])], "I_XT_corrected")
    assert curves.steps.tolist() == np.delete(STEPS, 7).tolist()


def test_means_are_over_batches():
    curves = made((100,) * 6)
    assert curves.means == pytest.approx(curves.values.mean(axis=1))
