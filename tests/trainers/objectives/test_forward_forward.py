import math

import numpy as np
import pytest
import torch
from blocks import MAP, VECTOR, info, step

from infoplane.errors import InfoplaneError
from infoplane.trainers.objectives.base import LossSettings
from infoplane.trainers.objectives.forward_forward import (
    Goodness,
    PlainReadout,
    expand,
    goodness,
    normalise,
    overlay,
)
from infoplane.trainers.task import Targets, Task


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [MAP, VECTOR], ids=str)
def test_the_loss_against_numpy(shape):
    output = torch.randn(9, *shape)
    squares = np.square(output.double().numpy().reshape(9, -1)).mean(axis=1) - 0.7
    expected = np.log1p(np.exp(np.concatenate([-squares[:3], squares[3:6]]))).mean()
    objective = Goodness(info(shape), LossSettings(options={"threshold": 0.7}))
    assert objective.loss(step(output)).item() == pytest.approx(expected, rel=1e-6)
    assert objective.predict(output) is None


def test_goodness_at_any_scale_and_its_gradient():
    output = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert goodness(output).tolist() == [12.5, 0.0]
    assert goodness(output * 1e30)[0].item() == pytest.approx(12.5e60)
    leaf = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(goodness, (leaf,))


@pytest.mark.parametrize("scale", [1.0, 1e30, 1e-30])
def test_normalise_takes_the_goodness_away(scale):
    output = torch.randn(6, *MAP)
    output[2] = 0
    unit = normalise(output * scale)
    assert goodness(unit).tolist() == pytest.approx([1, 1, 0, 1, 1, 1], rel=1e-5)
    torch.testing.assert_close(unit[0] / unit[0].max(), output[0] / output[0].max())
    assert normalise(output.bfloat16()).dtype == torch.bfloat16


def test_labels_are_written_over_the_first_pixels():
    images = torch.rand(2, 3, 2, 4) + 1
    images[1, 2, 1, 3], images[0, 0, 1, 3] = 0.5, 4.0
    written = overlay(images, torch.tensor([5, 0]), classes=6)
    # Six classes on rows of four pixels take two of the second row.
    first = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.5, 4.0, 0, 0]])
    second = torch.tensor([[4.0, 0.5, 0.5, 0.5], [0.5, 0.5, 0, 0]])
    for image, marks in zip(written, (first, second), strict=True):
        for channel in image:
            assert torch.equal(channel[0], marks[0])
            assert torch.equal(channel[1, :2], marks[1, :2])
    assert torch.equal(written[:, :, 1, 2:], images[:, :, 1, 2:])
    vectors = torch.tensor([[0.0, 0.2, 0.3, 1.0]])
    torch.testing.assert_close(overlay(vectors, torch.tensor([1]), 2), torch.tensor([[0.0, 1.0, 0.3, 1.0]]))


@pytest.mark.parametrize("boxes", [False, True])
def test_a_batch_is_positive_negative_plain(boxes):
    local = step(torch.zeros(40, 1), boxes=boxes, classes=4)
    images, targets = expand(local.inputs, local.targets, Task(4, boxes), generator())
    positive, negative, plain = images.split(40)
    assert torch.equal(plain, local.inputs)
    assert torch.equal(positive, overlay(local.inputs, local.targets.labels, 4))
    written = negative[:, 0, 0, :4].argmax(1)
    assert (written != local.targets.labels).all()
    assert set(((written - local.targets.labels) % 4).tolist()) == {1, 2, 3}
    assert torch.equal(targets.labels, local.targets.labels.repeat(3))
    assert (targets.boxes is None) != boxes
    again, _ = expand(local.inputs, local.targets, Task(4, boxes), generator())
    assert torch.equal(again, images)
    other, _ = expand(local.inputs, local.targets, Task(4, boxes), generator(1))
    assert not torch.equal(other, images)


def test_the_last_block_learns_from_plain_samples_alone():
    output = torch.randn(12, 3, requires_grad=True)
    local = step(output)
    readout = PlainReadout(info(VECTOR), LossSettings())
    loss = readout.loss(local)
    loss.backward()
    plain = Task(3).loss(output[8:].detach(), local.targets[8:])
    assert loss.item() == pytest.approx(plain.item())
    assert output.grad[:8].abs().sum() == 0
    assert readout.predict(output) is output


def test_hidden_blocks_do_not_learn_from_plain_samples():
    output = torch.randn(12, *MAP, requires_grad=True)
    Goodness(info(), LossSettings()).loss(step(output)).backward()
    assert output.grad[8:].abs().sum() == 0
    assert (output.grad[:8].flatten(1).abs().sum(1) > 0).all()


def test_what_cannot_be_expanded():
    inputs, targets = torch.rand(4, 1, 2, 2), Targets(torch.tensor([0, 1, 2, 3]))
    with pytest.raises(InfoplaneError, match="10 labels over inputs of 4 pixels"):
        expand(inputs, targets, Task(10), generator())
    with pytest.raises(InfoplaneError, match="two classes or more"):
        expand(inputs, Targets(torch.zeros(4, dtype=torch.int64)), Task(1), generator())
    with pytest.raises(InfoplaneError, match="did you mean threshold"):
        Goodness(info(), LossSettings(options={"treshold": math.pi}))
