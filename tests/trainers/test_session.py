import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import torch
from planted import planted_run

from infoplane import open_run
from infoplane.data import DATASETS
from infoplane.errors import InfoplaneError
from infoplane.files import load_tensors, save_tensors
from infoplane.runfile import synchronous_path_of
from infoplane.trainers import session
from infoplane.trainers.loop import Interrupted
from infoplane.trainers.session import record, resume
from infoplane.trainers.settings import TrainingSettings
from infoplane.trainers.unit import Unit

# Dropout-free networks hide a wrong random state; batch norm hides nothing. The cnn has the latter, the
# user's network below the former.
SMALL = TrainingSettings(model="cnn", epochs=2, snapshots="7", probe_size=60, batch_size=128, eval_size=100)
OWN = "mynet:dropping"
NETWORK = """
from torch import nn

def dropping():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 10))
"""


@pytest.fixture
def dropping(tmp_path, monkeypatch):
    (tmp_path / "mynet.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    return dataclasses.replace(SMALL, model=OWN)


def go_on(path, changes=None):
    """As with `--model`, without which a file runs no code of a user's."""
    return resume(path, {"model": OWN, **(changes or {})})


def contents(path):
    """Everything that a run measured."""
    with open_run(path) as run:
        return [
            (snapshot.step, snapshot.metrics, [snapshot.distances(layer.name) for layer in run.layers])
            for snapshot in run.snapshots
        ]


TUPLE = """
from torch import nn

class Tuple(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    def forward(self, x):
        return self.head(x), x

def broken():
    class Broken(Tuple):
        def forward(self, x):
            if self.training:
                raise RuntimeError("no training")
            return super().forward(x)
    return Broken()

def detached():
    class Detached(Tuple):
        def forward(self, x):
            return super().forward(x)[0].detach()
    return Detached()

def rounded():
    class Rounded(Tuple):
        def forward(self, x):
            return super().forward(x)[0].long()
    return Rounded()
"""


def weights(path):
    return torch.load(path.with_suffix(".ckpt"), weights_only=True)["model"]


def assert_same(left, right, steps=None):
    left = [part for part in left if steps is None or part[0] in steps]
    right = [part for part in right if steps is None or part[0] in steps]
    assert [part[0] for part in left] == [part[0] for part in right]
    for (step, metrics, layers), (_, other_metrics, other_layers) in zip(left, right, strict=True):
        assert metrics == other_metrics, step
        for values, others in zip(layers, other_layers, strict=True):
            np.testing.assert_array_equal(values, others)


def assert_same_weights(left, right):
    for name, value in weights(left).items():
        assert torch.equal(value, weights(right)[name]), name


def test_what_is_recorded(tmp_path):
    accuracy = record(SMALL, tmp_path / "run.h5")
    with open_run(tmp_path / "run.h5") as run:
        assert TrainingSettings.of(run.config) == SMALL.resolved()
        assert len(run.layers) >= 5
        assert [snapshot.step for snapshot in run.snapshots] == [0, 1, 2, 3, 6, 11, 20]
        assert run.snapshots[-1].epoch == 2
        assert np.bincount(run.probe.labels).tolist() == [6] * 10
        first, last = run.snapshots[0].metrics, run.snapshots[-1].metrics
    assert set(first) == {"stage", "train_loss", "test_loss", "train_accuracy", "test_accuracy"}
    assert last["train_loss"] < first["train_loss"]
    assert accuracy > 0.5


def test_the_names_of_classes_are_recorded_and_an_older_file_without_them_goes_on(tmp_path, monkeypatch):
    short = dataclasses.replace(SMALL, model="mlp", widths=(8,), epochs=1, data_root=str(tmp_path))
    record(short, tmp_path / "older.h5")
    names = tuple(f"digit {number}" for number in range(10))
    monkeypatch.setitem(DATASETS, "digits", dataclasses.replace(DATASETS["digits"], class_names=names))
    named = dataclasses.replace(short, data_root=str(tmp_path / "named"))
    record(named, tmp_path / "run.h5")
    with open_run(tmp_path / "run.h5") as run, open_run(tmp_path / "older.h5") as older:
        assert run.probe.target.names == names
        assert older.probe.target.names == ()
        np.testing.assert_array_equal(run.probe.labels, older.probe.labels)
    resume(tmp_path / "older.h5", {"epochs": 2, "data_root": str(tmp_path / "named")})
    with open_run(tmp_path / "older.h5") as older:
        assert older.snapshots[-1].epoch == 2
        assert older.probe.target.names == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": "three"}, "epochs must be of type int, got 'three'"),
        ({"model": None}, "model must be of type str, got None"),
        ({"method": 7}, "method must be of type str, got 7"),
        ({"widths": "12"}, "widths must be a list, got '12'"),
    ],
)
def test_settings_of_a_file_that_cannot_be_are_refused(change, message):
    config = dataclasses.asdict(SMALL.resolved()) | change
    with pytest.raises(InfoplaneError, match=message):
        TrainingSettings.of(config)


