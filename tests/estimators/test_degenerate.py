"""Layers, inputs and targets at the edge of what can be estimated: where a number means nothing, a word says so."""

import numpy as np
import pytest
from written import classes, continuous, made

import infoplane
from infoplane.analysis.gather import gather
from infoplane.analysis.plane import average_batches, mark_saturation, plane_table, saturation_summary
from infoplane.entropy import class_entropy
from infoplane.estimators.batches import Batches
from infoplane.estimators.engine.estimate import estimate_run, estimates_path
from infoplane.estimators.nulls import measured
from infoplane.estimators.registry import NAMES, make_settings
from infoplane.provenance import versions

N = 120
ANY_TARGET = [name for name in NAMES if name not in ("binning", "kde", "kde-lower")]
FIXED = {"bandwidth": "fixed:1", "input_bandwidth": "fixed:1", "target_bandwidth": "fixed:1"}


def settings_of(name, fixed=False, **options):
    from infoplane.kernels import Bandwidth

    rules = {key: Bandwidth.parse(text) for key, text in FIXED.items()}
    takes_rules = name in ("renyi", "hsic", "nhsic", "kernel-cka")
    return make_settings(name, **(rules if fixed and takes_rules else {}), **options)


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((N, 4))


def test_an_isotropic_layer_is_no_worse_than_its_null(tmp_path, x):
    path = made(tmp_path / "run.h5", x, x, classes((x[:, 0] > 0).astype(int)), value=continuous(x[:, 0]))
    for target in ("labels", "value"):
        row = estimate_run(path, make_settings("gaussian", target=target)).iloc[0]
        assert row["status"] == "ok"
        assert row["I_TY"] > 0.5


@pytest.mark.parametrize("edges", [[0], [-0.5, 0.5]])
def test_a_layer_that_is_its_labels_is_never_plainly_ok(tmp_path, x, edges):
    values = np.digitize(x[:, 0] - np.median(x[:, 0]), edges)
    path = made(tmp_path / "run.h5", x, values[:, None].astype(float), classes(values))
    estimates, _ = gather([path], make_settings("gaussian"))
    row = mark_saturation(estimates).iloc[0]
    assert row["limit_TY"] == row["S_Y"]
    if len(edges) == 1:
        assert row["status"] == "infinite"
        assert np.isnan([row["I_TY"], row["I_TY_corrected"]]).all()
    else:
        assert row["saturated_y"]


def test_more_than_the_entropy_of_classes_is_saturated(tmp_path, x):
    labels = np.arange(N) % 3
    path = made(tmp_path / "run.h5", x, x[:, :2] + 30 * np.eye(3)[labels][:, :2], classes(labels))
    estimates, _ = gather([path], make_settings("gaussian"))
    assert estimates["I_TY"].iloc[0] > np.log2(3)
    assert mark_saturation(estimates)["saturated_y"].all()


@pytest.mark.parametrize("place", ["layer", "inputs", "target"])
def test_a_sample_that_outweighs_all_others(tmp_path, x, place):
    far = x.copy()
    far[5] = 1e6
    inputs, layer = (far if place == name else x for name in ("inputs", "layer"))
    target = continuous(far[:, 0]) if place == "target" else classes((x[:, 0] > 0).astype(int))
    path = made(tmp_path / "run.h5", inputs, layer, target)
    assert list(estimate_run(path, make_settings("gaussian"))["status"]) == ["outlier"]


def test_the_figure_and_the_table_agree_on_two_inputs(tmp_path):
    x = np.repeat([[0.0], [1.0]], 50, axis=0)
    path = made(tmp_path / "run.h5", x, x, classes(x[:, 0].astype(int)))
    for name in ("gaussian", "ksg", "kde", "binning", "cka"):
        estimates, _ = gather([path], make_settings(name))
        assert list(plane_table(estimates)["status"]) == list(estimates["status"])
        assert np.isfinite(estimates["I_TY"]).all() or not measured(estimates["status"]).any()


def test_one_row_keeps_the_status_that_is_stored(tmp_path, x):
    path = made(tmp_path / "run.h5", x, x, classes(np.arange(N) % 2))
    rows = estimate_run(path, make_settings("cka")).assign(status="ok", I_TY=0.0)
    assert list(average_batches(rows)["status"]) == ["ok"]
    twice = average_batches(rows.loc[[0, 0]].assign(batch=[0, 1], batches=2, batch_size=60))
    assert list(twice["status"]) == ["at null"]


def test_the_version_is_that_of_the_code(tmp_path, x, monkeypatch):
    assert versions()["infoplane"] == infoplane.__version__
    path = made(tmp_path / "run.h5", x, x, classes(np.arange(N) % 2))
    estimate_run(path, make_settings("cka"))
    monkeypatch.setattr(infoplane, "__version__", "99.0")
    rows = estimate_run(path, make_settings("cka"))
    assert set(rows["version"]) == {"99.0"}
    assert "99.0" in estimates_path(path).read_text()


