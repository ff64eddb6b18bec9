"""The synchronous path: known ends, known places in between, and a training that does not notice."""

import copy
import itertools
import random
from functools import partial

import numpy as np
import pytest
import torch
from conftest import small_net
from torch import nn
from torch.nn import functional

from infoplane import Recorder, open_run
from infoplane.errors import InfoplaneError
from infoplane.recording.synchronous import progress
from infoplane.runfile import synchronous_path_of, trainings

INPUTS = torch.randn(12, 4, generator=torch.Generator().manual_seed(5))
LABELS = torch.arange(12) % 3


def train(model, steps, recorder=None):
    """A loop with batch norm, dropout and momentum."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for step in range(steps):
        if recorder is not None:
            recorder.snapshot(step)
        loss = functional.cross_entropy(model(torch.randn(16, 1, 8, 8)), torch.randint(0, 3, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if recorder is not None:
        recorder.snapshot(steps)


def stopped(recorder, begin):
    with recorder:
        begin(recorder)
        raise KeyboardInterrupt


def layers_of(path):
    """All activations by step and layer, and the progress."""
    with open_run(path) as run:
        pace = [snapshot.metrics.get("progress") for snapshot in run.snapshots]
        return {s.step: {one.name: s.activations(one.name) for one in run.layers} for s in run.snapshots}, pace


def linear_net():
    net = nn.Sequential(nn.Linear(4, 5, bias=False), nn.Linear(5, 3, bias=False))
    return net, [net[0].weight, net[1].weight]


def test_a_linear_network_is_where_it_is_by_hand(tmp_path):
    net, weights = linear_net()
    path = tmp_path / "run.h5"
    states = []
    with Recorder(net, (INPUTS, LABELS), path, keep="activations", synchronous_path=True) as recorder:
        # The layers move at different speeds, and not on straight lines.
        for step, speeds in enumerate([(0, 0), (0.6, 0.1), (0.5, 0.4), (0.1, 0.9)]):
            with torch.no_grad():
                for weight, speed in zip(weights, speeds, strict=True):
                    weight.add_(speed * torch.randn_like(weight))
            states.append([weight.detach().double().numpy().copy() for weight in weights])
            recorder.snapshot(step)
    ways = [[np.linalg.norm(state[k] - states[-1][k]) for state in states] for k in range(2)]
    pace = [1 - np.mean([way[s] / way[0] for way in ways]) for s in range(4)]
    taken, stored = layers_of(synchronous_path_of(path))
    np.testing.assert_allclose(stored, pace, atol=1e-6)
    assert stored[0] == 0
    assert stored[-1] == 1
    for step, c in enumerate(pace):
        first, second = (a + c * (b - a) for a, b in zip(states[0], states[-1], strict=True))
        hidden = INPUTS.double().numpy() @ first.T
        np.testing.assert_allclose(taken[step]["0"], hidden, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(taken[step]["1"], hidden @ second.T, rtol=1e-4, atol=1e-5)


def test_its_ends_are_those_of_the_training(probe, tmp_path):
    net, path = small_net(dropout=0.5), tmp_path / "run.h5"
    with Recorder(net, probe, path, keep="activations", synchronous_path=True) as recorder:
        train(net, 5, recorder)
    (run, _), (made, pace) = layers_of(path), layers_of(synchronous_path_of(path))
    assert run.keys() == made.keys()
    assert (pace[0], pace[-1]) == (0, 1)
    assert all(0 <= before < after for before, after in itertools.pairwise(pace))
    for name, (step, same) in itertools.product(run[0], [(0, True), (2, False), (5, True)]):
        assert np.array_equal(run[step][name], made[step][name]) == same
    with open_run(path) as first, open_run(synchronous_path_of(path)) as second:
        assert first.layers == second.layers
        np.testing.assert_array_equal(first.probe.distances, second.probe.distances)
        assert second.config["trajectory"] == "synchronous path"
        assert second.config["trajectory_of"] == first.run_id != second.run_id
        assert "synchronous path of run" in repr(second)
        # On the path all layers have the same way to go.
        ways = np.array([second.parameter_distances(layer.name) for layer in second.layers])
        np.testing.assert_allclose(ways / ways[:, :1], [1 - np.array(pace)] * len(ways), atol=1e-5)


def test_running_statistics_move_like_parameters_and_counters_are_those_of_the_end(probe, tmp_path):
    net, path = small_net(), tmp_path / "run.h5"
    first = copy.deepcopy(net.state_dict())
    with Recorder(net, probe, path, layers=["1"], keep="activations", synchronous_path=True) as recorder:
        train(net, 3, recorder)
    taken, pace = layers_of(synchronous_path_of(path))
    last, expected = net.state_dict(), small_net().eval()
    assert not torch.equal(first["1.running_var"], last["1.running_var"])
    between = {
        name: value + pace[2] * (last[name] - value) if value.is_floating_point() else last[name]
        for name, value in first.items()
    }
    expected.load_state_dict(between)
    with torch.no_grad():
        np.testing.assert_allclose(taken[2]["1"], expected[:2](probe[0]).numpy(), rtol=1e-4, atol=1e-5)


def test_training_notices_nothing(probe, tmp_path):
    ends, after = [], []
    for wanted in (False, True):
        torch.manual_seed(3)
        random.seed(3)
        net = small_net(dropout=0.5)
        recorder = Recorder(net, probe, tmp_path / f"{wanted}.h5", synchronous_path=wanted)
        train(net, 4, recorder)
        places = [tensor.data_ptr() for tensor in net.state_dict().values()]
        loss = net(probe[0]).sum()  # a graph that waits for its backward pass
        before = copy.deepcopy(net.state_dict())
        recorder.close()
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
        assert places == [tensor.data_ptr() for tensor in net.state_dict().values()]
        loss.backward()
        assert net.training
        train(net, 2)
        ends.append(net.state_dict())
        after.append((torch.rand(1), random.random()))
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
    assert after[0] == after[1]
    assert not synchronous_path_of(tmp_path / "False.h5").exists()


def test_after_an_error_there_is_none_and_a_recording_that_goes_on_has_the_same(probe, tmp_path):
    def broken_off(path):
        net = small_net()
        with pytest.raises(KeyboardInterrupt):
            stopped(Recorder(net, probe, path, **how), partial(train, net, 2))
        return net

    how = {"keep": "activations", "synchronous_path": True}
    path, whole = tmp_path / "part.h5", tmp_path / "whole.h5"
    torch.manual_seed(1)
    net = broken_off(path)
    assert not synchronous_path_of(path).exists()
    assert (tmp_path / "part.first.pt").exists()
    with Recorder(net, probe, path, resume=True, **how) as recorder:
        with torch.no_grad():
            net[0].weight.add_(1)
        recorder.snapshot(9)
    assert not (tmp_path / "part.first.pt").exists()

    torch.manual_seed(1)
    net = small_net()
    with Recorder(net, probe, whole, **how) as recorder:
        train(net, 2, recorder)
        with torch.no_grad():
            net[0].weight.add_(1)
        recorder.snapshot(9)
    (part, pace), (other, other_pace) = (layers_of(synchronous_path_of(file)) for file in (path, whole))
    assert pace == other_pace
    assert all(np.array_equal(part[step][name], other[step][name]) for step in other for name in other[step])
    assert sorted(file.name for file in tmp_path.iterdir() if not file.name.startswith(".")) == [
        *("part.h5", "part.synchronous.h5", "whole.h5", "whole.synchronous.h5")
    ]


def test_a_recording_that_goes_on_after_its_end_makes_it_again(tmp_path, caplog):
    net, weights = linear_net()
    path, probe = tmp_path / "run.h5", (INPUTS, LABELS)
    first = copy.deepcopy(net.state_dict())
    with Recorder(net, probe, path, synchronous_path=True) as recorder:
        recorder.snapshot(0)
        weights[0].data += 1
        recorder.snapshot(1)
    last = copy.deepcopy(net.state_dict())
    # Made while the network has its first weights, as where it is built anew from its seed.
    net.load_state_dict(first)
    with Recorder(net, probe, path, synchronous_path=True, resume=True) as recorder:
        net.load_state_dict(last)
        weights[0].data += 1
        recorder.snapshot(2)
        assert not synchronous_path_of(path).exists()
    assert layers_of(synchronous_path_of(path))[1] == pytest.approx([0, 0.5, 1])
    before = synchronous_path_of(path).read_bytes()
    Recorder(net, probe, path, synchronous_path=True, resume=True).close()
    assert synchronous_path_of(path).read_bytes() == before
    with Recorder(net, probe, path, synchronous_path=True, resume=True) as recorder:
        weights[0].data += 1
        recorder.snapshot(3)
    assert "the weights of the first snapshot are not kept" in caplog.text
    # Nor does that of another run stay.
    Recorder(net, probe, path, force=True).close()
    assert not synchronous_path_of(path).exists()


def test_layers_that_have_no_parameters_or_do_not_move_have_no_say(tmp_path):
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 5), nn.Linear(5, 3))
    with Recorder(net, (INPUTS, LABELS), tmp_path / "run.h5", ["0", "1", "2", "3"]) as recorder:
        for step, way in enumerate((0, 1, 3)):
            net[0].weight.data += way
            net[3].weight.data += way if step < 2 else 1
            recorder.snapshot(step)
    with open_run(tmp_path / "run.h5") as run:
        assert progress(run) == pytest.approx([0, (1 / 4 + 1 / 2) / 2, 1])


def test_beyond_the_start_it_stays_at_the_start(tmp_path):
    net, weights = linear_net()
    with Recorder(net, (INPUTS, LABELS), tmp_path / "run.h5") as recorder:
        for step, way in enumerate((0, -1, 2)):
            weights[0].data += way
            recorder.snapshot(step)
    with open_run(tmp_path / "run.h5") as run:
        assert progress(run).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda net: None, "no recorded parameter moved"),
        (lambda net: net[0].weight.data.fill_(torch.nan), "parameters are not finite"),
    ],
)
def test_a_training_without_a_path_ends_well(tmp_path, caplog, change, reason):
    net, _ = linear_net()
    with Recorder(net, (INPUTS, LABELS), tmp_path / "run.h5", synchronous_path=True) as recorder:
        recorder.snapshot(0)
        change(net)
        recorder.snapshot(1)
    assert f"no synchronous path is recorded: {reason}" in caplog.text
    assert not list(tmp_path.glob(".infoplane-*")) + list(tmp_path.glob("*.synchronous.h5"))


def test_a_damaged_first_state_is_named(tmp_path):
    net, _ = linear_net()
    recorder = Recorder(net, (INPUTS, LABELS), tmp_path / "run.h5", synchronous_path=True)
    with pytest.raises(KeyboardInterrupt):
        stopped(recorder, lambda recorder: recorder.snapshot(0))
    (tmp_path / "run.first.pt").write_bytes(b"nonsense")
    with pytest.raises(InfoplaneError, match=r"run\.first\.pt is damaged; delete it"):
        Recorder(net, (INPUTS, LABELS), tmp_path / "run.h5", synchronous_path=True, resume=True)


def test_complex_and_half_weights_move_too(tmp_path):
    class Turn(nn.Module):
        def __init__(self):
            super().__init__()
            self.phase = nn.Parameter(torch.randn(4, 3, dtype=torch.complex64))

        def forward(self, x):
            return (x.to(torch.complex64) @ self.phase).imag

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), Turn()
            self.register_buffer("table", torch.zeros(3, dtype=torch.bfloat16), persistent=False)

        def forward(self, x):
            return self.second(self.first(x)) + self.table

    net, path = Mixed(), tmp_path / "run.h5"
    with Recorder(net, (INPUTS, LABELS), path, ["second"], keep="activations", synchronous_path=True) as recorder:
        recorder.snapshot(0)
        for parameter in net.parameters():
            parameter.data += 1
        net.table += 1
        recorder.snapshot(1)
    (run, _), (made, _) = layers_of(path), layers_of(synchronous_path_of(path))
    assert all(np.array_equal(run[step]["second"], made[step]["second"]) for step in (0, 1))


def test_names(tmp_path):
    seeds = [tmp_path / f"seed{k}.h5" for k in range(2)]
    files = [*seeds, *map(synchronous_path_of, seeds)]
    assert [file.name for file in files[2:]] == ["seed0.synchronous.h5", "seed1.synchronous.h5"]
    assert trainings(files) == seeds
