import copy
import logging
import math

import numpy as np
import pytest
import torch
from conftest import small_net
from scipy.spatial.distance import pdist
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

import infoplane
from infoplane import Recorder, open_run
from infoplane.errors import InfoplaneError, RunFileError, WriteFailed
from infoplane.estimators.engine.estimate import estimate_run
from infoplane.estimators.renyi import RenyiSettings
from infoplane.recording.recorder import _grouped
from infoplane.runfile import RunWriter
from infoplane.targets import as_target


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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_probe_is_cast_to_the_precision_of_the_network(probe, tmp_path, dtype):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3)).to(dtype)
    with Recorder(net, probe, tmp_path / "run.h5", keep="activations") as recorder:
        recorder.snapshot(step=0)
    with open_run(tmp_path / "run.h5") as run, torch.no_grad():
        right = net[:3](probe[0].to(dtype)).double().numpy()
        np.testing.assert_allclose(run.snapshots[0].activations("2"), right, rtol=1e-6)


class Shifted(nn.Module):
    """A common offset that takes most digits of single precision."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.offset = offset

    def forward(self, x):
        return x + self.offset


@pytest.mark.parametrize("keep", ["activations", "distances"])
def test_a_common_offset_costs_no_digits(probe, tmp_path, keep):
    entropies = []
    for offset in (0.0, 1e7):
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), Shifted(offset), nn.Linear(8, 3)).double()
        net[1].load_state_dict({"weight": torch.eye(8, 64), "bias": torch.zeros(8)})
        path = tmp_path / f"{offset:g}.h5"
        with Recorder(net, probe, path, layers=["2"], keep=keep) as recorder:
            recorder.snapshot(step=0)
        table = estimate_run(path, RenyiSettings())
        entropies.append(table["S_T"].item())
    assert entropies[0] == pytest.approx(entropies[1], abs=1e-5)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (torch.zeros(3), "metric 'loss' has 3 values; give one number"),
        (np.zeros((2, 2)), "metric 'loss' has 4 values"),
        (None, "metric 'loss' must be a number, got None"),
        ("0.5", "metric 'loss' must be a number, got '0.5'"),
        ({"a": 1}, "metric 'loss' must be a number"),
        (torch.tensor(1 + 2j), "metric 'loss' must be a number"),
    ],
)
def test_a_metric_is_one_number(net, probe, tmp_path, metric, message):
    with Recorder(net, probe, tmp_path / "run.h5") as recorder:
        recorder.snapshot(step=0, loss=torch.tensor([0.5]), right=np.float32(1), best=True, worst=float("nan"))
        with pytest.raises(InfoplaneError, match=message):
            recorder.snapshot(step=1, loss=metric)
        recorder.snapshot(step=2)
    with open_run(tmp_path / "run.h5") as run:
        assert [snapshot.step for snapshot in run.snapshots] == [0, 2]
        assert run.snapshots[0].metrics["loss"] == 0.5
        assert run.snapshots[0].metrics["best"] == 1.0


@pytest.mark.parametrize("step", [float("nan"), float("inf"), -1, 0.5, "3", 2**63])
def test_a_step_is_a_whole_number(net, probe, tmp_path, step):
    with (
        Recorder(net, probe, tmp_path / "run.h5") as recorder,
        pytest.raises(InfoplaneError, match=r"step must be a (whole )?number"),
    ):
        recorder.snapshot(step=step)


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (lambda net: lambda x: net(x), "a torch.nn.Module, and this is of type function"),
        (lambda net: "net", "and this is of type str"),
        (torch.jit.script, "TorchScript network calls no hooks; record the module that it was made from"),
        (lambda net: torch.export.export(net.eval(), (torch.zeros(2, 1, 8, 8),)), "type ExportedProgram"),
        (
            lambda net: torch.export.export(net.eval(), (torch.zeros(2, 1, 8, 8),)).module(),
            "has no evaluation mode, as exported networks have none",
        ),
        (lambda net: sharded(net), r"is sharded \(FullyShardedDataParallel\)"),
    ],
)
def test_what_is_no_network_with_hooks_is_refused(net, probe, tmp_path, wrap, message):
    with pytest.raises(InfoplaneError, match=message):
        Recorder(wrap(net), probe, tmp_path / "run.h5")
    assert not list(tmp_path.glob("*.h5"))


def sharded(net):
    """A network in a shell of the name of torch's own, which asks for a process group."""

    class FullyShardedDataParallel(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    return FullyShardedDataParallel(net)


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.optim.swa_utils.AveragedModel, torch.compile])
def test_names_are_those_of_the_network_in_the_wrapper(net, probe, tmp_path, wrap):
    with Recorder(wrap(net), probe, tmp_path / "run.h5") as recorder:
        assert [layer.name for layer in recorder.layers] == ["3", "7", "8"]
        recorder.snapshot(step=0)


