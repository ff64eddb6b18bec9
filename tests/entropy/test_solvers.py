"""The choice of the solver, and how it is run."""

import json
import sys
import threading
import time

import numpy as np
import pytest
import torch

from infoplane import gram_matrix, renyi_entropy
from infoplane.entropy import eigenvalues as spectrum
from infoplane.entropy import solvers
from infoplane.entropy.forms import Known
from infoplane.kernels import label_gram


def draw(n, d=4):
    return np.random.default_rng(0).standard_normal((n, d))


@pytest.mark.parametrize(
    ("dtype", "name"), [(dtype, name) for dtype, names in solvers.CANDIDATES.items() for name in names]
)
def test_every_solver_agrees_and_can_be_asked_for(dtype, name, monkeypatch):
    A = gram_matrix(draw(200))
    monkeypatch.setenv("INFOPLANE_EIGENSOLVER", name)
    assert solvers.fastest(10**4, dtype) == name
    values = np.linalg.eigvalsh(A)
    plain = -(values * np.log2(values)).sum()
    assert renyi_entropy(A, dtype=dtype) == pytest.approx(plain, abs=1e-9 if dtype == "float64" else 1e-4)


def flushed():
    return sys.float_info.min / 2 == 0


can_flush = pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor cannot flush denormals")


@can_flush
@pytest.mark.parametrize("before", [False, True])
def test_denormals_are_flushed_in_a_solve_and_as_before_after_it(before, monkeypatch):
    seen = []

    def solver(matrix):
        seen.append(flushed())
        return Known(np.linalg.eigvalsh(matrix))

    monkeypatch.setattr(spectrum, "SOLVERS", dict.fromkeys(solvers.SOLVERS, solver))
    torch.set_flush_denormal(before)
    try:
        spectrum.eigenvalues(torch.eye(3).double())
        assert flushed() == before
        with pytest.raises(ZeroDivisionError), solvers.flushed_denormals():
            _ = 1 / 0
        assert flushed() == before
        others = []
        with solvers.flushed_denormals():
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

    assert solvers.solved(solver, 3) == 3
    assert seen[-1] is False
    assert len(seen) == 2


@pytest.mark.parametrize("solver", solvers.SOLVERS)
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
    found = np.sort(solvers.solved(lambda matrix: solvers.SOLVERS[solver](matrix).eigenvalues(), A))
    np.testing.assert_allclose(found, np.sort(solvers.SOLVERS[solver](A).eigenvalues()), atol=1e-14)
    np.testing.assert_allclose(found, np.linalg.eigvalsh(A), atol=1e-13)


def test_the_measured_solver_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("INFOPLANE_EIGENSOLVER", raising=False)
    monkeypatch.setattr(solvers, "SIZE_CLASSES", (512,))
    key = f"float32-512-{torch.get_num_threads()}"
    solvers._measured.cache_clear()
    try:
        assert solvers.fastest(100, "float64") == solvers.CANDIDATES["float64"][0]
        assert not list(tmp_path.iterdir())
        chosen = solvers.fastest(600, "float32")
        assert json.loads(solvers.cache_path().read_text()) == {key: chosen}
        solvers.cache_path().write_text(json.dumps({key: "torch"}))
        solvers._measured.cache_clear()
        assert solvers.fastest(600, "float32") == "torch"
        solvers.cache_path().write_text("{")
        solvers._measured.cache_clear()
        assert solvers.fastest(600, "float32") in solvers.CANDIDATES["float32"]
    finally:
        solvers._measured.cache_clear()


def test_the_solver_is_measured_at_the_nearest_size_and_as_it_is_used(monkeypatch):
    monkeypatch.delenv("INFOPLANE_EIGENSOLVER", raising=False)
    monkeypatch.setattr(solvers, "_measured", lambda *asked: asked)
    threads = torch.get_num_threads()
    assert [solvers.fastest(n, "float32")[0] for n in (600, 1000, 1500, 10**4)] == [512, 1024, 2048, 3072]
    torch.set_num_threads(1)
    try:
        assert solvers.fastest(1000, "float64") == (1024, "float64", 1)
    finally:
        torch.set_num_threads(threads)


def test_a_race_on_a_machine_that_others_use_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("INFOPLANE_EIGENSOLVER", raising=False)
    monkeypatch.setattr(solvers, "_race", lambda *asked: ("torch", False))
    solvers._measured.cache_clear()
    try:
        assert solvers.fastest(600, "float64") == "torch"
        assert not list(tmp_path.iterdir())
    finally:
        solvers._measured.cache_clear()


@pytest.mark.parametrize(("threads", "trusted"), [(1, True), (2, False)])
def test_threads_that_wait_for_a_core_are_not_trusted_with_a_race(threads, trusted, monkeypatch):
    # One thread is timed by its own clock, which stands still while it waits.
    monkeypatch.setitem(solvers.SOLVERS, "waits", lambda matrix: time.sleep(0.02) or Known(np.ones(len(matrix))))
    assert solvers._race(["waits"], np.eye(65), threads) == ("waits", trusted)


def test_the_race_is_won_by_the_fastest(monkeypatch):
    sleeps = {"slow": 0.02, "fast": 0.0, "hopeless": 0.05}
    monkeypatch.setattr(solvers, "MOST_BESIDE", 1)
    runs = dict.fromkeys(sleeps, 0)

    def solver(name):
        def solve(matrix):
            runs[name] += len(matrix) > 64
            begin = time.thread_time()
            while time.thread_time() - begin < sleeps[name]:
                pass
            return Known(np.ones(len(matrix)))

        return solve

    for name in sleeps:
        monkeypatch.setitem(solvers.SOLVERS, name, solver(name))
    assert solvers._race(list(sleeps), np.eye(65), threads=1) == ("fast", True)
    assert runs["hopeless"] == 1
    assert runs["fast"] > 1
