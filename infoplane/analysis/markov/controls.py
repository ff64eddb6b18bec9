"""Layers whose dependence is known, to hold an analysis against before it is believed.

Chains: networks without shortcuts, with and without noise in their layers, and linear-Gaussian ones. No chains:
random features of the input that know of each other only through it (a star), networks in which the input leaks
into a later layer or a layer sees the one before the last, and chains whose layers are taken in another order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from infoplane.analysis.markov.randomisation import Redraw
from infoplane.analysis.markov.triples import normalised
from infoplane.estimators.pairs import pair_informations
from infoplane.kernels import Bandwidth, distance_gram

LATENT, INPUTS = 8, 64
MEDIAN = Bandwidth("median", 1.0)


def inputs(n: int, rng: np.random.Generator) -> NDArray:
    """Inputs that fill 8 of their 64 dimensions, bent: tanh of a random mixture, (n, 64)."""
    mixture = rng.standard_normal((LATENT, INPUTS)) / math.sqrt(LATENT)
    return np.tanh(rng.standard_normal((n, LATENT)) @ mixture)


def network(
    x: NDArray,
    widths: Sequence[int],
    rng: np.random.Generator,
    *,
    noise: float = 0.0,
    leak: float = 0.0,
    skips: Sequence[int] = (),
) -> list[NDArray]:
    """The layers of a random network of rectified linear units.

    Args:
        x: Inputs, (n, d).
        widths: Numbers of units of the layers.
        rng: Source of the weights (normal, of variance 2 / inputs) and of the noise.
        noise: Standard deviation of what is added to each layer, in units of the layer's own; independent in every
            layer, so that the layers stay a chain.
        leak: Weight with which the input enters the middle layer.
        skips: Layers, from 1, that also see the layer before the one before them.

    Returns:
        X and the layers, (n, width) each.
    """
    layers = [x]
    for number, width in enumerate(widths, start=1):
        value = layers[-1] @ _weights(layers[-1], width, rng)
        if number == (len(widths) + 1) // 2 + 1:
            value = value + leak * x @ _weights(x, width, rng)
        if number in skips:
            value = value + layers[-2] @ _weights(layers[-2], width, rng)
        value = np.maximum(value, 0.0)
        layers.append(value + noise * value.std() * rng.standard_normal(value.shape))
    return layers


def noisy_link(
    n: int, width: int, noise: float, leak: float, rng: np.random.Generator
) -> tuple[NDArray, NDArray, NDArray, Redraw]:
    """Two layers of a random network with noise in both, of which the input may leak into the second.

    Args:
        n: Number of samples.
        width: Number of units of the layers.
        noise: Standard deviation of the noise, in units of that of the first layer.
        leak: Weight with which the input enters the second layer.
        rng: Source of inputs, weights and noise.

    Returns:
        X, (n, 64), the layers T and T′, (n, width) each, and what draws T′ anew from T, as
        `randomisation.randomisation_test` takes it.
    """
    x = inputs(n, rng)
    before = np.maximum(x @ _weights(x, width, rng), 0.0)
    scale = noise * before.std()
    before = before + scale * rng.standard_normal(before.shape)
    forward, sideways = _weights(before, width, rng), leak * _weights(x, width, rng)

    def draw(order: NDArray, rng: np.random.Generator) -> NDArray:
        value = np.maximum(before @ forward + x[order] @ sideways, 0.0)
        return np.asarray(value + scale * rng.standard_normal(value.shape))

    return x, before, draw(np.arange(n), rng), draw


def features(x: NDArray, widths: Sequence[int], gains: Sequence[float], rng: np.random.Generator) -> list[NDArray]:
    """A star: layers that are random features of X, tanh of a random mixture, none a function of another.

    Args:
        x: Inputs, (n, d).
        widths: Numbers of units of the layers.
        gains: How strongly each layer saturates.
        rng: Source of the weights.

    Returns:
        X and the layers, (n, width) each.
    """
    return [
        x,
        *(np.tanh(gain * x @ _weights(x, width, rng)) for width, gain in zip(widths, gains, strict=True)),
    ]


def linear_chain(x: NDArray, widths: Sequence[int], correlation: float, rng: np.random.Generator) -> list[NDArray]:
    """A linear chain: each layer is a random mixture of the one before, of unit variance, and noise.

    Args:
        x: Inputs, (n, d), of unit variance; the chain is Gaussian where they are.
        widths: Numbers of units of the layers.
        correlation: Share √(1 − noise variance) of a layer that comes from the one before, between 0 and 1.
        rng: Source of the weights and of the noise.

    Returns:
        X and the layers, (n, width) each.
    """
    layers, loss = [x], math.sqrt(1 - correlation**2)
    for width in widths:
        signal = layers[-1] @ _weights(layers[-1], width, rng) / math.sqrt(2)
        layers.append(correlation * signal + loss * rng.standard_normal(signal.shape))
    return layers


def gaussian_chain(
    n: int, layers: int, correlation: float, dimension: int, rng: np.random.Generator
) -> tuple[list[NDArray], list[float]]:
    """A linear-Gaussian chain with known informations: T_{l+1} = ρ T_l + √(1−ρ²) noise in each component.

    Args:
        n: Number of samples.
        layers: Number L of layers.
        correlation: ρ between neighbours, between 0 and 1.
        dimension: Number d of components.
        rng: Source of randomness.

    Returns:
        X and the layers, (n, d) each, and I(X;T_l) = −d/2 · log2(1 − ρ^{2l}) in bits for each layer (of Gaussian
        variables with correlation ρ^l; Cover and Thomas, *Elements of Information Theory*).
    """
    chain = [rng.standard_normal((n, dimension))]
    for _ in range(layers):
        noise = rng.standard_normal((n, dimension))
        chain.append(correlation * chain[-1] + math.sqrt(1 - correlation**2) * noise)
    return chain, [-dimension / 2 * math.log2(1 - correlation ** (2 * l)) for l in range(1, layers + 1)]


def in_order(variables: Sequence[NDArray], order: Sequence[int]) -> list[NDArray]:
    """X and its layers in another order; `order` numbers the layers from 1."""
    return [variables[0], *(variables[place] for place in order)]


def batch_informations(
    variables: Sequence[NDArray],
    batches: int,
    rng: np.random.Generator,
    bandwidth: Bandwidth = MEDIAN,
) -> NDArray:
    """Normalised, null-corrected informations between all pairs of variables, as `triples.triple_test` takes them.

    Args:
        variables: X and the layers, (n, d) each.
        batches: Number of disjoint batches of consecutive samples.
        rng: Source of the permuted pairing of each batch.
        bandwidth: Rule of the Gaussian kernels.

    Returns:
        (batches, V, V).
    """
    size = len(variables[0]) // batches
    matrices = []
    for start in range(0, batches * size, size):
        grams = [_gram(values[start : start + size], bandwidth) for values in variables]
        matrices.append(normalised(*pair_informations(grams, rng.permutation(size))))
    return np.stack(matrices)


def _weights(values: NDArray, width: int, rng: np.random.Generator) -> NDArray:
    """Weights that keep the scale of values (n, d) through rectified linear units, (d, width)."""
    return rng.standard_normal((values.shape[1], width)) * math.sqrt(2 / values.shape[1])


def _gram(values: NDArray, bandwidth: Bandwidth) -> NDArray:
    distances = pdist(values)
    return distance_gram(distances, bandwidth.sigma(distances, values.shape[1]))
