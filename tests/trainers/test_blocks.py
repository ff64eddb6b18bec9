import copy

import pytest
import torch
import torchvision
from networks import Functional, FunctionalPooled
from torch import nn

from infoplane.errors import InfoplaneError
from infoplane.models import build_model
from infoplane.recording.layers import tensor_of
from infoplane.trainers.blocks import grouped, merge, saved_bytes, split_into_blocks
from infoplane.trainers.methods import method
from infoplane.trainers.objectives.base import BlockInfo, Layout, LossSettings, Pass
from infoplane.trainers.task import Targets, Task


def run_through(blocks, x):
    for block in blocks:
        x = block(x)
    return x


@pytest.mark.parametrize(
    ("name", "shape", "blocks"),
    [
        ("mlp", (1, 8, 8), 5),
        ("cnn", (1, 8, 8), 6),
        ("lenet5", (1, 28, 28), 5),
        ("vgg6", (3, 16, 16), 6),
        ("resnet20", (3, 16, 16), 11),
        ("torchvision:resnet18", (3, 32, 32), 10),
        ("mobilenet_v2", (3, 32, 32), 20),
        ("densenet121", (3, 32, 32), 9),
        ("googlenet", (3, 64, 64), 13),
    ],
)
def test_blocks_are_the_network(name, shape, blocks):
    model = build_model(name, shape, 10)
    x = torch.randn(4, *shape)
    chain = split_into_blocks(model, x[:2])
    assert len(chain.blocks) == len(chain.names) == blocks
    assert chain.shapes[0] == shape
    assert chain.shapes[-1] == (10,)
    model.eval()
    for block in chain.blocks:
        block.eval()
    assert torch.equal(run_through(chain.blocks, x), model(x))
    own = {id(p) for block in chain.blocks for p in block.parameters()}
    assert own == {id(p) for p in model.parameters()}