def test_a_device_without_values_trains_nothing(tmp_path):
    with pytest.raises(InfoplaneError, match="device 'meta' is not available here"):
        record(dataclasses.replace(SMALL, device="meta"), tmp_path / "run.h5")
    assert not (tmp_path / "run.h5").exists()


def test_the_same_command_twice_gives_the_same_numbers(dropping, tmp_path):
    for name in ("a", "b"):
        record(dropping, tmp_path / f"{name}.h5")
    assert_same(contents(tmp_path / "a.h5"), contents(tmp_path / "b.h5"))


def test_another_seed_gives_others(tmp_path):
    record(SMALL, tmp_path / "a.h5")
    record(dataclasses.replace(SMALL, seed=1), tmp_path / "b.h5")
    assert contents(tmp_path / "a.h5")[-1][1] != contents(tmp_path / "b.h5")[-1][1]


def test_more_snapshots_change_no_weight(dropping, tmp_path):
    record(dataclasses.replace(dropping, snapshots="2"), tmp_path / "few.h5")
    record(dataclasses.replace(dropping, snapshots="every:1"), tmp_path / "many.h5")
    assert_same_weights(tmp_path / "few.h5", tmp_path / "many.h5")


@pytest.mark.parametrize("stop_at", [0, 3, 11])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_resumed(dropping, tmp_path, monkeypatch, stop_at, number):
    record(dropping, tmp_path / "whole.h5")
    batches = []

    forward = Unit.forward

    def stopping(unit, below, *others):
        if len(batches) == stop_at:
            os.kill(os.getpid(), number)
        batches.append(len(below))
        return forward(unit, below, *others)

    with monkeypatch.context() as patch:
        patch.setattr(Unit, "forward", stopping)
        with pytest.raises(Interrupted):
            record(dropping, tmp_path / "part.h5")
    assert len(batches) == stop_at + 1
    go_on(tmp_path / "part.h5")
    assert_same(contents(tmp_path / "whole.h5"), contents(tmp_path / "part.h5"))
    assert_same_weights(tmp_path / "whole.h5", tmp_path / "part.h5")


def test_killed_and_resumed(tmp_path):
    """The command is killed again and again; in the end the run is that of one uninterrupted command."""
    sizes = {"epochs": 6, "snapshots": "every:3", "probe-size": 60, "batch-size": 128, "eval-size": 100}
    options = [word for name, value in sizes.items() for word in (f"--{name}", str(value))]
    settings = dataclasses.replace(SMALL, epochs=6, snapshots="every:3")
    record(settings, tmp_path / "whole.h5")
    path, clock, kills = tmp_path / "part.h5", random.Random(1), 0
    command = [sys.executable, "-m", "infoplane", "record", "-o", str(path)]
    process = subprocess.Popen([*command, *options, "--quiet"])
    for _ in range(3):
        deadline, seen = time.monotonic() + 60, _finished(path)
        while process.poll() is None and _finished(path) <= seen and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(clock.uniform(0, 0.1))
        if process.poll() is None:
            process.kill()
            kills += 1
        process.wait()
        process = subprocess.Popen([*command, "--resume", "--quiet"])
    assert process.wait(timeout=120) == 0
    assert kills >= 2
    assert_same(contents(tmp_path / "whole.h5"), contents(path))
    assert_same_weights(tmp_path / "whole.h5", path)


def _finished(path):
    if not path.exists():
        return 0
    with open_run(path) as run:
        return len(run.snapshots)


