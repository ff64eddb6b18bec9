import logging

import numpy as np
import pytest
import torch
from conftest import small_net
from scipy.spatial.distance import pdist
from torch import nn
from torch.nn import functional

import infoplane
from infoplane import Recorder, open_run
from infoplane.errors import InfoplaneError, RunFileError
from infoplane.recorder import _grouped


def train(model, probe, steps, recorder=None):
    """A plain loop with everything that recording could disturb: dropout, batch norm, momentum."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for step in range(steps):
        if recorder is not None:
            recorder.snapshot(step=step)
        x = torch.randn(16, 1, 8, 8)
        loss = functional.cross_entropy(model(x), torch.randint(0, 3, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("keep", ["auto", "activations", "distances"])
def test_recording_changes_no_bit_of_training(probe, tmp_path, keep):
    torch.manual_seed(3)
    plain = train(small_net(dropout=0.5), probe, 8)
    torch.manual_seed(3)
    model = small_net(dropout=0.5)
    with Recorder(model, probe, tmp_path / "run.h5", keep=keep) as recorder:
        recorded = train(model, probe, 8, recorder)
    assert plain.keys() == recorded.keys()
    for name, value in plain.items():
        assert torch.equal(value, recorded[name]), name


def test_recorded_values_are_those_of_an_eval_forward(net, probe, tmp_path):
    with Recorder(net, probe, tmp_path / "run.h5", layers=["3", "8"], keep="activations", batch_size=7) as recorder:
        net.train()
        recorder.snapshot(step=0, epoch=0.0, loss=torch.tensor(1.5), accuracy=0.25)
        assert net.training
    net.eval()
    with torch.no_grad():
        hidden, logits = net[:4](probe[0]), net(probe[0])
    with open_run(tmp_path / "run.h5") as run:
        assert [(layer.name, layer.shape) for layer in run.layers] == [("3", (4, 4, 4)), ("8", (3,))]
        snapshot = run.snapshots[0]
        np.testing.assert_allclose(snapshot.activations("3"), hidden.numpy(), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(snapshot.activations("8"), logits.numpy(), rtol=1e-5, atol=1e-7)
        assert snapshot.metrics == {"loss": 1.5, "accuracy": 0.25}
        np.testing.assert_allclose(
            run.probe.distances, pdist(probe[0].reshape(30, -1).double().numpy()), rtol=1e-12
        )
        np.testing.assert_array_equal(run.probe.labels, probe[1].numpy())


def test_an_output_changed_in_place_afterwards_is_recorded_as_it_was(net, probe, tmp_path):
    with Recorder(net, probe, tmp_path / "run.h5", layers=["1"], keep="activations") as recorder:
        recorder.snapshot(step=0)
    with open_run(tmp_path / "run.h5") as run:
        assert (run.snapshots[0].activations("1") < 0).any()


def test_natural_layers_are_the_default(net, probe, tmp_path):
    with Recorder(net, probe, tmp_path / "run.h5") as recorder:
        assert [layer.name for layer in recorder.layers] == ["3", "7", "8"]


def test_auto_keeps_the_smaller(net, probe, tmp_path):
    with Recorder(net, probe, tmp_path / "run.h5") as recorder:
        recorder.snapshot(step=0)
    with open_run(tmp_path / "run.h5") as run:
        # 30 samples: distances cost 435 values, activations 30 times 64, 16 and 3.
        assert [run.snapshots[0].kind(layer.name) for layer in run.layers] == [
            "distances",
            "distances",
            "activations",
        ]


def test_distances_and_activations_give_the_same_distances(net, probe, tmp_path):
    found = []
    for keep in ("activations", "distances"):
        with Recorder(net, probe, tmp_path / f"{keep}.h5", keep=keep) as recorder:
            recorder.snapshot(step=0)
        with open_run(tmp_path / f"{keep}.h5") as run:
            found.append([run.snapshots[0].distances(layer.name) for layer in run.layers])
    for exact, stored in zip(*found, strict=True):
        np.testing.assert_allclose(stored, exact, rtol=1.2e-7)


@pytest.mark.parametrize(
    ("breaks", "mark"),
    [(lambda w: w.fill_(float("nan")), "nonfinite"), (lambda w: w.zero_(), "constant")],
)
def test_nan_and_constant_layers_are_marked_and_the_run_goes_on(net, probe, tmp_path, caplog, breaks, mark):
    with Recorder(net, probe, tmp_path / "run.h5") as recorder:
        recorder.snapshot(step=0)
        with torch.no_grad():
            breaks(net[6].weight)
        with caplog.at_level(logging.WARNING):
            recorder.snapshot(step=1)
    assert "layer 7 at step 1" in caplog.text
    with open_run(tmp_path / "run.h5") as run:
        first, second = run.snapshots
        assert not getattr(first, mark)("7")
        assert getattr(second, mark)("7")
        assert not getattr(second, mark)("3")


def test_wrappers_are_looked_through(net, probe, tmp_path):
    with Recorder(torch.compile(net), probe, tmp_path / "run.h5") as recorder:
        recorder.snapshot(step=0)
        assert [layer.name for layer in recorder.layers] == ["3", "7", "8"]


def test_resume_adds_to_the_run(net, probe, tmp_path):
    path = tmp_path / "run.h5"
    with Recorder(net, probe, path) as recorder:
        recorder.snapshot(step=0)
    with Recorder(net, probe, path, resume=True) as recorder:
        assert recorder.steps == [0]
        recorder.snapshot(step=3)
        with pytest.raises(RunFileError, match="step 3 is recorded already"):
            recorder.snapshot(step=3)
    with open_run(path) as run:
        assert [snapshot.step for snapshot in run.snapshots] == [0, 3]


def test_resume_refuses_another_probe_or_network(net, probe, tmp_path):
    path = tmp_path / "run.h5"
    Recorder(net, probe, path).close()
    inputs, labels = probe
    with pytest.raises(InfoplaneError, match="other probe inputs"):
        Recorder(net, (inputs + torch.rand_like(inputs), labels), path, resume=True)
    with pytest.raises(InfoplaneError, match="other probe labels"):
        Recorder(net, (inputs, labels.flip(0)), path, resume=True)
    with pytest.raises(InfoplaneError, match="other layers"):
        Recorder(net, probe, path, layers=["8"], resume=True)
    Recorder(net, probe, path, resume=True).close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x, torch.zeros_like(y)), "one class only"),
        (lambda x, y: (x, y[:-1]), "inputs .* and labels"),
        (lambda x, y: (x[:3], y[:3]), "too small"),
        (lambda x, y: (x / 0, y), "NaN or infinite"),
    ],
)
def test_bad_probes(net, probe, tmp_path, change, message):
    with pytest.raises(InfoplaneError, match=message):
        Recorder(net, change(*probe), tmp_path / "run.h5")
    assert list(tmp_path.iterdir()) == []


def test_unknown_layer_and_keep(net, probe, tmp_path):
    with pytest.raises(InfoplaneError, match="unknown layer"):
        Recorder(net, probe, tmp_path / "run.h5", layers=["conv9"])
    with pytest.raises(InfoplaneError, match="auto, activations, distances"):
        Recorder(net, probe, tmp_path / "run.h5", keep="all")
    with pytest.raises(InfoplaneError, match="batch_size"):
        Recorder(net, probe, tmp_path / "run.h5", batch_size=0)
    with pytest.raises(InfoplaneError, match="JSON"):
        Recorder(net, probe, tmp_path / "run.h5", config={"x": object()})
    with pytest.raises(InfoplaneError, match="empty"):
        Recorder(net, probe, tmp_path / "run.h5", layers=[])
    with Recorder(net, probe, tmp_path / "run.h5", layers="8") as recorder:
        assert [layer.name for layer in recorder.layers] == ["8"]
        for step in (-1, 0.5):
            with pytest.raises(InfoplaneError, match="whole number"):
                recorder.snapshot(step=step)


def test_distances_that_overflow_are_marked(probe, tmp_path):
    inputs, labels = probe
    net = nn.Sequential(nn.Flatten(), nn.Identity(), nn.Linear(64, 3))
    with Recorder(net, (inputs * 5e37, labels), tmp_path / "run.h5", layers=["0"], keep="distances") as recorder:
        recorder.snapshot(step=0)
    with open_run(tmp_path / "run.h5") as run:
        assert run.snapshots[0].nonfinite("0") > 0


def test_no_hook_stays(net, probe, tmp_path):
    class Broken(nn.Module):
        def forward(self, x):
            if len(x) > 3:
                raise ValueError("broken")
            return x

    model = nn.Sequential(net, Broken())
    with (
        Recorder(model, probe, tmp_path / "run.h5", layers=["0.8"]) as recorder,
        pytest.raises(ValueError, match="broken"),
    ):
        recorder.snapshot(step=0)
    assert all(not module._forward_hooks for module in model.modules())
    assert all(module.training for module in model.modules())


def test_a_pass_holds_no_more_than_the_largest_layer(monkeypatch):
    monkeypatch.setattr("infoplane.recorder.BUFFER_BYTES", 0)
    layers = [infoplane.layers.Layer(str(size), (size,), "ReLU", 1) for size in (100, 30, 60, 20, 90, 10)]
    groups = [[layer.shape[0] for layer in group] for group in _grouped(layers, 50)]
    assert groups == [[100], [30, 60], [20], [90, 10]]


def test_parameters_belong_to_the_layer_that_they_end_in(net, probe, tmp_path):
    with Recorder(net, probe, tmp_path / "run.h5") as recorder:
        recorder.snapshot(step=0)
        before = [parameter.detach().clone() for parameter in net.parameters()]
        train(net, probe, 5)
        recorder.snapshot(step=5)
    after = [parameter.detach() for parameter in net.parameters()]
    with open_run(tmp_path / "run.h5") as run:
        first, last = run.snapshots
        # Convolution and batch norm, then the two linear layers; only the second has more than 1024 parameters.
        for layer, (low, high) in zip(run.layers, ((0, 4), (4, 6), (6, 8)), strict=True):
            was, now = first.parameters(layer.name), last.parameters(layer.name)
            moved = [(a - b).flatten() for a, b in zip(after[low:high], before[low:high], strict=True)]
            tolerance = 0.1 if layer.name == "7" else 1e-5
            assert np.linalg.norm(now - was) == pytest.approx(float(torch.cat(moved).norm()), rel=tolerance)
        np.testing.assert_array_equal(first.parameters("3")[:36], before[0].flatten().numpy())
        assert [len(first.parameters(name)) for name in ("3", "7", "8")] == [48, 1024, 51]


def test_a_network_without_parameters_is_recorded_without(probe, tmp_path):
    net = nn.Sequential(nn.Flatten(), nn.Tanh())
    with Recorder(net, probe, tmp_path / "run.h5", layers=["1"]) as recorder:
        recorder.snapshot(step=0)
    with open_run(tmp_path / "run.h5") as run:
        assert run.snapshots[0].parameters("1") is None