def test_training_flags_reach_what_is_inside():
    class Dropping(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(20, 20)

        def forward(self, x):
            return nn.functional.dropout(self.linear(x), 0.5, self.training)

    chain = split_into_blocks(nn.Sequential(Dropping(), nn.Linear(20, 3)), torch.randn(2, 20))
    x = torch.randn(5, 20)
    chain.blocks[0].train()
    assert (chain.blocks[0](x) == 0).any()
    chain.blocks[0].eval()
    assert not (chain.blocks[0](x) == 0).any()


class FunctionalDropout(nn.Module):
    """Asks for `self.training` between its units, as networks without `nn.Dropout` do."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(20, 20), nn.Linear(20, 20), nn.Linear(20, 3)
        self.register_buffer("mean", torch.zeros(20))
        self.register_buffer("variance", torch.ones(20))

    def forward(self, x):
        x = nn.functional.dropout(torch.relu(self.first(x)), 0.5, training=self.training)
        x = nn.functional.batch_norm(self.second(x), self.mean, self.variance, None, None, self.training)
        return self.head(torch.relu(x))


@pytest.mark.parametrize("as_given", ["train", "eval"])
def test_what_forward_asks_of_training_is_asked_by_the_block(as_given):
    model = getattr(FunctionalDropout(), as_given)()
    chain = split_into_blocks(model, torch.randn(2, 20))
    assert model.training == (as_given == "train")
    assert model.mean.eq(0).all()
    x = torch.randn(50, 20)
    for block in chain.blocks:
        block.train()
    below = chain.blocks[0](x)
    assert 0.6 < (below == 0).float().mean() < 0.9  # half by ReLU, half of the rest by dropout
    normal = chain.blocks[1](below)
    assert model.mean.ne(0).any()
    assert not torch.equal(normal, chain.blocks[1].eval()(below))
    torch.manual_seed(0)
    whole = model.train()(x)
    torch.manual_seed(0)
    assert torch.equal(whole, run_through([block.train() for block in chain.blocks], x))
    assert torch.equal(model.eval()(x), run_through([block.eval() for block in chain.blocks], x))


def test_another_way_in_training_is_refused():
    class Noisy(FunctionalDropout):
        def forward(self, x):
            x = self.first(x)
            if self.training:
                x = x + torch.randn_like(x)
            return self.head(torch.relu(self.second(torch.relu(x))))

    for model in (Noisy().train(), Noisy().eval()):
        with pytest.raises(InfoplaneError, match=r"asks for self\.training outside of its units"):
            split_into_blocks(model, torch.randn(2, 20))


class Bypassing(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.second(self.first(x)) + x)


class Branching(nn.Sequential):
    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)


def test_what_is_no_chain_is_named():
    with pytest.raises(InfoplaneError, match=r"no chain of blocks: what comes after (first|second) also uses"):
        split_into_blocks(Bypassing(), torch.randn(2, 6))
    with pytest.raises(InfoplaneError, match="cannot be split into blocks"):
        split_into_blocks(Branching(nn.Linear(6, 6), nn.Linear(6, 3)), torch.randn(2, 6))
    tied = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    tied[2].weight = tied[0].weight
    with pytest.raises(InfoplaneError, match="share parameters"):
        split_into_blocks(tied, torch.randn(2, 6))
    twice = nn.Linear(6, 6)
    with pytest.raises(InfoplaneError):
        split_into_blocks(nn.Sequential(twice, nn.ReLU(), twice, nn.ReLU(), nn.Linear(6, 3)), torch.randn(2, 6))


def test_between_becomes_part_of_the_network():
    def halve(x):
        return x / 2

    model = build_model("mlp", (8,), 3, widths=[6, 5])
    x = torch.randn(4, 8)
    chain = split_into_blocks(model, x[:2], halve)
    assert torch.equal(run_through(chain.blocks, x), chain.model(x))
    assert not torch.allclose(chain.model(x), model(x))
    one, two = chain.blocks[0](x), model.fc1(model.flatten(x))
    assert torch.equal(one, two)
    assert set(chain.model.state_dict()) == set(model.state_dict())
    assert dict(chain.model.named_modules()).keys() >= {"fc1", "fc2", "logits"}


def test_groups_are_as_even_as_can_be():
    assert grouped([1, 1, 1, 1], 2) == [2, 2]
    assert grouped([8, 1, 1, 1, 1], 2) == [1, 4]
    assert grouped([1, 2, 3, 4, 5], 1) == [5]
    assert grouped([1, 2, 3], 3) == [1, 1, 1]
    assert grouped([3, 3, 3, 9], 3) == [1, 2, 1]


def test_merged_blocks_are_the_network():
    chain = split_into_blocks(build_model("cnn", (1, 8, 8), 10), torch.randn(2, 1, 8, 8))
    merged = merge(chain, [2, 1, 3])
    assert merged.names == ("conv2", "conv3", "logits")
    assert merged.shapes == (chain.shapes[0], chain.shapes[2], chain.shapes[3], chain.shapes[6])
    x = torch.randn(3, 1, 8, 8)
    chain.model.eval()
    assert torch.equal(run_through(merged.blocks, x), chain.model(x))


def test_saved_bytes_by_hand():
    """A linear layer keeps its input, ReLU its output; parameters do not count."""
    model = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    chain = split_into_blocks(model, torch.randn(2, 10))
    assert saved_bytes(chain, torch.randn(7, 10)) == [7 * 4 * (10 + 20), 7 * 4 * (20 + 30), 7 * 4 * 30]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


IMAGE = (3, 32, 32)


def torchvision_vit():
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
    return torchvision.models.VisionTransformer(image_size=32, patch_size=8, num_classes=3, **sizes)


def torchvision_swin():
    sizes = {"patch_size": [4, 4], "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4]}
    return torchvision.models.SwinTransformer(num_classes=3, **sizes)


def timm_vit(name="vit_tiny_patch16_224"):
    timm = pytest.importorskip("timm")
    sizes = {"patch_size": 8, "depth": 2, "embed_dim": 16, "num_heads": 2}
    return timm.create_model(name, img_size=32, num_classes=3, **sizes)


def timm_deit():
    return timm_vit("deit_tiny_patch16_224")


def timm_swin():
    timm = pytest.importorskip("timm")
    sizes = {"window_size": 4, "embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2)}
    return timm.create_model("swin_tiny_patch4_window7_224", img_size=32, num_classes=3, **sizes)


def huggingface_vit():
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ViTConfig(image_size=32, patch_size=8, num_labels=3, **sizes)
    return transformers.ViTForImageClassification(config)


TRANSFORMERS = [torchvision_vit, torchvision_swin, timm_vit, timm_deit, timm_swin, huggingface_vit]


@pytest.mark.parametrize("build", TRANSFORMERS)
def test_transformers_are_chains(build):
    """For any batch size, with all parameters in the blocks, and without a change to the network."""
    model = build()
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    chain = split_into_blocks(model, torch.randn(2, *IMAGE, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert len(chain.blocks) >= 3
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    own = {id(p) for block in chain.blocks for p in block.parameters()}
    assert own == {id(p) for p in model.parameters()}
    for part in (model, *chain.blocks):
        part.eval()
    for n in (1, 2, 3, 7):
        x = torch.randn(n, *IMAGE)
        outputs = [x]
        for block in chain.blocks:
            outputs.append(block(outputs[-1]))
        assert [tuple(output.shape) for output in outputs[:-1]] == [(n, *shape) for shape in chain.shapes[:-1]]
        assert torch.equal(tensor_of(outputs[-1]), tensor_of(model(x)))


@pytest.mark.parametrize("build", TRANSFORMERS)
def test_transformers_train_block_by_block(build):
    """One step of local cross-entropy moves each block's own parameters, by its own loss."""
    chain = split_into_blocks(build(), torch.randn(2, *IMAGE))
    task = Task(3, False)
    targets = Targets(torch.arange(6) % 3, None)
    inputs = below = torch.randn(6, *IMAGE)
    for index, block in enumerate(chain.blocks):
        layout = Layout(chain.shapes[index + 1], chain.channels[index])
        # (rows, columns, channels) or (positions, channels).
        if 0 < index < len(chain.blocks) - 1 and len(layout.shape) > 1:
            assert layout.channels == len(layout.shape) - 1
        info = BlockInfo(
            index,
            len(chain.blocks),
            IMAGE,
            chain.shapes[index],
            layout.maps,
            chain.blocks[index + 1 :],
            task,
            layout,
        )
        objective = method("greedy-ce").make(info, LossSettings())
        output = tensor_of(block(below))
        seen = layout.to_maps(output)
        objective.loss(Pass(output=seen, inputs=inputs, below=below, targets=targets)).backward()
        for part in chain.blocks:
            moved = [p.grad is not None for p in part.parameters()]
            assert all(moved) if part is block else not any(moved)
        block.zero_grad(set_to_none=True)
        below = output.detach()


class Sized(nn.Module):
    """Uses what it knows of its input before the first unit in all units after it."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.first, self.second, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def known(self, x):
        n, features = x.shape
        torch._assert(features == 6, f"not {features}")
        match self.kind:
            case "size":
                return torch.ones(features).expand(n, -1) / features
            case "half":
                return x.size(0) // 2
            case "shape":
                return x.shape
            case "branch":
                return 0 if self.first.bias.sum() > 0 else 1
            case "parameter":
                return self.first.bias * 2
            case "frozen":
                return int(n)
            case "sum":
                return x.sum(1, keepdim=True)
            case "item":
                return x.sum().item()

    def forward(self, x, mask=None):
        known = self.known(x)
        x = self.first(x)
        if mask is not None:
            x = x * mask
        x = self.second(x)
        x = x.reshape(known) if self.kind == "shape" else x + known
        return self.head(x)


@pytest.mark.parametrize("kind", ["size", "half", "shape"])
def test_sizes_are_no_bypass(kind):
    model = Sized(kind)
    chain = split_into_blocks(model, torch.randn(2, 6))
    assert chain.names == ("first", "second", "head")
    for n in (1, 2, 3, 5, 8):
        x = torch.randn(n, 6)
        assert torch.equal(run_through(chain.blocks, x), model(x))


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("sum", "after second also uses sum_1"),
        ("item", "after second also uses item"),
        ("parameter", "blocks first and head share parameters"),
        ("branch", "cannot be split into blocks: its forward depends on the values"),
        ("frozen", "for 3 inputs"),
    ],
)
def test_what_is_no_size_is_a_bypass(kind, complaint):
    with pytest.raises(InfoplaneError, match=complaint):
        split_into_blocks(Sized(kind), torch.randn(2, 6))


class Recurrent(nn.Module):
    def __init__(self, tell_all=False):
        super().__init__()
        self.tell_all = tell_all
        self.lstm, self.hidden, self.head = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x):
        x, (state, _) = self.lstm(x)
        x = self.hidden(x[:, -1])
        return self.head(x + state[0] if self.tell_all else x)


def test_one_of_several_results_goes_on():
    model = Recurrent()
    chain = split_into_blocks(model, torch.randn(2, 7, 4))
    x = torch.randn(5, 7, 4)
    assert chain.names == ("lstm", "hidden", "head")
    assert torch.equal(run_through(chain.blocks, x), model(x))
    with pytest.raises(InfoplaneError, match="what comes after lstm also uses"):
        split_into_blocks(Recurrent(tell_all=True), torch.randn(2, 7, 4))


@pytest.mark.parametrize("activation", [torch.relu, lambda x: x * torch.sigmoid(x), lambda x: x.clamp_(min=0)])
def test_an_activation_in_forward_belongs_to_the_block_before_it(activation):
    model, x = Functional(activation), torch.randn(3, 20)
    chain = split_into_blocks(model, x)
    assert chain.names == ("fc1", "fc2", "fc3")
    torch.testing.assert_close(chain.blocks[0](x), activation(model.fc1(x)))


def test_a_flattened_map_stays_a_map():
    model, x = FunctionalPooled(), torch.randn(3, 1, 8, 8)
    chain = split_into_blocks(model, x)
    assert chain.shapes == ((1, 8, 8), (4, 4, 4), (3,))
    assert (chain.blocks[0](x) >= 0).all()


class Made(nn.Module):
    """Makes tensors in `forward`, and takes as much of a parameter as its input is long."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.places, self.embed = nn.Parameter(torch.randn(1, 9, 6)), nn.Embedding(9, 6)

    def forward(self, x):
        x = (x - torch.tensor(0.1)) / torch.tensor([1.0, 2, 3, 4, 5, 6]) + self.places[:, : x.shape[1]]
        x = torch.relu(self.first(x + self.embed(torch.arange(5))))
        x = self.second(x)
        return self.head(torch.where(x > 0, x, torch.tensor(0.0)).mean(1))


def test_what_forward_makes_is_the_same_in_training():
    model = Made()
    before = set(vars(model))
    chain = split_into_blocks(model, torch.randn(2, 5, 6))
    # Names in checkpoints of blocks, of which there is one a tensor.
    assert {name for name in vars(model) if name not in before} == {f"_tensor_constant{k}" for k in range(4)}
    x = torch.randn(3, 5, 6)
    assert torch.equal(model.eval()(x), run_through([block.eval() for block in chain.blocks], x))


def test_a_part_that_stays_in_evaluation_drops_nothing():
    class Fixed(FunctionalDropout):
        def train(self, mode=True):
            return super().train(False)

    chain = split_into_blocks(Fixed(), torch.randn(2, 20))
    x = torch.randn(5, 20)
    first = chain.blocks[0].train()
    assert torch.equal(first(x), first(x))


def test_channels_are_those_of_what_is_not_flattened_yet():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.h = nn.Linear(6, 8), nn.Linear(8, 7), nn.Linear(63, 3)

        def forward(self, x):
            return self.h(torch.relu(self.b(torch.relu(self.a(x)))).flatten(1))

    chain = split_into_blocks(Tokens(), torch.randn(2, 9, 6))
    assert (chain.shapes, chain.channels) == (((9, 6), (9, 8), (9, 7), (3,)), (1, 1, 0))
