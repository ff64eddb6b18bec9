"""Measures besides accuracy on planted results."""

import json

import numpy as np
import pandas as pd
import pytest
from planted import planted_comparison

from infoplane.analysis.comparison.cells import encoded
from infoplane.analysis.comparison.information import add_informations
from infoplane.analysis.comparison.measures import hidden_informations, measures_table
from infoplane.analysis.comparison.results import runs_table, update_results
from infoplane.estimators.engine.estimate import estimate_run
from infoplane.estimators.renyi import RenyiSettings
from infoplane.execution import Execution
from infoplane.reporting.methods import show_measures
from infoplane.trainers.session import record
from infoplane.trainers.settings import TrainingSettings

NAMES = ("first", "second", "logits")


def planted(tmp_path, **variants):
    """Variants of three seeds, each an accuracy and what its two hidden layers hold in bits."""
    paths = planted_comparison(tmp_path, {name: [accuracy] * 3 for name, (accuracy, _) in variants.items()})
    runs = runs_table(paths)
    cells = []
    for variant, seed in zip(runs["variant"], runs["seed"], strict=True):
        bits = variants[variant][1] + 0.125 * seed * np.array([1.0, 1.0, 0.0])
        columns = {"layer": NAMES, "depth": [1, 2, 3], "S_T": bits, "I_XT_corrected": [None] * 3}
        cells.append(encoded({**columns, "I_XT_corrected": bits / 2}))
    wobble = 2**-10 * np.where(runs["variant"] == "sgd", 0, runs["seed"])
    return runs.assign(informations=cells, test_accuracy=runs["test_accuracy"] + wobble)


def test_compression_counts_at_equal_accuracy_only(tmp_path):
    variants = {
        "sgd": (0.9, [3.0, 2.0, 1.0]),
        "greedy-ce": (0.9, [2.0, 1.0, 0.5]),
        "predsim": (0.5, [1.0, 1.0, 1.0]),
    }
    variants["hsic"] = (0.9, [3.5, 2.0, 0.0])
    variants["pred"] = (0.9, [1.0, 2.0, 0.0])  # the second layer knows more than the first
    variants["sim"] = (0.9, [2.0, 1.0, 9.0])  # and so do the logits here
    table = measures_table(planted(tmp_path, **{k: (a, np.array(b)) for k, (a, b) in variants.items()}))
    table = table.set_index("variant")
    # The layer of the logits does not count in means.
    assert table.loc["sgd", "S_T"] == 2.625
    assert table.loc["greedy-ce", "S_T_gap"] == pytest.approx(-1)
    assert table.loc["greedy-ce", "I_XT_corrected_high"] == pytest.approx(-0.5)
    expected = {"sgd": "", "greedy-ce": "yes", "predsim": "no", "hsic": "no", "pred": "hides", "sim": "hides"}
    assert table["compresses"].to_dict() == expected
    assert table["I_XT_rise"].round(6).to_dict()["pred"] == 0.5
    assert table.loc["sim", "I_XT_rise_gap"] == pytest.approx(3.9375)
    shown, _, note = show_measures(table.reset_index(), 0.01)
    assert shown["S(T) [bits]"].tolist()[0] == "2.62"
    assert "1.62 (−1.00 [−1.00, −1.00])" in shown["S(T) [bits]"].tolist()
    assert "difference to sgd" in note


def test_without_informations_nothing_is_said_of_compression(tmp_path):
    runs = runs_table(planted_comparison(tmp_path, {"sgd": [0.9] * 3, "hsic": [0.9] * 3}))
    table = measures_table(runs)
    assert set(table["compresses"]) == {""}
    shown = show_measures(table, 0.01)[0]
    assert list(shown) == [
        "method", "seeds", "test accuracy [%]", "negative log-likelihood [nats]", "calibration error [%]",
    ]  # fmt: skip


def test_means_are_those_of_the_estimates(tmp_path):
    [path] = planted_comparison(tmp_path, {"sgd": [0.9]})
    runs = add_informations(update_results(tmp_path), tmp_path, execution=Execution(1))
    [row] = hidden_informations(runs).to_dict("records")
    last = estimate_run(path, RenyiSettings(), last=True, execution=Execution(1))
    for name in ("S_T", "I_XT_corrected"):
        assert row[name] == pytest.approx(last[name].iloc[:-1].mean())
    bits = last["I_XT_corrected"].tolist()
    assert row["I_XT_rise"] == pytest.approx(max(0, *(b - a for i, a in enumerate(bits) for b in bits[i:])))
    assert row["layers"] == "conv1, conv2"


def test_a_layer_without_a_value_has_no_place_in_a_mean(tmp_path):
    runs = planted(tmp_path, sgd=(0.9, np.array([3.0, 2.0, 1.0])), hsic=(0.9, np.array([3.0, np.nan, 1.0])))
    table = measures_table(runs).set_index("variant")
    assert np.isnan(table.loc["hsic", ["S_T", "S_T_gap", "I_XT_corrected", "I_XT_rise"]].astype(float)).all()
    assert table.loc["sgd", "S_T"] == 2.625


def test_of_hidden_layers_alone_the_last_counts_too(tmp_path):
    path = tmp_path / "sgd" / "seed0.h5"
    record(
        TrainingSettings(model="mlp", widths=(8, 6), layers=("fc*",), epochs=1, snapshots="2", probe_size=20), path
    )
    runs = add_informations(update_results(tmp_path), tmp_path, execution=Execution(1))
    [row] = hidden_informations(runs).to_dict("records")
    assert row["layers"] == "fc1, fc2"
    last = estimate_run(path, RenyiSettings(), last=True, execution=Execution(1))
    assert row["S_T"] == pytest.approx(last["S_T"].mean())


def test_rows_of_an_older_version_are_compared_by_the_layers_that_they_have(tmp_path):
    """They do not say that the last layer is hidden here, and leave it out."""
    runs = planted(tmp_path, sgd=(0.9, np.array([3.0, 2.0, 1.0])), hsic=(0.9, np.array([3.0, 2.0, 1.0])))
    newer = [json.loads(cell) | {"hidden": [True] * 3} for cell in runs["informations"]]
    own, cells = runs["variant"] == "hsic", pd.Series(map(encoded, newer))
    mixed = runs.assign(informations=cells.where(own, runs["informations"]))
    assert np.isnan(measures_table(mixed).set_index("variant").loc["hsic", "S_T_gap"])
    both = measures_table(runs.assign(informations=cells)).set_index("variant")
    assert both.loc["sgd", "S_T"] == pytest.approx(2 + 0.125 * 2 / 3)
    assert both.loc["hsic", "S_T_gap"] == 0


def test_rows_of_an_older_version_are_estimated_anew(tmp_path):
    """Whatever their layers are called."""
    planted_comparison(tmp_path, {"sgd": [0.9]})
    runs = add_informations(update_results(tmp_path), tmp_path, execution=Execution(1))
    [cell] = runs["informations"]
    known = json.loads(cell)
    old = {name: column for name, column in known.items() if name != "hidden"} | {"layer": ["hidden", "b", "c"]}
    again = add_informations(runs.assign(informations=encoded(old)), tmp_path, execution=Execution(1))
    assert again["informations"].tolist() == [cell]
