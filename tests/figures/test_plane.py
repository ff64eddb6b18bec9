"""The figures: what they draw, that all of it is on the page, and how they are saved."""

from __future__ import annotations

import matplotlib
import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from figures_seen import STEPS, assert_on_the_page, estimates, found, hollow, metrics
from matplotlib.text import Annotation

from infoplane.analysis.plane import Plane, plane_table
from infoplane.errors import InfoplaneError
from infoplane.figures.parts.canvas import text_width, wrap
from infoplane.figures.parts.captions import plane_caption, time_caption
from infoplane.figures.parts.layers import time_norm
from infoplane.figures.parts.style import LINES, MARKERS, save, style, tick_label, time_ticks
from infoplane.figures.parts.view import View
from infoplane.figures.plane import information_plane
from infoplane.figures.time import information_over_time


def labels_of(axes):
    return [note for note in axes.texts if isinstance(note, Annotation) and note.get_text().startswith("T")]


def test_plane_has_one_trajectory_a_layer_and_panel():
    figure = information_plane(Plane.of(estimates(layers=4)))
    assert len(found(figure, "line:")) == len(found(figure, "points:")) == 2 * 4
    assert all(len(points.get_offsets()) == len(STEPS) for points in found(figure, "points:"))


def test_plane_points_are_hollow_exactly_where_uninformative():
    saturated = {(1, 10), (1, 1000), (3, 0)}
    figure = information_plane(Plane.of(estimates(saturated=saturated)))
    for points in found(figure, "points:"):
        depth = int(points.get_gid().removeprefix("points:layer"))
        assert hollow(points).tolist() == [(depth, step) in saturated for step in STEPS]


def test_plane_axes_have_units_and_the_colour_bar_shows_step_0():
    figure = information_plane(Plane.of(estimates()))
    corrected, raw, bar = figure.findobj(matplotlib.axes.Axes)
    assert [raw.get_xlabel(), raw.get_ylabel()] == ["I(X;T) (bits)", "I(T;Y) (bits)"]
    assert [corrected.get_xlabel(), corrected.get_ylabel()] == ["I(X;T) − null (bits)", "I(T;Y) − null (bits)"]
    assert bar.get_ylabel() == "training step"
    assert [tick.get_text() for tick in bar.get_yticklabels()] == ["0", "1", "10", "100", "1k"]
    rows = estimates().query("layer == 'layer1'")
    for axes, names in ((corrected, ("I_XT_corrected", "I_TY_corrected")), (raw, ("I_XT", "I_TY"))):
        [points] = [one for one in found(axes, "points:") if one.get_gid() == "points:layer1"]
        np.testing.assert_allclose(points.get_offsets(), rows[[*names]])


def test_far_limits_are_named_and_do_not_stretch_the_axes():
    figure = information_plane(Plane.of(estimates(spread=0.1)))
    axes = figure.findobj(matplotlib.axes.Axes)[1]
    notes = [text.get_text() for text in axes.texts]
    assert "log₂ n = 9.00 bits →" in notes
    assert axes.get_xlim()[1] < 7.5


def test_near_limits_are_drawn():
    figure = information_plane(Plane.of(estimates(saturated={(1, 0)})))
    axes = figure.findobj(matplotlib.axes.Axes)[1]
    assert "log₂ n = 9.00 bits" in [text.get_text() for text in axes.texts]
    assert any(np.allclose(line.get_xdata(), 9.0) for line in axes.lines)


def test_bars_only_with_several_runs():
    single, several = (information_plane(Plane.of(estimates(runs=runs))) for runs in (1, 3))
    count = [len(figure.findobj(matplotlib.collections.LineCollection)) for figure in (single, several)]
    # Two panels, two directions, two strengths (all points, the last one), per layer.
    assert (count[1] - count[0]) % (2 * 2 * 2) == 0
    assert count[1] > count[0]


