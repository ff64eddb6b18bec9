"""The analysis table: known means, thresholds exactly at their borders, and refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from infoplane.analysis.plane import (
    FLAGS,
    average_batches,
    mark_saturation,
    metrics_table,
    plane_table,
    saturation_summary,
)
from infoplane.errors import InfoplaneError

LOG_N = 9.0
H_Y = 2.0
PEDESTAL = {"I_XT_null": 3.0, "I_XT_null_std": 0.01, "input_permutations": 0}


def row(run="a", step=0, layer="fc", depth=1, i_xt=5.0, i_ty=1.0, null=0.2, status="ok", **other):
    """One estimate of a run with n = 512 and four classes."""
    values = {"I_XT": i_xt, "I_TY": i_ty, "I_TY_null": null, "I_TY_corrected": i_ty - null, "S_T": 6.0}
    values |= {"I_TY_null_std": 0.05, "S_X": 8.5, "sigma_T": 1.0, "sigma_X": 1.0}
    if status != "ok":
        values = dict.fromkeys(values, np.nan)
    settings = {"estimator": "renyi", "alpha": 1.0, "kernel": "gaussian", "bandwidth": "median"}
    settings |= {"scope": "snapshot", "input_bandwidth": "median", "permutations": 10}
    data = {"dataset": "mnist", "model": "mlp", "n": 512, "classes": 4, "seed": 0, "features": 10, "S_Y": H_Y}
    place = {"run": run, "snapshot": step, "step": step, "epoch": step / 10, "layer": layer, "depth": depth}
    return {**settings, **data, **place, **values, "status": status, **other}


def frame(*rows):
    return pd.DataFrame(list(rows))


@pytest.mark.parametrize(
    ("values", "flag", "expected"),
    [
        ({"i_xt": 0.99 * LOG_N}, "saturated_x", True),
        ({"i_xt": 0.99 * LOG_N - 1e-6}, "saturated_x", False),
        ({"i_xt": LOG_N}, "saturated_x", True),
        ({"i_ty": 0.99 * H_Y}, "saturated_y", True),
        ({"i_ty": 0.99 * H_Y - 1e-6}, "saturated_y", False),
        ({"i_ty": 0.2 + 2 * 0.05}, "at_null", True),
        ({"i_ty": 0.2 + 2 * 0.05 + 5e-10}, "at_null", True),
        ({"i_ty": 0.2 + 2 * 0.05 + 1e-6}, "at_null", False),
        ({"i_ty": 0.2, "I_TY_null_std": np.nan}, "at_null", True),
        ({"i_ty": 0.0, "null": np.nan}, "at_null", False),
        # Of 2 pairings, as from n = 500 on, 7.73 deviations are chance, of 10 they are 1.92.
        ({"i_xt": 3.077, **PEDESTAL}, "at_null_x", True),
        ({"i_xt": 3.078, **PEDESTAL}, "at_null_x", False),
        ({"i_xt": 3.019, **PEDESTAL, "input_permutations": 10}, "at_null_x", True),
        ({"i_xt": 3.020, **PEDESTAL, "input_permutations": 10}, "at_null_x", False),
        ({"i_xt": 3.019, **PEDESTAL, "input_permutations": np.nan}, "at_null_x", True),
        ({"i_xt": 3.020, **PEDESTAL, "input_permutations": np.nan}, "at_null_x", False),
        ({"i_xt": 0.0, **PEDESTAL, "I_XT_null": np.nan}, "at_null_x", False),
    ],
)
def test_thresholds(values, flag, expected):
    marked = mark_saturation(frame(row(**values))).iloc[0]
    assert marked[flag] == expected
    assert marked["uninformative"] == expected


def test_an_informative_point_has_no_flag():
    marked = mark_saturation(frame(row()))
    assert not marked[[*FLAGS]].to_numpy().any()


@pytest.mark.parametrize("status", ["constant", "not finite", "no bandwidth"])
def test_unmeasured_is_never_saturated(status):
    marked = mark_saturation(frame(row(status=status)))
    assert not marked["uninformative"].any()
    assert marked["status"].iloc[0] == status


def test_marking_leaves_the_input_alone():
    estimates = frame(row())
    before = estimates.copy()
    mark_saturation(estimates)
    pd.testing.assert_frame_equal(estimates, before)


def test_means_and_deviations():
    table = plane_table(frame(row("a", i_xt=4.0, i_ty=1.0), row("b", i_xt=6.0, i_ty=1.5))).iloc[0]
    assert table["I_XT"] == 5.0
    assert table["I_XT_sd"] == pytest.approx(np.sqrt(2))
    assert table["I_TY"] == 1.25
    assert table["I_TY_corrected"] == pytest.approx(1.05)
    assert (table["runs"], table["n"], table["status"], table["bandwidth"]) == (2, 512, "ok", "median")


def test_one_run_has_no_deviation():
    table = plane_table(frame(row()))
    assert table.filter(like="_sd").isna().to_numpy().all()
    assert table["runs"].tolist() == [1]


def test_only_common_steps_sorted_by_depth_and_step():
    rows = [
        row(run, step, layer, depth) for run in "ab" for layer, depth in (("out", 2), ("in", 1)) for step in (5, 0)
    ]
    table = plane_table(frame(*rows, row("a", 9, "in", 1), row("a", 9, "out", 2)))
    assert list(zip(table["layer"], table["step"], strict=True)) == [("in", 0), ("in", 5), ("out", 0), ("out", 5)]


def test_uninformative_in_half_of_the_runs():
    half = plane_table(frame(row("a", i_xt=LOG_N), row("b")))
    third = plane_table(frame(row("a", i_xt=LOG_N), row("b"), row("c")))
    assert half[["saturated_x", "uninformative"]].to_numpy().all()
    assert not third["uninformative"].any()


def test_an_unmeasured_run_is_left_out_of_mean_and_count():
    table = plane_table(frame(row("a", i_xt=4.0), row("b", status="constant"))).iloc[0]
    assert (table["I_XT"], table["runs"], table["status"]) == (4.0, 1, "constant")


def test_an_unmeasured_layer_stays_as_nan():
    table = plane_table(frame(row(status="not finite"))).iloc[0]
    assert np.isnan(table["I_XT"])
    assert (table["runs"], table["status"], table["uninformative"]) == (0, "not finite", False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 256}, "depend on the probe size"),
        ({"dataset": "cifar10"}, "differ in dataset"),
        ({"model": "cnn"}, "differ in model"),
        ({"classes": 10}, "differ in classes"),
        ({"alpha": 2.0}, "differ in alpha"),
        ({"bandwidth": "silverman"}, "differ in bandwidth"),
        ({"permutations": 5}, "differ in permutations"),
        ({"layer": "conv"}, "different layers"),
        ({"step": 7}, "no training step in common"),
    ],
)
def test_mixtures_are_refused(change, message):
    with pytest.raises(InfoplaneError, match=message) as caught:
        plane_table(frame(row("a"), row("b", **change)))
    assert "\n" not in str(caught.value)


def test_empty_and_foreign_tables_are_refused():
    with pytest.raises(InfoplaneError, match="no estimates"):
        plane_table(frame(row()).iloc[:0])
    with pytest.raises(InfoplaneError, match="lack permutations"):
        plane_table(frame(row()).drop(columns="permutations"))


def test_an_undefined_setting_is_one_setting():
    assert len(plane_table(frame(row("a", alpha=np.nan), row("b", alpha=np.nan)))) == 1


def test_metrics():
    rows = [{"run": run, "snapshot": 0, "step": step, "epoch": 0.5, "test_loss": loss, "note": "x"}
            for run, step, loss in (("a", 1, 1.0), ("b", 1, 3.0), ("a", 2, 9.0))]  # fmt: skip
    table = metrics_table(pd.DataFrame(rows))
    assert table.columns.tolist() == ["step", "epoch", "runs", "test_loss", "test_loss_sd"]
    assert table.iloc[0].tolist() == pytest.approx([1, 0.5, 2, 2.0, np.sqrt(2)])
    assert len(table) == 1


def test_metrics_may_have_no_metric():
    table = metrics_table(pd.DataFrame({"run": ["a"], "snapshot": [0], "step": [0], "epoch": [0.0]}))
    assert table.columns.tolist() == ["step", "epoch", "runs"]


def test_status_is_at_null_where_the_figure_is_hollow_for_it():
    none = row("a", i_ty=0.2, status="ok") | {"status": "at null"}
    table = plane_table(frame(none, row("b"), row("c")))
    assert table["status"].tolist() == ["ok"]
    table = plane_table(frame(none, row("b", i_ty=0.25)))
    assert table["status"].tolist() == ["at null"]
    assert table["at_null"].tolist() == [True]
    assert table["runs"].tolist() == [2]
    assert plane_table(frame(none, row("b", status="constant")))["status"].tolist() == ["constant"]


def test_the_mean_of_batches_has_a_status_of_its_own():
    # Each batch is near its null by chance; their mean, held against the mean null, is not.
    near = {"i_ty": 0.29, "status": "ok"}
    rows = [row(batch=0, **near) | {"status": "at null"}, row(batch=1, i_ty=0.9)]
    assert average_batches(frame(*rows))["status"].tolist() == ["ok"]
    rows[1] = row(batch=1, **near) | {"status": "at null"}
    assert average_batches(frame(*rows))["status"].tolist() == ["at null"]
    assert average_batches(frame(rows[0], row(batch=1, status="not finite")))["status"].tolist() == ["not finite"]


def test_summary_in_words():
    conv = [row(step=step, layer="conv", i_xt=LOG_N if step < 2 else 5.0) for step in range(3)]
    head = [row(step=step, layer="head", depth=2, i_ty=0.2 if step else 1.0) for step in range(3)]
    dead = [row(step=step, layer="dead", depth=3, status="constant" if step == 1 else "ok") for step in range(3)]
    head[1]["status"] = head[2]["status"] = "at null"
    assert saturation_summary(plane_table(frame(*conv, *head, *dead))) == [
        "conv: I(X;T) saturated at log2 n = 9.00 bits at 2 of 3 snapshots",
        "head: I(T;Y) no better than its permuted null at 2 of 3 snapshots",
        "dead: constant at step 1",
    ]


def test_summary_of_informative_layers_is_empty():
    assert saturation_summary(plane_table(frame(row()))) == []


def batched(run, values):
    return [row(run, i_xt=value, batch=batch) for batch, value in enumerate(values)]


def test_batches_are_averaged_within_runs_first():
    rows = frame(*batched("a", [1.0, 2.0, 3.0]), *batched("b", [4.0, 4.0, 7.0]))
    means = average_batches(rows)
    assert means["I_XT"].tolist() == [2.0, 5.0]
    np.testing.assert_allclose(means["I_XT_se"], [1 / np.sqrt(3), 1.0])
    table = plane_table(rows).iloc[0]
    assert table["I_XT"] == 3.5
    assert table["I_XT_sd"] == pytest.approx(np.std([2, 5], ddof=1))
    assert table["I_XT_se"] == pytest.approx(np.hypot(1 / np.sqrt(3), 1.0) / 2)
    assert table[["I_XT_low", "I_XT_high"]].isna().all()
    assert (table["runs"], table["n"]) == (2, 512)


def test_intervals_are_over_runs_or_over_the_batches_of_one():
    runs = {"a": [1.0, 2.0, 3.0], "b": [4.0, 4.0, 7.0], "c": [3.0, 3.0, 6.0]}
    table = plane_table(frame(*(row for name, values in runs.items() for row in batched(name, values)))).iloc[0]
    expected = stats.t.interval(0.95, 2, loc=11 / 3, scale=stats.sem([2, 5, 4]))
    assert (table["I_XT_low"], table["I_XT_high"]) == pytest.approx(expected)
    table = plane_table(frame(*batched("a", [1.0, 2.0, 3.0]))).iloc[0]
    expected = stats.t.interval(0.95, 2, loc=2, scale=1 / np.sqrt(3))
    assert (table["I_XT_low"], table["I_XT_high"]) == pytest.approx(expected)


def test_one_run_without_batches_has_no_interval():
    table = plane_table(frame(row()))
    assert table[["I_XT_low", "I_XT_high", "I_XT_se"]].isna().all(axis=None)


def test_an_estimator_without_limits_is_never_saturated():
    marked = mark_saturation(frame(row(i_xt=20.0, i_ty=5.0, limit_XT=np.nan, limit_TY=np.nan)))
    assert not marked[["saturated_x", "saturated_y"]].any(axis=None)
    marked = mark_saturation(frame(row(i_xt=7.0, i_ty=1.0, limit_XT=7.05, limit_TY=2.0)))
    assert marked["saturated_x"].all()


def test_a_layer_without_an_estimate_on_one_batch_has_no_mean():
    lacking = [row("a", batch=0, i_xt=1.0), row("a", batch=1, status="constant")]
    means = average_batches(frame(*lacking))
    assert means["status"].tolist() == ["constant"]
    assert means[["I_XT", "I_XT_se", "I_TY", "I_TY_corrected"]].isna().all(axis=None)
    table = plane_table(frame(*lacking, row("b", batch=0, i_xt=5.0), row("b", batch=1, i_xt=7.0)))
    assert table["runs"].tolist() == [1]
    assert table["I_XT"].tolist() == [6.0]
    assert table["I_XT_se"].tolist() == [1.0]
    # Of one run alone nothing is drawn.
    alone = plane_table(frame(*lacking))
    assert alone["runs"].tolist() == [0]
    assert alone[["I_XT", "I_XT_se", "I_XT_low"]].isna().all(axis=None)
