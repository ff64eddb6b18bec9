"""HSIC, nHSIC and CKA: against the formulas on features, known extremes, invariances, nulls."""

import numpy as np
import pytest
import torch
from reference import T, X, Y
from scipy.spatial.distance import cdist

import infoplane as ip
from infoplane.estimators.dependence import EPSILON, aligned, class_pairs, unscaled, whitened
from infoplane.estimators.gaussian import centred


def linear(x):
    return centred(-0.5 * cdist(x, x) ** 2)


def gaussian(x):
    square = cdist(x, x)
    return centred(np.exp(-((square / np.median(square)) ** 2) / 2))


def cka(x, t, kernel=linear):
    return float(np.vdot(aligned(kernel(x)), aligned(kernel(t))))


def test_linear_cka_is_the_formula_on_features():
    x, t = X - X.mean(axis=0), T - T.mean(axis=0)
    feature = np.linalg.norm(t.T @ x) ** 2 / np.linalg.norm(x.T @ x) / np.linalg.norm(t.T @ t)
    assert cka(X, T) == pytest.approx(feature, abs=1e-12)


@pytest.mark.parametrize("kernel", [linear, gaussian])
def test_cka_of_itself_rotated_scaled_and_shifted_is_one(kernel):
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((10, 10)))[0]
    assert cka(T, 3 * T @ rotation + 2, kernel) == pytest.approx(1, abs=1e-9)
    assert 0 <= cka(X, T, kernel) < 1


def test_cka_of_independent_few_features_is_near_zero():
    rng = np.random.default_rng(0)
    assert cka(rng.standard_normal((1000, 2)), rng.standard_normal((1000, 2))) < 0.02


def test_hsic_is_the_trace_formula():
    K, L = np.exp(-(cdist(X, X) ** 2) / 50), np.exp(-(cdist(T, T) ** 2) / 8)
    H = np.eye(200) - 1 / 200
    expected = np.trace(K @ H @ L @ H) / 199**2
    assert np.vdot(unscaled(centred(K)), unscaled(centred(L))) == pytest.approx(expected, rel=1e-10)


def test_hsic_of_two_by_two_samples_by_hand():
    # K = L = the delta kernel of two classes of two: K̃ has entries ±1/2, so tr(K̃ K̃) = 16/4.
    labels = np.array([0, 0, 1, 1])
    kernel = centred((labels[:, None] == labels).astype(float))
    assert np.vdot(unscaled(kernel), unscaled(kernel)) == pytest.approx(4 / 9)


def test_nhsic_is_the_trace_formula_and_counts_dimensions():
    K, L = gaussian(X), gaussian(T)
    n = len(K)
    parts = [M @ np.linalg.inv(M + EPSILON * n * np.eye(n)) for M in (K, L)]
    assert np.vdot(whitened(K), whitened(L)) == pytest.approx(np.trace(parts[0] @ parts[1]), rel=1e-8)
    labels = centred((Y[:, None] == Y).astype(float))
    # Nine contrasts between ten classes.
    assert np.vdot(whitened(labels), whitened(labels)) == pytest.approx(9, abs=0.01)


@pytest.mark.parametrize("prepared", [unscaled, whitened, aligned])
def test_labels_by_pairs_of_classes_are_the_whole_kernel(prepared):
    uneven = np.sort(np.random.default_rng(0).integers(4, size=200))
    kernel = gaussian(T)
    for labels in (uneven, np.random.default_rng(1).permutation(uneven)):
        whole = prepared(centred((labels[:, None] == labels).astype(float)))
        indicator = np.eye(4)[labels]
        by_pairs = np.vdot(class_pairs(uneven, prepared, np.arange(4)), indicator.T @ kernel @ indicator)
        assert by_pairs == pytest.approx(float(np.vdot(whole, kernel)), rel=1e-9, abs=1e-12)


def test_permuted_labels_are_below_the_true_ones():
    separated = T + 2 * np.eye(10)[Y]
    labels = np.random.default_rng(0).permutation(Y)
    values = [np.vdot(aligned(linear(np.eye(10)[y])), aligned(linear(separated))) for y in (Y, labels)]
    assert values[0] > 5 * values[1]


@pytest.mark.parametrize("prepared", [unscaled, whitened, aligned])
def test_a_class_that_an_order_leaves_out_has_no_part_in_it(prepared):
    """Pairings of repeated inputs may draw one label twice, and another not at all."""
    labels, order = np.repeat([0, 1, 2], [20, 19, 1]), np.r_[:39, 3]
    kernel, indicator = gaussian(T[:40]), np.eye(3)[labels[order]]
    by_pairs = np.vdot(class_pairs(labels[order], prepared, np.arange(3)), indicator.T @ kernel @ indicator)
    whole = prepared(centred((labels[order][:, None] == labels[order]).astype(float)))
    assert by_pairs == pytest.approx(float(np.vdot(whole, kernel)), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("estimator", ["hsic", "nhsic", "cka", "kernel-cka"])
def test_mixed_labels_of_repeated_inputs_are_estimated(tmp_path, estimator):
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    x[:20] = x[0]
    labels = torch.arange(40) % 2
    labels[3] = 2
    net = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))
    with ip.Recorder(net, (x, labels), tmp_path / "run.h5") as recorder:
        recorder.snapshot(0)
    table = ip.estimate(tmp_path / "run.h5", estimator)
    assert table["I_TY_null"].notna().all()
