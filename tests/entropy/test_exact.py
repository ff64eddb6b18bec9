import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import infoplane
from infoplane import (
    conditional_mutual_information,
    gram_matrix,
    joint_entropy,
    mutual_information,
    renyi_entropy,
)
from infoplane.entropy import (
    certified_class_joint_entropy,
    certified_joint_entropy,
    class_entropy,
    class_joint_entropies,
    class_joint_entropy,
    entropy_with_gradient,
    exact,
    gram_entropy,
    spectral_entropy,
)
from infoplane.entropy import eigenvalues as spectrum
from infoplane.entropy.exact import delta_classes
from infoplane.kernels import label_gram

ORDERS = [0.3, 0.5, 0.99, 1.0, 1.01, 1.5, 2.0, 3.0, 10.0]


def draw(n=30, d=4, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def plain_entropy(A, alpha):
    """The definition, written out."""
    values = np.linalg.eigvalsh(A)
    values = values[values > 1e-15]
    if alpha == 1:
        return -(values * np.log2(values)).sum()
    return np.log2((values**alpha).sum()) / (1 - alpha)


def classical(probabilities, alpha):
    p = np.asarray(probabilities)
    p = p[p > 0]
    return -(p * np.log2(p)).sum() if alpha == 1 else np.log2((p**alpha).sum()) / (1 - alpha)


def random_state(n, rng):
    """A random Gram matrix of full rank and trace 1 with a diagonal of its own."""
    x = rng.standard_normal((n, rng.integers(1, n + 2)))
    A = x @ x.T + 1e-6 * np.eye(n)
    return A / np.trace(A)


@pytest.mark.parametrize("alpha", ORDERS)
def test_agrees_with_the_definition(alpha):
    A = gram_matrix(draw(), sigma=0.7)
    assert renyi_entropy(A, alpha) == pytest.approx(plain_entropy(A, alpha), abs=1e-10)


@pytest.mark.parametrize("alpha", ORDERS)
def test_delta_kernels_give_the_classical_entropies(alpha):
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 4, 60), rng.integers(0, 3, 60)
    A, B = label_gram(a), label_gram(b)
    joint = np.histogram2d(a, b, bins=(4, 3))[0] / 60
    assert renyi_entropy(A, alpha) == pytest.approx(classical(joint.sum(1), alpha), abs=1e-11)
    assert joint_entropy(A, B, alpha=alpha) == pytest.approx(classical(joint.ravel(), alpha), abs=1e-11)
    expected = classical(joint.sum(1), alpha) + classical(joint.sum(0), alpha) - classical(joint.ravel(), alpha)
    assert mutual_information(A, B, alpha) == pytest.approx(expected, abs=1e-11)


def test_discrete_markov_chain_has_no_residual_information():
    x = np.arange(64)
    t1, t2 = x // 4, x // 16
    X, T1, T2 = label_gram(x), label_gram(t1), label_gram(t2)
    assert conditional_mutual_information(X, T2, T1) == pytest.approx(0, abs=1e-12)
    assert conditional_mutual_information(X, T1, T2) == pytest.approx(2, abs=1e-12)


@pytest.mark.parametrize("alpha", ORDERS)
def test_identical_samples_give_zero_and_orthogonal_log2_n(alpha):
    n = 32
    assert renyi_entropy(gram_matrix(np.ones((n, 3)), sigma=1.0), alpha) == pytest.approx(0, abs=1e-12)
    assert renyi_entropy(np.eye(n) / n, alpha) == pytest.approx(math.log2(n), abs=1e-12)
    far = gram_matrix(1e6 * np.arange(n)[:, None], sigma=1.0)
    assert renyi_entropy(far, alpha) == pytest.approx(math.log2(n), abs=1e-12)


def test_order_two_by_frobenius_equals_by_eigenvalues():
    A = random_state(25, np.random.default_rng(1))
    assert renyi_entropy(A, 2) == pytest.approx(-math.log2((np.linalg.eigvalsh(A) ** 2).sum()), abs=1e-12)


def test_continuous_and_decreasing_in_the_order():
    A = gram_matrix(draw(), sigma=0.5)
    limit = renyi_entropy(A, 1.0)
    for step in (1e-3, 1e-6, 1e-9, 1e-12):
        assert renyi_entropy(A, 1 + step) == pytest.approx(limit, abs=20 * step + 1e-9)
        assert renyi_entropy(A, 1 - step) == pytest.approx(limit, abs=20 * step + 1e-9)
    values = [renyi_entropy(A, alpha) for alpha in [*ORDERS, 100.0, 1000.0]]
    assert all(high > low for high, low in itertools.pairwise(values))
    largest = np.linalg.eigvalsh(A).max()
    assert values[-1] == pytest.approx(-math.log2(largest) * 1000 / 999, rel=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.5, 1.0, 1.01, 2.0]))