def test_a_finished_run_goes_on(dropping, tmp_path):
    record(dataclasses.replace(dropping, epochs=4), tmp_path / "whole.h5")
    record(dropping, tmp_path / "part.h5")
    go_on(tmp_path / "part.h5", {"epochs": 4})
    whole, part = contents(tmp_path / "whole.h5"), contents(tmp_path / "part.h5")
    common = {step for step, *_ in whole} & {step for step, *_ in part}
    assert {0, 1, 40} <= common
    assert_same(whole, part, common)
    assert_same_weights(tmp_path / "whole.h5", tmp_path / "part.h5")
    with open_run(tmp_path / "part.h5") as run:
        assert run.config["epochs"] == 4


def test_a_lost_checkpoint_costs_time_only(dropping, tmp_path, caplog):
    path = tmp_path / "run.h5"
    record(dropping, path)
    before = contents(path)
    path.with_suffix(".ckpt").unlink()
    go_on(path)
    assert "training again from initialisation" in caplog.text
    assert_same(before, contents(path))


def test_resume_refuses(dropping, tmp_path):
    path = tmp_path / "run.h5"
    record(dataclasses.replace(dropping, schedule="cosine"), path)
    with pytest.raises(InfoplaneError, match="depends on its 2 epochs"):
        go_on(path, {"epochs": 5})
    with pytest.raises(InfoplaneError, match="more than 1"):
        go_on(path, {"epochs": 1})
    with pytest.raises(InfoplaneError, match=r"keeps its settings.*`batch_size`, `lr`"):
        go_on(path, {"lr": 3.0, "batch_size": 7, "seed": 0})
    record(dropping, tmp_path / "other.h5")
    path.with_suffix(".ckpt").write_bytes((tmp_path / "other.ckpt").read_bytes())
    with pytest.raises(InfoplaneError, match="belongs to another run"):
        go_on(path)
    path.with_suffix(".ckpt").write_bytes(b"nonsense")
    with pytest.raises(InfoplaneError, match="damaged"):
        go_on(path)


@pytest.mark.parametrize("noise", [{"label_noise": 0.4}, {"permute_labels": 1.0}], ids=str)
def test_a_run_does_not_go_on_with_other_labels(dropping, tmp_path, noise):
    path = tmp_path / "run.h5"
    record(dataclasses.replace(dropping, **noise), path)
    go_on(path)
    state = load_tensors(path.with_suffix(".ckpt"))
    before = {key: value for key, value in state.items() if key != "labels"}
    for saved in (before, {**before, "labels": state["labels"][::-1]}):
        save_tensors(saved, path.with_suffix(".ckpt"))
        with pytest.raises(InfoplaneError, match="has learned other labels"):
            go_on(path)


@pytest.fixture(scope="module")
def checkpointed(tmp_path_factory):
    """A run with momentum in its checkpoint."""
    path = tmp_path_factory.mktemp("checkpointed") / "run.h5"
    record(dataclasses.replace(SMALL, momentum=0.9), path)
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda state: ["run_id"],
        lambda state: state | {"loop": []},
        lambda state: state | {"loop": None},
        lambda state: state["loop"].update(step=10**6),
        lambda state: state["loop"].update(step=True),
        lambda state: state["loop"].update(units="x"),
        lambda state: state["loop"].update(optimizers_of=9),
        lambda state: state["loop"].update(optimizers_of=True),
        lambda state: state["loop"].update(optimizers=3),
        lambda state: state["loop"].update(cache_seconds="x"),
        lambda state: state["loop"].update(costs={0: (1, 2, "x")}),
        lambda state: state["loop"].update(rng=torch.zeros(3)),
        lambda state: state["loop"]["optimizers"][0].update(state=None),
        lambda state: state["loop"]["optimizers"][0]["param_groups"][0].update(momentum="x"),
        lambda state: state["loop"]["optimizers"][0]["state"][0].update(momentum_buffer=torch.zeros(2, 2)),
    ],
)
def test_a_checkpoint_of_another_form_is_refused(checkpointed, change):
    checkpoint = checkpointed.with_suffix(".ckpt")
    whole = checkpoint.read_bytes()
    state = torch.load(checkpoint, weights_only=True)
    torch.save(change(state) or state, checkpoint)
    try:
        with pytest.raises(InfoplaneError, match=r"damaged.*; delete it to train again"):
            resume(checkpointed)
    finally:
        checkpoint.write_bytes(whole)


