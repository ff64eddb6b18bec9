import numpy as np
import pandas as pd
import pytest
import torch

from infoplane.errors import InfoplaneError
from infoplane.targets import CLASSES, MULTILABEL, REGRESSION, Target, as_target

NUMBERS = [3, 5, 3, 5, 9, 9]
WORDS = ["cat", "ant", "cat", "bee", "ant", "bee"]
HOT = [[1, 0, 1], [0, 0, 0], [1, 0, 1], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    "labels",
    [
        NUMBERS,
        tuple(NUMBERS),
        [torch.tensor(number) for number in NUMBERS],
        np.array(NUMBERS, np.uint8),
        np.array(NUMBERS, np.uint64),
        np.array(NUMBERS, float)[:, None],
        np.array(NUMBERS, object),
        torch.tensor(NUMBERS, dtype=torch.int16),
        torch.tensor(NUMBERS, dtype=torch.bfloat16, requires_grad=True),
        torch.tensor(NUMBERS).to_sparse(),
        pd.Series(NUMBERS, index=range(10, 16)),
        pd.Series(NUMBERS, dtype="Int64"),
        pd.DataFrame({"label": NUMBERS}),
        pd.Index(NUMBERS),
        pd.array(NUMBERS),
    ],
    ids=lambda labels: f"{type(labels).__name__} {getattr(labels, 'dtype', '')}",
)
@pytest.mark.parametrize("kind", ["auto", "classes"])
def test_whole_numbers_stay_as_they_are(labels, kind):
    target = as_target(labels, kind)
    assert target.values.dtype == np.int64
    assert target.values.tolist() == NUMBERS
    assert (target.kind, target.names, target.discrete, len(target)) == (CLASSES, (), True, 6)


@pytest.mark.parametrize(
    "labels",
    [
        WORDS,
        np.array(WORDS),
        np.array(WORDS, object),
        np.array(WORDS, "S"),
        [word.encode() for word in WORDS],
        pd.Series(WORDS),
        pd.Series(WORDS, dtype="string"),
        pd.DataFrame({"animal": WORDS}),
        [[word] for word in WORDS],
    ],
    ids=lambda labels: f"{type(labels).__name__} {getattr(labels, 'dtype', '')}",
)
def test_strings_are_numbered_in_alphabetical_order(labels):
    target = as_target(labels)
    assert target.values.tolist() == [2, 0, 2, 1, 0, 1]
    assert target.names == ("ant", "bee", "cat")


@pytest.mark.parametrize("wrap", [pd.Series, pd.Index, lambda categorical: pd.DataFrame({"a": categorical}), list])
def test_categories_keep_their_order(wrap):
    categorical = pd.Categorical(WORDS, categories=["cat", "dog", "bee", "ant"])
    target = as_target(wrap(categorical) if wrap is not list else categorical)
    assert target.values.tolist() == [0, 3, 0, 2, 3, 2]
    assert target.names == ("cat", "dog", "bee", "ant")
    assert as_target(pd.cut([0.1, 0.9, 0.2], [0, 0.5, 1])).names == ("(0.0, 0.5]", "(0.5, 1.0]")


@pytest.mark.parametrize(
    "labels",
    [
        [True, False, True],
        torch.tensor([True, False, True]),
        pd.Series([True, False, True], dtype="boolean"),
        np.array([[True], [False], [True]]),
    ],
)
def test_booleans(labels):
    target = as_target(labels)
    assert (target.values.tolist(), target.names) == ([1, 0, 1], ("False", "True"))


