"""Tables behind the figures of a comparison, on run files with planted results."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from planted import BLOCKS, planted_comparison, planted_run

from infoplane.analysis.comparison.accuracy import (
    accuracy_table,
    block_switches,
    blocks_table,
    curves_table,
    depth_table,
)
from infoplane.analysis.comparison.classes import (
    class_labels,
    confusion_table,
    hardest_classes,
    mistaken_samples,
    per_class,
)
from infoplane.analysis.comparison.results import compared_runs, runs_table
from infoplane.analysis.comparison.sweep import sweep_tables
from infoplane.data import DATASETS
from infoplane.errors import MissingData
from infoplane.estimators.engine.estimate import estimate_run
from infoplane.estimators.renyi import RenyiSettings
from infoplane.execution import Execution

HIDDEN = dict(zip(BLOCKS, (0.5, 0.7, 0.9), strict=True))


def table_of(folder):
    return runs_table(compared_runs(folder))


def test_curves_of_every_classifier(tmp_path):
    path = planted_run(tmp_path / "greedy-ce" / "seed0.h5", 0.8, curve=[0.2, 0.8], stages=2)
    table = curves_table(runs_table([path]))
    assert table[["split", "block", "depth"]].drop_duplicates().to_numpy().tolist() == [
        ["test", "", 0], ["train", "", 0], ["test", "conv1", 1],
    ]  # fmt: skip
    deepest = table[(table["split"] == "test") & (table["block"] == "")]
    assert deepest["accuracy"].tolist() == [0.2, 0.8]
    assert deepest["stage"].tolist() == [0, 1]
    assert table[table["block"] == "conv1"]["accuracy"].tolist() == [0.1, 0.4]


def test_accuracy_is_averaged_over_seeds_where_all_were_measured(tmp_path):
    planted_run(tmp_path / "sgd" / "seed0.h5", curve=[0.1, 0.5, 0.9])
    planted_run(tmp_path / "sgd" / "seed1.h5", curve=[0.1, 0.7])
    table = accuracy_table(table_of(tmp_path))
    # The step half-way is in one run only.
    assert table["step"].tolist() == [0, 100]
    assert table["accuracy"].tolist() == pytest.approx([0.1, 0.8])
    assert table["seeds"].tolist() == [2, 2]
    assert table["accuracy_high"].isna().all()
    planted_run(tmp_path / "sgd" / "seed2.h5", curve=[0.1, 0.8])
    table = accuracy_table(table_of(tmp_path))
    assert table["accuracy_high"].iloc[1] == pytest.approx(0.8 + 0.1 / 3**0.5 * 4.302653, rel=1e-6)
    assert block_switches(table) == {}


def test_differences_are_paired_by_seed(tmp_path):
    # Seeds differ by more than methods: alone the pairs tell these apart.
    curves = {"sgd": [(0.1, 0.5, 0.9), (0.1, 0.6, 0.8), (0.1, 0.7, 0.7)], "a": [(0.1, 0.4, 0.88), (0.1, 0.5, 0.78)]}
    for name, values in curves.items():
        for seed, curve in enumerate(values):
            planted_run(tmp_path / name / f"seed{seed}.h5", curve=curve, method="sgd")
    table = accuracy_table(table_of(tmp_path).sort_values("variant", ascending=False))
    assert set(table["reference"]) == {"sgd"}
    gaps = table.set_index(["variant", "step"])["gap"]
    assert gaps["a"].tolist() == pytest.approx([0, -0.1, -0.02])
    assert gaps["sgd"].isna().all()
    assert table["gap_low"].isna().all()
    planted_run(tmp_path / "a" / "seed2.h5", curve=(0.1, 0.6, 0.71), method="sgd")
    table = accuracy_table(table_of(tmp_path).sort_values("variant", ascending=False))
    last = table.set_index(["variant", "step"]).loc[("a", 100)]
    mean, error = np.mean([-0.02, -0.02, 0.01]), np.std([-0.02, -0.02, 0.01], ddof=1) / 3**0.5
    assert [last["gap"], last["gap_high"]] == pytest.approx([mean, mean + 4.302653 * error], rel=1e-6)


def test_after_its_end_a_reference_stays_as_it_was(tmp_path):
    planted_run(tmp_path / "sgd" / "seed0.h5", curve=[0.1, 0.9], epochs=10)
    runs = table_of(tmp_path)
    longer = {"step": [0, 50, 100, 150], "epoch": [0, 5, 10, 15], "test_accuracy": [0.1, 0.4, 0.6, 0.8]}
    other = runs.assign(variant="b", method="greedy-ce", curves=json.dumps(longer))
    table = accuracy_table(pd.concat([runs, other], ignore_index=True)).set_index(["variant", "epoch"])["gap"]
    # Where the reference has no snapshot there is no difference.
    np.testing.assert_allclose(table["b"], [0, np.nan, -0.3, -0.1])


def test_a_validation_split_is_named(tmp_path):
    planted_run(tmp_path / "sgd" / "seed0.h5", curve=[0.1, 0.6], validation=0.2)
    assert set(accuracy_table(table_of(tmp_path))["split"]) == {"validation"}


def test_blocks_switch_after_equal_parts(tmp_path):
    planted_run(tmp_path / "greedy-ce" / "seed0.h5", curve=[0.1] * 9, stages=4)
    planted_run(tmp_path / "sgd" / "seed0.h5")
    assert block_switches(accuracy_table(table_of(tmp_path))) == {"greedy-ce": [2.5, 5.0, 7.5]}


def test_accuracy_over_depth(tmp_path):
    settings = {"greedy-ce": {"blocks": HIDDEN}, "hsic": {"blocks": {**HIDDEN, "conv1": None, "conv2": None}}}
    planted_comparison(tmp_path, {"sgd": [0.95, 0.97], "greedy-ce": [0.9], "hsic": [0.8]}, **settings)
    table = depth_table(table_of(tmp_path)).set_index(["variant", "block"])
    assert table.loc["greedy-ce", "depth"].tolist() == [1, 2, 3]
    assert table.loc["greedy-ce", "accuracy"].tolist() == [0.5, 0.7, 0.9]
    # To the network with the same seed, not to the mean of all.
    assert table.loc["greedy-ce", "gap"].tolist() == pytest.approx([-0.45, -0.25, -0.05])
    assert np.isnan(table.loc[("sgd", "network"), "gap"])
    assert np.isnan(table.loc[("sgd", "network"), "depth"])
    assert table.loc[("sgd", "network"), "accuracy"] == pytest.approx(0.96)
    # Blocks without a classifier have no row.
    assert table.loc["hsic"].index.tolist() == ["logits"]
    assert len(blocks_table(table_of(tmp_path))) == 2 + 3 + 3


def test_merged_blocks_stand_where_they_end(tmp_path):
    merged = {"blocks": {"conv2": 0.6, "logits": 0.9}}
    planted_comparison(
        tmp_path, {"greedy-ce": [0.9], "merged": [0.9]},
        **{"greedy-ce": {"blocks": HIDDEN}, "merged": {**merged, "method": "greedy-ce"}},
    )  # fmt: skip
    table = depth_table(table_of(tmp_path)).set_index("variant")
    assert table.loc["merged", "depth"].tolist() == [2, 3]


def test_without_layer_wise_methods_there_is_no_depth(tmp_path):
    planted_comparison(tmp_path, {"sgd": [0.9], "sgd-checkpoint": [0.9]})
    with pytest.raises(MissingData, match="no layer-wise method"):
        depth_table(table_of(tmp_path))


def dib(folder, beta, accuracies, noise, **settings):
    for seed, value in enumerate(accuracies):
        path = folder / f"greedy-dib-beta{beta:g}" / f"seed{seed}.h5"
        planted_run(path, value, method="greedy-dib", beta=(beta,), noise=noise, **settings)


def test_a_sweep(tmp_path):
    dib(tmp_path, 0.0, [0.8, 0.9], noise=0.5)
    dib(tmp_path, 0.1, [0.6, 0.7], noise=0.05)
    planted_comparison(tmp_path, {"sgd": [0.95]})
    tables = sweep_tables(table_of(tmp_path), tmp_path, RenyiSettings(), execution=Execution(1))
    assert list(tables) == ["greedy-dib"]
    table = tables["greedy-dib"]
    accuracy = table[table["quantity"] == "test_accuracy"].set_index("variant")["value"]
    assert accuracy.to_dict() == pytest.approx({"greedy-dib-beta0": 0.85, "greedy-dib-beta0.1": 0.65, "sgd": 0.95})
    assert table[table["variant"] == "sgd"]["beta"].isna().all()
    hidden = table[table["quantity"] == "S_T"]
    assert set(hidden["layer"]) == {"conv1", "conv2"}
    # Samples of one class that come to lie together have less entropy; the value is that of the last snapshot.
    blurred, sharp = (hidden[hidden["beta"] == beta].set_index("layer")["value"] for beta in (0.0, 0.1))
    assert (sharp < blurred).all()
    last = [
        estimate_run(path, RenyiSettings(), execution=Execution(1))
        for path in (tmp_path / "greedy-dib-beta0").glob("*.h5")
    ]
    ends = [one[(one["step"] == 100) & (one["layer"] == "conv1")]["S_T"].item() for one in last]
    assert blurred["conv1"] == pytest.approx(np.mean(ends))


def test_only_the_last_snapshot_is_estimated(tmp_path):
    path = planted_run(tmp_path / "sgd" / "seed0.h5", curve=[0.1, 0.5, 0.9])
    last = estimate_run(path, RenyiSettings(), last=True, execution=Execution(1))
    assert set(last["step"]) == {100}
    stored = path.with_name("seed0.estimates.csv").read_text()
    assert len(stored.splitlines()) == 1 + len(BLOCKS)
    everything = estimate_run(path, RenyiSettings(), execution=Execution(1))
    assert set(everything["step"]) == {0, 50, 100}
    ends = everything[everything["step"] == 100]
    assert ends["I_XT"].tolist() == last["I_XT"].tolist()


def test_what_is_no_sweep(tmp_path):
    dib(tmp_path, 0.0, [0.8], noise=0.5)
    with pytest.raises(MissingData, match="no β sweep"):
        sweep_tables(table_of(tmp_path), tmp_path, RenyiSettings())
    # With another learning rate it is another method, unless each has the best of as many trials.
    dib(tmp_path, 0.1, [0.8], noise=0.5, lr=0.3)
    with pytest.raises(MissingData, match="no β sweep"):
        sweep_tables(table_of(tmp_path), tmp_path, RenyiSettings())
    tuned = table_of(tmp_path).assign(lr_trials=3)
    assert list(sweep_tables(tuned, tmp_path, RenyiSettings(), execution=Execution(1))) == ["greedy-dib"]


def test_a_variant_of_other_settings_is_no_point_of_a_sweep(tmp_path):
    dib(tmp_path, 0.0, [0.8], noise=0.5)
    dib(tmp_path, 0.1, [0.6], noise=0.05)
    planted_run(tmp_path / "permuted" / "seed0.h5", 0.7, method="greedy-dib", beta=(0.1,), correction="permuted")
    [table] = sweep_tables(table_of(tmp_path), tmp_path, RenyiSettings(), execution=Execution(1)).values()
    assert table[table["variant"] == "permuted"]["beta"].isna().all()
    assert (table["variant"] == "permuted").sum() == 1


def test_confusions_are_summed_over_seeds(tmp_path):
    planted_comparison(tmp_path, {"sgd": [0.9, 0.7]})
    table = confusion_table(table_of(tmp_path))
    counts = table.pivot(index="true", columns="predicted", values="count").to_numpy()
    # Of 200 samples 20 and 60 are wrong, equally many of each class, and taken for the next class.
    assert np.diag(counts).tolist() == [80] * 4
    assert [counts[k, (k + 1) % 4] for k in range(4)] == [20] * 4
    assert counts.sum() == 400
    assert table["share"].max() == pytest.approx(0.8)


def test_accuracy_of_each_class(tmp_path):
    planted_comparison(tmp_path, {"sgd": [0.9, 0.7]})
    table = per_class(table_of(tmp_path)).set_index("class")
    assert table["support"].tolist() == [50] * 4
    assert table["accuracy"].tolist() == pytest.approx([0.8] * 4)
    assert table["accuracy_sd"].tolist() == pytest.approx([0.02**0.5] * 4)
    assert table["taken_for"].tolist() == [1, 2, 3, 0]
    assert table["taken_for_share"].tolist() == pytest.approx([0.2] * 4)
    assert table["iou"].isna().all()


def test_classes_are_called_by_what_the_run_or_its_data_set_says(tmp_path, monkeypatch):
    names = ("left", "right", "stop\x1b[0m", "go")
    path = planted_run(tmp_path / "sgd" / "seed0.h5", names=names)
    runs = runs_table([path])
    expected = ["0 left", "1 right", "2 stop\\x1b[0m", "3 go"]
    assert class_labels(runs, 4) == expected
    table = per_class(runs)
    assert table["name"].tolist() == expected
    assert table["taken_for_name"].tolist() == expected[1:] + expected[:1]
    assert confusion_table(runs).drop_duplicates("true")["true_name"].tolist() == expected
    # An older file knows no names, and those of other data with as many classes are not guessed.
    older = runs.drop(columns="class_names")
    assert class_labels(older, 4) == ["0", "1", "2", "3"]
    monkeypatch.setitem(DATASETS, "digits", replace(DATASETS["digits"], class_names=("a", "b", "c", "d")))
    assert class_labels(older, 4) == ["0 a", "1 b", "2 c", "3 d"]
    assert class_labels(older.assign(class_names=""), 4) == ["0 a", "1 b", "2 c", "3 d"]
    assert class_labels(older, 3) == ["0", "1", "2"]


def test_box_overlap_of_each_class(tmp_path):
    planted_run(tmp_path / "sgd" / "seed0.h5", boxes=True, dataset="gtsrb", task="classes+boxes")
    table = per_class(table_of(tmp_path)).set_index("class")
    # Half a box too wide: 2/3.
    assert table["iou"].tolist() == pytest.approx([1, 2 / 3, 2 / 3, 2 / 3])


def test_hard_classes_and_their_samples(tmp_path):
    paths = [planted_run(tmp_path / "sgd" / f"seed{k}.h5", accuracy) for k, accuracy in enumerate((0.995, 0.99))]
    classes = per_class(runs_table(paths))
    assert hardest_classes(classes) == [0, 1]
    table = mistaken_samples(paths, [0, 1], 2)
    # The planted mistakes are in the first samples: one run is wrong in sample 0, the other in 0 and 1.
    assert table[["class", "index", "wrong"]].to_numpy().tolist() == [[0, 0, 2], [0, 4, 0], [1, 1, 1], [1, 5, 0]]
    perfect = planted_run(tmp_path / "perfect" / "seed0.h5", 1.0, method="sgd")
    with pytest.raises(MissingData, match="none is hard"):
        hardest_classes(per_class(runs_table([perfect])))


def test_one_failure_says_nothing_about_classes(tmp_path):
    planted_comparison(tmp_path, {"sgd": [0.995], "greedy-ce": [0.995], "predsim": [0.1]})
    assert hardest_classes(per_class(table_of(tmp_path))) == [0]
