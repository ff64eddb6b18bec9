"""Distances, bandwidth rules and Gram matrices.

One convention in the whole project: the Gaussian kernel is K = exp(−d² / (2σ²)) with the Euclidean distance
d, and a Gram matrix of n samples is A_ij = K_ij / (n √(K_ii K_jj)), so that its trace is 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import squareform

from infoplane.errors import InfoplaneError, unknown

Array = TypeVar("Array", NDArray, torch.Tensor)

# Values from which NumPy's half of a product is worth the wait for its threads, which torch's keep from the cores.
HALVED_FROM = 2**22
HALVED_ROWS = 512
CHUNK_BYTES = 64 * 2**20
STRIPE_ROWS = 256
RULES = {"median": 1.0, "knn": 10.0, "silverman": 1.0, "alignment": 0.5, "fixed": None}


def squared_distances(x: torch.Tensor) -> torch.Tensor:
    """Squared Euclidean distances between samples, accurate for near duplicates and for any offset.

    Args:
        x: Samples, (n, ...), any real dtype; the axes after the first are flattened.

    Returns:
        (n, n) float64 on the device of x (on the CPU where the device has no float64), as by
        `accumulated_distances`.
    """
    return accumulated_distances([x.reshape(len(x), -1)], len(x))


def accumulated_distances(chunks: Iterable[torch.Tensor], n: int) -> torch.Tensor:
    """Squared Euclidean distances between samples whose features come in chunks, in any order.

    Features are centred and multiplied in float64, so that beside the result only one chunk of them stands in
    memory (where no gradient is asked for), of which no more than 64 MiB as float64. Distances below the rounding
    error of the product are exactly 0: repeated samples stay repeated.

    Args:
        chunks: Some features of all samples, (n, f) each, any real dtype, all on one device.
        n: Number of samples.

    Returns:
        (n, n) float64 on the device of the chunks (on the CPU where the device has no float64).
    """
    gram = torch.zeros(n, n, dtype=torch.float64)
    features = 0
    for chunk in chunks:
        chunk = chunk.cpu() if chunk.device.type == "mps" else chunk
        gram = gram.to(chunk.device)
        features += chunk.shape[1]
        for part in chunk.split(max(1, CHUNK_BYTES // (8 * max(n, 1))), dim=1):
            gram = _add_products(gram, part.to(torch.float64))
    rounding = torch.finfo(torch.float64).eps * max(16.0, math.sqrt(features))
    if not gram.requires_grad:
        return _distances_inside(gram, rounding)
    norms = gram.diagonal()
    sums = norms[:, None] + norms[None, :]
    squared = (sums - 2 * gram).clamp(min=0)
    squared = torch.where(squared <= rounding * sums, 0.0, squared)
    return squared * (1 - torch.eye(n, dtype=squared.dtype, device=squared.device))


def _add_products(gram: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Adds the inner products of centred features, in place; of large ones to the lower triangle only."""
    # Taking off a sample before the mean makes a constant layer exactly zero.
    x = x - x[:1]
    x = x.sub_(x.mean(dim=0, keepdim=True))
    if x.numel() < HALVED_FROM or x.is_cuda or x.requires_grad:
        return gram.addmm_(x, x.T)
    sums, rows = gram.numpy(), x.numpy()
    for start in range(0, len(rows), HALVED_ROWS):
        stop = start + HALVED_ROWS
        sums[start:stop, :stop] += rows[start:stop] @ rows[:stop].T
    return gram


def _distances_inside(gram: torch.Tensor, rounding: float) -> torch.Tensor:
    """Squared distances in the place of the inner products in the lower triangle: no second (n, n) array."""
    norms = gram.diagonal().clone()
    for start in range(0, len(gram), STRIPE_ROWS):
        stop = start + STRIPE_ROWS
        stripe = gram[start:stop, :stop]
        corner = stripe[:, start:].tril()
        stripe[:, start:] = corner + corner.tril(-1).T
        sums = norms[start:stop, None] + norms[None, :stop]
        torch.sub(sums, stripe, alpha=2, out=stripe)
        stripe.masked_fill_(stripe <= sums.mul_(rounding), 0.0)
        gram[:start, start:stop] = stripe[:, :start].T
    return gram.fill_diagonal_(0.0)


