import math

import pytest
import torch

from infoplane.errors import InfoplaneError
from infoplane.trainers.loop import count_steps
from infoplane.trainers.optim import build_optimizer, is_length_free, lr_factor


def test_schedules():
    constant = lr_factor("constant", 100, 10)
    assert [constant(step) for step in (0, 50, 99)] == [1, 1, 1]
    steps = lr_factor("step:3,6:0.5", 100, 10)
    assert [steps(step) for step in (0, 29, 30, 59, 60, 99)] == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert lr_factor("step:3", 100, 10)(30) == pytest.approx(0.1)
    shares = lr_factor("fractions:0.5,0.75,0.89,0.94:0.25", 100, 10)
    assert [shares(step) for step in (0, 49, 50, 75, 89, 94)] == [1, 1, 0.25, 0.25**2, 0.25**3, 0.25**4]
    assert lr_factor("fractions:0.5", 7, 10)(4) == pytest.approx(0.1)
    cosine = lr_factor("cosine", 100, 10)
    assert cosine(0) == 1
    assert cosine(50) == pytest.approx(0.5)
    assert cosine(25) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    cycle = lr_factor("onecycle", 100, 10)
    assert [cycle(0), cycle(14), cycle(29), cycle(65)] == pytest.approx([1 / 30, 0.5, 1, 0.5])
    assert cycle(99) == pytest.approx(1 / 70)


def test_what_depends_on_the_length():
    assert is_length_free("constant")
    assert is_length_free("step:3,6")
    assert not is_length_free("cosine")
    assert not is_length_free("onecycle")
    assert not is_length_free("fractions:0.5")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cosin", "did you mean cosine"),
        ("step:a", "write 'step:30,60'"),
        ("step", "write"),
        ("fractions:0.5,b", "write 'fractions:0.5,0.75'"),
        ("fractions:2", "write 'fractions:0.5,0.75'"),
        ("fractions:nan", "write"),
        ("step:30:nan", "write 'step:30,60'"),
        ("step:inf", "write"),
        ("step:-1:0.5", "write"),
        ("cosine:3", "no numbers"),
    ],
)
def test_bad_schedules(spec, message):
    with pytest.raises(InfoplaneError, match=message):
        lr_factor(spec, 100, 10)


def test_optimizers():
    weights = [torch.nn.Parameter(torch.zeros(2))]
    sgd = build_optimizer("sgd", weights, 0.1, 0.9, 1e-4)
    assert (sgd.defaults["momentum"], sgd.defaults["weight_decay"]) == (0.9, 1e-4)
    assert build_optimizer("adamw", weights, 0.1, 0.8, 0.0).defaults["betas"] == (0.8, 0.999)
    with pytest.raises(InfoplaneError, match="did you mean"):
        build_optimizer("adan", weights, 0.1, 0.9, 0.0)


@pytest.mark.parametrize(("samples", "steps"), [(10, 1), (64, 1), (65, 1), (66, 2), (128, 2), (129, 2), (1, 1)])
def test_no_batch_of_one_sample(samples, steps):
    assert count_steps(samples, 64) == steps
