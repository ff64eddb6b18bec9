"""The informations at the end of training under other bandwidths, probe sizes and orders."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from recorded import make_run, make_runs

from infoplane.analysis.gather import gather
from infoplane.analysis.plane import plane_table
from infoplane.analysis.sensitivity import sensitivity_table
from infoplane.errors import InfoplaneError
from infoplane.estimators.batches import Batches
from infoplane.estimators.engine.estimate import estimates_path
from infoplane.estimators.renyi import RenyiSettings
from infoplane.kernels import Bandwidth

SETTINGS = RenyiSettings(permutations=3)


@pytest.fixture
def paths(tmp_path, probe):
    return make_runs(tmp_path, probe)


def test_each_choice_is_the_plane_at_the_last_snapshot(paths):
    found = sensitivity_table(paths, SETTINGS, factors=[0.5, 1.0], sizes=[5, 10, 20], alphas=[1.0, 2.0])
    choices = found.groupby("varied", sort=False)["value"].unique().map(list).to_dict()
    # Of batches of 20 the probe of 30 holds only one.
    assert choices == {"bandwidth": [0.5, 1.0], "n": [5, 10, 30], "alpha": [1.0, 2.0]}
    assert (found["step"] == 2).all()
    half = Bandwidth("median", 0.5)
    settings = {
        ("bandwidth", 0.5): (RenyiSettings(bandwidth=half, input_bandwidth=half, permutations=3), None),
        ("n", 10): (SETTINGS, Batches(3, 10)),
        ("alpha", 2.0): (RenyiSettings(alpha=2.0, permutations=3), None),
    }
    for (varied, value), (changed, batches) in settings.items():
        estimates, _ = gather(paths, changed, batches)
        expected = plane_table(estimates).query("step == 2")
        own = found[(found["varied"] == varied) & (found["value"] == value)]
        for name in ("I_XT", "I_TY", "I_TY_null", "I_TY_low", "I_TY_high", "n"):
            np.testing.assert_allclose(own[name], expected[name], equal_nan=True)


def test_only_the_last_snapshot_is_estimated(paths):
    sensitivity_table(paths, SETTINGS, factors=[1.0], sizes=[], alphas=[])
    assert set(pd.read_csv(estimates_path(paths[0]))["step"]) == {2}


def test_narrow_kernels_saturate_and_wide_ones_see_nothing(paths):
    found = sensitivity_table(paths, SETTINGS, factors=[0.01, 100.0], sizes=[], alphas=[])
    narrow, wide = (found[(found["varied"] == "bandwidth") & (found["value"] == value)] for value in (0.01, 100.0))
    assert narrow["I_XT"].to_numpy() == pytest.approx(np.log2(30), abs=0.2)
    assert (wide[["I_XT", "I_TY"]] < 0.01).all(axis=None)


def test_runs_that_end_apart_are_refused(tmp_path, probe):
    one, other = (make_run(tmp_path / f"{len(steps)}.h5", probe, steps) for steps in ((0, 1), (0, 1, 2)))
    with pytest.raises(InfoplaneError, match="no training step in common"):
        sensitivity_table([one, other], SETTINGS)
