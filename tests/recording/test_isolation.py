import random

import numpy as np
import pytest
import torch
from networks import TakesGradient, classes
from torch import Tensor, nn
from torch.nn import functional

from infoplane import Recorder, open_run
from infoplane.errors import InfoplaneError
from infoplane.recording.isolation import eval_mode, undisturbed


class Scaled(nn.Module):
    """Changes its input in place."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(20, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x /= 2.0
        return self.out(torch.relu(self.fc(x)))


class Counts(Scaled):
    """Counts its calls in buffers, in place and by putting another tensor in the place of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(20))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        return self.out(torch.relu(self.fc(x - self.mean * self.count.remainder(2))))


class Noisy(Scaled):
    """Draws from every source of random numbers, in evaluation mode too."""

    def forward(self, x: Tensor) -> Tensor:
        scale = 1 + 0.1 * random.random() + 0.1 * np.random.random()  # noqa: NPY002
        return self.out(torch.relu(self.fc(x + torch.randn_like(x))) * scale)


class MaxNorm(nn.Module):
    """Writes to its embedding's weights in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(30, 8, max_norm=1.0), nn.Linear(48, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.words(x).flatten(1))


class Renormalised(Scaled):
    """Renormalises its weights by way of `data`, as EEGNet does."""

    def forward(self, x: Tensor) -> Tensor:
        self.fc.weight.data = torch.renorm(self.fc.weight.data * 1.01, 2, 0, 0.5)
        return self.out(torch.relu(self.fc(x)))


class Instance(Scaled):
    """Statistics of the batch, and an old spectral norm with its power iteration in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8, track_running_stats=False)
        self.out = nn.utils.spectral_norm(self.out)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.norm(self.fc(x))))


class Force(nn.Module):
    """Gives the gradient of an energy, summed into three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = TakesGradient()

    def forward(self, x: Tensor) -> Tensor:
        return self.inside(x)[:, :3]


class Statistics(Scaled):
    """Moves statistics of the batch in forward, whatever the mode, and a graph holds them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("variance", torch.ones(8))
        self.register_buffer("scale", torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        h = functional.batch_norm(self.fc(x), self.mean, self.variance, training=True)
        self.scale.mul_(0.9).add_(0.1 * h.detach().abs().mean(0))
        return self.out(torch.relu(h * self.scale))


class Merging(Scaled):
    """An adapter that is merged into the weights for evaluation, as loralib does it."""

    def __init__(self) -> None:
        super().__init__()
        self.adapter, self.merged = nn.Parameter(torch.randn(8, 20) / 7), False

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        if mode == self.merged:
            self.fc.weight.data += -self.adapter.data if mode else self.adapter.data
            self.merged = not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        weight = self.fc.weight if self.merged else self.fc.weight + self.adapter
        return self.out(torch.relu(functional.linear(x, weight, self.fc.bias)))


class Remembers(Scaled):
    """Keeps a term of its loss, a counter, a state and a generator as plain attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.state, self.generator = 0, torch.zeros(8), torch.Generator().manual_seed(3)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        h = torch.relu(self.fc(x)) + 0.1 * self.state + torch.rand((), generator=self.generator)
        self.state = h.mean(0).detach()
        self.penalty = h.square().mean() * self.calls
        return self.out(h)


KINDS = [Statistics, Merging, Remembers, Scaled, Counts, Noisy, MaxNorm, Renormalised, Instance, Force]


def train(kind: type[nn.Module], path=None) -> tuple[dict[str, Tensor], Tensor, tuple[float, ...]]:
    """A plain loop on data of one's own; with a path, recorded on part of them."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    x = torch.randint(0, 30, (200, 6)) if kind is MaxNorm else torch.randn(200, 20)
    y, model = classes(200), kind()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    recorder = Recorder(model, (x[:100], y[:100]), path, batch_size=40, force=True) if path else None
    for step in range(8):
        rows = torch.randperm(200)[:64]
        loss = functional.cross_entropy(model(x[rows]), y[rows])
        if recorder:
            # Between forward and backward, as a loop may do it.
            recorder.snapshot(step, loss=loss)
        optimizer.zero_grad()
        (loss + getattr(model, "penalty", 0)).backward()
        optimizer.step()
    if recorder:
        recorder.close()
    drawn = (random.random(), float(np.random.random()), float(torch.rand(())))  # noqa: NPY002
    return {name: value.clone() for name, value in model.state_dict().items()}, x, drawn


@pytest.mark.parametrize("kind", KINDS)
def test_recording_changes_no_bit_of_training_data_buffers_or_random_state(kind, tmp_path):
    plain, plain_data, plain_drawn = train(kind)
    recorded, data, drawn = train(kind, tmp_path / "run.h5")
    assert plain.keys() == recorded.keys()
    for name, value in plain.items():
        assert torch.equal(value, recorded[name]), name
    assert torch.equal(plain_data, data)
    assert plain_drawn == drawn


def test_each_snapshot_sees_the_probe_as_it_was_given(tmp_path):
    torch.manual_seed(0)
    x, model = torch.randn(60, 20), Scaled()
    given = x.clone()
    with Recorder(model, (x, classes(60)), tmp_path / "run.h5", keep="activations") as recorder:
        recorder.snapshot(0)
        x.zero_()
        recorder.snapshot(1)
    with open_run(tmp_path / "run.h5") as run:
        first, second = (snapshot.activations("fc") for snapshot in run.snapshots)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, torch.relu(model.fc(given / 2)).detach().numpy(), atol=1e-6)


