import pandas as pd
import pytest
import torch
from recorded import make_run

from infoplane.estimators.engine.estimate import estimate_run
from infoplane.estimators.registry import NAMES, make_settings
from infoplane.words import QUANTITIES, is_bits, label, settings_text, symbol, target_text, unit_of


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    probe = torch.randn(30, 1, 8, 8), torch.arange(30) % 3
    run = make_run(tmp_path_factory.mktemp("runs") / "run.h5", probe)
    return {name: estimate_run(run, make_settings(name), last=True) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_every_estimator_says_what_decided_its_numbers(tables, name):
    text = settings_text(tables[name].iloc[0])
    assert "nan" not in text
    assert "None" not in text
    assert text != f"{name} estimator"
    assert len({settings_text(table.iloc[0]) for table in tables.values()}) == len(NAMES)


def test_settings_say_how_exact_they_are():
    row = {"estimator": "renyi", "alpha": 1.01, "kernel": "tensor", "bandwidth": "knn:10", "scope": "snapshot"}
    row |= {"input_bandwidth": "median:1", "dtype": "float32", "tolerance": 0.05}
    assert settings_text(pd.Series(row)) == (
        "matrix-based Rényi estimator, α = 1.01, single precision, within 0.05 bits, tensor kernel, "
        "bandwidth knn:10 (scope snapshot; input median:1)"
    )
    assert settings_text(pd.Series({"estimator": "own"})) == "own estimator"
    # A continuous Y has a kernel, and classes none.
    of_target = settings_text(pd.Series(row | {"target_bandwidth": "fixed:50"}))
    assert of_target.endswith("input median:1), bandwidth fixed:50 of the target")
    assert settings_text(pd.Series(row | {"target_bandwidth": ""})) == settings_text(pd.Series(row))


@pytest.mark.parametrize(
    ("name", "bits", "dependence"),
    [
        ("I_XT", "I(X;T) (bits)", "nHSIC(X,T) (dependence)"),
        ("I_TY_corrected", "I(T;Y) − null (bits)", "nHSIC(T,Y) − null (dependence)"),
        ("cka", "linear CKA to the end", "linear CKA to the end"),
        ("test_accuracy", "test accuracy (%)", "test accuracy (%)"),
        ("own_column", "own_column", "own_column"),
    ],
)
def test_a_label_names_what_was_measured_and_its_unit(tables, name, bits, dependence):
    assert label(name) == label(name, tables["renyi"]) == bits
    assert label(name, tables["nhsic"]) == dependence


def test_the_unit_is_that_of_the_table(tables):
    assert [name for name in NAMES if not is_bits(tables[name])] == ["hsic", "nhsic", "cka", "kernel-cka"]
    assert unit_of(tables["cka"]) == "dependence"
    assert symbol("I_XT", tables["kernel-cka"]) == "kCKA(X,T)"


def test_columns_of_estimates_with_a_limit_have_that_column(tables):
    limits = {name: quantity.limit for name, quantity in QUANTITIES.items() if quantity.limit}
    assert {*limits, *limits.values()} <= {*tables["renyi"]}


def test_the_target_is_named_where_it_is_another():
    assert target_text(pd.Series({"target": "labels", "classes": 10})) == "10 classes"
    assert target_text(pd.Series({"target": "box", "classes": 0})) == "target box, continuous"
    assert target_text(pd.Series({"classes": 0})) == "a continuous target"
