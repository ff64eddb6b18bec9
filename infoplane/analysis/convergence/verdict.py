"""The verdict on bottom-up convergence: do layers converge in the order of their depth?

Two quantities are asked, both named in advance: corrected I(X;T), and linear CKA to the end, which estimates no
information. *Supported*: both show the order (`infoplane.analysis.convergence.order`). *Mixed*: exactly one of
them. *Contradicted*: both show the opposite by the same tests, that layers converge from top to bottom. *Not
shown* otherwise, with the factor that would have been found. *Undecidable*: under 6 layers, 5 seeds or 10
snapshots, or a training that has not settled. How often each comes out by chance: `benchmarks/false_positives.md`.
"""

from __future__ import annotations

import math

from infoplane.analysis.convergence.order import MIN_FACTOR, ConvergenceOrder
from infoplane.analysis.stats import SIGNIFICANCE
from infoplane.analysis.verdict import Verdict

CLAIM = "bottom-up convergence"
RULE = (
    f"Rule: supported where each layer takes at least {MIN_FACTOR:g} times as long as the one below it, with both "
    f"p < {SIGNIFICANCE:g}, for corrected I(X;T) and for linear CKA to the end; mixed where for one of them."
)


def bottom_up_verdict(information: ConvergenceOrder, similarity: ConvergenceOrder) -> Verdict:
    """The verdict.

    Args:
        information: The order in which I(X;T) converges.
        similarity: That of linear CKA to the end.
    """
    orders = (information, similarity)
    numbers = {
        "minimum_factor": MIN_FACTOR,
        "significance": SIGNIFICANCE,
        "quantities": {order.quantity: order.numbers() for order in orders},
    }
    return Verdict(CLAIM, outcome(*orders), (*map(sentence, orders), RULE), numbers)


def outcome(information: ConvergenceOrder, similarity: ConvergenceOrder) -> str:
    """The outcome alone; arguments as of `bottom_up_verdict`."""
    answers = [information.shows, similarity.shows]
    if None in answers:
        return "undecidable"
    if any(answers):
        return "supported" if all(answers) else "mixed"
    return "contradicted" if information.opposes and similarity.opposes else "not shown"


def sentence(order: ConvergenceOrder) -> str:
    """The order of one quantity in words, with its numbers."""
    text = f"{order.symbol}: "
    if order.test and math.isfinite(order.factor):
        text += f"each layer takes {order.factor:.2f} times as long as the one below it"
        if math.isfinite(order.low):
            text += f" (95 % interval {order.low:.2f} to {order.high:.2f})"
        p_values = ((order.test.p_layers, "layers"), (order.test.p_seeds, "seeds"))
        text += "".join(f", p = {p:.2g} over {what}" for p, what in p_values if math.isfinite(p))
        text += f", {order.test.p_links:.2g} over links, {order.test.p_orders:.2g} over orders of the layers; "
    if order.limitation:
        text += f"cannot be judged: {order.limitation}"
    elif order.shows:
        text += "layers converge from bottom to top"
    elif order.opposes:
        text += "layers converge from top to bottom"
    else:
        text += f"no order is shown, as {_lacking(order)}; "
        text += f"a factor of {order.detectable:.2f} would have been found with 80 % power"
    left_out = (f"{layer} ({reason})" for layer, reason in order.left_out.items())
    return f"{text}{'; left out: ' if order.left_out else ''}{', '.join(left_out)}."


def _lacking(order: ConvergenceOrder) -> str:
    """Which parts of the rule do not hold."""
    conditions = {
        f"the factor is below {MIN_FACTOR:g}": order.factor < MIN_FACTOR,
        f"p over layers is not below {SIGNIFICANCE:g}": not order.test or order.test.p_layers >= SIGNIFICANCE,
        f"p over seeds is not below {SIGNIFICANCE:g}": not order.test or order.test.p_seeds >= SIGNIFICANCE,
    }
    return " and ".join(name for name, lacking in conditions.items() if lacking)