def test_a_checkpoint_of_another_device_is_gone_on_with(checkpointed):
    """A GPU moves all parameters by one kernel, and says so in the state of the optimiser."""
    checkpoint = checkpointed.with_suffix(".ckpt")
    whole = checkpoint.read_bytes()
    state = torch.load(checkpoint, weights_only=True)
    expected = resume(checkpointed)
    for optimizer in state["loop"]["optimizers"].values():
        for group in optimizer["param_groups"]:
            group["fused"] = True
    torch.save(state, checkpoint)
    try:
        assert resume(checkpointed) == expected
    finally:
        checkpoint.write_bytes(whole)


def reversed_weights(whole, state):
    weights = next(iter(state["model"].values())).numpy().tobytes()
    assert weights in whole
    return whole.replace(weights, weights[::-1])


def a_flipped_bit_of_momentum(whole, state):
    place = whole.index(state["loop"]["optimizers"][0]["state"][0]["momentum_buffer"].numpy().tobytes())
    return whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]


@pytest.mark.parametrize("damage", [reversed_weights, a_flipped_bit_of_momentum])
def test_numbers_that_changed_on_the_disk_are_not_trained_on(checkpointed, damage):
    checkpoint = checkpointed.with_suffix(".ckpt")
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(damage(whole, torch.load(checkpoint, weights_only=True)))
    assert torch.load(checkpoint, weights_only=True)  # PyTorch sees nothing
    try:
        with pytest.raises(InfoplaneError, match=r"run\.ckpt is damaged; delete it to train again"):
            resume(checkpointed)
    finally:
        checkpoint.write_bytes(whole)


def test_a_pickle_in_a_checkpoint_is_not_run(dropping, tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path}/owned",))

    path = tmp_path / "run.h5"
    record(dropping, path)
    torch.save({"loop": Evil()}, path.with_suffix(".ckpt"))
    with pytest.raises(InfoplaneError, match="damaged"):
        go_on(path)
    assert not (tmp_path / "owned").exists()


def test_divergence_is_recorded_and_named(tmp_path, caplog):
    record(dataclasses.replace(SMALL, lr=1e30, momentum=0.0), tmp_path / "run.h5")
    assert "NaN or infinite activations" in caplog.text
    assert "smaller learning rate" in caplog.text
    with open_run(tmp_path / "run.h5") as run:
        assert len(run.snapshots) == 7
        assert any(run.snapshots[-1].nonfinite(layer.name) for layer in run.layers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probe_size": 5000}, "larger than the test split"),
        ({"probe_size": 0}, "probe_size"),
        ({"epochs": 0}, "epochs"),
        ({"lr": -1.0}, "lr must be positive"),
        ({"lr": float("nan")}, "lr must be positive"),
        ({"momentum": 1.5}, "momentum"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"seed": -1}, "seed"),
        ({"layers": ()}, "list of layers is empty"),
        ({"model": "cnm"}, "did you mean cnn"),
        ({"dataset": "digit"}, "did you mean digits"),
        ({"layers": ("conv9",)}, "unknown layer"),
        ({"optimizer": "sgdd"}, "did you mean sgd"),
        ({"schedule": "const"}, "did you mean constant"),
        ({"snapshots": "1"}, "give a count"),
        ({"device": "cuda:77"}, "not available"),
        ({"device": "gpu"}, "not available"),
        ({"widths": (3,)}, "widths"),
        ({"model": "vgg11"}, "image_size"),
    ],
)
def test_bad_settings(tmp_path, change, message):
    with pytest.raises(InfoplaneError, match=message):
        record(dataclasses.replace(SMALL, **change), tmp_path / "run.h5")
    assert list(tmp_path.iterdir()) == []