def test_the_precision_is_that_of_most_parameters_and_of_the_moment(probe, tmp_path):
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.body = nn.Parameter(torch.ones(1, dtype=torch.float16)), nn.Linear(64, 3)

        def forward(self, x):
            return self.body(x.flatten(1).to(self.body.weight.dtype)) * self.scale

    net, inputs = Mixed(), probe[0] + 1000
    with Recorder(net, (inputs, probe[1]), tmp_path / "run.h5", keep="activations") as recorder:
        recorder.snapshot(step=0)
        net.double()
        recorder.snapshot(step=1)
    with open_run(tmp_path / "run.h5") as run, torch.no_grad():
        for snapshot in run.snapshots:
            right = net.body(inputs.flatten(1).double()).numpy()
            np.testing.assert_allclose(snapshot.activations("body"), right, rtol=1e-5, atol=1e-3)


def test_parameters_are_found_after_pruning_and_parametrizing(net, probe, tmp_path):
    with Recorder(net, probe, tmp_path / "run.h5") as recorder:
        recorder.snapshot(step=0)
        prune.l1_unstructured(net[0], "weight", 0.5)
        nn.utils.parametrizations.weight_norm(net[6])
        recorder.snapshot(step=1)
        net[8] = nn.Linear(16, 3)
        with pytest.raises(InfoplaneError, match=r"layer 8 was not called.*make the recorder anew"):
            recorder.snapshot(step=2)
    with open_run(tmp_path / "run.h5") as run:
        pruned = run.snapshots[1].parameters("3")[:36]
        np.testing.assert_array_equal(pruned, net[0].weight.detach().flatten().numpy())
        assert (pruned == 0).sum() == 18


def test_nothing_is_recorded_after_closing(net, probe, tmp_path):
    recorder = Recorder(net, probe, tmp_path / "run.h5")
    recorder.close()
    with pytest.raises(RunFileError, match="is closed"):
        recorder.snapshot(step=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"others": {"box": as_target(torch.rand(20, 4), "regression")}}, "'box' has 20 values for 30 samples"),
        ({"others": {"box": torch.rand(30, 4)}}, "'box' is no Target"),
        ({"others": {"a/b": as_target(torch.rand(30, 4), "regression")}}, "name it by letters"),
        ({"others": {"labels": as_target(torch.rand(30, 4), "regression")}}, "name it by letters"),
        ({"indices": torch.arange(5)}, r"one position a sample, \(30,\), got \(5,\)"),
    ],
)
def test_what_does_not_belong_to_the_samples_is_refused_at_once(net, probe, tmp_path, options, message):
    with pytest.raises(InfoplaneError, match=message):
        Recorder(net, probe, tmp_path / "run.h5", **options)
    assert not list(tmp_path.glob("*.h5"))


def test_further_targets_and_words_are_kept(net, probe, tmp_path):
    words = [("ham", "spam", "egg")[label] for label in probe[1]]
    others = {"box": as_target(torch.rand(30, 4), "regression")}
    with Recorder(net, (probe[0], words), tmp_path / "run.h5", others=others):
        pass
    with open_run(tmp_path / "run.h5") as run:
        assert run.probe.target.names == ("egg", "ham", "spam")
        assert run.probe.others["box"].values.shape == (30, 4)
    with Recorder(net, (probe[0], torch.rand(30)), tmp_path / "run.h5", target="regression", force=True):
        pass
    with open_run(tmp_path / "run.h5") as run:
        assert run.probe.target.kind == "regression"


