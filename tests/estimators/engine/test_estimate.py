import functools

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import small_net
from damaged import json_value
from recorded import make_run
from scipy.spatial.distance import pdist, squareform

from infoplane import Recorder, gram_matrix, joint_entropy, mutual_information, open_run, renyi_entropy
from infoplane.analysis.gather import gather
from infoplane.analysis.plane import average_batches, mark_saturation, plane_table
from infoplane.errors import InfoplaneError
from infoplane.estimators.base import LayerView
from infoplane.estimators.batches import Batches
from infoplane.estimators.engine import store
from infoplane.estimators.engine.estimate import estimate_run, estimates_path
from infoplane.estimators.nulls import measured
from infoplane.estimators.registry import NAMES, make_settings
from infoplane.estimators.renyi import Renyi, RenyiSettings, channel_distances
from infoplane.execution import Execution
from infoplane.kernels import Bandwidth, distance_gram, label_gram
from infoplane.trainers.session import record
from infoplane.trainers.settings import TrainingSettings

RULES = ["median", "median:0.4", "knn:5", "silverman", "alignment", "fixed:2"]


def bandwidth(rule):
    return Bandwidth.parse(rule)


@pytest.fixture
def run_path(tmp_path, probe):
    return make_run(tmp_path / "run.h5", probe)


@pytest.fixture(scope="module")
def recorded_digits(tmp_path_factory):
    """The network of the demo at three moments of a short training, on the demo's probe of 500."""
    path = tmp_path_factory.mktemp("digits") / "run.h5"
    record(TrainingSettings(epochs=2, snapshots="3", eval_size=50), path)
    return path


@pytest.fixture
def counted(monkeypatch):
    """Names of the layers estimated, in order."""
    calls = []
    plain = Renyi.estimate

    def estimate(self, view, told=None):
        calls.append((view.step, view.layer))
        return plain(self, view, told)

    monkeypatch.setattr(Renyi, "estimate", estimate)
    return calls


@pytest.mark.parametrize("alpha", [1.0, 1.01, 2.0])
@pytest.mark.parametrize("rule", RULES)
def test_agrees_with_the_plain_computation(run_path, probe, alpha, rule):
    # Alignment is the only rule with a memory; without a past it is the plain one.
    rule = "alignment:0" if rule == "alignment" else rule
    settings = RenyiSettings(alpha, bandwidth=bandwidth(rule), input_bandwidth=bandwidth(rule), permutations=3)
    rows = estimate_run(run_path, settings)
    inputs, labels = probe[0].double().reshape(30, -1).numpy(), probe[1].numpy()
    sigma_x = bandwidth(rule).sigma(pdist(inputs), 64, labels)
    A, Y = gram_matrix(inputs, sigma=sigma_x), label_gram(labels)
    assert len(rows) == 9
    with open_run(run_path) as run:
        for row in rows.itertuples():
            snapshot = next(snapshot for snapshot in run.snapshots if snapshot.step == row.step)
            t = snapshot.activations(row.layer).reshape(30, -1).astype(float)
            sigma = bandwidth(rule).sigma(pdist(t), t.shape[1], labels)
            T = gram_matrix(t, sigma=sigma)
            assert row.sigma_T == pytest.approx(sigma, rel=1e-9)
            assert row.sigma_X == pytest.approx(sigma_x, rel=1e-9)
            assert row.S_T == pytest.approx(renyi_entropy(T, alpha), abs=1e-9)
            assert row.S_X == pytest.approx(renyi_entropy(A, alpha), abs=1e-9)
            assert row.S_Y == pytest.approx(renyi_entropy(Y, alpha), abs=1e-9)
            assert row.I_XT == pytest.approx(mutual_information(A, T, alpha), abs=1e-9)
            assert row.I_TY == pytest.approx(mutual_information(T, Y, alpha), abs=1e-9)
            assert row.I_TY_corrected == pytest.approx(row.I_TY - row.I_TY_null, abs=1e-12)
            assert (row.target, row.n, row.classes, row.features) == ("labels", 30, 3, t.shape[1])
            assert row.status == ("at null" if row.I_TY <= row.I_TY_null + 2 * row.I_TY_null_std + 1e-9 else "ok")


