import pytest
import torch
from blocks import IMAGE, MAP, VECTOR, info
from torch import nn

from infoplane.errors import InfoplaneError
from infoplane.trainers.objectives.base import BlockInfo, Layout
from infoplane.trainers.objectives.heads import build_head
from infoplane.trainers.task import Task

SPECS = ["linear", "conv:1", "conv:2", "mlp-sr", "next:1", "next:3", "pool:16"]


def parameters(head):
    return sum(weights.numel() for weights in head.parameters())


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("shape", [MAP, (6, 1, 1), (6, 1, 3), (6, 3, 2), (6, 9, 9), VECTOR, (5, 12)], ids=str)
@pytest.mark.parametrize("boxes", [False, True])
def test_outputs_of_the_task_from_any_shape(spec, shape, boxes):
    if spec.startswith("next") and min(shape[1:], default=9) < 2:
        pytest.skip("the next block halves the map")
    head = build_head(spec, info(shape, boxes=boxes))
    output = torch.randn(4, *shape, requires_grad=True)
    kept = output.detach().clone()
    outputs = head(output)
    assert outputs.shape == (4, 7 if boxes else 3)
    outputs.sum().backward()
    assert torch.isfinite(output.grad).all()
    assert torch.equal(output.detach(), kept)


def test_linear_averages_over_a_grid():
    head = build_head("linear", info((1, 4, 4)))
    output = torch.arange(16.0).reshape(1, 1, 4, 4)
    means = torch.tensor([[2.5, 4.5, 10.5, 12.5]])
    torch.testing.assert_close(head(output), head[-1](means))


def test_sizes():
    classes, width = 3, MAP[0]
    assert parameters(build_head("linear", info())) == (width * 4 + 1) * classes
    assert parameters(build_head("conv:2", info())) == 2 * (9 * width**2 + 2 * width) + (width * 4 + 1) * classes
    assert parameters(build_head("conv:2", info(VECTOR))) == 2 * (12 * 12 + 12) + 13 * classes
    # The map of 4×4 is reduced to one pixel, so the perceptron is as wide as the block.
    expected = 3 * (width**2 + 2 * width) + 2 * (width * (width + 1) + 2 * width) + (width + 1) * classes
    assert parameters(build_head("mlp-sr", info())) == expected
    assert parameters(build_head("mlp-sr", info((6, 16, 16)))) > parameters(build_head("linear", info())) * 10


def test_pool_halves_rows_and_columns_in_turn_until_the_features_fit():
    for shape, features, width in [
        ((64, 32, 32), 2048, 64 * 4 * 8),
        ((4, 8, 8), 256, 256),
        ((4, 8, 8), 255, 128),
        ((4, 5, 5), 60, 4 * 3 * 5),
        ((4, 2, 2), 1, 4),
        ((100,), 10, 100),
    ]:
        head = build_head(f"pool:{features}", info(shape))
        assert head[-1].in_features == width
        assert head[-1].weight.abs().sum() == 0


def test_next_copies_the_following_blocks_with_new_weights_and_leaves_out_the_last():
    convolutions = [nn.Conv2d(1, 1, 3, padding=1) for _ in range(3)]
    task = Task(2)
    last = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    spot = BlockInfo(0, 5, IMAGE, IMAGE, (1, 4, 4), [*convolutions, last], task)
    assert parameters(build_head("next:2", spot)) == 2 * 10 + 5 * 2
    assert parameters(build_head("next:9", spot)) == 3 * 10 + 5 * 2
    head = build_head("next:1", spot)
    assert not torch.equal(head[0].weight, convolutions[0].weight)
    final = BlockInfo(3, 5, IMAGE, IMAGE, (1, 4, 4), [last], task)
    assert parameters(build_head("next:1", final)) == 5 * 2


def test_next_resets_statistics_and_leaves_the_blocks_as_they_were():
    norm = nn.BatchNorm2d(1)
    norm(torch.randn(4, 1, 3, 3) + 5)
    dropout = nn.Dropout(0.5)
    block = nn.Sequential(norm, dropout, nn.ReLU(inplace=True))
    state = torch.get_rng_state()
    head = build_head("next:1", BlockInfo(0, 3, IMAGE, IMAGE, (1, 3, 3), [block, nn.Linear(9, 2)], Task(2)))
    assert head[0][0].running_mean.item() == 0
    assert norm.running_mean.item() != 0
    assert block[2].inplace
    assert norm.training
    assert head[0][0].training
    assert not torch.equal(torch.get_rng_state(), state)


def test_the_same_seed_gives_the_same_head():
    heads = []
    for _ in range(2):
        torch.manual_seed(3)
        heads.append(build_head("conv:1", info()).state_dict())
    assert all(torch.equal(heads[0][key], heads[1][key]) for key in heads[0])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lin", "unknown auxiliary classifier 'lin'; did you mean linear"),
        ("cnov:1", "did you mean conv:1"),
        ("conv", "write 'conv:1'"),
        ("conv:0", "write 'conv:1'"),
        ("conv:x", "write 'conv:1'"),
        ("next:-1", "write 'next:1'"),
        ("pool:2.5", "write 'pool:2048'"),
        ("linear:2", "write 'linear'"),
        ("mlp-sr:", "write 'mlp-sr'"),
    ],
)
def test_bad_specifications(spec, message):
    with pytest.raises(InfoplaneError, match=message):
        build_head(spec, info())


@pytest.mark.parametrize(
    ("shape", "channels", "maps"),
    [
        ((4, 5, 3), 2, (3, 4, 5)),
        ((3, 4, 5), 0, (3, 4, 5)),
        ((7, 6), 1, (6, 7, 1)),
        ((6, 7), 0, (6, 7, 1)),
        ((9,), 0, (9,)),
    ],
)
def test_maps_have_their_channels_first(shape, channels, maps):
    layout = Layout(shape, channels)
    output = torch.randn(2, *shape)
    seen = layout.to_maps(output)
    assert layout.maps == maps == tuple(seen.shape[1:])
    assert torch.equal(layout.from_maps(seen), output)
    if len(shape) > 1:
        assert torch.equal(seen[:, 1].flatten(), output.select(channels + 1, 1).flatten())


@pytest.mark.parametrize("spec", ["linear", "conv:1", "mlp-sr", "pool:64", "next:1"])
@pytest.mark.parametrize(("shape", "channels"), [((8, 8, 6), 2), ((17, 6), 1)])
def test_auxiliary_classifiers_of_transformers_are_as_small_as_those_of_maps(spec, shape, channels):
    layout = Layout(shape, channels)
    following = [nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 4)]
    info = BlockInfo(0, 4, IMAGE, IMAGE, layout.maps, following, Task(4), layout)
    head = build_head(spec, info)
    assert head(layout.to_maps(torch.randn(5, *shape))).shape == (5, 4)
    assert sum(parameter.numel() for parameter in head.parameters()) < 2000
