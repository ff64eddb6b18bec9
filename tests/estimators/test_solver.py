"""Precision, tolerance, device and memory of the Rényi estimator."""

import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import pdist

from infoplane import Recorder, gram_matrix, joint_entropy, open_run, renyi_entropy
from infoplane.entropy import Interval
from infoplane.entropy import eigenvalues as spectrum
from infoplane.errors import InfoplaneError
from infoplane.estimators import solver as solver_module
from infoplane.estimators.base import LayerView
from infoplane.estimators.batches import Batches
from infoplane.estimators.engine import memory
from infoplane.estimators.engine.estimate import estimate_run, estimates_path
from infoplane.estimators.feature_maps import interaction_table
from infoplane.estimators.pairs import estimate_pairs
from infoplane.estimators.registry import make_settings
from infoplane.estimators.renyi import Renyi, RenyiSettings
from infoplane.estimators.solver import Solver
from infoplane.execution import Execution
from infoplane.kernels import Bandwidth
from infoplane.words import settings_text

WIDTHS = ["I_XT_halfwidth", "I_TY_halfwidth"]
VALUES = ["I_XT", "I_TY", "I_TY_null", "S_T", "S_X"]


def make_run(path, n, classes=3, features=20, steps=(0,), keep="activations"):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % classes
    inputs = torch.randn(n, features, generator=generator) + labels[:, None]
    net = torch.nn.Sequential(torch.nn.Linear(features, 5), torch.nn.Tanh())
    with Recorder(net, (inputs, labels), path, layers=["1"], keep=keep) as recorder:
        for step in steps:
            recorder.snapshot(step=step)
    return path


@pytest.fixture
def run_path(tmp_path):
    return make_run(tmp_path / "run.h5", 60, steps=(0, 1))


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_joint_entropy_is_that_of_the_hadamard_product(alpha):
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((300, 6)), rng.standard_normal((300, 4))
    solver = Solver(alpha, device="cpu")
    gram = solver.gram(pdist(t), 1.5)
    assert solver.entropy(gram).value == pytest.approx(renyi_entropy(gram_matrix(t, 1.5), alpha), abs=1e-10)
    solver_module.multiply_kernel(gram, pdist(x), 3.0)
    expected = joint_entropy(gram_matrix(x, 3.0), gram_matrix(t, 1.5), alpha=alpha)
    assert solver.entropy(gram) == Interval.of_exact(pytest.approx(expected, abs=1e-10))


def test_single_precision_is_close_and_kept_apart(run_path):
    double = estimate_run(run_path, RenyiSettings())
    single = estimate_run(run_path, RenyiSettings(dtype="float32"))
    assert (single[VALUES].to_numpy() != double[VALUES].to_numpy()).any()
    np.testing.assert_allclose(single[VALUES], double[VALUES], atol=1e-4)
    assert (set(double["dtype"]), set(single["dtype"])) == ({"float64"}, {"float32"})
    assert (double[["tolerance", *WIDTHS]] == 0).all(axis=None)
    stored = pd.read_csv(estimates_path(run_path))
    assert len(stored) == 4
    assert "single precision" in settings_text(single.iloc[0])


def test_tables_without_the_columns_are_estimated_anew(run_path):
    first = estimate_run(run_path, RenyiSettings())
    old = pd.read_csv(estimates_path(run_path)).drop(columns=["dtype", "tolerance", *WIDTHS])
    old.assign(I_XT=-1.0).to_csv(estimates_path(run_path), index=False)
    pd.testing.assert_frame_equal(estimate_run(run_path, RenyiSettings())[first.columns], first)


def test_within_a_tolerance(tmp_path):
    path = make_run(tmp_path / "run.h5", 1300, classes=2, features=3)
    exact = estimate_run(path, RenyiSettings(permutations=2)).iloc[0]
    found = estimate_run(path, RenyiSettings(permutations=2, tolerance=0.05)).iloc[0]
    assert found["tolerance"] == 0.05
    for name in ("I_XT", "I_TY"):
        assert 0 < found[f"{name}_halfwidth"] <= 0.05
        assert abs(found[name] - exact[name]) <= found[f"{name}_halfwidth"]
    assert found["I_TY_null"] == pytest.approx(exact["I_TY_null"], abs=0.05)
    assert "within 0.05 bits" in settings_text(found)


