import math

import numpy as np
import pytest
import torch
from blocks import MAP, VECTOR, info, step
from scipy.spatial.distance import cdist

from infoplane import gram_matrix, mutual_information, renyi_entropy
from infoplane.errors import InfoplaneError
from infoplane.trainers.objectives import greedy_dib as dib
from infoplane.trainers.objectives.base import LossSettings
from infoplane.trainers.objectives.greedy_ce import GreedyCE
from infoplane.trainers.objectives.greedy_dib import GreedyDIB


def sigma(x, k):
    flat = x.detach().double().flatten(1).numpy()
    distances = cdist(flat, flat)
    np.fill_diagonal(distances, np.inf)
    return float(np.sort(distances, axis=1)[:, :k].mean())


def matrix(x, k=3):
    return gram_matrix(x.detach().double(), sigma=sigma(x, k))


def built(**loss_settings):
    torch.manual_seed(1)
    return GreedyDIB(info(), LossSettings(bandwidth="knn:3", **loss_settings))


@pytest.mark.parametrize("alpha", [1.0, 1.01, 2.0, 0.7])
@pytest.mark.parametrize("penalty", ["mi_xt", "entropy_t", "mi_prev_t"])
def test_the_penalty_is_the_information_of_the_library(penalty, alpha):
    output, below = torch.randn(24, *MAP), torch.randn(24, 2, 5)
    local = step(output, below=below)
    expected = {
        "mi_xt": lambda: mutual_information(matrix(local.inputs), matrix(output), alpha),
        "entropy_t": lambda: renyi_entropy(matrix(output), alpha),
        "mi_prev_t": lambda: mutual_information(matrix(below), matrix(output), alpha),
    }[penalty]()
    objective = built(penalty=penalty, alpha=alpha, beta=0.3)
    assert objective.information(local).item() == pytest.approx(float(expected), abs=1e-9)
    plain = GreedyCE.loss(objective, local).item()
    assert objective.loss(local).item() == pytest.approx(plain + 0.3 * float(expected), abs=1e-5)


@pytest.mark.parametrize("alpha", [1.0, 1.01, 2.0])
@pytest.mark.parametrize("penalty", ["mi_xt", "entropy_t", "mi_prev_t"])
def test_gradients(penalty, alpha):
    objective = GreedyDIB(info(VECTOR), LossSettings(penalty=penalty, alpha=alpha, bandwidth="fixed:4"))
    output = torch.randn(7, *VECTOR, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda output: objective.information(step(output)), (output,))


def test_the_bandwidth_gets_no_gradient():
    gradients = []
    output = torch.randn(20, *VECTOR, dtype=torch.float64)
    for rule in ("knn:3", f"fixed:{sigma(output, 3)!r}"):
        leaf = output.clone().requires_grad_()
        objective = GreedyDIB(info(VECTOR), LossSettings(penalty="entropy_t", bandwidth=rule))
        objective.information(step(leaf)).backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_a_factor_changes_nothing(scale):
    output = torch.randn(24, *MAP)
    objective = built()
    information = objective.information(step(output)).item()
    assert objective.information(step(output * scale)).item() == pytest.approx(information, abs=1e-5)


@pytest.mark.parametrize("aux", ["linear", "conv:1", "mlp-sr", "next:1"])
def test_without_weight_it_is_greedy_ce_bit_for_bit(aux):
    runs = []
    for make in (GreedyCE, GreedyDIB):
        torch.manual_seed(4)
        objective = make(info(), LossSettings(aux=aux, beta=0.0))
        optimizer = torch.optim.SGD(objective.parameters(), lr=0.1)
        output = torch.randn(16, *MAP, requires_grad=True)
        for _ in range(3):
            optimizer.zero_grad()
            loss = objective.loss(step(output))
            loss.backward()
            optimizer.step()
        runs.append([loss, output.grad, torch.get_rng_state(), *objective.state_dict().values()])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*runs, strict=True))


