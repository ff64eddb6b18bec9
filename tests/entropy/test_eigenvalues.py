"""The faster exact ways against the plain one."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from infoplane import gram_matrix, joint_entropy, mutual_information, renyi_entropy
from infoplane.entropy import (
    class_joint_entropies,
    class_joint_entropy,
    distinct_entropy,
    distinct_samples,
    linear_entropy,
    spectral_entropy,
)
from infoplane.entropy import eigenvalues as spectrum
from infoplane.kernels import label_gram, squared_distances

ORDERS = [0.5, 1.0, 1.01, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]


def draw(n=60, d=4, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def near(alpha):
    # Below order 1, eigenvalues at rounding level count; they differ between any two ways. Exact is 1e-9 bit.
    return 1e-6 if alpha < 1 else 1e-9 if alpha < 2 else 1e-11


@pytest.mark.parametrize("alpha", ORDERS)
def test_distinct_samples_give_the_entropy_of_all(alpha):
    rng = np.random.default_rng(0)
    x, t = draw(12)[rng.integers(0, 12, 300)], rng.integers(0, 3, (300, 2))
    for variables in ([x], [t], [x, t]):
        first, counts = distinct_samples(*variables)
        assert counts.sum() == 300
        small = np.prod([len(first) * gram_matrix(v[first], sigma=1.5) for v in variables], axis=0)
        whole = joint_entropy(*[gram_matrix(v, sigma=1.5) for v in variables], alpha=alpha)
        assert distinct_entropy(small, counts, alpha) == pytest.approx(whole, abs=near(alpha))


@pytest.mark.parametrize("alpha", ORDERS)
@pytest.mark.parametrize("shape", [(80, 5), (20, 50)])
@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_linear_kernel_in_the_smaller_dimension(alpha, shape, scale):
    x = draw(*shape)
    K = x @ x.T
    expected = renyi_entropy((K + K.T) / 2 / np.trace(K), alpha)
    assert linear_entropy(x * scale, alpha) == pytest.approx(expected, abs=near(alpha))


def plain(A, alpha):
    values = np.linalg.eigvalsh(A)
    values = values[values > 1e-16]
    return -(values * np.log2(values)).sum() if alpha == 1 else np.log2((values**alpha).sum()) / (1 - alpha)


@pytest.mark.parametrize("alpha", [1.0, 1.01, 1.5, 2.0, 3.0, 4.0, 7.0])
@pytest.mark.parametrize("kind", ["ill-conditioned", "duplicated", "1e-300", "1e300", "own diagonal"])
def test_agrees_with_the_plain_computation_on_hard_inputs(alpha, kind):
    x = np.repeat(draw(30), 2, axis=0) if kind == "duplicated" else draw()
    if kind.startswith("1e"):
        x = x * float(kind)
    A = gram_matrix(x, sigma=20.0) if kind == "ill-conditioned" else gram_matrix(x)
    if kind == "own diagonal":
        scales = np.linspace(1, 3, 60)
        A = A * scales * scales[:, None]
        A /= np.trace(A)
    assert renyi_entropy(A, alpha) == pytest.approx(plain(A, alpha), abs=1e-9)
    joint = A * gram_matrix(draw(seed=1))
    assert joint_entropy(A, gram_matrix(draw(seed=1)), alpha=alpha) == pytest.approx(
        plain(joint / np.trace(joint), alpha), abs=1e-9
    )


@pytest.mark.parametrize("alpha", ORDERS)
def test_batched_class_blocks_equal_single_ones(alpha):
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(7), [1, 1, 5, 5, 5, 13, 30]))
    A = torch.from_numpy(gram_matrix(draw(), sigma=0.8))
    members = [torch.from_numpy(np.flatnonzero(labels == c)) for c in range(7)]
    reverse = members[::-1]
    values = np.concatenate([np.linalg.eigvalsh(A[part[:, None], part].numpy()) for part in members])
    whole = joint_entropy(A, label_gram(torch.from_numpy(labels)), alpha=alpha).item()
    for found in spectrum.block_entropies(A, spectrum.Partitions([members, reverse]), alpha, torch.float64):
        assert found.item() == pytest.approx(spectral_entropy(values, alpha), abs=near(alpha))
        assert found.item() == pytest.approx(whole, abs=near(alpha))
    assert class_joint_entropy(A, torch.from_numpy(labels), alpha) == pytest.approx(whole, abs=near(alpha))


@pytest.mark.parametrize("alpha", ORDERS)
def test_several_labelings_at_once_are_as_each_alone(alpha):
    rng = np.random.default_rng(2)
    A = gram_matrix(draw(150), sigma=0.8)
    labelings = [rng.integers(0, classes, 150) for classes in (1, 2, 4, 20, 150)]
    found = class_joint_entropies(A, labelings, alpha)
    each = [plain(A * (labels[:, None] == labels), alpha) for labels in labelings]
    np.testing.assert_allclose(found, each, atol=near(alpha), rtol=0)


@pytest.mark.parametrize("alpha", [1.0, 1.01, 1.5, 2.0, 3.0])
def test_single_precision(alpha):
    A, B = gram_matrix(draw(400)), gram_matrix(draw(400, seed=1))
    labels = np.arange(400) % 10
    single = joint_entropy(torch.from_numpy(A), torch.from_numpy(B), alpha=alpha, dtype="float32")
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(joint_entropy(A, B, alpha=alpha), abs=1e-4)
    assert renyi_entropy(A, alpha, dtype="float32") == pytest.approx(renyi_entropy(A, alpha), abs=1e-4)
    by_class = class_joint_entropy(A, labels, alpha, dtype="float32")
    assert by_class == pytest.approx(class_joint_entropy(A, labels, alpha), abs=1e-4)
    value = mutual_information(A, B, alpha, dtype="float32")
    assert value == pytest.approx(mutual_information(A, B, alpha), abs=2e-4)
    with pytest.raises(ValueError, match="dtype"):
        renyi_entropy(A, dtype="float16")


def test_inputs_are_left_as_they_were():
    A, B, C = (gram_matrix(draw(seed=seed)) for seed in range(3))
    copies = [M.copy() for M in (A, B, C)]
    for alpha in (1.0, 2.0, 3.0):
        joint_entropy(A, B, C, alpha=alpha)
        joint_entropy(A, alpha=alpha)
    for before, after in zip(copies, (A, B, C), strict=True):
        np.testing.assert_array_equal(before, after)


def test_distances_equal_those_with_gradients():
    x = torch.from_numpy(np.repeat(draw(300, 7), 2, axis=0))
    with_gradient = squared_distances(x.clone().requires_grad_())
    torch.testing.assert_close(squared_distances(x), with_gradient.detach(), rtol=1e-12, atol=1e-12)
    assert (squared_distances(x).diagonal() == 0).all()


MEMORY = """
import resource, sys
import numpy as np
from infoplane import gram_matrix, renyi_entropy

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

n, x = 2500, np.random.default_rng(0).standard_normal((2500, 20))
renyi_entropy(gram_matrix(x[:600]))
before = peak()
renyi_entropy(gram_matrix(x), 1.01)
print((peak() - before) / (8 * n * n))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read from the operating system's counters")
def test_the_whole_exact_path_holds_at_most_three_matrices():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert float(done.stdout) <= 3
