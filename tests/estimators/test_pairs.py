"""Pairwise quantities: a naive computation, identities, the null, and the table beside the run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from recorded import make_run

from infoplane import (
    conditional_mutual_information,
    gram_matrix,
    joint_entropy,
    mutual_information,
    open_run,
    renyi_entropy,
)
from infoplane.errors import InfoplaneError
from infoplane.estimators import pairs as pairs_module
from infoplane.estimators.batches import Batches
from infoplane.estimators.engine.estimate import estimate_run
from infoplane.estimators.nulls import PERMUTATION_SEED
from infoplane.estimators.pairs import estimate_pairs, pair_quantities, pairs_path
from infoplane.estimators.renyi import RenyiSettings
from infoplane.kernels import label_gram


@pytest.fixture
def run_path(tmp_path, probe):
    return make_run(tmp_path / "run.h5", probe)


def value(rows, quantity, i, j):
    found = rows[(rows["quantity"] == quantity) & (rows["i"] == i) & (rows["j"] == j)]
    assert len(found) == 1
    return found["value"].iloc[0]


@pytest.mark.parametrize("alpha", [1.0, 1.01, 2.0])
def test_against_the_public_functions(run_path, probe, alpha):
    rows = estimate_pairs(run_path, RenyiSettings(alpha=alpha), steps=[1], draws=3)
    with open_run(run_path) as run:
        layers = [run.snapshots[1].activations(layer.name) for layer in run.layers]
    grams = [gram_matrix(part) for part in (probe[0].numpy(), *layers)] + [label_gram(probe[1].numpy())]
    named = rows.loc[rows["quantity"] == "entropy", ["i", "name_i"]].to_numpy().tolist()
    assert named == [[0, "X"], [1, "3"], [2, "7"], [3, "8"], [4, "Y"]]
    for i, a in enumerate(grams):
        assert value(rows, "entropy", i, i) == pytest.approx(renyi_entropy(a, alpha), abs=1e-6)
        for j in range(i, 5):
            expected = mutual_information(a, grams[j], alpha)
            assert value(rows, "information", i, j) == pytest.approx(expected, abs=1e-6)
    for i in (1, 2):
        x, before, after = grams[0], grams[i], grams[i + 1]
        residual = conditional_mutual_information(x, after, before, alpha)
        backward = conditional_mutual_information(x, before, after, alpha)
        added = joint_entropy(before, after, alpha=alpha) - renyi_entropy(before, alpha)
        assert value(rows, "residual_information", i, i + 1) == pytest.approx(residual, abs=1e-6)
        assert value(rows, "backward_information", i, i + 1) == pytest.approx(backward, abs=1e-6)
        assert value(rows, "conditional_entropy", i, i + 1) == pytest.approx(added, abs=1e-6)


def test_the_null_is_the_residual_of_permuted_rows(run_path):
    rng = np.random.default_rng(3)
    grams = [gram_matrix(rng.standard_normal((40, 3))) for _ in range(3)]
    labels = np.arange(40) % 4
    rows = {(row["quantity"], row["i"]): row["value"] for row in pair_quantities(grams, labels, draws=4)}
    shuffle, ratios = np.random.default_rng(PERMUTATION_SEED), []
    for _ in range(4):
        order = shuffle.permutation(40)
        noise = grams[2][order][:, order]
        added = joint_entropy(grams[1], noise) - renyi_entropy(grams[1])
        ratios.append(conditional_mutual_information(grams[0], noise, grams[1]) / added)
    assert rows["null_residual", 1] == pytest.approx(np.mean(ratios))
    assert rows["null_residual_sd", 1] == pytest.approx(np.std(ratios, ddof=1))


def test_the_same_as_the_estimates_table(run_path):
    batches = Batches(2, 12)
    pairs = estimate_pairs(run_path, RenyiSettings(), batches)
    estimates = estimate_run(run_path, RenyiSettings(), batches)
    for _, row in estimates.iterrows():
        same = pairs[(pairs["step"] == row["step"]) & (pairs["batch"] == row["batch"])]
        assert value(same, "information", 0, row["depth"]) == pytest.approx(row["I_XT"], abs=1e-12)
        assert value(same, "information", row["depth"], 4) == pytest.approx(row["I_TY"], abs=1e-12)
        assert value(same, "entropy", row["depth"], row["depth"]) == pytest.approx(row["S_T"], abs=1e-12)


@pytest.mark.parametrize("scope", ["final", "shared"])
def test_bandwidths_of_other_scopes(run_path, scope):
    pairs = estimate_pairs(run_path, RenyiSettings(scope=scope), steps=[0])
    estimates = estimate_run(run_path, RenyiSettings(scope=scope))
    first = estimates[estimates["step"] == 0]
    for _, row in first.iterrows():
        assert value(pairs, "entropy", row["depth"], row["depth"]) == pytest.approx(row["S_T"], abs=1e-12)


def test_nothing_is_computed_twice(run_path, monkeypatch):
    solved = []
    plain = pairs_module.pair_quantities

    def counted(*args, **options):
        solved.append(1)
        return plain(*args, **options)

    monkeypatch.setattr(pairs_module, "pair_quantities", counted)
    first = estimate_pairs(run_path, batches=Batches(2, 12), steps=[0, 2])
    assert len(solved) == 4
    again = estimate_pairs(run_path, batches=Batches(2, 12), steps=[0, 1, 2])
    assert len(solved) == 6
    kept = again[again["step"] != 1].reset_index(drop=True)
    assert kept.equals(first)
    estimate_pairs(run_path, batches=Batches(2, 12), draws=3, steps=[0])
    assert len(solved) == 8
    assert pairs_path(run_path).name == "run.pairs.csv"


def test_the_default_snapshots(run_path):
    assert list(estimate_pairs(run_path)["step"].unique()) == [0, 1, 2]


def test_a_broken_layer_leaves_gaps_for_itself_only(tmp_path, probe):
    def wreck(net):
        with torch.no_grad():
            net[6].weight.fill_(torch.nan)

    path = make_run(tmp_path / "run.h5", probe, wreck=wreck)
    rows = estimate_pairs(path, steps=[2])
    assert np.isfinite(value(rows, "information", 0, 1))
    assert np.isfinite(value(rows, "information", 1, 4))
    assert np.isnan(value(rows, "information", 0, 2))
    assert np.isnan(value(rows, "null_residual", 1, 2))


def test_the_page_explains_every_column_and_quantity(run_path):
    page = (Path(__file__).parents[2] / "docs" / "run-file.md").read_text(encoding="utf-8")
    rows = estimate_pairs(run_path, steps=[0])
    named = set(re.findall(r"^\| `([^`]+)`", page, re.MULTILINE))
    assert {*rows.columns, *rows["quantity"]} <= named


def test_refusals(run_path):
    with pytest.raises(InfoplaneError, match="no snapshot at step 7; it has 0, 1, 2"):
        estimate_pairs(run_path, steps=[7])
    with pytest.raises(InfoplaneError, match="at least 2 draws"):
        estimate_pairs(run_path, draws=1)
    pairs_path(run_path).write_text('"broken\n1,2\n')
    with pytest.raises(InfoplaneError, match="delete it"):
        estimate_pairs(run_path)