def plain_informations(distances, inputs, labels, alpha):
    """S(T), I(X;T) and I(T;Y) in bits by NumPy alone, from condensed distances of a layer and of the inputs."""

    def gram(condensed):
        return np.exp(-(squareform(condensed) ** 2) / (2 * np.median(condensed) ** 2))

    def entropy(*kernels):
        values = np.clip(np.linalg.eigvalsh(np.prod(kernels, axis=0) / len(labels)), 1e-300, None)
        return -(values @ np.log2(values)) if alpha == 1 else np.log2((values**alpha).sum()) / (1 - alpha)

    X, T, Y = gram(inputs), gram(distances), np.equal.outer(labels, labels).astype(float)
    return entropy(T), entropy(X) + entropy(T) - entropy(X, T), entropy(T) + entropy(Y) - entropy(T, Y)


@pytest.mark.parametrize("alpha", [1.0, 1.01])
def test_a_recorded_network_has_the_numbers_of_plain_numpy(recorded_digits, alpha):
    rows = estimate_run(recorded_digits, RenyiSettings(alpha, permutations=2))
    with open_run(recorded_digits) as run:
        inputs = np.asarray(run.probe.distances, dtype=float)
        for snapshot in run.snapshots:
            for row in rows[rows["step"] == snapshot.step].itertuples():
                expected = plain_informations(snapshot.distances(row.layer), inputs, run.probe.labels, alpha)
                assert (row.S_T, row.I_XT, row.I_TY) == pytest.approx(expected, abs=1e-9)
    assert len(rows) == 18


def test_the_null_is_that_of_permuted_labels(run_path, probe):
    settings = RenyiSettings(permutations=200)
    row = estimate_run(run_path, settings).iloc[-1]
    labels = probe[1].numpy()
    with open_run(run_path) as run:
        T = distance_gram(run.snapshots[-1].distances(row.layer), row.sigma_T)
    rng = np.random.default_rng(99)
    nulls = [float(mutual_information(T, label_gram(rng.permutation(labels)))) for _ in range(200)]
    assert row.I_TY_null == pytest.approx(np.mean(nulls), abs=4 * np.std(nulls) / np.sqrt(100))
    assert row.I_TY_null_std == pytest.approx(np.std(nulls), rel=0.3)


def test_a_bandwidth_far_too_small_is_saturated_even_for_permuted_labels(run_path):
    rows = estimate_run(run_path, RenyiSettings(bandwidth=bandwidth("median:0.001")))
    np.testing.assert_allclose(rows["I_TY"], np.log2(3), atol=1e-6)
    np.testing.assert_allclose(rows["I_TY_null"], np.log2(3), atol=1e-6)
    np.testing.assert_allclose(rows["I_TY_corrected"], 0, atol=1e-6)


def test_distances_and_activations_give_the_same_estimates(tmp_path, probe):
    tables = []
    for keep in ("activations", "distances"):
        torch.manual_seed(0)
        tables.append(estimate_run(make_run(tmp_path / f"{keep}.h5", probe, keep=keep), RenyiSettings()))
    for name in ("I_XT", "I_TY", "S_T", "I_TY_null"):
        np.testing.assert_allclose(tables[0][name], tables[1][name], atol=1e-6)


def test_nothing_is_computed_twice(run_path, counted):
    first = estimate_run(run_path, RenyiSettings())
    assert len(counted) == 9
    again = estimate_run(run_path, RenyiSettings())
    assert len(counted) == 9
    assert first.to_csv() == again.to_csv()
    estimate_run(run_path, RenyiSettings(alpha=2.0))
    assert len(counted) == 18
    estimate_run(run_path, RenyiSettings())
    estimate_run(run_path, RenyiSettings(alpha=2.0))
    assert len(counted) == 18


