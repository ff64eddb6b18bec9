"""Entropies by log-determinants against the plain computation from eigenvalues, where spectra are hard."""

import numpy as np
import pytest
import torch

from infoplane import gram_matrix, renyi_entropy
from infoplane.entropy import gram_entropies, gram_entropy, lapack
from infoplane.entropy.determinants import entropy_by_determinants
from infoplane.entropy.forms import Blocks, Known
from infoplane.kernels import label_gram

ORDERS = [1.0, 1.01, 1.1, 1.3, 1.5, 1.9]
FORMS = [lapack.tridiagonal_form, lapack.band_form]
needs_lapack = pytest.mark.skipif(not lapack.available(), reason="no OpenBLAS with LAPACK's two-stage routines")


def spectrum_of(values, seed=0):
    basis = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values), len(values))))[0]
    matrix = (basis * values) @ basis.T
    return (matrix + matrix.T) / 2 / values.sum()


def hard(kind, n=300):
    x = np.random.default_rng(0).standard_normal((n, 5))
    return {
        "layer": lambda: gram_matrix(np.maximum(x @ x[:5], 0)),
        "wide layer": lambda: gram_matrix(np.random.default_rng(1).standard_normal((n, 30))),
        "ill-conditioned": lambda: gram_matrix(x, sigma=50.0),
        "narrow": lambda: gram_matrix(x, sigma=0.05),
        "duplicated": lambda: gram_matrix(np.tile(x[: n // 10], (10, 1))),
        "collapsed": lambda: gram_matrix(np.repeat(x[:2], n // 2, axis=0) + 1e-9 * x),
        "constant": lambda: np.full((n, n), 1 / n),
        "labels": lambda: label_gram(np.arange(n) % 7),
        "rank 3": lambda: spectrum_of(np.r_[3.0, 2.0, 1.0, np.zeros(n - 3)]),
        "power law": lambda: spectrum_of(np.arange(1.0, n + 1) ** -2),
        "40 decades": lambda: spectrum_of(np.geomspace(1, 1e-40, n)),
        "one large": lambda: spectrum_of(np.r_[1.0, np.full(n - 1, 1e-12)]),
        "float32 entries": lambda: np.float64(np.float32(gram_matrix(x, sigma=8.0) * n)) / n,
    }[kind]()


KINDS = [
    "layer",
    "ill-conditioned",
    "narrow",
    "duplicated",
    "collapsed",
    "constant",
    "labels",
    "rank 3",
    "power law",
]
KINDS += ["40 decades", "one large", "float32 entries"]


def plain(A, alpha):
    values = np.linalg.eigvalsh(A)
    values = values[values > 1e-15]
    values = values / values.sum()
    return -(values * np.log2(values)).sum() if alpha == 1 else np.log2((values**alpha).sum()) / (1 - alpha)


@needs_lapack
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_within_the_bound_of_the_entropy_by_eigenvalues(kind, form):
    A = hard(kind)
    made = form(A * 7)  # any trace
    for alpha in ORDERS:
        found = entropy_by_determinants(made, len(A), alpha)
        if found is not None:
            assert found == pytest.approx(plain(A, alpha), abs=1e-9)
    # Only a matrix that is not positive to rounding, or a tiny trace of its power, asks for eigenvalues.
    taken = entropy_by_determinants(made, len(A), 1.0) is not None
    assert taken == (kind != "float32 entries")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alpha", [*ORDERS, 2.0, 2.5, 3.0, 4.0, 5.0, 5.5, 6.0, 7.0, 8.0])
def test_entropies_are_exact_to_a_billionth_of_a_bit(kind, alpha):
    A = hard(kind)
    # Rounded entries leave negative eigenvalues, of which products make something and spectra nothing.
    close = 1e-6 if kind == "float32 entries" else 1e-9
    assert renyi_entropy(A, alpha) == pytest.approx(plain(A, alpha), abs=close)


@needs_lapack
@pytest.mark.parametrize("form", FORMS)
def test_what_no_bound_holds_for_is_left_to_eigenvalues(form):
    made = form(np.eye(400) / 400)
    assert entropy_by_determinants(made, 400, 1.0) == pytest.approx(np.log2(400), abs=1e-9)
    assert entropy_by_determinants(made, 400, 1.9) is None  # tr A^α = .005
    assert entropy_by_determinants(made, 10**6, 1.0) is None
    for alpha in (0.5, 2.0, 2.5):
        assert entropy_by_determinants(made, 400, alpha) is None
    assert entropy_by_determinants(form(np.diag([1.1, -0.1])), 2, 1.0) is None
    assert entropy_by_determinants(form(np.zeros((3, 3))), 3, 1.0) is None


@needs_lapack
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("alpha", [1.0, 1.01, 1.5])
def test_single_precision(form, alpha):
    A = hard("wide layer")
    found = entropy_by_determinants(form(A.astype(np.float32)), len(A), alpha, single=True)
    assert found == pytest.approx(plain(A, alpha), abs=1e-5)
    # Eigenvalues below its rounding errors come out negative.
    assert entropy_by_determinants(form(hard("duplicated").astype(np.float32)), len(A), alpha, single=True) is None


@needs_lapack
@pytest.mark.parametrize("alpha", [1.0, 1.5, 0.5])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_several_matrices_have_the_entropies_of_each(alpha, dtype):
    if alpha < 1 and dtype == "float32":
        pytest.skip("refused")
    kinds = ("layer", "narrow", "duplicated", "collapsed", "constant") * 2
    grams = torch.from_numpy(np.stack([hard(kind, 100) * scale for scale, kind in enumerate(kinds, start=1)]))
    each = [gram_entropy(gram, alpha, dtype) for gram in grams]
    bits = 1e-10 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(gram_entropies(grams, alpha, dtype), each, rtol=0, atol=bits)


@needs_lapack
def test_blocks_of_different_forms_are_one_matrix():
    A, B = hard("layer", 60), hard("narrow", 40)
    whole = np.block([[A, np.zeros((60, 40))], [np.zeros((40, 60)), B / 2]])
    made = Blocks([lapack.tridiagonal_form(A), lapack.band_form(B / 2)])
    assert entropy_by_determinants(made, 100, 1.0) == pytest.approx(plain(whole / 1.5, 1.0), abs=1e-9)
    np.testing.assert_allclose(np.sort(made.eigenvalues()), np.linalg.eigvalsh(whole), atol=1e-14)
    known = Blocks([made.forms[0], Known(np.linalg.eigvalsh(B / 2))])
    assert known.moments == pytest.approx(made.moments)
    assert entropy_by_determinants(known, 100, 1.0) is None


def test_a_matrix_that_is_not_positive_is_refused():
    A = spectrum_of(np.r_[np.full(99, 1.0), -0.5])
    for alpha in (1.0, 1.5, 2.5):
        with pytest.raises(ValueError, match="not positive semi-definite"):
            renyi_entropy(torch.from_numpy(A), alpha)
