import numpy as np
import pytest
import torch
from blocks import MAP, VECTOR, info, step
from scipy.spatial.distance import cdist

from infoplane.errors import InfoplaneError
from infoplane.trainers.objectives.base import LossSettings
from infoplane.trainers.objectives.hsic import HSICBottleneck, resolvent


def normalised(x, y, sigma):
    """NHSIC from the formula, with explicit inverses."""
    n = len(x)
    centring = np.eye(n) - 1 / n
    parts = []
    for samples in (x, y):
        flat = samples.detach().double().flatten(1).numpy()
        kernel = np.exp(-cdist(flat, flat, "sqeuclidean") / (2 * sigma**2 * flat.shape[1]))
        centred = centring @ kernel @ centring
        parts.append(centred @ np.linalg.inv(centred + 1e-5 * n * np.eye(n)))
    return np.trace(parts[0] @ parts[1])


@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize("sigma", [5.0, 1.0])
def test_the_loss_against_the_formula(boxes, sigma):
    spot = info(boxes=boxes)
    local = step(torch.randn(20, *MAP), boxes=boxes)
    objective = HSICBottleneck(spot, LossSettings(options={"sigma": sigma, "lambda_x": 0.5}))
    inputs = normalised(local.output, local.inputs, sigma)
    targets = normalised(local.output, spot.task.embedding(local.targets), sigma)
    assert objective.loss(local).item() == pytest.approx(0.5 * inputs - 50 * targets, rel=1e-7)
    assert objective.predict(local.output) is None


def test_dependence_is_above_independence():
    x, other = torch.randn(100, 3, dtype=torch.float64), torch.randn(100, 3, dtype=torch.float64)
    own = (resolvent(x, 5.0) * resolvent(torch.tanh(x), 5.0)).sum()
    independent = (resolvent(x, 5.0) * resolvent(other, 5.0)).sum()
    assert own > 1.5 * independent
    assert 0 <= independent <= 100


def test_gradients():
    objective = HSICBottleneck(info(VECTOR), LossSettings(options={"sigma": 1.0}))
    output = torch.randn(6, *VECTOR, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda output: objective.loss(step(output)), (output,))


def test_inputs_and_targets_are_shared_by_the_blocks():
    memo = {}
    objective = HSICBottleneck(info(), LossSettings())
    first = objective.loss(step(torch.ones(8, *MAP), memo=memo))
    (known,) = memo.values()
    objective.loss(step(torch.randn(8, *MAP), memo=memo))
    assert list(memo.values()) == [known]
    # Equal outputs depend on nothing.
    assert first.item() == pytest.approx(0, abs=1e-9)


def test_unknown_options():
    with pytest.raises(InfoplaneError, match="did you mean lambda_y"):
        HSICBottleneck(info(), LossSettings(options={"lambday": 3.0}))