def test_no_hook_stays(net, probe, tmp_path):
    class Broken(nn.Module):
        def forward(self, x):
            if len(x) > 3:
                raise ValueError("broken")
            return x

    model = nn.Sequential(net, Broken())
    with pytest.raises(ValueError, match="broken"):
        Recorder(model, probe, tmp_path / "run.h5", layers=["0.8"])
    assert not list(tmp_path.iterdir())
    assert all(not module._forward_hooks for module in model.modules())
    assert all(module.training for module in model.modules())


def test_a_pass_holds_no_more_than_the_largest_layer(monkeypatch):
    monkeypatch.setattr("infoplane.recording.recorder.BUFFER_BYTES", 0)
    layers = [infoplane.recording.layers.Layer(str(size), (size,), "ReLU", 1) for size in (100, 30, 60, 20, 90, 10)]
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


def test_step_counts_and_records_by_the_schedule(net, probe, tmp_path):
    with Recorder(net, probe, tmp_path / "run.h5", snapshots=10) as recorder:
        taken = [recorder.step(loss=float(step)) for step in range(40)]
        assert [step for step, recorded in enumerate(taken) if recorded] == [0, 1, 3, 10, 32]
        assert recorder.steps_taken == 40
        recorder.snapshot(loss=40.0)
    with open_run(tmp_path / "run.h5") as run:
        assert [(one.step, one.metrics["loss"]) for one in run.snapshots] == [
            (step, float(step)) for step in (0, 1, 3, 10, 32, 40)
        ]


def test_step_goes_on_after_the_last_snapshot_and_from_where_it_is_told(net, probe, tmp_path):
    with Recorder(net, probe, tmp_path / "run.h5", snapshots=10) as recorder:
        for _ in range(4):
            recorder.step()
    with Recorder(net, probe, tmp_path / "run.h5", snapshots=10, resume=True) as recorder:
        assert recorder.steps_taken == 4
        assert not recorder.step()
        recorder.steps_taken = 10
        assert recorder.step()
    assert recorder.steps == [0, 1, 3, 4, 10, 11]


def test_the_end_of_a_loop_is_recorded_unless_an_error_ended_it(net, probe, tmp_path):
    def steps_of(name, end):
        recorder = Recorder(net, probe, tmp_path / name, snapshots=10)
        for _ in range(20):
            recorder.step()
        with torch.no_grad():
            net[-1].bias.add_(1)
        end(recorder)
        return recorder.steps

    def fail(recorder):
        with pytest.raises(ValueError, match="of the loop"), recorder:
            raise ValueError("of the loop")

    assert steps_of("closed.h5", Recorder.close) == [0, 1, 3, 10, 20]
    assert steps_of("finished.h5", lambda recorder: (recorder.finish(), recorder.close())) == [0, 1, 3, 10, 20]
    assert steps_of("taken.h5", lambda recorder: (recorder.snapshot(loss=0.5), recorder.close()))[-1] == 20
    assert steps_of("failed.h5", fail) == [0, 1, 3, 10]
    with open_run(tmp_path / "closed.h5") as run:
        logits = [one.activations("8") for one in run.snapshots[-2:]]
    np.testing.assert_allclose(logits[1], logits[0] + 1, atol=1e-5)


class Floats(nn.Module):
    def forward(self, counts):
        return counts.float()


def test_the_end_has_the_epoch_after_the_last_step_and_may_fail(probe, tmp_path, caplog):
    net = small_net()
    with Recorder(net, probe, tmp_path / "run.h5", snapshots=10) as recorder:
        for step in range(25):
            recorder.step(epoch=step / 10, loss=1.0)
    with open_run(tmp_path / "run.h5") as run:
        assert [one.step for one in run.snapshots][-1] == 25
        assert run.snapshots[-1].epoch == pytest.approx(2.5)
    with Recorder(net, probe, tmp_path / "changed.h5", snapshots=10) as recorder:
        for _ in range(25):
            recorder.step()
        net[8] = nn.Linear(16, 5)
    assert recorder.steps == [0, 1, 3, 10]
    assert "the end is not recorded" in caplog.text


