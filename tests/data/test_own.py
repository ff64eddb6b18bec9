"""Data sets of the user's own: what a function may give, how it is taken, and what is refused."""

import random
import sys
import types

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from infoplane.data import hold_out, load_dataset, own
from infoplane.data.own import load_own
from infoplane.errors import InfoplaneError

X, Y = torch.arange(24).reshape(12, 2) / 7, torch.arange(12) % 3


@pytest.fixture
def gives(monkeypatch):
    """Makes `mine:data` give something."""

    def give(make):
        monkeypatch.setattr(own, "call_user", lambda name, kind: make())

    return give


@pytest.mark.parametrize(
    "split",
    [
        lambda x, y: (x, y),
        lambda x, y: (x.double().numpy(), y.tolist()),
        lambda x, y: (pd.DataFrame(x.numpy()), pd.Series(y.numpy(), index=range(5, 5 + len(y)))),
        lambda x, y: (pd.DataFrame(x.numpy()), pd.DataFrame({"wine": [f"kind {label}" for label in y]})),
        lambda x, y: TensorDataset(x, y),
        lambda x, y: DataLoader(TensorDataset(x, y), batch_size=5),
        lambda x, y: {"x": x, "labels": y},
    ],
    ids=["tensors", "arrays", "table", "names", "dataset", "loader", "dict"],
)
def test_fractions_are_taken_as_they_are_in_every_form(gives, split):
    gives(lambda: (split(X[:8], Y[:8]), split(X[8:], Y[8:])))
    dataset = load_own("mine:data")
    assert (dataset.spec.name, dataset.spec.shape, dataset.spec.classes) == ("mine:data", (2,), 3)
    inputs, labels = dataset.batch(dataset.test, slice(None), "cpu")
    torch.testing.assert_close(inputs, X[8:])
    assert labels.tolist() == Y[8:].tolist()


def test_words_name_the_classes(gives):
    gives(lambda: [(X, [("low", "middle", "high")[label] for label in Y])] * 2)
    dataset = load_own("mine:data")
    assert dataset.spec.class_names == ("high", "low", "middle")
    assert dataset.train.labels.tolist() == [(1, 2, 0)[label] for label in Y]
    gives(lambda: [(X, Y)] * 2)
    assert load_own("mine:data").spec.class_names == ()


def test_images_are_normalised_and_resized_and_tokens_stay_whole_numbers(gives):
    images = torch.randint(256, (12, 3, 8, 8), dtype=torch.uint8)
    images[:, 2] = 9
    gives(lambda: [(images, Y), (images, Y)])
    dataset = load_dataset("mine:data", None)
    inputs, _ = dataset.batch(dataset.train, slice(None), "cpu")
    torch.testing.assert_close(inputs[:, :2].mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    assert (inputs[:, 2] == 0).all()
    assert load_dataset("mine:data", None, 4).spec.shape == (3, 4, 4)
    gives(lambda: [(np.arange(24, dtype=np.int16).reshape(12, 2), Y)] * 2)
    dataset = hold_out(load_own("mine:data"), 0.3)
    assert dataset.batch(dataset.test, slice(2), "cpu")[0].tolist() == [[0, 1], [2, 3]]
    with pytest.raises(InfoplaneError, match="holds no images; leave out `image_size`"):
        load_dataset("mine:data", None, 4)


def test_every_call_draws_the_same_data_and_leaves_no_trace(gives):
    def make():
        split = torch.rand(12, 2) + np.random.rand() + random.random(), Y  # noqa: NPY002
        return split, split

    gives(make)
    torch.manual_seed(3)
    first = load_own("mine:data").train.inputs
    after = torch.rand(1)
    torch.manual_seed(3)
    assert after == torch.rand(1)
    assert torch.equal(load_own("mine:data").train.inputs, first)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((X, Y), "gave one split; give two splits, train and test"),
        ({"train": (X, Y)}, "gave a dict; give two splits"),
        (((X, Y), (X[:, :1], Y)), "unlike inputs: float32 of 2 and float32 of 1"),
        (((X, Y), (X.long(), Y)), "unlike inputs: float32 of 2 and int64 of 2"),
        (((X, Y + 1), (X, Y + 1)), "are numbered from 1 to 3; number them from 0 to 2"),
        (((X, X[:, 0]), (X, X[:, 0])), "are no classes: labels such as 0.285714"),
        (((X, Y[:5]), (X, Y)), "data set 'mine:data': a probe is inputs"),
        (((X * torch.nan, Y), (X, Y)), "hold NaN"),
        (({"a": X, "b": X, "labels": Y},) * 2, r"several inputs \(a, b\), and a training by infoplane takes one"),
        (((X * 1j, Y), (X, Y)), "are complex"),
        (((X, Y), (X * torch.inf, Y)), "hold NaN or infinite values; leave those samples out or fill them"),
        (((X.double() * 1e300, Y), (X, Y)), r"go up to 3.29e\+300, which float32 cannot hold; scale them"),
        (((X, Y - 1),) * 2, "labels are -1; if -1 means no label, leave those samples out"),
        (((X, Y * 10**9),) * 2, "are numbered from 0 to 2000000000; number them from 0 to 2"),
        (((X, Y * 0),) * 2, "hold one class only"),
        (((X, Y), (X[:0], Y[:0])), r"inputs are empty \(\(0, 2\)\)"),
        ((split for split in [(X, Y)] * 2), "gave a generator; give two splits"),
    ],
)
def test_what_is_no_data_set_is_refused_in_one_line(gives, given, message):
    gives(lambda: given)
    with pytest.raises(InfoplaneError, match=message):
        load_own("mine:data")


@pytest.mark.parametrize(
    ("end", "message"),
    [(ValueError("bad\x1b[31m\nnews"), "ValueError: bad"), (SystemExit(0), "SystemExit: 0")],
    ids=["raises", "exits"],
)
def test_a_function_that_fails_is_named(monkeypatch, end, message):
    def data():
        raise end

    monkeypatch.setitem(sys.modules, "mine", types.SimpleNamespace(data=data))
    with pytest.raises(InfoplaneError, match=f"calling 'mine:data' raised {message}.*; mend it") as failure:
        load_own("mine:data")
    assert "\n" not in str(failure.value)
