"""Distances to the end and times beside depth: planted curves come back in the tables."""

import numpy as np
import pandas as pd
import pytest
from made_curves import STEPS, UP, made
from made_curves import table as tidy

from infoplane.analysis.convergence.order import beyond, convergence_order, order_table
from infoplane.analysis.convergence.profile import profile_table
from infoplane.analysis.convergence.trajectories import trajectories
from infoplane.errors import InfoplaneError

FLAT = 0.002 * (-1.0) ** np.arange(len(STEPS))


def test_distances_fall_from_one_to_zero_as_the_curves_do():
    profile = profile_table([made(UP, noise=0.0)])
    assert len(profile) == 8 * len(STEPS)
    for time, (_, rows) in zip(UP, profile.groupby("layer"), strict=True):
        assert rows["distance"].to_numpy() == pytest.approx(np.exp(-STEPS / time), abs=0.03)
        assert rows["t50"].iloc[0] == pytest.approx(np.log(2) * time, rel=0.07)
    assert (profile["runs"] == 5).all()
    assert (profile["of"] == 5).all()
    assert (profile["left_out"] == "").all()


def test_a_layer_counts_in_the_runs_in_which_it_can_be_used():
    curves = made((*UP[:2], FLAT), runs=2)
    curves.trouble[1, 1] = "not measured at 3 of 40 snapshots"
    curves.trouble[:, 2] = "saturated at 40 of 40 snapshots"
    profile = profile_table([curves]).groupby("layer").first()
    assert profile["runs"].to_dict() == {"layer1": 2, "layer2": 1, "layer3": 0}
    assert profile.loc["layer2", "left_out"] == "not measured at 3 of 40 snapshots"
    everything = profile_table([curves])
    assert everything.loc[everything["layer"] == "layer3", ["distance", "t50"]].isna().all(axis=None)
    assert everything.loc[everything["layer"] == "layer2", "distance"].notna().all()


def test_profiles_that_cannot_stand_side_by_side():
    curves = made(UP)
    with pytest.raises(InfoplaneError, match="give trajectories"):
        profile_table([])
    with pytest.raises(InfoplaneError, match="not all different"):
        profile_table([curves, curves])
    with pytest.raises(InfoplaneError, match="cka and I_XT_corrected are of different layers"):
        profile_table([curves, made(UP[:2], "cka")])


def test_the_order_table_holds_what_the_orders_say():
    trained, control = convergence_order(made(UP, jitter=0.2)), convergence_order(made(UP[:5], runs=1))
    table = order_table({"trained": [trained], "shuffled labels": [control]})
    assert len(table) == 5 * 8 + 5
    rows = table[table["group"] == "trained"]
    assert rows["area"].to_numpy() == pytest.approx(trained.areas.ravel())
    assert rows["t50"].to_numpy() == pytest.approx(trained.half_times.ravel())
    for name in ("factor", "low", "high"):
        assert (rows[name] == getattr(trained, name)).all()
    assert (rows["p_orders"] == trained.test.p_orders).all()
    other = table[table["group"] == "shuffled labels"]
    assert other["limitation"].str.contains("layers: 5, and at least 6").all()
    assert other[["low", "p_seeds"]].isna().all(axis=None)
    with pytest.raises(InfoplaneError, match="no orders"):
        order_table({"trained": []})


def test_what_training_adds_to_the_synchronous_path_is_the_ratio_of_the_factors():
    path = made(tuple(100 * 1.2**depth for depth in range(8)), noise=1e-4)
    path.trouble[0, 5] = "constant at 40 of 40 snapshots"
    trained, structure = convergence_order(made(UP, jitter=0.2)), convergence_order(path)
    added = beyond(trained, structure)
    assert added.factor == pytest.approx(1.5 / 1.2, rel=0.05)
    assert added.low < added.factor < added.high
    assert np.isnan(added.areas[:, 5]).all()
    assert "layer6" in added.left_out
    assert added.limitation == ""
    few = beyond(convergence_order(made(UP, runs=2)), convergence_order(made(UP, runs=2)))
    assert "runs of different seeds: 2" in few.limitation


def test_paths_stand_where_their_trainings_do_whatever_the_order_of_their_names():
    # "run-1.synchronous" comes before "run.synchronous", and "run" before "run-1".
    trainings = ["run", *(f"run-{seed}" for seed in range(1, 5))]
    factors = dict(zip(trainings, (1.2, 1.35, 1.5, 1.65, 1.8), strict=True))

    def order(ending):
        rows = []
        for name in trainings:
            curves = {f"l{depth}": 1 - np.exp(-STEPS / (10 * factors[name] ** depth)) for depth in range(8)}
            rows.append(tidy(curves, runs=1, noise=1e-4).assign(run=name + ending))
        curves = trajectories(pd.concat(rows, ignore_index=True), "I_XT_corrected")
        assert curves.runs == tuple(name + ending for name in trainings)
        return convergence_order(curves, must_settle=False)

    added = beyond(order(""), order(".synchronous"))
    assert np.abs(added.test.seed_slopes).max() < 0.02
    with pytest.raises(InfoplaneError, match="5 trainings have no 2 synchronous paths"):
        beyond(order(""), convergence_order(made(UP, runs=2)))
