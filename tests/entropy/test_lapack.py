"""Reduced forms have the eigenvalues and determinants of their matrices."""

import numpy as np
import pytest

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
