import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import (
    EarlyExit,
    Experts,
    Functional,
    FunctionalBranch,
    Halves,
    Pieces,
    Recurrent,
    SequenceFirst,
    SharedActivation,
    StatesNet,
    TakesGradient,
    Text,
    TwoViews,
    classes,
)
from scipy.spatial.distance import pdist
from torch import Tensor, nn

from infoplane import Recorder, open_run
from infoplane.errors import InfoplaneError
from infoplane.recording.layers import Layer, Port
from infoplane.recording.passes import reductions


def recorded(model: nn.Module, inputs, path, layers=None, labels=None, **options) -> dict[str, np.ndarray]:
    """Activations of one snapshot by layer."""
    labels = (
        classes(len(inputs) if isinstance(inputs, Tensor) else len(inputs["input_ids"]))
        if labels is None
        else labels
    )
    options = {"keep": "activations", "batch_size": 50, "force": True} | options
    with Recorder(model, (inputs, labels), path, layers, **options) as recorder:
        recorder.snapshot(0)
    with open_run(path) as run:
        snapshot = run.snapshots[0]
        found = {layer.name: snapshot.activations(layer.name) for layer in run.layers}
        assert all(found[layer.name].shape[1:] == layer.shape for layer in run.layers)
        return found


def same(found: np.ndarray, right: Tensor) -> bool:
    return found.shape == right.shape and np.allclose(found, right.detach().numpy(), atol=1e-6)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.h5"


