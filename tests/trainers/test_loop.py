"""The training loop: gates that hold bit for bit on the CPU, and the isolation of local losses."""

import dataclasses
import functools
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from infoplane import open_run
from infoplane.data import load_dataset, noisy_labels
from infoplane.errors import InfoplaneError
from infoplane.models import build_model
from infoplane.trainers.build import block_betas, build_units
from infoplane.trainers.loop import Loop, Recipe, Stage, by_class, count_steps, stages
from infoplane.trainers.objectives.base import LossSettings
from infoplane.trainers.optim import build_optimizer
from infoplane.trainers.session import _sample, record, resume
from infoplane.trainers.settings import TrainingSettings
from infoplane.trainers.task import Task
from infoplane.trainers.unit import Unit

SMALL = TrainingSettings(
    epochs=1, snapshots="2", probe_size=40, batch_size=128, eval_size=50, lr=0.05, schedule="constant"
)
LAYERWISE = dataclasses.replace(SMALL, method="greedy-ce", aux="linear")


def checkpoint(run):
    return torch.load(run.with_suffix(".ckpt"), weights_only=True)


def state(settings, folder, name="run"):
    record(settings, folder / f"{name}.h5", force=True)
    return checkpoint(folder / f"{name}.h5")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs that several tests hold others against, each trained once; not to be changed."""

    @functools.cache
    def path(settings):
        found = tmp_path_factory.mktemp("trained") / "run.h5"
        record(settings, found)
        return found

    return path


def same(left, right):
    assert left.keys() == right.keys()
    return all(torch.equal(value, right[name]) for name, value in left.items())


def loop_of(settings, dataset, **recipe):
    """A loop as `record` makes it, without a run file."""
    settings = settings.resolved()
    torch.manual_seed(settings.seed)
    task = Task(dataset.spec.classes)
    model, units = build_units(settings, task, dataset.batch(dataset.train, slice(2), "cpu")[0])
    per_epoch = count_steps(len(dataset.train), settings.batch_size)
    made = Recipe(
        optimizer=lambda p: build_optimizer(
            settings.optimizer, p, settings.lr, settings.momentum, settings.weight_decay
        ),
        lr=settings.lr,
        lr_factor=lambda step: 1.0,
        batch_size=settings.batch_size,
        seed=settings.seed,
    )
    plan = stages(settings.order or "simultaneous", len(units), settings.epochs * per_epoch)
    return model, Loop(units, plan, dataclasses.replace(made, **recipe), dataset)


def run(loop, after_step=lambda: None):
    loop.run(lambda step: False, lambda: None, after_step)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return load_dataset("digits", tmp_path_factory.mktemp("data"))


def test_sgd_is_a_hand_written_loop(digits):
    model, loop = loop_of(SMALL, digits)
    run(loop)
    torch.manual_seed(0)
    other = build_model("cnn", (1, 8, 8), 10)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    order = torch.randperm(len(digits.train), generator=torch.Generator().manual_seed(0))
    for indices in order.split(128):
        inputs, labels = digits.batch(digits.train, indices, "cpu")
        optimizer.zero_grad()
        functional.cross_entropy(other(inputs), labels).backward()
        optimizer.step()
    assert same(model.state_dict(), other.state_dict())


@pytest.mark.parametrize(
    "change",
    [
        {"method": "greedy-ce", "blocks": 1, "momentum": 0.9, "weight_decay": 5e-4},
        {"method": "greedy-dib", "blocks": 1, "momentum": 0.9, "weight_decay": 5e-4},
        {"method": "sgd-checkpoint"},
        {"method": "sgd-checkpoint", "blocks": 2},
    ],
)
def test_what_is_sgd_bit_for_bit(tmp_path, trained, change):
    sgd = checkpoint(trained(SMALL))
    other = state(dataclasses.replace(SMALL, **change), tmp_path, "other")
    assert same(sgd["model"], other["model"])


@pytest.mark.parametrize("order", ["simultaneous", "sequential"])
def test_dib_without_beta_is_greedy_ce(tmp_path, trained, order):
    few = dataclasses.replace(LAYERWISE, order=order, train_size=400)
    plain = checkpoint(trained(few))
    dib = dataclasses.replace(few, method="greedy-dib", beta=(0.0,))
    assert same(plain["model"], state(dib, tmp_path, "dib")["model"])
    both = dataclasses.replace(dib, fit="both", fit_weight=0.0, correction="permuted")
    assert same(plain["model"], state(both, tmp_path, "dib")["model"])
    with_term = state(dataclasses.replace(dib, beta=(0.1,)), tmp_path, "dib")["model"]
    assert not same(plain["model"], with_term)


def test_accumulated_gradients_are_those_of_the_batch(tmp_path):
    """Without batch norm, which sees parts of a batch, they differ by rounding only."""
    mlp = dataclasses.replace(SMALL, model="mlp", widths=(32, 16))
    sgd = state(mlp, tmp_path)["model"]
    parts = state(dataclasses.replace(mlp, method="sgd-accumulate"), tmp_path, "parts")["model"]
    for name, value in sgd.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-5)


def test_cached_is_uncached(tmp_path, trained):
    one = dataclasses.replace(LAYERWISE, order="sequential")
    cached = checkpoint(trained(one))
    # The outputs of conv2 (32 × 4 × 4) are made of those of conv1 (16 × 8 × 8), which stay until then.
    assert cached["loop"]["largest_cache"] == len(load_dataset("digits", tmp_path).train) * (1024 + 512) * 4
    uncached = state(dataclasses.replace(one, cache_mib=0), tmp_path, "uncached")
    assert uncached["loop"]["largest_cache"] == 0
    assert same(cached["model"], uncached["model"])


def graph_leaves(loss):
    """The parameters that autograd would give gradients to."""
    found, seen, stack = set(), set(), [loss.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        stack += [parent for parent, _ in node.next_functions]
    return found


def crossings(loop):
    """Steps in which a loss reached parameters of another unit, by the graph and by the gradients."""
    own = [{id(p) for p in unit.parameters()} for unit in loop.units]
    by_graph, by_gradient = [], []
    forward = Unit.forward

    def watched(unit, *arguments):
        loss, output = forward(unit, *arguments)
        number = [one.name for one in loop.units].index(unit.name)
        if not graph_leaves(loss) <= own[number]:
            by_graph.append(unit.name)
        others = [p for k, one in enumerate(loop.units) if k != number for p in one.parameters()]

        def look(_):
            by_gradient.extend(unit.name for p in others if p.grad is not None)

        # Runs when the gradients of this unit's loss are being accumulated.
        last = next(p for p in unit.parameters())
        handles.append(last.register_post_accumulate_grad_hook(look))
        return loss, output

    handles = []
    Unit.forward = watched
    try:
        run(loop)
    finally:
        Unit.forward = forward
        for handle in handles:
            handle.remove()
    return by_graph, by_gradient


@pytest.mark.parametrize("order", ["simultaneous", "sequential"])
@pytest.mark.parametrize(
    "change",
    [
        {"method": "greedy-ce"},
        {"method": "greedy-dib"},
        {"method": "greedy-dib", "fit": "mi_ty", "correction": "permuted"},
        {"method": "greedy-dib", "fit": "both", "penalty": "mi_prev_t", "correction": "permuted"},
    ],
    ids=str,
)
def test_no_gradient_crosses_a_block(digits, order, change):
    settings = dataclasses.replace(LAYERWISE, order=order, batch_size=600, **change)
    assert crossings(loop_of(settings, digits)[1]) == ([], [])


def test_a_unit_that_forgets_to_detach_is_caught(digits, monkeypatch):
    """The negative control: with its graph left on, a block's loss is seen to reach the blocks below."""
    _, loop = loop_of(dataclasses.replace(LAYERWISE, batch_size=600), digits)

    class Forgetful(Unit):
        def forward(self, below, inputs, targets, *rest):
            output = self.block(loop.units[0].block(inputs)) if self is loop.units[1] else self.block(below)
            return functional.cross_entropy(self.objective.head(output), targets.labels), output

    loop.units[1].__class__ = Forgetful
    below, inputs = torch.randn(4, 16, 8, 8), torch.randn(4, 1, 8, 8)
    loss, _ = loop.units[1](below, inputs, dataclasses.make_dataclass("T", ["labels"])(torch.zeros(4).long()))
    assert graph_leaves(loss) & {id(p) for p in loop.units[0].parameters()}
    loss.backward()
    assert any(p.grad is not None for p in loop.units[0].parameters())


