import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from infoplane.kernels import Bandwidth
from infoplane.trainers.objectives.similarities import (
    WIDE,
    _without_copies,
    bandwidth,
    batch_distances,
    cosine,
    gaussian,
)


def naive(x):
    flat = x.detach().double().flatten(1).numpy()
    return torch.from_numpy(cdist(flat, flat, "sqeuclidean"))


@pytest.mark.parametrize("scale", [1.0, 1e30, 1e-30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("width", [15, 9000])
def test_distances_at_any_scale(scale, dtype, width):
    x = ((torch.randn(20, 3, width // 3) + 2) * scale).to(dtype)
    tolerance = 2e-6 if width > WIDE and dtype != torch.float64 else 1e-12
    squared = batch_distances(x)
    assert squared.dtype == torch.float64
    expected = naive(x.double() / scale)
    torch.testing.assert_close(squared / scale / scale, expected, rtol=tolerance, atol=tolerance * width)


def test_gradients_of_distances():
    x = torch.randn(6, 2, 2, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(6, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: (batch_distances(x) * weights).sum(), (x,))
    assert torch.autograd.gradcheck(lambda x: gaussian(batch_distances(x), 1.5), (x,))


@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_gradients_of_a_scale_free_kernel_follow_the_scale(scale):
    base = torch.randn(8, 5)
    gradients = []
    for factor in (1.0, scale):
        x = (base * factor).requires_grad_()
        squared = batch_distances(x)
        gaussian(squared, bandwidth(squared, Bandwidth("knn", 3)))[0].sum().backward()
        gradients.append(x.grad.double() * factor)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-5)


def test_copies_have_distance_zero():
    base = torch.randn(10, 9000) * 7 + 100
    squared = batch_distances(base.repeat(3, 1))
    assert (squared.reshape(3, 10, 3, 10).diagonal(dim1=1, dim2=3) == 0).all()
    assert (batch_distances(torch.full((5, 9), 3.3)) == 0).all()
    assert batch_distances(torch.zeros(1, 4)).tolist() == [[0.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [7, 100, 1000, 8191, 9000])
@pytest.mark.parametrize("n", [3, 5, 11, 33])
def test_so_have_copies_that_stand_anywhere_in_the_batch(n, width, dtype):
    """Products of equal rows differ in their last digits by where in a block of the product they stand."""
    squared = batch_distances((torch.randn(n, width, dtype=dtype) * 7 + 100).repeat(3, 1))
    assert (squared.reshape(3, n, 3, n).diagonal(dim1=1, dim2=3) == 0).all()
    assert (squared[:n, :n] > 0).sum() == n * n - n


@pytest.mark.parametrize("width", [7, 1000, 9000])
def test_on_a_gpu_copies_are_those_within_rounding(width):
    x = torch.randn(11, width, dtype=torch.float64).repeat(3, 1)
    products = x @ x.T
    sums = products.diagonal()[:, None] + products.diagonal()
    rounding = (4 + width**0.5 / 2) * torch.finfo(torch.float64).eps * sums
    squared = _without_copies(sums - 2 * products, rounding)
    assert (squared.reshape(3, 11, 3, 11).diagonal(dim1=1, dim2=3) == 0).all()
    torch.testing.assert_close(squared, naive(x), rtol=1e-9, atol=0)


def test_a_far_sample_takes_no_digits_from_the_others():
    x = torch.randn(20, 512, dtype=torch.float64)
    x[0] += 1e6
    torch.testing.assert_close(batch_distances(x), naive(x), rtol=1e-5, atol=0.0)


def test_a_diverging_sample_leaves_the_distances_between_the_others():
    x = torch.randn(12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x[3] = 1e9
    found, right = batch_distances(x), torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    torch.testing.assert_close(found, right, rtol=1e-6, atol=0)


def test_collapsed_clusters_keep_their_inner_distances():
    centres = torch.randn(4, 512)[torch.arange(24) % 4]
    x = centres + 1e-4 * torch.randn(24, 512)
    inner = torch.arange(24)[:, None] % 4 == torch.arange(24) % 4
    torch.testing.assert_close(batch_distances(x)[inner], naive(x)[inner], rtol=1e-6, atol=1e-12)


def test_autograd_keeps_the_batch_alone():
    x = torch.randn(16, 200, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        batch_distances(x)
    assert [t.data_ptr() for t in kept] == [x.data_ptr()]


def test_fast_matrix_products_do_not_reach_the_distances():
    x = torch.randn(20, 9000)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        fast = batch_distances(x)
    finally:
        torch.set_float32_matmul_precision(before)
    torch.testing.assert_close(fast, naive(x), rtol=1e-12, atol=1e-9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(batch_distances(x), naive(x), rtol=1e-5, atol=1e-2)
        assert cosine(x).dtype == torch.float32


def test_bandwidths_against_a_plain_computation():
    squared = batch_distances(torch.randn(15, 4, dtype=torch.float64))
    distances = squared.sqrt().numpy()
    others = [np.delete(row, i) for i, row in enumerate(distances)]
    nearest = np.mean([np.sort(row)[:4] for row in others])
    assert bandwidth(squared, Bandwidth("knn", 4)).item() == pytest.approx(nearest)
    assert bandwidth(squared, Bandwidth("knn", 99)).item() == pytest.approx(np.mean(others))
    median = np.median(distances[np.triu_indices(15, 1)])
    assert bandwidth(squared, Bandwidth("median", 0.5)).item() == pytest.approx(0.5 * median)
    assert bandwidth(squared, Bandwidth("fixed", 2.5)).item() == 2.5


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_fixed_bandwidth_is_fixed(n):
    squared = torch.zeros(n, n, dtype=torch.float64)
    assert bandwidth(squared, Bandwidth("fixed", 2.5)).item() == 2.5


def test_bandwidths_without_spread():
    knn = Bandwidth("knn", 1)
    assert bandwidth(torch.zeros(4, 4, dtype=torch.float64), knn).item() == 1
    assert bandwidth(torch.zeros(1, 1, dtype=torch.float64), knn).item() == 1
    pairs = batch_distances(torch.tensor([[0.0], [0.0], [3.0], [3.0]]))
    # Of 12 ordered pairs 8 are at distance 3.
    assert bandwidth(pairs, knn).item() == pytest.approx((8 * 9 / 12) ** 0.5)


def test_cosine_against_correlation_and_by_gradcheck():
    x = torch.randn(7, 6, dtype=torch.float64)
    torch.testing.assert_close(cosine(x), torch.from_numpy(np.corrcoef(x.numpy())))
    torch.testing.assert_close(cosine(x * 1e-200), cosine(x))
    assert torch.autograd.gradcheck(cosine, (x.requires_grad_(),))


def test_a_sample_of_equal_features_is_like_none():
    x = torch.randn(4, 5)
    x[1] = 2.0
    x.requires_grad_()
    similarity = cosine(x)
    assert similarity[1].tolist() == [0.0] * 4
    similarity.sum().backward()
    assert x.grad[1].abs().sum() == 0
    assert torch.isfinite(x.grad).all()


def test_tokens_are_compared_by_the_positions_in_which_they_differ():
    tokens = torch.tensor([[5, 7, 7], [5, 9, 1], [5, 7, 7]])
    torch.testing.assert_close(
        batch_distances(tokens), 4.0 * torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]]).double()
    )
