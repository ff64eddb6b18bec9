"""Informations between layers as arrays and tables."""

from __future__ import annotations

import numpy as np
import pytest
from made_markov import NAMES, chain, control_runs
from scipy import stats

from infoplane.analysis.markov.matrices import (
    decay_table,
    end_informations,
    informations,
    matrix_table,
    pair_cube,
)
from infoplane.analysis.markov.tables import markov_tables, middle_table, share_table
from infoplane.analysis.markov.triples import triple_test
from infoplane.errors import InfoplaneError

VARIABLES = ["X", *NAMES]


@pytest.fixture(scope="module")
def control():
    return control_runs(chain)


@pytest.fixture(scope="module")
def pairs(control):
    return control[1]


def one(pairs, **place):
    rows = pairs[np.logical_and.reduce([pairs[name] == value for name, value in place.items()])]
    assert len(rows) == 1
    return rows["information"].iloc[0] - rows["information_null"].iloc[0]


def test_a_cell_of_the_cube_is_a_row(pairs):
    cube = pair_cube(pairs, "information", VARIABLES, 100, 100)
    rows = pairs.query("run == 'seed2' and batch == 1 and step == 100 and step_j == 100 and i == 2 and j == 5")
    assert [cube[2, 1, 2, 5]] == rows["information"].tolist()
    assert np.isnan(cube[2, 1, 5, 2])


def test_informations_are_corrected_and_normalised(pairs):
    found = informations(pairs, VARIABLES, 100)
    assert found.shape == (5, 4, 7, 7)
    np.testing.assert_allclose(found, found.swapaxes(-1, -2))
    np.testing.assert_allclose(np.einsum("...ii->...i", found), 1)
    place = {"run": "seed1", "batch": 3, "step": 100, "step_j": 100}
    i, j, both = (one(pairs, **place, i=i, j=j) for i, j in ((1, 1), (4, 4), (1, 4)))
    assert found[1, 3, 1, 4] == pytest.approx(both / np.sqrt(i * j))


def test_informations_with_the_end(pairs):
    found = end_informations(pairs, NAMES, 0, 100)
    place = {"run": "seed1", "batch": 3}
    both = one(pairs, **place, step=0, step_j=100, i=2, j=5)
    then, end = (one(pairs, **place, step=step, step_j=step, i=i, j=i) for step, i in ((0, 2), (100, 5)))
    assert found[1, 3, 1, 4] == pytest.approx(both / np.sqrt(then * end))
    np.testing.assert_array_equal(end_informations(pairs, NAMES, 100, 100), informations(pairs, NAMES, 100))


def test_the_table_of_matrices_holds_means_over_runs(pairs):
    table = matrix_table(pairs, NAMES)
    assert table.groupby(["step", "step_j"]).size().to_dict() == {(0, 0): 49, (0, 100): 36, (100, 100): 49}
    row = table.query("step == 100 and name_i == 'X' and name_j == 'layer3'").iloc[0]
    values = informations(pairs, VARIABLES, 100)[..., 0, 3].mean(axis=1)
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = row[["information", "information_low", "information_high"]].tolist()
    assert found == pytest.approx([values.mean(), interval.low, interval.high])


def test_shares_and_middles_are_those_of_the_test(pairs):
    test = triple_test(informations(pairs, VARIABLES, 0))
    row = share_table(pairs, NAMES).query("step == 0").iloc[0]
    assert row[["share", "least", "most", "p"]].tolist() == [
        test.share, test.shares.min(), test.shares.max(), test.p,
    ]  # fmt: skip
    assert row["shuffled_low"] <= row["shuffled"] <= row["shuffled_high"]
    middles = middle_table(pairs, NAMES)
    assert middles["layer"].unique().tolist() == NAMES[:-1]
    expected = test.violated[:, :3, 3, 4:].mean()
    assert middles.query("step == 0 and layer == 'layer3'")["share"].tolist() == [expected]


def test_decay_is_over_pairs_at_a_distance(pairs):
    table = decay_table(pairs, NAMES)
    now, start = (informations(pairs, NAMES, step) for step in (100, 0))
    row = table.query("step == 100 and distance == 4 and run == 'seed3'").iloc[0]
    expected = np.mean([now[3, :, i, i + 4] for i in (0, 1)])
    assert row["information"] == pytest.approx(expected)
    assert row["gain"] == pytest.approx(expected - np.mean([start[3, :, i, i + 4] for i in (0, 1)]))
    means = table.query("step == 100").groupby("distance")["information"].mean()
    assert means.is_monotonic_decreasing


def test_the_tables_name_depths_and_what_was_left_out(control):
    estimates, pairs, links = control
    estimates = estimates.assign(status=estimates["status"].where(estimates["layer"] != "layer2", "constant"))
    tables = markov_tables(estimates, pairs, links)
    for table in (tables.matrices, tables.shares, tables.middles, tables.decay, tables.links):
        assert table["left_out"].unique().tolist() == ["layer2 (constant)"]
        assert table["runs"].unique().tolist() == [5]
        assert table["batches"].unique().tolist() == [4]
    assert sorted(tables.matrices["depth_i"].unique()) == [0, 1, 3, 4, 5, 6]
    assert tables.links["layer_i"].nunique() == 5


def test_tables_need_batches_and_layers(control):
    estimates, pairs, links = control
    with pytest.raises(InfoplaneError, match="estimate by probe batches"):
        markov_tables(estimates[estimates["batch"] == 0], pairs[pairs["batch"] == 0], links)
    broken = estimates.assign(status=estimates["status"].where(estimates["layer"] == "layer1", "constant"))
    with pytest.raises(InfoplaneError, match=r"1 readable layers, .* layer2 \(constant\)"):
        markov_tables(broken, pairs, links)
