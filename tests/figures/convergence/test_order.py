"""The figures over training time and of sensitivity: what is drawn equals the tables, and fits the page."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
import pytest
from figures_seen import STEPS, assert_on_the_page, estimates, found, hollow, metrics
from made_curves import STEPS as LONG
from made_curves import ramp
from made_curves import table as curves_table

from infoplane.analysis.convergence.order import depth_order
from infoplane.analysis.convergence.order_table import order_table
from infoplane.analysis.convergence.phases import phases
from infoplane.analysis.convergence.profile import profile_table
from infoplane.analysis.convergence.times import curves
from infoplane.analysis.modified_plane import QUANTITIES
from infoplane.analysis.plane import Plane, plane_table
from infoplane.errors import InfoplaneError
from infoplane.figures.convergence.order import convergence_order, order_caption
from infoplane.figures.convergence.profile import convergence_profile, profile_caption
from infoplane.figures.modified_plane import modified_plane, modified_plane_caption
from infoplane.figures.parts.captions import dropped_text, time_caption
from infoplane.figures.sensitivity import sensitivity, sensitivity_caption
from infoplane.figures.time import information_over_time

LAYERS = {"a": ramp(20), "b": ramp(150), "c": ramp(600), "flat": np.full(len(LONG), 3.0)}
SETTINGS = ("n = 512", "mlp on mnist", "α = 1", "bandwidth median")


def times_table(**changes):
    """Convergence times of the four layers of `estimates`, of two runs."""
    rows = [
        {"run": f"run{run}", "layer": f"layer{depth}", "depth": depth, "time": time, "dropped": ""}
        for depth, pair in enumerate(((3, 10), (10, 30), (30, np.inf), (np.nan, np.nan)), start=1)
        for run, time in enumerate(pair)
    ]
    table = pd.DataFrame(rows)
    table.loc[table["layer"] == "layer4", "dropped"] = "range 0.12 is within noise, which spans 0.3"
    return table.assign(**changes)


def profiles():
    return profile_table([curves(curves_table(LAYERS, quantity=name), name) for name in ("I_XT", "cka")])


def orders(drop="flat"):
    shuffled = dict.fromkeys(LAYERS, LAYERS["flat"])
    kept = {layer: curve for layer, curve in LAYERS.items() if layer != drop}
    sets = {"trained": kept, "shuffled labels": {layer: shuffled[layer] for layer in kept}}
    return order_table({
        group: [
            depth_order(curves(curves_table(layers, quantity=name), name), resamples=100, draws=10)
            for name in ("I_XT", "cka")
        ]
        for group, layers in sets.items()
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


def test_time_marks_convergence_on_the_curves_and_run_by_run():
    figure = information_over_time(Plane(plane_table(estimates()), metrics()), times=times_table())
    seeds = {artist.get_gid(): list(artist.get_xdata()) for artist in found(figure, "seeds:")}
    assert seeds == {"seeds:layer1": [3, 10], "seeds:layer2": [10, 30], "seeds:layer3": [30], "seeds:layer4": []}
    assert [len(artist.get_xdata()) for artist in found(figure, "never:layer3")] == [1]
    assert not found(figure, "never:layer1")
    assert {artist.get_gid(): artist.get_xdata()[0] for artist in found(figure, "median:")} == {
        "median:layer1": 10,
        "median:layer2": 30,
    }
    assert [artist.get_gid() for artist in found(figure, "time:")] == ["time:layer1", "time:layer2"]
    value = plane_table(estimates()).query("layer == 'layer1' and step == 10")["I_XT"].iloc[0]
    assert line(figure, "time:layer1").get_ydata()[0] == pytest.approx(value)
    assert [text.get_text() for text in found(figure, "dropped:")] == ["dropped in 2 of 2"]
    assert_on_the_page(figure)


def test_turns_are_filled_only_where_they_are_established():
    rows = estimates(runs=3)
    turns = phases(curves(rows, "I_XT"))
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


def test_captions_name_dropped_layers_without_their_numbers():
    text = dropped_text(times_table())
    assert text == "Dropped: layer4 (range within noise; 2 of 2 runs)."
    assert dropped_text(times_table(dropped="")) == ""
    still = times_table(dropped="never outside the tolerance (range 0.01)").query("depth == 1")
    assert dropped_text(still) == "Dropped: layer1 (never outside the tolerance; 2 of 2 runs)."
    caption = time_caption(plane_table(estimates()), times=times_table())
    assert "within 5 % of its range" in caption
    assert text in caption


def test_the_profile_draws_the_table():
    table = profiles()
    figure = convergence_profile(table, profile_caption(table, estimates()))
    for mesh, quantity in zip(found(figure, "heat"), ("I_XT", "cka"), strict=True):
        wide = table[table["quantity"] == quantity].pivot(index="depth", columns="step", values="distance")
        np.testing.assert_allclose(mesh.get_array().filled(np.nan), wide.to_numpy())
    ticks = {artist.get_gid(): artist.get_xdata()[0] for artist in found(figure, "time:")}
    times = table[table["quantity"] == "cka"].groupby("layer")["time"].first()
    assert ticks == {f"time:{layer}": time for layer, time in times.dropna().items()}
    assert [artist.get_gid() for artist in found(figure, "dropped:")] == ["dropped:flat"] * 2
    assert [axes.get_title() for axes in figure.findobj(matplotlib.axes.Axes)][:2] == [
        "I(X;T)",
        "linear CKA to the end",
    ]
    assert figure.get_size_inches()[0] == 6.75
    assert_on_the_page(figure)


def test_the_profile_of_what_never_converges_has_arrows():
    table = profiles().assign(time=np.inf)
    figure = convergence_profile(table)
    assert len(found(figure, "never:")) == 2 * 3
    assert not found(figure, "time:")


def test_the_profile_caption_says_settings_and_what_is_dropped():
    table = profiles()
    text = profile_caption(table, estimates())
    for part in (*SETTINGS, "mean over 5 runs", "within 5 %", "I(X;T) of flat (5 of 5 runs)"):
        assert part in text
    assert "No layer is dropped" in profile_caption(table[table["layer"] != "flat"], estimates())


def test_degenerate_profiles_are_refused():
    table = profiles()
    for rows in (table.iloc[:0], table[table["step"] == 0]):
        with pytest.raises(InfoplaneError, match="at least 2 snapshots"):
            convergence_profile(rows)


def test_the_order_draws_each_run_its_rho_and_the_controls():
    table = orders(drop="")
    figure = convergence_order(table, order_caption(table, estimates()))
    own = table[(table["group"] == "trained") & (table["quantity"] == "I_XT")]
    for layer, rows in own[own["dropped"] == ""].groupby("layer"):
        assert list(line(figure, f"seeds:{layer}").get_xdata()) == rows["time"].tolist()
    assert len(found(figure, "dropped:flat")) == 4
    assert len(found(figure, "rho:trained")[0].get_xdata()) == 5
    low, high = line(figure, "interval:trained").get_xdata()
    assert [low, high] == own[["low", "high"]].iloc[0].tolist()
    assert list(line(figure, "null").get_xdata()) == own[["null_low", "null_high"]].iloc[0].tolist()
    titles = [axes.get_title() for axes in figure.findobj(matplotlib.axes.Axes)]
    assert titles[0].startswith("trained\nρ = 1.00 [1.00, 1.00]\np = 0.167")
    assert titles[1] == "shuffled labels\nρ: too few usable layers"
    assert_on_the_page(figure)


def test_the_order_caption_says_settings_and_runs():
    text = order_caption(orders(), estimates())
    for part in (*SETTINGS, "trained: 5 runs; shuffled labels: 5 runs", "5 % of the range", "permuted layers"):
        assert part in text


def test_an_empty_order_is_refused():
    with pytest.raises(InfoplaneError, match="no rows"):
        convergence_order(orders().iloc[:0])


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
            assert [list(one.get_ydata()) for one in null] == [rows["I_TY_null"].tolist()] * (quantity == "I_TY")
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
        "10 label permutations",
    ):
        assert part in text


def test_a_part_of_the_sensitivity_and_none():
    table = choices()
    figure = sensitivity(table[table["varied"] == "alpha"])
    assert len([axes for axes in figure.findobj(matplotlib.axes.Axes) if axes.get_lines()]) == 2
    for rows in (table.iloc[:0], table.assign(varied="weather")):
        with pytest.raises(InfoplaneError, match="sensitivity_table"):
            sensitivity(rows)
