"""Distances between the inputs X of a probe, as suits what they are.

Numbers are compared by the Euclidean distance. Token ids are names: which number a word has says nothing, so
sequences are compared position by position (`infoplane.kernels.hamming_distances`), padding left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infoplane.condensed import condense, samples
from infoplane.errors import InfoplaneError
from infoplane.kernels import hamming_distances, squared_distances
from infoplane.recording.layers import selected_of
from infoplane.recording.passes import Passes

AUTO, EUCLIDEAN, HAMMING = "auto", "euclidean", "hamming"


def input_distances(passes: Passes, how: str | Callable[..., Any] = AUTO) -> tuple[str, NDArray]:
    """Distances between the inputs of a probe.

    Args:
        passes: The network and its probe.
        how: "euclidean", "hamming", the name of a layer, whose outputs are compared as the network is now, or a
            function that is called as the network is and gives distances. "auto" takes "hamming" for the parts
            that the network looks up in an embedding and "euclidean" for all others. Where parts are measured in
            different ways, each is divided by its median distance before the squares are added.

    Returns:
        What was measured, in words, and condensed distances, (n (n−1) / 2,) float64.

    Raises:
        InfoplaneError: An unknown layer, parts of another kind, or a function that gives no distances.
    """
    if callable(how):
        return getattr(how, "__name__", type(how).__name__), _given(passes, how) * _are_unlike(passes)
    if how not in (AUTO, EUCLIDEAN, HAMMING):
        (layer, *more) = selected_of(passes.traced, [how])
        if more:
            raise InfoplaneError(f"input_distance names {1 + len(more)} layers; name one")
        values = passes.collect([layer])[layer.name]
        distances = condense(squared_distances(values).sqrt_().cpu().numpy())
        return f"layer {layer.name}", distances * _are_unlike(passes)
    return _measured(passes, how)


def _are_unlike(passes: Passes) -> NDArray:
    """1 for pairs of samples with unlike inputs and 0 for copies, which rounding would keep apart, condensed."""
    rows = np.concatenate([_bytes(part) for part in passes.inputs.parts.values()], axis=1)
    numbers = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)  # NumPy 2.0 gives (n, 1)
    return condense((numbers[:, None] != numbers).astype(np.float64))


def _bytes(part: Tensor) -> NDArray:
    """The bytes of each sample, (n, …), of any type, some of which NumPy does not have."""
    real = torch.view_as_real(part) if part.is_complex() else part
    return real.cpu().reshape(len(part), -1).contiguous().view(torch.uint8).numpy()


def _measured(passes: Passes, how: str) -> tuple[str, NDArray]:
    """Token sequences by the positions in which they differ, all else by the Euclidean distance."""
    inputs = passes.inputs
    data = {name: part for name, part in inputs.parts.items() if name not in inputs.masks}
    tokens = set(passes.traced.tokens) if how == AUTO else set()
    if how == HAMMING:
        tokens = set(inputs.token_parts())
        if not tokens:
            raise InfoplaneError("input_distance 'hamming' compares whole numbers, and the inputs hold none")
    numbers = [part.reshape(len(part), -1) for name, part in data.items() if name not in tokens]
    squares = (
        {HAMMING: _hamming([(data[name], passes.padding.of_input(name)) for name in data if name in tokens])}
        if tokens
        else {}
    )
    if numbers and (how != HAMMING or not squares):
        squares[EUCLIDEAN] = condense(squared_distances(_joined(numbers)).cpu().numpy())
    if len(squares) == 1:
        ((name, squared),) = squares.items()
        return name, np.sqrt(squared)
    total = sum(squared / (np.median(squared) or 1.0) for squared in squares.values())
    return " and ".join(squares), np.sqrt(total)


def _joined(parts: list[Tensor]) -> Tensor:
    """Several flat inputs side by side, complex numbers as (Re, Im)."""
    real = [torch.view_as_real(part).flatten(1) if part.is_complex() else part for part in parts]
    return real[0] if len(real) == 1 else torch.cat([part.to(torch.float64) for part in real], dim=1)


def _hamming(parts: list[tuple[Tensor, Tensor | None]]) -> NDArray:
    """Squared distances between token sequences, summed over the parts."""
    squared = [hamming_distances(ids, kept).square_() for ids, kept in parts]
    return condense(torch.stack(squared).sum(0).cpu().numpy())


def _given(passes: Passes, how: Callable[..., Any]) -> NDArray:
    """What a user's function gives, checked."""
    args, kwargs = passes.inputs.batch(slice(None), "cpu")
    values = how(*args, **kwargs)
    distances = values.detach().cpu().double().numpy() if isinstance(values, Tensor) else np.asarray(values, float)
    if not np.isfinite(distances).all() or (distances < 0).any():
        raise InfoplaneError("input_distance gave distances that are negative, NaN or infinite")
    n = len(passes.inputs)
    if distances.shape == (n, n):
        # Distances by products, as torch.cdist takes them, are off by rounding, most of all on the diagonal.
        off = max(np.abs(np.diagonal(distances)).max(), np.abs(distances - distances.T).max())
        if off > 1e-2 * np.abs(distances).max():
            raise InfoplaneError("input_distance gave a matrix that is not symmetric with zeros on its diagonal")
        distances = condense((distances + distances.T) / 2)
    if distances.ndim != 1 or samples(distances) != n or len(distances) != n * (n - 1) // 2:
        raise InfoplaneError(
            f"input_distance must give distances ({n}, {n}) or ({n * (n - 1) // 2},), got {distances.shape}"
        )
    return distances