def gram_matrix(x: Array, sigma: float | None = None) -> Array:
    """Normalised Gram matrix of samples under the Gaussian kernel exp(−d² / (2σ²)).

    Args:
        x: Samples, (n, ...), NumPy array or tensor; the axes after the first are flattened.
        sigma: Bandwidth σ > 0 in the units of x; None takes the median pairwise distance.

    Returns:
        (n, n) float64, trace 1, of the same kind as x.

    Raises:
        ValueError: x is empty or not finite, σ is not positive and finite, or the median distance is 0.
    """
    tensor = torch.as_tensor(x)
    if tensor.ndim == 0 or tensor.numel() == 0:
        raise ValueError(f"expected samples of shape (n, ...), got shape {tuple(tensor.shape)}")
    if tensor.device.type == "mps":
        tensor = tensor.cpu()
    tensor = tensor.reshape(len(tensor), -1).to(torch.float64)
    scale = tensor.detach().abs().max().item()
    if not math.isfinite(scale):
        raise ValueError("samples hold NaN or infinite values")
    # Working at unit scale keeps squares of 1e±300 in range.
    scale = scale or 1.0
    squared = squared_distances(tensor / scale)
    if sigma is None:
        condensed = condense(squared.detach().cpu().numpy())
        relative = Bandwidth("median", 1.0).sigma(np.sqrt(condensed, out=condensed))
        if relative == 0:
            raise ValueError("the median pairwise distance is 0: give sigma")
    else:
        if not (sigma > 0 and math.isfinite(sigma)):
            raise ValueError(f"sigma must be positive and finite, got {sigma}")
        relative = sigma / scale
    if squared.requires_grad:
        gram = torch.exp(-(squared / relative / relative) / 2) / len(tensor)
    else:
        gram = squared.div_(relative).div_(relative).mul_(-0.5).exp_().div_(len(tensor))
    return gram if isinstance(x, torch.Tensor) else gram.numpy()


def distance_gram(distances: NDArray, sigma: float) -> NDArray:
    """Normalised Gaussian Gram matrix from condensed distances.

    Args:
        distances: Euclidean distances, (n (n−1) / 2,), in the order of `scipy.spatial.distance.pdist`.
        sigma: Bandwidth σ > 0 in the units of the distances.

    Returns:
        (n, n) float64, trace 1.
    """
    gram = constant_gram(samples(distances))
    multiply_kernel(gram, distances, sigma)
    return gram.numpy()


