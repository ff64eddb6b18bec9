import math

import pytest
import torch

from infoplane.data.boxes import intersection_over_union
from infoplane.trainers.task import Targets, Task


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1.0),
        ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7),
        ((0, 0, 4, 2), (1, 0, 3, 2), 4 / 8),
        ((0, 0, 1, 1), (2, 2, 3, 3), 0.0),
        ((0, 0, 1, 1), (1, 0, 2, 1), 0.0),
        ((2, 2, 0, 0), (0, 0, 2, 2), 0.0),
        ((1, 1, 1, 1), (1, 1, 1, 1), 0.0),
    ],
)
def test_intersection_over_union_by_hand(left, right, expected):
    boxes = torch.tensor([left, right], dtype=torch.float32)
    assert intersection_over_union(boxes[:1], boxes[1:]).item() == pytest.approx(expected)
    assert intersection_over_union(boxes[1:], boxes[:1]).item() == pytest.approx(expected)


def test_classes_alone_give_the_cross_entropy():
    outputs = torch.tensor([[1.0, 2.0, 0.5], [0.0, 0.0, 0.0]])
    first = math.log(math.e + math.e**2 + math.e**0.5) - 2.0
    loss = Task(3).loss(outputs, Targets(torch.tensor([1, 2])))
    assert loss.item() == pytest.approx((first + math.log(3)) / 2, rel=1e-6)


def test_smoothed_labels_are_those_of_pytorch_and_generalised_losses_lie_between_their_ends():
    outputs = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    targets = Targets(torch.tensor([0, 1, 2, 0, 1, 2]))
    smoothed = Task(3, classifier_loss="smoothed:0.2").loss(outputs, targets)
    log_p = outputs.log_softmax(1)
    expected = -0.8 * log_p[range(6), targets.labels].mean() - 0.2 * log_p.mean()
    torch.testing.assert_close(smoothed, expected)
    p = log_p.exp()[range(6), targets.labels]
    for q in (0.3, 0.7, 1.0):
        loss = Task(3, classifier_loss=f"generalised:{q}").loss(outputs, targets)
        torch.testing.assert_close(loss, ((1 - p**q) / q).mean())
    near = Task(3, classifier_loss="generalised:1e-6").loss(outputs, targets)
    torch.testing.assert_close(near, Task(3, classifier_loss="ce").loss(outputs, targets), rtol=1e-4, atol=0)


def test_the_loss_of_classifiers_is_read_once(monkeypatch):
    read = []
    monkeypatch.setattr("infoplane.trainers.task.classifier_loss_of", lambda rule: read.append(rule) or ("ce", 0.0))
    task = Task(2, classifier_loss="ce")
    for _ in range(3):
        task.loss(torch.zeros(4, 2), Targets(torch.tensor([0, 1, 0, 1])))
    assert read == ["ce"]


def test_a_generalised_loss_pulls_less_at_labels_that_the_network_denies():
    outputs = torch.tensor([[5.0, 0.0], [0.0, 0.0]])
    targets = Targets(torch.tensor([1, 1]))
    pulls = []
    for rule in ("ce", "generalised:0.7"):
        logits = outputs.clone().requires_grad_()
        Task(2, classifier_loss=rule).loss(logits, targets).backward()
        pulls.append(logits.grad[:, 1].abs())
    assert pulls[0][0] > pulls[0][1]  # cross-entropy pulls most where the label is denied
    assert pulls[1][0] < pulls[1][1]


def test_the_box_is_a_weighted_smooth_l1_distance_from_the_whole_image():
    task = Task(2, boxes=True, box_weight=10.0)
    outputs = torch.tensor([[0.0, 0.0, 0.5, 0.5, -0.5, -0.5]])
    targets = Targets(torch.tensor([0]), torch.tensor([[0.5, 0.45, 0.1, 0.9]]))
    # Distances 0, 0.05 (quadratic: d² / 0.2), 0.4 and 0.4 (linear: d − 0.05).
    box = (0 + 0.05**2 / 0.2 + 0.35 + 0.35) / 4
    assert task.loss(outputs, targets).item() == pytest.approx(math.log(2) + 10 * box, rel=1e-6)
    assert task.outputs == 6
    assert task.logits(outputs).shape == (1, 2)
    torch.testing.assert_close(task.box(outputs), torch.full((1, 4), 0.5))
    # Corners outside of the image are cut to it, but not in the loss, which would lose its gradient.
    far = torch.tensor([[0.0, 0.0, -9.0, 0.5, 9.0, -0.5]], requires_grad=True)
    torch.testing.assert_close(task.box(far).detach(), torch.tensor([[0.0, 0.5, 1.0, 0.5]]))
    task.loss(far, targets).backward()
    assert (far.grad[0, [2, 4]] != 0).all()


def test_embeddings_and_slices():
    targets = Targets(torch.tensor([1, 0]), torch.tensor([[0.1, 0.2, 0.3, 0.4]] * 2))
    expected = torch.tensor([[0, 1, 0.1, 0.2, 0.3, 0.4], [1, 0, 0.1, 0.2, 0.3, 0.4]])
    torch.testing.assert_close(Task(2, boxes=True).embedding(targets), expected)
    torch.testing.assert_close(Task(2).embedding(targets), expected[:, :2])
    part = targets[1:]
    assert part.labels.tolist() == [0]
    assert part.boxes.shape == (1, 4)
    assert Targets(torch.tensor([1, 0]))[:1].boxes is None