@pytest.mark.parametrize("labels", [[-1, 1, 1, -1], [-1.0, 0.0, 0.0, -1.0], [-2, -1, 0, 1, -2]])
def test_minus_one_may_be_a_class(labels):
    assert as_target(labels).values.tolist() == labels


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, None, 1], "1 of 4 labels are missing"),
        (["a", float("nan"), "b", None], "2 of 4 labels are missing"),
        (np.array([0, np.nan, 1, np.inf]), "2 of 4 labels are missing"),
        (pd.Series([0, None, 1, 1], dtype="Int64"), "1 of 4 labels are missing"),
        (pd.Categorical(["a", "b", None, "b"]), "1 of 4 labels are missing"),
        (np.ma.array([0, 1, 0, 1], mask=[0, 0, 0, 1]), "1 of 4 labels are missing"),
        (torch.sigmoid(torch.randn(30)), "no whole numbers.*target='regression'.*bin"),
        ((torch.arange(300) % 4) / 2, "such as 0.5 are no whole numbers"),
        (torch.where(torch.arange(300) == 3, torch.nan, (torch.arange(300) % 2).float()), "1 of 300 labels"),
        ([0, 1, 1, -100], "-100, which means no label; leave"),
        ([-100.0, 1.0, 1.0, -100.0], "2 of 4 labels are -100"),
        ([0, 1, 1, -1], "1 of 4 labels are -1; .*leave those samples out, otherwise number the classes from 0"),
        (pd.Categorical([0, 1, 1, -1]), "1 of 4 labels are -1"),
        ([4, 4, 4], "one class only"),
        (pd.Categorical(["a", "a"], categories=["a", "b"]), "one class only"),
        (range(5), "each sample has a class of its own"),
        (list("abcde"), r"each sample has a class of its own \(5 labels, 5 classes\).*target='regression'"),
        (np.eye(4), r"\(4, 4\) are not one class a sample.*multilabel.*regression.*argmax"),
        (np.zeros((4, 8, 8), int), r"\(4, 8, 8\) are not one class a sample"),
        (pd.DataFrame({"a": [1, 2], "b": [1, 2]}), r"\(2, 2\) are not one class a sample"),
        ([[1, 2], [3]], "unlike length"),
        ([[[1], 2], [[3], 4]], "unlike length"),
        ([1, [2]], "unlike length"),
        ([1, "a", 1], "a mixture of strings and whole numbers"),
        ([True, 2, 2], "a mixture of booleans and whole numbers"),
        ([1 + 1j, 2, 2], "a mixture of complex numbers and whole numbers"),
        (np.array([1j, 1j, 2]), "complex"),
        (torch.tensor([1j, 2, 2]).conj(), "complex"),
        (pd.to_datetime(["2020-01-01", "2021-01-01"]), "labels are times .*; make classes"),
        (np.array(["2020-01-01", "2021-01-01"] * 2, "datetime64[ns]"), r"times \(datetime64\[ns\]\)"),
        (np.array(["2020-01-01", "2021-01-01"] * 2, "datetime64[D]"), r"times \(datetime64\[D\]\)"),
        ([np.array(["2020"], "datetime64[ns]"), np.array(["2021"], "datetime64[ns]")], "are times"),
        (np.array([1, 2, 1], "timedelta64[ns]"), "are times"),
        ([{"a"}, {"b"}], "type set cannot be read"),
        ([2**70, 1, 1], "beyond 64-bit"),
        (np.array([1e30, 1, 1]), "beyond 64-bit"),
        ("abab", "not one str"),
        (None, "not one NoneType"),
        ({"labels": [0, 1]}, "not one dict"),
        ([], "there are no labels"),
        (pd.Categorical([]), "there are no labels"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_labels_that_are_no_classes_are_refused(labels, message):
    with pytest.raises(InfoplaneError, match=message) as caught:
        as_target(labels)
    assert "\n" not in str(caught.value)


def test_unknown_kinds_are_named():
    with pytest.raises(InfoplaneError, match="unknown target 'regresion'; did you mean regression"):
        as_target([0.5, 1], "regresion")


@pytest.mark.parametrize(
    "table",
    [
        HOT,
        np.array(HOT, bool),
        torch.tensor(HOT, dtype=torch.float16),
        pd.DataFrame(HOT, dtype="Int8"),
        [torch.tensor(row) for row in HOT],
    ],
    ids=lambda table: type(table).__name__,
)
def test_sets_of_labels(table):
    target = as_target(table, "multilabel")
    assert target.kind == MULTILABEL
    assert target.values.dtype == np.int64
    assert target.classes.tolist() == [2, 0, 2, 1, 0]
    assert target.names == ("none", "1", "0+2")


def test_sets_are_named_by_the_columns_of_a_table():
    table = pd.DataFrame(HOT, columns=["sky", "sea", 7])
    assert as_target(table, "multilabel").names == ("none", "sea", "sky+7")
    assert as_target(table[["sky"]], "multilabel").names == ("none", "sky")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([0, 1, 1], r"not labels of shape \(3,\)"),
        ([[0, 2], [1, 0], [1, 0]], "0 and 1 only"),
        (np.array([[0.2, 1], [1, 0], [1, 0]]), "0 and 1 only"),
        (np.array([["a", "b"]] * 3), "0 and 1 only"),
        (np.array([[np.nan, 1], [1, 0], [1, 0]]), "1 of 6 labels are missing"),
        ([["a"], ["a", "b"]], "rows of 0 and 1, not lists of names"),
        ([["a", "c"], ["a", "b"]], "rows of 0 and 1, not lists of names"),
        ([{"a"}, {"a", "b"}], "rows of 0 and 1, not lists of names"),
        ([[1, 0], [1, 0]], "all samples have the same set"),
        ([[1, 0], [0, 1], [1, 1]], "a set of labels of its own"),
    ],
)
def test_tables_that_are_no_sets_are_refused(table, message):
    with pytest.raises(InfoplaneError, match=message):
        as_target(table, "multilabel")


