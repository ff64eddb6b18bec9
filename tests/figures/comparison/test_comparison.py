"""The figures of a comparison: what they draw, that all is on the page, and what `plot DIR` makes of a folder."""

from itertools import pairwise

import matplotlib
import numpy as np
import pandas as pd
import pytest
from figures_seen import assert_on_the_page, found
from matplotlib.colors import to_rgb
from planted import BLOCKS, planted_comparison, planted_run

from infoplane.analysis.comparison.accuracy import accuracy_table, depth_table
from infoplane.analysis.comparison.classes import confusion_table, mistaken_samples, per_class
from infoplane.analysis.comparison.methods import cost_table
from infoplane.analysis.comparison.pictures import hard_pictures
from infoplane.analysis.comparison.results import compared_runs, runs_table
from infoplane.analysis.comparison.sweep import sweep_tables
from infoplane.data import DATASETS, load_dataset
from infoplane.errors import InfoplaneError
from infoplane.estimators.renyi import RenyiSettings
from infoplane.execution import Execution
from infoplane.figures.comparison.accuracy import accuracy_caption, accuracy_over_epochs
from infoplane.figures.comparison.confusion import confusion_caption, confusion_matrix
from infoplane.figures.comparison.costs import costs, costs_caption
from infoplane.figures.comparison.depth import accuracy_over_depth, depth_caption
from infoplane.figures.comparison.hardest import hardest
from infoplane.figures.comparison.sweep import beta_sweep, sweep_caption
from infoplane.figures.memory_depth import memory_over_depth
from infoplane.figures.parts.variants import looks_of
from infoplane.study.comparison import finished_runs