def test_frozen_blocks_stay_as_they_are(digits):
    _, loop = loop_of(dataclasses.replace(LAYERWISE, order="sequential"), digits, cache_bytes=0)
    finished = {}

    def look():
        for k in range(loop.plan[loop._stage].first):
            now = {name: value.clone() for name, value in loop.units[k].block.state_dict().items()}
            assert same(finished.setdefault(k, now), now)
        untrained = loop.units[loop.plan[loop._stage].end :]
        assert all(same(before[unit.name], unit.state_dict()) for unit in untrained)

    before = {unit.name: {n: v.clone() for n, v in unit.state_dict().items()} for unit in loop.units}
    run(loop, look)
    assert len(finished) == len(loop.units) - 1
    assert loop.epoch == len(loop.units)


def test_stages_of_an_order():
    assert stages("simultaneous", 4, 7) == [Stage(0, 4, 7)]
    assert (
        stages("sequential", 3, 7) == stages("window:1", 3, 7) == [Stage(0, 1, 7), Stage(1, 2, 7), Stage(2, 3, 7)]
    )
    assert stages("window:2", 4, 7) == [Stage(0, 2, 7), Stage(1, 3, 7), Stage(2, 4, 7)]
    assert stages("window:9", 4, 7) == [Stage(0, 4, 7)]


