"""Distances to the end and convergence times beside depth: planted curves come back in the tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from made_curves import STEPS, ramp, table

from infoplane.analysis.convergence.order import depth_order
from infoplane.analysis.convergence.order_table import order_table
from infoplane.analysis.convergence.profile import median_time, profile_table
from infoplane.analysis.convergence.times import curves, layer_times
from infoplane.errors import InfoplaneError

LAYERS = {"a": ramp(20), "b": ramp(150), "c": ramp(600)}
STILL = {"flat": np.full(len(STEPS), 3.0)}


def test_distances_fall_from_one_to_zero_as_the_curves_do():
    found = profile_table([curves(table(LAYERS, batches=1, noise=0.0, runs=3), "I_XT")])
    assert len(found) == 3 * len(STEPS)
    for end, (layer, rows) in zip((20, 150, 600), found.groupby("layer"), strict=True):
        rows = rows.sort_values("step")
        expected = 1 - np.minimum(np.log1p(rows["step"]) / np.log1p(end), 1)
        inner = slice(1, -1)
        assert rows["distance"].to_numpy()[inner] == pytest.approx(expected.to_numpy()[inner], abs=0.05), layer
        assert (rows["runs"] == 3).all()
        assert (rows["of"] == 3).all()
        assert (rows["dropped"] == "").all()
    assert found["distance"].between(0, 1).all()


def test_times_are_the_medians_of_the_convergence_times():
    one = curves(table(LAYERS), "I_XT")
    found = profile_table([one]).groupby("layer")["time"].first()
    medians = layer_times(one).groupby("layer")["time"].median()
    assert found.to_dict() == medians.to_dict()


def test_the_median_of_times_is_one_of_them():
    def times(*values):
        return median_time(pd.DataFrame({"time": values}))

    assert times(3.0, 1.0, np.nan, 7.0) == 3
    assert times(1.0, 2.0) == 2
    assert times(5.0, np.inf, np.inf) == np.inf
    assert np.isnan(times(np.nan))


def test_a_dropped_layer_has_no_distance_and_its_reason():
    rows = table(LAYERS | STILL, runs=2)
    rows.loc[(rows["run"] == "r1") & (rows["layer"] == "b"), "I_XT"] = np.nan
    found = profile_table([curves(rows, "I_XT")]).groupby("layer").first()
    assert found["runs"].to_dict() == {"a": 2, "b": 1, "c": 2, "flat": 0}
    assert "not measured" in found.loc["b", "dropped"]
    assert "within noise" in found.loc["flat", "dropped"]
    everything = profile_table([curves(rows, "I_XT")])
    assert everything.loc[everything["layer"] == "flat", "distance"].isna().all()
    assert everything.loc[everything["layer"] == "b", "distance"].notna().all()


def test_profiles_that_cannot_stand_side_by_side():
    one = curves(table(LAYERS), "I_XT")
    with pytest.raises(InfoplaneError, match="give curves"):
        profile_table([])
    with pytest.raises(InfoplaneError, match="not all different"):
        profile_table([one, one])
    with pytest.raises(InfoplaneError, match="cka and I_XT are of different layers"):
        profile_table([one, curves(table(STILL, quantity="cka"), "cka")])


def test_the_order_table_holds_what_the_orders_say():
    trained = depth_order(curves(table(LAYERS), "I_XT"), resamples=200, draws=20)
    control = depth_order(curves(table(STILL), "I_XT"), resamples=200, draws=20)
    found = order_table({"trained": [trained], "shuffled labels": [control]})
    assert len(found) == 5 * 3 + 5 * 1
    own = found[found["group"] == "trained"]
    assert own["time"].tolist() == trained.layers["time"].tolist()
    assert own["rho"].tolist() == [trained.rho[run] for run in own["run"]]
    for name in ("median", "low", "high", "mean", "p"):
        assert (own[name] == getattr(trained, name)).all()
    assert own["null_median"].iloc[0] == np.median(trained.null)
    assert (own["null_low"] <= own["null_high"]).all()
    other = found[found["group"] == "shuffled labels"]
    assert other["limitation"].str.contains("usable layers").all()
    assert other[["time", "median", "null_low", "p"]].isna().all(axis=None)
    with pytest.raises(InfoplaneError, match="no orders"):
        order_table({"trained": []})
