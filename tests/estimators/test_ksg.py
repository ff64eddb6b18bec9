"""Nearest neighbours: closed forms, scikit-learn in one dimension, ties, nulls."""

import numpy as np
import pytest
from reference import T, Y, gaussians
from scipy.integrate import trapezoid
from scipy.spatial.distance import cdist
from scipy.special import digamma
from sklearn.feature_selection._mutual_info import _compute_mi_cc, _compute_mi_cd

from infoplane.estimators.binning import discrete_information
from infoplane.estimators.ksg import ksg_information, ross_information

LN2 = np.log(2)


def distances(x):
    return cdist(x, x)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("d", [1, 2])
def test_correlated_gaussians(rho, d):
    x, t, truth = gaussians(1000, rho, d)
    assert ksg_information(distances(x), distances(t), 3) == pytest.approx(truth, abs=0.15)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_agrees_with_scikit_learn_in_one_dimension(k):
    x, t, _ = gaussians(300, 0.7)
    # Scikit-learn clips at 0, which these are not near.
    assert ksg_information(distances(x), distances(t), k) == pytest.approx(
        _compute_mi_cc(x[:, 0], t[:, 0], k) / LN2, abs=1e-10
    )
    labels = (x[:, 0] > 0).astype(int) + (x[:, 0] > 1)
    assert ross_information(distances(t), labels, k) == pytest.approx(
        _compute_mi_cd(t[:, 0], labels, k) / LN2, abs=1e-10
    )


def test_labels_of_separate_and_of_mixed_classes():
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 3
    t = rng.standard_normal((600, 2))
    assert ross_information(distances(t + 100 * labels[:, None]), labels, 3) == pytest.approx(np.log2(3), abs=0.01)
    assert ross_information(distances(t), labels, 3) == pytest.approx(0, abs=0.1)


def test_two_gaussian_classes_by_integration():
    labels = np.arange(1500) % 2
    t = np.random.default_rng(0).standard_normal(1500) + 2 * labels
    grid = np.linspace(-10, 12, 20001)
    parts = [np.exp(-((grid - centre) ** 2) / 2) / np.sqrt(2 * np.pi) for centre in (0, 2)]
    density = sum(parts) / 2
    truth = -trapezoid(density * np.log2(density), grid) - np.log2(2 * np.pi * np.e) / 2
    assert ross_information(distances(t[:, None]), labels, 3) == pytest.approx(truth, abs=0.08)


def test_permuted_labels_and_permuted_pairs_are_near_zero():
    x, t, _ = gaussians(500, 0.9)
    permuted = np.random.default_rng(1).permutation(500)
    assert ksg_information(distances(x), distances(t[permuted]), 3) == pytest.approx(0, abs=0.15)
    assert abs(ross_information(distances(T), np.random.default_rng(1).permutation(Y), 3)) < 0.2


def test_a_copy_reaches_the_stated_limit():
    x = np.random.default_rng(0).standard_normal((200, 3))
    limit = (digamma(200) - digamma(3)) / LN2
    assert ksg_information(distances(x), distances(5 * x), 3) <= limit + 1e-12
    assert ksg_information(distances(x), distances(x), 3) == pytest.approx(limit, abs=1e-12)


def rectified(rng, n):
    """Rows of which many are all zero, as behind a ReLU."""
    return np.maximum(rng.standard_normal((n, 3)) - 1, 0)


