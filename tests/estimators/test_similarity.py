"""CKA and SVCCA: closed forms, invariances, the same from features as from distances; parameters to the end."""

import numpy as np
import pytest
import torch
from conftest import small_net
from scipy.spatial.distance import pdist, squareform
from sklearn.cross_decomposition import CCA

from infoplane import Recorder, open_run
from infoplane.estimators import similarity
from infoplane.estimators.batches import Batches
from infoplane.estimators.similarity import (
    linear_cka,
    parameter_table,
    principal,
    representation_table,
    svcca,
)

RNG = np.random.default_rng(0)


def square(features):
    return squareform(pdist(features))


def rotation(d):
    return np.linalg.qr(RNG.standard_normal((d, d)))[0]


def unbiased_hsic(k, m):
    """The estimator of Song et al. (2012), term by term, of kernels that are not centred."""
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    one = np.ones(n)
    return (
        np.trace(k @ m) + one @ k @ one * (one @ m @ one) / (n - 1) / (n - 2) - 2 / (n - 2) * (one @ k @ m @ one)
    ) / (n * (n - 3))


def test_cka_is_that_of_the_features():
    x, y = RNG.standard_normal((40, 7)) + 3, RNG.standard_normal((40, 200)) - 1
    y[:, :3] += 4 * x[:, :3]
    k, m = x @ x.T, y @ y.T
    expected = unbiased_hsic(k, m) / np.sqrt(unbiased_hsic(k, k) * unbiased_hsic(m, m))
    assert linear_cka(square(x), square(y)) == pytest.approx(expected, abs=1e-12)


def test_cka_closed_forms():
    x = RNG.standard_normal((30, 5))
    assert linear_cka(square(x), square(x)) == pytest.approx(1)
    # For isotropic x of d features, CKA with its first m tends to √(m/d).
    large = RNG.standard_normal((4000, 8))
    assert linear_cka(square(large), square(large[:, :2])) == pytest.approx(0.5, abs=0.02)
    assert np.isnan(linear_cka(square(x), np.zeros((30, 30))))


def test_cka_of_independent_representations_is_zero_on_average():
    found = [
        linear_cka(square(RNG.standard_normal((20, 300))), square(RNG.standard_normal((20, 300))))
        for _ in range(300)
    ]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(300)


@pytest.mark.parametrize("measure", [linear_cka, svcca])
def test_rotation_shift_and_scale_change_nothing(measure):
    x, y = RNG.standard_normal((30, 6)), RNG.standard_normal((30, 4))
    expected = measure(square(x), square(y))
    assert measure(square(x @ rotation(6) * 7 + 2), square(0.1 * y @ rotation(4))) == pytest.approx(expected)
    assert measure(square(y), square(x)) == pytest.approx(expected)


def test_svcca_is_that_of_the_features():
    x = RNG.standard_normal((60, 6)) * [9, 5, 3, 0.1, 0.05, 0.01]
    y = RNG.standard_normal((60, 5)) * [4, 3, 0.02, 0.02, 0.01]
    y[:, 0] += x[:, 0]

    def reduced(features):
        features = features - features.mean(0)
        u, s, _ = np.linalg.svd(features, full_matrices=False)
        kept = np.searchsorted(np.cumsum(s**2) / (s**2).sum(), 0.99) + 1
        return (u * s)[:, :kept]

    a, b = reduced(x), reduced(y)
    assert (a.shape[1], b.shape[1]) == (3, 2) == (principal(square(x)).shape[1], principal(square(y)).shape[1])
    first, second = CCA(n_components=2, scale=False, tol=1e-12, max_iter=5000).fit_transform(a, b)
    expected = np.mean([abs(np.corrcoef(first[:, i], second[:, i])[0, 1]) for i in range(2)])
    assert svcca(square(x), square(y)) == pytest.approx(expected, abs=1e-4)


def test_svcca_closed_forms():
    x = RNG.standard_normal((50, 4))
    # Any invertible map of all components keeps their span.
    assert svcca(square(x), square(x @ RNG.standard_normal((4, 4))), variance=1.0) == pytest.approx(1)
    assert np.isnan(svcca(square(x), np.zeros((50, 50))))
    # As many components as samples: alike whatever they are, as the docstring warns.
    wide = [square(RNG.standard_normal((20, 500))) for _ in range(2)]
    assert svcca(*wide, variance=1.0) == pytest.approx(1)


@pytest.fixture
def run(probe, tmp_path):
    """Three snapshots: untrained, moved, moved on; the last layer stays as it was."""
    net = small_net()
    with Recorder(net, probe, tmp_path / "run.h5") as recorder:
        for step in range(3):
            recorder.snapshot(step=step, epoch=step / 2)
            with torch.no_grad():
                for name, parameter in net.named_parameters():
                    if not name.startswith("8."):
                        parameter += 0.1 * torch.randn_like(parameter)
    return tmp_path / "run.h5"


def test_tables_of_a_run(run):
    table = representation_table([run], Batches(2, 12))
    assert table.groupby(["run", "layer", "step"]).size().eq(2).all()
    assert set(table["n"]) == {12}
    ends = table[table["step"] == 2]
    np.testing.assert_allclose(ends[["cka", "svcca"]], 1)
    before = table[(table["step"] == 0) & (table["layer"] == "3")]
    assert (before["cka"] < 0.99).all()
    whole = representation_table([run]).set_index(["layer", "step"])
    with open_run(run) as opened:
        first, last = (squareform(opened.snapshots[i].distances("3")) for i in (0, -1))
    assert whole.loc[("3", 0), "cka"] == pytest.approx(linear_cka(first, last))
    assert whole.loc[("3", 0), "svcca"] == pytest.approx(svcca(first, last))


def test_each_state_is_decomposed_once(run, monkeypatch):
    seen = []
    monkeypatch.setattr(similarity, "principal", lambda square: seen.append(len(square)) or principal(square))
    table = representation_table([run])
    assert len(seen) == len(table)


def test_parameters_to_the_end(run):
    table = parameter_table([run]).set_index(["layer", "step"])
    assert table.loc[("3", 0), "parameters"] == 1
    # Two equal steps in random directions: √½ of the way is left in the middle.
    assert table.loc[("7", 1), "parameters"] == pytest.approx(np.sqrt(0.5), abs=0.1)
    assert table.loc[("3", 2), "parameters"] == 0
    assert set(table.loc["8", "status"]) == {"unmoved"}


def test_a_broken_or_old_snapshot_has_no_values(run, probe, monkeypatch):
    monkeypatch.setattr("infoplane.runfile.reader.Snapshot.parameters", lambda self, layer: None)
    assert set(parameter_table([run])["status"]) == {"not recorded"}
    monkeypatch.setattr("infoplane.runfile.reader.Snapshot.nonfinite", lambda self, layer: int(self.step == 1))
    table = representation_table([run])
    assert set(table.loc[table["step"] == 1, "status"]) == {"not finite"}
    assert table.loc[table["step"] == 1, "cka"].isna().all()
    assert set(table.loc[table["step"] != 1, "status"]) == {"ok"}
