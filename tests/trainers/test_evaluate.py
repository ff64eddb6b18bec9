"""Scores of classifiers: cases done by hand."""

import math

import pytest
import torch
from torch import nn

from infoplane.data import Dataset, DatasetSpec, Split
from infoplane.trainers.build import end_to_end
from infoplane.trainers.evaluate import calibration_error, negative_log_likelihood, predict
from infoplane.trainers.task import Task


def logits(*confidences):
    """Two classes, the first with these probabilities."""
    first = torch.tensor(confidences, dtype=torch.double)
    return torch.stack([first.log(), (1 - first).log()], 1)


def test_negative_log_likelihood_by_hand():
    value = negative_log_likelihood(logits(0.5, 0.25), torch.tensor([0, 1]))
    assert value == pytest.approx(-(math.log(0.5) + math.log(0.75)) / 2)


def test_calibration_error_by_hand():
    # Of the bin around 0.8 half are right, of that around 0.9 all: (2 · 0.3 + 2 · 0.1) / 4.
    labels = torch.tensor([0, 1, 0, 0])
    assert calibration_error(logits(0.8, 0.8, 0.9, 0.9), labels) == pytest.approx(0.2)
    # Confident of the second class is confident too.
    assert calibration_error(logits(0.2, 0.2), torch.tensor([1, 1])) == pytest.approx(0.2)
    # In one bin surplus and shortage cancel.
    assert calibration_error(logits(0.7, 0.9), torch.tensor([1, 0]), bins=1) == pytest.approx(0.3)


def test_who_is_always_right_and_sure_is_calibrated():
    assert calibration_error(torch.eye(3) * 100, torch.arange(3)) == pytest.approx(0)
    assert math.isnan(calibration_error(torch.full((2, 3), math.nan), torch.zeros(2, dtype=torch.long)))


class Views(nn.Module):
    """Takes images in plain order only."""

    def forward(self, x):
        return x.view(len(x), -1)


class Orders(nn.Module):
    """Keeps in mind whether the images that came by were in channels-last order."""

    def __init__(self):
        super().__init__()
        self.last = []

    def forward(self, x):
        self.last.append(x.stride(1) == 1)
        return x


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("flatten", [nn.Flatten, Views])
def test_outputs_are_those_of_the_network_whatever_the_order_of_its_images(channels, flatten):
    torch.manual_seed(0)
    orders = Orders()
    shape = (channels, 6, 6)
    model = nn.Sequential(
        orders, nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.MaxPool2d(2), flatten(), nn.Linear(16, 2)
    )
    split = Split(torch.randint(256, (30, *shape), dtype=torch.uint8), torch.arange(30) % 2)
    dataset = Dataset(
        DatasetSpec("made", shape, 2), split, split, torch.full((channels,), 0.5), torch.ones(channels)
    )
    [outputs], _ = predict(end_to_end(model, Task(2)), dataset, split, torch.arange(30), batch_size=7)
    after_trial = orders.last[1:]
    torch.testing.assert_close(outputs, model(dataset.batch(split, slice(None), "cpu")[0]).detach())
    assert set(after_trial) == {flatten is nn.Flatten}