def test_targets_of_each_token_are_no_continuous_values(tmp_path):
    tokens = torch.randint(0, 20, (40, 13), generator=torch.Generator().manual_seed(0))
    net = nn.Sequential(nn.Embedding(20, 6), nn.Linear(6, 20))
    path = tmp_path / "run.h5"
    with pytest.raises(InfoplaneError, match=r"labels\[:, -1\]"):
        Recorder(net, (tokens[:, :-1], tokens[:, 1:]), path)
    with pytest.raises(InfoplaneError, match=r"labels\[:, -1\].*reduce='last'"):
        Recorder(net, (tokens[:, :-1], tokens[:, 1:]), path, target="regression")
    with Recorder(net, (tokens[:, :-1], tokens[:, -1]), path, reduce="last") as recorder:
        recorder.snapshot()
    # Counts that go into no embedding are values, and so are targets of another form, or fractions.
    counts = nn.Sequential(Floats(), nn.Linear(12, 12))
    Recorder(counts, (tokens[:, :-1], tokens[:, :-1]), path, target="regression", force=True).close()
    for targets in (tokens[:, :2], tokens[:, 1:] + 0.5):
        Recorder(net, (tokens[:, :-1], targets), path, target="regression", force=True).close()


class Times(nn.Module):
    """Points in time, all but a few of them in one of two far clusters, and small in another unit."""

    def forward(self, x):
        fraction = x.flatten(1)[:, :1].double()
        cluster = (x.flatten(1)[:, 1:2] > 1).double()
        return 1.3e9 + 4e8 * cluster + fraction


class Tiny(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :3].double() * 1e-60


@pytest.mark.parametrize("keep", ["activations", "distances"])
@pytest.mark.parametrize("layer", [Times(), Tiny()], ids=["clusters", "tiny"])
def test_values_that_single_precision_would_merge_keep_their_distances(probe, tmp_path, keep, layer):
    net = nn.Sequential(layer, nn.Linear(1 if isinstance(layer, Times) else 3, 3)).double()
    path = tmp_path / "run.h5"
    with Recorder(net, probe, path, layers=["0"], keep=keep, batch_size=len(probe[0])) as recorder:
        recorder.snapshot(0)
    expected = pdist(layer(probe[0]).numpy())
    with open_run(path) as run:
        np.testing.assert_allclose(run.snapshots[0].distances("0"), expected, rtol=1e-6)
    assert estimate_run(path, RenyiSettings())["status"].tolist() != ["no bandwidth"]


def test_a_layer_without_features_is_refused_by_name(net, probe, tmp_path):
    class Nothing(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :0]

    net = nn.Sequential(nn.Flatten(), Nothing())
    with pytest.raises(InfoplaneError, match="layer 1 has no features"):
        Recorder(net, probe, tmp_path / "run.h5", layers=["1"])
    assert not (tmp_path / "run.h5").exists()


@pytest.mark.parametrize("name", ["step", "run", "runs", "snapshot", "seed", "loss_sd"])
def test_a_metric_is_not_called_as_another_column(net, probe, tmp_path, name):
    with Recorder(net, probe, tmp_path / "run.h5") as recorder:
        with pytest.raises(InfoplaneError, match=f"no metric can be called '{name}'"):
            recorder.step(**{"loss": 1.0, name: 1.0})
        assert recorder.steps == []


def test_metrics_of_blocks_have_the_names_that_networks_give(net, probe, tmp_path):
    with Recorder(net, probe, tmp_path / "run.h5") as recorder:
        recorder.snapshot(0, **{"test_accuracy@enc_sd": 0.5})
    with open_run(tmp_path / "run.h5") as run:
        assert run.metrics["test_accuracy@enc_sd"].tolist() == [0.5]


