import numpy as np
import pytest
import torch
from blocks import MAP, VECTOR, info, step

from infoplane.errors import InfoplaneError
from infoplane.trainers.objectives.base import LossSettings
from infoplane.trainers.objectives.phsic import PlausibleHSIC, group, plausible


def naive(output, embedding, groups, gamma=2.0, power=0.5, delta=1.0):
    flat = output.detach().double().flatten(1).numpy()
    parts = flat.reshape(len(flat), groups, -1)
    deviations = parts - parts.mean(axis=2, keepdims=True)
    grouped = ((np.square(deviations).sum(axis=2) + delta) / parts.shape[2]) ** power
    own, targets = np.corrcoef(grouped), np.corrcoef(embedding.double().numpy())
    covariance = [np.mean((own - own.mean()) * (matrix - matrix.mean())) for matrix in (own, targets)]
    return covariance[0] - gamma * covariance[1]


@pytest.mark.parametrize(("shape", "wanted", "groups"), [(MAP, 32, 32), (MAP, 7, 6), (VECTOR, 32, 6)], ids=str)
@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize("scale", [0.01, 1.0, 40.0])
def test_the_loss_against_numpy(shape, wanted, groups, boxes, scale):
    spot = info(shape, boxes=boxes)
    local = step(torch.randn(10, *shape, dtype=torch.float64) * scale, boxes=boxes)
    objective = PlausibleHSIC(spot, LossSettings(options={"groups": wanted}))
    expected = naive(local.output, spot.task.embedding(local.targets), groups)
    assert objective.loss(local).item() == pytest.approx(expected, rel=1e-6)
    assert objective.predict(local.output) is None


def test_few_features_are_not_grouped():
    for width in (1, 2, 3, 7):
        output = torch.randn(5, width)
        assert torch.equal(group(output, 32, 0.5, 1.0), output)


def test_the_covariance_of_two_matrices():
    left, right = torch.rand(6, 6, dtype=torch.float64), torch.rand(6, 6, dtype=torch.float64)
    expected = np.cov(left.flatten().numpy(), right.flatten().numpy(), ddof=0)[0, 1]
    assert plausible(left, right).item() == pytest.approx(expected)


@pytest.mark.parametrize("shape", [MAP, VECTOR], ids=str)
def test_gradients(shape):
    objective = PlausibleHSIC(info(shape), LossSettings())
    output = (3 * torch.randn(6, *shape, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda output: objective.loss(step(output)), (output,))


def test_unknown_options():
    with pytest.raises(InfoplaneError, match="did you mean gamma"):
        PlausibleHSIC(info(), LossSettings(options={"gama": 3.0}))
