import dataclasses
import math

import numpy as np
import pytest
import torch
from blocks import IMAGE, MAP, VECTOR, info, step
from scipy.spatial.distance import cdist, pdist
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn import functional

from infoplane import gram_matrix, mutual_information, renyi_entropy
from infoplane.errors import InfoplaneError
from infoplane.kernels import label_gram
from infoplane.trainers.distributed import parallel
from infoplane.trainers.objectives import greedy_dib as dib
from infoplane.trainers.objectives.base import LossSettings, Pass
from infoplane.trainers.objectives.greedy_ce import GreedyCE
from infoplane.trainers.objectives.greedy_dib import GreedyDIB
from infoplane.trainers.task import Targets
from infoplane.trainers.unit import Unit


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


def order_of(local):
    """The permutation that a step has drawn."""
    return local.memo["permutation"]


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


@pytest.mark.parametrize("alpha", [1.0, 1.01, 2.0, 0.7])
@pytest.mark.parametrize("penalty", ["mi_xt", "mi_prev_t"])
def test_the_penalty_less_its_permuted_null(penalty, alpha):
    output, below = torch.randn(24, *MAP), torch.randn(24, 2, 5)
    local = step(output, below=below)
    bits = built(penalty=penalty, alpha=alpha, correction="permuted").information(local).item()
    other = matrix(below if penalty == "mi_prev_t" else local.inputs)
    order = order_of(local)
    values = [mutual_information(gram, matrix(output), alpha) for gram in (other, other[order][:, order])]
    assert bits == pytest.approx(float(values[0] - values[1]), abs=1e-9)


@pytest.mark.parametrize("alpha", [1.0, 1.01, 2.0, 0.7])
@pytest.mark.parametrize("boxes", [False, True])
def test_the_fit_is_the_information_of_the_library_less_its_null(boxes, alpha):
    local = step(torch.randn(24, *MAP), boxes=boxes)
    loss_settings = LossSettings(fit="mi_ty", fit_bandwidth="knn:3", alpha=alpha, beta=0.0)
    objective = GreedyDIB(info(boxes=boxes), loss_settings)
    bits = objective.fitted(local).item()
    target = label_gram(local.targets.labels) * (24 * matrix(local.targets.boxes) if boxes else 1)
    order = order_of(local)
    values = [mutual_information(matrix(local.output), gram, alpha) for gram in (target, target[order][:, order])]
    assert bits == pytest.approx(float(values[0] - values[1]), abs=1e-9)
    readout = objective.task.loss(objective.predict(local.output), local.targets).item()
    assert objective.loss(local).item() == pytest.approx(readout - bits, abs=1e-5)


def test_both_fits_and_a_penalty():
    local = step(torch.randn(24, *MAP))
    objective = built(fit="both", fit_weight=0.25, beta=0.5, correction="permuted")
    parts = [GreedyCE.loss(objective, local), objective.fitted(local), objective.information(local)]
    assert objective.loss(local).item() == pytest.approx((parts[0] - 0.25 * parts[1] + 0.5 * parts[2]).item())


def test_the_information_of_separated_classes_is_their_entropy_and_of_any_labels_nothing():
    labels = torch.arange(60) % 3
    centres = torch.eye(3)[labels]
    objective = GreedyDIB(info((3,)), LossSettings(fit="mi_ty", fit_bandwidth="fixed:0.01", alpha=1.0))
    local = step(centres, targets=Targets(labels))
    raw = mutual_information(label_gram(labels), label_gram(labels), 1.0)
    assert float(raw) == pytest.approx(math.log2(3))
    assert objective.fitted(local).item() == pytest.approx(math.log2(3), abs=0.15)
    steps = range(40)
    random = [objective.fitted(step(torch.randn(60, 3), targets=Targets(labels), step=k)).item() for k in steps]
    assert np.mean(random) == pytest.approx(0.0, abs=3 * np.std(random) / math.sqrt(40))


def test_apart_from_its_labels_nothing_is_gained_where_all_distances_grow():
    """The degenerate way out of I(T;Y) without its null: far samples share nothing, whatever the labels."""
    labels = torch.arange(30) % 3
    objective = GreedyDIB(info(VECTOR), LossSettings(fit="mi_ty", fit_bandwidth="fixed:1", alpha=1.0))
    local = step(torch.randn(30, *VECTOR) * 100, targets=Targets(labels))
    gram = gram_matrix(local.output.double(), sigma=1.0)
    assert float(mutual_information(gram, label_gram(labels), 1.0)) == pytest.approx(math.log2(3), abs=1e-6)
    assert objective.fitted(local).item() == pytest.approx(0.0, abs=1e-6)


