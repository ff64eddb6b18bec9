"""Layers whose dependence is known come out as they must: chains pass, what is no chain fails."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform
from torch import nn

from infoplane import Recorder, conditional_mutual_information, gram_matrix, mutual_information
from infoplane.analysis.markov.controls import (
    batch_informations,
    features,
    gaussian_chain,
    in_order,
    inputs,
    linear_chain,
    network,
)
from infoplane.analysis.markov.structure import gather_links, structure_test
from infoplane.analysis.markov.triples import triple_test
from infoplane.estimators.gaussian import coordinates, gaussian_information
from infoplane.kernels import Bandwidth, label_gram

BATCHES, N = 4, 384
EQUAL, UNEQUAL = (64,) * 6, (64, 32, 128, 16, 64, 32)


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
    x = gram_matrix(chain[0])
    found = [mutual_information(x, gram_matrix(layer)) for layer in chain[1:]]
    assert sorted(expected, reverse=True) == expected
    assert sorted(found, reverse=True) == found


def test_strong_subadditivity_of_random_gram_matrices():
    rng = np.random.default_rng(4)
    for _ in range(50):
        n = int(rng.integers(4, 30))
        grams = [gram_matrix(rng.standard_normal((n, 3)), float(rng.uniform(0.1, 5))) for _ in range(2)]
        grams.append(label_gram(rng.integers(3, size=n)))
        for order in ([0, 1, 2], [0, 2, 1], [1, 2, 0]):
            assert conditional_mutual_information(*(grams[place] for place in order)) > -1e-10


CHAINS = {
    "deterministic": lambda rng: network(inputs(N, rng), EQUAL, rng),
    "deterministic, unequal": lambda rng: network(inputs(N, rng), UNEQUAL, rng),
    "noisy": lambda rng: network(inputs(N, rng), UNEQUAL, rng, noise=0.3),
    "linear-Gaussian": lambda rng: gaussian_chain(N, 6, 0.8, 16, rng)[0],
    "linear, unequal": lambda rng: linear_chain(rng.standard_normal((N, 16)), UNEQUAL, 0.8, rng),
}
OTHERS = {
    "star": lambda rng: features(inputs(N, rng), UNEQUAL, (0.5, 2.0, 1.0, 1.0, 0.5, 2.0), rng),
    "leak": lambda rng: network(inputs(N, rng), EQUAL, rng, leak=1.0),
    "swapped": lambda rng: in_order(network(inputs(N, rng), UNEQUAL, rng), [1, 2, 4, 3, 5, 6]),
    "shuffled": lambda rng: in_order(network(inputs(N, rng), UNEQUAL, rng), [4, 1, 6, 3, 2, 5]),
}


def judged(make, bandwidth="median:1"):
    rule, rngs = Bandwidth.parse(bandwidth), [np.random.default_rng(seed) for seed in range(5)]
    return triple_test(np.stack([batch_informations(make(rng), BATCHES, rng, rule) for rng in rngs]))


@pytest.mark.parametrize("name", CHAINS)
def test_chains_are_ordered_as_chains(name):
    found = judged(CHAINS[name])
    assert found.holds, (found.shares, found.p)


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_chain_is_not(name):
    found = judged(OTHERS[name])
    assert not found.holds
    assert found.share > 0.1


def test_another_bandwidth_says_the_same():
    assert judged(CHAINS["deterministic, unequal"], "knn:10").holds
    assert not judged(OTHERS["leak"], "knn:10").holds


class Block(nn.Module):
    """A residual block, with another input that may reach it beside the layer before."""

    def __init__(self, leak=0.0):
        super().__init__()
        self.stem, self.branch, self.after, self.leak = nn.Linear(5, 5), nn.Linear(5, 5), nn.Tanh(), leak
        self.logits = nn.Linear(5, 3)

    def forward(self, x):
        h = torch.relu(self.stem(x))
        return self.logits(self.after(h + self.branch(h) + self.leak * x))


@pytest.mark.parametrize(
    ("leak", "layers", "state"),
    [
        (0.0, ["stem", "after", "logits"], "chain"),
        (0.0, ["stem", "branch", "after", "logits"], "no chain"),
        (0.1, ["stem", "after", "logits"], "no chain"),
    ],
)
def test_the_structure_of_recorded_networks(tmp_path, leak, layers, state):
    torch.manual_seed(0)
    probe = (torch.randn(60, 5), torch.arange(60) % 3)
    with Recorder(Block(leak), probe, tmp_path / "run.h5", layers) as recorder:
        recorder.snapshot(step=0)
    found = structure_test(gather_links([tmp_path / "run.h5"]))
    assert found.state == state
    assert set(found.broken.index) <= {"branch → after", "stem → after"}
