"""The faster exact ways against the plain one."""

import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from infoplane import gram_matrix, joint_entropy, mutual_information, renyi_entropy
from infoplane.entropy import (
    class_joint_entropies,
    class_joint_entropy,
    distinct_entropy,
    distinct_samples,
    lapack,
    linear_entropy,
    spectral_entropy,
)
from infoplane.entropy import eigenvalues as spectrum
from infoplane.kernels import label_gram, squared_distances

ORDERS = [0.5, 1.0, 1.01, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]


def draw(n=60, d=4, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def near(alpha):
    # Below order 1, eigenvalues at rounding level count; they differ between any two ways.
    return 1e-6 if alpha < 1 else 1e-11


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
    found = spectrum.block_eigenvalues(A, [members, reverse], torch.float64)
    single = torch.cat([spectrum.eigenvalues(A[part[:, None], part]) for part in members])
    for batched in found:
        torch.testing.assert_close(batched.sort().values, single.sort().values, atol=1e-15, rtol=0)
    whole = joint_entropy(A, label_gram(torch.from_numpy(labels)), alpha=alpha).item()
    assert spectral_entropy(found[0].numpy(), alpha) == pytest.approx(whole, abs=near(alpha))
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


@pytest.mark.parametrize(
    ("dtype", "name"), [(dtype, name) for dtype, names in spectrum.CANDIDATES.items() for name in names]
)
def test_every_solver_agrees_and_can_be_asked_for(dtype, name, monkeypatch):
    A = gram_matrix(draw(200))
    monkeypatch.setenv("INFOPLANE_EIGENSOLVER", name)
    assert spectrum.fastest(10**4, dtype) == name
    assert renyi_entropy(A, dtype=dtype) == pytest.approx(plain(A, 1), abs=1e-11 if dtype == "float64" else 1e-4)


@pytest.mark.skipif(not lapack.available(), reason="no OpenBLAS with LAPACK's two-stage routines")
@pytest.mark.parametrize("n", [1, 2, 3, 25, 26, 130, 1100])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("solver", [lapack.one_stage_eigenvalues, lapack.two_stage_eigenvalues])
def test_lapack_eigenvalues(n, dtype, solver):
    eps = np.finfo(dtype).eps
    x = draw(n, 8)
    x[n // 2 :: 3] = x[0]  # repeated samples: many zeros
    for matrix in (gram_matrix(x, sigma=2.0), np.diag(np.arange(n, 0.0, -1)), np.zeros((n, n))):
        given = matrix.astype(dtype)
        found = solver(given)
        assert np.array_equal(given, matrix.astype(dtype))
        assert np.abs(found - np.linalg.eigvalsh(matrix)).max() <= 20 * eps * max(matrix.trace(), 1e-300)


def flushed():
    return sys.float_info.min / 2 == 0


can_flush = pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor cannot flush denormals")


@can_flush
@pytest.mark.parametrize("before", [False, True])
def test_denormals_are_flushed_in_a_solve_and_as_before_after_it(before, monkeypatch):
    seen = []

    def solver(matrix):
        seen.append(flushed())
        return np.linalg.eigvalsh(matrix)

    monkeypatch.setattr(spectrum, "SOLVERS", dict.fromkeys(spectrum.SOLVERS, solver))
    torch.set_flush_denormal(before)
    try:
        spectrum.eigenvalues(torch.eye(3).double())
        assert flushed() == before
        with pytest.raises(ZeroDivisionError), spectrum.flushed_denormals():
            _ = 1 / 0
        assert flushed() == before
        others = []
        with spectrum.flushed_denormals():
            thread = threading.Thread(target=lambda: others.append(flushed()))
            thread.start()
            thread.join()
    finally:
        torch.set_flush_denormal(False)
    assert seen == [True]


def test_a_solve_that_flushing_keeps_from_converging_is_repeated_without(monkeypatch):
    seen = []

    def solver(matrix):
        seen.append(flushed())
        if seen[-1] or len(seen) == 1:
            raise np.linalg.LinAlgError
        return matrix

    assert spectrum.solved(solver, 3) == 3
    assert seen[-1] is False
    assert len(seen) == 2


@pytest.mark.parametrize("solver", spectrum.SOLVERS)
@pytest.mark.parametrize("kind", ["constant", "labels", "narrow", "copies", "few"])
def test_flushing_changes_nothing(solver, kind):
    n = 300
    A = {
        "constant": lambda: np.full((n, n), 1 / n),
        "labels": lambda: label_gram(np.arange(n) % 2),
        "narrow": lambda: gram_matrix(draw(n, 5), sigma=0.05),
        "copies": lambda: gram_matrix(np.tile(draw(10), (n // 10, 1))),
        "few": lambda: np.diag((np.arange(n) < 3) / 3),
    }[kind]()
    found = spectrum.solved(spectrum.SOLVERS[solver], A)
    np.testing.assert_allclose(np.sort(found), np.sort(spectrum.SOLVERS[solver](A)), atol=1e-14)
    np.testing.assert_allclose(np.sort(found), np.linalg.eigvalsh(A), atol=1e-13)


def test_the_measured_solver_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("INFOPLANE_EIGENSOLVER", raising=False)
    monkeypatch.setattr(spectrum, "SIZE_CLASSES", (512,))
    key = f"float32-512-{torch.get_num_threads()}"
    spectrum._measured.cache_clear()
    try:
        assert spectrum.fastest(100, "float64") == "torch"
        assert not list(tmp_path.iterdir())
        chosen = spectrum.fastest(600, "float32")
        assert json.loads(spectrum.cache_path().read_text()) == {key: chosen}
        spectrum.cache_path().write_text(json.dumps({key: "torch"}))
        spectrum._measured.cache_clear()
        assert spectrum.fastest(600, "float32") == "torch"
        spectrum.cache_path().write_text("{")
        spectrum._measured.cache_clear()
        assert spectrum.fastest(600, "float32") in spectrum.CANDIDATES["float32"]
    finally:
        spectrum._measured.cache_clear()


def test_the_solver_is_measured_at_the_nearest_size_and_as_it_is_used(monkeypatch):
    monkeypatch.delenv("INFOPLANE_EIGENSOLVER", raising=False)
    monkeypatch.setattr(spectrum, "_measured", lambda *asked: asked)
    threads = torch.get_num_threads()
    assert [spectrum.fastest(n, "float32")[0] for n in (600, 1000, 1500, 10**4)] == [512, 1024, 2048, 3072]
    torch.set_num_threads(1)
    try:
        assert spectrum.fastest(1000, "float64") == (1024, "float64", 1)
    finally:
        torch.set_num_threads(threads)


def test_the_race_is_won_by_the_fastest(monkeypatch):
    sleeps = {"slow": 0.02, "fast": 0.0, "hopeless": 0.05}
    runs = dict.fromkeys(sleeps, 0)

    def solver(name):
        def solve(matrix):
            runs[name] += len(matrix) > 64
            time.sleep(sleeps[name])

        return solve

    for name in sleeps:
        monkeypatch.setitem(spectrum.SOLVERS, name, solver(name))
    assert spectrum._race(list(sleeps), np.eye(65), threads=10**6) == "fast"
    assert runs["hopeless"] == 1
    assert runs["fast"] > 1


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
