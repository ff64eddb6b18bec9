"""Estimates of continuous and further targets, what they are held against, and what is said of it."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import pdist
from written import classes, continuous, made

from infoplane import gram_matrix, mutual_information, open_run, renyi_entropy
from infoplane.analysis.gather import gather
from infoplane.analysis.plane import average_batches, plane_table
from infoplane.errors import InfoplaneError
from infoplane.estimators.batches import Batches
from infoplane.estimators.engine.estimate import estimate_run, estimates_path
from infoplane.estimators.nulls import measured, pairings
from infoplane.estimators.pairs import estimate_pairs
from infoplane.estimators.registry import NAMES, make_settings
from infoplane.estimators.renyi import RenyiSettings
from infoplane.kernels import Bandwidth

CLASSES_ONLY = ("binning", "kde", "kde-lower")
ANY_TARGET = tuple(name for name in NAMES if name not in CLASSES_ONLY)
N = 150


@pytest.fixture
def drawn():
    """Inputs (N, 4), a layer (N, 2) of them, a target that the layer decides and one that it does not."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((N, 4))
    layer = np.tanh(inputs @ rng.standard_normal((4, 2)))
    told = np.stack([layer[:, 0] + 0.3 * layer[:, 1], layer[:, 1]], axis=1)
    return inputs, layer, continuous(told), continuous(rng.standard_normal((N, 2)))


@pytest.mark.parametrize("name", ANY_TARGET)
def test_a_function_of_the_layer_is_known_and_a_stranger_is_not(tmp_path, drawn, name):
    inputs, layer, told, other = drawn
    path = made(tmp_path / "run.h5", inputs, layer, told, other=other)
    row = estimate_run(path, make_settings(name, permutations=20)).iloc[0]
    assert row["I_TY"] > row["I_TY_null"] + 10 * row["I_TY_null_std"]
    assert (row["status"], row["classes"], row["target"]) == ("ok", 0, "labels")
    row = estimate_run(path, make_settings(name, permutations=20, target="other")).iloc[0]
    assert abs(row["I_TY_corrected"]) < 3 * row["I_TY_null_std"]
    assert row["target"] == "other"


@pytest.mark.parametrize("name", CLASSES_ONLY)
def test_what_needs_classes_says_so(tmp_path, drawn, name):
    path = made(tmp_path / "run.h5", *drawn[:3], sign=classes(np.arange(N) % 3))
    with pytest.raises(
        InfoplaneError, match=rf"{name} needs classes, .*'labels' is continuous.*`target`"
    ) as caught:
        estimate_run(path, make_settings(name))
    assert "\n" not in str(caught.value)
    assert estimate_run(path, make_settings(name, target="sign")).iloc[0]["classes"] == 3


def test_a_rule_that_needs_classes_says_so(tmp_path, drawn):
    path = made(tmp_path / "run.h5", *drawn[:3])
    with pytest.raises(InfoplaneError, match="alignment bandwidth needs class labels"):
        estimate_run(path, RenyiSettings(bandwidth=Bandwidth.parse("alignment")))


@pytest.mark.parametrize("name", ANY_TARGET)
def test_the_unit_of_a_continuous_target_changes_nothing(tmp_path, drawn, name):
    inputs, layer, told, _ = drawn
    tables = [
        estimate_run(
            made(tmp_path / f"{scale}.h5", inputs, layer, continuous(scale * told.values)), make_settings(name)
        )
        for scale in (1.0, 1e-6)
    ]
    for column in ("I_TY", "I_TY_null", "I_XT"):
        np.testing.assert_allclose(tables[0][column], tables[1][column], rtol=1e-6)


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_the_entropies_are_those_of_a_product_of_kernels(tmp_path, drawn, alpha):
    inputs, layer, told, _ = drawn
    settings = RenyiSettings(alpha, target_bandwidth=Bandwidth.parse("median:0.5"))
    row = estimate_run(made(tmp_path / "run.h5", inputs, layer, told), settings).iloc[0]
    kernel_t = gram_matrix(layer.astype(np.float32).astype(float))
    kernel_y = gram_matrix(told.values, sigma=0.5 * np.median(pdist(told.values)))
    assert row["I_TY"] == pytest.approx(mutual_information(kernel_t, kernel_y, alpha), abs=1e-7)
    assert row["S_Y"] == row["limit_TY"] == pytest.approx(renyi_entropy(kernel_y, alpha), abs=1e-7)
    assert row["target_bandwidth"] == "median:0.5"
    orders = pairings(pdist(inputs), 10)
    nulls = [mutual_information(kernel_t, kernel_y[np.ix_(order, order)], alpha) for order in orders]
    assert row["I_TY_null"] == pytest.approx(np.mean(nulls), abs=1e-7)