@pytest.mark.parametrize("spread", [1.0, 0.05, 0.0])
def test_labels_of_20_layers_do_not_overlap(spread):
    figure = information_plane(Plane.of(estimates(layers=20, spread=spread)))
    figure.draw_without_rendering()
    for axes in figure.findobj(matplotlib.axes.Axes)[:2]:
        boxes = [matplotlib.text.Text.get_window_extent(label) for label in labels_of(axes)]
        assert len(boxes) == 20
        assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


@pytest.mark.parametrize("apart", [0.0, 0.001, 0.7])
def test_of_layers_that_coincide_each_is_seen(apart):
    rows = estimates(layers=3)
    below = rows[rows["layer"] == "layer1"]
    for name in ("I_XT", "I_TY", "I_XT_corrected", "I_TY_corrected"):
        rows.loc[rows["layer"] == "layer2", name] = below[name].to_numpy() + apart
    figure = information_plane(Plane.of(rows))
    for axes in figure.findobj(matplotlib.axes.Axes)[:2]:
        for kind in ("points:", "last:"):
            sizes = {one.get_gid(): one.get_sizes() for one in found(axes, kind)}
            factor = 2 if apart < 0.1 else 1
            np.testing.assert_allclose(sizes[f"{kind}layer1"], factor * sizes[f"{kind}layer3"].max())
            np.testing.assert_allclose(sizes[f"{kind}layer2"], sizes[f"{kind}layer3"].max())
        # The last points are above the ways of all layers.
        assert max(p.get_zorder() for p in found(axes, "points:")) < min(
            p.get_zorder() for p in found(axes, "last:")
        )
        upper = next(points for points in found(axes, "points:layer2"))
        assert (upper.get_edgecolors() == 1).all() == (apart < 0.1)
        assert not hollow(upper).any()


@pytest.mark.parametrize(
    "case",
    [
        {"layers": 3},
        {"layers": 20, "runs": 2, "spread": 0.02},
        {"steps": (0,)},
        {"steps": (400,)},
        {"runs": 5, "saturated": {(d, s) for d in (1, 2) for s in STEPS}},
        {"missing": {(2, s) for s in STEPS}},
        {"missing": {(d, s) for d in range(1, 5) for s in STEPS}},
        {"null": np.nan},
        {"steps": (0, 390, 780)},
    ],
)
def test_everything_is_on_the_page(case):
    table = plane_table(estimates(**case))
    steps = case.get("steps", STEPS)
    assert_on_the_page(information_plane(Plane(table)))
    assert_on_the_page(information_over_time(Plane(table, metrics(steps))))


def test_a_missing_layer_is_named_and_not_drawn():
    figure = information_plane(Plane.of(estimates(missing={(2, step) for step in STEPS})))
    legend = figure.findobj(matplotlib.legend.Legend)[0]
    assert "T2 layer2 (constant)" in [text.get_text() for text in legend.get_texts()]
    assert not found(figure, "points:layer2")
    assert "layer2: constant at 8 of 8 snapshots" in plane_caption(
        plane_table(estimates(missing={(2, s) for s in STEPS}))
    )


def test_without_permutations_there_is_no_corrected_panel():
    figure = information_plane(Plane.of(estimates(null=np.nan)))
    assert len(found(figure, "points:")) == 4


def test_time_panels_units_and_curves():
    figure = information_over_time(Plane(plane_table(estimates()), metrics()))
    labels = [axes.get_ylabel() for axes in figure.findobj(matplotlib.axes.Axes)]
    informations = ["I(X;T) − null (bits)", "I(T;Y) − null (bits)", "I(X;T) (bits)", "I(T;Y) (bits)"]
    assert labels[:5] == [*informations, "loss"]
    assert "accuracy" in labels
    assert len(found(figure, "line:")) == 4 * 4
    assert len(found(figure, "null:")) == 2 * 4
    styles = {line.get_gid(): line.get_linestyle() for line in found(figure, "metric:")}
    assert styles["metric:test_loss"] == "-"
    assert styles["metric:train_loss"] == "--"