def test_only_new_snapshots_are_computed(tmp_path, probe, counted):
    path = make_run(tmp_path / "run.h5", probe)
    estimate_run(path, RenyiSettings())
    torch.manual_seed(5)
    with Recorder(small_net(), probe, path, resume=True, keep="activations") as recorder:
        recorder.snapshot(step=9)
    counted.clear()
    rows = estimate_run(path, RenyiSettings())
    assert {step for step, _ in counted} == {9}
    assert sorted(rows["step"].unique()) == [0, 1, 2, 9]


def test_a_new_run_at_the_same_place_is_not_mistaken(tmp_path, probe):
    path = make_run(tmp_path / "run.h5", probe)
    old = estimate_run(path, RenyiSettings())
    path.unlink()
    torch.manual_seed(77)
    make_run(path, probe)
    new = estimate_run(path, RenyiSettings())
    assert len(new) == len(old)
    assert not np.isclose(old["I_XT"], new["I_XT"]).any()


def test_an_interruption_keeps_what_is_done(run_path, monkeypatch, counted):
    plain = Renyi.estimate

    def stopping(self, view, told=None):
        if len(counted) == 4:
            raise KeyboardInterrupt
        return plain(self, view, told)

    with monkeypatch.context() as patch:
        patch.setattr(Renyi, "estimate", stopping)
        with pytest.raises(KeyboardInterrupt):
            estimate_run(run_path, RenyiSettings(), execution=Execution(1))
    assert len(counted) == 4
    assert len(estimate_run(run_path, RenyiSettings())) == 9
    assert len(counted) == 9


@pytest.mark.parametrize("jobs", [1, 4])
def test_order_and_jobs_do_not_matter(run_path, jobs, tmp_path):
    rows = estimate_run(run_path, RenyiSettings(), execution=Execution(jobs))
    assert list(rows["layer"]) == ["3", "7", "8"] * 3
    assert list(rows["depth"]) == [1, 2, 3] * 3
    estimates_path(run_path).unlink()
    assert rows.to_csv() == estimate_run(run_path, RenyiSettings(), execution=Execution(2)).to_csv()


@pytest.mark.parametrize(
    ("wreck", "status"),
    [
        (lambda net: net[6].weight.fill_(float("nan")), "not finite"),
        (lambda net: net[6].weight.zero_(), "constant"),
    ],
)
def test_what_cannot_be_estimated_is_marked_not_invented(tmp_path, probe, wreck, status):
    rows = estimate_run(make_run(tmp_path / "run.h5", probe, wreck=wreck), RenyiSettings())
    bad = rows[(rows["step"] == 2) & (rows["layer"] == "7")].iloc[0]
    assert bad["status"] == status
    assert bad[["S_T", "I_XT", "I_TY", "I_TY_null", "I_TY_corrected", "sigma_T"]].isna().all()
    assert measured(rows[rows["step"] < 2]["status"]).all()
    again = estimate_run(tmp_path / "run.h5", RenyiSettings())
    assert list(again["status"]) == list(rows["status"])


def test_no_bandwidth_where_most_samples_repeat(tmp_path, probe):
    inputs, labels = probe
    inputs = inputs.clone()
    inputs[6:] = inputs[6]
    path = make_run(tmp_path / "run.h5", (inputs, labels))
    with pytest.raises(InfoplaneError, match="input_bandwidth='fixed"):
        estimate_run(path, RenyiSettings())
    rows = estimate_run(path, RenyiSettings(input_bandwidth=bandwidth("fixed:5")))
    assert set(rows["status"]) == {"no bandwidth"}
    assert rows["I_XT"].isna().all()


def test_scope_final(run_path):
    rows = estimate_run(run_path, RenyiSettings(scope="final"))
    plain = estimate_run(run_path, RenyiSettings())
    final = plain[plain["step"] == 2].set_index("layer")["sigma_T"]
    np.testing.assert_array_equal(rows["sigma_T"], rows["layer"].map(final))
    assert set(rows["scope"]) == {"final:2"}