def test_tuple_outputs_and_failing_networks(tmp_path, monkeypatch):
    (tmp_path / "tuples.py").write_text(TUPLE)
    monkeypatch.chdir(tmp_path)
    record(dataclasses.replace(SMALL, model="tuples:Tuple"), tmp_path / "run.h5")
    for name, message in (
        ("detached", "training 'tuples:detached' raised RuntimeError: element 0 of tensors does not require grad"),
        ("rounded", "outputs of torch.int64 where logits are expected"),
    ):
        with pytest.raises(InfoplaneError, match=message):
            record(dataclasses.replace(SMALL, model=f"tuples:{name}"), tmp_path / f"{name}.h5")
    with pytest.raises(InfoplaneError, match="training 'tuples:broken' raised RuntimeError: no training; correct"):
        record(dataclasses.replace(SMALL, model="tuples:broken"), tmp_path / "other.h5")
    with open_run(tmp_path / "other.h5") as run:
        assert [snapshot.step for snapshot in run.snapshots] == [0]


def test_runs_whose_names_differ_after_a_dot_keep_apart(dropping, tmp_path):
    for name, seed in (("lr0.1", 1), ("lr0.2", 2)):
        record(dataclasses.replace(dropping, seed=seed), tmp_path / name)
    for name in ("lr0.1", "lr0.2"):
        go_on(tmp_path / name, {"epochs": 3})
    assert {path.name for path in tmp_path.glob("*.ckpt")} == {"lr0.1.ckpt", "lr0.2.ckpt"}


def test_the_synchronous_path_is_the_same_after_an_interruption_and_of_a_longer_training(
    dropping, tmp_path, monkeypatch
):
    settings, path, whole = (
        dataclasses.replace(dropping, synchronous_path=True),
        tmp_path / "a.h5",
        tmp_path / "b.h5",
    )
    steps = iter(range(100))
    forward = Unit.forward

    def stopping(unit, below, *others):
        if next(steps) == 12:
            os.kill(os.getpid(), signal.SIGINT)
        return forward(unit, below, *others)

    with monkeypatch.context() as patch:
        patch.setattr(Unit, "forward", stopping)
        with pytest.raises(Interrupted):
            record(settings, path)
    assert not synchronous_path_of(path).exists()
    # As after a move to another machine: the weights of the first snapshot are those of the seed.
    (tmp_path / "a.first.pt").unlink()
    go_on(path)
    record(settings, whole)
    assert_same(contents(synchronous_path_of(whole)), contents(synchronous_path_of(path)))

    go_on(path, {"epochs": 3})
    with open_run(path) as run, open_run(synchronous_path_of(path)) as made:
        assert [s.step for s in made.snapshots] == [s.step for s in run.snapshots]
        assert made.snapshots[-1].metrics["progress"] == 1
        assert made.config["epochs"] == run.config["epochs"] == 3
        assert run.results
    assert not list(tmp_path.glob("*.first.pt"))
    with pytest.raises(InfoplaneError, match="is the synchronous path of a training; go on with its own run file"):
        go_on(synchronous_path_of(path))


def test_a_finished_run_gets_its_synchronous_path_afterwards(dropping, tmp_path):
    record(dropping, tmp_path / "late.h5")
    go_on(tmp_path / "late.h5", {"synchronous_path": True})
    record(dataclasses.replace(dropping, synchronous_path=True), tmp_path / "at once.h5")
    late, at_once = (synchronous_path_of(tmp_path / name) for name in ("late.h5", "at once.h5"))
    assert_same(contents(late), contents(at_once))
    assert_same_weights(tmp_path / "late.h5", tmp_path / "at once.h5")


