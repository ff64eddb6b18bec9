import numpy as np
import pytest
import torch
from networks import (
    Cell,
    Experts,
    Functional,
    FunctionalBranch,
    FunctionalPooled,
    GivesDataclass,
    GivesDict,
    Halves,
    Pieces,
    Reads,
    Recurrent,
    SequenceFirst,
    SharedActivation,
    SortedByLength,
    StatesNet,
    TakesGradient,
    Text,
    TwoViews,
)
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

from infoplane.errors import InfoplaneError
from infoplane.recording.layers import (
    hookable_layers,
    left_out,
    natural_layers,
    natural_of,
    select_layers,
    selected_of,
)
from infoplane.recording.samples import as_inputs
from infoplane.recording.trace import trace

VECTORS = torch.randn(3, 20, generator=torch.Generator().manual_seed(0))
SEQUENCES = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))


def names(model: nn.Module, example: Tensor = VECTORS) -> list[str]:
    return [layer.name for layer in natural_layers(model, example)]


def place(model: nn.Module, name: str, example: Tensor = VECTORS) -> tuple[int, tuple[int, ...]]:
    (layer,) = select_layers(model, example, [name])
    return layer.port.axis, layer.shape


def test_the_axis_of_samples_follows_the_size_of_the_batch():
    assert place(StatesNet(), "encoder") == (1, (2, 12))
    assert place(SequenceFirst(), "rnn", SEQUENCES) == (1, (5, 6))
    # With as many positions as the smaller batch has samples.
    assert place(SequenceFirst(), "rnn", SEQUENCES[:, :2]) == (1, (2, 6))
    assert place(SequenceFirst(nn.LSTM), "inside", SEQUENCES) == (1, (5, 6))


@pytest.mark.parametrize("model", [Pieces(64), Pieces(2), Pieces(1), Halves(0)])
def test_a_batch_in_pieces_is_one_layer_a_module(model):
    assert names(model) == ["act", "out"]
    assert [layer.shape for layer in natural_layers(model, VECTORS)] == [(8,), (3,)]


def test_what_has_no_row_for_each_sample_is_refused_by_name_with_the_reason():
    with pytest.raises(InfoplaneError, match=r"project cannot be recorded: no axis of its output \(4, 4\)"):
        select_layers(TwoViews(), VECTORS, ["project"])
    with pytest.raises(InfoplaneError, match="fc cannot be recorded: its rows are in another order"):
        select_layers(SortedByLength(), VECTORS, ["fc"])
    assert names(TwoViews()) == ["fc"]
    with pytest.raises(InfoplaneError, match=r"no layer to record in SortedByLength.*fc: its rows are in another"):
        names(SortedByLength())
    assert "inside" in names(Experts())


def test_outputs_are_looked_into_and_others_can_be_chosen():
    assert place(Reads(GivesDataclass()), "inside") == (0, (8,))
    # The first tensor that carries data, not the constant before it.
    model = Reads(GivesDict())
    (layer,) = select_layers(model, VECTORS, ["inside"])
    assert (layer.shape, layer.port.path) == ((8,), ("h",))
    assert "tensor h of its output, which also has scaled, aux" in layer.note
    (other,) = select_layers(model, VECTORS, ["inside@scaled"])
    assert (other.name, other.port.path) == ("inside@scaled", ("scaled",))
    with pytest.raises(
        InfoplaneError, match=r"unknown tensor in the output of inside 'scale'; did you mean scaled"
    ):
        select_layers(model, VECTORS, ["inside@scale"])
    (states,) = select_layers(StatesNet(), VECTORS, ["encoder.rnn@1.0"])
    assert (states.port.axis, states.shape) == (1, (2, 12))


def test_packed_sequences_are_padded_and_in_the_order_of_the_samples():
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = nn.GRU(4, 6, batch_first=True), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            lengths = 1 + (x[:, :, 0] > 0).sum(1).cpu()
            lengths[0] = 5
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            return self.out(self.rnn(packed)[1][-1])

    assert place(Packed(), "rnn", SEQUENCES)[0] == 0


