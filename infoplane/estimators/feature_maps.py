"""The modified information plane and the total correlation of the feature maps of a convolution layer; in bits.

Yu, Wickstrøm, Jenssen and Príncipe, "Understanding Convolutional Neural Networks With Information Theory: An
Initial Exploration", IEEE Transactions on Neural Networks and Learning Systems 32(1), 2021 (arXiv 1804.06537). Its
partial information decomposition splits what two maps know of the input into redundancy (both), unique parts (one)
and synergy (only both together):

    I(X;C_i) = Rdn + Unq_i        I(X;{C_i,C_j}) = Rdn + Unq_i + Unq_j + Syn

The parts alone are not determined by informations, but two combinations are. Averaged over pairs of maps:

- redundancy–synergy trade-off      I(X;C_i) + I(X;C_j) − I(X;{C_i,C_j}) = Rdn − Syn
- weighted non-redundant information 2 I(X;{C_i,C_j}) − I(X;C_i) − I(X;C_j) = Unq_i + Unq_j + 2 Syn

The total correlation of all k maps is Σ_i S(C_i) − S(C_1, …, C_k). Joint entropies are those of Hadamard products
of one Gaussian Gram matrix for each map, each with its own bandwidth. The product of many maps tends to the
identity: where `S_maps` is near log2 n, total correlation and I(X;{C_1, …, C_k}) say how many maps there are, not
what they share.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from infoplane.condensed import condense
from infoplane.entropy import joint_entropy, renyi_entropy
from infoplane.errors import InfoplaneError
from infoplane.estimators.base import Item, LayerView
from infoplane.estimators.batches import Batches
from infoplane.estimators.engine.pool import Part, parts_of, solving
from infoplane.estimators.renyi import Renyi, RenyiSettings
from infoplane.execution import QUIET, Execution
from infoplane.kernels import Bandwidth, distance_gram, squared_distances
from infoplane.runfile import LayerInfo, Run, opened

PAIRS = 100
_PAIR_SEED = 0
_KEPT_GRAMS = 64
_EMPTY = dict.fromkeys(
    (
        *("redundancy_synergy", "redundancy_synergy_se", "weighted_nonredundant", "weighted_nonredundant_se"),
        *("S_maps", "total_correlation", "I_X_maps"),
    ),
    math.nan,
)


def interaction_table(
    run: Path | Run,
    layers: Sequence[str] | None = None,
    settings: RenyiSettings | None = None,
    batches: Batches | None = None,
    *,
    steps: Sequence[int] | None = None,
    pairs: int = PAIRS,
    execution: Execution = QUIET,
) -> pd.DataFrame:
    """The modified information plane of convolution layers.

    Args:
        run: The run file, or the open run; it must hold the activations of the layers.
        layers: Names of the layers; None takes all that have at least two feature maps.
        settings: Order α and bandwidth rules; each map has its own bandwidth. None takes the defaults.
        batches: Batches of the probe to estimate apart; None takes the whole probe at once.
        steps: Steps of the snapshots; None takes all.
        pairs: Largest number of pairs of maps; of more a random sample is taken, the same at all steps.
        execution: How work is done.

    Returns:
        One row per step, layer and batch: `step`, `epoch`, `layer`, `depth`, `batch`, `n`, `channels`, `maps`
        (those that are neither constant nor without a bandwidth), `pairs`, and in bits `redundancy_synergy` and
        `weighted_nonredundant` with `_se` (standard error from sampling pairs; 0 where all were taken), `S_maps`,
        `total_correlation` and `I_X_maps` over all maps. NaN with fewer than two maps or activations not finite.

    Raises:
        InfoplaneError: No such layer or step, no layer of several maps, a layer of which only distances were kept,
            or settings that the multivariate kernel does not take; a tolerance, or another precision than float64.
    """
    settings = replace(settings or RenyiSettings(), kernel="multivariate", device="cpu")
    if settings.tolerance or settings.dtype != "float64":
        raise InfoplaneError("feature maps are compared exactly, in float64; leave out tolerance and dtype")
    if pairs < 2:
        raise InfoplaneError(f"a standard error needs at least 2 pairs of maps, got {pairs}")
    with opened(run) as run:
        items = _items(run, layers, steps)
        parts = parts_of(run, settings, {"pairs": pairs}, items, batches)
        with solving(run.samples, execution) as pool:
            work = functools.partial(_rows, run, parts)
            rows = [row for _, made in pool.parallel(items, work, "maps") for row in made]
    return pd.DataFrame(rows).sort_values(["step", "depth", "batch"], ignore_index=True)


def _items(run: Run, layers: Sequence[str] | None, steps: Sequence[int] | None) -> list[Item]:
    """The snapshots and layers asked for, all of which must have feature maps that were kept."""
    chosen = [run.layer(name) for name in layers] if layers else [one for one in run.layers if _has_maps(one)]
    flat = [layer.name for layer in chosen if not _has_maps(layer)]
    if flat or not chosen:
        what = f"layer '{flat[0]}' has no" if flat else "no layer has several"
        raise InfoplaneError(f"{run.path}: {what} feature maps (channels, …); it takes convolution layers")
    run.require_snapshots()
    known = {snapshot.step: index for index, snapshot in enumerate(run.snapshots)}
    wanted = sorted(known) if steps is None else sorted({*steps})
    absent = [step for step in wanted if step not in known]
    if absent or not wanted:
        raise InfoplaneError(f"{run.path} has no snapshot at step {absent[0] if absent else 0}")
    items = [(known[step], layer.name) for step in wanted for layer in chosen]
    for index, name in items:
        if run.snapshots[index].kind(name) != "activations":
            run.snapshots[index].activations(name)  # raises, and says how to keep them
    return items


def _has_maps(layer: LayerInfo) -> bool:
    """Whether a layer has several maps; the features of a sequence, (positions, channels), are none."""
    sequence = layer.positions == 0 or (len(layer.shape) == 2 and layer.channels == 1)
    return len(layer.shape) > 1 and layer.shape[layer.channels] > 1 and not sequence


def _rows(run: Run, parts: list[Part], item: Item) -> list[dict[str, Any]]:
    """One layer at one snapshot, read once for all batches."""
    snapshot, name = run.snapshots[item[0]], item[1]
    depth = 1 + [layer.name for layer in run.layers].index(name)
    whole = LayerView(run, snapshot, name)
    rows = []
    for part in parts:
        assert isinstance(part.estimator, Renyi)
        view = whole.batch(part.batch, part.members)
        found = {"maps": 0, "pairs": 0, **_EMPTY}
        if not view.trouble:
            found = map_interaction(
                part.estimator.input_gram().numpy(),
                view.channels,
                part.estimator.settings.bandwidth,
                alpha=part.estimator.settings.alpha,
                pairs=part.columns["pairs"],
            )
        place = {"step": snapshot.step, "epoch": snapshot.epoch, "layer": name, "depth": depth}
        layer = run.layer(name)
        samples = {"batch": part.batch, "n": part.estimator.n, "channels": layer.shape[layer.channels]}
        rows.append({"run_id": run.run_id, **place, **samples, **found})
    return rows


def map_interaction(
    gram_x: NDArray,
    activations: NDArray,
    bandwidth: Bandwidth,
    *,
    alpha: float = 1.0,
    pairs: int = PAIRS,
    seed: int = _PAIR_SEED,
) -> dict[str, float]:
    """The quantities of this module for one layer.

    Args:
        gram_x: Normalised Gram matrix of the input, (n, n).
        activations: (n, channels, …).
        bandwidth: Rule for each map.
        alpha: Order α > 0.
        pairs: Largest number of pairs of maps.
        seed: Seed of the sample of pairs.

    Returns:
        The columns `maps` to `I_X_maps` of `interaction_table`.
    """
    grams = _map_grams(activations, bandwidth)
    maps = len(grams)
    if maps < 2:
        return {"maps": maps, "pairs": 0, **_EMPTY}
    entropy_x = float(renyi_entropy(gram_x, alpha))
    gram = functools.lru_cache(_KEPT_GRAMS)(lambda i: grams[i]())

    def entropies(*members: NDArray) -> tuple[float, float]:
        """S of the maps, and their information about X."""
        own = float(joint_entropy(*members, alpha=alpha))
        return own, entropy_x + own - float(joint_entropy(gram_x, *members, alpha=alpha))

    single = np.array([entropies(gram(i)) for i in range(maps)])
    i, j = sampled_pairs(maps, pairs, seed)
    both = np.array([entropies(gram(a), gram(b))[1] for a, b in zip(i, j, strict=True)])
    alone = single[i, 1] + single[j, 1]
    product = functools.reduce(lambda a, b: a * (b() * len(gram_x)), grams[1:], grams[0]())
    s_maps, i_x_maps = entropies(product)
    row: dict[str, float] = {"maps": maps, "pairs": len(i)}
    for name, values in {"redundancy_synergy": alone - both, "weighted_nonredundant": 2 * both - alone}.items():
        row |= {name: float(values.mean()), f"{name}_se": sampling_error(values, maps * (maps - 1) // 2)}
    total = float(single[:, 0].sum()) - s_maps
    return {**row, "S_maps": s_maps, "total_correlation": total, "I_X_maps": i_x_maps}


def _map_grams(activations: NDArray, bandwidth: Bandwidth) -> list[Callable[[], NDArray]]:
    """For each map that has a bandwidth, what makes its Gram matrix: all of them at once could fill the memory."""
    makers: list[Callable[[], NDArray]] = []
    for channel in torch.from_numpy(activations).unbind(1):
        distances = _distances(channel)
        sigma = bandwidth.sigma(distances, int(np.prod(channel.shape[1:]))) if distances.any() else 0.0
        if sigma > 0:
            makers.append(functools.partial(_gram, channel, sigma))
    return makers


def _distances(channel: torch.Tensor) -> NDArray:
    return condense(squared_distances(channel).sqrt_().numpy())


def _gram(channel: torch.Tensor, sigma: float) -> NDArray:
    return distance_gram(_distances(channel), sigma)


def sampled_pairs(count: int, most: int, seed: int = _PAIR_SEED) -> tuple[NDArray, NDArray]:
    """Pairs i < j of `count` things: all of them, or a random sample without replacement.

    Returns:
        i and j, (pairs,) each, in ascending order.
    """
    i, j = np.triu_indices(count, 1)
    if len(i) <= most:
        return i, j
    chosen = np.sort(np.random.default_rng(seed).choice(len(i), most, replace=False))
    return i[chosen], j[chosen]


def sampling_error(values: NDArray, population: int) -> float:
    """Standard error of the mean of a sample without replacement; 0 where it is the whole population."""
    if len(values) == population:
        return 0.0
    return float(values.std(ddof=1) / math.sqrt(len(values)) * math.sqrt(1 - len(values) / population))