def test_a_window_is_trained_while_all_else_stands_still(digits):
    settings = dataclasses.replace(LAYERWISE, order="window:2", blocks=4, batch_size=600)
    _, loop = loop_of(settings, digits, cache_bytes=2**30)
    before = {}

    def look():
        stage = loop.plan[loop.stage]
        now = {k: {n: v.clone() for n, v in u.block.state_dict().items()} for k, u in enumerate(loop.units)}
        moved = [k for k in now if before and not same(before[k], now[k])]
        assert set(moved) <= set(range(stage.first, stage.end))
        seen.update((loop.stage, k) for k in moved)
        before.update(now)

    seen = set()
    look()
    run(loop, look)
    assert seen == {(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3)}
    assert loop.epoch == 3


def test_a_window_of_all_blocks_is_simultaneous_and_of_one_sequential(tmp_path, trained):
    for order, window in (("simultaneous", "window:6"), ("sequential", "window:1")):
        plain = checkpoint(trained(dataclasses.replace(LAYERWISE, order=order)))
        assert same(plain["model"], state(dataclasses.replace(LAYERWISE, order=window), tmp_path)["model"])


def test_batches_drawn_by_class():
    labels = torch.randint(0, 7, (403,), generator=torch.Generator().manual_seed(1))
    orders = []
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        order = by_class(torch.randperm(403, generator=generator), labels, 8, generator)
        assert order.sort().values.tolist() == list(range(403))
        orders.append(order.tolist())
        ends = (labels[order][1:] != labels[order][:-1]).nonzero().flatten().tolist()
        runs = np.diff([-1, *ends, 402])
        # Every class has one shorter group at the most.
        assert sum(length % 8 != 0 for length in runs) <= 2 * 7
        assert np.median(runs) >= 8
        assert len(ends) > 20
    assert orders[0] != orders[1]


