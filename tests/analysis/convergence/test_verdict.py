"""The verdict on bottom-up convergence: every outcome, on curves with planted times."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from made_curves import PLANTED, STEPS, ramp, table

from infoplane.analysis.convergence.order import chance, depth_order
from infoplane.analysis.convergence.times import Curves, curves
from infoplane.analysis.convergence.verdict import bottom_up_verdict, corrected_chance

UP = {name: ramp(end) for name, end in PLANTED.items()}
DOWN = dict(zip(PLANTED, list(UP.values())[::-1], strict=True))


def order(layers, quantity="I_XT", runs=5, **options):
    return depth_order(curves(table(layers, runs=runs, quantity=quantity, **options), quantity), draws=20)


@pytest.mark.parametrize(
    ("information", "control", "outcome"),
    [(UP, UP, "supported"), (UP, DOWN, "mixed"), (DOWN, UP, "mixed"), (DOWN, DOWN, "not supported")],
)
def test_outcomes(information, control, outcome):
    verdict = bottom_up_verdict(order(information), [order(control, "cka")])
    assert verdict.outcome == outcome
    found = verdict.numbers["quantities"]
    assert [found["I_XT"]["median"], found["cka"]["median"]] == [
        1.0 if one is UP else -1.0 for one in (information, control)
    ]
    assert "median ρ = 1.00 over 5 runs" in verdict.reasons[0] or information is DOWN
    assert "at least 0.5" in verdict.reasons[-1]


def test_one_control_is_enough_and_what_is_not_recorded_counts_for_nothing():
    missing = order(UP, "parameters", status="not recorded")
    verdict = bottom_up_verdict(order(UP), [order(UP, "cka"), order(DOWN, "svcca"), missing])
    assert verdict.outcome == "supported"
    assert [found["shows"] for found in verdict.numbers["quantities"].values()] == [True, True, False, None]
    assert "not recorded in these runs" in verdict.reasons[3]
    assert bottom_up_verdict(order(UP), [missing]).outcome == "undecidable"


@pytest.mark.parametrize(("runs", "outcome"), [(1, "undecidable"), (4, "undecidable"), (5, "supported")])
def test_few_seeds_decide_nothing(runs, outcome):
    verdict = bottom_up_verdict(order(UP, runs=runs), [order(UP, "cka", runs=runs)])
    assert verdict.outcome == outcome
    assert verdict.numbers["quantities"]["I_XT"]["seeds"] == runs
    if runs < 5:
        assert "the rule asks for 5 runs" in verdict.reasons[0]


@pytest.mark.parametrize(("layers", "reason"), [(2, "usable layers"), (3, "by chance"), (4, "by chance")])
def test_few_layers_decide_nothing(layers, reason):
    few = {name: UP[name] for name in list(UP)[:layers]}
    verdict = bottom_up_verdict(order(few), [order(few, "cka")])
    assert verdict.outcome == "undecidable"
    assert reason in verdict.reasons[0]
    # A wrong order is one, of however few layers.
    reverse = dict(zip(few, list(few.values())[::-1], strict=True))
    if layers > 2:
        assert bottom_up_verdict(order(reverse), [order(reverse, "cka")]).outcome == "not supported"


def test_an_order_that_seeds_share_by_chance_is_not_one_of_depth():
    # ρ = 0.6 in every seed: the interval over seeds is above 0, but many orders of 5 layers are as good.
    swapped = dict(zip(PLANTED, [UP[name] for name in ("conv2", "conv1", "fc1", "logits", "conv3")], strict=True))
    found = order(swapped)
    assert found.median >= 0.5
    assert found.low > 0
    verdict = bottom_up_verdict(found, [order(swapped, "cka")])
    assert verdict.outcome == "not supported"
    assert verdict.numbers["quantities"]["I_XT"]["p_corrected"] > 0.05


def test_chance_is_corrected_for_the_best_of_several_controls():
    up, down = order(UP, "cka"), order(DOWN, "svcca")
    # Quantities that say the same cost nothing; others count.
    assert chance([up, up]) == [pytest.approx(1 / 120)] * 2
    assert chance([up, down]) == [pytest.approx(2 / 120), 1.0]
    information, *controls = corrected_chance(order(UP), [up, down])
    assert information == pytest.approx(2 / 120)
    assert controls == [pytest.approx(2 / 120), 1.0]
    assert np.isnan(chance([order(UP, "parameters", status="not recorded")])).all()


def test_of_all_orders_that_seeds_may_share_at_most_one_in_twenty_counts():
    rng = np.random.default_rng(0)
    ramps = np.stack(list(UP.values()))
    names, trouble = tuple(UP), np.full((5, 5), "", dtype=object)
    outcomes, seeds_only = [], []
    for places in itertools.permutations(range(5)):
        values = ramps[list(places)] + rng.normal(0, 0.002, (5, 1, 5, 40))
        found = depth_order(Curves("I_XT", tuple("abcde"), names, STEPS, values, trouble, 0.1), resamples=200)
        outcomes.append(bottom_up_verdict(found, [found]).outcome)
        seeds_only.append(found.median >= 0.5 and found.low > 0)
    assert 0 < np.mean([outcome != "not supported" for outcome in outcomes]) <= 0.05
    # The reason for the test over orders: without it every fourth would do.
    assert np.mean(seeds_only) > 0.2


@pytest.mark.parametrize(
    ("changes", "shows"),
    [
        ({}, True),
        ({"median": 0.5, "low": 0.001}, True),
        ({"median": 0.499}, False),
        ({"low": 0.0}, False),
        ({"low": -0.01}, False),
    ],
)
def test_median_and_interval_must_both_be_high(changes, shows):
    control = replace(order(UP, "cka"), **changes)
    verdict = bottom_up_verdict(order(UP), [control])
    assert verdict.numbers["quantities"]["cka"]["shows"] is shows
    assert verdict.outcome == ("supported" if shows else "mixed")


def test_asking_twice_is_corrected_for_on_both_sides():
    swapped = {name: UP[other] for name, other in zip(UP, [*list(UP)[:3], "logits", "fc1"], strict=True)}
    # Of 120 orders one is perfect and four differ from it by one swap of neighbours.
    assert corrected_chance(order(DOWN), [order(UP, "cka")]) == [1.0, pytest.approx(2 / 120)]
    assert corrected_chance(order(UP), [order(swapped, "cka")])[1] == pytest.approx(5 / 120)
    # What counts for I(X;T) is the best control: with the worst one its p would be doubled.
    corrected = corrected_chance(order(swapped), [order(UP, "cka"), order(DOWN, "svcca")])
    assert corrected == pytest.approx([5 / 120, 4 / 120, 1.0])
    assert bottom_up_verdict(order(swapped), [order(UP, "cka"), order(DOWN, "svcca")]).outcome == "supported"
    # Alone 5 in 120 would do; beside an I(X;T) without any order it is one of two questions.
    assert bottom_up_verdict(order(DOWN), [order(swapped, "cka")]).outcome == "not supported"