def test_one_permutation_a_step_and_another_in_the_next():
    def order(**given):
        local = step(torch.randn(24, *MAP), **{key: value for key, value in given.items() if key != "seed"})
        built(fit="mi_ty", seed=given.get("seed", 0)).loss(local)
        return order_of(local).tolist()

    assert sorted(order()) == list(range(24))
    assert order(step=3) == order(step=3)
    assert order(step=3) != order(step=4)
    assert order(step=3) != order(step=3, seed=1)
    objective, local = built(fit="mi_ty"), step(torch.randn(24, *MAP))
    state = torch.get_rng_state()
    objective.loss(local)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("fit", ["ce", "mi_ty", "both"])
def test_the_readout_of_the_information_does_not_move_the_block(fit):
    """Under mi_ty alone; the other fits are the negative control."""
    output = torch.randn(24, *MAP, requires_grad=True)
    objective = built(fit=fit, beta=0.0)
    objective.loss(step(output)).backward()
    assert all(p.grad.abs().sum() > 0 for p in objective.head.parameters())
    alone = output.detach().clone().requires_grad_()
    (-objective.fitted(step(alone))).backward()
    assert torch.allclose(output.grad, alone.grad, atol=1e-9) == (fit == "mi_ty")


@pytest.mark.parametrize("alpha", [1.0, 1.01, 2.0])
def test_gradients_of_what_is_corrected(alpha):
    objective = GreedyDIB(
        info(VECTOR),
        LossSettings(fit="mi_ty", fit_bandwidth="fixed:4", bandwidth="fixed:3", alpha=alpha, correction="permuted"),
    )
    output = torch.randn(7, *VECTOR, dtype=torch.float64, requires_grad=True)
    for value in (objective.fitted, objective.information):
        assert torch.autograd.gradcheck(lambda output, value=value: value(step(output)), (output,))


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


@pytest.mark.parametrize("fit", [{}, {"fit": "both", "fit_weight": 0.0}, {"correction": "permuted"}])
@pytest.mark.parametrize("aux", ["linear", "conv:1", "mlp-sr", "next:1"])
def test_without_weight_it_is_greedy_ce_bit_for_bit(aux, fit):
    runs = []
    for make in (GreedyCE, GreedyDIB):
        torch.manual_seed(4)
        objective = make(info(), LossSettings(aux=aux, beta=0.0, **fit))
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


def test_beta_is_steered_to_the_target():
    torch.manual_seed(2)
    output = torch.randn(32, *VECTOR, requires_grad=True)
    objective = GreedyDIB(
        info(VECTOR),
        LossSettings(
            bandwidth="fixed:3",
            beta=0.1,
            beta_schedule="target",
            target_bits=1.5,
            options={"steering_rate": 0.1},
        ),
    )
    optimizer = torch.optim.SGD([output], lr=5.0)
    betas, bits = [], []
    for number in range(150):
        local = step(output, step=number)
        optimizer.zero_grad()
        # Against the penalty: without it the samples fly apart.
        (objective.loss(local) - 0.02 * output.square().sum(1).sqrt().mean()).backward()
        optimizer.step()
        betas.append(objective.steered.item())
        bits.append(objective.information(local).item())
    assert bits[0] > 2
    assert max(betas) > 0.15
    assert np.mean(bits[-20:]) == pytest.approx(1.5, abs=0.2)
    assert "steered" in objective.state_dict()


def test_the_weight_of_a_steered_beta_in_the_loss():
    local = step(torch.randn(24, *MAP))
    objective = built(beta=0.2, beta_schedule="target", target_bits=0.0)
    expected = GreedyCE.loss(objective, local) + 0.2 * objective.information(local)
    assert objective.loss(local).item() == pytest.approx(expected.item(), rel=1e-6)
    assert objective.steered.item() == pytest.approx(0.2 * math.exp(0.02), rel=1e-6)
    for _ in range(600):
        objective._steer(torch.tensor(-5.0), 1.0)
    assert objective.steered.item() == pytest.approx(0.2 / 1000, rel=1e-3)


def test_a_beta_is_steered_in_single_precision_whatever_the_network_has():
    objective = built(beta=0.01, beta_schedule="target", target_bits=0.0).to(torch.bfloat16)
    assert all(p.dtype == torch.bfloat16 for p in objective.head.parameters())
    objective._steer(torch.tensor(0.1, dtype=torch.bfloat16), 1.0)
    assert objective.steered.item() == pytest.approx(0.01 * math.exp(0.002), rel=1e-4)


