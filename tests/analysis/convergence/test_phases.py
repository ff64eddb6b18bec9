"""Fitting and compression: planted turns, curves that never fall, and how often noise is taken for a phase."""

import numpy as np
import pytest
from scipy import stats

from infoplane.analysis.convergence.phases import phases
from infoplane.analysis.convergence.trajectories import Trajectories
from infoplane.recording.schedule import log_spaced

STEPS = np.array(log_spaced(1000, 40))


def made(shapes, runs=5, batches=3, noise=0.05, seed=0):
    """Curves of layers named by their shapes, with levels and noise of each run and batch."""
    rng = np.random.default_rng(seed)
    values = np.stack(list(shapes.values())) + rng.normal(0, 0.2, (runs, batches, len(shapes), 1))
    values = (
        values + rng.normal(0, noise, (runs, 1, len(shapes), 40)) + rng.normal(0, noise, (*values.shape[:3], 40))
    )
    trouble = np.full((runs, len(shapes)), "", dtype=object)
    names = tuple(f"r{run}" for run in range(runs))
    return Trajectories("I_XT", names, tuple(shapes), STEPS, values, trouble, "I(X;T)", len(STEPS))


def hump(top, height=1.0, fall=0.5):
    rising, falling = np.log1p(STEPS) / np.log1p(top), np.log(STEPS.clip(top) / top) / np.log(STEPS[-1] / top)
    return 3 + np.where(STEPS <= top, height * rising, height - fall * falling)


def test_planted_phases():
    shapes = {
        "hump": hump(100),
        "rise": 3 + np.log1p(STEPS) / 7,
        "fall": 5 - np.log1p(STEPS) / 7,
        "flat": np.full(40, 4.0),
    }
    table = phases(made(shapes)).set_index("layer")
    assert table["phase"].to_dict() == {
        "hump": "fitting, then compression",
        "rise": "fitting",
        "fall": "compression",
        "flat": "neither",
    }
    hill = table.loc["hump"]
    assert hill["turn"] == pytest.approx(100, rel=0.4)
    assert hill["turn_low"] <= hill["turn"] <= hill["turn_high"]
    assert hill["rise"] == pytest.approx(1, abs=0.15)
    assert hill["fall"] == pytest.approx(0.48, abs=0.15)
    assert hill["fall_low"] < hill["fall"] < hill["fall_high"]
    # A curve that rises to the end turns at the end and falls by nothing.
    assert table.loc["rise", "turn"] == 1000
    assert abs(table.loc["rise", "fall"]) < 0.05


def test_noise_is_rarely_a_phase():
    shapes = {"first": np.full(40, 4.0), "second": np.full(40, 2.0)}
    found = [phases(made(shapes, seed=seed)) for seed in range(60)]
    assert np.mean([(table["p_fall"] < 0.05).any() for table in found]) <= 0.1
    assert abs(np.mean([table["fall"].mean() for table in found])) < 0.02


@pytest.mark.parametrize("batches", [1, 6])
def test_one_run_decides_nothing(batches):
    single = phases(made({"hump": hump(100)}, runs=1, batches=batches)).iloc[0]
    assert single["phase"] == "undecidable"
    assert single["turn"] == pytest.approx(100, rel=0.4)
    assert single["fall"] == pytest.approx(0.5, abs=0.25)
    assert np.isnan([single["p_fall"], single["turn_low"]]).all()
    assert np.isnan(single["fall_low"]) == (batches == 1)


def test_intervals_are_over_runs_and_two_have_none():
    shapes = {"hump": hump(100)}
    five, two = (phases(made(shapes, runs=runs)).iloc[0] for runs in (5, 2))
    # The ends are 2.776445 of those standard errors from the mean that p is made of.
    t = stats.t.isf(five["p_fall"], 4)
    assert five["fall"] - five["fall_low"] == pytest.approx(2.776445 * five["fall"] / t, rel=1e-5)
    assert np.isnan([two["rise_low"], two["fall_high"]]).all()
    assert two["turn_low"] <= two["turn_high"]


def test_a_layer_in_trouble_is_left_out():
    curves = made({"good": hump(100), "bad": hump(100)})
    curves.trouble[2, 1] = "not finite at 3 of 40 snapshots"
    table = phases(curves).set_index("layer")
    assert table.loc["bad", "phase"] == "not finite at 3 of 40 snapshots"
    assert np.isnan(table.loc["bad", "fall"])
    assert table.loc["good", "phase"] == "fitting, then compression"


def test_a_small_change_that_all_runs_show_is_a_phase_and_its_size_stands_beside_it():
    table = phases(made({"a hair": hump(100, height=0.09, fall=0.09)}, noise=0.001)).set_index("layer")
    assert table.loc["a hair", "phase"] == "fitting, then compression"
    assert table.loc["a hair", "fall"] == pytest.approx(0.09, abs=0.02)