PLANTED = """
from pathlib import Path
from torch import nn
Path("imported").touch()

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


def test_code_that_a_file_names_runs_only_where_the_user_names_it_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "planted_code.py").write_text(PLANTED)
    record(dataclasses.replace(SMALL, model="planted_code:make"), tmp_path / "run.h5")
    sys.modules.pop("planted_code")
    (tmp_path / "imported").unlink()
    for changes in ({}, {"epochs": 3}, {"model": "cnn"}, {"model": "planted_code:other"}):
        with pytest.raises(InfoplaneError, match="run code for its model, 'planted_code:make'; if you trust it"):
            resume(tmp_path / "run.h5", changes)
    assert not (tmp_path / "imported").exists()
    assert "planted_code" not in sys.modules
    resume(tmp_path / "run.h5", {"epochs": 3, "model": "planted_code:make"})
    assert (tmp_path / "imported").exists()


def test_data_of_the_users_own_are_what_the_code_gives_now_and_others_are_kept(monkeypatch):
    values = torch.rand(40, 2)
    own = types.SimpleNamespace(data=lambda: [(values, torch.arange(40) % 2)] * 2)
    monkeypatch.setitem(sys.modules, "mine_now", own)
    settings = TrainingSettings(dataset="mine_now:data", model="mlp")
    first = session._load(settings, download=False).train.inputs.clone()
    values += 1  # as in a file that the function reads
    assert torch.equal(session._load(settings, download=False).train.inputs, first + 1)
    own.data = lambda: [(values[:30], torch.arange(30) % 2)] * 2
    assert len(session._load(settings, download=False).train) == 30
    digits = [session._load(TrainingSettings(), download=False).train.inputs for _ in range(2)]
    assert digits[0] is digits[1]


def test_data_are_downloaded_only_to_where_the_user_says(tmp_path, monkeypatch):
    asked = []

    def download(_name, root):
        asked.append(root)
        raise OSError("no network")

    monkeypatch.setattr("infoplane.data.download._download", download)
    path = planted_run(tmp_path / "sgd" / "seed0.h5", dataset="mnist", data_root=str(tmp_path / "elsewhere"))
    with pytest.raises(InfoplaneError, match=r"is not in .*elsewhere .*the run file names; give `data_root`"):
        resume(path)
    assert asked == []
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(InfoplaneError, match="cannot be downloaded"):
        resume(path, {"data_root": str(tmp_path / "here")})
    assert asked == [tmp_path / "here"]


UNLIKE = """
import torch
from torch import nn

class Double(nn.Module):
    def __init__(self, classes):
        super().__init__()
        sizes = (64, 32, 16, classes)
        self.first, self.second, self.head = (nn.Linear(*pair).double() for pair in zip(sizes, sizes[1:]))

    def forward(self, x):
        return self.head(torch.relu(self.second(torch.relu(self.first(x.flatten(1).double())))))

def double(classes):
    return Double(classes)

def frozen(classes):
    first = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU()).requires_grad_(False)
    return nn.Sequential(first, nn.Sequential(nn.Linear(32, 16), nn.ReLU()), nn.Linear(16, classes))

def volumes(classes):
    class Deep(nn.Sequential):
        def forward(self, x):
            return super().forward(x[:, None])

    return Deep(nn.Conv3d(1, 4, (1, 3, 3)), nn.ReLU(), nn.Conv3d(4, 4, (1, 3, 3)), nn.ReLU(), nn.Flatten(),
        nn.Linear(64, classes))
"""


@pytest.mark.parametrize(
    ("network", "changes"),
    [
        ("double", {"method": "greedy-ce"}),
        ("double", {"method": "greedy-dib"}),
        ("frozen", {"method": "hsic"}),
        ("frozen", {"method": "phsic", "lr": 0.01}),
        ("volumes", {"method": "sgd", "amp": True}),
    ],
)
def test_networks_unlike_ours_train_layer_by_layer(tmp_path, monkeypatch, network, changes):
    (tmp_path / "unlike.py").write_text(UNLIKE)
    monkeypatch.chdir(tmp_path)
    settings = TrainingSettings(
        model=f"unlike:{network}", epochs=3, snapshots="2", probe_size=40, batch_size=64, eval_size=100, **changes
    )
    assert record(settings, tmp_path / "run.h5") > 0.15


def test_a_probe_of_the_training_split_is_not_what_is_trained_on_first(tmp_path):
    settings = dataclasses.replace(SMALL, probe_split="train", probe_size=100, seed=0, epochs=1)
    made = session._Session(settings.resolved(), tmp_path / "run.h5", "cpu", session.QUIET)
    first = set(made.loop._batches(0)[0].tolist())
    with made._recorder(False, False):
        pass
    with open_run(tmp_path / "run.h5") as run:
        probe = set(run.probe.indices.tolist())
    # By chance a tenth of them are.
    assert len(first & probe) < 30


def test_a_probe_that_an_older_version_drew_stays_when_its_run_goes_on(tmp_path, monkeypatch):
    settings = dataclasses.replace(SMALL, probe_split="train", epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr(session, "stream_seed", lambda _purpose, seed: seed)
        record(settings, tmp_path / "run.h5")
    assert resume(tmp_path / "run.h5", {"epochs": 2}) > 0.2
