"""Nothing of a `results.csv` is believed that cannot be."""

import re

import numpy as np
import pandas as pd
import pytest
from damaged import json_value
from planted import planted_comparison, planted_run

from infoplane.analysis.comparison.accuracy import accuracy_table
from infoplane.analysis.comparison.cells import decoded, encoded
from infoplane.analysis.comparison.classes import confusion_table, per_class
from infoplane.analysis.comparison.results import NAME, merge_results, read_results, runs_table, update_results
from infoplane.errors import InfoplaneError, MissingData


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The file of two runs."""
    folder = tmp_path_factory.mktemp("comparison")
    planted_comparison(folder, {"sgd": [0.9, 0.8]})
    update_results(folder)
    return folder / NAME


def changed(written, folder, column, cell):
    """The file with another cell in its first row; None takes the column out."""
    table = pd.read_csv(written, dtype=str, keep_default_na=False)
    table = table.drop(columns=column) if cell is None else table
    if cell is not None:
        table.loc[0, column] = cell
    table.to_csv(folder / NAME, index=False)
    return folder / NAME


def test_values_as_cells():
    value = {"a": np.array([1 / 3, np.nan]), "b": [np.inf, 2]}
    assert decoded(encoded(value)) == {"a": [0.333333333, None], "b": [None, 2]}
    assert decoded("") is None


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("seed", "", "a row without a seed"),
        ("seed", "1.5", "a row without a seed"),
        ("seed", "1e30", "a row without a seed"),
        ("seed", "-1", "'-1' under seed is no number from 0 on"),
        ("seconds", "long", "'long' under seconds is no number from 0 on"),
        ("peak_bytes", "inf", "'inf' under peak_bytes is no number from 0 on"),
        ("test_accuracy", "7", "an accuracy of 7"),
        ("run", "../../other.h5", "'../../other.h5' is no run of 'sgd'"),
        ("run", "/etc/passwd", "'/etc/passwd' is no run of 'sgd'"),
        ("variant", "..", "is no run of '..'"),
        ("run", None, "is no table of results"),
        ("subject", None, "is no table of results"),
        ("confusion", "x", "'x' is no JSON"),
        ("confusion", "[" * 10**5, "is no JSON"),
        ("confusion", "[[NaN]]", "is no JSON"),
        ("confusion", "[]", "'[]' cannot stand under confusion"),
        ("confusion", "[[1,2]]", "cannot stand under confusion"),
        ("confusion", "[[-1]]", "cannot stand under confusion"),
        ("confusion", "[[1]]", "its runs have 1 and 4 classes"),
        ("class_iou", "[0.5]", "its runs have 1 and 4 classes"),
        ("class_iou", '["x"]', "cannot stand under class_iou"),
        ("class_names", '["a","b"]', "its runs have 2 and 4 classes"),
        ("class_names", "[1,2,3,4]", "cannot stand under class_names"),
        ("blocks", "[0.5]", "cannot stand under blocks"),
        ("blocks", '{"network":"good"}', "cannot stand under blocks"),
        ("curves", "{}", "cannot stand under curves"),
        ("curves", '{"step":[1],"epoch":[1,2]}', "cannot stand under curves"),
        ("curves", '{"step":[null],"epoch":[1]}', "cannot stand under curves"),
        ("curves", '{"step":[1],"epoch":[1],"test_accuracy":[1e400]}', "cannot stand under curves"),
        ("informations", '{"layer":["a","b"],"depth":[1]}', "cannot stand under informations"),
    ],
)
def test_cells_that_cannot_be_are_refused(written, tmp_path, column, cell, message):
    path = changed(written, tmp_path, column, cell)
    with pytest.raises(InfoplaneError, match=re.escape(message)):
        read_results(path)


@pytest.mark.parametrize(
    ("column", "table"), [("confusion", confusion_table), ("confusion", per_class), ("curves", accuracy_table)]
)
def test_what_an_older_file_lacks_is_named(written, tmp_path, column, table):
    with pytest.raises(MissingData, match="make it again"):
        table(read_results(changed(written, tmp_path, column, None)))


def test_a_file_without_rows_compares_nothing(written, tmp_path):
    path = tmp_path / NAME
    path.write_text(written.read_text().splitlines()[0] + "\n")
    with pytest.raises(InfoplaneError, match="hold no run"):
        merge_results({NAME: read_results(path)})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("test_accuracy", "high", "its test_accuracy is no number"),
        ("seconds", [1], "its seconds is no number"),
        ("blocks", 3, "cannot stand under blocks"),
    ],
)
def test_a_run_whose_results_are_none_gives_no_row(tmp_path, name, value, message):
    path = planted_run(tmp_path / "sgd" / "seed0.h5")
    json_value("results", "numbers", name, value)(path)
    with pytest.raises(InfoplaneError, match=message) as refused:
        runs_table([path])
    assert str(path) in str(refused.value)