def test_a_tolerance_holds_for_a_continuous_target(tmp_path, drawn):
    path = made(tmp_path / "run.h5", *drawn[:3])
    exact, near = (estimate_run(path, RenyiSettings(tolerance=tolerance)).iloc[0] for tolerance in (0, 0.05))
    assert near["I_TY_halfwidth"] <= 0.05
    assert abs(near["I_TY"] - exact["I_TY"]) <= 0.05


def test_a_target_without_a_bandwidth_says_so(tmp_path, drawn):
    inputs, layer, _, _ = drawn
    path = made(tmp_path / "run.h5", inputs, layer, continuous((np.arange(N) < 10).astype(float)))
    with pytest.raises(InfoplaneError, match="target_bandwidth='fixed"):
        estimate_run(path, RenyiSettings())
    rows = estimate_run(path, RenyiSettings(target_bandwidth=Bandwidth.parse("fixed:1")))
    assert measured(rows["status"]).all()


@pytest.mark.parametrize("name", NAMES)
def test_sets_of_labels_are_classes(tmp_path, drawn, name):
    inputs, layer, _, _ = drawn
    labels = (layer > 0).astype(int) @ [1, 2]
    tables = [
        estimate_run(made(tmp_path / f"{kind}.h5", inputs, layer, classes(labels, kind)), make_settings(name))
        for kind in ("classes", "multilabel")
    ]
    pd.testing.assert_frame_equal(*(table.drop(columns="run_id") for table in tables))


def test_batches_and_pairs_of_a_continuous_target(tmp_path, drawn):
    inputs, layer, told, _ = drawn
    path = made(tmp_path / "run.h5", inputs, np.stack([layer, layer**3], axis=2), told)
    rows = estimate_run(path, RenyiSettings(), Batches(3, 40))
    pairs = estimate_pairs(path, RenyiSettings(), Batches(3, 40))
    assert set(rows["n"]) == {40}
    for _, row in rows.iterrows():
        same = pairs[(pairs["batch"] == row["batch"]) & (pairs["i"] == 0) & (pairs["j"] == row["depth"])]
        assert same["information"].tolist() == [pytest.approx(row["I_XT"], abs=1e-9)]


def repeated(times=3, count=60, seed=0):
    """Inputs that stand so many times each, with labels at random that copies share, and a layer of them."""
    rng = np.random.default_rng(seed)
    inputs, labels = rng.standard_normal((count, 5)), rng.integers(0, 4, count)
    order = rng.permutation(count * times)
    inputs, labels = np.repeat(inputs, times, axis=0)[order], np.repeat(labels, times)[order]
    return inputs, np.tanh(inputs @ rng.standard_normal((5, 3))), labels


@pytest.mark.parametrize("name", ["renyi", "ksg", "kde", "gaussian", "hsic"])
def test_labels_at_random_of_repeated_inputs_are_no_information(tmp_path, name):
    inputs, layer, labels = repeated()
    path = made(tmp_path / "run.h5", inputs, layer, classes(labels), value=continuous(labels**2))
    row = estimate_run(path, make_settings(name, permutations=30)).iloc[0]
    assert row["repeats"] == pytest.approx(2 / 3)
    assert abs(row["I_TY_corrected"]) < 3 * row["I_TY_null_std"]
    if name != "kde":
        row = estimate_run(path, make_settings(name, permutations=30, target="value")).iloc[0]
        assert abs(row["I_TY_corrected"]) < 3 * row["I_TY_null_std"]


def test_the_null_of_pairings_is_that_of_independent_layers(tmp_path, drawn):
    inputs, layer, told, _ = drawn
    rows = estimate_run(
        made(tmp_path / "run.h5", inputs, layer, told), [make_settings(n) for n in ("ksg", "gaussian")]
    )
    assert (rows["I_XT_corrected"] > 10 * rows["I_XT_null_std"]).all()
    assert (rows["I_XT_null"].abs() < 0.2).all()
    noise = np.random.default_rng(3).standard_normal((N, 2))
    rows = estimate_run(
        made(tmp_path / "noise.h5", inputs, noise, told),
        [make_settings(n, permutations=30) for n in ("ksg", "gaussian")],
    )
    assert (rows["I_XT_corrected"].abs() < 3 * rows["I_XT_null_std"]).all()


def test_status_says_what_the_figure_says(tmp_path, drawn):
    inputs, layer, told, other = drawn
    path = made(tmp_path / "run.h5", inputs, layer, other, told=told)
    for name, status in (("", "at null"), ("told", "ok")):
        settings = make_settings("ksg", target=name)
        for batches in (None, Batches(3, 40)):
            estimates, _ = gather([path], settings, batches)
            table = plane_table(estimates)
            assert list(table["status"]) == list(average_batches(estimates)["status"]) == [status]
            assert list(table["at_null"]) == [status == "at null"]
            assert table["I_XT_null"].notna().all()