def test_training_on_batches_drawn_by_class(digits, tmp_path):
    _, loop = loop_of(dataclasses.replace(SMALL, batch_size=16), digits, per_class=8)
    classes = [len(digits.train.labels[batch].unique()) for batch in loop._batches(0)]
    assert np.median(classes) <= 3
    assert loop._batches(0)[0].tolist() != loop._batches(1)[0].tolist()
    settings = dataclasses.replace(LAYERWISE, method="greedy-dib", fit="mi_ty", batch_size=16, per_class=4)
    assert record(settings, tmp_path / "run.h5") > 0.5


def test_a_steered_beta_is_in_the_snapshots(tmp_path):
    steered = dataclasses.replace(
        LAYERWISE, method="greedy-dib", beta_schedule="target", target_bits=(0.0,), blocks=3
    )
    record(steered, tmp_path / "run.h5")
    with open_run(tmp_path / "run.h5") as run_file:
        betas = [
            [snapshot.metrics[f"beta@{name}"] for name in ("conv2", "conv4")] for snapshot in run_file.snapshots
        ]
    # There are bits to take away, so that it rises.
    assert betas[0] == pytest.approx([0.01, 0.01])
    assert all(0.01 < beta <= 0.01 * np.exp(0.02 * 10) for beta in betas[-1])


@pytest.mark.parametrize("fit", ["mi_ty", "both"])
def test_batches_with_few_samples_of_a_class_are_refused(tmp_path, fit):
    settings = dataclasses.replace(LAYERWISE, method="greedy-dib", fit=fit, batch_size=15)
    refusal = r"a batch of 15 has 1.5 samples of each of 10 classes, and I\(T;Y\) needs 2 .* `per_class=4`"
    with pytest.raises(InfoplaneError, match=refusal):
        record(settings, tmp_path / "run.h5")
    with pytest.raises(InfoplaneError, match=r"taken at once\) has 1.6 samples"):
        record(dataclasses.replace(settings, batch_size=64, micro_batches=4), tmp_path / "run.h5")
    assert list(tmp_path.iterdir()) == []