def test_invariances(seed, alpha):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((20, 3)), rng.standard_normal((20, 2))
    order = rng.permutation(20)
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    A, B = gram_matrix(x, sigma=1.0), gram_matrix(y, sigma=0.5)
    permuted = mutual_information(gram_matrix(x[order], sigma=1.0), gram_matrix(y[order], sigma=0.5), alpha)
    turned = mutual_information(gram_matrix(x @ rotation + 4, sigma=1.0), B, alpha)
    scaled = mutual_information(gram_matrix(7 * x), B, alpha)
    value = mutual_information(A, B, alpha)
    assert permuted == pytest.approx(value, abs=1e-9)
    assert turned == pytest.approx(value, abs=1e-9)
    assert scaled == pytest.approx(mutual_information(gram_matrix(x), B, alpha), abs=1e-9)
    assert mutual_information(B, A, alpha) == pytest.approx(value, abs=1e-9)
    assert 0 <= renyi_entropy(A, alpha) <= math.log2(20) + 1e-12


def test_informations_are_not_negative_at_order_one():
    rng = np.random.default_rng(0)
    lowest = math.inf
    for _ in range(2000):
        n = int(rng.integers(2, 12))
        A, B, C = (gram_matrix(rng.standard_normal((n, 2)), sigma=10 ** rng.uniform(-1, 1)) for _ in range(3))
        lowest = min(lowest, mutual_information(A, B), conditional_mutual_information(A, B, C))
    assert lowest > -1e-10


def test_information_can_be_negative_at_order_two_and_is_not_clipped():
    rng = np.random.default_rng(0)
    values = []
    for _ in range(300):
        A, B = (gram_matrix(rng.standard_normal((4, 1)), sigma=10 ** rng.uniform(-1, 1)) for _ in range(2))
        values.append(mutual_information(A, B, 2.0))
    assert min(values) < -1e-3


@pytest.mark.parametrize("alpha", ORDERS)
@pytest.mark.parametrize("counts", [[30], [1, 1, 28], [10, 10, 10], [1] * 30, [17, 9, 4]])
def test_class_blocks_equal_the_whole_matrix(alpha, counts):
    labels = np.random.default_rng(2).permutation(np.repeat(np.arange(len(counts)), counts))
    A = gram_matrix(draw(), sigma=0.8)
    whole = joint_entropy(A, label_gram(labels), alpha=alpha)
    # Below order 1 tiny eigenvalues count, and those differ by rounding between the two ways.
    tolerance = 1e-6 if alpha < 0.9 else 1e-11
    assert class_joint_entropy(A, labels, alpha) == pytest.approx(whole, abs=tolerance)
    assert class_entropy(labels, alpha) == pytest.approx(renyi_entropy(label_gram(labels), alpha), abs=1e-11)


@pytest.mark.parametrize("alpha", ORDERS)
def test_repeated_samples_equal_their_weights(alpha):
    x = draw(10, 3)
    repeated = gram_matrix(np.repeat(x, 4, axis=0), sigma=1.0)
    assert renyi_entropy(repeated, alpha) == pytest.approx(
        renyi_entropy(gram_matrix(x, sigma=1.0), alpha), abs=1e-8
    )


def test_joint_entropy_of_several_variables():
    A, B, C = (gram_matrix(draw(seed=seed), sigma=1.0) for seed in range(3))
    product = A * B * C
    expected = plain_entropy(product / np.trace(product), 1.5)
    assert joint_entropy(A, B, C, alpha=1.5) == pytest.approx(expected, abs=1e-10)
    assert joint_entropy(A, alpha=1.5) == pytest.approx(renyi_entropy(A, 1.5), abs=1e-12)
    many = joint_entropy(*[A] * 200)
    assert many == pytest.approx(renyi_entropy(gram_matrix(draw(), sigma=200**-0.5)), abs=1e-9)