@pytest.mark.parametrize(("name", "options"), [("renyi", {}), ("renyi", {"alpha": 2.0}), ("ksg", {})])
def test_the_limits_are_those_of_distinct_inputs(tmp_path, x, name, options):
    numbers = np.repeat(np.arange(8), [30, 20, 20, 10, 10, 10, 10, 10])
    inputs = x[numbers]
    path = made(tmp_path / "run.h5", inputs, inputs, classes(numbers % 2), value=continuous(numbers % 3))
    settings = settings_of(name, **options)
    if name == "renyi":
        settings = settings_of(name, **options, bandwidth=fixed("1e-3"), input_bandwidth=fixed("1e-3"))
    estimates, _ = gather([path], settings)
    limit = class_entropy(numbers, options.get("alpha", 1.0))
    assert estimates["limit_XT"].iloc[0] == pytest.approx(limit)
    assert estimates["I_XT"].iloc[0] == pytest.approx(limit, abs=0.04)
    assert mark_saturation(estimates)["saturated_x"].all()
    if name == "renyi":
        assert "I(X;T) saturated at its limit" in saturation_summary(plane_table(estimates))[0]
    else:
        row = estimate_run(path, make_settings(name, target="value")).iloc[0]
        assert row["limit_TY"] == pytest.approx(class_entropy(numbers % 3))


def fixed(number):
    from infoplane.kernels import Bandwidth

    return Bandwidth.parse(f"fixed:{number}")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sizes", [[10] * 4 + [2] * 20, [30, 20] + [1] * 30])
def test_unequal_copies_with_labels_at_random(tmp_path, x, name, sizes):
    rng = np.random.default_rng(5)
    numbers = np.repeat(np.arange(len(sizes)), sizes)
    inputs, labels = x[numbers], rng.integers(0, 2, len(sizes))[numbers]
    value = continuous(rng.standard_normal(len(sizes))[numbers])
    path = made(tmp_path / "run.h5", inputs, np.tanh(inputs), classes(labels), value=value)
    for target in ("labels", "value") if name in ANY_TARGET else ("labels",):
        row = estimate_run(path, make_settings(name, permutations=40, target=target)).iloc[0]
        assert abs(row["I_TY_corrected"]) < 3.5 * row["I_TY_null_std"]
        assert row["status"] in ("ok", "at null")


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_that_is_constant_in_a_batch(tmp_path, x, name):
    layer = np.zeros((N, 2))
    layer[:3] = [[1, 0], [2, 1], [3, 5]]
    path = made(tmp_path / "run.h5", x, layer, classes(np.arange(N) % 2))
    rows = estimate_run(path, settings_of(name, fixed=True), Batches(5, 20))
    with_three = rows["status"] != "constant"
    assert 1 <= with_three.sum() <= 3
    assert rows[~with_three][["I_XT", "I_TY"]].isna().all(axis=None)


@pytest.mark.parametrize("name", ANY_TARGET)
def test_a_target_that_is_constant_in_a_batch_is_no_information(tmp_path, x, name):
    y = np.zeros(N)
    y[:2] = [1, 2]
    path = made(tmp_path / "run.h5", x, np.tanh(x), continuous(y))
    rows = estimate_run(path, settings_of(name, fixed=True), Batches(5, 20))
    assert rows["status"].isin(["at null", "ok", "outlier"]).all()
    finite = rows[rows["status"] != "outlier"]
    assert finite[["I_XT", "I_TY", "I_TY_null"]].notna().all(axis=None)
    assert (finite["I_TY"].abs() < 1e-9).sum() >= 3


@pytest.mark.parametrize("unit", [1e-300, 1e-160, 1e160, 1e300])
@pytest.mark.parametrize("name", ANY_TARGET)
def test_the_unit_of_a_target_may_be_any(tmp_path, x, name, unit):
    y = x[:, :2] + 0.3
    paths = [made(tmp_path / f"{i}.h5", x, np.tanh(x), continuous(y * by)) for i, by in enumerate((1, unit))]
    rows = [estimate_run(path, make_settings(name)).iloc[0] for path in paths]
    for column in ("I_TY", "I_TY_null", "I_XT"):
        assert rows[1][column] == pytest.approx(rows[0][column], rel=1e-9)
    if name == "renyi":
        widths = [fixed(1.5), fixed(1.5 * unit)]
        settings = [make_settings(name, target_bandwidth=width) for width in widths]
        values = [estimate_run(path, one).iloc[0]["I_TY"] for path, one in zip(paths, settings, strict=True)]
        assert values[1] == pytest.approx(values[0], rel=1e-9)
