"""Entropies from log-determinants, against eigenvalues; what a GPU does is tried here on the CPU too."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform

from infoplane.entropy import differentiable, entropy_with_gradient, exact
from infoplane.entropy import log_determinants as by_logs
from infoplane.entropy.eigenvalues import entropy_of
from infoplane.entropy.log_sums import log_sum
from infoplane.kernels import square_form

ORDERS = (1.0, 1.01, 1.1)


def gaussian(points, sigma):
    return torch.exp(-torch.cdist(points, points).square() / (2 * sigma**2))


def matrices(n):
    """Gram matrices as networks give them, and those on which solvers fail."""
    points = torch.from_numpy(np.random.default_rng(0).standard_normal((n, 20)))
    few, twice, close = points[:, :5], points.clone(), points * 1e-5
    twice[n // 2 :] = points[: n - n // 2]
    close[n // 2 :] += 1
    labels = torch.arange(n) % 7
    return {
        "narrow": gaussian(points, 0.5),
        "usual": gaussian(points, 4.0),
        "wide": gaussian(points, 40.0),
        "duplicated": gaussian(twice, 4.0),
        "collapsed": gaussian(close, 1.0),
        "constant": torch.ones(n, n, dtype=torch.float64),
        "orthogonal": torch.eye(n, dtype=torch.float64),
        "rank deficient": few @ few.T,
        "labels": (labels[:, None] == labels).double(),
    }


@pytest.mark.parametrize("alpha", ORDERS)
@pytest.mark.parametrize("n", [2, 61, 300])
def test_entropies_are_those_of_the_eigenvalues(n, alpha):
    made = matrices(n)
    expected = torch.stack([entropy_of(torch.linalg.eigvalsh(matrix), alpha) for matrix in made.values()])
    stack = torch.stack(list(made.values()))
    for is_exact, bits in ((True, 1e-9), (False, 5e-6)):
        found = by_logs.log_determinant_entropies(stack, alpha, exact=is_exact)
        assert log_sum(alpha, exact=is_exact).bound(n) < bits
        assert (found - expected).abs().max() < log_sum(alpha, exact=is_exact).bound(n) + 1e-11


@pytest.mark.parametrize("alpha", ORDERS)
def test_the_bound_holds_at_ten_thousand_samples(alpha):
    # A spectrum of which every part is at the worst place, by the error of the sum itself.
    form = log_sum(alpha)
    assert form.bound(10_000) < 1e-9
    values = np.geomspace(1e-17, 1, 10_000)
    values /= values.sum()
    sums = (form.weights[:, None] * np.log1p(values / form.shifts[:, None])).sum()
    sums += form.linear + form.square * (values**2).sum()
    found = by_logs.entropy_of_sum(torch.tensor(sums), alpha)
    assert abs(float(found - entropy_of(torch.from_numpy(values), alpha))) < form.bound(10_000) + 1e-11


@pytest.mark.parametrize("alpha", ORDERS)
def test_blocks_of_unequal_classes(alpha):
    matrix = matrices(90)["usual"] / 90
    rng = np.random.default_rng(0)
    labelings = [rng.permutation(np.repeat([0, 1, 2, 3], [50, 30, 9, 1])) for _ in range(3)]
    partitions = exact.class_partitions(labelings, matrix.device)
    found = by_logs.block_log_determinant_entropies(matrix, partitions, alpha)
    np.testing.assert_allclose(found, exact.class_joint_entropies(matrix, labelings, alpha), atol=1e-9)


def test_a_negative_eigenvalue_is_seen():
    matrix = torch.eye(5, dtype=torch.float64) / 5
    matrix[0, 1] = matrix[1, 0] = 0.3
    assert by_logs.log_determinant_entropies(matrix[None], 1.0).isnan().all()


@pytest.mark.parametrize("n", [60, 300])  # larger ones are inverted by halves
@pytest.mark.parametrize("alpha", ORDERS)
def test_slopes_are_those_through_eigenvectors(n, alpha):
    stack = torch.stack([matrices(n)[name] for name in ("narrow", "usual", "wide")]).requires_grad_()
    values = entropy_with_gradient(stack, alpha)
    values.sum().backward()
    found, slopes = by_logs.log_determinant_slopes(stack.detach(), alpha)
    np.testing.assert_allclose(found, values.detach(), atol=5e-6)
    error = (slopes - stack.grad).flatten(1).norm(dim=1) / stack.grad.flatten(1).norm(dim=1)
    # Where the kernel is wide, rounding of either way shows in the slopes of tiny eigenvalues.
    assert error.max() < (1e-4 if n == 60 else 1e-3)


@pytest.mark.parametrize("n", [7, 129, 300])
def test_roots_by_halves(n):
    stack = torch.stack([made / n * 1e8 + torch.eye(n) for made in matrices(n).values()])
    roots, logs = by_logs._roots(stack)
    unit = torch.eye(n, dtype=torch.float64).expand_as(stack)
    np.testing.assert_allclose(roots @ stack @ roots.mT, unit, atol=1e-6)
    # Condition numbers are up to 1e8, so that the rounding of a processor's own products shows.
    np.testing.assert_allclose(logs, torch.logdet(stack), rtol=1e-9, atol=1e-6)
    stack[0, -1, -1] = -1.0
    assert by_logs._roots(stack)[1].isnan().tolist() == [True] + [False] * (len(stack) - 1)


def test_an_entropy_without_gradient_takes_no_inverse(monkeypatch):
    monkeypatch.setattr(differentiable, "takes_log_determinants", on_cpu)
    monkeypatch.setattr(differentiable, "log_determinant_slopes", None)
    gram = matrices(40)["usual"] / 40
    expected = float(exact.renyi_entropy(gram, 1.01))
    assert float(entropy_with_gradient(gram, 1.01)) == pytest.approx(expected, abs=5e-6)


def on_cpu(matrices, alpha):
    return 1 <= alpha <= by_logs.LARGEST_ORDER


def test_what_a_gpu_computes_is_what_a_cpu_computes(monkeypatch):
    gram = matrices(80)["usual"] / 80
    labels, stack = np.arange(80) % 3, torch.stack([gram, matrices(80)["wide"] / 80])

    def everything():
        moving = gram.clone().requires_grad_()
        slope = torch.autograd.grad(entropy_with_gradient(moving, 1.01), moving)[0]
        return (
            float(exact.renyi_entropy(gram, 1.01)),
            exact.gram_entropies(stack, 1.01),
            exact.class_joint_entropy(gram, labels, 1.01),
            slope,
        )

    expected = everything()
    monkeypatch.setattr(exact, "takes_log_determinants", on_cpu)
    monkeypatch.setattr(differentiable, "takes_log_determinants", on_cpu)
    for got, wanted, bits in zip(everything(), expected, (1e-9, 1e-9, 1e-9, 1e-3), strict=True):
        np.testing.assert_allclose(got, wanted, atol=bits)
    with pytest.raises(ValueError, match="not positive semi-definite"):
        exact.renyi_entropy(2 * torch.eye(40, dtype=torch.float64) / 40 - gram[:40, :40] * 2, 1.01)


def test_the_square_form_of_distances():
    distances = pdist(np.random.default_rng(0).standard_normal((30, 2)))
    np.testing.assert_array_equal(square_form(torch.from_numpy(distances), 30), squareform(distances))