def test_curves_over_time_are_no_higher_than_a_page():
    plane = Plane(plane_table(estimates(layers=6, runs=3)), metrics())
    figure = information_over_time(plane)
    width, height = figure.get_size_inches()
    assert (width, height < 6) == (6.75, True)
    panels = [axes for axes in figure.findobj(matplotlib.axes.Axes) if axes.get_ylabel()]
    places = [tuple(np.round(axes.get_position(original=False).p0, 2)) for axes in panels]
    assert len({x for x, _ in places}) == 2
    assert len({y for _, y in places}) == 3
    assert [axes.get_ylabel() for axes in panels][4:] == ["loss", "accuracy"]
    # Each panel at the bottom has its own axis of time.
    assert sum(axes.get_xlabel() == "training step" for axes in figure.findobj(matplotlib.axes.Axes)) == 2
    narrow = information_over_time(plane, "", view=View(width=3.25))
    assert sum(axes.get_xlabel() == "training step" for axes in narrow.findobj(matplotlib.axes.Axes)) == 1
    assert information_over_time(plane, "", view=View(panel="corrected")).get_size_inches()[0] == 3.25
    for drawn in (figure, narrow):
        assert_on_the_page(drawn)


def test_time_hollow_markers_exactly_where_uninformative():
    saturated = {(1, 10), (1, 1000), (3, 0)}
    figure = information_over_time(Plane(plane_table(estimates(saturated=saturated)), None))
    markers = found(figure, "hollow:")
    assert len(markers) == 4 * 4
    for line in markers:
        depth = int(line.get_gid().removeprefix("hollow:layer"))
        assert list(line.get_xdata()) == [step for step in STEPS if (depth, step) in saturated]
        assert line.get_markerfacecolor() == "white"


@pytest.mark.parametrize(
    ("columns", "drawn"),
    [
        ({"loss": 1.0}, ["loss"]),
        ({"val_acc": 0.5, "lr": 0.1}, ["val_acc"]),
        ({"lr": 0.1}, []),
        ({"loss": 1.0, "val_loss": 1.0, "my_acc": 0.1}, ["loss", "val_loss", "my_acc"]),
    ],
)
def test_time_draws_the_metrics_that_exist(columns, drawn):
    figure = information_over_time(Plane(plane_table(estimates()), metrics(**columns)))
    assert [line.get_gid() for line in found(figure, "metric:")] == [f"metric:{name}" for name in drawn]
    assert_on_the_page(figure)


def test_time_bands_show_the_intervals():
    table = plane_table(estimates(runs=3))
    figure = information_over_time(Plane(table))
    bands = figure.findobj(matplotlib.collections.PolyCollection)
    rows = table[table["layer"] == "layer1"]
    top = max(bands[0].get_paths()[0].vertices[:, 1])
    assert top == pytest.approx(rows["I_XT_corrected_high"].max())


def test_two_runs_have_no_bands():
    metrics_of_two = pd.DataFrame({"step": STEPS, "runs": 2, "epoch": 0.0, "loss": 1.0, "loss_sd": 0.1})
    plane = Plane(plane_table(estimates(runs=2)), metrics_of_two)
    figure = information_over_time(plane)
    for band in figure.findobj(matplotlib.collections.PolyCollection):
        assert not any(np.isfinite(path.vertices).all() and len(path.vertices) for path in band.get_paths())
    for caption, drawn in ((plane_caption(plane.table), "bars"), (time_caption(plane.table), "bands")):
        assert f"Means over 2 runs; no {drawn}, as fewer than 3 runs have no interval" in caption
        assert "standard deviation" not in caption


def test_captions_say_what_was_measured():
    table = plane_table(estimates(runs=5, saturated={(1, s) for s in STEPS} | {(2, s) for s in STEPS}))
    for caption in (plane_caption(table), time_caption(table)):
        for part in ("mlp on mnist", "n = 512", "10 classes", "α = 1", "gaussian kernel", "bandwidth median"):
            assert part in caption
        for part in ("5 runs", "95 % intervals of Student's t over runs", "10 label permutations", "Hollow"):
            assert part in caption
        assert "layer1, layer2: I(X;T) saturated at log₂ n = 9.00 bits at 8 of 8 snapshots" in caption