def test_the_parts_of_a_batch_steer_as_the_whole_does():
    local = step(torch.randn(24, *MAP))
    objective = built(beta=0.01, beta_schedule="target", target_bits=0.0)
    for _ in range(4):
        objective.loss(dataclasses.replace(local, share=0.25))
    assert objective.steered.item() == pytest.approx(0.01 * math.exp(0.02), rel=1e-6)


@pytest.mark.parametrize(
    "loss_settings",
    [
        {"fit": "mi_ty"},
        {"fit": "both"},
        {"fit": "both", "fit_projection": "learned"},
        {"beta_schedule": "target"},
        {"bandwidth_gradient": "scale"},
    ],
    ids=str,
)
@pytest.mark.parametrize("alpha", [1.01, 2.0])
def test_the_loss_never_waits_for_the_device(loss_settings, alpha):
    """On tensors without values of a GPU that need not be there; whoever asks for a value is refused one."""
    spot = info()
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device("cuda"):
            objective = GreedyDIB(spot, LossSettings(alpha=alpha, correction="permuted", **loss_settings))
            output, inputs = torch.randn(16, *MAP, requires_grad=True), torch.randn(16, *IMAGE)
            labels = torch.zeros(16, dtype=torch.int64)
        assert objective.loss(Pass(inputs, inputs, output, Targets(labels))).device.type == "cuda"
        with pytest.raises(DataDependentOutputException):
            output.sum().item()


def test_weights_over_the_training():
    rising = built(beta=0.4, beta_schedule="warmup")
    weights = [rising.weight(step(torch.zeros(2, *MAP), progress=p)) for p in (0.0, 0.25, 0.5, 0.9)]
    assert weights == pytest.approx([0.0, 0.2, 0.4, 0.4])
    rare = built(beta=0.4, every=3)
    assert [rare.weight(step(torch.zeros(2, *MAP), step=s)) for s in range(4)] == pytest.approx([1.2, 0, 0, 1.2])


def test_the_information_as_the_only_fit_enters_in_every_step():
    local = step(torch.randn(24, *MAP), step=1)
    alone, both = built(fit="mi_ty", every=2, beta=0.0), built(fit="both", every=2, beta=0.0)
    assert alone.loss(local).item() == pytest.approx((GreedyCE.loss(alone, local) - alone.fitted(local)).item())
    assert torch.equal(both.loss(local), GreedyCE.loss(both, local))
    local.step = 2
    expected = GreedyCE.loss(both, local) - 2 * 0.3 * both.fitted(local)
    assert both.loss(local).item() == pytest.approx(expected.item(), rel=1e-6)


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


@pytest.mark.parametrize("shape", [MAP, VECTOR], ids=str)
@pytest.mark.parametrize("of", ["directions", "random", "learned"])
def test_the_information_of_directions(shape, of):
    """That of the library, of the outputs themselves or of the vectors by which predsim compares samples."""
    torch.manual_seed(1)
    given = {"fit": "both", "fit_projection": of, "fit_bandwidth": "median:1", "bandwidth": "knn:3"}
    objective = GreedyDIB(info(shape), LossSettings(beta=0.1, **given))
    local = step(3 * torch.randn(24, *shape))
    bits = objective.fitted(local).item()
    with torch.no_grad():
        weights = list(objective.projection.parameters())
        if of == "directions":
            seen = local.output.flatten(1)
        elif len(shape) == 3:
            seen = functional.conv2d(local.output, *weights, padding=1).flatten(2).std(2)
        else:
            seen = local.output @ weights[0].T
    vectors = seen.double().numpy()
    vectors -= vectors.mean(1, keepdims=True)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    gram = gram_matrix(torch.from_numpy(vectors), sigma=float(np.median(pdist(vectors))))
    labels, order = label_gram(local.targets.labels), order_of(local)
    values = [mutual_information(gram, other, 1.01) for other in (labels, labels[order][:, order])]
    assert bits == pytest.approx(float(values[0] - values[1]), abs=1e-5)
    # The penalty stays that of the output, and a projection that learns does so by the fit.
    assert objective.information(local).item() == built(fit="both").information(local).item()
    objective.loss(local).backward()
    assert [one.grad is not None and bool((one.grad != 0).any()) for one in weights] == {
        "directions": [],
        "random": [False],
        "learned": [True],
    }[of]


