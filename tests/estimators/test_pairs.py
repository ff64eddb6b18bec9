"""Informations between pairs: the public functions, the null, and the table beside the run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from recorded import make_run

from infoplane import gram_matrix, mutual_information, open_run
from infoplane.errors import InfoplaneError
from infoplane.estimators import pairs as pairs_module
from infoplane.estimators.batches import Batches
from infoplane.estimators.engine.estimate import estimate_run
from infoplane.estimators.nulls import pairings
from infoplane.estimators.pairs import estimate_pairs, pair_informations, pairs_path
from infoplane.estimators.renyi import RenyiSettings


@pytest.fixture
def run_path(tmp_path, probe):
    return make_run(tmp_path / "run.h5", probe)


def random_grams(count, seed=0, n=40):
    rng = np.random.default_rng(seed)
    return [gram_matrix(rng.standard_normal((n, 3))) for _ in range(count)]


def shuffled_information(a, b, order, alpha=1.0):
    """I(A;B) with the samples of A in another order, by the public functions."""
    return mutual_information(a[np.ix_(order, order)], b, alpha)


@pytest.mark.parametrize("alpha", [1.0, 1.01, 2.0])
def test_against_the_public_functions(alpha):
    grams, order = random_grams(4), np.random.default_rng(1).permutation(40)
    information, null = pair_informations(grams, order, alpha=alpha)
    assert (information == information.T).all()
    assert (null == null.T).all()
    for i in range(4):
        for j in range(i, 4):
            assert information[i, j] == pytest.approx(mutual_information(grams[i], grams[j], alpha), abs=1e-9)
            expected = shuffled_information(grams[i], grams[j], order, alpha)
            assert null[i, j] == pytest.approx(expected, abs=1e-9)


def test_two_sets_of_variables():
    grams, others, order = random_grams(2), random_grams(3, seed=1), np.random.default_rng(1).permutation(40)
    information, null = pair_informations(grams, order, others)
    for i, j in np.ndindex(2, 3):
        assert information[i, j] == pytest.approx(mutual_information(grams[i], others[j]), abs=1e-9)
        assert null[i, j] == pytest.approx(shuffled_information(grams[i], others[j], order), abs=1e-9)


def test_an_order_may_name_a_sample_several_times():
    grams, order = random_grams(3), np.random.default_rng(1).integers(40, size=40)
    _, null = pair_informations(grams, order)
    for i, j in ((0, 0), (0, 1), (1, 2)):
        expected = shuffled_information(grams[i], grams[j], order)
        assert null[i, j] == null[j, i] == pytest.approx(expected, abs=1e-9)


def test_in_many_calls_or_one(monkeypatch):
    grams, order = random_grams(4), np.random.default_rng(1).permutation(40)
    whole = pair_informations(grams, order)
    monkeypatch.setattr(pairs_module, "STACKED_BYTES", 1)
    assert np.allclose(whole, pair_informations(grams, order), atol=1e-12)


def test_a_variable_without_a_matrix_leaves_gaps_for_itself_only():
    grams = random_grams(3)
    information, null = pair_informations([grams[0], None, grams[2]], np.arange(40))
    for values in (information, null):
        assert np.isnan(values[1]).all()
        assert np.isnan(values[:, 1]).all()
        assert np.isfinite(values[[0, 2, 0], [0, 2, 2]]).all()


def one(rows, i, j):
    found = rows[(rows["i"] == i) & (rows["j"] == j)]
    assert len(found) == 1
    return found.iloc[0]


def test_the_table_of_a_run(run_path, probe):
    rows = estimate_pairs(run_path, steps=[1])
    with open_run(run_path) as run:
        layers = [run.snapshots[1].activations(layer.name) for layer in run.layers]
        (order,) = pairings(run.probe.distances, 1)
    grams = [gram_matrix(part) for part in (probe[0].numpy(), *layers)]
    assert rows[["i", "name_i"]].drop_duplicates().to_numpy().tolist() == [[0, "X"], [1, "3"], [2, "7"], [3, "8"]]
    assert len(rows) == 10
    for i in range(4):
        for j in range(i, 4):
            row = one(rows, i, j)
            assert (row["step"], row["step_j"]) == (1, 1)
            assert row["information"] == pytest.approx(mutual_information(grams[i], grams[j]), abs=1e-6)
            null = shuffled_information(grams[i], grams[j], order)
            assert row["information_null"] == pytest.approx(null, abs=1e-6)


def test_layers_at_one_time_against_layers_at_the_end(run_path):
    rows = estimate_pairs(run_path, steps=[0, 2], to_end=True)
    with open_run(run_path) as run:
        first, end = (
            [gram_matrix(run.snapshots[index].activations(layer.name)) for layer in run.layers] for index in (0, 2)
        )
    assert rows[["step", "step_j"]].drop_duplicates().to_numpy().tolist() == [[0, 0], [0, 2], [2, 2]]
    later = rows[rows["step"] != rows["step_j"]]
    assert len(later) == 9
    for i, j in np.ndindex(3, 3):
        expected = mutual_information(first[i], end[j])
        assert one(later, i + 1, j + 1)["information"] == pytest.approx(expected, abs=1e-6)


def test_the_same_as_the_estimates_table(run_path):
    batches = Batches(2, 12)
    pairs = estimate_pairs(run_path, RenyiSettings(), batches, steps=[0, 1, 2])
    estimates = estimate_run(run_path, RenyiSettings(), batches)
    for _, row in estimates.iterrows():
        same = pairs[(pairs["step"] == row["step"]) & (pairs["batch"] == row["batch"])]
        assert one(same, 0, row["depth"])["information"] == pytest.approx(row["I_XT"], abs=1e-12)


@pytest.mark.parametrize("scope", ["final", "shared"])
def test_bandwidths_of_other_scopes(run_path, scope):
    pairs = estimate_pairs(run_path, RenyiSettings(scope=scope), steps=[0])
    estimates = estimate_run(run_path, RenyiSettings(scope=scope))
    first = estimates[estimates["step"] == 0]
    for _, row in first.iterrows():
        assert one(pairs, 0, row["depth"])["information"] == pytest.approx(row["I_XT"], abs=1e-12)


def test_nothing_is_computed_twice(run_path, monkeypatch):
    solved = []
    plain = pairs_module.pair_informations

    def counted(*args, **options):
        solved.append(1)
        return plain(*args, **options)

    monkeypatch.setattr(pairs_module, "pair_informations", counted)
    first = estimate_pairs(run_path, batches=Batches(2, 12), steps=[0, 2])
    assert len(solved) == 4
    again = estimate_pairs(run_path, batches=Batches(2, 12), steps=[0, 1, 2])
    assert len(solved) == 6
    kept = again[again["step"] != 1].reset_index(drop=True)
    assert kept.equals(first)
    later = estimate_pairs(run_path, batches=Batches(2, 12), steps=[0, 1, 2], to_end=True)
    assert later[later["step"] == later["step_j"]].reset_index(drop=True).equals(again)
    count = len(solved)
    assert estimate_pairs(run_path, batches=Batches(2, 12), steps=[0, 1, 2], to_end=True).equals(later)
    assert len(solved) == count
    assert pairs_path(run_path).name == "run.pairs.csv"


def test_the_default_snapshots(run_path):
    assert list(estimate_pairs(run_path)["step"].unique()) == [0, 1, 2]


def test_a_broken_layer_leaves_gaps_for_itself_only(tmp_path, probe):
    def wreck(net):
        with torch.no_grad():
            net[6].weight.fill_(torch.nan)

    path = make_run(tmp_path / "run.h5", probe, wreck=wreck)
    rows = estimate_pairs(path, steps=[2])
    assert np.isfinite(one(rows, 0, 1)["information"])
    assert np.isnan(one(rows, 0, 2)["information"])
    assert np.isnan(one(rows, 1, 2)["information_null"])


def test_the_page_explains_every_column(run_path):
    page = (Path(__file__).parents[2] / "docs" / "run-file.md").read_text(encoding="utf-8")
    rows = estimate_pairs(run_path, steps=[0])
    assert {*rows.columns} <= set(re.findall(r"^\| `([^`]+)`", page, re.MULTILINE))


def test_refusals(run_path):
    with pytest.raises(InfoplaneError, match="no snapshot at step 7; it has 0, 1, 2"):
        estimate_pairs(run_path, steps=[7])
    pairs_path(run_path).write_text('"broken\n1,2\n')
    with pytest.raises(InfoplaneError, match="delete it"):
        estimate_pairs(run_path)