def test_closing_twice_is_closing_once(net, probe, tmp_path):
    with Recorder(net, probe, tmp_path / "run.h5") as recorder:
        recorder.snapshot(0)
        recorder.close()
    recorder.close()
    with pytest.raises(RunFileError, match="is closed; open the run again"):
        recorder.snapshot(1)


def test_a_second_recorder_in_one_process_is_told_of_the_first(net, probe, tmp_path):
    first = Recorder(net, probe, tmp_path / "run.h5")
    with pytest.raises(RunFileError, match="by this very process; close the recorder"):
        Recorder(net, probe, tmp_path / "run.h5", force=True)
    first.close()
    Recorder(net, probe, tmp_path / "run.h5", force=True).close()


@pytest.mark.parametrize("step", [-1, 2.5, math.nan, "3", None])
def test_a_recording_goes_back_to_a_step(net, probe, tmp_path, step):
    with Recorder(net, probe, tmp_path / "run.h5") as recorder:
        recorder.snapshot(0)
        with pytest.raises(InfoplaneError, match="step must be"):
            recorder.rewind(step)
        assert recorder.steps == [0]
    with pytest.raises(RunFileError, match="is closed"):
        recorder.rewind(0)


@pytest.mark.parametrize("place", ["_open", "_count_finished"])
def test_a_kill_while_a_recording_goes_back_costs_nothing_else(net, probe, tmp_path, monkeypatch, place):
    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    recorder = Recorder(net, probe, tmp_path / "run.h5", synchronous_path=True)
    for step in range(5):
        recorder.snapshot(step)
        with torch.no_grad():
            net[-1].weight.add_(1)
    monkeypatch.setattr(RunWriter, place, killed)
    with pytest.raises(Killed):
        recorder.rewind(2)
    monkeypatch.undo()
    with open_run(tmp_path / "run.h5") as run:
        assert [snapshot.step for snapshot in run.snapshots] == [0, 1, 2]
        assert recorder._path.has_first(run.run_id)
    recorder.close(ended=False)


def test_a_failed_copy_gives_the_lock_back(net, probe, tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise WriteFailed("the disk is full", "free space", "go on")

    path = tmp_path / "run.h5"
    recorder = Recorder(net, probe, path)
    recorder.snapshot(0)
    with monkeypatch.context() as patch:
        patch.setattr("infoplane.runfile.writer._rewrite", full)
        with pytest.raises(WriteFailed):
            recorder.set_results({})
    recorder.close(ended=False)
    Recorder(net, probe, path, resume=True).close()


@pytest.mark.parametrize("back_to", [5, 7, 100])
def test_a_training_that_goes_back_takes_what_it_recorded_after_with_it(net, probe, tmp_path, caplog, back_to):
    path = tmp_path / "run.h5"
    with Recorder(net, probe, path, snapshots=10, synchronous_path=True) as recorder:
        for step in range(12):
            if step == 5:
                checkpoint = copy.deepcopy(net.state_dict())
            recorder.step(loss=step)
            with torch.no_grad():
                net[-1].weight.add_(torch.randn_like(net[-1].weight))
    before, taken = estimate_run(path, RenyiSettings()), recorder.steps
    net.load_state_dict(checkpoint)
    with Recorder(net, probe, path, snapshots=10, resume=True) as recorder:
        identity = recorder.run_id
        recorder.rewind(back_to)
        assert recorder.steps == [step for step in taken if step <= back_to]
        assert (recorder.run_id == identity) == (back_to == 100)
        recorder.step(loss=100.0)
    after = estimate_run(path, RenyiSettings())
    assert ("what was recorded after it is dropped" in caplog.text) == (back_to < 12)
    old, new = (table.set_index(["step", "layer"])["I_XT"] for table in (before, after))
    kept = [place for place in old.index if place[0] <= back_to]
    assert (old[kept] == new[kept]).all()
    with open_run(path) as run:
        assert [snapshot.step for snapshot in run.snapshots] == sorted({*recorder.steps})
        assert run.snapshots[0].step == 0