def test_a_projection_that_nothing_learns_by_is_not_made():
    given = {"fit": "both", "fit_projection": "learned"}
    assert GreedyDIB(info(), LossSettings(fit_weight=0.0, **given)).projection is None
    assert GreedyDIB(info(), LossSettings()).projection is None
    for shape in ((2,), (1, 1, 1)):
        with pytest.raises(InfoplaneError, match="whose directions say nothing"):
            GreedyDIB(info(shape), LossSettings(**given))


def test_processes_agree_on_a_projection_that_rests_in_some_steps(monkeypatch):
    """Of DistributedDataParallel, which waits for the gradients of what a step leaves out unless it is told."""
    objective = built(fit="both", fit_projection="learned", every=2, beta=0.0)
    assert objective.rests
    assert not built(fit="mi_ty", fit_projection="learned", every=2).rests
    assert not built(fit="both", fit_projection="random", every=2).rests
    unit = Unit("conv", nn.Conv2d(IMAGE[0], MAP[0], 3, padding=1), objective)
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        monkeypatch.setattr("infoplane.trainers.distributed.world", lambda: 2)
        wrapped, learned = parallel(unit, objective.rests), []
        for number in range(4):
            local = step(torch.randn(12, *MAP))
            unit.zero_grad()
            wrapped(local.inputs, local.inputs, local.targets, 0.0, number, {})[0].backward()
            learned.append(objective.projection.weight.grad is not None)
    finally:
        torch.distributed.destroy_process_group()
    assert learned == [True, False, True, False]


def test_one_sample_and_copies_have_no_information():
    for output in (torch.randn(1, *MAP), torch.randn(1, *MAP).repeat(12, 1, 1, 1), torch.zeros(12, *MAP)):
        assert built().information(step(output)).item() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("rule", ["knn:3", "median:0.7"])
@pytest.mark.parametrize(
    ("name", "penalty"), [("information", "mi_xt"), ("information", "entropy_t"), ("fitted", "mi_xt")]
)
def test_a_bandwidth_that_follows_the_scale_leaves_values_and_takes_the_gradient_along_it(rule, name, penalty):
    # Samples of one class are close, so that the fit has a gradient of one sign along the scale.
    centres = 2 * torch.randn(5, *MAP, dtype=torch.float64)
    output = centres[torch.arange(24) % 5] + torch.randn(24, *MAP, dtype=torch.float64)
    output.requires_grad_()
    given = {"penalty": penalty, "bandwidth": rule, "fit": "both", "fit_bandwidth": rule}
    values, gradients = [], []
    for how in ("none", "scale"):
        value = getattr(GreedyDIB(info(), LossSettings(bandwidth_gradient=how, **given)), name)(step(output))
        values.append(value.item())
        gradients.append(torch.autograd.grad(value, output)[0])
    assert values[0] == values[1]
    centred = output.detach() - output.detach().mean(0)
    held, following = ((gradient * centred).sum() for gradient in gradients)
    assert abs(held) > 1e-3
    assert abs(following) < 1e-12
    # It takes off what goes along the mean squared distance, and nothing else.
    assert torch.allclose(gradients[0] - gradients[1], held * centred / centred.square().sum())


@pytest.mark.parametrize("output", [torch.zeros(12, *MAP), torch.randn(1, *MAP)])
def test_a_bandwidth_that_follows_no_scale_has_a_finite_gradient(output):
    output.requires_grad_()
    built(bandwidth_gradient="scale").information(step(output)).backward()
    assert torch.equal(output.grad, torch.zeros_like(output))


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
        ({"fit": "mi_yt"}, "unknown fit 'mi_yt'; did you mean mi_ty"),
        ({"correction": "null"}, "unknown correction"),
        ({"correction": "permuted", "penalty": "entropy_t"}, "has no permuted null"),
        ({"fit_bandwidth": "silverman"}, "not for training"),
        ({"fit": "both", "fit_projection": "learnt"}, "did you mean learned"),
        ({"fit_projection": "learned"}, "which `fit` ce does not have"),
        ({"bandwidth_gradient": "sale"}, "did you mean scale"),
        ({"bandwidth_gradient": "scale", "bandwidth": "fixed:2"}, "'fixed:2' follows no scale"),
        ({"fit_weight": math.nan}, "fit_weight must be finite"),
        ({"beta_schedule": "target", "beta": 0.0}, "starts above 0"),
        ({"options": {"gamma": 1.0}}, "unknown option of the method 'gamma'"),
    ],
)
def test_bad_settings(loss_settings, message):
    with pytest.raises(InfoplaneError, match=message):
        GreedyDIB(info(), LossSettings(**loss_settings))
