from pathlib import Path

import pytest
import torch
from blocks import IMAGE, MAP, VECTOR, info, step
from torch import nn

from infoplane.data import load_dataset
from infoplane.errors import InfoplaneError
from infoplane.trainers.build import end_to_end
from infoplane.trainers.methods import METHODS, method
from infoplane.trainers.objectives.base import LossSettings, OwnClassifier, Pass
from infoplane.trainers.objectives.heads import build_head
from infoplane.trainers.optim import build_optimizer, lr_factor
from infoplane.trainers.task import Targets, Task

LOCAL = [name for name, entry in METHODS.items() if entry.local]
SHAPES = [MAP, (2, 3, 5), (6, 1, 1), VECTOR]


def degenerate(shape, n=12):
    torch.manual_seed(3)
    output = torch.randn(n, *shape)
    dead = output.relu()
    dead[: n // 2] = 0
    return {
        "usual": output,
        "repeated": output[:6].repeat(2, *[1] * len(shape)),
        "equal": output[:1].expand(n, *shape),
        "constant": torch.full((n, *shape), 0.7),
        "zero": torch.zeros(n, *shape),
        "dead": dead,
        "huge": output * 1e30,
        "tiny": output * 1e-30,
        "three samples": output[:3],
        "two samples": output[:2],
        "one sample": output[:1],
    }


def gradients(objective, output, dtype=None, **given):
    """The loss and all gradients of a step."""
    objective.zero_grad()
    output = output.detach().clone().requires_grad_()
    local = step(output, **given)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
        loss = objective.loss(local)
    loss.backward()
    assert output.grad.dtype == output.dtype
    return [loss, output.grad, *(p.grad for p in objective.parameters() if p.grad is not None)]


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("boxes", [False, True])
def test_losses_and_gradients_are_finite(name, shape, boxes):
    objective = method(name).make(info(shape, boxes=boxes), LossSettings(beta=1.0))
    for case, output in degenerate(shape).items():
        if method(name).expand and len(output) < 3:
            continue  # one sample is expanded to three
        found = gradients(objective, output, boxes=boxes)
        assert found[0].ndim == 0
        assert all(torch.isfinite(values).all() for values in found), case


@pytest.mark.parametrize("alpha", [1.0, 1.01, 2.0])
@pytest.mark.parametrize(
    "reading",
    [
        {"penalty": "mi_xt"},
        {"penalty": "entropy_t"},
        {"penalty": "mi_prev_t"},
        {"fit": "mi_ty", "correction": "permuted"},
        {"fit": "both", "correction": "permuted", "penalty": "mi_prev_t"},
        {"beta_schedule": "target", "target_bits": 1.0},
        {"fit": "both", "bandwidth_gradient": "scale"},
        {"fit": "mi_ty", "fit_projection": "directions"},
        {"fit": "mi_ty", "fit_projection": "learned"},
    ],
    ids=str,
)
def test_so_are_those_of_every_information(reading, alpha):
    rules = ("knn:10", "median:1") if "bandwidth_gradient" in reading else ("knn:10", "median:1", "fixed:2")
    for rule in rules:
        loss_settings = LossSettings(beta=1.0, alpha=alpha, bandwidth=rule, fit_bandwidth=rule, **reading)
        objective = method("greedy-dib").make(info(), loss_settings)
        for case, output in degenerate(MAP).items():
            found = gradients(objective, output, below=output.detach())
            assert all(torch.isfinite(values).all() for values in found), case


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=str)
@pytest.mark.parametrize("of", ["directions", "learned"])
def test_so_are_those_of_directions(shape, dtype, of):
    objective = method("greedy-dib").make(
        info(shape, boxes=True), LossSettings(fit="both", fit_projection=of, beta=0.0)
    )
    for case, output in degenerate(shape).items():
        found = gradients(objective, output.to(dtype or output.dtype), dtype, boxes=True)
        assert all(torch.isfinite(values).all() for values in found), case


