"""Means of the modified information plane over runs and batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from recorded import make_run, make_runs
from scipy import stats

from infoplane.analysis.modified_plane import QUANTITIES, gather_interactions, modified_plane_table
from infoplane.errors import InfoplaneError
from infoplane.estimators.batches import Batches
from infoplane.estimators.feature_maps import interaction_table
from infoplane.estimators.renyi import RenyiSettings

BATCHES = Batches(2, 12)


@pytest.fixture
def paths(tmp_path, probe):
    return make_runs(tmp_path, probe)


def test_rows_are_those_of_each_run_with_its_settings(paths):
    found = gather_interactions(paths, settings=RenyiSettings(alpha=2.0), batches=BATCHES, steps=[0, 2])
    own = interaction_table(paths[1], settings=RenyiSettings(alpha=2.0), batches=BATCHES, steps=[0, 2])
    assert found["run"].unique().tolist() == ["seed0", "seed1"]
    second = found[found["run"] == "seed1"].reset_index(drop=True)
    assert second[list(own)].equals(own)
    assert (found["alpha"] == 2.0).all()
    assert (found["kernel"] == "multivariate").all()
    assert (found["batches"] == 2).all()


def test_means_and_intervals_over_runs(paths, probe):
    torch.manual_seed(2)
    paths = [*paths, make_run(paths[0].with_name("seed2.h5"), probe)]
    rows = gather_interactions(paths, batches=BATCHES)
    found = modified_plane_table(rows)
    assert found["step"].tolist() == [0, 1, 2]
    for name in QUANTITIES:
        means = rows.groupby("step")[name].mean()
        assert found[name].to_numpy() == pytest.approx(means.to_numpy())
        of_runs = rows.groupby(["step", "run"])[name].mean().unstack()
        ends = stats.ttest_1samp(of_runs, 0, axis=1).confidence_interval(0.95)
        assert found[f"{name}_low"].to_numpy() == pytest.approx(ends.low)
        assert found[f"{name}_high"].to_numpy() == pytest.approx(ends.high)
    assert (found["runs"] == 3).all()
    assert (found["status"] == "ok").all()


def test_saturated_pairs_and_dead_maps_are_marked(paths):
    rows = gather_interactions(paths[:1])
    # I(X;{A,B}) = redundancy − synergy + non-redundant information.
    limit = np.log2(30)
    rows.loc[rows["step"] == 1, ["redundancy_synergy", "weighted_nonredundant"]] = [0.4 * limit, 0.595 * limit]
    rows.loc[rows["step"] == 2, [*QUANTITIES]] = np.nan
    found = modified_plane_table(rows)
    assert found["uninformative"].tolist() == [False, True, False]
    assert found["status"].tolist() == ["ok", "ok", "under two usable maps"]
    assert found["runs"].tolist() == [1, 1, 0]
    assert found["redundancy_synergy_low"].isna().all()


def test_mixtures_are_refused(paths):
    rows = gather_interactions(paths)
    with pytest.raises(InfoplaneError, match="differ in alpha"):
        modified_plane_table(rows.assign(alpha=[1.0, 2.0] * 3))
    with pytest.raises(InfoplaneError, match="different convolution layers"):
        modified_plane_table(rows.assign(layer=rows["run"]))
    with pytest.raises(InfoplaneError, match="no feature maps"):
        modified_plane_table(rows.iloc[:0])
    with pytest.raises(InfoplaneError, match="given twice"):
        gather_interactions([paths[0], paths[0]])
