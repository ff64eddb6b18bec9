"""The figures over training time and of sensitivity: what is drawn equals the tables, and fits the page."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
import pytest
from figures_seen import STEPS, assert_on_the_page, estimates, found, hollow, metrics
from made_curves import UP, made

from infoplane.analysis.convergence.order import beyond, convergence_order, order_table
from infoplane.analysis.convergence.phases import phases
from infoplane.analysis.convergence.profile import profile_table
from infoplane.analysis.convergence.trajectories import trajectories
from infoplane.analysis.modified_plane import QUANTITIES
from infoplane.analysis.plane import Plane, plane_table
from infoplane.errors import InfoplaneError
from infoplane.figures.convergence.order import BEYOND, order_caption
from infoplane.figures.convergence.order import convergence_order as draw_order
from infoplane.figures.convergence.profile import convergence_profile, profile_caption
from infoplane.figures.modified_plane import modified_plane, modified_plane_caption
from infoplane.figures.parts.captions import left_out_text, time_caption
from infoplane.figures.sensitivity import sensitivity, sensitivity_caption
from infoplane.figures.time import information_over_time

SETTINGS = ("n = 512", "mlp on mnist", "α = 1", "bandwidth median")


def times_table(**changes):
    """Times of the four layers of `estimates`, of two runs; the last layer is left out."""
    rows = [
        {"run": f"run{run}", "layer": f"layer{depth}", "depth": depth, "t50": time, "left_out": ""}
        for depth, pair in enumerate(((3, 10), (10, 30), (30, 99), (np.nan, np.nan)), start=1)
        for run, time in enumerate(pair)
    ]
    table = pd.DataFrame(rows)
    table.loc[table["layer"] == "layer4", "left_out"] = "constant in 1 of 2 runs"
    return table.assign(**changes)


def curves(quantity="I_XT_corrected", **options):
    """Eight planted layers, of which one cannot be used."""
    planted = made(UP, quantity, jitter=0.2, **options)
    planted.trouble[:3, 6] = "saturated at 40 of 40 snapshots"
    return planted


def profiles():
    return profile_table([curves(name) for name in ("I_XT_corrected", "cka")])


def orders():
    """Trained runs, their synchronous paths, what they add to these, and three runs without an order."""
    trained = [convergence_order(curves(name)) for name in ("I_XT_corrected", "cka")]
    path = [convergence_order(made((100,) * 8, name)) for name in ("I_XT_corrected", "cka")]
    few = [convergence_order(made((100,) * 8, name, runs=3)) for name in ("I_XT_corrected", "cka")]
    return order_table({
        "trained": trained, "synchronous path": path, "shuffled labels": few, BEYOND: [*map(beyond, trained, path)]
    })  # fmt: skip


def interactions(**changes):
    """A made-up table of the modified plane, of two layers."""
    rows = [
        {"depth": depth, "layer": f"conv{depth}", "step": step, "epoch": step / 100, "channels": 8, "pairs": 28}
        | {name: 0.3 * depth + 0.01 * place + 0.1 * k for k, name in enumerate(QUANTITIES)}
        for depth in (1, 2)
        for place, step in enumerate(STEPS)
    ]
    about = dict(
        zip(("dataset", "model", "n", "estimator", "alpha"), ("mnist", "mlp", 512, "renyi", 1.0), strict=True)
    )
    about |= {"kernel": "multivariate", "bandwidth": "median", "input_bandwidth": "median", "scope": "snapshot"}
    about |= {"batches": 0, "batch_size": 0, "runs": 3, "status": "ok", "uninformative": False}
    table = pd.DataFrame(rows).assign(**about)
    for name in QUANTITIES:
        table = table.assign(**{f"{name}_low": table[name] - 0.02, f"{name}_high": table[name] + 0.03})
    return table.assign(**changes)


def choices(runs=2):
    """A made-up table of sensitivity; the narrowest bandwidth is saturated."""
    parts = []
    for varied, values in {"bandwidth": (0.1, 1.0, 10.0), "n": (64, 512), "alpha": (1.0, 1.01, 2.0)}.items():
        for value in values:
            saturated = {(depth, 9) for depth in range(1, 5)} if value == 0.1 else ()
            rows = estimates(runs=runs, steps=(9,), saturated=saturated).assign(limit_XT=9.0, limit_TY=3.3)
            rows["alpha"] = value if varied == "alpha" else 1.0
            parts.append(plane_table(rows.assign(batches=0, batch_size=0)).assign(varied=varied, value=value))
    return pd.concat(parts, ignore_index=True)


def line(figure, gid):
    return next(iter(found(figure, gid)))


def test_time_marks_half_times_on_the_curves_and_run_by_run():
    figure = information_over_time(Plane(plane_table(estimates()), metrics()), times=times_table())
    seeds = {artist.get_gid(): list(artist.get_xdata()) for artist in found(figure, "seeds:layer")}
    assert [seeds[f"seeds:layer{depth}"] for depth in (1, 2, 3)] == [[3, 10], [10, 30], [30, 99]]
    medians = {"median:layer1": 6.5, "median:layer2": 20, "median:layer3": 64.5}
    assert {artist.get_gid(): artist.get_xdata()[0] for artist in found(figure, "median:")} == medians
    assert [artist.get_gid() for artist in found(figure, "time:")] == ["time:layer1", "time:layer2", "time:layer3"]
    curve = plane_table(estimates()).query("layer == 'layer2'").set_index("step")["I_XT_corrected"]
    share = np.log(21 / 11) / np.log(31 / 11)
    assert line(figure, "time:layer2").get_ydata()[0] == pytest.approx((1 - share) * curve[10] + share * curve[30])
    assert [text.get_gid() for text in found(figure, "left out:")] == ["left out:layer4"]
    assert_on_the_page(figure)


def test_turns_are_filled_only_where_they_are_established():
    rows = estimates(runs=3)
    turns = phases(trajectories(rows, "I_XT"))
    turns["phase"] = ["fitting, then compression", "fitting", "neither", "undecidable"]
    figure = information_over_time(Plane.of(rows), times=times_table(), turns=turns)
    drawn = found(figure, "turn:")
    assert [artist.get_xdata()[0] for artist in drawn] == turns["turn"].tolist()
    assert [artist.get_markerfacecolor() == "white" for artist in drawn] == [False, True, True, True]
    assert "Triangles: the highest point" in time_caption(plane_table(rows), times=times_table(), turns=turns)


def test_time_refuses_times_of_other_layers():
    with pytest.raises(InfoplaneError, match="different layers"):
        information_over_time(Plane.of(estimates(layers=3)), times=times_table())


def test_metrics_of_parts_of_the_network_are_not_drawn():
    columns = {"train_loss": 1.0, "validation_accuracy@conv1": 0.5, "train_loss@conv1": 1.0, "stage": 2.0}
    figure = information_over_time(Plane(plane_table(estimates()), metrics(**columns)))
    assert [artist.get_gid() for artist in found(figure, "metric:")] == ["metric:train_loss"]


def test_captions_name_layers_that_are_left_out():
    text = left_out_text(times_table())
    assert text == "Left out: layer4 (constant in 1 of 2 runs)."
    assert left_out_text(times_table(left_out="")) == ""
    caption = time_caption(plane_table(estimates()), times=times_table())
    assert "nearer to its end than half of the way" in caption
    assert text in caption


def test_the_profile_draws_the_table():
    table = profiles()
    figure = convergence_profile(table, profile_caption(table, estimates()))
    for mesh, quantity in zip(found(figure, "heat"), ("I_XT_corrected", "cka"), strict=True):
        wide = table[table["quantity"] == quantity].pivot(index="depth", columns="step", values="distance")
        wide = wide.where(wide.index.to_series() != 7, axis=0)
        np.testing.assert_allclose(mesh.get_array().filled(np.nan), wide.to_numpy())
    ticks = {artist.get_gid(): artist.get_xdata()[0] for artist in found(figure, "time:")}
    times = table[table["quantity"] == "cka"].groupby("layer")["t50"].first().drop("layer7")
    assert ticks == {f"time:{layer}": time for layer, time in times.items()}
    assert [artist.get_gid() for artist in found(figure, "dropped:")] == ["dropped:layer7"] * 2
    assert [axes.get_title() for axes in figure.findobj(matplotlib.axes.Axes)][:2] == [
        "I(X;T) − null",
        "linear CKA to the end",
    ]
    assert figure.get_size_inches()[0] == 6.75
    assert_on_the_page(figure)


def test_the_profile_caption_says_settings_and_what_is_left_out():
    table = profiles()
    text = profile_caption(table, estimates())
    for part in (*SETTINGS, "mean over 5 runs", "t50", "I(X;T) − null of layer7 (3 of 5 runs)"):
        assert part in text
    assert "No layer is left out" in profile_caption(table[table["layer"] != "layer7"], estimates())


def test_degenerate_profiles_are_refused():
    table = profiles()
    # With two snapshots, what is compared with the last one has one step.
    first = table[(table["step"] == 0) | ((table["quantity"] != "cka") & (table["step"] == table["step"].max()))]
    for rows in (table.iloc[:0], table[table["step"] == 0], first):
        with pytest.raises(InfoplaneError, match="at least 2 snapshots"):
            convergence_profile(rows)


def test_the_order_draws_each_run_the_slope_and_the_controls():
    table = orders()
    figure = draw_order(table, order_caption(table, estimates()))
    first = table[(table["group"] == "trained") & (table["quantity"] == "I_XT_corrected")]
    for depth, (layer, rows) in enumerate(first.groupby("layer"), start=1):
        drawn = line(figure, f"seeds:{layer}")
        np.testing.assert_array_equal(drawn.get_ydata(), rows["area"])
        assert drawn.get_xdata() == pytest.approx(np.full(5, depth), abs=0.2)
    ends = line(figure, "slope")
    rise = np.diff(ends.get_ydata()[[0, -1]]) / np.diff(ends.get_xdata()[[0, -1]])
    assert np.exp(rise[0]) == pytest.approx(first["factor"].iloc[0])
    means = first.groupby("depth")["area"].mean().dropna()
    assert line(figure, "means").get_ydata() == pytest.approx(means.to_numpy())
    titles = [axes.get_title() for axes in figure.findobj(matplotlib.axes.Axes)]
    assert [title.split("\n")[0] for title in titles[:3]] == ["trained", "synchronous path", "shuffled labels"]
    factor, low, high = first[["factor", "low", "high"]].iloc[0]
    assert titles[0].split("\n")[1] == f"×{factor:.2f} [{low:.2f}, {high:.2f}]"
    assert len(found(figure, "slope")) == 6
    assert line(figure, "slope").get_color() == "black"
    assert found(figure, "slope")[2].get_color() != "black"
    assert_on_the_page(figure)


def test_the_order_caption_says_settings_runs_and_what_training_adds():
    table = orders()
    text = order_caption(table, estimates())
    added = table[(table["group"] == BEYOND) & (table["quantity"] == "cka")]["factor"].iloc[0]
    for part in (
        *SETTINGS,
        "trained: 5 runs; synchronous path: 5 runs; shuffled labels: 3 runs.",
        f"linear CKA to the end ×{added:.2f}",
        "Left out: I(X;T) − null of layer7 (saturated at 40 of 40 snapshots in 3 of 5 runs)",
    ):
        assert part in text


def test_an_empty_order_is_refused():
    with pytest.raises(InfoplaneError, match="no rows"):
        draw_order(orders().iloc[:0])


def test_the_modified_plane_draws_the_table():
    table = interactions(uninformative=[False] * 7 + [True] + [False] * 8)
    figure = modified_plane(table)
    for points in found(figure, "points:"):
        rows = table[table["layer"] == points.get_gid().removeprefix("points:")]
        np.testing.assert_allclose(points.get_offsets(), rows[[*QUANTITIES[:2]]])
        assert hollow(points).tolist() == rows["uninformative"].tolist()
    axes = figure.findobj(matplotlib.axes.Axes)[0]
    assert axes.get_xlabel() == "redundancy − synergy (bits)"
    assert figure.get_size_inches()[0] == 3.25
    assert_on_the_page(figure)
    text = modified_plane_caption(table)
    for part in (*SETTINGS, "28 pairs", "3 runs", "multivariate kernel", "Hollow"):
        assert part in text


def test_a_modified_plane_without_maps_is_refused_and_a_dead_layer_is_named():
    with pytest.raises(InfoplaneError, match="no rows"):
        modified_plane(interactions().iloc[:0])
    with pytest.raises(InfoplaneError, match="two usable feature maps"):
        modified_plane(interactions(redundancy_synergy=np.nan))
    table = interactions()
    dead = table["layer"] == "conv2"
    table.loc[dead, [*QUANTITIES]] = np.nan
    table.loc[dead, "status"] = "under two usable maps"
    figure = modified_plane(table)
    legend = figure.findobj(matplotlib.legend.Legend)[0]
    assert "T2 conv2 (under two usable maps)" in [text.get_text() for text in legend.get_texts()]


def test_sensitivity_draws_the_table():
    table = choices()
    figure = sensitivity(table)
    grid = [axes for axes in figure.findobj(matplotlib.axes.Axes) if axes.get_lines()]
    assert len(grid) == 6
    for axes, (quantity, varied) in zip(
        grid, [(q, v) for q in ("I_XT", "I_TY") for v in ("bandwidth", "n", "alpha")], strict=True
    ):
        for depth in range(1, 5):
            rows = table[(table["varied"] == varied) & (table["depth"] == depth)]
            curve = next(one for one in axes.get_lines() if one.get_gid() == f"line:layer{depth}")
            assert list(curve.get_ydata()) == rows[quantity].tolist()
            places = [0, 1, 2] if varied == "alpha" else rows["value"].tolist()
            assert list(curve.get_xdata()) == places
            null = [one for one in axes.get_lines() if one.get_gid() == f"null:layer{depth}"]
            assert [list(one.get_ydata()) for one in null] == [rows[f"{quantity}_null"].tolist()]
    assert list(line(figure, "hollow:layer1").get_xdata()) == [0.1]
    assert [axes.get_xlabel() for axes in grid[3:]] == ["bandwidth (× median distance)", "samples n", "order α"]
    assert [label.get_text() for label in grid[5].get_xticklabels()] == ["1", "1.01", "2"]
    assert_on_the_page(figure)


def test_the_sensitivity_caption_says_what_is_varied_and_what_is_not():
    text = sensitivity_caption(choices())
    for part in (
        "mlp on mnist at step 9",
        "n = 512 (whole probe)",
        "α = 1;",
        "(512)",
        "2 runs",
        "the null, mean of 10 label permutations, and of",
        "permuted pairings of layer and input",
    ):
        assert part in text


def test_a_part_of_the_sensitivity_and_none():
    table = choices()
    figure = sensitivity(table[table["varied"] == "alpha"])
    assert len([axes for axes in figure.findobj(matplotlib.axes.Axes) if axes.get_lines()]) == 2
    for rows in (table.iloc[:0], table.assign(varied="weather")):
        with pytest.raises(InfoplaneError, match="sensitivity_table"):
            sensitivity(rows)
