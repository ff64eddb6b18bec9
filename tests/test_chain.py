import pytest
import torch
from torch import nn

from infoplane.errors import InfoplaneError
from infoplane.models import build_model
from infoplane.trainers.chain import grouped, merge, saved_bytes, split_into_blocks


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
