import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from infoplane import gram_matrix, renyi_entropy
from infoplane.entropy import class_joint_entropy, lapack, reduced
from infoplane.entropy.exact import class_blocks
from infoplane.entropy.log_sums import coarse_sum, part
from infoplane.entropy.reduced import reduced_entropy

pytestmark = pytest.mark.skipif(not lapack.available(), reason="no OpenBLAS with the reductions")
N = 220


def draw(n=N, d=5, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def rotated(values):
    basis = np.linalg.qr(draw(len(values), len(values)))[0]
    matrix = (basis * (values / values.sum())) @ basis.T
    return (matrix + matrix.T) / 2


INDEX = np.arange(N)
MATRICES = {
    "power law": rotated(1.0 / (1 + INDEX)),
    "exponential": rotated(np.exp(-INDEX / 4)),
    "clusters over decades": rotated(10.0 ** -((INDEX * 8) // N)),
    "rank 3": rotated(np.where(INDEX < 3, 1.0, 0.0)),
    "identity": np.eye(N) / N,
    "constant": np.full((N, N), 1 / N),
    "copies": gram_matrix(np.repeat(draw(N // 4), 4, axis=0)),
    "a wide kernel": gram_matrix(draw(), sigma=1e4),
    "samples": gram_matrix(draw(d=20)),
}
# Their largest eigenvalue is so large that its rounding may leave others too negative.
COLLAPSED = ("constant", "a wide kernel")


def interval(matrix, alpha=1.0, tolerance=math.inf, seed=0):
    return reduced_entropy([torch.from_numpy(matrix)], alpha, tolerance, 0.99, seed)


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("alpha", [1.0, 1.01, 1.5, 1.9])
def test_the_interval_holds_and_is_narrow(name, alpha):
    exact = float(renyi_entropy(MATRICES[name], alpha))
    for seed in range(3):
        found = interval(MATRICES[name], alpha, seed=seed)
        if found is None and name in COLLAPSED:
            continue
        assert found.low - 1e-10 <= exact <= found.high + 1e-10
        assert abs(found.value - exact) < 2e-4
        # How wide is a matter of how the processor rounds in single precision.
        assert 0 < found.halfwidth < (5e-3 if name in COLLAPSED else 2e-3)
        assert (found.kind, found.exact, found.steps) == ("statistical", False, 0)


@pytest.mark.parametrize("size", [1e-4, 1e-2])
def test_an_error_of_the_reduction_is_noticed(size, monkeypatch):
    matrix = MATRICES["samples"]
    noise = size * rotated(1.0 / (1 + INDEX))

    def spoilt(array, overwrite):
        return lapack.band_reduction(array + noise.astype(np.float32), overwrite)

    before = interval(matrix)
    monkeypatch.setattr(reduced, "band_reduction", spoilt)
    found, exact = interval(matrix), float(renyi_entropy(matrix))
    assert found.low <= exact <= found.high
    assert found.halfwidth > 10 * before.halfwidth
    assert interval(matrix, tolerance=2 * before.halfwidth) is None


def test_blocks_are_one_matrix():
    A, labels = gram_matrix(draw()), np.arange(N) % 2
    found = reduced_entropy(class_blocks(torch.from_numpy(A), labels), 1.0, 1.0, 0.99, 0)
    assert found.low <= class_joint_entropy(A, labels) <= found.high
    assert found.halfwidth < 1e-3


def test_nothing_where_it_is_of_no_use(monkeypatch):
    A = MATRICES["samples"]
    assert interval(A, 0.5) is None
    assert interval(A, 2.5) is None
    # Known before anything is computed.
    with monkeypatch.context() as patched:
        patched.setattr(reduced, "band_reduction", None)
        assert interval(A, tolerance=1e-6) is None
    # An eigenvalue below zero by more than the sum can take.
    assert interval(rotated(np.where(INDEX == 0, -1e-5, 1.0 / (1 + INDEX)))) is None
    monkeypatch.setattr(reduced, "available", lambda: False)
    assert interval(A) is None


def test_the_same_seed_gives_the_same_interval():
    A = MATRICES["samples"]
    assert interval(A, seed=1) == interval(A, seed=1)
    assert interval(A, seed=1).value == interval(A, seed=2).value


def test_the_share_is_seldom_missed():
    # At rank one the mean of the squares is chi-squared, for which Chernoff's bound is not far from the truth.
    share = reduced._share(0.01)
    missed = chi2.cdf(reduced.PROBES * share, reduced.PROBES)
    assert 1e-4 < missed < 1e-3


@pytest.mark.parametrize("alpha", [1.0, 1.01, 1.3, 1.9])
def test_the_coarse_sum_and_its_bounds(alpha):
    series, rng = coarse_sum(alpha), np.random.default_rng(0)

    def total(x):
        return float(
            (np.log1p(x[:, None] / series.shifts) @ series.weights + series.linear * x + series.square * x**2).sum()
        )

    for power in (0.5, 2, 8):
        values = rng.random(300) ** power
        values /= values.sum()
        assert abs(total(values) - part(values, alpha).sum()) <= series.deviation(300)
        moved = values + 1e-6 * rng.standard_normal(300)
        moved = np.maximum(moved, -series.shifts[0] / 2)
        moved[values.argmax()] += 1 - moved.sum()
        assert abs(total(values) - total(moved)) <= series.spread * np.abs(values - moved).sum()