@pytest.fixture
def vectors():
    return torch.randn(130, 20, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("model", [Pieces(16), Pieces(1), Pieces(47), Halves(0)])
def test_pieces_are_put_together_in_the_order_of_the_calls(model, vectors, path):
    found = recorded(model, vectors, path)
    assert same(found["act"], torch.tanh(model.fc(vectors)))
    assert same(found["out"], model(vectors))


@pytest.mark.parametrize(
    ("model", "layer", "message"),
    [
        (Experts(), "expert.1", r"expert\.1 .*(sees part of the batch|cannot be recorded)"),
        (EarlyExit(), "second", r"second.*(sees part of the batch|cannot be recorded)|unknown layer 'second'"),
        (TwoViews(), "project", "project cannot be recorded"),
    ],
)
def test_rows_that_are_not_those_of_the_batch_are_refused_by_name(model, layer, message, vectors, path):
    with pytest.raises(InfoplaneError, match=message):
        recorded(model, vectors, path, [layer])


class Routed(nn.Module):
    """Few samples take the second way, none of the first three."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.expert, self.out = nn.Linear(20, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        there = x[:, 0] < 100
        return self.out(torch.zeros_like(h).index_put((there,), self.expert(h[there])))


def test_a_batch_of_which_a_layer_sees_part_is_named_with_its_rows(vectors, path):
    vectors[60:63, 0] = 1000
    with pytest.raises(InfoplaneError, match=r"expert gave \d+ rows of a batch of \d+: it sees part of the batch"):
        recorded(Routed(), vectors, path, ["expert"])
    # What was finished before is safe, and the natural layers are refused by the same name.
    with pytest.raises(InfoplaneError, match=r"expert gave \d+ rows of a batch of \d+"):
        recorded(Routed(), vectors, path)


def test_a_layer_that_skips_a_batch_or_changes_its_shape_is_refused(vectors, path):
    class Skips(Routed):
        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            return self.out(self.expert(h) if (x[:, 0] < 100).all() else h)

    class Grows(Routed):
        def forward(self, x: Tensor) -> Tensor:
            h = self.expert(self.first(x))
            return self.out(h if (x[:, 0] < 100).all() else torch.stack([h, h], 1)).flatten(1)[:, :3]

    vectors[60, 0] = 1000
    with pytest.raises(InfoplaneError, match=r"expert was not called on a batch of \d+"):
        recorded(Skips(), vectors, path, ["expert"])
    with pytest.raises(InfoplaneError, match=r"out gave rows of shape \(2, 3\), and \(3,\) when it was chosen"):
        recorded(Grows(), vectors, path, ["out"])


def test_calls_in_pieces_that_cannot_be_told_apart_are_refused(vectors, path):
    class SharedPieces(SharedActivation):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([super(SharedPieces, self).forward(piece) for piece in x.split(25)])

    with pytest.raises(
        InfoplaneError,
        match=r"act was called 4 times on a batch of 32, with 25, 25, 7, 7 rows, and 2 times when it was chosen",
    ):
        recorded(SharedPieces(20, 8, 8, 3), vectors, path, ["act#0"])


def test_the_axis_of_samples_comes_first_in_the_file(vectors, path):
    model = StatesNet()
    found = recorded(model, vectors, path, ["encoder", "out"])
    assert same(found["encoder"], model.encoder(vectors).transpose(0, 1))
    sequences = torch.randn(60, 5, 4)
    model = SequenceFirst()
    found = recorded(model, sequences, path)
    assert same(found["rnn"], model.rnn(model.inside(sequences.transpose(0, 1)))[0].transpose(0, 1))


def test_every_call_is_recorded_as_itself(vectors, path, caplog):
    model = SharedActivation(20, 32, 16, 3)
    found = recorded(model, vectors, path)
    first = torch.relu(model.fc[0](vectors))
    assert same(found["act#0"], first)
    assert same(found["act#1"], torch.relu(model.fc[1](first)))
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        last = recorded(model, vectors, path, ["act"])["act"]
    assert same(last, torch.relu(model.fc[1](first)))
    assert "act is called 2 times in a forward pass" in caplog.text
    model = Recurrent()
    found = recorded(model, vectors, path)
    h = torch.relu(model.inside(vectors))
    for call in range(4):
        assert same(found[f"act#{call}"], h)
        h = torch.relu(model.again(h))


@pytest.mark.parametrize("activation", [torch.relu, lambda x: x * torch.sigmoid(x), torch.sin])
def test_what_the_next_layer_receives_is_recorded(activation, vectors, path):
    model = Functional(activation)
    found = recorded(model, vectors, path)
    first = activation(model.fc1(vectors))
    assert same(found["fc1"], first)
    assert same(found["fc2"], activation(model.fc2(first)))
    with open_run(path) as run:
        assert "in forward, as fc2 receives it" in run.layers[0].note


def test_a_warning_names_what_could_not_be_followed_once(vectors, path, caplog):
    model = FunctionalBranch()
    with caplog.at_level(logging.WARNING), Recorder(model, (vectors, classes(130)), path) as recorder:
        recorder.snapshot(0)
        recorder.snapshot(1)
    assert caplog.text.count("left is followed by relu in forward: its value before it is recorded") == 1
    assert same(recorded(model, vectors, path)["left"], model.left(vectors))


def test_padded_positions_are_left_out(path):
    words = torch.randint(1, 30, (60, 6))
    words[::2, 4:] = 0
    for model in (Text().eval(), Text(padding=None).eval()):
        found = recorded(model, words, path, labels=torch.arange(60) % 2)
        assert list(found) == ["words", "encoder.layers.0", "encoder.layers.1", "head"]
        for name in ("encoder.layers.0", "encoder.layers.1"):
            assert (found[name][::2, 4:] == 0).all()
            assert (found[name][1::2, 4:] != 0).any()
        with torch.no_grad():
            torch.backends.mha.set_fastpath_enabled(False)
            right = model.encoder.layers[0](model.words(words), src_key_padding_mask=words == 0)
            torch.backends.mha.set_fastpath_enabled(True)
        kept = words != 0
        np.testing.assert_allclose(found["encoder.layers.0"][kept], right[kept].numpy(), atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_sequences_are_reduced_without_their_padding(side, path):
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.hidden, self.out = nn.Embedding(30, 8), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            h, kept = self.hidden(self.words(input_ids)), attention_mask[..., None]
            return self.out((h * kept).sum(1) / kept.sum(1))

    model, ids = Tokens(), torch.randint(0, 30, (40, 6))
    lengths = 1 + torch.arange(40) % 6
    mask = (torch.arange(6) < lengths[:, None]).long()
    mask = mask.flip(1) if side == "left" else mask
    inputs = {"input_ids": ids, "attention_mask": mask}
    hidden = model.hidden(model.words(ids))
    rows = torch.arange(40)
    ends = {"first": mask.argmax(1), "last": 5 - mask.flip(1).argmax(1)}
    for how in ("first", "last"):
        found = recorded(model, inputs, path, reduce=how)
        assert same(found["hidden"], hidden[rows, ends[how]])
        assert found["out"].shape == (40, 3)
    kept = mask[..., None]
    assert same(recorded(model, inputs, path, reduce="mean")["hidden"], (hidden * kept).sum(1) / kept.sum(1))
    found = recorded(model, inputs, path, reduce={"hidden": "mean"})
    assert same(found["hidden"], (hidden * kept).sum(1) / kept.sum(1))
    assert same(found["words"], model.words(ids) * kept)


def test_reductions_that_make_no_sense_are_refused():
    words = Layer("words", (6, 8), "Embedding", port=Port("words", 0, "out", (), 0, 1, positions=0))
    layers = [words, Layer("out", (3,), "Linear", port=Port("out", 0, "out", (), 0, 1))]
    assert reductions(layers, "mean") == {"words": "mean"}
    assert reductions(layers, "flatten") == {}
    with pytest.raises(InfoplaneError, match="reduce 'max': choose one of flatten, first, last, mean"):
        reductions(layers, "max")
    with pytest.raises(InfoplaneError, match="out has no positions to take the mean of"):
        reductions(layers, {"out": "mean"})
    with pytest.raises(InfoplaneError, match="reduce names the layer 'h', which is not recorded"):
        reductions(layers, {"h": "mean"})


def test_a_network_that_takes_a_gradient_is_recorded(vectors, path):
    model = TakesGradient()
    found = recorded(model, vectors, path, ["fc", "energy"])
    hidden = torch.tanh(model.fc(vectors))
    assert same(found["fc"], hidden)
    assert same(found["energy"], model.energy(hidden))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_complex_and_sparse_and_integer_values_are_recorded_as_real_ones(vectors, path):
    class Size(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return z.abs()

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside, self.size = nn.Linear(20, 8, dtype=torch.complex64), Size()
            self.sparse, self.code = nn.Identity(), nn.Identity()
            self.out = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.size(self.inside(x.to(torch.complex64)))
            h = self.sparse(h.to_sparse()).to_dense()
            return self.out(h) + self.code(h.argmax(1))[:, None]

    model = Odd()
    found = recorded(model, vectors, path, ["inside", "sparse", "code"])
    z = model.inside(vectors.to(torch.complex64))
    assert same(found["inside"], torch.view_as_real(z))
    assert same(found["sparse"], z.abs())
    assert same(found["code"], z.abs().argmax(1))
    with open_run(path) as run:
        right = np.sqrt(pdist(z.real.detach()) ** 2 + pdist(z.imag.detach()) ** 2)
        np.testing.assert_allclose(run.snapshots[0].distances("inside"), right, rtol=1e-5)


@settings(max_examples=15, deadline=None)
@given(batch_size=st.integers(1, 40), seed=st.integers(0, 100))
def test_neither_the_size_of_batches_nor_the_order_of_samples_matters(tmp_path_factory, batch_size, seed):
    torch.manual_seed(seed)
    x, model = torch.randn(30, 20), SharedActivation(20, 8, 6, 3)
    path = tmp_path_factory.mktemp("runs") / "run.h5"
    whole = recorded(model, x, path, batch_size=30)
    order = torch.randperm(30)
    turned = recorded(model, x[order], path, labels=classes(30)[order], batch_size=batch_size)
    for name, values in whole.items():
        np.testing.assert_allclose(turned[name], values[order], atol=1e-6)


class SortedByLength(nn.Module):
    """Sorts its sentences by their lengths, as packing asks for, and gives what it makes in that order."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.hidden, self.out = nn.Embedding(30, 8, 0), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        order = (ids != 0).sum(1).argsort(stable=True)
        return self.out(torch.tanh(self.hidden(self.words(ids[order]))).mean(1))


class Rolled(nn.Module):
    """Shifts its batch by one, for the negatives of a contrast."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.negative, self.out = nn.Linear(20, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc(x)
        return self.out(h) + self.negative(h.roll(1, 0)).sum(1, keepdim=True)


class TurnedWhenLarge(Rolled):
    """In order for a few samples, turned around for many."""

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.negative(self.fc(x.flip(0) if len(x) > 8 else x)))


def test_rows_in_another_order_are_refused_also_where_few_samples_do_not_show_it(vectors, path):
    ids = torch.randint(1, 30, (60, 6))
    ids[5:, 4:] *= (torch.arange(55) % 3 > 0).long()[:, None]
    with pytest.raises(InfoplaneError, match="gives its rows in another order than the samples"):
        recorded(SortedByLength(), ids, path, ["hidden"])
    with pytest.raises(InfoplaneError, match="negative cannot be recorded: its rows are in another order"):
        recorded(Rolled(), vectors, path, ["negative"])
    with pytest.raises(InfoplaneError, match="fc gives its rows in another order"):
        recorded(TurnedWhenLarge(), vectors, path, ["fc"])
    assert not path.exists()


def test_noise_and_statistics_of_the_batch_are_no_other_order(vectors, path):
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.norm = nn.Linear(20, 8), nn.BatchNorm1d(8, track_running_stats=False)
            self.out = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.norm(self.fc(x + torch.randn_like(x))))

    # 101 samples in batches of 50: no sample is left alone, for which there are no statistics.
    assert recorded(Noisy(), vectors[:101], path)["norm"].shape == (101, 8)


class Pair(nn.Module):
    """Two sentences, each with its own padding, through one embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.act, self.out = nn.Embedding(30, 8, 0), nn.Tanh(), nn.Linear(16, 3)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.out(torch.cat([self.act(self.words(part) + 1).mean(1) for part in (first, second)], 1))


def test_each_sentence_has_its_own_padding(path):
    first, second = torch.randint(1, 30, (2, 40, 6))
    first[::2, 4:], second[1::2, 3:] = 0, 0
    model = Pair()
    found = recorded(model, {"first": first, "second": second}, path, ["act#*"], labels=classes(40))
    for call, ids in enumerate((first, second)):
        assert same(found[f"act#{call}"], torch.tanh(model.words(ids) + 1) * (ids != 0)[..., None])


class Convolved(nn.Module):
    """A convolution over words, with as many channels as positions."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.conv, self.out = nn.Embedding(30, 8, 0), nn.Conv1d(8, 6, 3, padding=1), nn.Linear(6, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(self.conv(self.words(ids).transpose(1, 2)).mean(2))


def test_positions_are_told_from_channels(path):
    ids = torch.randint(1, 30, (40, 6))
    ids[::2, 4:] = 0
    model, kept = Convolved(), (ids != 0)[:, None]
    right = model.conv(model.words(ids).transpose(1, 2))
    assert same(recorded(model, ids, path)["conv"], right * kept)
    mean = recorded(model, ids, path, reduce="mean")
    assert same(mean["conv"], (right * kept).sum(2) / kept.sum(2))
    assert mean["out"].shape == (40, 3)
    with pytest.raises(InfoplaneError, match="no layer has positions to take the mean of"):
        recorded(SharedActivation(20, 8, 3), torch.randn(40, 20), path, reduce="mean")


def test_a_causal_mask_is_no_padding(path):
    class Causal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.inner, self.out = nn.Embedding(30, 8), Inner(), nn.Linear(8, 3)

        def forward(self, ids: Tensor) -> Tensor:
            causal = torch.full((6, 6), -1e9).triu(1)
            return self.out(self.inner(self.words(ids), attention_mask=causal).mean(1))

    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(8, 8)

        def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
            return self.fc(torch.softmax(attention_mask, 1) @ x)

    ids = torch.randint(0, 30, (42, 6))
    found = recorded(Causal(), ids, path, batch_size=6)
    assert (np.abs(found["inner"]).sum(2) > 0).all()