def test_packing_by_lengths_that_are_counted_is_no_activation():
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.rnn = nn.Embedding(9, 4, padding_idx=0), nn.GRU(4, 6, batch_first=True)
            self.out = nn.Linear(6, 3)

        def forward(self, tokens: Tensor) -> Tensor:
            lengths = (tokens != 0).sum(1).cpu()
            packed = pack_padded_sequence(self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False)
            return self.out(self.rnn(packed)[1][-1])

    layers = natural_layers(Reader(), torch.tensor([[1, 2, 0], [3, 0, 0], [4, 5, 6]]))
    assert [(layer.name, layer.warning) for layer in layers] == [("embedding", ""), ("rnn", ""), ("out", "")]


def test_calls_of_a_shared_activation_are_addressed():
    model = SharedActivation(20, 32, 16, 3)
    assert names(model) == ["act#0", "act#1", "fc.2"]
    assert [layer.shape for layer in natural_layers(model, VECTORS)] == [(32,), (16,), (3,)]
    assert place(model, "act#0") == (0, (32,))
    (last,) = select_layers(model, VECTORS, ["act"])
    assert (last.shape, last.port.number) == ((16,), 1)
    assert "its last call is recorded; act#0 to act#1 name one of them" in last.warning
    assert [layer.name for layer in select_layers(model, VECTORS, ["act#*"])] == ["act#0", "act#1"]
    with pytest.raises(InfoplaneError, match="act has no call 2: a forward pass calls it 2 times"):
        select_layers(model, VECTORS, ["act#2"])


def test_a_layer_used_again_in_depth_is_a_unit_each_time_and_a_cell_over_positions_is_one():
    assert names(Recurrent()) == ["act#0", "act#1", "act#2", "act#3", "out"]
    assert names(Cell(), SEQUENCES) == ["cell#4", "out"]


@pytest.mark.parametrize(
    "activation",
    [
        functional.relu,
        torch.tanh,
        functional.gelu,
        lambda x: functional.leaky_relu(x, 0.1, inplace=True),
        lambda x: x * torch.sigmoid(x),
        lambda x: x.clamp(min=0),
        lambda x: torch.where(x > 0, x, 0.1 * x),
        lambda x: functional.softsign(x),
        lambda x: x**2,
        lambda x: functional.normalize(x),
        lambda x: (x > 0).float(),
    ],
)
def test_an_activation_in_forward_is_part_of_the_layer_before_it(activation):
    layers = natural_layers(Functional(activation), VECTORS)
    assert [layer.name for layer in layers] == ["fc1", "fc2", "fc3"]
    assert [(layer.port.module, layer.port.side) for layer in layers] == [
        ("fc2", "in"),
        ("fc3", "in"),
        ("fc3", "out"),
    ]
    assert "in forward, as fc2 receives it" in layers[0].note
    assert not any(layer.warning for layer in layers)


def test_maxout_and_gates_made_of_one_output_are_followed():
    class Gate(Functional):
        def forward(self, x: Tensor) -> Tensor:
            value, gate = self.fc1(x).chunk(2, -1)
            h = torch.relu(self.fc2(torch.cat([value * torch.sigmoid(gate)] * 2, 1)))
            return self.fc3(h.view(len(h), -1, 2).max(-1).values.repeat(1, 2))

    first, second, _ = natural_layers(Gate(), VECTORS)
    assert (first.shape, first.note) == ((8,), "with sigmoid, mul in forward, as fc2 receives it")
    assert (second.shape, second.note) == ((6,), "with relu, max in forward, as fc3 receives it")


