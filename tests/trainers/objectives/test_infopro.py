import numpy as np
import pytest
import torch
from blocks import IMAGE, MAP, VECTOR, info, step

from infoplane.errors import InfoplaneError
from infoplane.trainers.objectives.base import LossSettings
from infoplane.trainers.objectives.infopro import InfoPro
from infoplane.trainers.task import Task


def test_weights_change_linearly_over_the_hidden_blocks():
    objectives = [InfoPro(info(index=i, count=6), LossSettings()) for i in range(5)]
    assert [o.reconstruction for o in objectives] == pytest.approx([5, 3.75, 2.5, 1.25, 0])
    assert [o.prediction for o in objectives] == pytest.approx([0.5, 0.625, 0.75, 0.875, 1])
    only = InfoPro(info(index=0, count=2), LossSettings())
    assert (only.reconstruction, only.prediction) == (5, 0.5)


@pytest.mark.parametrize("shape", [MAP, VECTOR, (6, 1, 1)], ids=str)
def test_the_loss_is_the_weighted_sum(shape):
    objective = InfoPro(info(shape, index=1, count=4), LossSettings(options={"reconstruction_last": 1.0}))
    local = step(torch.randn(9, *shape))
    restored = objective.decoder(local.output).detach().numpy()
    assert restored.shape == (9, *IMAGE)
    error = np.mean((restored - local.inputs.numpy()) ** 2)
    task = Task(3).loss(objective.predict(local.output), local.targets).item()
    assert objective.loss(local).item() == pytest.approx(3.0 * error / 8 + 0.75 * task, rel=1e-5)


def test_a_reconstruction_of_weight_zero_has_no_decoder():
    objective = InfoPro(info(), LossSettings(options={"reconstruction_first": 0.0}))
    assert objective.decoder is None
    assert torch.isfinite(objective.loss(step(torch.randn(4, *MAP))))


@pytest.mark.parametrize("shape", [MAP, VECTOR], ids=str)
def test_the_decoder_learns_to_restore_the_inputs(shape):
    options = {"reconstruction_first": 1.0, "task_first": 0.0}
    objective = InfoPro(info(shape), LossSettings(options=options))
    local = step(torch.randn(24, *shape))
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = objective.loss(local)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_unknown_options():
    with pytest.raises(InfoplaneError, match="did you mean reconstruction_"):
        InfoPro(info(), LossSettings(options={"reconstruction": 3.0}))
