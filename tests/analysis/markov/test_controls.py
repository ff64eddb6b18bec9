"""Chains with known answers go through the estimators and come out as theory says.

The matrix-based entropies under Gaussian kernels are no Shannon informations: against the closed form of a Gaussian
chain only their order can be claimed, and is. Under delta kernels they are Shannon's of the frequencies, exactly.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform
from torch import nn

from infoplane import Recorder, conditional_mutual_information, gram_matrix, mutual_information
from infoplane.analysis.markov.chains import bottleneck_holds, chains_hold, link_table
from infoplane.analysis.markov.controls import (
    Sample,
    control_tables,
    discrete_chain,
    gaussian_chain,
    planted_bottleneck,
)
from infoplane.analysis.markov.residuals import residuals_hold
from infoplane.analysis.markov.verdict import markov_verdict
from infoplane.estimators.gaussian import coordinates, gaussian_information
from infoplane.estimators.pairs import estimate_pairs, pair_quantities
from infoplane.estimators.renyi import RenyiSettings
from infoplane.kernels import Bandwidth, label_gram


def median_gram(x):
    return gram_matrix(np.asarray(x, dtype=float).reshape(len(x), -1))


def quantities(grams, labels, **options):
    return {
        (row["quantity"], row["i"], row["j"]): row["value"] for row in pair_quantities(grams, labels, **options)
    }


@pytest.mark.parametrize("correlation", [0.5, 0.9])
def test_gaussian_chain_has_its_closed_form(correlation):
    chain, expected = gaussian_chain(4000, 4, correlation, 3, np.random.default_rng(0))
    x = chain[0] - chain[0].mean(axis=0)
    found = [gaussian_information(x, layer - layer.mean(axis=0)) for layer in chain[1:]]
    # Each I has a standard error of about √(d ρ²)/√n nats; five of them at the strongest link.
    np.testing.assert_allclose(found, expected, atol=0.14)
    np.testing.assert_allclose(found[1:], expected[1:], atol=0.08)


def test_gaussian_chain_from_distances():
    chain, expected = gaussian_chain(600, 3, 0.8, 2, np.random.default_rng(1))
    points = [coordinates(squareform(pdist(part))) for part in chain]
    found = [gaussian_information(points[0], layer) for layer in points[1:]]
    np.testing.assert_allclose(found, expected, rtol=0.2, atol=0.05)


def test_matrix_based_informations_fall_with_the_closed_form():
    chain, expected = gaussian_chain(400, 5, 0.8, 2, np.random.default_rng(2))
    x = median_gram(chain[0])
    found = [mutual_information(x, median_gram(layer)) for layer in chain[1:]]
    assert sorted(expected, reverse=True) == expected
    assert sorted(found, reverse=True) == found


def test_discrete_chain_is_markov_to_rounding():
    chain, labels = discrete_chain(200, 5, np.random.default_rng(3))
    found = quantities([label_gram(part) for part in chain], labels)
    for i in range(1, 5):
        assert found["residual_information", i, i + 1] == pytest.approx(0, abs=1e-12)
        assert found["conditional_entropy", i, i + 1] == pytest.approx(0, abs=1e-12)
        assert found["backward_information", i, i + 1] > 0.5
        assert found["information", 0, i] > found["information", 0, i + 1]
        # The plug-in entropy of the frequencies, and a label that is kept.
        frequencies = np.bincount(chain[i]) / 200
        assert found["entropy", i, i] == pytest.approx(-(frequencies * np.log2(frequencies)).sum())
        assert found["information", i, 6] == pytest.approx(found["entropy", 6, 6], abs=1e-12)
    assert found["residual_information", 1, 2] <= found["null_residual", 1, 2]


def test_strong_subadditivity_of_random_gram_matrices():
    rng = np.random.default_rng(4)
    for _ in range(50):
        n = int(rng.integers(4, 30))
        grams = [gram_matrix(rng.standard_normal((n, 3)), float(rng.uniform(0.1, 5))) for _ in range(2)]
        grams.append(label_gram(rng.integers(3, size=n)))
        for order in ([0, 1, 2], [0, 2, 1], [1, 2, 0]):
            assert conditional_mutual_information(*(grams[place] for place in order)) > -1e-10


def test_the_contrast_is_the_step_of_the_input_chain():
    rng = np.random.default_rng(5)
    found = quantities([gram_matrix(rng.standard_normal((30, 2))) for _ in range(4)], np.arange(30) % 3, alpha=1.5)
    for i in (1, 2):
        contrast = found["backward_information", i, i + 1] - found["residual_information", i, i + 1]
        assert contrast == pytest.approx(found["information", 0, i] - found["information", 0, i + 1])


LAYERS = [f"layer{place}" for place in range(1, 6)]


@pytest.fixture(scope="module")
def planted():
    return control_tables(planted_bottleneck(5), LAYERS)


def renamed(tables, order):
    """The layers in another order."""
    estimates, _ = tables
    names = {LAYERS[kind]: LAYERS[place] for place, kind in enumerate(order)}
    layers = estimates["layer"].map(names)
    return estimates.assign(layer=layers, depth=layers.map({name: d for d, name in enumerate(LAYERS, start=1)}))


def test_a_planted_bottleneck_is_supported(planted):
    verdict = markov_verdict(*planted)
    assert verdict.outcome == "supported", verdict.reasons


def test_permuted_layers_violate_the_chain(planted):
    straight = link_table(planted[0], LAYERS).query("step == 1 and quantity == 'I_XT'")
    assert not straight["violated"].any()
    mixed = renamed(planted, [2, 0, 4, 1, 3])
    links = link_table(mixed, LAYERS).query("step == 1 and quantity == 'I_XT'")
    assert links.groupby("link")["violated"].all().tolist() == [True, False, True, False]
    criterion = chains_hold(mixed, LAYERS, 1)
    assert not criterion.holds
    assert criterion.numbers["shares"]["X"] == pytest.approx(0.5)
    assert not bottleneck_holds(mixed, LAYERS, 1).holds


class Block(nn.Module):
    """A residual block on bits: its branch is minus one of them, so that the addition clears it."""

    def __init__(self, bits, cleared):
        super().__init__()
        self.branch = nn.Linear(bits, bits, bias=False)
        nn.init.zeros_(self.branch.weight)
        self.branch.weight.data[cleared, cleared] = -1

    def forward(self, h):
        return h + self.branch(h)


def test_inside_a_residual_block_the_chain_is_not_markov(tmp_path):
    bits = torch.randint(2, (200, 6), generator=torch.Generator().manual_seed(0)).float()
    net = nn.Sequential(*(Block(6, place) for place in range(4)))
    found = {}
    for name, layers in {"after": ["0", "1", "2", "3"], "inside": ["0", "1.branch", "1", "2.branch", "2"]}.items():
        path = tmp_path / f"{name}.h5"
        with Recorder(net, (bits, bits[:, 5].long()), path, layers) as recorder:
            recorder.snapshot(step=0)
        # So narrow a kernel on bits is the delta kernel.
        sharp = Bandwidth("fixed", 0.05)
        rows = estimate_pairs(path, RenyiSettings(bandwidth=sharp, input_bandwidth=sharp))
        rows = rows[rows["quantity"] == "residual_information"]
        found[name] = dict(zip(rows["name_i"] + ">" + rows["name_j"], rows["value"], strict=True))
    assert list(found["after"].values()) == pytest.approx([0, 0, 0], abs=1e-9)
    assert found["inside"]["0>1.branch"] == pytest.approx(0, abs=1e-9)
    assert found["inside"]["1.branch>1"] > 3
    assert found["inside"]["2.branch>2"] > 2


def test_inside_a_residual_block_the_criterion_fails(planted):
    assert residuals_hold(planted[1], LAYERS, 0, 1).holds
    samples = []
    for sample in planted_bottleneck(5, batches=2):
        rng = np.random.default_rng([sample.step, sample.batch])
        states, _ = discrete_chain(128, 5, rng)
        noise = [128 * gram_matrix(0.5 * rng.standard_normal(128), 1.0) for _ in range(3)]
        branches = [label_gram(state & 1) * kernel for state, kernel in zip(states, noise, strict=False)]
        blocks = sample.grams[1:4]
        inside = [gram for pair in zip(branches, blocks, strict=True) for gram in pair]
        samples.append(Sample(sample.run, sample.step, sample.batch, [sample.grams[0], *inside], sample.labels))
    names = ["branch1", "block1", "branch2", "block2", "branch3", "block3"]
    criterion = residuals_hold(control_tables(samples, names)[1], names, 0, 1)
    assert not criterion.holds
    assert criterion.numbers["contrary"][::2] == [True, True, True]