HIDDEN = dict(zip(BLOCKS, (0.5, 0.7, 0.9), strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """SGD and a sequential method over three seeds, and a β sweep."""
    made = tmp_path_factory.mktemp("comparison")
    local = {"blocks": HIDDEN, "curve": [0.1, 0.5, 0.3, 0.6, 0.7, 0.8]}
    settings = {"sequential": {**local, "method": "greedy-ce", "order": "sequential", "stages": 3}}
    for beta, accuracy in ((0.0, 0.8), (1e-4, 0.82), (1.0, 0.4)):
        name = f"greedy-dib-beta{beta:g}"
        settings[name] = {**local, "method": "greedy-dib", "beta": (beta,), "noise": 0.6 - 0.5 * (beta == 1)}
        planted_comparison(made, {name: [accuracy, accuracy + 0.02]}, **settings)
    planted_comparison(made, {"sgd": [0.9, 0.92, 0.94], "sequential": [0.8, 0.85, 0.83]}, **settings)
    return made


@pytest.fixture(scope="module")
def runs(folder):
    return finished_runs(folder)


@pytest.fixture(scope="module")
def sweep(folder, runs):
    return sweep_tables(runs, folder, RenyiSettings(), execution=Execution(1))["greedy-dib"]


def axes_of(figure):
    return figure.findobj(matplotlib.axes.Axes)


def line(figure, name):
    return next(artist for artist in found(figure, f"line:{name}") if artist.get_gid() == f"line:{name}")


def test_what_trains_the_whole_network_comes_first(runs):
    assert runs["variant"].iloc[0] == "sgd"


def test_variants_differ_in_lightness_marker_and_dashes():
    table = pd.DataFrame({"variant": [f"v{k}" for k in range(6)]})
    looks = looks_of(table)
    light = [np.dot(to_rgb(look.colour), [0.299, 0.587, 0.114]) for look in looks]
    assert np.all(np.diff(light) > 0.05)
    assert len({str(look.marker) for look in looks}) == len({str(look.dashes) for look in looks}) == 6
    with pytest.raises(InfoplaneError, match="nothing to draw"):
        looks_of(table.iloc[:0])


def test_accuracy_over_epochs(runs):
    table = accuracy_table(runs)
    figure = accuracy_over_epochs(table)
    axes = axes_of(figure)[0]
    assert axes.get_ylabel() == "test accuracy (%)"
    drawn = line(figure, "sgd")
    np.testing.assert_allclose(drawn.get_ydata(), [10, 92])
    np.testing.assert_allclose(drawn.get_xdata(), [0, 10])
    marks = next(m for m in found(figure, "switches:") if m.get_gid() == "switches:sequential")
    np.testing.assert_allclose(marks.get_xdata(), [10 / 3, 20 / 3])
    others = [m for m in found(figure, "switches:") if m.get_gid() != "switches:sequential"]
    assert all(not len(m.get_xdata()) for m in others)
    assert len(found(figure, "band:")) == table["variant"].nunique()
    caption = accuracy_caption(table)
    for part in ("cnn on digits", "2 to 3 seeds", "95 % intervals of Student's t", "sequential"):
        assert part in caption
    gap = next(one for one in found(figure, "gap:") if one.get_gid() == "gap:sequential")
    np.testing.assert_allclose(gap.get_ydata(), 100 * table[table["variant"] == "sequential"]["gap"].dropna())
    assert "gap:sgd" not in {one.get_gid() for one in found(figure, "gap:")}
    assert "paired differences to sgd with the same seed, at the same epoch (" in caption
    assert "logarithmic beyond 2 points; marks of one place stand side by side" in caption
    longer = table.assign(epoch=table["epoch"].where(table["variant"] == "sgd", 2 * table["epoch"]))
    assert "at the same epoch, and after its end with its end (" in accuracy_caption(longer)
    near = table.assign(**{name: table[name] / 1000 for name in ("gap", "gap_low", "gap_high")})
    assert "logarithmic" not in accuracy_caption(near)
    assert axes_of(figure)[1].get_ylabel() == "difference to sgd\n(points)"
    assert_on_the_page(figure)


def test_methods_that_coincide_stand_side_by_side():
    rows = [
        {"variant": name, "subject": "net", "split": "test", "reference": "sgd", "stage": 0, "seeds": 3,
         "step": step, "epoch": step / 10, "accuracy": 0.9, "accuracy_low": 0.89, "accuracy_high": 0.91,
         "gap": np.nan if name == "sgd" else 0.0, "gap_low": -0.01, "gap_high": 0.01}
        for name in ("sgd", "a", "b") for step in range(0, 101, 2)
    ]  # fmt: skip
    figure = accuracy_over_epochs(pd.DataFrame(rows))
    assert_on_the_page(figure)
    first, second = (one.get_transform().transform(one.get_xydata()) for one in found(figure, "gap:"))
    np.testing.assert_allclose((second - first)[:, 0] * 72 / figure.dpi, 3)
    alone = accuracy_over_epochs(pd.DataFrame(rows).query("variant == 'sgd'"))
    assert len(axes_of(alone)) == 1
    assert "Below" not in accuracy_caption(pd.DataFrame(rows).query("variant == 'sgd'"))


def test_much_longer_trainings_make_the_axis_logarithmic(runs, folder):
    table = accuracy_table(runs_table(compared_runs(folder)))
    assert axes_of(accuracy_over_epochs(table))[0].get_xscale() == "linear"
    longer = table.assign(epoch=table["epoch"].where(table["variant"] != "sequential", 5 * table["epoch"]))
    figure = accuracy_over_epochs(longer)
    assert {axes.get_xscale() for axes in axes_of(figure)} == {"symlog"}
    assert axes_of(figure)[-1].get_xticklabels()[0].get_text() == "0"
    assert_on_the_page(figure)


def test_costs(runs):
    table = cost_table(runs)
    figure = costs(table)
    points = {artist.get_gid(): artist for artist in found(figure, "points:")}
    np.testing.assert_allclose(points["points:peak of a step"].get_xdata(), 3.0)
    saved = points["points:kept for backward"].get_xdata()
    assert np.isnan(saved[0])
    np.testing.assert_allclose(saved[1:], 1.0)
    assert "points:peak and cache" not in points
    left, right = axes_of(figure)
    assert [tick.get_text() for tick in left.get_yticklabels()] == table["variant"].tolist()
    assert (left.get_xlabel(), right.get_xlabel()) == ("memory (MiB)", "training time (s)")
    assert left.get_xlim()[0] == 0
    caption = costs_caption(table)
    assert "What sgd keeps for backward cannot be seen" in caption
    assert "64 samples: sgd; 128 samples: greedy-dib-beta0" in caption
    assert_on_the_page(figure)
    cached = costs(table.assign(cache_bytes=2**21))
    assert "points:peak and cache" in {artist.get_gid() for artist in found(cached, "points:")}
    assert_on_the_page(cached)


def test_accuracy_over_depth(folder):
    table = depth_table(runs_table(compared_runs(folder)))
    figure = accuracy_over_depth(table)
    np.testing.assert_allclose(line(figure, "sequential").get_ydata(), [50, 70, 90])
    across = line(figure, "sgd")
    np.testing.assert_allclose(across.get_ydata(), [92, 92])
    np.testing.assert_allclose(across.get_xdata(), [1, 3])
    gaps = {one.get_gid(): one for one in found(figure, "gap:")}
    np.testing.assert_allclose(gaps["gap:sequential"].get_ydata(), [-42, -22, -2])
    assert "gap:sgd" not in gaps
    above, below = axes_of(figure)
    assert (above.get_ylabel(), below.get_ylabel()) == ("test accuracy (%)", "difference to sgd\n(points)")
    assert below.get_ylim()[0] < -42
    assert "paired differences to sgd with the same seed, the whole network" in depth_caption(table)
    assert [tick.get_text() for tick in below.get_xticklabels()] == list(BLOCKS)
    assert "Across: sgd" in depth_caption(table)
    assert_on_the_page(figure)


def test_depth_with_two_networks_that_were_trained_as_a_whole(tmp_path):
    blocks = {"blocks": {"conv1": 0.5, "conv2": 0.7, "logits": 0.8}}
    planted_comparison(
        tmp_path, {"sgd": [0.9], "sgd-checkpoint": [0.9], "greedy-ce": [0.8]}, **{"greedy-ce": blocks}
    )
    figure = accuracy_over_depth(depth_table(runs_table(compared_runs(tmp_path))))
    assert [one.get_gid() for one in found(figure, "gap:")] == ["gap:greedy-ce"]
    assert_on_the_page(figure)


def test_long_names_of_many_blocks_stand_upright():
    rows = [
        {"variant": "ce", "subject": "net", "block": f"layer{k}.conv", "depth": k, "seeds": 1, "accuracy": k / 20,
         "accuracy_low": np.nan, "accuracy_high": np.nan, "reference": "ce", "gap": np.nan}
        for k in range(1, 17)
    ]  # fmt: skip
    figure = accuracy_over_depth(pd.DataFrame(rows))
    assert {tick.get_rotation() for tick in axes_of(figure)[0].get_xticklabels()} == {90}
    assert "One seed." in depth_caption(pd.DataFrame(rows))
    assert_on_the_page(figure)


def test_a_sweep_shows_zero_apart(sweep):
    figure = beta_sweep(sweep)
    panels = axes_of(figure)
    assert [axes.get_ylabel() for axes in panels] == ["test accuracy (%)", "S(T) (bits)", "I(X;T) (bits)"]
    assert panels[-1].get_xscale() == "symlog"
    assert panels[-1].get_xticklabels()[0].get_text() == "0"
    # The line joins positive β only; all have a point.
    assert line(figure, "accuracy").get_xdata().tolist() == [1e-4, 1.0]
    points = next(m for m in found(figure, "points:accuracy"))
    assert points.get_xdata().tolist() == [0, 1e-4, 1]
    np.testing.assert_allclose(points.get_ydata(), [81, 83, 41])
    caption = sweep_caption(sweep)
    for part in ("n = 40 probe samples", "matrix-based Rényi", "β = 0", "Dashed: ", "sgd", "2 seeds"):
        assert part in caption
    assert_on_the_page(figure)


def test_a_sweep_names_what_has_no_value_and_hollows_what_says_nothing(sweep):
    gone = (sweep["beta"] == 1) & (sweep["layer"] == "conv2")
    table = sweep.assign(seeds=sweep["seeds"].where(~gone, 0), value=sweep["value"].where(~gone))
    table["uninformative"] = table["layer"] == "conv1"
    figure = beta_sweep(table)
    assert "conv2 at β = 1" in sweep_caption(table)
    assert "Hollow: " in sweep_caption(table)
    assert all(m.get_markerfacecolor() == "white" for m in found(figure, "hollow:"))
    # Means over the runs that have a value would mislead: they are not drawn.
    few = table.assign(seeds=table["seeds"].where(~gone, 1), value=0.5)
    assert "Not drawn" in sweep_caption(few)
    assert "learning rate" not in sweep_caption(table)
    assert "learning rate" not in sweep_caption(table.assign(lr_trials=np.where(table["beta"] == 1, 3, 0)))
    rates = np.where(table["beta"] == 1, 0.2, 0.05)
    tuned = sweep_caption(table.assign(lr=rates, lr_trials=3))
    assert "Each β at the best learning rate of those that were tried: 0.05 to 0.2." in tuned
    assert all(1.0 not in m.get_xdata() for m in found(beta_sweep(few), "points:T2 conv2"))
    hollow = [m for m in found(figure, "hollow:T1 conv1") if len(m.get_xdata())]
    assert len(hollow) == 2
    assert_on_the_page(figure)


@pytest.mark.parametrize("betas", [(0.0, 0.5), (1e-3, 1e-2), (0.02, 0.03), (0.0, 1e-6, 1e-4, 1e-2, 1, 100)])
def test_axes_of_other_sweeps(sweep, betas):
    rows = sweep[sweep["beta"] == 0]
    table = pd.concat([rows.assign(beta=beta) for beta in betas])
    figure = beta_sweep(table)
    low, high = axes_of(figure)[-1].get_xlim()
    assert low < min(betas)
    assert high > max(betas)
    assert_on_the_page(figure)


def confusion(classes, seeds=3, named=()):
    """A made-up matrix in which each class is mistaken for the next."""
    rng = np.random.default_rng(0)
    accuracy = np.linspace(0.4, 1, classes)
    share = np.diag(accuracy) + np.roll(np.diag(1 - accuracy), 1, axis=1)
    true, predicted = (axis.ravel() for axis in np.indices(share.shape))
    names = np.array([f"{k} {named[k]}" if named else str(k) for k in range(classes)])
    table = pd.DataFrame({"true": true, "true_name": names[true], "predicted": predicted, "share": share.ravel()})
    table = table.assign(variant="sgd", subject="net on data", seeds=seeds, count=(share * 100).ravel())
    spread = 0.05 * rng.random(classes) if seeds > 1 else np.full(classes, np.nan)
    columns = {"accuracy": accuracy, "accuracy_low": accuracy - spread, "accuracy_high": accuracy + spread}
    own = pd.DataFrame({"class": range(classes), "taken_for": (np.arange(classes) + 1) % classes, **columns})
    own = own.assign(name=names, taken_for_name=names[own["taken_for"]])
    return table, own.assign(variant="sgd", subject="net on data", seeds=seeds, taken_for_share=1 - accuracy)


@pytest.mark.parametrize(
    ("classes", "width", "seeds"), [(4, 3.25, 3), (10, 3.25, 1), (43, 6.75, 3), (100, 6.75, 1)]
)
def test_a_confusion_matrix_is_readable(classes, width, seeds):
    figure = confusion_matrix(*confusion(classes, seeds))
    assert figure.get_size_inches()[0] == pytest.approx(width)
    matrix, strip = axes_of(figure)[:2]
    image = found(figure, "matrix")[0].get_array()
    assert image.shape == (classes, classes)
    assert image[0, 1] == pytest.approx(0.6)
    np.testing.assert_allclose(found(figure, "accuracy")[0].get_xdata(), np.linspace(40, 100, classes))
    figure.draw_without_rendering()
    # No interval is cut off by the axis, nor goes where no accuracy is.
    bars = [bar for bars in strip.collections for bar in bars.get_segments() if len({y for _, y in bar}) == 1]
    ends = [x for bar in bars[: 2 * classes] for x, _ in bar if x > 1]
    low, high = strip.get_xlim()
    assert low < min(ends, default=50)
    assert high > 100 >= max(ends, default=50)
    # Names of neighbouring rows do not run into each other.
    boxes = [tick.get_window_extent() for tick in matrix.get_yticklabels()]
    assert not any(one.overlaps(other) for one, other in pairwise(boxes))
    columns = [tick.get_window_extent() for tick in matrix.get_xticklabels()]
    assert not any(one.overlaps(other) for one, other in pairwise(columns))
    assert min(tick.get_size() for tick in (*matrix.get_yticklabels(), *matrix.get_xticklabels())) >= 6
    assert strip.get_xlabel().split() == ["accuracy", "(%)"]
    assert_on_the_page(figure)


@pytest.mark.parametrize("name", ["gtsrb", "cifar10", "cifar100"])
def test_classes_are_called_by_their_names(name):
    names = DATASETS[name].class_names
    table, own = confusion(len(names), named=names)
    figure = confusion_matrix(table, own)
    texts = [tick.get_text() for tick in axes_of(figure)[0].get_yticklabels()]
    assert set(texts) <= {f"{number} {one}" for number, one in enumerate(names)}
    assert len(texts) >= len(names) // 2
    assert f"0 {names[0]}, 40 %, taken for 1 {names[1]}" in confusion_caption(table, own)
    assert_on_the_page(figure)
    hard = hardest(own)
    assert axes_of(hard)[0].get_yticklabels()[0].get_text() == f"0 {names[0]}\n→ 1 {names[1]}"
    assert_on_the_page(hard)


def test_long_names_are_cut():
    figure = confusion_matrix(*confusion(3, named=("x" * 60, "y", "z")))
    assert [tick.get_text() for tick in axes_of(figure)[0].get_yticklabels()] == [
        "0 " + "x" * 17 + "…",
        "1 y",
        "2 z",
    ]
    assert_on_the_page(figure)


def test_the_caption_lists_the_hardest_classes():
    caption = confusion_caption(*confusion(43))
    assert "0, 40 %, taken for 1; 1, 41 %, taken for 2" in caption
    assert "summed over 3 seeds" in caption


def test_the_hardest_classes_with_and_without_pictures(folder):
    classes = per_class(runs_table(compared_runs(folder)))
    plain = hardest(classes)
    assert not found(plain, "picture:")
    labels = [tick.get_text() for tick in axes_of(plain)[0].get_yticklabels()]
    assert labels == ["0 → 1", "1 → 2", "2 → 3", "3 → 0"]
    pictures = {0: [np.zeros((8, 8), np.uint8)] * 4, 2: [np.random.default_rng(0).random((8, 8, 3))]}
    figure = hardest(classes, pictures)
    # Three at most of a class.
    assert [axes.get_gid() for axes in found(figure, "picture:")] == ["picture:0"] * 3 + ["picture:2"]
    assert_on_the_page(plain)
    assert_on_the_page(figure)


def test_confusions_of_runs(folder):
    runs = runs_table(compared_runs(folder))
    table, classes = (one[one["variant"] == "sgd"] for one in (confusion_table(runs), per_class(runs)))
    assert_on_the_page(confusion_matrix(table, classes))


def test_memory_over_depth():
    rows = [
        {"network": f"chain of {k}", "blocks": float(k), "variant": name, "peak_bytes": size * 2**20}
        for k in (2, 4, 8)
        for name, size in (("sgd", 10 * k), ("greedy-ce", 20))
    ]
    rows += [{"network": "VGG-11", "blocks": np.nan, "variant": name, "peak_bytes": 2**20} for name in ("sgd",)]
    figure = memory_over_depth(pd.DataFrame(rows), "What was measured.")
    np.testing.assert_allclose(line(figure, "sgd").get_ydata(), [20, 40, 80])
    np.testing.assert_allclose(line(figure, "greedy-ce").get_ydata(), [20, 20, 20])
    assert_on_the_page(figure)


def test_plot_of_a_folder(infoplane, folder, tmp_path):
    code, out, complaint = infoplane("plot", folder, "-o", tmp_path, "--jobs", 1)
    assert code == 0, complaint
    names = {path.stem for path in tmp_path.glob("*.png")}
    variants = {"sgd", "sequential", "greedy-dib-beta0", "greedy-dib-beta0.0001", "greedy-dib-beta1"}
    assert names == {"accuracy", "costs", "depth", "sweep", "classes"} | {f"confusion-{name}" for name in variants}
    for ending in (".png", ".pdf", ".csv"):
        assert all((tmp_path / f"{name}{ending}").exists() for name in names)
    assert "not drawn" not in complaint
    assert str(tmp_path / "sweep.png") in out
    (tmp_path / "accuracy.pdf").write_text("a page of somebody else")
    code, _, complaint = infoplane("plot", folder, "-o", tmp_path)
    assert code == 1
    assert "--force" in complaint


def test_what_cannot_be_drawn_is_named(infoplane, tmp_path):
    planted_comparison(tmp_path / "c", {"sgd": [1.0]})
    planted_run(tmp_path / "c" / "greedy-ce" / "seed0.h5", finished=False)
    code, _, complaint = infoplane("plot", tmp_path / "c", "--name", "first")
    assert code == 0, complaint
    assert "not drawn: sweep: no β sweep is here" in complaint
    assert "not drawn: depth: no layer-wise method" in complaint
    assert "not drawn: classes: most variants always recognise every class" in complaint
    assert {path.stem for path in (tmp_path / "c").glob("*.png")} == {
        "first-accuracy", "first-costs", "first-confusion-sgd",
    }  # fmt: skip


def test_pictures_come_from_the_data_set(infoplane, tmp_path):
    arguments = ["--model", "mlp", "--widths", "8", "--epochs", 1, "--snapshots", 2, "--probe-size", 20]
    folder = tmp_path / "c"
    code, _, complaint = infoplane("compare", *arguments, "--methods", "sgd", "--seeds", 1, "-o", folder)
    assert code == 0, complaint
    code, out, complaint = infoplane("plot", folder, "--data-root", tmp_path)
    assert code == 0, complaint
    assert "classes.png" in out
    paths = compared_runs(folder)
    pictures = hard_pictures(folder, runs_table(paths), tmp_path, 2)
    test = load_dataset("digits", tmp_path).test
    for name, index in mistaken_samples(paths, list(pictures), 1)[["class", "index"]].to_numpy():
        assert test.labels[index] == name
        np.testing.assert_array_equal(pictures[name][0], test.inputs[index, 0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["empty"], "make one: infoplane compare"),
        (["empty", "empty"], "only one comparison can be drawn at a time"),
        (["run.h5", "--data-root", "data"], "--data-root is for the pictures of a comparison"),
    ],
)
def test_refusals_of_plot(infoplane, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    code, _, complaint = infoplane("plot", *arguments)
    assert code == 1
    assert words in complaint
    assert "Traceback" not in complaint


def test_a_sweep_of_rows_that_do_not_know_of_tuning(folder, runs):
    table = sweep_tables(runs.drop(columns="lr_trials"), folder, RenyiSettings(), execution=Execution(1))[
        "greedy-dib"
    ]
    assert table["lr_trials"].isna().all()
    assert "learning rate" not in sweep_caption(table)
