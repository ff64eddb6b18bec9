"""Whether informations are ordered as in a chain: triples of variables.

In a Markov chain V_0 = X, V_1, … V_L information falls with the distance along the chain. For any i < j < k
    I(V_i;V_k) ≤ min(I(V_i;V_j), I(V_j;V_k)),
by the data-processing inequality (Cover and Thomas, *Elements of Information Theory*, 2.8). Under a Gaussian kernel
independent variables have information too, so each one is read less its permuted null, and as variables differ in
how much there is to know of them, in units of what they know of themselves, √(I(i;i) I(j;j)). What is compared is
the same on each of several batches; the differences are paired over batches.

That few triples are violated says little where all informations are alike, and that many orders of the layers would
do as well says little where most triples are violated. So a chain must have few violated triples *and* fewer than
the same layers in other orders. How often the rule errs is measured in benchmarks/markov_rates.md.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from infoplane.analysis.stats import SIGNIFICANCE, layer_orders
from infoplane.errors import InfoplaneError

VIOLATED_SHARE = 0.05
ERRORS = 2.0  # an excess of this many standard errors violates a triple, with many batches
_ROUNDING = 1e-9
_TRIPLES_AT_ONCE = 2**17


@dataclass(frozen=True)
class TripleTest:
    """The triples of several runs; places count 0 = X, 1 … L the layers.

    Attributes:
        excess: How much more V_i and V_k know of each other than one of them and V_j do, (R, V, V, V) at [i, j, k];
            a share of what they know of themselves, mean over batches. Of V_i and V_k the one for which it is
            clearer.
        error: Its standard error, paired over batches, (R, V, V, V).
        violated: Where the excess is above t_{B−1}(2.3 %) standard errors, (R, V, V, V) boolean.
        shares: Share of violated triples i < j < k of each run, (R,).
        orders: Median share over runs in all, or sampled, orders of the layers, (orders,); the given one comes
            first.
        p: Share of orders, with X first and the same order in all runs, whose median share is as low.
    """

    excess: NDArray
    error: NDArray
    violated: NDArray
    shares: NDArray
    orders: NDArray
    p: float

    @property
    def share(self) -> float:
        """Median over runs of the share of violated triples."""
        return float(np.median(self.shares))

    @property
    def few(self) -> bool:
        """Whether at most 5 % of the triples are violated."""
        return self.share <= VIOLATED_SHARE

    @property
    def ordered(self) -> bool:
        """Whether fewer are than in other orders of the layers."""
        return self.p < SIGNIFICANCE

    @property
    def holds(self) -> bool:
        """Whether few triples are violated, and fewer than in other orders."""
        return self.few and self.ordered


def normalised(information: NDArray, null: NDArray) -> NDArray:
    """Informations less their null, in units of what the two variables know of themselves.

    Args:
        information: I(V_i;V_j) in bits, (..., V, V).
        null: The same with the samples of V_j permuted, (..., V, V).

    Returns:
        (I − null)_ij / √((I − null)_ii (I − null)_jj), (..., V, V), with a diagonal of 1. NaN for a variable that
        knows no more of itself than of another's samples, as where a kernel tells every sample from every other.
    """
    corrected = information - null
    itself = np.einsum("...ii->...i", corrected)
    scale = np.sqrt(np.where(itself > _ROUNDING, itself, np.nan))
    return np.asarray(corrected / scale[..., :, None] / scale[..., None, :])


def triple_excess(matrices: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """How far each triple is from the order of a chain.

    Args:
        matrices: Normalised informations on each batch, (..., B, V, V), symmetric, at least 2 batches.

    Returns:
        `excess`, `error` and `violated` as in `TripleTest`, (..., V, V, V) each, symmetric in the outer two places.
    """
    batches = matrices.shape[-3]
    # [i, j, k]: I(i;k) − I(i;j); the other comparison, I(i;k) − I(k;j), is that of the triple read backwards.
    differences = matrices[..., :, None, :] - matrices[..., :, :, None]
    excess = differences.mean(axis=-4)
    error = differences.std(axis=-4, ddof=1) / np.sqrt(batches)
    margin = excess - t.isf(norm.sf(ERRORS), batches - 1) * error
    backwards = margin.swapaxes(-3, -1) > margin
    excess, error, margin = (
        np.where(backwards, values.swapaxes(-3, -1), values) for values in (excess, error, margin)
    )
    return excess, error, margin > _ROUNDING


def triple_test(matrices: NDArray) -> TripleTest:
    """Tests whether the layers of several runs are ordered as in a chain from X on.

    Args:
        matrices: Normalised informations of each run on each batch, (R, B, V, V), the first variable X, the others
            the layers in the order of their depth; at least 2 batches and 2 layers.

    Returns:
        The triples, their shares and the p-value; with 3 layers p cannot fall below 1/6.

    Raises:
        InfoplaneError: An information is missing, or there are too few batches or layers.
    """
    batches, variables = matrices.shape[1:3]
    if batches < 2 or variables < 3:
        raise InfoplaneError(
            f"triples need at least 2 batches and 2 layers, got {batches} and {variables - 1}; estimate by batches"
        )
    if not np.isfinite(matrices).all():
        raise InfoplaneError("an information between two variables is missing; leave these variables out")
    excess, error, violated = triple_excess(matrices)
    orders = layer_orders(variables - 1)
    # All triples of many layers in all orders take gigabytes, so some orders at a time.
    size = max(1, _TRIPLES_AT_ONCE // math.comb(variables, 3))
    parts = (orders[start : start + size] for start in range(0, len(orders), size))
    medians = np.concatenate([np.median(_shares(violated, part), axis=1) for part in parts])
    p = float(np.mean(medians <= medians[0] + _ROUNDING))
    return TripleTest(excess, error, violated, _shares(violated, orders[:1])[0], medians, p)


def _shares(violated: NDArray, orders: NDArray) -> NDArray:
    """Share of violated triples of each run with the layers in these orders, (orders, R)."""
    places = np.insert(orders + 1, 0, 0, axis=1)
    i, j, k = np.array([*itertools.combinations(range(violated.shape[-1]), 3)]).T
    return np.asarray(violated[:, places[:, i], places[:, j], places[:, k]].mean(axis=-1).T)