def test_linear_gaussian_order_two_closed_form():
    # For x ~ N(0, 1) and K = exp(−d²/(2σ²)), E‖A‖²_F → (1 + 4/σ²)^(−1/2) as n grows.
    sigma, values = 0.8, []
    for seed in range(8):
        x = np.random.default_rng(seed).standard_normal((1500, 1))
        values.append(2 ** -renyi_entropy(gram_matrix(x, sigma=sigma), 2.0))
    expected = (1 + 4 / sigma**2) ** -0.5
    assert np.mean(values) == pytest.approx(expected, abs=4 * np.std(values) / 8**0.5 + 1 / 1500)


def test_keeps_the_kind():
    x = draw()
    array, tensor = gram_matrix(x, sigma=1.0), gram_matrix(torch.from_numpy(x), sigma=1.0)
    for function in (renyi_entropy, joint_entropy):
        assert isinstance(function(array), np.float64)
        assert isinstance(function(tensor), torch.Tensor)
        assert function(tensor).ndim == 0
        assert function(tensor).item() == function(array)
    value = conditional_mutual_information(tensor, tensor, tensor)
    assert isinstance(value, torch.Tensor)


def test_float32_input_is_taken():
    A = gram_matrix(draw(), sigma=1.0)
    assert renyi_entropy(A.astype(np.float32)) == pytest.approx(renyi_entropy(A), abs=1e-4)


def test_gradients_flow_to_the_samples():
    x = torch.from_numpy(draw(8, 2)).requires_grad_()
    other = gram_matrix(torch.from_numpy(draw(8, 2, seed=1)), sigma=1.0)
    assert torch.autograd.gradcheck(lambda v: mutual_information(gram_matrix(v, sigma=1.0), other, 1.01), (x,))


@pytest.mark.parametrize(
    ("A", "message"),
    [
        (np.ones((3, 3)), "trace 1"),
        (np.ones((3, 2)) / 3, "square"),
        (np.full((2, 2), np.nan), "NaN"),
        (np.array([[0.5, 0.4], [0.0, 0.5]]), "symmetric"),
        (np.empty((0, 0)), "square"),
        (np.diag([0.6, 0.6, -0.2]), "not positive semi-definite: an eigenvalue is -0.2"),
        (torch.tensor([[0.5, 0.8], [0.8, 0.5]]), "not positive semi-definite: an eigenvalue is -0.3"),
        (np.eye(2) / 2 + 0j, "real numbers"),
        (np.eye(2, dtype=bool), "booleans; label_gram makes one"),
        (np.array([["a"]]), "expected Gram matrices as a NumPy array or a tensor of numbers, got an array of <U1"),
    ],
)
def test_refuses_what_is_no_gram_matrix(A, message):
    with pytest.raises(ValueError, match=message):
        renyi_entropy(A)


def test_a_block_of_a_class_that_is_no_gram_matrix_is_refused():
    A = np.eye(4) / 4
    A[2, 3] = A[3, 2] = 0.5
    with pytest.raises(ValueError, match="semi-definite"):
        mutual_information(A, label_gram(np.array([0, 0, 1, 1])))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_checks_allow_for_rounding_and_no_more(dtype):
    A = gram_matrix(draw(), sigma=1.0).astype(dtype)
    allowed = 1e-8 if dtype == np.float64 else 1e-3
    one_sided = np.zeros_like(A)
    one_sided[0, 1] = 1
    near, far = dtype(0.3 * allowed), dtype(3 * allowed)
    renyi_entropy(A * (1 + near))
    renyi_entropy(A + near * one_sided)
    with pytest.raises(ValueError, match="trace 1"):
        renyi_entropy(A * (1 + far))
    with pytest.raises(ValueError, match="trace 1"):
        renyi_entropy(A * (1 - far))
    with pytest.raises(ValueError, match="not symmetric"):
        renyi_entropy(A + far * one_sided)


BELOW_ONE = [0.05, 0.1, 0.2, 0.5, 0.9, 0.999]


@pytest.mark.parametrize("alpha", [*BELOW_ONE, 1.0])
@pytest.mark.parametrize(("kinds", "copies"), [(1, 40), (5, 60), (30, 10), (300, 2)])
def test_copies_of_samples_far_apart_count_as_kinds(alpha, kinds, copies):
    rng = np.random.default_rng(0)
    x = rng.permutation(np.repeat(100 * draw(kinds, 6), copies, axis=0))
    expected = pytest.approx(math.log2(kinds), abs=1e-10)
    A = gram_matrix(x, sigma=1.0)
    assert renyi_entropy(A, alpha) == expected
    assert gram_entropy(torch.from_numpy(A), alpha) == expected
    B = gram_matrix(draw(len(A), 2, seed=1), sigma=1e7)
    for found in (
        joint_entropy(A, B, alpha=alpha),
        class_joint_entropy(A, np.zeros(len(A)), alpha),
        entropy_with_gradient(torch.from_numpy(A).requires_grad_(), alpha).item(),
    ):
        assert found == expected
    for interval in (
        certified_joint_entropy(A, A, alpha=alpha),
        certified_class_joint_entropy(A, np.zeros(len(A)), alpha),
    ):
        assert interval.low - 1e-10 <= math.log2(kinds) <= interval.high + 1e-10


