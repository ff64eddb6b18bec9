"""Conditional randomisation: does a layer know more of X than the layer before it, in a network with noise?

In a chain X → T → T′ the next layer, drawn anew from T alone, is as good as the one that was observed: the
conditional information I(X;T′|T) = S(X,T) + S(T,T′) − S(T) − S(X,T,T′) of the two has the same distribution,
whatever kernel it is estimated by (Candès, Fan, Janson and Lv, "Panning for gold", JRSS B 80, 2018). So T′ is drawn
anew many times, with fresh noise, and with the inputs of other samples on every other path into it. The test is
exact, and its level holds for any number of samples, but it needs the network, and noise in the layer: what is a
function of T comes out the same each time, with a p-value of 1.
`python benchmarks/markov_rates.py --only randomisation` measures how often it errs, and what it finds.

It shows that the estimated conditional information is calibrated where its distribution under a chain is known; the
value alone says nothing, as it is far from 0 in a chain too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from infoplane.entropy import gram_entropies
from infoplane.kernels import gram_matrix

_DRAWS = 39

Redraw = Callable[[NDArray, np.random.Generator], NDArray]


@dataclass(frozen=True)
class RandomisationTest:
    """A conditional information beside those of layers that were drawn anew.

    Attributes:
        information: I(X;T′|T) of the observed layer, bits.
        redrawn: The same of each layer drawn anew from T, (draws,) bits.
        p: Two-sided p-value; not below 2 / (draws + 1).
    """

    information: float
    redrawn: NDArray
    p: float


def randomisation_test(
    x: NDArray,
    before: NDArray,
    after: NDArray,
    redraw: Redraw,
    rng: np.random.Generator,
    draws: int = _DRAWS,
) -> RandomisationTest:
    """Tests whether a layer is independent of X given the layer before it.

    Args:
        x: Inputs, (n, …).
        before: The layer T, (n, …).
        after: The layer T′ after it, (n, …).
        redraw: Gives T′ drawn anew: from the same T, with fresh noise (from the generator that it is handed), and
            with the samples of the inputs in the given order, (n,), on every other path into T′.
        rng: Source of randomness.
        draws: Number of layers drawn anew, at least 39 for a two-sided test at 5 %.

    Returns:
        The information, those of the layers drawn anew, and the p-value. All kernels are Gaussian with σ the median
        distance.

    Example:
        >>> from infoplane.analysis.markov.randomisation import randomisation_test
        >>> rng = np.random.default_rng(0)
        >>> x = rng.standard_normal((60, 4))
        >>> before = x + 0.5 * rng.standard_normal(x.shape)
        >>> def redraw(order, rng, leak=2.0):
        ...     return np.tanh(before) + leak * x[order] + 0.5 * rng.standard_normal(x.shape)
        >>> randomisation_test(x, before, redraw(np.arange(60), rng), redraw, rng).p
        0.05
    """
    grams = [torch.as_tensor(gram_matrix(values)) for values in (x, before)]
    given = gram_entropies(torch.stack([grams[0] * grams[1], grams[1]]))
    layers = [after, *(redraw(rng.permutation(len(x)), rng) for _ in range(draws))]
    joint = torch.stack([grams[1] * torch.as_tensor(gram_matrix(layer)) for layer in layers])
    values = (given[0] - given[1] + gram_entropies(joint) - gram_entropies(joint * grams[0])).numpy()
    information, redrawn = float(values[0]), values[1:]
    above, below = (redrawn >= information).sum(), (redrawn <= information).sum()
    return RandomisationTest(information, redrawn, min(1.0, float(2 * (1 + min(above, below)) / (1 + draws))))
