"""The swap test: known chains, known leaks."""

import numpy as np
import pytest
import torch
from networks import Functional, Pieces, SharedActivation, Text
from torch import Tensor, nn

from infoplane import Recorder, open_run
from infoplane.models import build_model
from infoplane.recording.layers import natural_of, selected_of
from infoplane.recording.passes import Passes
from infoplane.recording.samples import as_inputs
from infoplane.recording.swap_test import swap_test
from infoplane.recording.trace import trace
from infoplane.runfile.schema import EXACT


def deltas(model: nn.Module, inputs: Tensor, layers: list[str] | None = None) -> np.ndarray:
    torch.manual_seed(1)
    probe = as_inputs(inputs)
    traced = trace(model, probe.take(torch.arange(3)))
    chosen = natural_of(traced) if layers is None else selected_of(traced, layers)
    return swap_test(Passes(model, probe, traced, 250, {}), chosen)


VECTORS = torch.randn(100, 20, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(80, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (Functional(), VECTORS),
        (Functional(lambda x: x * torch.sigmoid(x)), VECTORS),
        (SharedActivation(20, 16, 8, 3), VECTORS),
        (build_model("cnn", (3, 8, 8), 10), IMAGES),
        (build_model("resnet20", (3, 8, 8), 10), IMAGES),
        (nn.Sequential(nn.Linear(20, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)), VECTORS),
    ],
)
def test_chains_have_none(model, inputs):
    found = deltas(model, inputs)
    assert len(found) > 0
    assert (found <= EXACT).all()


class Leaky(nn.Module):
    """A chain of three layers, of which the last also sees the input, by so much."""

    def __init__(self, leak: float) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2, self.leak = nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 20), leak
        self.out = nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.fc2(self.act(self.fc1(x))) + self.leak * x)


def test_a_leak_shows_by_its_weight():
    # The layers are the first one and the logits, as the sum is made outside of any module.
    torch.manual_seed(0)
    found = [deltas(Leaky(leak), VECTORS, ["act", "out"])[0] for leak in (0.0, 0.01, 0.1, 1.0, 10.0)]
    assert found[0] <= EXACT
    assert 100 * EXACT < found[1] < found[2] < found[3]
    assert found[3:] == pytest.approx([1, 1], abs=0.15)


def test_inside_a_block_and_against_the_order_it_is_no_chain():
    model = build_model("resnet20", (3, 8, 8), 10)
    inside = deltas(model, IMAGES, ["layer1.0", "layer1.1.residual", "layer1.1"])
    assert inside[0] <= EXACT  # the residual comes from the block before it alone
    assert inside[1] > 0.1
    (backwards,) = deltas(Leaky(0.0), VECTORS, ["fc1", "act"])
    assert backwards <= EXACT

    class Apart(nn.Module):
        """Two layers beside each other."""

        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(20, 8), nn.Linear(20, 8)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.left(x), self.right(x)], 1)

    assert deltas(Apart(), VECTORS, ["left", "right"])[0] == pytest.approx(1)


def test_mixing_the_samples_of_a_batch_shows():
    model = nn.Sequential(nn.Linear(20, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.Linear(8, 3))
    (found,) = deltas(model, VECTORS, ["0", "2"])
    assert found > 100 * EXACT


def test_what_cannot_be_swapped_is_unknown():
    assert np.isnan(deltas(Pieces(2), VECTORS)).all()
    constant = nn.Sequential(nn.Linear(20, 8), nn.Linear(8, 3))
    nn.init.zeros_(constant[1].weight)
    assert np.isnan(deltas(constant, VECTORS)).all()


def test_it_leaves_the_network_as_it_was():
    model = build_model("cnn", (3, 8, 8), 10).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data = IMAGES.clone()
    deltas(model, data)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(data, IMAGES)
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())


def test_masks_of_padding_are_a_way_around_a_layer():
    words = torch.randint(1, 30, (60, 6))
    assert (deltas(Text(), words) <= EXACT).all()
    words[::2, 4:] = 0
    assert (deltas(Text(), words) > EXACT).any()


class Sum(nn.Module):
    """A shortcut around two layers, in a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(20, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.third(self.second(h) + h)


def text_of(path):
    with open_run(path) as run:
        return repr(run)


def test_a_run_keeps_what_its_links_were(tmp_path):
    labels = torch.arange(100) % 3
    path = tmp_path / "run.h5"
    with Recorder(Functional(), (VECTORS, labels), path) as recorder:
        recorder.snapshot(0)
        with open_run(path) as run:
            assert {*run.links} == {"first"}
        recorder.snapshot(1)
    with open_run(path) as run:
        assert {*run.links} == {"first", "last"}
        assert all((found <= EXACT).all() and len(found) == 2 for found in run.links.values())
    assert "chain      exact (at the first snapshot and at the end)" in text_of(path)
    with Recorder(Functional(), (VECTORS, labels), path, resume=True):
        pass
    with open_run(path) as run:
        assert {*run.links} == {"first", "last"}
    with Recorder(Sum(), (VECTORS, labels), path, force=True) as recorder:
        recorder.snapshot(0)
    assert "leaks (δ): second → third" in text_of(path)
    with Recorder(Pieces(2), (VECTORS, labels), path, force=True) as recorder:
        recorder.snapshot(0)
    assert "1 of 1 links unknown" in text_of(path)


def test_a_run_that_was_broken_off_keeps_the_first(tmp_path):
    def broken_off() -> None:
        with Recorder(Functional(), (VECTORS, torch.arange(100) % 3), tmp_path / "run.h5") as recorder:
            recorder.snapshot(0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    with open_run(tmp_path / "run.h5") as run:
        assert {*run.links} == {"first"}
