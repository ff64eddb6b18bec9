"""Reduced forms have the eigenvalues and determinants of their matrices."""

import numpy as np
import pytest
import torch

from infoplane import gram_matrix
from infoplane.entropy import lapack

pytestmark = pytest.mark.skipif(not lapack.available(), reason="no OpenBLAS with LAPACK's two-stage routines")


def draw(n, d=4):
    return np.random.default_rng(0).standard_normal((n, d))


@pytest.mark.parametrize("n", [1, 2, 3, 25, 26, 130, 1100])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("form", [lapack.tridiagonal_form, lapack.band_form])
def test_eigenvalues_and_moments(n, dtype, form):
    eps = np.finfo(dtype).eps
    x = draw(n, 8)
    x[n // 2 :: 3] = x[0]  # repeated samples: many zeros
    for matrix in (gram_matrix(x, sigma=2.0), np.diag(np.arange(n, 0.0, -1)), np.zeros((n, n))):
        given = matrix.astype(dtype)
        made = form(given)
        assert np.array_equal(given, matrix.astype(dtype))
        close = 20 * eps * max(matrix.trace(), 1e-300)
        expected = np.linalg.eigvalsh(matrix)
        assert np.abs(made.eigenvalues() - expected).max() <= close
        trace, squares = made.moments
        assert abs(trace - expected.sum()) <= close
        assert abs(squares - (expected**2).sum()) <= close * max(matrix.trace(), 1e-300)


@pytest.mark.parametrize("n", [1, 2, 40, 150])
@pytest.mark.parametrize("form", [lapack.tridiagonal_form, lapack.band_form])
def test_log_determinants(n, form):
    matrix, shifts = gram_matrix(draw(n), sigma=1.0), np.array([1e-6, 1e-3, 1.0, 10.0])
    expected = [np.linalg.slogdet(matrix / shift + np.eye(n))[1] for shift in shifts]
    made = form(matrix)
    np.testing.assert_allclose(made.log_determinants(shifts), expected, rtol=1e-9)
    negative = form(matrix - 0.1 * np.eye(n) * (np.arange(n) == 0) - np.eye(n) / n)
    assert negative.log_determinants(shifts) is None


@pytest.mark.parametrize("n", [2, 3, 25, 26, 130])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", ["samples", "copies", "diagonal"])
def test_the_reflections_give_the_band(n, dtype, kind):
    x = draw(n)
    x[n // 2 :] = x[0] if kind == "copies" else x[n // 2 :]
    matrix = np.diag(np.arange(n, 0.0, -1)) / n if kind == "diagonal" else gram_matrix(x, sigma=1.0)
    made = lapack.band_reduction(matrix.astype(dtype))
    unit = torch.eye(n, dtype=torch.float64)
    rotation, band = made.rotated(unit).mT, made.band.times(unit)
    # Orthogonal in double precision, whatever the reduction's.
    torch.testing.assert_close(rotation.mT @ rotation, unit, rtol=0, atol=1e-13)
    error = 50 * np.finfo(dtype).eps
    torch.testing.assert_close(rotation @ band @ rotation.mT, torch.from_numpy(matrix), rtol=0, atol=error)