def test_what_stands_in_no_panel_stands_in_no_caption():
    plane = Plane.of(estimates())
    captions = [
        "".join(text.get_text() for text in found(information_over_time(plane, view=View(panel=panel)), "caption"))
        for panel in ("corrected", "raw", "both")
    ]
    dotted = ["Dotted: the permuted nulls of I(X;T) and I(T;Y)" in " ".join(text.split()) for text in captions]
    assert dotted == [False, True, True]


def test_above_its_null_an_information_has_no_limit_but_zero():
    # Estimators without a null of I(X;T) show I(T;Y) alone above one.
    table = plane_table(estimates().drop(columns=["I_XT_null", "I_XT_corrected", "I_XT_null_std"]))
    first, *_ = information_plane(Plane(table)).findobj(matplotlib.axes.Axes)
    assert first.get_ylabel() == "I(T;Y) − null (bits)"
    notes = [text.get_text() for text in first.texts]
    assert not [note for note in notes if note.startswith("H(Y)")]
    assert [note for note in notes if note.startswith("log₂ n")]


def test_a_long_list_of_layers_is_cut():
    saturated = {(depth, step) for depth in range(1, 7) for step in STEPS[:depth]}
    caption = plane_caption(plane_table(estimates(layers=6, saturated=saturated)))
    assert caption.endswith("and 3 more.")


def test_an_own_caption_or_none():
    plane = Plane.of(estimates())
    assert found(information_plane(plane, "Costs $5, then $6."), "caption")[0].get_text() == "Costs $5, then $6."
    assert not found(information_plane(plane, ""), "caption")


def test_empty_tables_are_refused():
    with pytest.raises(InfoplaneError, match="nothing to draw"):
        information_plane(Plane(plane_table(estimates()).iloc[:0]))


def test_files_are_written_and_kept(tmp_path):
    table = plane_table(estimates())
    figure = information_plane(Plane(table))
    stem = tmp_path / "new" / "plane.v1"
    paths = save(figure, stem, table)
    assert [path.name for path in paths] == ["plane.v1.png", "plane.v1.pdf", "plane.v1.csv"]
    assert len(pd.read_csv(paths[2])) == len(table)
    before = [path.read_bytes() for path in paths]
    save(figure, stem, table)
    assert [path.read_bytes() for path in paths] == before
    assert sorted(path.name for path in stem.parent.iterdir()) == sorted(path.name for path in paths)
    paths[0].unlink()
    paths[1].write_text("a page of somebody else")
    with pytest.raises(InfoplaneError, match=r"plane\.v1\.pdf exists; use `force=True` to overwrite"):
        save(figure, stem, table)
    assert not paths[0].exists()
    save(figure, stem, table, force=True)
    assert [path.read_bytes() for path in paths] == before


def test_a_figure_that_fails_half_way_leaves_the_old_files(tmp_path, monkeypatch):
    table = plane_table(estimates())
    paths = save(information_plane(Plane(table)), tmp_path / "plane", table)
    before = [path.read_bytes() for path in paths]

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(InfoplaneError, match=r"cannot write .*plane\.png: No space left on device"):
        save(information_plane(Plane(table.iloc[:4])), tmp_path / "plane", table)
    assert [path.read_bytes() for path in paths] == before
    assert len(list(tmp_path.iterdir())) == 3


def test_equal_tables_make_equal_files_with_embedded_fonts(tmp_path):
    table = plane_table(estimates())
    one, two = (save(information_plane(Plane(table)), tmp_path / name, table)[1].read_bytes() for name in "ab")
    assert one == two
    assert b"/FontFile2" in one
    assert b"/Subtype /Type3" not in one


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    table = plane_table(estimates())
    with pytest.raises(InfoplaneError, match="is no folder; give another place"):
        save(information_plane(Plane(table)), tmp_path / "file" / "plane", table)