@pytest.mark.parametrize("alpha", [*BELOW_ONE, 1.0])
def test_eigenvalues_of_label_matrices_give_the_entropy_of_frequencies(alpha):
    labels = np.random.default_rng(0).choice(6, 400, p=[0.5, 0.3, 0.1, 0.05, 0.03, 0.02])
    values = spectrum.eigenvalues(torch.from_numpy(label_gram(labels)))
    expected = classical(np.bincount(labels) / 400, alpha)
    assert spectral_entropy(values.numpy(), alpha) == pytest.approx(expected, abs=1e-10)
    assert class_entropy(labels, alpha) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("alpha", [0.1, 0.99])
def test_orders_below_one_are_refused_in_single_precision(alpha):
    A, labels = gram_matrix(draw(), sigma=1.0), np.arange(30) % 3
    single = A.astype(np.float32)
    for refused in (
        lambda: renyi_entropy(A, alpha, dtype="float32"),
        lambda: renyi_entropy(single, alpha),
        lambda: joint_entropy(A, single, alpha=alpha),
        lambda: mutual_information(A, A, alpha, dtype="float32"),
        lambda: conditional_mutual_information(A, A, A, alpha, dtype="float32"),
        lambda: gram_entropy(torch.from_numpy(A), alpha, "float32"),
        lambda: class_joint_entropy(A, labels, alpha, "float32"),
        lambda: class_joint_entropy(single, labels, alpha),
        lambda: certified_joint_entropy(single, single, alpha=alpha),
        lambda: entropy_with_gradient(torch.from_numpy(single), alpha),
    ):
        with pytest.raises(ValueError, match="dtype float64, or take alpha >= 1"):
            refused()


def test_a_warning_where_rounding_decides(caplog):
    spectrum._warn.cache_clear()
    A = gram_matrix(draw(), sigma=1.0)
    for alpha in (0.2, 1.0, 0.1, 0.1):
        renyi_entropy(A, alpha)
    assert [record.getMessage() for record in caplog.records] == [
        "alpha 0.1: below 0.2, entropies are decided by eigenvalues at rounding level; take a larger alpha"
    ]


def test_delta_kernels_are_noticed_and_nothing_else():
    labels = np.random.default_rng(0).integers(0, 5, 600)
    for gram in (label_gram(labels), label_gram(labels).astype(np.float32), np.eye(7) / 7, np.full((4, 4), 0.25)):
        classes = delta_classes(torch.from_numpy(gram)).numpy()
        np.testing.assert_array_equal(classes[:, None] == classes, gram > 0)
    chain = np.eye(3) / 3
    chain[0, 1] = chain[1, 0] = chain[1, 2] = chain[2, 1] = 1 / 3  # 0 like 1 and 1 like 2, but not 0 like 2
    other_diagonal = np.diag([0.25, 0.25, 0.5])
    changed = label_gram(labels)
    changed[400, 400] *= 1 + 1e-15
    for gram in (chain, other_diagonal, changed, gram_matrix(draw()), np.eye(2)[::-1].copy()):
        assert delta_classes(torch.from_numpy(gram)) is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.5, 1.0, 1.01, 2.0, 3.0]), st.integers(1, 40))