@pytest.mark.parametrize(
    "values",
    [
        [0.5, -1, 3],
        np.array([0.5, -1, 3], np.float32),
        torch.tensor([[0.5], [-1], [3]], dtype=torch.bfloat16),
        pd.Series([0.5, -1, 3], dtype="Float64"),
        pd.DataFrame({"height": [0.5, -1, 3]}),
    ],
    ids=lambda values: type(values).__name__,
)
def test_continuous_values(values):
    target = as_target(values, "regression")
    assert target.kind == REGRESSION
    assert target.values.dtype == np.float64
    assert target.values.tolist() == [[0.5], [-1], [3]]
    with pytest.raises(InfoplaneError, match="continuous target"):
        _ = target.classes


def test_several_continuous_values_a_sample():
    assert as_target([[1, 2], [1, 3]], "regression").values.tolist() == [[1, 2], [1, 3]]
    target = as_target(pd.DataFrame({"a": [1, 2, 3], "b": [0.5, 0.5, 0.5]}), "regression")
    assert target.take(np.array([2, 0])).values.tolist() == [[3, 0.5], [1, 0.5]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.5, float("nan"), 1], "1 of 3 targets are missing"),
        (np.array([0.5, np.nan, 1]), "1 of 3 target values are NaN or infinite"),
        (np.array([[0.5, np.inf], [1, -np.inf]]), "2 of 4 target values are NaN or infinite"),
        ([2, 2, 2], "all samples have the same target"),
        (torch.ones(4, 3), "all samples have the same target"),
        (["a", "b", "c"], "strings, which are classes"),
        (np.array([1j, 2]), "complex"),
        (torch.rand(4, 3, 3), "flatten"),
        ([0.5, None, 1], "1 of 3 targets are missing"),
        ([], "there are no targets"),
        ([0.5, "a"], "targets are a mixture"),
        ([[0.5], [1, 2]], "targets are lists of unlike length"),
        (np.array(["2020-01-01", "2021-01-01"], "datetime64[ns]"), "targets are times"),
    ],
)
def test_targets_that_are_no_continuous_values_are_refused(values, message):
    with pytest.raises(InfoplaneError, match=message):
        as_target(values, "regression")


@pytest.mark.parametrize("kind", [None, 3])
def test_a_kind_that_is_no_word_is_refused(kind):
    with pytest.raises(InfoplaneError, match=f"one of auto, classes, multilabel, regression, got {kind}"):
        as_target([0, 1, 1], kind)


def test_some_of_the_samples_keep_the_names():
    target = as_target(WORDS).take(np.array([0, 3]))
    assert target == Target(CLASSES, target.values, ("ant", "bee", "cat"))
    assert target.values.tolist() == [2, 1]