def test_the_users_settings_stay():
    with matplotlib.rc_context({"font.size": 31, "figure.facecolor": "black"}):
        figure = information_plane(Plane.of(estimates()))
        assert matplotlib.rcParams["font.size"] == 31
        assert matplotlib.rcParams["pdf.fonttype"] == 3
    assert figure.get_facecolor()[:3] == (1, 1, 1)


def test_time_ticks_and_their_labels():
    assert time_ticks((0, 1, 5, 20000)) == ([0, 1, 10, 100, 1000, 10000], 1)
    assert time_ticks((0, 100, 200, 500)) == ([0, 100, 200, 500], 100)
    assert time_ticks((0,)) == ([0, 1], 1)
    assert time_ticks((390, 400)) == ([0, 390], 390)
    assert [tick_label(step) for step in (0, 500, 20000, 3_000_000)] == ["0", "500", "20k", "3M"]


def test_wrapping_keeps_words_and_width():
    text = "some words of different lengths " * 9
    with style():
        lines = wrap(text, 120, 7).split("\n")
        assert all(text_width(line, 7) <= 120 for line in lines)
    assert " ".join(lines) == text.strip()


def test_20_layers_have_20_shapes():
    assert len(set(MARKERS)) >= 20


@pytest.mark.parametrize(
    ("estimator", "unit", "label"),
    [("kde", "bits", "I(X;T) (bits)"), ("cka", "dependence", "CKA(X,T) (dependence)")],
)
def test_other_estimators_name_themselves_and_their_unit(estimator, unit, label):
    limit = 9.0 if unit == "bits" else np.nan
    other = estimates(runs=2).assign(
        estimator=estimator,
        unit=unit,
        noise="0.1",
        alpha=np.nan,
        limit_XT=limit,
        limit_TY=np.nan,
        I_XT_null=np.nan,
        I_XT_corrected=np.nan,
    )
    table = plane_table(other)
    figure = information_plane(Plane(table))
    axes = figure.findobj(matplotlib.axes.Axes)[0]
    assert axes.get_xlabel() == label
    assert any("log₂ n" in note.get_text() for note in axes.texts) == (unit == "bits")
    time = information_over_time(Plane(table))
    assert label in [ax.get_ylabel().replace("\n", " ") for ax in time.findobj(matplotlib.axes.Axes)]
    caption = plane_caption(table)
    assert {"kde": "pairwise-distance upper bound, noise 0.1", "cka": "linear CKA"}[estimator] in caption
    assert "α" not in caption
    assert_on_the_page(figure)


def test_batches_give_bars_and_are_named():
    rows = estimates(runs=1).assign(batches=3, batch_size=512)
    shifted = [rows.assign(batch=batch, I_XT=rows["I_XT"] + 0.1 * batch) for batch in range(3)]
    table = plane_table(pd.concat(shifted, ignore_index=True))
    assert (table["I_XT_low"] < table["I_XT"]).all()
    assert (table["I_XT"] < table["I_XT_high"]).all()
    for caption in (plane_caption(table), time_caption(table)):
        assert "One run. Means over 3 batches of n samples" in caption
        assert "95 % intervals of Student's t over batches" in caption
        assert "n = 512 samples a batch" in caption
    assert found(information_over_time(Plane(table)), "band:")


def view_of(**options):
    return information_plane(Plane.of(estimates()), "", view=View(**options))