class Digits(nn.Module):
    """The example that comes with PyTorch: pooling, then the activation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.fc = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(functional.max_pool2d(self.conv1(x), 2))
        x = functional.relu(functional.max_pool2d(self.conv2(x), 2))
        return self.fc(x.flatten(1))


def test_pooling_before_an_activation_belongs_to_it():
    layers = natural_layers(Digits(), torch.randn(3, 1, 8, 8))
    assert [(layer.name, layer.shape) for layer in layers] == [("conv1", (4, 4, 4)), ("conv2", (4,)), ("fc", (3,))]


def test_pooling_by_itself_is_no_activation():
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act, self.fc = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.act(self.conv(x)).amax((2, 3)))

    layers = natural_layers(Pooled(), torch.randn(3, 1, 8, 8))
    assert [(layer.name, layer.shape) for layer in layers] == [("act", (4, 8, 8)), ("fc", (3,))]


def test_pooling_after_such_an_activation_belongs_to_it():
    layers = natural_layers(FunctionalPooled(), torch.randn(3, 1, 8, 8))
    assert [(layer.name, layer.shape) for layer in layers] == [("conv", (64,)), ("fc", (3,))]
    assert "with relu, max_pool2d" in layers[0].note


def test_an_activation_that_cannot_be_followed_is_warned_of_by_name():
    layers = {layer.name: layer for layer in natural_layers(FunctionalBranch(), VECTORS)}
    assert layers["left"].warning.startswith("left is followed by relu in forward: its value before it is recorded")
    assert layers["right"].warning.startswith("right is joined with other data in forward (add): its value before")
    assert not layers["out"].warning


def test_a_sum_in_forward_of_the_network_is_warned_of_by_name():
    class Residual(Functional):
        def forward(self, x: Tensor) -> Tensor:
            h = torch.relu(self.fc1(x))
            h = torch.relu(self.fc2(h) + h[:, :6])
            return self.fc3(h)

    first, second, last = natural_layers(Residual(), VECTORS)
    assert "with relu in forward" in first.note
    assert second.warning.startswith("fc2 is joined with other data in forward (add) and followed by relu")
    assert not last.warning


def test_what_natural_layers_leave_out_is_named():
    class Frames(nn.Module):
        """One layer for every frame of a film, folded into the batch."""

        def __init__(self) -> None:
            super().__init__()
            self.frame, self.rnn, self.out = nn.Linear(4, 6), nn.GRU(6, 6, batch_first=True), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.relu(self.frame(x.flatten(0, 1))).unflatten(0, x.shape[:2])
            return self.out(self.rnn(h)[0][:, -1])

    class Outside(Functional):
        """Leaves torch for a moment."""

        def forward(self, x: Tensor) -> Tensor:
            return self.fc3(self.fc2(torch.from_numpy(np.tanh(self.fc1(x).numpy()))))

    traced = trace(Frames(), SEQUENCES)
    assert [layer.name for layer in natural_of(traced)] == ["rnn", "out"]
    assert left_out(traced)[0].startswith("frame is left out: no axis of its output (10, 6)")
    traced = trace(Outside(), VECTORS)
    assert "the way of the data to the output is lost" in left_out(traced)[0]
    assert [layer.name for layer in selected_of(traced, ["fc?"])] == ["fc1", "fc2", "fc3"]
    traced = trace(nn.Sequential(torch.jit.script(nn.Linear(20, 8)), nn.Linear(8, 3)), VECTORS)
    assert left_out(traced) == ["0 is left out: TorchScript calls no hooks; put in the module it was made from"]
    assert not left_out(trace(Functional(), VECTORS))


def test_spikes_carry_the_data_on():
    class Spiking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(20, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc2((self.fc1(x) > 0).float())

    assert names(Spiking()) == ["fc1", "fc2"]


def test_a_name_with_signs_of_calls_and_tensors_is_taken_as_it_is():
    model = nn.Sequential()
    model.add_module("a#0", nn.Linear(20, 8))
    model.add_module("b@x", nn.Linear(8, 8))
    model.add_module("[c]", nn.Linear(8, 3))
    for name in ("a#0", "b@x", "[c]"):
        assert [layer.name for layer in select_layers(model, VECTORS, [name])] == [name]


def test_a_network_that_gives_nan_is_traced():
    model = Functional()
    with torch.no_grad():
        model.fc1.weight[0, 0] = float("nan")
    assert names(model) == ["fc1", "fc2", "fc3"]


def test_numbers_that_become_positions_are_no_tokens():
    class Tabular(nn.Module):
        """A table of fractions, of which one column is a category."""

        def __init__(self) -> None:
            super().__init__()
            self.words, self.out = nn.Embedding(3, 4), nn.Linear(23, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.cat([self.words(x[:, 0].abs().clamp(max=2).long()), x[:, 1:]], 1))

    assert trace(Tabular(), VECTORS).tokens == {}


def test_an_activation_after_the_last_layer_is_no_part_of_it():
    class Probabilities(Functional):
        def forward(self, x: Tensor) -> Tensor:
            return torch.softmax(super().forward(x), dim=1)

    last = natural_layers(Probabilities(), VECTORS)[-1]
    assert (last.name, last.port.side, last.warning) == ("fc3", "out", "")


def test_branches_over_memory_that_is_written_in_place_are_seen():
    class Fills(nn.Module):
        """Writes both halves of its output into one tensor."""

        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(20, 4), nn.Linear(20, 4)

        def forward(self, x: Tensor) -> Tensor:
            filled = torch.zeros(len(x), 8)
            filled[:, :4] = self.left(x)
            filled[:, 4:] = self.right(x)
            return filled

    assert names(nn.Sequential(Fills(), nn.Linear(8, 3))) == ["0", "1"]


def test_layers_are_chosen_as_they_are_recorded():
    words = torch.randint(1, 30, (3, 6))
    words[0, 4:] = 0
    assert names(Text(), words) == ["words", "encoder.layers.0", "encoder.layers.1", "head"]
    traced = trace(Text(), words)
    assert traced.tokens == {"0": 0}
    assert not traced.gradients


def test_a_network_that_takes_a_gradient_in_forward_is_traced_and_left_without_any():
    model = TakesGradient()
    traced = trace(model, VECTORS)
    assert traced.gradients
    assert all(parameter.grad is None for parameter in model.parameters())
    assert "fc" in [layer.name for layer in hookable_layers(model, VECTORS)]


def test_integer_inputs_are_tokens_only_where_they_are_looked_up():
    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.out = nn.EmbeddingBag(30, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.words(x))

    class OneHot(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(30, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(functional.one_hot(x, 30).float().sum(1))

    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(x.float())

    ids = torch.randint(0, 30, (3, 6))
    assert trace(Bag(), ids).tokens == {"0": None}
    assert trace(OneHot(), ids).tokens == {"0": None}
    assert trace(Counts(), ids).tokens == {}


def test_networks_that_cannot_run_are_named_in_one_line():
    with pytest.raises(InfoplaneError, match=r"fails on 2 samples of the probe in evaluation mode: RuntimeError"):
        trace(nn.Linear(7, 2), VECTORS)
    with pytest.raises(InfoplaneError, match="a TorchScript network calls no hooks"):
        trace(torch.jit.script(nn.Linear(20, 8)), VECTORS)
    with pytest.raises(InfoplaneError, match="lazy layers"):
        trace(nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2)), VECTORS)


def test_a_mask_is_a_constant_of_the_trace():
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.blocks, self.out = (
                nn.Embedding(30, 8),
                nn.ModuleList(nn.Linear(8, 8) for _ in range(2)),
                nn.Linear(8, 3),
            )

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            h, weights = self.words(input_ids), attention_mask[..., None].float()
            for block in self.blocks:
                h = torch.relu(block(h * weights))
            return self.out((h * weights).mean(1))

    ids = torch.randint(0, 30, (3, 6))
    by_name = as_inputs({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    by_place = as_inputs((ids, torch.ones_like(ids)))
    for inputs in (by_name, by_place):
        assert [layer.name for layer in natural_layers(Masked(), inputs)] == [
            "words",
            "blocks.0",
            "blocks.1",
            "out",
        ]