TIED = {
    "whole numbers": lambda rng, n: rng.integers(0, 30, (n, 1)),
    "bits": lambda rng, n: rng.integers(0, 2, (n, 6)),
    "rows of zeros": rectified,
    "repeated": lambda rng, n: rng.standard_normal((n // 5, 3))[rng.integers(0, n // 5, n)],
    "continuous": lambda rng, n: rng.standard_normal((n, 3)),
}


def scaled(x):
    square = distances(np.asarray(x, dtype=float))
    return square / np.median(square[square > 0])


@pytest.mark.parametrize("x", TIED)
@pytest.mark.parametrize("t", TIED)
def test_independent_variables_with_ties_share_nothing(x, t):
    for n in (200, 500):
        rng = np.random.default_rng(n)
        values = [ksg_information(scaled(TIED[x](rng, n)), scaled(TIED[t](rng, n)), 3) for _ in range(3)]
        assert abs(np.mean(values)) < 0.1


@pytest.mark.parametrize("t", TIED)
def test_independent_labels_of_tied_samples_share_nothing(t):
    rng = np.random.default_rng(0)
    values = [ross_information(scaled(TIED[t](rng, 300)), rng.integers(0, 10, 300), 3) for _ in range(4)]
    assert abs(np.mean(values)) < 0.1


@pytest.mark.parametrize("count", [2, 4, 16])
def test_a_discrete_variable_knows_itself(count):
    codes = np.random.default_rng(0).integers(count, size=1000)
    for values in (codes[:, None], np.eye(count)[codes]):
        square = scaled(values)
        assert ksg_information(square, square, 3) == pytest.approx(np.log2(count), abs=0.03)
        assert ross_information(square, codes, 3) == pytest.approx(np.log2(count), abs=0.03)
    assert ross_information(scaled(codes[:, None]), codes % 2, 3) == pytest.approx(1, abs=0.03)


def test_a_noisy_channel_of_one_bit():
    rng = np.random.default_rng(0)
    sent = rng.integers(2, size=(2000, 1))
    received = sent ^ (rng.random((2000, 1)) < 0.11)
    # 1 − H(0.11) is half a bit; what these samples hold is their plug-in information.
    truth = discrete_information(sent[:, 0], received[:, 0])
    assert ksg_information(scaled(sent), scaled(received), 3) == pytest.approx(truth, abs=0.05)


def test_a_discrete_and_a_continuous_variable():
    # Gao et al., NeurIPS 2017: x of m values, t = x + U[0, 2] has ln m − (m − 1) ln 2 / m nats.
    rng = np.random.default_rng(0)
    x = rng.integers(5, size=(1000, 1))
    t = x + 2 * rng.random((1000, 1))
    assert ksg_information(scaled(x), scaled(t), 3) == pytest.approx(np.log2(5) - 4 / 5, abs=0.1)
    u = rng.random((1000, 1))
    assert ksg_information(scaled(u), scaled(np.floor(4 * u)), 3) == pytest.approx(2, abs=0.05)


def test_ties_are_broken_as_by_a_little_noise():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 10, (600, 1)).astype(float)
    t = x + rng.integers(0, 4, (600, 1))
    shaken = [part + 1e-9 * rng.standard_normal(part.shape) for part in (x, t)]
    expected = ksg_information(*map(scaled, shaken), 3)
    assert ksg_information(scaled(x), scaled(t), 3) == pytest.approx(expected, abs=0.1)
    assert ksg_information(scaled(x), scaled(t), 3) == ksg_information(scaled(x), scaled(t), 3)


def test_classes_of_one_sample_are_left_out():
    x, t, _ = gaussians(100, 0.5)
    labels = (x[:, 0] > 0).astype(int)
    alone = np.append(labels, 7)
    more = np.append(t, [[0.0]], axis=0)
    assert ross_information(distances(more), alone, 3) == ross_information(distances(t), labels, 3)
    assert ross_information(distances(t), np.arange(100), 3) == 0


def test_invariances():
    x, t, _ = gaussians(100, 0.5, 3)
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    value = ksg_information(distances(x), distances(t), 3)
    assert ksg_information(distances(x), distances(t @ rotation + 4), 3) == pytest.approx(value, abs=1e-9)
    assert ksg_information(distances(t), distances(x), 3) == pytest.approx(value, abs=1e-12)
    order = np.random.default_rng(0).permutation(100)
    assert ksg_information(distances(x[order]), distances(t[order]), 3) == pytest.approx(value, abs=1e-12)