def constant_gram(n: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Normalised Gram matrix of samples that are all alike, 1/n everywhere: (n, n) float64."""
    return torch.full((n, n), 1 / n, dtype=torch.float64, device=device)


def multiply_kernel(gram: torch.Tensor, distances: NDArray, sigma: float) -> None:
    """Multiplies a Gram matrix by a Gaussian kernel in place, entry by entry: no second (n, n) array.

    From `constant_gram`, one variable gives its Gram matrix, and further ones the joint Gram matrix of them all.

    Args:
        gram: Symmetric matrix, (n, n) float64, on any device.
        distances: Euclidean distances, (n (n−1) / 2,), in the order of `scipy.spatial.distance.pdist`.
        sigma: Bandwidth σ > 0 in the units of the distances.
    """
    n = len(gram)
    for start in range(0, n, STRIPE_ROWS):
        stop = min(start + STRIPE_ROWS, n)
        values = torch.from_numpy(_stripe(distances, n, start, stop)).to(gram.device)
        values.div_(sigma).square_().mul_(-0.5).exp_()
        gram[start:stop, start:].mul_(values)
        gram[stop:, start:stop].mul_(values[:, stop - start :].T)


def _stripe(distances: NDArray, n: int, start: int, stop: int) -> NDArray:
    """Distances of the samples start … stop to these and all later ones, (stop − start, n − start) float64."""
    stripe = np.zeros((stop - start, n - start))
    first = start * n - start * (start + 1) // 2
    for row, count in enumerate(range(n - start - 1, n - stop - 1, -1)):
        stripe[row, row + 1 :] = distances[first : first + count]
        first += count
    corner = stripe[:, : stop - start]
    corner += corner.T.copy()
    return stripe


def label_gram(labels: Array) -> Array:
    """Normalised Gram matrix of labels under the delta kernel (1 where labels agree).

    Args:
        labels: Class labels, (n,), NumPy array or tensor.

    Returns:
        (n, n) float64, trace 1, of the same kind as the labels.
    """
    tensor = torch.as_tensor(labels)
    gram = (tensor[:, None] == tensor[None, :]).to(torch.float64) / len(tensor)
    return gram if isinstance(labels, torch.Tensor) else gram.numpy()


def condense(square: NDArray) -> NDArray:
    """Condensed form (n (n−1) / 2,) of a symmetric matrix (n, n), in the order of `pdist`."""
    # SciPy's squareform copies an array that belongs to a tensor.
    return np.concatenate([square[row, row + 1 :] for row in range(len(square))])


@dataclass(frozen=True)
class Bandwidth:
    """A rule that finds the bandwidth σ of the Gaussian kernel from the distances between samples.

    Every rule but `fixed` is scale-free: multiplying a layer by a constant changes no entropy.

    Attributes:
        rule: `median`: σ = value × median pairwise distance. `knn`: mean distance to the `value` nearest
            other samples. `silverman`: σ = value × √d n^(−1/(4+d)) on features of unit RMS.
            `alignment`: the σ that maximises the alignment of the kernel with the label kernel (Wickstrøm et
            al., 2019); value is the weight of the past in the moving average over snapshots. `fixed`: value.
        value: The number that goes with the rule.
    """

    rule: str
    value: float

    @classmethod
    def parse(cls, text: str) -> Bandwidth:
        """Reads "median", "median:0.5", "knn:10", "silverman:1", "alignment:0.5" or "fixed:3".

        Raises:
            InfoplaneError: An unknown rule or a number that does not fit it.
        """
        rule, _, number = text.partition(":")
        if rule not in RULES:
            raise unknown("bandwidth rule", rule, RULES)
        default = RULES[rule]
        if not number and default is None:
            raise InfoplaneError(f"bandwidth '{text}' needs a number, such as '{rule}:3.0'")
        try:
            value = float(number) if number else float(default or 0)
        except ValueError:
            raise InfoplaneError(f"bandwidth '{text}': '{number}' is not a number") from None
        low_enough = value < 1 if rule == "alignment" else value < math.inf
        high_enough = value >= 0 if rule == "alignment" else value > 0
        if not (low_enough and high_enough) or (rule == "knn" and value != int(value)):
            raise InfoplaneError(f"bandwidth '{text}': {number} is out of range for {rule}")
        return cls(rule, value)

    def __str__(self) -> str:
        return f"{self.rule}:{int(self.value) if self.value.is_integer() else repr(self.value)}"

    def sigma(self, distances: NDArray, features: int = 1, labels: NDArray | None = None) -> float:
        """The bandwidth of one layer at one snapshot, before any averaging over snapshots.

        Args:
            distances: Condensed Euclidean distances, (n (n−1) / 2,).
            features: Number of features d of the layer (for `silverman`).
            labels: Class labels, (n,) (for `alignment`).

        Returns:
            σ in the units of the distances; 0 where the rule finds none (more than half of the pairs are
            repeated samples under `median`, say).

        Raises:
            InfoplaneError: `knn` with fewer than k other samples.
        """
        distances = distances.astype(np.float64, copy=False)
        n = samples(distances)
        if self.rule == "fixed":
            return self.value
        if self.rule == "median":
            return self.value * float(np.median(distances))
        if self.rule == "silverman":
            # Twice the summed variance of the features is the mean squared distance over all n² pairs.
            rms = math.sqrt(float(np.square(distances).sum()) / n**2)
            return self.value * rms * n ** (-1 / (4 + features))
        if self.rule == "knn":
            return _nearest(distances, int(self.value))
        if labels is None:
            raise InfoplaneError("the alignment bandwidth needs class labels")
        return _aligned(distances, labels)


def samples(distances: NDArray) -> int:
    """Number of samples n behind condensed distances, (n (n−1) / 2,)."""
    return (1 + math.isqrt(1 + 8 * len(distances))) // 2


def _nearest(distances: NDArray, k: int) -> float:
    square = squareform(distances)
    if k >= len(square):
        raise InfoplaneError(f"bandwidth knn:{k} needs more than {k} samples, the probe has {len(square)}")
    np.fill_diagonal(square, np.inf)
    square.partition(k - 1, axis=1)
    return float(square[:, :k].mean())


def _aligned(distances: NDArray, labels: NDArray) -> float:
    """Bandwidth of the highest kernel alignment ⟨K_T, K_Y⟩ / (‖K_T‖ ‖K_Y‖) with the label kernel."""
    median = float(np.median(distances[distances > 0])) if (distances > 0).any() else 0.0
    if median == 0:
        return 0.0
    n = samples(distances)
    same = condense(labels[:, None] == labels[None, :])
    halved = np.square(distances / median) / 2

    def alignment(log_sigma: float) -> float:
        kernel = np.exp(-halved * math.exp(-2 * log_sigma))
        inner = n + 2 * float(kernel[same].sum())
        return inner / math.sqrt(n + 2 * float(np.square(kernel).sum()))

    grid = np.linspace(math.log(0.05), math.log(10), 25)
    best = grid[int(np.argmax([alignment(point) for point in grid]))]
    step = grid[1] - grid[0]
    found = minimize_scalar(lambda s: -alignment(s), bounds=(best - step, best + step), method="bounded")
    return median * math.exp(float(found.x))
