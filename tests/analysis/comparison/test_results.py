"""`results.csv`: what a row holds, how rows are kept, merged and refused, and that it does without run files."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
from planted import CLASSES, planted_comparison, planted_run

from infoplane.analysis.comparison import results
from infoplane.analysis.comparison.information import add_informations, informations
from infoplane.analysis.comparison.methods import comparison_table, cost_table, first_reference
from infoplane.analysis.comparison.results import (
    MEASURES,
    NAME,
    compared_runs,
    folder_table,
    merge_results,
    read_results,
    refuse_mixture,
    refuse_unlike,
    runs_table,
    save_results,
    subject,
    subjects,
    update_results,
)
from infoplane.errors import InfoplaneError
from infoplane.estimators.engine.estimate import estimate_run
from infoplane.estimators.renyi import RenyiSettings
from infoplane.execution import Execution
from infoplane.reporting.methods import show
from infoplane.reporting.settings import TRAINING
from infoplane.runfile import Run, trial_path, trials_of
from infoplane.settings import settings_of
from infoplane.trainers.settings import LAYERWISE, MODEL, OPTIMISATION, TrainingSettings


def test_runs_of_a_folder(tmp_path):
    planted_comparison(tmp_path, {"sgd": [0.9] * 11, "greedy-ce": [0.8]})
    planted_run(tmp_path / "greedy-dib-beta0.01" / "seed0.h5", method="greedy-dib", beta=(0.01,))
    planted_run(tmp_path / "greedy-dib-beta0.001" / "seed0.h5", method="greedy-dib", beta=(0.001,))
    paths = compared_runs(tmp_path)
    names = list(dict.fromkeys(path.parent.name for path in paths))
    assert names == ["greedy-ce", "greedy-dib-beta0.001", "greedy-dib-beta0.01", "sgd"]
    assert [path.stem for path in paths if path.parent.name == "sgd"] == [f"seed{k}" for k in range(11)]
    table = runs_table(paths)
    assert table.loc[table["variant"] == "greedy-dib-beta0.01", "beta"].tolist() == [0.01]
    assert table.loc[table["variant"] == "sgd", "saved_bytes"].isna().all()
    assert (table["subject"] == "cnn on digits").all()
    costs = cost_table(table).set_index("variant")
    assert costs.loc["sgd", "seeds"] == 11
    assert costs.loc["sgd", "peak_bytes"] == 3 * 2**20


def test_unfinished_runs_are_left_out(tmp_path):
    planted_comparison(tmp_path, {"sgd": [0.9, 0.8]})
    planted_run(tmp_path / "sgd" / "seed2.h5", finished=False)
    assert runs_table(compared_runs(tmp_path))["seed"].tolist() == [0, 1]
    planted_run(tmp_path / "other" / "sgd" / "seed2.h5", finished=False)
    with pytest.raises(InfoplaneError, match="no run is finished yet"):
        folder_table(tmp_path / "other")


@pytest.mark.parametrize(
    "change",
    [{"dataset": "mnist"}, {"image_size": 16}, {"train_size": 100}, {"validation": 0.1}, {"augment": "flip"}],
)
def test_other_data_are_no_comparison(tmp_path, change):
    planted_comparison(tmp_path, {"sgd": [0.9], "greedy-ce": [0.8]}, **{"greedy-ce": change})
    with pytest.raises(InfoplaneError, match=f"differs from .* in {next(iter(change))}"):
        folder_table(tmp_path)


def test_networks_and_shuffled_labels_can_be_compared_and_the_caption_names_them_all(tmp_path):
    shuffled = {"method": "sgd", "permute_labels": 1.0, "train_size": 500}
    own = {"chain": {"method": "sgd", "model": "chain"}, "shuffled": shuffled}
    planted_comparison(tmp_path, {"sgd": [0.9], "chain": [0.8], "shuffled": [0.1]}, **own)
    table = comparison_table(folder_table(tmp_path))
    every = "cnn on digits, chain on digits, cnn on digits (500 training samples, 100 % of labels permuted)"
    assert subjects(table) == every
    assert f"Methods of training {every} against sgd" in show(table, 0.01)[1]


def test_variants_may_train_otherwise_but_not_their_repetitions(tmp_path):
    other = {"lr": 0.3, "batch_size": 32, "epochs": 20, "order": "sequential"}
    planted_comparison(tmp_path, {"sgd": [0.9], "greedy-ce": [0.8]}, **{"greedy-ce": other})
    assert len(folder_table(tmp_path)) == 2
    planted_run(tmp_path / "sgd" / "seed1.h5", 0.9, lr=0.2)
    with pytest.raises(InfoplaneError, match=r"seed1\.h5 differs from .*seed0\.h5 in lr.*repetitions"):
        folder_table(tmp_path)


def test_an_empty_folder_says_what_to_do(tmp_path):
    with pytest.raises(InfoplaneError, match="make one: infoplane compare"):
        folder_table(tmp_path)


def test_subjects_in_words():
    config = {"model": "vgg6", "dataset": "gtsrb", "image_size": 16, "train_size": 1500, "task": "classes+boxes"}
    assert subject(config) == "vgg6 on gtsrb (16×16, 1,500 training samples, with boxes)"
    config = {"model": "cnn", "dataset": "digits", "validation": 0.1, "permute_labels": 1.0, "augment": "flip"}
    assert subject(config) == "cnn on digits (10 % held out, 100 % of labels permuted, augmentation flip)"


def test_a_row_holds_scores_costs_and_settings(tmp_path):
    path = planted_run(tmp_path / "dib" / "seed3.h5", 0.9, method="greedy-dib", beta=(0.5,), validation=0.1)
    row = runs_table([path]).iloc[0]
    assert (row["variant"], row["method"], row["seed"], row["dataset"]) == ("dib", "greedy-dib", 3, "digits")
    assert (row["run"], row["test_accuracy"], row["validation_accuracy"]) == ("dib/seed3.h5", 0.9, 0.9)
    # 10 epochs of 1,000 samples in 5 seconds.
    assert row["images_per_second"] == 2000
    assert set(MEASURES) <= set(row.index)
    settings = {
        name: row[f"setting.{name}"] for name in ("beta", "lr", "validation", "train_size", "loss_bandwidth")
    }
    assert settings == {
        "beta": "[0.5]", "lr": "0.1", "validation": "0.1", "train_size": "", "loss_bandwidth": "knn:10",
    }  # fmt: skip
    assert "setting.data_root" not in row
    assert json.loads(row["class_accuracy"]) == pytest.approx([0.9] * CLASSES)
    assert np.trace(json.loads(row["confusion"])) == 180


def test_a_file_reads_as_it_was_written(tmp_path):
    config = {"greedy-ce": {"augment": "flip"}, "sgd": {"augment": "flip", "curve": [float("nan"), 0.5]}}
    planted_comparison(tmp_path, {"sgd": [0.9, 0.8], "greedy-ce": [0.7]}, **config)
    table = update_results(tmp_path)
    pd.testing.assert_frame_equal(read_results(tmp_path), table, check_dtype=False)
    assert read_results(tmp_path / NAME)["setting.snapshots"].tolist() == ["40"] * 3


def test_tables_of_the_file_are_those_of_the_run_files(infoplane, tmp_path):
    local = {"blocks": {"conv1": 0.5, "conv2": 0.7, "logits": 0.9}}
    settings = {
        f"greedy-dib-beta{beta:g}": {**local, "method": "greedy-dib", "beta": (beta,)} for beta in (0.0, 0.1)
    }
    planted_comparison(tmp_path / "c", {"sgd": [0.9, 0.8], **{name: [0.7, 0.6] for name in settings}}, **settings)
    add_informations(update_results(tmp_path / "c"), tmp_path / "c", execution=Execution(1))
    code, _, complaint = infoplane("plot", "c", "-o", "before", "--jobs", 1)
    assert code == 0, complaint
    for folder in [path for path in (tmp_path / "c").iterdir() if path.is_dir()]:
        shutil.rmtree(folder)
    code, _, complaint = infoplane("plot", "c", "-o", "after", "--jobs", 1)
    assert (code, complaint) == (0, "")
    names = {path.name for path in (tmp_path / "before").glob("*.csv")}
    assert names >= {"accuracy.csv", "costs.csv", "depth.csv", "sweep.csv", "classes.csv", "confusion-sgd.csv"}
    for name in names:
        left, right = (pd.read_csv(tmp_path / folder / name) for folder in ("before", "after"))
        pd.testing.assert_frame_equal(left, right, rtol=1e-8)
    # Other settings of the estimator need what is gone.
    code, _, complaint = infoplane("plot", "c", "-o", "after", "--jobs", 1, "--alpha", 2)
    assert code == 1
    assert "lacks these estimates" in complaint


def test_rows_of_other_runs_and_informations_stay(tmp_path):
    planted_comparison(tmp_path, {"sgd": [0.9, 0.8]})
    add_informations(update_results(tmp_path), tmp_path, execution=Execution(1))
    (tmp_path / "sgd" / "seed0.h5").unlink()
    planted_run(tmp_path / "greedy-ce" / "seed0.h5", 0.5)
    table = update_results(tmp_path)
    assert table["run"].tolist() == ["greedy-ce/seed0.h5", "sgd/seed0.h5", "sgd/seed1.h5"]
    assert (table["informations"] != "").tolist() == [False, True, True]
    assert folder_table(tmp_path)["test_accuracy"].tolist() == [0.5, 0.9, 0.8]
    # A run that is trained anew loses what was known of the old one.
    (tmp_path / "sgd" / "seed1.h5").unlink()
    planted_run(tmp_path / "sgd" / "seed1.h5", 0.7)
    again = update_results(tmp_path, [tmp_path / "sgd" / "seed1.h5"]).set_index("run")
    assert again.loc["sgd/seed1.h5", "test_accuracy"] == 0.7
    assert again.loc["sgd/seed1.h5", "informations"] == ""


def test_informations_are_those_of_the_last_snapshot(tmp_path):
    [path] = planted_comparison(tmp_path, {"sgd": [0.9]})
    table = informations(runs_table([path]), tmp_path, execution=Execution(1))
    last = estimate_run(path, RenyiSettings(), last=True, execution=Execution(1))
    for name in ("I_XT", "S_T", "I_XT_corrected"):
        assert table[name].tolist() == last[name].tolist()
    kept = add_informations(runs_table([path]), tmp_path, execution=Execution(1))
    path.unlink()
    again = informations(kept, tmp_path)
    assert again["I_XT"].tolist() == pytest.approx(table["I_XT"].tolist(), rel=1e-8)


def test_merged_rows_stand_once(tmp_path):
    for place, seeds in (("here", (0, 1)), ("there", (1, 2))):
        for seed in seeds:
            planted_run(tmp_path / place / "sgd" / f"seed{seed}.h5", 0.5 + seed / 10)
    shutil.copy(tmp_path / "here" / "sgd" / "seed1.h5", tmp_path / "there" / "sgd" / "seed1.h5")
    tables = {place: update_results(tmp_path / place) for place in ("here", "there")}
    assert merge_results(tables)["seed"].tolist() == [0, 1, 2]


def test_two_runs_of_one_seed_are_refused(tmp_path):
    tables = {
        place: runs_table(planted_comparison(tmp_path / place, {"sgd": [accuracy]}))
        for place, accuracy in (("here", 0.5), ("there", 0.6))
    }
    with pytest.raises(InfoplaneError, match="here and there have different runs of seed 0 of 'sgd'"):
        merge_results(tables)


def test_a_copy_of_a_run_is_refused(tmp_path):
    [path] = planted_comparison(tmp_path, {"sgd": [0.9]})
    shutil.copy(path, path.with_name("seed0-copy.h5"))
    with pytest.raises(InfoplaneError, match=r"'sgd' has seed 0 twice, sgd/seed0.h5 and sgd/seed0-copy.h5"):
        folder_table(tmp_path)


def test_an_infinite_likelihood_leaves_the_table_readable(tmp_path, monkeypatch):
    planted_comparison(tmp_path, {"sgd": [0.9]})
    results = Run.results.fget
    monkeypatch.setattr(Run, "results", property(lambda run: {**results(run), "test_nll": math.inf}))
    update_results(tmp_path)
    assert math.isnan(read_results(tmp_path)["test_nll"].item())


def test_sgd_is_the_reference_where_it_is_there(tmp_path):
    paths = planted_comparison(tmp_path, {"sgd-accumulate": [0.9], "sgd": [0.9], "greedy-ce": [0.8]})
    assert first_reference(runs_table(paths)) == "sgd"
    assert first_reference(runs_table([paths[0], paths[2]])) == "sgd-accumulate"


def test_trials_are_those_of_this_variant(tmp_path):
    trials = tmp_path / "tuning" / "trials"
    trials.mkdir(parents=True)
    for name in ("net-lr0.1", "net-lr1e-05", "net-lr0.1.synchronous", "net-lrx-lr0.1", "net-lrx-lr0.5"):
        (trials / f"{name}.h5").touch()
    assert [path.stem for path in trials_of(tmp_path, "net")] == ["net-lr0.1", "net-lr1e-05"]
    assert len(trials_of(tmp_path, "net-lrx")) == 2


def test_a_rate_is_of_trials_where_it_is_their_best(tmp_path):
    for lr, accuracy in ((0.1, 0.8), (0.5, 0.7)):
        planted_run(trial_path(tmp_path, "sgd", lr), accuracy, method="sgd", validation=0.2, lr=lr)
    paths = [
        planted_run(tmp_path / "sgd" / f"seed{seed}.h5", method="sgd", lr=lr) for seed, lr in enumerate((0.1, 0.5))
    ]
    # The second one has the rate that is published, and was trained without tuning.
    assert runs_table(paths)["lr_trials"].tolist() == [2, 0]
    # Of two that are as good, tuning takes the first by its factor, whatever the names of their files.
    planted_run(trial_path(tmp_path, "sgd", 0.05), 0.8, method="sgd", validation=0.2, lr=0.05)
    assert runs_table(paths)["lr_trials"].tolist() == [3, 0]


def test_a_number_is_the_same_however_it_is_written(tmp_path):
    sgd = tmp_path / "sgd"
    rows = [planted_run(sgd / f"seed{seed}.h5", method="sgd", lr=lr) for seed, lr in enumerate((1, 1.0))]
    refuse_mixture({"": runs_table(rows)})
    other = planted_run(sgd / "seed2.h5", method="sgd", lr=2)
    with pytest.raises(InfoplaneError, match=r"lr \(2.*, there 1"):
        refuse_mixture({"": runs_table([*rows, other])})


def test_a_run_that_is_gone_is_told_from_its_row(tmp_path):
    path = planted_run(tmp_path / "sgd" / "seed0.h5", method="sgd")
    update_results(tmp_path)
    planned = {path: dataclasses.asdict(TrainingSettings(method="sgd", epochs=12).resolved())}
    path.unlink()
    with pytest.raises(InfoplaneError, match=r"the row in .*results\.csv of .* in epochs \(10, there 12\)"):
        refuse_unlike(planned, tmp_path)


def test_settings_that_must_not_differ_are_named_with_both_values(infoplane, tmp_path):
    for place, size, seed in (("here", 200, 0), ("there", 300, 1)):
        planted_run(tmp_path / place / "sgd" / f"seed{seed}.h5", 0.5, train_size=size)
        update_results(tmp_path / place)
    code, _, complaint = infoplane("compare", "--merge", "here", "there/results.csv", "-o", "all")
    assert code == 1
    [line] = complaint.splitlines()
    assert "there/results.csv/sgd/seed1.h5 differs from here/sgd/seed0.h5 in train_size (300, there 200)" in line
    assert not (tmp_path / "all").exists()


def test_the_verb_merges(infoplane, tmp_path):
    for place, seeds in (("here", (0, 1)), ("there", (2,))):
        for seed in seeds:
            for name, accuracy in (("greedy-ce", 0.5), ("sgd", 0.75)):
                planted_run(tmp_path / place / name / f"seed{seed}.h5", accuracy)
        update_results(tmp_path / place)
    code, out, complaint = infoplane("compare", "--merge", "here/results.csv", "there", "-o", "all")
    assert code == 0, complaint
    assert "gap to sgd [points]" in out
    assert read_results(tmp_path / "all")["seed"].tolist() == [0, 1, 2] * 2
    assert pd.read_csv(tmp_path / "all" / "comparison.csv")["seeds"].tolist() == [3, 3]
    # Merged once more, nothing is new.
    before = (tmp_path / "all" / NAME).read_bytes()
    assert infoplane("compare", "--merge", "here", "-o", "all")[0] == 0
    assert (tmp_path / "all" / NAME).read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--merge"], "name the results.csv of at least one comparison"),
        (["--merge", "nothing"], "is not there; infoplane compare writes one"),
        (["--merge", "foreign.csv"], "is no table of results"),
        (["--merge", "foreign.csv", "--epochs", 3], "--merge trains nothing; leave out --epochs"),
        (["foreign.csv"], "RESULTS are for --merge"),
    ],
)
def test_refusals_of_the_verb(infoplane, tmp_path, arguments, words):
    (tmp_path / "foreign.csv").write_text("a,b\n1,2\n")
    code, _, complaint = infoplane("compare", *arguments, "-o", "all")
    assert code > 0
    assert words in " ".join(complaint.split())
    assert "Traceback" not in complaint


def test_a_foreign_file_is_not_overwritten(tmp_path):
    [path] = planted_comparison(tmp_path, {"sgd": [0.9]})
    (tmp_path / NAME).write_text("a,b\n1,2\n")
    with pytest.raises(InfoplaneError, match="is no table of results"):
        save_results(runs_table([path]), tmp_path)
    assert (tmp_path / NAME).read_text() == "a,b\n1,2\n"


def test_whatever_a_method_may_be_given_may_differ_between_variants_and_is_told():
    declared = settings_of(TrainingSettings)
    of_methods = {name for name, setting in declared.items() if setting.heading in (MODEL, OPTIMISATION, LAYERWISE)}
    assert of_methods - results._VARIED == set()
    assert of_methods - {*TRAINING, *results.MAY_DIFFER, "model", "cache_mib"} == set()