@pytest.mark.parametrize("bound", [0.0, 1.0])
def test_informations_meet_the_tolerance_even_where_bounds_add_up(run_path, monkeypatch, bound):
    asked, seeds = [], []

    def rough(gram, *arguments, seed):
        asked.append(width := arguments[-1])
        seeds.append(seed)
        return Interval(2.0, 2.0 - width, 2.0 + width, "statistical", 16, 8, bound * width, False)

    monkeypatch.setattr(solver_module, "certified_entropy", rough)
    monkeypatch.setattr(solver_module, "certified_class_joint_entropy", rough)
    rows = estimate_run(run_path, RenyiSettings(tolerance=0.1), execution=Execution(1))
    # Of two layers, S(T), I(X;T) and 4 pairings, I(T;Y) and 10.
    assert len(asked) == 1 + 2 * (1 + 5 + 11)
    assert min(asked) > 0
    # Independent terms have probes of their own.
    assert len(set(seeds)) == 1 + 1 + 5 + 11
    assert (rows[WIDTHS] <= 0.1 + 1e-12).all(axis=None)
    assert (rows[WIDTHS] > 0.05).all(axis=None)
    if bound:
        np.testing.assert_allclose(rows[WIDTHS], 0.1)


def test_below_order_one_a_tolerance_changes_nothing(run_path):
    exact = estimate_run(run_path, RenyiSettings(alpha=0.5))
    found = estimate_run(run_path, RenyiSettings(alpha=0.5, tolerance=0.1))
    np.testing.assert_allclose(found[VALUES], exact[VALUES], rtol=1e-12)
    assert (found[WIDTHS] == 0).all(axis=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float16"}, "float64 or float32"),
        ({"dtype": "float32", "alpha": 0.5}, "alpha 0.5 with dtype float32.*choose dtype float64 or alpha >= 1"),
        ({"tolerance": -0.1}, "positive number of bits"),
        ({"tolerance": float("nan")}, "positive number of bits"),
        ({"tolerance": 0.1, "dtype": "float32"}, "choose a tolerance or dtype"),
        ({"device": "nowhere"}, "not available here; use `device='auto'` or cpu"),
        ({"device": "meta"}, "not available here; use `device='auto'` or cpu"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(InfoplaneError, match=message):
        RenyiSettings(**options)


def test_orders_in_which_rounding_decides_are_told(caplog):
    spectrum._warn.cache_clear()
    RenyiSettings(alpha=0.2)
    assert not caplog.records
    RenyiSettings(alpha=0.15)
    assert "rounding level" in caplog.text


def test_pairs_take_the_precision_and_refuse_a_tolerance(run_path):
    double, single = (estimate_pairs(run_path, RenyiSettings(dtype=dtype)) for dtype in ("float64", "float32"))
    assert set(single["dtype"]) == {"float32"}
    assert (double["information"] != single["information"]).any()
    np.testing.assert_allclose(double["information"], single["information"], atol=1e-4)
    with pytest.raises(InfoplaneError, match="leave out the tolerance"):
        estimate_pairs(run_path, RenyiSettings(tolerance=0.1))


@pytest.mark.parametrize("options", [{"tolerance": 0.1}, {"dtype": "float32"}])
def test_feature_maps_refuse_what_they_cannot_honour(run_path, options):
    with pytest.raises(InfoplaneError, match="exactly, in float64"):
        interaction_table(run_path, settings=RenyiSettings(**options))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there(run_path, infoplane):
    code, _, complaint = infoplane("estimate", run_path, "--device", "cuda")
    assert code == 1
    assert complaint.strip() == "error: device 'cuda' is not available here; use --device auto or cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize(
    "options", [{}, {"dtype": "float32"}, {"tolerance": 0.05}, {"alpha": 2.0}, {"alpha": 3.0}, {"alpha": 1.01}]
)
def test_a_gpu_gives_the_same(tmp_path, options):
    path = make_run(tmp_path / "run.h5", 1300, classes=2, features=3)
    found = []
    for device in ("cpu", "cuda"):
        settings = RenyiSettings(permutations=2, device=device, **options)
        found.append(estimate_run(path, settings))
        estimates_path(path).unlink()
    is_rough = "dtype" in options or "tolerance" in options
    np.testing.assert_allclose(found[0][VALUES], found[1][VALUES], atol=1e-4 if is_rough else 1e-9)


# How the distances of a layer come to the device, what is done with them there, and what is left to the CPU.
WAYS = [
    ({"alpha": 1.01}, "activations", None),
    ({"alpha": 2.0}, "distances", None),
    ({"bandwidth": Bandwidth.parse("knn:4"), "dtype": "float32"}, "activations", None),
    ({"bandwidth": Bandwidth.parse("alignment"), "scope": "shared"}, "distances", None),
    ({"scope": "final", "alpha": 4.0}, "activations", Batches(2, 25)),
    ({"kernel": "nested"}, "activations", None),
    ({"kernel": "multivariate"}, "activations", Batches(2, 25)),
]


def on_both(path, monkeypatch, others=(), batches=None, **options):
    """Estimates of a run one matrix after another, and as a GPU makes them: on one where there is any."""
    has_gpu, found = torch.cuda.is_available(), []
    for is_gpu in (False, True):
        settings = RenyiSettings(permutations=3, device="cuda" if is_gpu and has_gpu else "cpu", **options)
        if is_gpu and not has_gpu:
            monkeypatch.setattr(Solver, "solves_many", property(lambda solver: True))
        found.append(estimate_run(path, [settings, *others], batches))
        estimates_path(path).unlink()
    return found


@pytest.mark.parametrize(("options", "keep", "batches"), WAYS)
def test_layers_on_a_gpu_give_the_same(tmp_path, monkeypatch, options, keep, batches):
    path = make_run(tmp_path / "run.h5", 60, classes=3, features=3, steps=(0, 1), keep=keep)
    one_by_one, at_once = on_both(path, monkeypatch, batches=batches, **options)
    bits = 1e-4 if "dtype" in options else 1e-9
    np.testing.assert_allclose(at_once[VALUES], one_by_one[VALUES], atol=bits)
    np.testing.assert_allclose(at_once["sigma_T"], one_by_one["sigma_T"], rtol=1e-9)
    null = ["I_XT_null", "I_XT_null_std"]
    np.testing.assert_allclose(at_once[null], one_by_one[null], atol=1e-4 if "dtype" in options else 1e-6)


def test_a_gpu_shares_a_layer_with_other_estimators(tmp_path, monkeypatch):
    path = make_run(tmp_path / "run.h5", 60, classes=3, features=3)
    # The last one finds the distances that ksg has left.
    others = [make_settings("ksg", permutations=3), RenyiSettings(permutations=3, alpha=2.0)]
    one_by_one, at_once = on_both(path, monkeypatch, others, alpha=1.5)
    np.testing.assert_allclose(at_once[["I_XT", "I_TY"]], one_by_one[["I_XT", "I_TY"]], atol=1e-9)


def test_a_tolerance_for_estimators_that_have_none(run_path, infoplane):
    for arguments in (("estimate", run_path), ("plot", run_path), ("analyze", run_path)):
        code, _, complaint = infoplane(*arguments, "--estimator", "kde", "--tolerance", "0.1")
        assert code == 1
        assert complaint.strip() == "error: --tolerance is for renyi and not for kde; leave it out"
    code, _, complaint = infoplane("estimate", run_path, "--estimator", "binning,ksg", "--bandwidth", "knn:4")
    assert code == 1
    assert re.fullmatch(
        r"error: --bandwidth is for renyi, .* and not for binning, ksg; leave it out", complaint.strip()
    )
    code, out, complaint = infoplane("estimate", run_path, "--estimator", "renyi,kde", "--tolerance", "0.1")
    assert code == 0, complaint
    assert "within 0.1 bits" in out


def test_distances_are_spared_unless_another_estimator_needs_them(run_path):
    with open_run(run_path) as run:
        estimator = Renyi(run.probe, RenyiSettings(), run_path)
        for shared in (True, False):
            view = LayerView(run, run.snapshots[0], "1", shared=shared)
            estimator.estimate(view)
            assert ("distances" in vars(view)) == shared


def test_as_many_solves_as_memory_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text("MemTotal: 32000000 kB\nMemAvailable:   16000000 kB\nHugePages_Total: 0\n")
    assert memory.available_memory() == 16_000_000 * 1024
    assert [memory.side_by_side(n, 8) for n in (500, 10_000, 10**6)] == [8, 6, 1]
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.stat").write_text("anon 1000000000\nfile 7000000000\n")
    assert memory.available_memory() == 16_000_000 * 1024
    (tmp_path / "memory.max").write_text("6000000000\n")
    assert memory.available_memory() == 5_000_000_000
    (tmp_path / "memory.max").unlink()
    (tmp_path / "meminfo").unlink()
    assert memory.available_memory() > 2**27


PEAK = """
import resource, sys
from pathlib import Path
from infoplane.estimators.renyi import RenyiSettings
from infoplane.estimators.engine.estimate import estimate_run
from infoplane.execution import Execution

def estimate(path):
    estimate_run(Path(path), RenyiSettings(permutations=2), execution=Execution(1))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

before = estimate(sys.argv[1])
print(estimate(sys.argv[2]) - before)
"""


def test_an_exact_estimate_takes_at_most_three_matrices(tmp_path):
    n = 2500
    runs = [make_run(tmp_path / f"{size}.h5", size, classes=10) for size in (600, n)]
    # Memory of arrays goes back to the system at once, as that of larger ones does by itself.
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    done = subprocess.run([sys.executable, "-c", PEAK, *runs], capture_output=True, text=True, check=True, env=env)
    assert int(done.stdout) / (8 * n**2) < 3
