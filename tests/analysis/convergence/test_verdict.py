"""The verdict on bottom-up convergence: every outcome, on curves with planted times."""

import pytest
from made_curves import UP, made

from infoplane.analysis.convergence.order import convergence_order
from infoplane.analysis.convergence.verdict import bottom_up_verdict

DOWN, EQUAL, SLOW = UP[::-1], (150,) * 8, tuple(40 * time for time in UP)


def verdict(information, similarity, **options):
    orders = [
        convergence_order(made(times, name, jitter=0.3, **options))
        for times, name in ((information, "I_XT_corrected"), (similarity, "cka"))
    ]
    return bottom_up_verdict(*orders)


@pytest.mark.parametrize(
    ("information", "similarity", "outcome"),
    [
        (UP, UP, "supported"),
        (UP, EQUAL, "mixed"),
        (EQUAL, UP, "mixed"),
        (UP, DOWN, "mixed"),
        (DOWN, DOWN, "contradicted"),
        (DOWN, EQUAL, "not shown"),
        (EQUAL, EQUAL, "not shown"),
        (UP, SLOW, "undecidable"),
        (SLOW, SLOW, "undecidable"),
    ],
)
def test_outcomes(information, similarity, outcome):
    assert verdict(information, similarity).outcome == outcome


def test_each_quantity_has_a_sentence_with_its_numbers():
    judged = verdict(UP, EQUAL)
    information, similarity, rule = judged.reasons
    numbers = judged.numbers["quantities"]
    assert f"I(X;T) − null: each layer takes {numbers['I_XT_corrected']['factor']:.2f} times as long" in information
    assert f"95 % interval {numbers['I_XT_corrected']['low']:.2f} to" in information
    assert information.endswith("layers converge from bottom to top.")
    detectable = numbers["cka"]["detectable_factor"]
    assert 1.1 < detectable < 1.4
    assert f"; a factor of {detectable:.2f} would have been found with 80 % power." in similarity
    assert "no order is shown, as the factor is below 1.1 and p over layers is not below 0.05" in similarity
    assert "at least 1.1 times as long" in rule
    assert "from top to bottom" in verdict(DOWN, DOWN).reasons[0]


def test_what_cannot_be_judged_says_why():
    few = verdict(UP, UP, runs=2)
    assert few.outcome == "undecidable"
    assert "cannot be judged: runs of different seeds: 2, and at least 5 are needed" in few.reasons[0]
    assert "the training has not settled" in verdict(SLOW, UP).reasons[0]


def test_layers_that_are_left_out_are_named():
    curves = made(UP)
    curves.trouble[0, 7] = "saturated at 40 of 40 snapshots"
    judged = bottom_up_verdict(convergence_order(curves), convergence_order(made(UP, "cka")))
    assert "left out: layer8 (saturated at 40 of 40 snapshots in 1 of 5 runs)." in judged.reasons[0]
    assert judged.outcome == "supported"