def test_scope_shared(run_path):
    rows = estimate_run(run_path, RenyiSettings(scope="shared", bandwidth=bandwidth("knn:5")))
    own = estimate_run(run_path, RenyiSettings(bandwidth=bandwidth("knn:5")))
    median = estimate_run(run_path, RenyiSettings())
    factors = rows["sigma_T"] / median["sigma_T"]
    wanted = np.log(own["sigma_T"] / median["sigma_T"]).groupby(own["step"]).mean()
    np.testing.assert_allclose(np.log(factors), rows["step"].map(wanted), rtol=1e-9)


def test_alignment_is_averaged_over_snapshots(run_path):
    plain = estimate_run(run_path, RenyiSettings(bandwidth=bandwidth("alignment:0")))
    averaged = estimate_run(run_path, RenyiSettings(bandwidth=bandwidth("alignment:0.7")))
    for layer in ("3", "7", "8"):
        raw = plain[plain["layer"] == layer]["sigma_T"].tolist()
        expected = [raw[0]]
        for value in raw[1:]:
            expected.append(0.7 * expected[-1] + 0.3 * value)
        assert averaged[averaged["layer"] == layer]["sigma_T"].tolist() == pytest.approx(expected)


def test_multivariate_kernel_is_the_product_over_channels(run_path):
    rows = estimate_run(run_path, RenyiSettings(kernel="multivariate"))
    with open_run(run_path) as run:
        maps = run.snapshots[0].activations("3").astype(float)
    grams = [gram_matrix(maps[:, channel]) for channel in range(4)]
    assert rows.iloc[0]["S_T"] == pytest.approx(joint_entropy(*grams), abs=1e-9)


def test_multivariate_with_one_bandwidth_is_the_tensor_kernel(run_path):
    one = estimate_run(run_path, RenyiSettings(kernel="multivariate", bandwidth=bandwidth("fixed:2")))
    two = estimate_run(run_path, RenyiSettings(kernel="tensor", bandwidth=bandwidth("fixed:2")))
    np.testing.assert_allclose(one["S_T"], two["S_T"], atol=1e-9)


def test_multivariate_leaves_dead_channels_out():
    maps = np.random.default_rng(0).standard_normal((10, 3, 2, 2)).astype(np.float32)
    maps[:, 1] = 0
    both = channel_distances(maps[:, [0, 2]], bandwidth("median"))
    np.testing.assert_allclose(channel_distances(maps, bandwidth("median")), both)


def test_multivariate_needs_activations(tmp_path, probe):
    path = make_run(tmp_path / "run.h5", probe, keep="distances")
    with pytest.raises(InfoplaneError, match="keep='activations'"):
        estimate_run(path, RenyiSettings(kernel="multivariate"))


def test_nested_kernel_is_the_product_over_the_layers_after(run_path):
    rows = estimate_run(run_path, RenyiSettings(kernel="nested"))
    with open_run(run_path) as run:
        grams = [gram_matrix(run.snapshots[1].activations(layer.name)) for layer in run.layers]
    found = rows[rows["step"] == 1].sort_values("depth")["S_T"].tolist()
    assert found == pytest.approx([joint_entropy(*grams[place:]) for place in range(3)], abs=1e-6)


@pytest.mark.parametrize("batches", [None, Batches(2, 12)])
@pytest.mark.parametrize("rule", ["median", "knn:5", "median:0.3"])
def test_under_the_nested_kernel_no_layer_gains_information(run_path, rule, batches):
    settings = RenyiSettings(kernel="nested", bandwidth=bandwidth(rule), input_bandwidth=bandwidth(rule))
    rows = estimate_run(run_path, settings, batches)
    for name in ("I_XT", "I_TY"):
        wide = rows.pivot(index=["step", "batch"], columns="depth", values=name).to_numpy()
        assert (np.diff(wide, axis=1) < 1e-9).all()


