import numpy as np
import pytest
import torch
from blocks import MAP, VECTOR, info, step

from infoplane.errors import InfoplaneError
from infoplane.trainers.objectives.base import LossSettings
from infoplane.trainers.objectives.predsim import PredSim, Sim
from infoplane.trainers.task import Task


def correlations(features):
    """Cosine similarities of centred rows."""
    return np.corrcoef(features.reshape(len(features), -1))


def naive(objective, local):
    """The similarity loss in NumPy, with the deviation of every map that has more than one pixel."""
    projected = objective.projection(local.output).detach().double().numpy()
    if projected.ndim == 4 and projected.shape[1] > 3 and projected[0, 0].size > 1:
        projected = projected.reshape(*projected.shape[:2], -1).std(axis=2, ddof=1)
    targets = np.eye(3)[local.targets.labels.numpy()]
    if local.targets.boxes is not None:
        targets = np.concatenate([targets, local.targets.boxes.double().numpy()], axis=1)
    return np.mean((correlations(projected) - correlations(targets)) ** 2)


@pytest.mark.parametrize("shape", [MAP, VECTOR, (6, 1, 1), (3, 4, 4), (5, 1, 2)], ids=str)
@pytest.mark.parametrize("boxes", [False, True])
def test_similarity_matching_against_numpy(shape, boxes):
    objective = Sim(info(shape, boxes=boxes), LossSettings())
    local = step(torch.randn(10, *shape), boxes=boxes)
    assert objective.loss(local).item() == pytest.approx(naive(objective.similarity, local), rel=1e-4)
    assert objective.predict(local.output) is None


def test_the_sum_is_weighted():
    objective = PredSim(info(), LossSettings(aux="linear"))
    local = step(torch.randn(10, *MAP))
    prediction = Task(3).loss(objective.predict(local.output), local.targets).item()
    similarity = objective.similarity(local).item()
    assert objective.loss(local).item() == pytest.approx(0.01 * prediction + 0.99 * similarity, rel=1e-5)
    half = PredSim(info(), LossSettings(options={"similarity_weight": 0.5}))
    assert half.numbers["similarity_weight"] == 0.5


def test_similar_targets_are_matched_without_loss():
    objective = Sim(info((3,)), LossSettings())
    with torch.no_grad():
        objective.similarity.projection[1].weight.copy_(torch.eye(3))
    one_hot = torch.eye(3)[torch.arange(9) % 3]
    assert objective.loss(step(5 * one_hot + 2)).item() == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("shape", [MAP, VECTOR], ids=str)
def test_gradients(shape):
    objective = Sim(info(shape), LossSettings()).double()
    output = torch.randn(6, *shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda output: objective.loss(step(output)), (output,))


def test_unknown_options():
    with pytest.raises(InfoplaneError, match="did you mean similarity_weight"):
        PredSim(info(), LossSettings(options={"similarity": 0.5}))
    with pytest.raises(InfoplaneError, match="no option 'similarity_weight'"):
        Sim(info(), LossSettings(options={"similarity_weight": 0.5}))
