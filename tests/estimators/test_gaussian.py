"""The Gaussian estimator: closed forms, scikit-learn's covariance, invariances, nulls."""

import numpy as np
import pytest
from reference import T, Y, gaussians
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf

from infoplane.estimators.gaussian import (
    _log_det,
    coordinates,
    gaussian_information,
    has_outlier,
    shrunk_covariance,
)


def points_of(x):
    return coordinates(cdist(x, x))


def with_labels(t, labels):
    points = points_of(t)
    covariance = shrunk_covariance(points)
    return _log_det(covariance.matrix) - _log_det(covariance.within(points, labels))


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("d", [1, 2])
def test_correlated_gaussians(rho, d):
    x, t, truth = gaussians(1000, rho, d)
    assert gaussian_information(points_of(x), points_of(t)) == pytest.approx(truth, rel=0.05, abs=0.05)


def test_coordinates_have_the_distances():
    x = np.random.default_rng(0).standard_normal((30, 4)) * [1, 2, 3, 4] + 100
    points = points_of(x)
    assert points.shape == (30, 4)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-9)
    assert np.square(points).mean() == pytest.approx(1)
    ratio = cdist(points, points)[~np.eye(30, dtype=bool)] / cdist(x, x)[~np.eye(30, dtype=bool)]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)
    assert points_of(np.ones((5, 3))).shape == (5, 0)


def test_shrinkage_is_scikit_learns_error_in_units_of_the_whole():
    points = points_of(T)
    whole = points.T @ points / len(points)
    towards = LedoitWolf(assume_centered=True).fit(points).shrinkage_
    error = towards * np.square(whole - np.trace(whole) / 10 * np.eye(10)).sum()
    found = shrunk_covariance(points)
    assert found.shrinkage == pytest.approx(error / np.square(whole).sum(), rel=1e-9)
    target = np.trace(whole) / 10 * np.eye(10)
    np.testing.assert_allclose(found.matrix, (1 - found.shrinkage) * whole + found.shrinkage * target, atol=1e-12)


HALF_NORMAL = (
    -np.log2(1 - 2 / np.pi) / 2
)  # of a normal variable within which its sign leaves 1 − 2/π of the variance


@pytest.mark.parametrize("d", [1, 2, 4])
def test_isotropic_layers_know_a_half_space(d):
    t = np.random.default_rng(0).standard_normal((1000, d))
    assert with_labels(t, (t[:, 0] > 0).astype(int)) == pytest.approx(HALF_NORMAL, abs=0.05)


def test_whitened_layers_know_their_classes():
    # Total variance 1 + 9/4 along one axis, scaled to 1 as the others.
    labels = np.arange(2000) % 2
    t = np.random.default_rng(0).standard_normal((2000, 8))
    t[:, 0] = (t[:, 0] + 3 * labels) / np.sqrt(1 + 9 / 4)
    assert with_labels(t, labels) == pytest.approx(np.log2(1 + 9 / 4) / 2, abs=0.06)


def test_isotropic_inputs_and_a_function_of_one_of_them():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2000, 4))
    t = 0.9 * x[:, :1] + np.sqrt(0.19) * rng.standard_normal((2000, 1))
    assert gaussian_information(points_of(x), points_of(t)) == pytest.approx(-np.log2(0.19) / 2, abs=0.08)


def test_a_layer_that_is_its_labels_is_infinite_or_shrunk_and_never_a_rounding_error():
    labels = np.arange(300) % 2
    points = points_of(labels[:, None].astype(float))
    # Nothing is left within classes, and of values of one size the covariance has no sampling error.
    assert with_labels(labels[:, None].astype(float), labels) == np.inf
    assert gaussian_information(points, points) == np.inf
    labels = np.arange(300) % 3
    shrinkage = shrunk_covariance(points_of(labels[:, None].astype(float))).shrinkage
    assert with_labels(labels[:, None].astype(float), labels) == pytest.approx(-np.log2(shrinkage) / 2)


@pytest.mark.parametrize("size", [1e4, 1e8])
def test_one_sample_that_outweighs_all_others_is_told(size):
    x = np.random.default_rng(0).standard_normal((300, 3))
    assert not has_outlier(points_of(x))
    assert not has_outlier(points_of(np.eye(300)[:, :2]))  # two rare ones are no single one
    x[7] = size
    assert has_outlier(points_of(x))


def test_labels_two_classes_in_one_dimension():
    labels = np.arange(1000) % 2
    t = np.random.default_rng(0).standard_normal((1000, 1)) + 3.0 * labels[:, None]
    # Total variance 1 + 9/4, within 1.
    assert with_labels(t, labels) == pytest.approx(np.log2(1 + 9 / 4) / 2, abs=0.06)


def test_permuted_labels_are_near_zero():
    t = T + 2 * np.eye(10)[Y]
    assert with_labels(t, Y) > 1
    null = with_labels(t, np.random.default_rng(0).permutation(Y))
    # The plain canonical correlations of 9 contrasts with 10 coordinates leave a bias of this size at n = 200.
    assert 0 < null < 0.5


def test_never_negative_and_finite_with_more_features_than_samples():
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((40, 300)), rng.standard_normal((40, 200))
    value = gaussian_information(points_of(x), points_of(t))
    assert 0 <= value < np.inf


def test_invariances():
    x, t, _ = gaussians(200, 0.6, 4)
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    value = gaussian_information(points_of(x), points_of(t))
    assert gaussian_information(points_of(x), points_of(7 * t @ rotation - 5)) == pytest.approx(value, abs=1e-8)
