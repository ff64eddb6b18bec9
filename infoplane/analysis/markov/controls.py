"""Chains whose answer is known, to hold an analysis against before it is believed.

Tables of the same form as those of recorded runs are made from Gram matrices alone, so that every control goes
through the same criteria as a network.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from infoplane.entropy import class_entropy, class_joint_entropy
from infoplane.estimators.pairs import DRAWS, pair_quantities
from infoplane.kernels import gram_matrix, label_gram

PERMUTATIONS = 5


@dataclass(frozen=True)
class Sample:
    """The variables of one run at one step on one batch.

    Attributes:
        run: Name of the run (a seed).
        step: Step of the snapshot.
        batch: Number of the batch.
        grams: Normalised Gram matrices of X, T_1 … T_L, each (n, n).
        labels: Class labels, (n,).
    """

    run: str
    step: int
    batch: int
    grams: Sequence[NDArray]
    labels: NDArray


def gaussian_chain(
    n: int, layers: int, correlation: float, dimension: int, rng: np.random.Generator
) -> tuple[list[NDArray], list[float]]:
    """A linear-Gaussian Markov chain X → T_1 → … → T_L, T_{l+1} = ρ T_l + √(1−ρ²) noise in each component.

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


def discrete_chain(n: int, layers: int, rng: np.random.Generator) -> tuple[list[NDArray], NDArray]:
    """A deterministic chain of coarser and coarser states: T_l = ⌊X / 2^l⌋ of 2^(L+1) states, Y = T_L.

    Under delta kernels the matrix-based entropy at α = 1 is Shannon's of the frequencies, so that I(X;T_{l+1}|T_l)
    = 0 exactly, I(X;T_l) = S(T_l) falls and I(T_l;Y) = S(Y) is kept.

    Args:
        n: Number of samples.
        layers: Number L of layers.
        rng: Source of randomness.

    Returns:
        X and the layers, (n,) int64 each, and the labels, (n,).
    """
    states = rng.integers(2 ** (layers + 1), size=n)
    chain = [states >> level for level in range(layers + 1)]
    return chain, chain[-1]


def planted_bottleneck(
    seeds: int, *, batches: int = 3, n: int = 128, layers: int = 5, noise: float = 0.5, seed: int = 0
) -> Iterator[Sample]:
    """Runs of a Markov bottleneck: random partitions of the input at step 0, the discrete chain at step 1.

    Each layer is a partition of the states of X (delta kernel) times a Gaussian kernel of noise of its own, without
    which T_{l+1} would add nothing to T_l of which a share could be taken. The noise of a layer does not enter the
    next, so the partitions are a Markov chain and the label, the last of them, is kept by all.

    Args:
        seeds: Number of runs.
        batches: Number of batches of each.
        n: Samples of a batch.
        layers: Number L of layers.
        noise: Standard deviation of the noise in bandwidths.
        seed: Seed of all.
    """
    for run, step, batch in itertools.product(range(seeds), (0, 1), range(batches)):
        rng = np.random.default_rng([seed, run, step, batch])
        states, labels = discrete_chain(n, layers, rng)
        own = np.random.default_rng([seed, run])
        if step == 0:
            table = own.integers(2 ** (layers - 2), size=(layers, 2 ** (layers + 1)))
            states = [states[0], *(row[states[0]] for row in table)]
        noises = (gram_matrix(noise * rng.standard_normal(n), 1.0) for _ in range(layers))
        grams = [n * label_gram(part) * kernel for part, kernel in zip(states[1:], noises, strict=True)]
        yield Sample(f"seed{run}", step, batch, [label_gram(states[0]), *grams], labels)


def control_tables(
    samples: Iterable[Sample],
    layers: Sequence[str],
    *,
    alpha: float = 1.0,
    draws: int = DRAWS,
    links: Sequence[tuple[int, int]] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Estimates and pairs of given Gram matrices, in the form of recorded runs.

    Args:
        samples: One for each run, step and batch.
        layers: Names of T_1 … T_L.
        alpha: Order α > 0.
        draws: Number of permutations behind the null of the residual.
        links: As in `infoplane.estimators.pairs.pair_quantities`.

    Returns:
        Two tables such as `infoplane.analysis.gather.gather` and `gather_pairs` give, for `markov_verdict`.
    """
    estimates, pairs = [], []
    names = ["X", *layers, "Y"]
    for sample in samples:
        place = {"run": sample.run, "step": sample.step, "batch": sample.batch, "n": len(sample.labels)}
        settings = {"alpha": alpha, "kernel": "given", "bandwidth": "given", "scope": "given"}
        place |= {**settings, "input_bandwidth": "given", "batch_size": len(sample.labels)}
        rows = [*pair_quantities(sample.grams, sample.labels, alpha, draws, links)]
        pairs += [{**place, **row, "name_i": names[row["i"]], "name_j": names[row["j"]]} for row in rows]
        known = {(row["quantity"], row["i"], row["j"]): row["value"] for row in rows}
        estimates += [{**place, **row} for row in _estimates(sample, layers, known, alpha)]
    return pd.DataFrame(estimates), pd.DataFrame(pairs)


def _estimates(
    sample: Sample, layers: Sequence[str], known: dict[tuple[str, int, int], float], alpha: float
) -> Iterable[dict[str, Any]]:
    """The rows of the estimates table, with the null of permuted labels."""
    rng = np.random.default_rng(0)
    last = len(layers) + 1
    s_y = class_entropy(sample.labels, alpha)
    about = {"dataset": "control", "model": "control", "estimator": "renyi", "permutations": PERMUTATIONS}
    about |= {"unit": "bits", "status": "ok", "classes": len(np.unique(sample.labels)), "S_Y": s_y}
    permuted = [rng.permutation(sample.labels) for _ in range(PERMUTATIONS)]
    for depth, (name, gram) in enumerate(zip(layers, sample.grams[1:], strict=True), start=1):
        s_t = known["entropy", depth, depth]
        null = [s_t + s_y - class_joint_entropy(gram, labels, alpha) for labels in permuted]
        yield {
            **about,
            "layer": name,
            "depth": depth,
            "epoch": float(sample.step),
            "S_T": s_t,
            "S_X": known["entropy", 0, 0],
            "I_XT": known["information", 0, depth],
            "I_TY": known["information", depth, last],
            "I_TY_null": float(np.mean(null)),
            "I_TY_null_std": float(np.std(null, ddof=1)),
            "I_TY_corrected": known["information", depth, last] - float(np.mean(null)),
        }
