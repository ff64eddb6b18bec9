import random
from collections import UserDict

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from infoplane.errors import InfoplaneError
from infoplane.recording.samples import Samples, as_inputs, as_samples

N = 6
X = torch.arange(N * 4.0).reshape(N, 4)
IDS = torch.arange(N * 3).reshape(N, 3)
Y = torch.arange(N) % 2


class Encoding(UserDict):
    """As Hugging Face's tokenizers give."""


class Holder:
    """A stranger that keeps a dict inside."""

    def __init__(self, data):
        self.data = data


class Listed(Dataset):
    """A data set of a list of items."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, place):
        return self.items[place]


class Boasting(Listed):
    """A data set that says that it has more items."""

    def __len__(self):
        return 9


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (X, torch.float32),
        (X.requires_grad_(False).half(), torch.float16),
        (X.bfloat16(), torch.bfloat16),
        (X.to(torch.uint8), torch.uint8),
        (X.to(torch.complex64), torch.complex64),
        (X.double().numpy(), torch.float64),
        (X.numpy().astype(np.uint16), torch.int64),
        (X.numpy().astype(np.longdouble), torch.float64),
        (X.numpy().astype(">f4"), torch.float32),
        (X.numpy()[::-1][::-1], torch.float32),
        (X.numpy().astype(object), torch.float64),
        (X.tolist(), torch.float64),
        (X.long().tolist(), torch.int64),
        (pd.DataFrame(X.numpy(), columns=list("abcd")), torch.float32),
        (pd.DataFrame(X.long().numpy()).astype({0: "Int64", 1: float}), torch.float64),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, torch.dtype) else str(value),
)
def test_one_input(value, dtype):
    inputs = as_inputs(value)
    assert list(inputs.parts) == ["0"]
    assert (len(inputs), inputs.shape, inputs.features) == (N, (4,), 4)
    assert inputs.parts["0"].dtype == dtype
    torch.testing.assert_close(inputs.parts["0"].to(torch.complex64).real, X)
    args, kwargs = inputs.batch(slice(1, 3), "cpu", None)
    assert kwargs == {}
    assert torch.equal(args[0], inputs.parts["0"][1:3])


def test_a_column_is_one_value_a_sample():
    inputs = as_inputs(pd.Series([1.5, 2, 3], index=[7, 8, 9]))
    assert (len(inputs), inputs.shape, inputs.features) == (3, (), 1)
    assert as_inputs(np.array([True, False])).parts["0"].dtype == torch.bool


@pytest.mark.parametrize("value", [X.clone(), X.numpy().copy(), [X.clone(), IDS], {"x": X.clone()}])
def test_nothing_is_shared_with_who_gave_it_or_who_uses_it(value):
    inputs = as_inputs(value)
    first = value if isinstance(value, torch.Tensor | np.ndarray) else value[0 if isinstance(value, list) else "x"]
    first += 1
    for rows in (slice(0, N), slice(2, 4), torch.tensor([0, 5])):
        args, kwargs = inputs.batch(rows, "cpu", torch.float32)
        for part in (*args, *kwargs.values()):
            part.mul_(0)
    assert torch.equal(next(iter(inputs.parts.values())), X)


def test_several_inputs_by_place():
    inputs = as_inputs((X, IDS.numpy(), [1, 2, 3, 4, 5, 6]))
    assert list(inputs.parts) == ["0", "1", "2"]
    assert (len(inputs), inputs.shape, inputs.features) == (N, (8,), 8)
    args, kwargs = inputs.batch(torch.tensor([4, 0]), "cpu", torch.float64)
    assert [part.tolist() for part in args] == [X[[4, 0]].tolist(), IDS[[4, 0]].tolist(), [5, 1]]
    assert [part.dtype for part in args] == [torch.float64, torch.int64, torch.int64]
    assert kwargs == {}
    assert [len(part) for part in inputs.take([3, 1]).parts.values()] == [2, 2, 2]


@pytest.mark.parametrize("wrap", [dict, Encoding, Holder])
def test_inputs_by_name(wrap):
    mask = (IDS < 12).long()
    value = {"input_ids": IDS.tolist(), "attention_mask": mask, "pixels": X.to(torch.uint8), "none": None}
    inputs = as_inputs(wrap(value))
    args, kwargs = inputs.batch(slice(2), "cpu", torch.float32)
    assert args == ()
    assert {name: part.tolist() for name, part in kwargs.items()} == {
        "input_ids": IDS[:2].tolist(),
        "attention_mask": mask[:2].tolist(),
        "pixels": X[:2].tolist(),
    }
    assert torch.equal(inputs.attention_masks["attention_mask"], mask.bool())
    assert inputs.token_parts() == ["input_ids"]


def test_masks_and_tokens():
    assert as_inputs(X).attention_masks == {}
    assert as_inputs({"attention_mask": torch.ones(N, 1, 4, 4)}).attention_masks == {}
    for name in ("attention_mask", "decoder_attention_mask"):
        (mask,) = as_inputs({name: torch.tensor([[1.0, 0], [1, 1]])}).attention_masks.values()
        assert mask.tolist() == [[True, False], [True] * 2]
    inputs = as_inputs((X, IDS, X > 1, X.to(torch.uint8), IDS.to(torch.int16), X.to(torch.complex64)))
    assert inputs.token_parts() == ["1", "4"]


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (None, [torch.float16, torch.complex64]),
        (torch.float32, [torch.float32, torch.complex64]),
        (torch.float64, [torch.float64, torch.complex128]),
        (torch.float16, [torch.float16, torch.complex32]),
        (torch.bfloat16, [torch.bfloat16, torch.complex64]),
    ],
)
def test_floating_parts_take_the_type_of_the_network(dtype, expected):
    inputs = as_inputs((X.half(), X.to(torch.complex64), IDS, X > 1))
    args, _ = inputs.batch(slice(3), "cpu", dtype)
    assert [part.dtype for part in args] == [*expected, torch.int64, torch.bool]


class Keywords(nn.Module):
    def forward(self, input_ids, attention_mask=None):
        return input_ids


class Anything(nn.Module):
    def forward(self, **inputs):
        return inputs


class OneBatch(nn.Module):
    def forward(self, batch, scale=1.0):
        return batch


class Unwritten(nn.Module):
    """A network whose forward is no Python, and does not say what it takes."""

    forward = max


class Two(nn.Module):
    def forward(self, left, right):
        return left


@pytest.mark.parametrize("model", [Keywords(), Anything()])
def test_a_mapping_goes_in_by_name_where_the_network_knows_the_names(model):
    inputs = as_inputs({"input_ids": IDS, "attention_mask": IDS})
    assert inputs.bind(model) is inputs
    args, kwargs = inputs.batch(slice(2), "cpu", None)
    assert (args, list(kwargs)) == ((), ["input_ids", "attention_mask"])


def test_a_mapping_goes_in_whole_where_the_network_takes_one_batch():
    inputs = as_inputs({"input_ids": IDS, "x": X}).bind(OneBatch())
    for some in (inputs, inputs.take([1, 0])):
        (batch,), kwargs = some.batch(slice(2), "cpu", None)
        assert (list(batch), kwargs) == (["input_ids", "x"], {})


@pytest.mark.parametrize("model", [nn.Linear(4, 2), nn.Sequential(nn.ReLU()), Unwritten()])
def test_one_input_goes_in_by_place(model):
    args, kwargs = as_inputs(X).bind(model).batch(slice(2), "cpu", None)
    assert torch.equal(args[0], X[:2])
    assert kwargs == {}


@pytest.mark.parametrize(
    ("value", "model"),
    [
        ({"input_ids": IDS, "token_type_ids": IDS}, Keywords()),
        ({"batch": X, "mask": X}, OneBatch()),
        ({"a": X}, Two()),
        (X, Two()),
        ((X, X), nn.Linear(4, 2)),
        (X, Anything()),
    ],
)
def test_inputs_that_the_network_cannot_take_are_refused(value, model):
    with pytest.raises(InfoplaneError, match=f"forward of {type(model).__name__} does not fit the probe's inputs"):
        as_inputs(value).bind(model)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (X / 0, "the probe's inputs hold NaN or infinite values"),
        (np.array([[1, np.nan]]), "the probe's inputs hold NaN or infinite values"),
        (pd.DataFrame({"a": [1, None]}, dtype="Int64"), "the probe's inputs hold NaN or infinite values"),
        ({"ids": IDS, "x": torch.full((N, 2), -torch.inf)}, "the probe's inputs hold NaN or infinite values"),
        (torch.full((2, 2), torch.nan * 1j), "the probe's inputs hold NaN or infinite values"),
        (np.ma.array([1.0, 2], mask=[0, 1]), "some values are masked"),
        (["a text", "another"], "tokenise"),
        ("a text", "tokenise"),
        (np.array([["a"], ["b"]], object), "tokenise"),
        ({"text": ["a", "b"]}, "input 'text': strings are no numbers; tokenise"),
        (pd.DataFrame({"age": [1, 2], "town": ["a", "b"]}), "column 'town' of the probe's inputs holds"),
        (pd.Series(["a", "b"], name="town"), "column 'town'"),
        (pd.DataFrame({"kind": pd.Categorical([1, 2])}), "column 'kind' .* category"),
        ([[1, 2], [3]], "rows of unlike length"),
        ([1.0, None], "numbers"),
        (np.array(["2020-01-01"], "M8[D]"), "is not numbers"),
        (None, "NoneType"),
        (3.0, "one value is no batch"),
        (torch.tensor(3.0), "one value is no batch"),
        ((X, None), "input 1"),
        ((X, IDS[:5]), r"unlike lengths \(0: \(6, 4\), 1: \(5, 3\)\)"),
        ({"a": X, "b": IDS[:5]}, r"unlike lengths \(a: \(6, 4\), b: \(5, 3\)\)"),
        ({}, "empty dict"),
        ({"a": None}, "empty dict"),
        ({1: X}, "names .* must be strings"),
        (X[:0], r"are empty \(\(0, 4\)\)"),
        (X[:, :0], r"are empty \(\(6, 0\)\)"),
        ([], "are empty"),
        (X.to_sparse(), "make them dense"),
        (X.to("meta"), "have no values; give them on the CPU"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_input_is_refused(value, message):
    with pytest.raises(InfoplaneError, match=message) as caught:
        as_inputs(value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        (X, Y),
        [X.numpy(), Y.tolist()],
        TensorDataset(X, Y),
        Listed([(row.numpy(), int(label)) for row, label in zip(X, Y, strict=True)]),
        Listed([(row.tolist(), int(label)) for row, label in zip(X, Y, strict=True)]),
        DataLoader(TensorDataset(X, Y), batch_size=4),
        DataLoader(Listed([(row, "ab"[label]) for row, label in zip(X, Y, strict=True)]), batch_size=4),
        Samples(as_inputs(X), Y),
    ],
    ids=lambda data: type(data).__name__,
)
def test_every_form_of_a_probe(data):
    samples = as_samples(data)
    assert len(samples) == N
    torch.testing.assert_close(samples.inputs.parts["0"].float(), X)
    assert [{"a": 0, "b": 1}.get(label, label) for label in list(samples.labels)] == Y.tolist()
    assert samples.indices is None
    some = as_samples(data, lambda labels: torch.tensor([5, 0, 2]))
    torch.testing.assert_close(some.inputs.parts["0"].float(), X[[5, 0, 2]])
    assert [{"a": 0, "b": 1}.get(label, label) for label in list(some.labels)] == [1, 0, 0]
    assert some.indices.tolist() == [5, 0, 2]
    again = as_samples(some, lambda labels: torch.tensor([2, 1]))
    assert again.indices.tolist() == [2, 0]
    torch.testing.assert_close(again.inputs.parts["0"].float(), X[[2, 0]])


@pytest.mark.parametrize("name", ["labels", "label"])
@pytest.mark.parametrize(
    "make",
    [
        lambda name: {"input_ids": IDS, name: Y},
        lambda name: Encoding({"input_ids": IDS.tolist(), name: Y.tolist()}),
        lambda name: Listed([{"input_ids": row, name: label} for row, label in zip(IDS, Y, strict=True)]),
        lambda name: Listed([{"input_ids": row, name: label} for row, label in zip(IDS.tolist(), Y, strict=True)]),
        lambda name: Listed([({"input_ids": row}, int(label)) for row, label in zip(IDS, Y, strict=True)]),
        lambda name: DataLoader(
            Listed([{"input_ids": row, name: label} for row, label in zip(IDS, Y, strict=True)]), batch_size=4
        ),
    ],
)
def test_probes_by_name(make, name):
    samples = as_samples(make(name))
    assert list(samples.inputs.parts) == ["input_ids"]
    assert samples.inputs.parts["input_ids"].tolist() == IDS.tolist()
    assert list(samples.labels) == Y.tolist()


@pytest.mark.parametrize(
    "data",
    [
        ((X, IDS), Y),
        Listed([((x, ids), label) for x, ids, label in zip(X, IDS, Y, strict=True)]),
        DataLoader(Listed([((x, ids), label) for x, ids, label in zip(X, IDS, Y, strict=True)]), batch_size=5),
    ],
    ids=lambda data: type(data).__name__,
)
def test_probes_of_several_inputs(data):
    parts = as_samples(data).inputs.parts
    assert list(parts) == ["0", "1"]
    assert torch.equal(parts["1"], IDS)


@pytest.mark.parametrize(
    "labels",
    [pd.DataFrame({"a": [0, 1] * 3}), pd.Series(list("ababab"), index=range(9, 15)), range(6), np.arange(6)],
)
def test_labels_keep_their_form(labels):
    samples = as_samples((X, labels), lambda labels: torch.tensor([3, 0]))
    assert np.asarray(samples.labels).reshape(-1).tolist() == np.asarray(labels).reshape(-1)[[3, 0]].tolist()
    assert isinstance(samples.labels, list if isinstance(labels, range) else type(labels))


class Noisy(Dataset):
    """A data set whose items are augmented at random."""

    def __len__(self):
        return N

    def __getitem__(self, place):
        return X[place] + torch.rand(4) + random.random() + np.random.rand(), int(Y[place])  # noqa: NPY002


@pytest.mark.parametrize("own", [None, torch.Generator()])
@pytest.mark.parametrize("make", [Noisy, lambda: DataLoader(Noisy(), batch_size=2, shuffle=True)])
def test_reading_leaves_random_states_alone(make, own):
    data = make()
    if isinstance(data, DataLoader):
        data = DataLoader(Noisy(), batch_size=2, shuffle=True, generator=own)

    def states():
        generator = torch.Generator() if own is None else own
        numbers = np.random.get_state()[1].tolist()  # noqa: NPY002
        return [torch.get_rng_state().tolist(), random.getstate(), numbers, generator.get_state().tolist()]

    before = states()
    as_samples(data, lambda labels: torch.tensor([1, 2]))
    assert states() == before


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((X, Y[:-1]), r"inputs \(6, 4\) and labels \(5,\)"),
        ((X, list("abc")), r"inputs \(6, 4\) and labels \(3,\)"),
        (({"a": X, "b": IDS}, Y[:-1]), r"inputs a: \(6, 4\), b: \(6, 3\) and labels \(5,\)"),
        ((list(X[:, :3, None]), Y), r"3: \(3, 1\), … 6 in all and labels \(6,\); torch.stack a list of samples"),
        ((X, torch.tensor(1)), "the labels are one value a sample, not one Tensor"),
        ((X, "ababab"), "the labels are one value a sample, not one str"),
        ((X, None), "the labels are one value a sample, not one NoneType"),
        ((X, Y, Y), r"a probe is \(inputs, labels\).*this tuple has 3 items"),
        (X, r"a probe is \(inputs, labels\).*got Tensor"),
        (None, "got NoneType"),
        ({"input_ids": IDS}, "this dict has no 'labels' but input_ids"),
        ({"labels": Y}, "empty dict"),
        (TensorDataset(X), "a Dataset's items are .*this tuple has 1 items"),
        (TensorDataset(X, Y, Y), "a Dataset's items are .*this tuple has 3 items"),
        (Listed([]), "the Dataset is empty"),
        (Boasting([(X[0], 0), (X[1], 1)]), "says that it has 9 items, but gives none at 2"),
        (Listed([(object(), 0)]), "of type object; give it a transform"),
        (Listed([("text", 0), ("more", 1)]), "tokenise"),
        (Listed([(X[0], 0), (X[0, :2], 1)]), "unlike shapes"),
        (Listed([(X[0].numpy(), 0), (X[0, :2].numpy(), 1)]), "unlike shapes"),
        (Listed([({"a": X[0]}, 0), ({"b": X[0]}, 1)]), "other inputs from item to item"),
        (DataLoader(TensorDataset(X)), "a DataLoader's batches are .*this list has 1 items"),
        (DataLoader(Listed([(X[0], 0), (X[0, :2], 1)])), "unlike shapes"),
        (DataLoader(Listed([])), "no batches"),
        (torch.utils.data.ChainDataset([]), "without a length"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_probe_is_refused(data, message):
    with pytest.raises(InfoplaneError, match=message) as caught:
        as_samples(data)
    assert "\n" not in str(caught.value)