def test_label_noise_is_recorded(tmp_path):
    noisy = dataclasses.replace(
        SMALL, label_noise=0.4, validation=0.2, probe_split="train", probe_size=200, epochs=2
    )
    clean = record(dataclasses.replace(SMALL, epochs=2), tmp_path / "clean.h5")
    accuracy = record(noisy, tmp_path / "run.h5")
    with open_run(tmp_path / "run.h5") as run_file:
        assert (run_file.config["label_noise"], run_file.config["label_noise_kind"]) == (0.4, None)
        wrong = run_file.probe.labels != run_file.probe.others["true"].values
        metrics = run_file.snapshots[-1].metrics
        assert (run_file.result("labels") == load_dataset("digits", tmp_path).test.labels.numpy()).all()
    assert 0.25 < wrong.mean() < 0.47
    # Labels of the validation split are wrong too, those of the test split are not.
    assert metrics["validation_accuracy"] < 0.75
    assert clean > accuracy > metrics["validation_accuracy"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_is_measured_of_noisy_samples_is_drawn_apart_from_the_noise(tmp_path, seed):
    # The same draw would measure the samples of the wrong labels, and next to no others.
    record(
        dataclasses.replace(SMALL, label_noise=0.4, probe_split="train", probe_size=200, epochs=1, seed=seed),
        tmp_path / "run.h5",
    )
    with open_run(tmp_path / "run.h5") as run_file:
        wrong = run_file.probe.labels != run_file.probe.others["true"].values
    assert 0.25 < wrong.mean() < 0.47
    train = noisy_labels(load_dataset("digits", tmp_path), 0.4, seed=seed).train
    scored = _sample(len(train.labels), 300)
    assert 0.25 < (train.labels != train.true_labels)[scored].double().mean() < 0.47


def test_gradients_are_freed_at_once(digits):
    _, loop = loop_of(LAYERWISE, digits)
    held = []
    run(loop, lambda: held.extend(p for unit in loop.units for p in unit.parameters() if p.grad is not None))
    assert held == []


READING = {
    "loss_bandwidth_gradient": "scale",
    "fit": "both",
    "fit_projection": "learned",
    "correction": "permuted",
    "beta_schedule": "target",
    "target_bits": (1.0,),
}


def test_every_setting_of_the_information_reaches_its_objective(digits):
    given = {"fit_weight": 0.7, "fit_bandwidth": "median:2", "penalty": "mi_prev_t", "loss_alpha": 2.0}
    given |= {"loss_bandwidth": "median:3", "loss_every": 2}
    settings = dataclasses.replace(LAYERWISE, method="greedy-dib", beta=(0.3,), **READING | given)
    _, loop = loop_of(settings, digits)
    assert loop.units[0].objective.loss_settings == LossSettings(
        aux="linear",
        beta=0.3,
        beta_schedule="target",
        penalty="mi_prev_t",
        alpha=2.0,
        bandwidth="median:3",
        bandwidth_gradient="scale",
        every=2,
        correction="permuted",
        target_bits=1.0,
        fit="both",
        fit_weight=0.7,
        fit_bandwidth="median:2",
        fit_projection="learned",
    )


@pytest.mark.parametrize("order", ["simultaneous", "sequential"])
@pytest.mark.parametrize(
    ("stop_at", "reading"), [(1, {}), (7, {}), (13, {}), (13, READING), (13, {"per_class": 8})], ids=str
)
def test_stopped_in_any_block_and_resumed(tmp_path, trained, monkeypatch, order, stop_at, reading):
    settings = dataclasses.replace(
        LAYERWISE, order=order, snapshots="every:3", augment="shift:1", batch_size=100, method="greedy-dib"
    )
    settings = dataclasses.replace(settings, train_size=300, **reading)
    whole = trained(settings)
    steps, forward = [], Unit.forward

    def stopping(unit, *arguments):
        steps.append(unit.name)
        if len(steps) == stop_at:
            raise KeyboardInterrupt
        return forward(unit, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Unit, "forward", stopping)
        with pytest.raises(KeyboardInterrupt):
            record(settings, tmp_path / "part.h5")
    resume(tmp_path / "part.h5")
    assert same(checkpoint(whole)["model"], checkpoint(tmp_path / "part.h5")["model"])
    with open_run(whole) as one, open_run(tmp_path / "part.h5") as two:
        assert [s.step for s in one.snapshots] == [s.step for s in two.snapshots]
        for left, right in zip(one.snapshots, two.snapshots, strict=True):
            np.testing.assert_equal(left.metrics, right.metrics)
            for layer in one.layers:
                np.testing.assert_array_equal(left.distances(layer.name), right.distances(layer.name))
        assert one.results["test_accuracy"] == two.results["test_accuracy"]


def test_the_end_of_a_block_is_scored_by_its_own_classifier(tmp_path):
    settings = dataclasses.replace(LAYERWISE, order="sequential", snapshots="epochs", blocks=3, epochs=2)
    record(settings, tmp_path / "run.h5")
    with open_run(tmp_path / "run.h5") as run_file:
        found = [snapshot.metrics for snapshot in run_file.snapshots]
    assert [metrics["stage"] for metrics in found] == [0, 0, 0, 1, 1, 2, 2]
    own = [
        metrics[f"test_accuracy@{name}"]
        for metrics, name in zip(found[:5], ["conv2"] * 3 + ["conv4"] * 2, strict=True)
    ]
    assert [metrics["test_accuracy"] for metrics in found[:5]] == own


def test_the_cost_is_that_of_a_step_in_which_the_information_enters(tmp_path):
    dib = dataclasses.replace(LAYERWISE, method="greedy-dib")
    every = {k: cost_of(dataclasses.replace(dib, loss_every=k), tmp_path) for k in (1, 2)}
    peak, flops = cost_of(LAYERWISE, tmp_path)
    assert every[1][0] == every[2][0] > peak
    # Of as many steps of each kind every second one has the term.
    assert every[2][1] - flops == pytest.approx((every[1][1] - flops) / 2, rel=0.1)


def test_every_step_costs_what_its_samples_do(tmp_path):
    """150 samples in batches of 128: the second step has 22 of them."""
    settings = TrainingSettings(epochs=3, train_size=150, batch_size=128, snapshots="2", probe_size=20)
    of_batch, of_all = (
        cost_of(dataclasses.replace(settings, train_size=size, epochs=1), tmp_path) for size in (128, 150)
    )
    peak, flops = cost_of(settings, tmp_path)
    assert peak == pytest.approx(of_batch[0], rel=0.01)
    assert flops == 3 * of_all[1] == 3 * 150 * of_batch[1] // 128


def test_outputs_that_are_kept_cost_one_pass(tmp_path):
    settings = dataclasses.replace(LAYERWISE, order="sequential", blocks=2, epochs=1)
    kept, made_again = (cost_of(dataclasses.replace(settings, cache_mib=mib), tmp_path)[1] for mib in (1024, 0))
    assert kept == made_again


def cost_of(settings, folder):
    record(settings, folder / "run.h5", force=True)
    with open_run(folder / "run.h5") as run:
        return run.results["peak_bytes"], run.results["flops"]


def test_a_checkpoint_of_another_version_is_named(tmp_path):
    state(SMALL, tmp_path)
    saved = torch.load(tmp_path / "run.ckpt", weights_only=True)
    del saved["loop"]["units"]
    torch.save(saved, tmp_path / "run.ckpt")
    with pytest.raises(InfoplaneError, match="of another infoplane version"):
        resume(tmp_path / "run.h5")


def test_results_of_a_run(tmp_path):
    settings = dataclasses.replace(LAYERWISE, method="greedy-dib", validation=0.2, epochs=2)
    accuracy = record(settings, tmp_path / "run.h5")
    with open_run(tmp_path / "run.h5") as run_file:
        results, last = run_file.results, run_file.snapshots[-1].metrics
        confusion, predictions = run_file.result("confusion"), run_file.result("predictions")
        labels = run_file.result("labels")
    assert results["test_accuracy"] == accuracy
    assert np.mean(predictions == labels) == pytest.approx(accuracy)
    assert confusion.sum() == 600
    assert np.trace(confusion) / 600 == pytest.approx(accuracy)
    assert (confusion.sum(axis=1) == np.bincount(labels)).all()
    assert list(results["blocks"]) == ["conv1", "conv2", "conv3", "conv4", "fc1", "logits"]
    assert results["peak_bytes"] > results["saved_bytes"] > 0
    assert results["seconds"] > 0
    assert results["flops"] > 0
    assert results["epochs"] == 2
    assert results["parameters"] == sum(p.numel() for p in build_model("cnn", (1, 8, 8), 10).parameters())
    assert results["auxiliary_parameters"] > 0
    # The test split is scored once, at the end: snapshots see the validation split only.
    assert not [name for name in last if name.startswith("test")]
    assert "validation_accuracy@conv1" in last


def test_a_longer_run_drops_the_results_of_the_shorter(tmp_path, monkeypatch):
    record(SMALL, tmp_path / "run.h5")
    monkeypatch.setattr(
        "infoplane.trainers.session.results_of", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        resume(tmp_path / "run.h5", {"epochs": 2})
    with open_run(tmp_path / "run.h5") as run_file:
        assert run_file.results == {}
        assert run_file.snapshots[-1].epoch == 2


@pytest.mark.parametrize("method", ["sgd", "greedy-dib"])
def test_shuffled_labels_end_at_chance(tmp_path, method):
    accuracy = record(dataclasses.replace(SMALL, method=method, permute_labels=1.0, epochs=3), tmp_path / "run.h5")
    assert accuracy < 0.2


def test_reduced_precision(tmp_path):
    accuracy = record(dataclasses.replace(LAYERWISE, method="greedy-dib", amp=True, epochs=2), tmp_path / "run.h5")
    assert accuracy > 0.5


def test_two_processes_train_as_one(tmp_path):
    """Without batch norm, whose statistics are a process's own, two shares of a batch are the batch."""
    options = ["--model", "mlp", "--widths", "32,16", "--method", "greedy-ce", "--aux", "linear", "--lr", "0.1"]
    options += [
        "--epochs",
        "6",
        "--schedule",
        "constant",
        "--snapshots",
        "4",
        "--probe-size",
        "40",
        "--batch-size",
        "127",
        "--quiet",
    ]
    one, two = tmp_path / "one.h5", tmp_path / "two.h5"
    settings = ["-m", "infoplane", "record", *options]
    subprocess.run([sys.executable, *settings, "-o", str(one)], check=True, timeout=120)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launcher, *settings, "-o", str(two), "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test accuracy") == 1
    with open_run(one) as left, open_run(two) as right:
        assert [s.step for s in left.snapshots] == [s.step for s in right.snapshots]
        for layer in left.layers:
            np.testing.assert_allclose(
                left.snapshots[-1].distances(layer.name), right.snapshots[-1].distances(layer.name), rtol=1e-3
            )
        assert left.results["test_accuracy"] > 0.5
        assert left.results["test_accuracy"] == pytest.approx(right.results["test_accuracy"], abs=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta": (0.1,)}, "no information term; it is greedy-dib's; leave out `beta`"),
        ({"order": "sequential"}, "no local losses; leave out `order`"),
        ({"aux": "linear"}, "no auxiliary classifiers; leave out `aux`"),
        ({"blocks": 3}, "trains the whole network at once; leave out `blocks`"),
        ({"method": "greedy-db"}, "did you mean greedy-dib"),
        ({"method": "greedy-ce", "blocks": 99}, "6 natural units"),
        ({"method": "hsic", "aux": "linear"}, "no auxiliary classifiers; leave out `aux`"),
        ({"method": "greedy-ce", "batch_size": 1}, "needs `batch_size=2`"),
        ({"epochs": "5"}, "epochs must be of type int, got '5'"),
        ({"lr": True}, "lr must be of type float"),
        ({"method": "greedy-ce", "group": "memory"}, "give both or neither"),
        ({"method": "greedy-ce", "aux": "conv"}, "write 'conv:1'"),
        ({"method": "greedy-dib", "beta": (0.1, 0.2)}, "2 values for 5 hidden blocks"),
        ({"method": "greedy-dib", "beta": (-1.0,)}, "beta must be 0 or more"),
        ({"method": "greedy-ce", "fit": "mi_ty"}, "no information term; it is greedy-dib's; leave out `fit`"),
        ({"method": "greedy-dib", "beta_schedule": "target"}, "give both or neither"),
        ({"method": "greedy-dib", "target_bits": (1.0,)}, "give both or neither"),
        ({"method": "greedy-dib", "target_bits": (float("nan"),)}, "target_bits must be 0 or more, got nan"),
        (
            {"method": "greedy-dib", "beta_schedule": "target", "target_bits": (1.0, 2.0)},
            "`target_bits` has 2 values for 5 hidden blocks",
        ),
        ({"method": "greedy-dib", "fit_weight": 0.5}, "give `fit='both'` too"),
        ({"method": "greedy-dib", "fit_bandwidth": "knn:3"}, "give `fit='mi_ty'` or"),
        ({"method": "greedy-dib", "fit_projection": "learned"}, "give `fit='mi_ty'` or"),
        ({"method": "greedy-dib", "penalty": "entropy_t", "correction": "permuted"}, "no permuted null"),
        ({"method": "greedy-ce", "option": ("similarity=1",)}, "no option 'similarity'"),
        ({"method": "greedy-ce", "option": ("similarity",)}, "write NAME=NUMBER"),
        ({"method": "greedy-ce", "order": "both"}, "unknown order"),
        ({"task": "classes+boxes"}, "has no boxes"),
        ({"method": "greedy-ce", "order": "window"}, "write 'window:2'"),
        ({"method": "greedy-ce", "order": "window:0"}, "write 'window:2'"),
        ({"method": "greedy-ce", "order": "windows:2"}, "did you mean window:2"),
        ({"label_noise": 1.5}, "label_noise must be from 0 to 1"),
        ({"label_noise_kind": "permuted"}, "give `label_noise=0.4` too"),
        ({"label_noise": 0.4, "permute_labels": 1.0}, "both change labels"),
        ({"per_class": 0}, "per_class must be at least 1"),
        ({"classifier_loss": "smooth:0.1"}, "did you mean smoothed:0.1"),
        ({"classifier_loss": "smoothed:1"}, "write smoothed:0.1, with a number"),
        ({"classifier_loss": "generalised:x"}, "write generalised:0.1, with a number"),
        ({"validation": 1.5}, "validation fraction"),
        ({"augment": "shif:2"}, "did you mean shift"),
        ({"micro_batches": 0}, "micro_batches"),
    ],
)
def test_bad_settings(tmp_path, change, message):
    with pytest.raises(InfoplaneError, match=message):
        record(dataclasses.replace(SMALL, **change), tmp_path / "run.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_run_goes_on_only_where_its_length_does_not_matter(tmp_path):
    for order in ("sequential", "window:2"):
        record(dataclasses.replace(LAYERWISE, order=order, blocks=3), tmp_path / "run.h5", force=True)
        with pytest.raises(InfoplaneError, match=f"order '{order}', which depends on its 1 epochs"):
            resume(tmp_path / "run.h5", {"epochs": 2})


@pytest.mark.parametrize("method", ["sgd", "greedy-ce"])
def test_the_loss_of_classifiers_changes_what_is_learnt_and_not_how_it_is_scored(tmp_path, method):
    settings = dataclasses.replace(SMALL, method=method)
    logits, first_losses = {}, set()
    for rule in (None, "ce", "generalised:0.7"):
        record(dataclasses.replace(settings, classifier_loss=rule), tmp_path / "run.h5", force=True)
        with open_run(tmp_path / "run.h5") as run_file:
            logits[rule] = run_file.snapshots[-1].activations("logits")
            first_losses.add(run_file.snapshots[0].metrics["test_loss"])
    assert len(first_losses) == 1
    assert np.array_equal(logits[None], logits["ce"])
    assert not np.array_equal(logits["ce"], logits["generalised:0.7"])


def test_betas():
    assert block_betas([0.1], "rising", 1) == [0.0]
    assert block_betas([0.1], "constant", 4) == [0.1, 0.1, 0.1, 0.0]
    assert block_betas([0.3], "rising", 4) == pytest.approx([0.1, 0.2, 0.3, 0.0])
    assert block_betas([1, 2, 3], None, 4) == [1, 2, 3, 0.0]
    assert block_betas([0.1], None, 1) == [0.0]


def test_checkpointing_leaves_batch_norm_alone(digits):
    model, loop = loop_of(dataclasses.replace(SMALL, method="sgd-checkpoint"), digits)
    run(loop)
    counted = {int(m.num_batches_tracked) for m in model.modules() if isinstance(m, nn.BatchNorm2d)}
    assert counted == {loop.total_steps}