def test_the_nested_kernel_leaves_constant_layers_out_and_needs_finite_ones(tmp_path, probe):
    def wreck(value):
        def change(net):
            with torch.no_grad():
                for parameter in net[8].parameters():
                    parameter.fill_(value)

        return change

    settings = RenyiSettings(kernel="nested")
    paths = {value: make_run(tmp_path / f"{value}.h5", probe, wreck=wreck(value)) for value in (0.0, torch.nan)}
    status = {
        value: estimate_run(path, settings).query("step == 2").sort_values("depth")["status"].tolist()
        for value, path in paths.items()
    }
    assert "no bandwidth" not in status[0.0]
    assert status[0.0][2] == "constant"
    assert status[torch.nan] == ["no bandwidth", "no bandwidth", "not finite"]


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 0.0},
        {"alpha": float("nan")},
        {"permutations": 1},
        {"kernel": "gauss"},
        {"kernel": "multivariate", "scope": "final"},
        {"kernel": "nested", "scope": "shared"},
        {"kernel": "multivariate", "bandwidth": Bandwidth("alignment", 0.5)},
    ],
)
def test_bad_settings(options):
    with pytest.raises(InfoplaneError):
        RenyiSettings(**options)


def test_an_empty_run_and_a_damaged_table(tmp_path, probe):
    path = tmp_path / "run.h5"
    Recorder(small_net(), probe, path).close()
    with pytest.raises(InfoplaneError, match="no finished snapshot"):
        estimate_run(path, RenyiSettings())
    make_run(tmp_path / "full.h5", probe)
    estimates_path(tmp_path / "full.h5").write_text('"broken\n1,2\n')
    with pytest.raises(InfoplaneError, match="delete it"):
        estimate_run(tmp_path / "full.h5", RenyiSettings())


def test_the_table_is_saved_while_it_grows(run_path, monkeypatch):
    monkeypatch.setattr(store, "SAVE_SECONDS", 0.0)
    rows = estimate_run(run_path, RenyiSettings(), execution=Execution(1))
    assert len(rows) == 9


def test_gather(tmp_path, probe):
    paths = [make_run(tmp_path / f"{name}.h5", probe) for name in ("a", "b")]
    estimates, metrics = gather(paths, RenyiSettings())
    assert set(estimates["run"]) == {"a", "b"}
    assert sorted(estimates["snapshot"].unique()) == [0, 1, 2]
    assert len(metrics) == 6
    with pytest.raises(InfoplaneError, match="given twice"):
        gather([paths[0], paths[0]], RenyiSettings())


def test_an_own_loop_may_call_its_settings_as_it_likes(tmp_path, probe):
    path = make_run(tmp_path / "run.h5", probe)
    json_value("/", "config", "model", ["wide", 3])(path)
    json_value("/", "config", "seed", {"torch": 1})(path)
    estimates, _ = gather([path], RenyiSettings())
    assert estimates[["model", "seed"]].drop_duplicates().values.tolist() == [['["wide", 3]', '{"torch": 1}']]


BITS = ("renyi", "binning", "kde", "kde-lower", "ksg", "gaussian")


def test_all_estimators_fill_one_table(run_path):
    rows = estimate_run(run_path, [make_settings(name) for name in NAMES])
    assert list(rows["estimator"].unique()) == list(NAMES)
    assert len(rows) == 9 * len(NAMES)
    assert measured(rows["status"]).all()
    assert rows[["I_XT", "I_TY", "I_TY_null", "I_TY_null_std"]].notna().all(axis=None)
    # Permuted pairings say nothing of their I(X;T).
    without = {"binning", "kde", "kde-lower"}
    assert set(rows[rows["I_XT_null"].isna()]["estimator"]) == without
    pd.testing.assert_series_equal(rows["I_XT_corrected"], rows["I_XT"] - rows["I_XT_null"], check_names=False)
    assert set(rows[rows["unit"] == "bits"]["estimator"]) == set(BITS)
    stored = pd.read_csv(estimates_path(run_path))
    assert len(stored) == len(rows)
    assert stored[stored["estimator"] == "ksg"][["alpha", "bins", "noise"]].isna().all(axis=None)


def test_many_at_once_are_as_each_alone(run_path):
    together = estimate_run(run_path, [make_settings(name) for name in NAMES])
    estimates_path(run_path).unlink()
    for name in NAMES:
        alone = estimate_run(run_path, make_settings(name))
        same = together[together["estimator"] == name]
        np.testing.assert_array_equal(alone[["I_XT", "I_TY", "I_TY_null"]], same[["I_XT", "I_TY", "I_TY_null"]])


