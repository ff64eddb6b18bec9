"""Conditional randomisation: its level in chains, what it finds, and the statistic."""

from __future__ import annotations

import numpy as np
import pytest

from infoplane import conditional_mutual_information, gram_matrix
from infoplane.analysis.markov.controls import noisy_link
from infoplane.analysis.markov.randomisation import randomisation_test


def judged(leak, seed, n=64, noise=0.3):
    rng = np.random.default_rng(seed)
    return randomisation_test(*noisy_link(n, 16, noise, leak, rng), rng)


def test_the_statistic_is_the_conditional_information():
    rng = np.random.default_rng(0)
    x, before, after, redraw = noisy_link(50, 8, 0.3, 0.5, rng)
    found = randomisation_test(x, before, after, redraw, np.random.default_rng(1), draws=3)
    grams = [gram_matrix(values) for values in (x, after, before)]
    assert found.information == pytest.approx(conditional_mutual_information(*grams), abs=1e-9)
    again = np.random.default_rng(1)
    layers = [redraw(again.permutation(50), again) for _ in range(3)]
    expected = [conditional_mutual_information(grams[0], gram_matrix(layer), grams[2]) for layer in layers]
    assert found.redrawn == pytest.approx(expected, abs=1e-9)


def test_it_is_calibrated_in_chains():
    p = np.array([judged(0.0, seed, n=40).p for seed in range(100)])
    # 5 are expected; 12 or more have a probability below 1 %.
    assert (p <= 0.05).sum() <= 11
    assert 0.35 < np.median(p) < 0.65


def test_it_finds_what_goes_around_the_layer_before():
    assert np.mean([judged(3.0, seed).p <= 0.05 for seed in range(20)]) > 0.5


def test_a_layer_without_noise_is_no_evidence():
    assert judged(0.0, 0, noise=0.0).p == 1.0


def test_p_is_two_sided():
    x = np.random.default_rng(0).standard_normal((40, 3))

    def noise_around(values, size):
        return lambda order, rng: values + size * rng.standard_normal(values.shape)

    before = x + 0.3 * np.random.default_rng(1).standard_normal(x.shape)
    for after in (x, np.random.default_rng(2).standard_normal(x.shape)):
        found = randomisation_test(x, before, after, noise_around(before, 0.1), np.random.default_rng(3))
        assert found.p == pytest.approx(2 / 40)