def test_a_target_by_its_name(tmp_path, drawn):
    inputs, layer, told, other = drawn
    path = made(tmp_path / "run.h5", inputs, layer, told, box=other)
    with pytest.raises(InfoplaneError, match="unknown target 'bix'; did you mean box"):
        estimate_run(path, RenyiSettings(target="bix"))
    both = estimate_run(path, [RenyiSettings(), RenyiSettings(target="box")])
    assert list(both["target"]) == ["labels", "box"]
    assert list(estimate_run(path, RenyiSettings(target="labels"))["I_TY"]) == [both["I_TY"].iloc[0]]
    assert len(pd.read_csv(estimates_path(path))) == 2
    with pytest.raises(InfoplaneError, match="differ in target"):
        plane_table(both.assign(run="a", dataset="d", model="m"))
    stored = estimate_pairs(path, RenyiSettings(target="box"), steps=[0])
    assert set(stored["target"]) == {"box"}


def test_tables_of_before_are_of_the_main_target(tmp_path, drawn, monkeypatch):
    inputs, layer, _, _ = drawn
    path = made(tmp_path / "run.h5", inputs, layer, classes(np.arange(N) % 3))
    rows = estimate_run(path, RenyiSettings())
    new = ["target", "I_XT_null", "I_XT_null_std", "I_XT_corrected"]
    rows.drop(columns=new).assign(status="ok").to_csv(estimates_path(path), index=False)
    monkeypatch.setattr("infoplane.estimators.engine.estimate._compute", lambda *_: pytest.fail("computed twice"))
    again = estimate_run(path, RenyiSettings())
    assert list(again["target"]) == ["labels"]
    monkeypatch.undo()
    estimate_run(path, RenyiSettings(alpha=2.0))
    both = estimate_run(path, RenyiSettings())
    assert list(both["I_TY"]) == list(again["I_TY"])
    assert len(plane_table(gather([path], RenyiSettings())[0])) == 1


def test_the_command_estimates_and_draws_every_target(infoplane, tmp_path, drawn):
    inputs, layer, told, _ = drawn
    made(tmp_path / "run.h5", inputs, layer, classes(np.arange(N) % 3), box=told)
    code, out, complaint = infoplane("estimate", "run.h5", "--estimator", "renyi,kde")
    assert code == 0
    assert out.count("step 0") == 3
    assert "n = 150, 3 classes, matrix-based" in out
    assert "n = 150, target box, continuous, matrix-based" in out
    assert "S(Y) = " in out
    assert "at null" in out
    assert "not estimated: target box by kde" in complaint
    code, out, _ = infoplane("estimate", "run.h5", "--target", "box")
    assert out.count("step 0") == 1
    code, _, complaint = infoplane("estimate", "run.h5", "--target", "box", "--estimator", "kde")
    assert (code, complaint.count("\n")) == (1, 1)
    code, out, complaint = infoplane("plot", "run.h5", "--target", "box", "--target-bandwidth", "median:2")
    assert code == 0, complaint
    assert (tmp_path / "run-box-plane.png").exists()
    table = pd.read_csv(tmp_path / "run-box-plane.csv")
    assert set(table["target"]) == {"box"}
    assert set(table["target_bandwidth"]) == {"median:2"}
    code, out, _ = infoplane("info", "run.h5")
    assert "150 samples of 3 classes, 50 each" in out
    assert "box: 150 samples with 2 continuous values each" in out


def test_the_commands_state_repeats(infoplane, tmp_path):
    inputs, layer, labels = repeated()
    made(tmp_path / "run.h5", inputs, layer, classes(labels))
    assert "180 samples (67 % repeat others) of 4 classes" in infoplane("info", "run.h5")[1]
    assert "n = 180 (67 % repeat others), 4 classes" in infoplane("estimate", "run.h5", "--estimator", "ksg")[1]


def test_the_null_of_pairs_keeps_copies_together(tmp_path):
    inputs, layer, labels = repeated(count=20)
    path = made(tmp_path / "run.h5", inputs, np.stack([layer, layer**3], axis=2), classes(labels))
    rows = estimate_pairs(path)
    with open_run(path) as run:
        (order,) = pairings(run.probe.distances, 1)
        first, second = (gram_matrix(run.snapshots[0].activations(f"layer{i}")) for i in range(2))
    expected = mutual_information(first[np.ix_(order, order)], second)
    found = rows[(rows["i"] == 1) & (rows["j"] == 2)]["information_null"].iloc[0]
    assert found == pytest.approx(expected, abs=1e-5)
