import math

import pytest
import torch

from infoplane import gram_matrix, mutual_information, renyi_entropy
from infoplane.entropy import entropy_with_gradient

ORDERS = [0.5, 0.99, 1.0, 1.01, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 8.0]


def state(*shape, seed=0):
    root = torch.randn(*shape, shape[-1], dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return root @ root.mT + 0.1 * torch.eye(shape[-1], dtype=torch.float64)


@pytest.mark.parametrize("alpha", ORDERS)
def test_gradcheck_at_any_trace_and_in_batches(alpha):
    A = state(2, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: entropy_with_gradient((a + a.mT) / 2, alpha), (A,))


@pytest.mark.parametrize("alpha", ORDERS)
def test_value_is_the_entropy(alpha):
    A = state(3, 12)
    A = A / A.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
    values = entropy_with_gradient(A, alpha)
    tracked = entropy_with_gradient(A.clone().requires_grad_(), alpha)
    for matrix, value, same in zip(A, values, tracked, strict=True):
        assert value.item() == pytest.approx(renyi_entropy(matrix, alpha).item(), abs=1e-12)
        assert same.item() == pytest.approx(value.item(), abs=1e-12)


@pytest.mark.parametrize("alpha", ORDERS)
@pytest.mark.parametrize(("n", "copies"), [(32, 4), (128, 2), (512, 2)])
def test_repeated_samples_give_finite_gradients_shared_by_the_copies(alpha, n, copies):
    if n == 512 and alpha not in (1.0, 1.01, 2.0):
        pytest.skip("one order of each kind is enough at this size")
    x = torch.randn(n // copies, 3, dtype=torch.float64)
    repeated = x.repeat_interleave(copies, 0).requires_grad_()
    renyi_entropy(gram_matrix(repeated, sigma=1.0), alpha).backward()
    assert torch.isfinite(repeated.grad).all()
    single = x.clone().requires_grad_()
    renyi_entropy(gram_matrix(single, sigma=1.0), alpha).backward()
    summed = repeated.grad.reshape(-1, copies, 3).sum(1)
    # The entropy is that of the single samples, so moving all copies together has their gradient.
    tolerance = 1e-3 if alpha < 1 else 1e-7
    torch.testing.assert_close(summed, single.grad, rtol=tolerance, atol=tolerance)


def test_autograd_through_eigh_fails_where_ours_does_not():
    A = torch.eye(6, dtype=torch.float64).div_(6).requires_grad_()
    values, vectors = torch.linalg.eigh(A)
    (vectors * values).sum().backward()
    assert not torch.isfinite(A.grad).all()
    for alpha in ORDERS:
        B = A.detach().clone().requires_grad_()
        entropy_with_gradient(B, alpha).backward()
        # All eigenvalues equal is the maximum at trace 1.
        torch.testing.assert_close(B.grad, torch.zeros_like(B), atol=1e-12, rtol=0)


@pytest.mark.parametrize("alpha", ORDERS)
def test_zero_eigenvalues(alpha):
    A = torch.diag(torch.tensor([0.7, 0.3, 0.0, 0.0], dtype=torch.float64)).requires_grad_()
    value = entropy_with_gradient(A, alpha)
    value.backward()
    p = A.detach().diagonal()[:2]
    if alpha == 1:
        expected = -(p.log2() - (p * p.log2()).sum())
        rest = 0.0
    else:
        total = (p**alpha).sum()
        factor = alpha / ((1 - alpha) * math.log(2))
        expected = factor * (p ** (alpha - 1) / total - 1)
        rest = -factor if alpha > 1 else 0.0
    torch.testing.assert_close(A.grad, torch.diag(torch.cat([expected, torch.full((2,), rest).double()])))


def test_single_precision_stays_single():
    A = state(40)
    A = A / A.trace()
    exact, single = A.clone().requires_grad_(), A.float().requires_grad_()
    for alpha in (1.0, 1.01, 2.0):
        one, other = entropy_with_gradient(exact, alpha), entropy_with_gradient(single, alpha)
        assert other.dtype == torch.float32
        assert other.item() == pytest.approx(one.item(), abs=1e-4)
        (gradient,), (reference,) = torch.autograd.grad(other, single), torch.autograd.grad(one, exact)
        torch.testing.assert_close(gradient.double(), reference, atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.99])
def test_below_order_one_a_rank_deficient_matrix_has_its_known_entropy_and_gradient(alpha):
    p = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    basis = torch.linalg.qr(torch.randn(200, 3, dtype=torch.float64)).Q
    A = ((basis * p) @ basis.mT).requires_grad_()
    value = entropy_with_gradient(A, alpha)
    value.backward()
    total = (p**alpha).sum()
    assert value.item() == pytest.approx(math.log2(total) / (1 - alpha), abs=1e-10)
    slope = alpha / ((1 - alpha) * math.log(2)) * (p ** (alpha - 1) / total - 1)
    torch.testing.assert_close(A.grad, (basis * slope) @ basis.mT, rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="alpha >= 1"):
        entropy_with_gradient(A.detach().float(), alpha)


def test_information_through_the_kernel():
    x = torch.randn(10, 2, dtype=torch.float64).requires_grad_()
    other = gram_matrix(torch.randn(10, 3, dtype=torch.float64), sigma=1.0)
    for alpha in (1.0, 1.5, 2.0, 3.0):
        assert torch.autograd.gradcheck(
            lambda v, alpha=alpha: mutual_information(gram_matrix(v, sigma=1.0), other, alpha), (x,)
        )


def test_a_training_step_lowers_the_information():
    x = torch.randn(64, 4, dtype=torch.float64)
    weights = torch.eye(4, dtype=torch.float64).requires_grad_()
    gram_x = gram_matrix(x, sigma=2.0)
    before = mutual_information(gram_x, gram_matrix(x @ weights, sigma=1.0), 1.01)
    before.backward()
    with torch.no_grad():
        after = mutual_information(gram_x, gram_matrix(x @ (weights - 0.01 * weights.grad), sigma=1.0), 1.01)
    assert after < before
    assert torch.isfinite(weights.grad).all()