def test_matrices_of_classes_give_what_eigenvalues_of_the_whole_give(seed, alpha, kinds):
    rng = np.random.default_rng(seed)
    y, z = rng.integers(0, kinds, (2, 40))
    A, Y, Z = gram_matrix(draw(40, 3, seed), sigma=0.5), label_gram(y), label_gram(z)

    def plain(*matrices):
        product = np.prod(matrices, axis=0)
        values = np.linalg.eigvalsh(product / np.trace(product))
        return spectral_entropy(values, alpha)

    about = 1e-12 if alpha >= 1 else 1e-9
    assert renyi_entropy(Y, alpha) == pytest.approx(plain(Y), abs=about)
    assert joint_entropy(A, Y, alpha=alpha) == pytest.approx(plain(A, Y), abs=about)
    assert joint_entropy(Y, A, Z, A, alpha=alpha) == pytest.approx(plain(Y, A, Z, A), abs=about)
    assert joint_entropy(Y, Z, alpha=alpha) == pytest.approx(plain(Y, Z), abs=about)
    expected = plain(A) + plain(Y) - plain(A, Y)
    tensors = [torch.from_numpy(matrix) for matrix in (A, Y, Z)]
    assert mutual_information(A, Y, alpha) == pytest.approx(expected, abs=about)
    assert mutual_information(*tensors[:2], alpha).item() == mutual_information(A, Y, alpha)
    conditional = plain(A, Z) + plain(Y, Z) - plain(Z) - plain(A, Y, Z)
    assert conditional_mutual_information(A, Y, Z, alpha) == pytest.approx(conditional, abs=about)
    assert conditional_mutual_information(*tensors, alpha).item() == pytest.approx(conditional, abs=about)


def test_classes_leave_gradients_and_precision_as_they_are():
    labels = np.arange(30) % 3
    A = torch.from_numpy(gram_matrix(draw(), sigma=1.0))
    B = torch.from_numpy(label_gram(labels))
    for alpha in (1.0, 1.01, 2.0):
        tracked = A.clone().requires_grad_()
        value = mutual_information(tracked, B, alpha)
        (found,) = torch.autograd.grad(value, tracked)
        assert value.item() == pytest.approx(mutual_information(A, B, alpha).item(), abs=1e-12)
        product = tracked * B * 30
        whole = entropy_with_gradient(tracked, alpha) - entropy_with_gradient(product, alpha)
        (expected,) = torch.autograd.grad(whole, tracked)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
        labelled = B.clone().requires_grad_()
        assert mutual_information(A, labelled, alpha).requires_grad
        assert mutual_information(A, B, alpha, dtype="float32").dtype == torch.float32


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.5, 1.0, 1.01, 2.0]))
def test_renaming_classes_changes_nothing(seed, alpha):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, 24)
    renamed = rng.permutation(100)[labels] - 50
    order = rng.permutation(24)
    A = gram_matrix(draw(24, 3, seed))
    assert np.array_equal(label_gram(renamed), label_gram(labels))
    for other, own in ((A, renamed), (A[order][:, order], labels[order]), (A, labels.astype(str))):
        assert class_entropy(own, alpha) == pytest.approx(class_entropy(labels, alpha), abs=1e-12)
        if own.dtype.kind != "U":
            expected = pytest.approx(class_joint_entropy(A, labels, alpha), abs=1e-9)
            assert class_joint_entropy(other, own, alpha) == expected


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.inf, math.nan])
def test_refuses_orders(alpha):
    with pytest.raises(ValueError, match="alpha"):
        renyi_entropy(np.eye(2) / 2, alpha)


def test_refuses_other_sizes():
    with pytest.raises(ValueError, match="sizes"):
        mutual_information(np.eye(2) / 2, np.eye(3) / 3)
    with pytest.raises(ValueError, match="at least one"):
        joint_entropy()


def test_spectral_entropy_of_zeros_is_no_nan():
    assert spectral_entropy(np.array([0.5, 0.5, 0.0, -1e-18]), 1.0) == pytest.approx(1.0, abs=1e-14)


def test_public_names():
    assert set(infoplane.__all__) <= set(dir(infoplane))
    with pytest.raises(AttributeError, match="no attribute"):
        _ = infoplane.nothing


@pytest.mark.parametrize("gathered", [1, 700, 2**18])
@pytest.mark.parametrize("alpha", [2.0, 3.0, 4.0, 8.0])
def test_class_blocks_of_many_labelings_at_orders_without_eigenvalues(monkeypatch, alpha, gathered):
    monkeypatch.setattr(exact, "_GATHERED", gathered)
    rng = np.random.default_rng(0)
    A = infoplane.gram_matrix(rng.standard_normal((60, 4)))
    labelings = [rng.permutation(np.repeat([0, 1, 2, 3], [30, 15, 14, 1])) for _ in range(3)] + [np.arange(60)]
    found = class_joint_entropies(A, labelings, alpha)
    expected = [spectral_entropy(np.linalg.eigvalsh(A * (own[:, None] == own)), alpha) for own in labelings]
    np.testing.assert_allclose(found, expected, atol=1e-11)
