"""Bandwidths that depend on other snapshots or other layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from infoplane.estimators.base import Item
from infoplane.kernels import Bandwidth


def needed(
    items: Sequence[Item], layers: Sequence[str], snapshots: int, scope: str, bandwidth: Bandwidth
) -> list[Item]:
    """The (snapshot, layer) pairs whose distances decide the bandwidths of `items`.

    Args:
        items: The pairs to estimate.
        layers: All layers of the run.
        snapshots: Number of snapshots of the run.
        scope: "snapshot", "final" or "shared".
        bandwidth: The rule.

    Returns:
        The pairs; none where each item decides for itself.
    """
    wanted: list[Item] = []
    if scope == "final":
        wanted = [(snapshots - 1, layer) for layer in layers]
    elif scope == "shared":
        wanted = [(index, layer) for index in sorted({index for index, _ in items}) for layer in layers]
    if bandwidth.rule == "alignment":
        # The moving average of a snapshot needs every snapshot before it.
        last = max(index for index, _ in (wanted or items))
        wanted = [(index, layer) for index in range(last + 1) for layer in layers]
    return wanted


def settled(found: dict[Item, Any], items: Sequence[Item], scope: str, bandwidth: Bandwidth) -> dict[Item, float]:
    """The bandwidth of every item.

    Args:
        found: For each pair that `needed` named, σ by the rule alone and the median distance.
        items: The pairs to estimate.
        scope: "snapshot", "final" or "shared".
        bandwidth: The rule.
    """
    sigma = {item: value for item, (value, _) in found.items()}
    if bandwidth.rule == "alignment":
        sigma = _averaged(sigma, bandwidth.value)
    if scope == "final":
        last = max(index for index, _ in sigma)
        return {(index, layer): sigma[last, layer] for index, layer in items}
    if scope == "shared":
        return _shared(sigma, {item: median for item, (_, median) in found.items()})
    return sigma


def _averaged(sigma: dict[Item, float], past: float) -> dict[Item, float]:
    """Exponential moving average over snapshots, layer by layer (Wickstrøm et al., 2019)."""
    averaged: dict[Item, float] = {}
    last: dict[str, float] = {}
    for index, layer in sorted(sigma):
        now = sigma[index, layer]
        if now > 0:
            now = past * last[layer] + (1 - past) * now if layer in last else now
            last[layer] = now
        averaged[index, layer] = now
    return averaged


def _shared(sigma: dict[Item, float], median: dict[Item, float]) -> dict[Item, float]:
    """One multiple of the median distance for all layers of a snapshot."""
    shared: dict[Item, float] = {}
    for index in {index for index, _ in sigma}:
        layers = [item for item in sigma if item[0] == index]
        logs = [np.log(sigma[item] / median[item]) for item in layers if sigma[item] > 0 and median[item] > 0]
        factor = float(np.exp(np.mean(logs))) if logs else 0.0
        shared.update({item: factor * median[item] for item in layers})
    return shared