@pytest.mark.parametrize("name", LOCAL)
def test_one_class_and_equal_inputs(name):
    objective = method(name).make(info(), LossSettings(beta=1.0))
    alike = {"targets": Targets(torch.ones(12, dtype=torch.int64)), "inputs": torch.ones(12, *IMAGE)}
    found = gradients(objective, torch.randn(12, *MAP), **alike)
    assert all(torch.isfinite(values).all() for values in found)


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_mixed_precision(name, shape):
    objective = method(name).make(info(shape), LossSettings(beta=1.0))
    output = torch.randn(12, *shape).bfloat16()
    found = gradients(objective, output, torch.bfloat16)
    assert found[0].dtype in (torch.float32, torch.float64)
    assert all(torch.isfinite(values).all() for values in found)
    exact = gradients(objective, output.float())
    assert found[0].item() == pytest.approx(exact[0].item(), rel=0.05, abs=0.05)


@pytest.mark.parametrize("name", LOCAL)
def test_nothing_flows_to_what_lies_below(name):
    objective = method(name).make(info(), LossSettings(penalty="mi_prev_t"))
    below, inputs = (torch.randn(12, *IMAGE, requires_grad=True) for _ in range(2))
    output = torch.randn(12, *MAP, requires_grad=True)
    objective.loss(step(output, below=below, inputs=inputs)).backward()
    assert below.grad is None
    assert inputs.grad is None
    assert output.grad.abs().sum() > 0 or name == "pred"


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("boxes", [False, True])
def test_predictions_come_with_a_classifier(name, boxes):
    objective = method(name).make(info(boxes=boxes), LossSettings())
    prediction = objective.predict(torch.randn(5, *MAP))
    has_head = any("head" in key for key in objective.state_dict())
    assert (prediction is not None) == has_head
    if prediction is not None:
        assert prediction.shape == (5, 7 if boxes else 3)


@pytest.fixture(scope="module")
def digits():
    data = load_dataset("digits", Path())
    return data.batch(data.train, slice(0, 256), "cpu")


@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize("kind", ["map", "vector"])
@pytest.mark.parametrize("name", LOCAL)
def test_a_few_steps_on_digits_reduce_the_loss(name, kind, boxes, digits):
    torch.manual_seed(0)
    entry = method(name)
    shape = (8, 4, 4) if kind == "map" else (24,)
    block = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
    if kind == "vector":
        block = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.Tanh())
    spot = info(shape, classes=10, boxes=boxes)
    objective = entry.make(spot, LossSettings(beta=0.1))
    optimizer = torch.optim.Adam([*block.parameters(), *objective.parameters()], lr=3e-3)
    inputs, labels = digits
    targets = Targets(labels, torch.rand(len(labels), 4) if boxes else None)
    if entry.expand:
        inputs, targets = entry.expand(inputs, targets, spot.task, torch.Generator().manual_seed(0))
    losses = []
    for number in range(25):
        local = Pass(inputs, inputs, block(inputs), targets, number / 25, number)
        loss = objective.loss(local)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.02 * abs(losses[0])


@pytest.mark.parametrize("name", METHODS)
def test_the_register_is_complete(name):
    entry = method(name)
    defaults = dict(entry.defaults)
    weights = [nn.Parameter(torch.zeros(1))]
    values = (defaults.pop(key) for key in ("optimizer", "lr", "momentum", "weight_decay"))
    kind, lr, momentum, decay = values
    build_optimizer(kind, weights, lr, momentum, decay)
    assert 0 < lr_factor(defaults.pop("schedule"), 100, 10)(0) <= 1
    assert defaults.pop("batch_size") > 1
    build_head(defaults.pop("aux", "linear"), info())
    assert not defaults
    assert entry.summary
    last = entry.last(info((3,), index=2), LossSettings())
    assert isinstance(last, OwnClassifier)
    assert "no such" not in entry.options
    if entry.local:
        with pytest.raises(InfoplaneError, match="option"):
            entry.make(info(), LossSettings(options={"no such": 1.0}))


def test_sgd_is_the_loss_of_the_task():
    [unit] = end_to_end(nn.Identity(), Task(3))
    objective = unit.objective
    local = step(torch.randn(6, 3))
    assert torch.equal(objective.loss(local), Task(3).loss(local.output, local.targets))
    assert torch.equal(objective.predict(local.output), local.output)


def test_unknown_methods():
    with pytest.raises(InfoplaneError, match="unknown method 'greedy-dip'; did you mean greedy-dib"):
        method("greedy-dip")
