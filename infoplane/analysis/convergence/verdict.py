"""The verdict on bottom-up convergence: do layers converge in the order of their depth?

A quantity shows it if the median ρ over runs is at least 0.5, the 95 % interval of it is above 0, and chance brings
the layers into such an order in less than 5 % (`infoplane.analysis.convergence.order`). *Supported*: I(X;T) shows
it **and** so does at least one control that estimates no information (linear CKA, SVCCA, parameters). *Mixed*: one
of the two. *Not supported*: neither. *Undecidable*: under 5 runs, under 5 snapshots, or too few layers for any
order to be told from chance.

Chance is corrected for the choice of the best control (Westfall and Young) and for asking twice, I(X;T) and
controls (Holm), so that *supported* or *mixed* comes out for layers in random order in at most 5 %. The first two
conditions alone take an order that layers share by chance in all seeds for one of depth in 7 to 15 % of such cases
(`benchmarks/false_positives.md`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from infoplane.analysis.bootstrap import LEVEL
from infoplane.analysis.convergence.order import DepthOrder, chance
from infoplane.analysis.inference import SIGNIFICANCE, holm
from infoplane.analysis.verdict import Verdict, json_value

CLAIM = "bottom-up convergence"
MIN_SEEDS = 5
MIN_RHO = 0.5
CLAIMS = 2
RULE = (
    f"Rule: median ρ of at least {MIN_RHO:g}, its interval above 0, and a corrected p below {SIGNIFICANCE:g}, over "
    f"{MIN_SEEDS} runs or more; supported if this holds of I(X;T) and of one of the others, mixed if of one side "
    "only."
)
SHORT_NAMES = {"I_XT": "I(X;T)", "cka": "CKA", "svcca": "SVCCA", "parameters": "parameters"}
NAMES = {
    "I_XT": "I(X;T)",
    "cka": "linear CKA to the final state",
    "svcca": "SVCCA to the final state",
    "parameters": "distance of the parameters to the end",
}


def bottom_up_verdict(information: DepthOrder, controls: Sequence[DepthOrder]) -> Verdict:
    """The verdict of one tolerance.

    Args:
        information: The order in which I(X;T) converges.
        controls: The orders of the quantities that estimate no information.
    """
    orders = [information, *controls]
    corrected = corrected_chance(information, controls)
    shows = [_shows(order, p) for order, p in zip(orders, corrected, strict=True)]
    numbers = {
        "minimum_rho": MIN_RHO,
        "minimum_seeds": MIN_SEEDS,
        "significance": SIGNIFICANCE,
        "tolerance": information.tolerance,
        "quantities": {
            order.quantity: order_numbers(order) | {"p_corrected": p, "shows": answer}
            for order, p, answer in zip(orders, corrected, shows, strict=True)
        },
    }
    reasons = [_sentence(order, p, answer) for order, p, answer in zip(orders, corrected, shows, strict=True)]
    return Verdict(CLAIM, _outcome(shows[0], shows[1:]), (*reasons, RULE), json_value(numbers))


def corrected_chance(information: DepthOrder, controls: Sequence[DepthOrder]) -> list[float]:
    """Corrected p-values of I(X;T) and of each control; NaN where one cannot be judged."""
    among = chance(controls)
    best = min((p for p in among if math.isfinite(p)), default=math.nan)
    first = holm(np.array([information.p, best]))[0]
    return [float(first), *(float(holm(np.array([information.p, p]))[1]) for p in among)]


def order_numbers(order: DepthOrder) -> dict[str, Any]:
    """The numbers of one order, as JSON values."""
    numbers = {
        "rho": order.rho,
        "median": order.median,
        "mean": order.mean,
        "low": order.low,
        "high": order.high,
        "p": order.p,
        "null_95": float(np.quantile(order.null, LEVEL)) if len(order.null) else math.nan,
        "attainable_p": order.attainable,
        "seeds": seeds(order),
        "layers": usable_layers(order),
        "limitation": order.limitation,
    }
    return dict(json_value(numbers))


def seeds(order: DepthOrder) -> int:
    """Number of runs in which enough layers are usable."""
    return sum(math.isfinite(value) for value in order.rho.values())


def usable_layers(order: DepthOrder) -> int:
    """Number of layers that are usable in at least one run."""
    return int(order.layers.loc[order.layers["dropped"] == "", "layer"].nunique())


def _shows(order: DepthOrder, p: float) -> bool | None:
    """Whether a quantity shows the order; None where it cannot say."""
    if order.limitation or seeds(order) < MIN_SEEDS:
        return None
    if not (order.median >= MIN_RHO and order.low > 0):
        return False
    if p < SIGNIFICANCE:
        return True
    # So few layers that even a perfect order could be chance say nothing.
    return None if order.attainable * CLAIMS >= SIGNIFICANCE else False


def _outcome(information: bool | None, controls: Sequence[bool | None]) -> str:
    judged = [answer for answer in controls if answer is not None]
    if information is None or not judged:
        return "undecidable"
    return ("not supported", "mixed", "supported")[information + any(judged)]


def _sentence(order: DepthOrder, p: float, answer: bool | None) -> str:
    name = NAMES.get(order.quantity, order.quantity)
    if order.limitation:
        return f"{name}: cannot be judged, {order.limitation}."
    found = f"{name}: median ρ = {order.median:.2f} over {seeds(order)} runs"
    if math.isfinite(order.low):
        found += f" (95 % interval {order.low:.2f} to {order.high:.2f})"
    found += f", p = {order.p:.2g} over orders of {usable_layers(order)} layers, corrected {p:.2g}"
    if seeds(order) < MIN_SEEDS:
        return f"{found}: cannot be judged, the rule asks for {MIN_SEEDS} runs of different seeds."
    if answer is None:
        return (
            f"{found}: cannot be judged, so few layers stand in any order by chance (p ≥ {order.attainable:.2g})."
        )
    return f"{found}: {'layers converge in the order of their depth' if answer else 'no order by depth is shown'}."
