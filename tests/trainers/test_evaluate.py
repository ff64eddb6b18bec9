"""Scores of classifiers: cases done by hand."""

import math

import pytest
import torch

from infoplane.trainers.evaluate import calibration_error, negative_log_likelihood


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