def test_the_classic_style_joins_the_layers_of_a_snapshot():
    table = plane_table(estimates(missing={(2, 10)}))
    figure = information_plane(Plane(table), "", view=View(style="classic", panel="raw"))
    assert found(figure, "line:") == []
    joined = {line.get_gid(): line for line in found(figure, "snapshot:")}
    assert list(joined) == [f"snapshot:{step}" for step in STEPS]
    rows = table[(table["step"] == 10) & (table["depth"] != 2)].sort_values("depth")
    np.testing.assert_array_equal(joined["snapshot:10"].get_xydata(), rows[["I_XT", "I_TY"]])
    colours = [tuple(line.get_color()) for line in joined.values()]
    np.testing.assert_allclose(colours, LINES(time_norm(STEPS)(STEPS)))
    np.testing.assert_allclose(found(figure, "points:layer1")[0].get_edgecolors()[:-1], colours[:-1])


def test_a_single_panel_of_a_size_with_limits():
    for panel, name in (("raw", "I(T;Y) (bits)"), ("corrected", "I(T;Y) − null (bits)")):
        figure = view_of(panel=panel, width=3.3, height=2, xlim=(0, 5), ylim=(0.5, 1.5))
        axes, _bar = figure.axes
        assert axes.get_ylabel() == name
        assert (axes.get_xlim(), axes.get_ylim()) == ((0, 5), (0.5, 1.5))
        assert figure.get_size_inches()[0] == pytest.approx(3.3)
        assert_on_the_page(figure)
    curves = information_over_time(Plane.of(estimates()), "", view=View(panel="raw", height=3))
    assert [axes.get_ylabel() for axes in curves.axes[:2]] == ["I(X;T) (bits)", "I(T;Y) (bits)"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"panel": "upper"}, "unknown panel 'upper'"),
        ({"style": "classics"}, "did you mean classic"),
        ({"width": -1.0}, "give inches"),
        ({"xlim": (1.0, 0.0)}, "the lower one first"),
        ({"ylim": (1.0,)}, "two numbers"),
    ],
)
def test_views_that_cannot_be(options, words):
    with pytest.raises(InfoplaneError, match=words):
        View(**options)


def test_planes_beside_each_other_have_the_same_axes():
    planes = [Plane.of(estimates(runs=3)), Plane.of(estimates(runs=3, spread=0.3, null=0.5))]
    alone = [information_plane(plane, "").axes[0].get_xlim() for plane in planes]
    assert alone[0] != alone[1]
    figures = [information_plane(plane, "", beside=planes) for plane in planes]
    for panel in range(2):
        for get in ("get_xlim", "get_ylim"):
            ends = [getattr(figure.axes[panel], get)() for figure in figures]
            assert ends[0] == pytest.approx(ends[1])


def test_a_part_of_a_plane():
    plane = Plane(plane_table(estimates()), metrics())
    part = plane.only(["layer[12]", "layer4"], [0, 100])
    assert part.layers == ("layer1", "layer2", "layer4")
    assert sorted(part.table["step"].unique()) == [0, 100]
    assert part.metrics["step"].tolist() == [0, 100]
    assert plane.only().table.equals(plane.table)
    with pytest.raises(InfoplaneError, match="unknown layer 'conv'"):
        plane.only(["conv"])
    with pytest.raises(InfoplaneError, match=r"step 90 was not recorded by all runs; the nearest is 100"):
        plane.only(steps=[90])


def test_formats_resolution_and_a_caption_of_its_own(tmp_path):
    figure, table = view_of(), plane_table(estimates())
    made = save(figure, tmp_path / "plane", table, formats=("svg", "png"), dpi=50, caption="What it is.")
    assert [path.name for path in made] == ["plane.svg", "plane.png", "plane.csv", "plane.txt"]
    width, height = matplotlib.image.imread(made[1]).shape[1::-1]
    assert (width, height) == tuple(int(50 * inches) for inches in figure.get_size_inches())
    assert made[3].read_text().startswith("What it is.\n")
    before = made[0].read_bytes()
    save(figure, tmp_path / "plane", table, formats=("svg", "png"), dpi=50, caption="What it is.")
    assert made[0].read_bytes() == before
    with pytest.raises(InfoplaneError, match="unknown format 'jpg'"):
        save(figure, tmp_path / "other", table, formats=("jpg",))
