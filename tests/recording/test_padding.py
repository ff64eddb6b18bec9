"""Padding is left out where it is, whatever the size of a batch and however many sequences there are."""

import logging

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from infoplane import Recorder, open_run
from infoplane.condensed import condense
from infoplane.kernels import hamming_distances

LENGTH, N = 12, 30


def sentences(n=N, seed=0, shortest=3, longest=8):
    """Tokens from 1, behind them zeros, (n, 12)."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 30, (n, LENGTH), generator=generator)
    lengths = torch.randint(shortest, longest, (n,), generator=generator)
    return torch.where(torch.arange(LENGTH) < lengths[:, None], ids, 0)


def recorded(model, inputs, path, **options):
    """Values of each layer, by name."""
    torch.manual_seed(0)
    labels = torch.arange(len(inputs) if isinstance(inputs, torch.Tensor) else N) % 2
    options = {"keep": "activations", "force": True, **options}
    with Recorder(model, (inputs, labels), path, **options) as recorder:
        recorder.snapshot(0)
    with open_run(path) as run:
        return {layer.name: run.snapshots[0].activations(layer.name) for layer in run.layers}


def zeros(values):
    return (values == 0).all(-1)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)

    def forward(self, x, attention_mask):
        heard, _ = self.attention(x, x, x, key_padding_mask=~attention_mask, need_weights=False)
        return self.norm(x + heard)


class Text(nn.Module):
    """Blocks that are told which positions count; the embedding knows of no padding."""

    def __init__(self):
        super().__init__()
        self.words, self.block1, self.block2 = nn.Embedding(30, 8), Block(), Block()
        self.out = nn.Linear(8, 2)

    def forward(self, ids):
        mask = ids.ne(0)
        h = self.block2(self.block1(self.words(ids), attention_mask=mask), attention_mask=mask)
        return self.out((h * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))


@pytest.mark.parametrize(("n", "batch_size"), [(2 * LENGTH, LENGTH), (2 * LENGTH - 1, LENGTH), (N, 100)])
def test_a_batch_of_as_many_sentences_as_positions_is_masked_as_any_other(n, batch_size, tmp_path):
    ids = sentences(n)
    values = recorded(Text(), ids, tmp_path / "run.h5", batch_size=batch_size)
    for name in ("words", "block1", "block2"):
        np.testing.assert_array_equal(zeros(values[name]), ids.numpy() == 0)


def test_the_padding_of_a_source_is_none_of_its_translation(tmp_path):
    class Translation(nn.Module):
        def __init__(self):
            super().__init__()
            self.source, self.target = nn.Embedding(30, 8), nn.Embedding(30, 8)
            self.both = nn.Transformer(8, 2, 2, 2, 16, batch_first=True, dropout=0.0)
            self.out = nn.Linear(8, 30)

        def forward(self, source, target):
            padded = source.eq(0)
            told = {"src_key_padding_mask": padded, "memory_key_padding_mask": padded}
            if target.eq(0).any():
                told["tgt_key_padding_mask"] = target.eq(0)
            return self.out(self.both(self.source(source), self.target(target), **told))

    source, target = sentences(), sentences(N, 1, LENGTH, LENGTH + 1)
    for translation in (target, target[:, :-2], sentences(N, 1)):
        values = recorded(Translation(), (source, translation), tmp_path / "run.h5")
        np.testing.assert_array_equal(zeros(values["both.encoder.layers.0"]), source.numpy() == 0)
        for name in ("both.decoder.layers.0", "both.decoder.norm", "out"):
            np.testing.assert_array_equal(zeros(values[name]), translation.numpy() == 0)


@pytest.mark.parametrize("length", [LENGTH, LENGTH - 3])
def test_each_half_of_t5_has_its_own_attention_mask(length, tmp_path):
    hf = pytest.importorskip("transformers", reason="Transformers is not installed")
    sizes = {"vocab_size": 30, "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    model = hf.T5Model(hf.T5Config(**sizes, decoder_start_token_id=0))
    source, target = sentences(), sentences(N, 1)[:, :length]
    inputs = {"input_ids": source, "attention_mask": source.ne(0).long(), "decoder_input_ids": target}
    options = {"layers": ["encoder.final_layer_norm", "decoder.final_layer_norm"]}
    for mask in (torch.ones_like(target, dtype=torch.bool), target.ne(0)):
        inputs |= {} if mask.all() else {"decoder_attention_mask": mask.long()}
        values = recorded(model, inputs, tmp_path / "run.h5", **options)
        np.testing.assert_array_equal(zeros(values["encoder.final_layer_norm"]), source.numpy() == 0)
        np.testing.assert_array_equal(zeros(values["decoder.final_layer_norm"]), ~mask.numpy())
        with open_run(tmp_path / "run.h5") as run:
            parts = hamming_distances(source, source.ne(0)) ** 2 + hamming_distances(target, mask) ** 2
            np.testing.assert_allclose(run.probe.distances, np.sqrt(condense(parts.numpy())), rtol=1e-5)


class Longer(nn.Module):
    """A learnt vector before the words, so that the layers have a position more than the input."""

    def __init__(self, padding, fixed=False):
        super().__init__()
        self.words, self.first = nn.Embedding(30, 8, padding_idx=padding), nn.Parameter(torch.randn(1, 1, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
        self.encoder, self.out = nn.TransformerEncoder(layer, 2), nn.Linear(8, 2)
        self.place, self.fixed = nn.Parameter(torch.randn(1, LENGTH + 1, 8)), fixed

    def forward(self, ids):
        padded = torch.cat([torch.zeros(len(ids), 1, dtype=torch.bool), ids.eq(0)], 1)
        h = torch.cat([self.first.expand(len(ids), -1, -1), self.words(ids)], 1)
        h = h + (self.place if self.fixed else self.place[:, : h.shape[1]])
        return self.out(self.encoder(h, src_key_padding_mask=padded)[:, 0])


@pytest.mark.parametrize("padding", [None, 0])
def test_a_mask_that_does_not_fit_hides_none_that_does(padding, tmp_path):
    ids = sentences()
    values = recorded(Longer(padding), ids, tmp_path / "run.h5")
    expected = np.pad(ids.numpy() == 0, [(0, 0), (1, 0)])
    for name in ("encoder.layers.0", "encoder.layers.1"):
        np.testing.assert_array_equal(zeros(values[name]), expected)


def test_a_network_of_one_length_is_warned_of(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        recorded(Longer(0, fixed=True), sentences(), tmp_path / "run.h5")
    assert "padding stays in words" in caplog.text
    assert "without their last position" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        recorded(Longer(0), sentences(), tmp_path / "run.h5")
        recorded(Longer(0, fixed=True), sentences(N, 0, LENGTH, LENGTH + 1), tmp_path / "run.h5")
    assert "padding stays" not in caplog.text


@pytest.mark.parametrize("batch_size", [7, 100])
def test_packed_sequences_are_of_one_length_in_any_order(batch_size, tmp_path):
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.lstm = nn.Embedding(30, 8, padding_idx=0), nn.LSTM(8, 6, batch_first=True)
            self.out = nn.Linear(6, 2)

        def forward(self, ids):
            lengths = ids.ne(0).sum(1)
            packed = pack_padded_sequence(self.words(ids), lengths.cpu(), batch_first=True, enforce_sorted=False)
            return self.out(self.lstm(packed)[1][0][-1])

    model, ids = Packed(), sentences(longest=LENGTH + 1)
    longest = ids.ne(0).sum(1).argsort(descending=True)
    for order in (torch.arange(N), longest, longest.flip(0)):
        values = recorded(model, ids[order], tmp_path / "run.h5", batch_size=batch_size)["lstm"]
        with torch.no_grad():
            lengths = ids[order].ne(0).sum(1)
            packed = pack_padded_sequence(model.words(ids[order]), lengths, batch_first=True, enforce_sorted=False)
            right, _ = pad_packed_sequence(model.lstm(packed)[0], batch_first=True, total_length=LENGTH)
        np.testing.assert_allclose(values, right.numpy(), atol=1e-6)


def test_inputs_that_go_together_are_no_sequence_with_others_of_their_length(tmp_path):
    class Pair(nn.Module):
        """A source with its segments, and a target of the same length that is on a way of its own."""

        def __init__(self):
            super().__init__()
            self.words, self.segments = nn.Embedding(30, 8, padding_idx=0), nn.Embedding(30, 8)
            self.target, self.decoder = nn.Embedding(30, 8, padding_idx=0), nn.Linear(8, 8)
            self.encoder, self.out = nn.Linear(8, 8), nn.Linear(16, 2)

        def forward(self, source, segments, target):
            h = self.encoder(self.words(source) + self.segments(segments))
            return self.out(torch.cat([h.mean(1), self.decoder(self.target(target)).mean(1)], 1))

    source, target = sentences(), sentences(N, 1)
    values = recorded(Pair(), (source, torch.ones_like(source), target), tmp_path / "run.h5")
    np.testing.assert_array_equal(zeros(values["encoder"]), source.numpy() == 0)
    np.testing.assert_array_equal(zeros(values["decoder"]), target.numpy() == 0)


def test_an_encoder_of_two_sentences_has_the_padding_of_each_call(tmp_path):
    class Siamese(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(30, 8)
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
            self.encoder, self.out = nn.TransformerEncoder(layer, 1), nn.Linear(16, 2)

        def forward(self, first, second):
            read = [
                self.encoder(self.words(ids), src_key_padding_mask=ids.eq(0)).mean(1) for ids in (first, second)
            ]
            return self.out(torch.cat(read, 1))

    inputs = sentences(), sentences(N, 1)
    names = [f"encoder.layers.0#{call}" for call in range(2)]
    values = recorded(Siamese(), inputs, tmp_path / "run.h5", layers=names)
    for name, ids in zip(names, inputs, strict=True):
        np.testing.assert_array_equal(zeros(values[name]), ids.numpy() == 0)


@pytest.mark.parametrize("columns", [3, 50])
@pytest.mark.parametrize("reduce", ["flatten", "mean"])
def test_packed_sequences_have_the_length_of_what_was_packed(columns, reduce, tmp_path):
    class Beside(nn.Module):
        """A packed sentence, and a table of any number of columns."""

        def __init__(self):
            super().__init__()
            self.words, self.lstm = nn.Embedding(30, 8, padding_idx=0), nn.LSTM(8, 6, batch_first=True)
            self.table, self.out = nn.Linear(columns, 4), nn.Linear(10, 2)

        def forward(self, ids, table):
            lengths = ids.ne(0).sum(1).cpu()
            packed = pack_padded_sequence(self.words(ids), lengths, batch_first=True, enforce_sorted=False)
            return self.out(torch.cat([self.lstm(packed)[1][0][-1], self.table(table)], 1))

    inputs = sentences(), torch.randn(N, columns, generator=torch.Generator().manual_seed(0))
    values = recorded(Beside(), inputs, tmp_path / "run.h5", layers=["lstm", "out"], reduce=reduce)
    assert values["lstm"].shape == ((N, LENGTH, 6) if reduce == "flatten" else (N, 6))


def test_padding_of_nested_tokens_is_left_out_of_the_distances_between_inputs(tmp_path):
    class Documents(nn.Module):
        """Sentences of words, (n, sentences, words)."""

        def __init__(self):
            super().__init__()
            self.words, self.out = nn.Embedding(30, 8, padding_idx=0), nn.Linear(8, 2)

        def forward(self, ids):
            return self.out(self.words(ids).mean((1, 2)))

    ids = sentences().reshape(N, 3, LENGTH // 3)
    recorded(Documents(), ids, tmp_path / "run.h5")
    with open_run(tmp_path / "run.h5") as run:
        right = condense(hamming_distances(ids, ids.ne(0)).numpy())
        np.testing.assert_allclose(run.probe.distances, right, rtol=1e-6)