def test_distances_are_read_once_for_all(run_path, monkeypatch):
    reads = []
    plain = LayerView.distances.func

    def counting(view):
        reads.append((view.step, view.layer))
        return plain(view)

    counted = functools.cached_property(counting)
    counted.__set_name__(LayerView, "distances")
    monkeypatch.setattr(LayerView, "distances", counted)
    estimate_run(run_path, [make_settings(name) for name in NAMES], Batches(3, 9))
    assert len(reads) == len(set(reads)) == 9


@pytest.mark.parametrize("name", [name for name in NAMES if name != "binning"])
def test_distances_are_enough(tmp_path, probe, name):
    tables = []
    for keep in ("activations", "distances"):
        torch.manual_seed(0)
        tables.append(estimate_run(make_run(tmp_path / f"{keep}.h5", probe, keep=keep), make_settings(name)))
    for column in ("I_XT", "I_TY", "I_TY_null"):
        np.testing.assert_allclose(tables[0][column], tables[1][column], atol=1e-3)


def test_binning_needs_activations(tmp_path, probe):
    path = make_run(tmp_path / "run.h5", probe, keep="distances")
    with pytest.raises(InfoplaneError, match="keep='activations'"):
        estimate_run(path, make_settings("binning"))


@pytest.mark.parametrize("name", NAMES)
def test_others_mark_what_cannot_be_estimated(tmp_path, probe, name):
    path = make_run(tmp_path / "run.h5", probe, wreck=lambda net: net[6].weight.zero_())
    rows = estimate_run(path, make_settings(name))
    bad = rows[(rows["step"] == 2) & (rows["layer"] == "7")].iloc[0]
    assert bad["status"] == "constant"
    assert bad[["I_XT", "I_TY", "I_TY_null"]].isna().all()


def test_unknown_estimators_and_settings_out_of_range():
    with pytest.raises(InfoplaneError, match="did you mean binning"):
        make_settings("bining")
    for name, options in (("ksg", {"neighbours": 0}), ("kde", {"noise": "-1"}), ("cka", {"permutations": 1})):
        with pytest.raises(InfoplaneError):
            make_settings(name, **options)


@pytest.mark.parametrize(("count", "size"), [(3, 9), (2, 15)])
def test_batches(count, size):
    labels = np.random.default_rng(0).permutation(np.arange(30) % 3)
    drawn = Batches(count, size).draw(labels)
    assert [len(set(batch)) for batch in drawn] == [size] * count
    assert len(set(np.concatenate(drawn))) == count * size
    for batch in drawn:
        assert np.ptp(np.bincount(labels[batch], minlength=3)) <= 2
    again = Batches(count, size).draw(labels)
    np.testing.assert_array_equal(drawn, again)
    with pytest.raises(InfoplaneError, match="2 batches of 30 need 60 samples"):
        Batches(2, 30).draw(labels)
    with pytest.raises(InfoplaneError, match="at least 2"):
        Batches(1, 8)


def test_classes_are_those_of_the_probe_in_every_batch(tmp_path, probe):
    labels = torch.tensor([2] * 2 + [0, 1] * 14)  # a rare class, which most batches lack
    path = make_run(tmp_path / "rare.h5", (probe[0], labels))
    rows = estimate_run(path, make_settings("cka"), Batches(3, 9))
    assert set(rows["classes"]) == {3}
    assert len(plane_table(gather([path], make_settings("cka"), Batches(3, 9))[0])) == 9
    # Older rows say how many there are in the batch.
    stored = pd.read_csv(estimates_path(path))
    stored.assign(classes=stored["classes"] - (stored["batch"] > 0)).to_csv(estimates_path(path), index=False)
    assert set(estimate_run(path, make_settings("cka"), Batches(3, 9))["classes"]) == {3}