def test_buffers_that_nobody_wrote_to_are_left_alone():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval()
    model[1].running_mean.fill_(float("nan"))
    versions = [buffer._version for buffer in model.buffers()]
    output = model(torch.randn(5, 4)).sum()
    with undisturbed(model):
        model(torch.randn(3, 4))
    assert [buffer._version for buffer in model.buffers()] == versions
    output.backward()  # a graph that holds the buffers goes on


def test_gradients_that_stand_are_put_back():
    model = nn.Linear(4, 2)
    model.weight.grad = torch.ones(2, 4)
    held = model.weight.grad
    with undisturbed(model, gradients=True):
        model(torch.randn(3, 4)).sum().backward()
    assert model.weight.grad is held
    assert torch.equal(held, torch.ones(2, 4))
    assert model.bias.grad is None


def test_flags_and_states_are_put_back_after_an_error_too():
    model = nn.Sequential(nn.Linear(4, 2), nn.Dropout())
    model[1].eval()
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    fast = torch.backends.mha.get_fastpath_enabled()

    def broken() -> None:
        with undisturbed(model, gradients=True, parameters=True):
            torch.rand(3), random.random(), np.random.random()  # noqa: NPY002
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        broken()
    assert [module.training for module in model.modules()] == [True, True, False]
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()  # noqa: NPY002
    assert torch.backends.mha.get_fastpath_enabled() == fast


def test_a_network_without_evaluation_mode_is_refused():
    class Exported(nn.Module):
        def eval(self):
            raise NotImplementedError("Calling eval() is not supported yet.")

    with pytest.raises(InfoplaneError, match="Exported has no evaluation mode"), eval_mode(Exported()):
        pass


@pytest.mark.parametrize("how", ["whole", "in place", "regional"])
def test_a_compiled_step_compiles_once(how, tmp_path):
    import torch._dynamo
    from torch._dynamo.testing import CompileCounter

    torch._dynamo.reset()
    counter = CompileCounter()
    blocks = [nn.Sequential(nn.Linear(20, 16), nn.ReLU()), nn.Sequential(nn.Linear(16, 8), nn.ReLU())]
    model: nn.Module = nn.Sequential(*blocks, nn.Linear(8, 3))
    x, y = torch.randn(60, 20), classes(60)
    if how == "whole":
        model = torch.compile(model, backend=counter)
    elif how == "in place":
        model.compile(backend=counter)
    else:
        model[0] = torch.compile(model[0], backend=counter)
        model[1].compile(backend=counter)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(model, (x, y), tmp_path / "run.h5", keep="activations") as recorder:
        assert [layer.name for layer in recorder.layers] == ["0", "1", "2"]
        for step in range(12):
            loss = functional.cross_entropy(model(x), y)
            recorder.snapshot(step, loss=loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert counter.frame_count == (2 if how == "regional" else 1)
    with open_run(tmp_path / "run.h5") as run:
        assert len(run.snapshots) == 12
        assert run.snapshots[0].parameters("0") is not None