def test_without_weight_nothing_is_computed(monkeypatch):
    monkeypatch.setattr(dib, "batch_distances", lambda samples: pytest.fail("computed"))
    built(beta=0.0).loss(step(torch.randn(8, *MAP)))
    built(beta_schedule="warmup").loss(step(torch.randn(8, *MAP), progress=0.0))
    built(every=4).loss(step(torch.randn(8, *MAP), step=3))


def test_weights_over_the_training():
    rising = built(beta=0.4, beta_schedule="warmup")
    weights = [rising.weight(step(torch.zeros(2, *MAP), progress=p)) for p in (0.0, 0.25, 0.5, 0.9)]
    assert weights == pytest.approx([0.0, 0.2, 0.4, 0.4])
    rare = built(beta=0.4, every=3)
    assert [rare.weight(step(torch.zeros(2, *MAP), step=s)) for s in range(4)] == pytest.approx([1.2, 0, 0, 1.2])


def test_what_depends_on_the_inputs_alone_is_computed_once_a_step(monkeypatch):
    seen = []
    distances = dib.batch_distances
    monkeypatch.setattr(dib, "batch_distances", lambda samples: seen.append(samples.shape) or distances(samples))
    memo = {}
    local = step(torch.randn(8, *MAP), memo=memo)
    first = built().information(local)
    second = built().information(step(local.output, memo=memo))
    assert seen.count(local.inputs.shape) == 1
    assert len(seen) == 3
    assert torch.equal(first, second)


@pytest.mark.parametrize("other", [{"alpha": 2.0}, {"bandwidth": "fixed:4"}])
def test_blocks_with_other_settings_share_nothing(other):
    memo = {}
    output = torch.randn(8, *MAP)
    built().information(step(output, memo=memo))
    objective = GreedyDIB(info(), LossSettings(**{"bandwidth": "knn:3", **other}))
    assert torch.equal(objective.information(step(output, memo=memo)), objective.information(step(output)))
    assert len(memo) == 2


def test_training_by_the_penalty_alone_compresses():
    output = torch.randn(32, *VECTOR, requires_grad=True)
    objective = GreedyDIB(info(VECTOR), LossSettings(bandwidth="fixed:3"))
    optimizer = torch.optim.SGD([output], lr=20.0)
    bits = []
    for _ in range(40):
        optimizer.zero_grad()
        information = objective.information(step(output))
        information.backward()
        optimizer.step()
        bits.append(information.item())
    assert bits[0] > 2
    assert bits[-1] < 0.5 * bits[0]


def test_similarity_matching_beside_the_information():
    local = step(torch.randn(12, *MAP))
    objective = built(beta=0.2, options={"similarity_weight": 0.25})
    parts = [GreedyCE.loss(objective, local), objective.similarity(local), objective.information(local)]
    expected = 0.75 * parts[0] + 0.25 * parts[1] + 0.2 * parts[2]
    assert objective.loss(local).item() == pytest.approx(expected.item(), rel=1e-6)
    assert built().similarity is None


def test_one_sample_and_copies_have_no_information():
    for output in (torch.randn(1, *MAP), torch.randn(1, *MAP).repeat(12, 1, 1, 1), torch.zeros(12, *MAP)):
        assert built().information(step(output)).item() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("loss_settings", "message"),
    [
        ({"penalty": "mi_tx"}, "unknown penalty 'mi_tx'; did you mean mi_xt"),
        ({"beta_schedule": "warm"}, "did you mean warmup"),
        ({"bandwidth": "silverman"}, "not for training; choose from: knn, median, fixed"),
        ({"bandwidth": "kn:3"}, "unknown bandwidth rule"),
        ({"alpha": 0.0}, "alpha must be positive"),
        ({"beta": math.inf}, "beta must be finite"),
        ({"every": 0}, "not every 0"),
        ({"options": {"gamma": 1.0}}, "unknown option of the method 'gamma'"),
    ],
)
def test_bad_settings(loss_settings, message):
    with pytest.raises(InfoplaneError, match=message):
        GreedyDIB(info(), LossSettings(**loss_settings))