@pytest.mark.parametrize("scope", ["snapshot", "final"])
def test_a_batch_is_what_a_probe_of_these_samples_gives(run_path, probe, scope):
    settings = RenyiSettings(scope=scope)
    rows = estimate_run(run_path, settings, Batches(3, 9))
    assert len(rows) == 27
    assert set(rows["n"]) == {9}
    members = Batches(3, 9).draw(probe[1].numpy())
    row = rows[(rows["step"] == 2) & (rows["layer"] == "8") & (rows["batch"] == 1)].iloc[0]
    with open_run(run_path) as run:
        t = run.snapshots[2].activations("8")[members[1]].astype(float)
    x = probe[0].double().reshape(30, -1).numpy()[members[1]]
    assert row["I_XT"] == pytest.approx(mutual_information(gram_matrix(x), gram_matrix(t)), abs=1e-6)


def test_batches_are_kept_apart_from_the_whole_probe(run_path, counted):
    whole = estimate_run(run_path, RenyiSettings())
    first = estimate_run(run_path, RenyiSettings(), Batches(3, 9))
    assert len(counted) == 9 + 27
    assert estimate_run(run_path, RenyiSettings(), Batches(3, 9)).to_csv() == first.to_csv()
    assert estimate_run(run_path, RenyiSettings()).to_csv() == whole.to_csv()
    assert len(counted) == 9 + 27
    means = average_batches(first)
    one = first[(first["step"] == 1) & (first["layer"] == "7")]["I_TY"]
    mean = means[(means["step"] == 1) & (means["layer"] == "7")].iloc[0]
    assert mean["I_TY"] == pytest.approx(one.mean())
    assert mean["I_TY_se"] == pytest.approx(one.std() / np.sqrt(3))


def test_gather_batches_of_several_runs(tmp_path, probe):
    paths = [make_run(tmp_path / f"{name}.h5", probe) for name in ("a", "b", "c")]
    estimates, _ = gather(paths, make_settings("ksg"), Batches(3, 9))
    table = plane_table(estimates)
    assert len(table) == 9
    assert (table["I_XT_low"] <= table["I_XT"]).all()
    assert (table["I_XT"] <= table["I_XT_high"]).all()
    assert (table["batches"] == 3).all()


def test_estimates_made_side_by_side_are_all_kept(run_path):
    from concurrent.futures import ThreadPoolExecutor

    orders = [1.0, 1.5, 2.0, 3.0]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda alpha: estimate_run(run_path, RenyiSettings(alpha), execution=Execution(1)), orders))
    stored = pd.read_csv(estimates_path(run_path))
    assert sorted(stored["alpha"].unique()) == orders
    assert len(stored) == 9 * len(orders)


def test_a_layer_may_be_called_null(tmp_path, probe, counted):
    net = torch.nn.Sequential()
    net.add_module("null", torch.nn.Flatten())
    net.add_module("None", torch.nn.Linear(64, 3))
    with Recorder(net, probe, tmp_path / "run.h5", layers=["null", "None"]) as recorder:
        recorder.snapshot(step=0)
    for _ in range(2):
        assert list(estimate_run(tmp_path / "run.h5", RenyiSettings())["layer"]) == ["null", "None"]
    assert len(counted) == 2


def test_settings_that_differ_in_the_last_digit_are_not_mistaken(run_path):
    one = estimate_run(run_path, RenyiSettings(bandwidth=bandwidth("fixed:3.1234567")))
    two = estimate_run(run_path, RenyiSettings(bandwidth=bandwidth("fixed:3.1234571")))
    assert one["sigma_T"].iloc[0] != two["sigma_T"].iloc[0]


def test_a_layer_without_features_axis_is_one_channel():
    values = np.random.default_rng(0).standard_normal(10).astype(np.float32)
    np.testing.assert_allclose(
        channel_distances(values, bandwidth("fixed:1")), pdist(values[:, None].astype(float)), rtol=1e-6
    )


def test_a_narrow_kernel_is_saturated_even_where_x_is_wide(run_path):
    rows = mark_saturation(estimate_run(run_path, RenyiSettings(bandwidth=bandwidth("median:0.001"))))
    assert (rows["I_XT"] < 0.9 * np.log2(30)).all()
    assert rows["saturated_x"].all()
