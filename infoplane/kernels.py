"""Distances, bandwidth rules and Gram matrices.

One convention in the whole project: the Gaussian kernel is K = exp(−d² / (2σ²)) with the Euclidean distance
d, and a Gram matrix of n samples is A_ij = K_ij / (n √(K_ii K_jj)), so that its trace is 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import squareform

from infoplane.condensed import condense, samples
from infoplane.errors import InfoplaneError, unknown

Array = TypeVar("Array", NDArray, torch.Tensor)

# So many rows of a symmetric product at a time: below the diagonal lies little that is not needed.
PRODUCT_ROWS = 128
# Small enough for the C library to hand the same memory out again; larger arrays are mapped anew each time.
CHUNK_BYTES = 8 * 2**20
STRIPE_ROWS = 256
# Of a squared distance so small beside the squared norms, rounding leaves 7 digits; smaller ones are lost.
LOST = 1e-7
# So many distances say where the median lies: between those of ranks so far from the middle on each side.
_SAMPLED, _ASIDE = 4096, 0.03
RULES = {"median": 1.0, "knn": 10.0, "silverman": 1.0, "alignment": 0.5, "fixed": None}


def squared_distances(x: torch.Tensor) -> torch.Tensor:
    """Squared Euclidean distances between samples, accurate whatever their offset and however far others lie.

    Args:
        x: Samples, (n, ...), any dtype; the axes after the first are flattened, a complex value counts as two.

    Returns:
        (n, n) float64 on the device of x (on the CPU where the device has no float64), as by
        `accumulated_distances`; differentiable in x.
    """
    if x.requires_grad:
        return _differentiable_distances(_rows(x).to(torch.float64))
    return accumulated_distances(lambda: [x], len(x))


def accumulated_distances(chunks: Callable[[], Iterable[torch.Tensor]], n: int) -> torch.Tensor:
    """Squared Euclidean distances between samples whose features come in chunks, in any order, without gradients.

    Features are centred and multiplied in float64. Where samples lie close together for their distance from the
    centre (beside an outlier, in clusters far apart), the product loses their distances; those pairs are measured
    again about one of their own samples, from the chunks once more. Repeated samples are at distance exactly 0.

    Beside the result only one chunk of features stands in memory, of which no more than 8 MiB as float64.

    Args:
        chunks: Gives all samples, some of their features at a time, (n, f) each, any dtype, on one device; called
            once, and once more for every round in which lost pairs are measured again.
        n: Number of samples.

    Returns:
        (n, n) float64 on the device of the chunks (on the CPU where the device has no float64).
    """
    squared: torch.Tensor | None = None
    features = 0
    for part in _parts(chunks, n):
        if squared is None:
            squared = torch.zeros(n, n, dtype=torch.float64, device=part.device)
        features += part.shape[1]
        _add_products(squared, part)
    if squared is None:
        return torch.zeros(n, n, dtype=torch.float64)
    share = _lost_share(features)
    if _distances_inside(squared, share):
        # This ends: a round settles the pairs of its balls' centres at least, and shrinks the norms 1000 times.
        while balls := _balls(squared):
            _measure_again(squared, balls, _parts(chunks, n), share)
    return squared


@dataclass(frozen=True)
class _Ball:
    """Samples close to one of them, and others that these are close to.

    Attributes:
        samples: Indices, (m,): the centre, the rest of the ball, the others.
        inner: Number of samples of the ball, the centre included.
    """

    samples: torch.Tensor
    inner: int

    def stripes(self) -> Iterator[tuple[slice, tuple[torch.Tensor, torch.Tensor]]]:
        """Rows of the ball, some at a time, and the place in the matrix of their pairs with all samples."""
        for start in range(0, self.inner, STRIPE_ROWS):
            rows = slice(start, min(start + STRIPE_ROWS, self.inner))
            yield rows, (self.samples[rows, None], self.samples[None, :])


def _rows(x: torch.Tensor) -> torch.Tensor:
    """Samples as rows of real numbers, (n, f), on a device that has float64."""
    x = x.cpu() if x.device.type == "mps" else x
    x = torch.view_as_real(x.resolve_conj()) if x.is_complex() else x
    return x.reshape(len(x), -1)


def _parts(chunks: Callable[[], Iterable[torch.Tensor]], n: int) -> Iterator[torch.Tensor]:
    """The features again, (n, f) float64 of at most `CHUNK_BYTES` each; not to be written to."""
    for chunk in chunks():
        for part in _rows(chunk.detach()).split(max(1, CHUNK_BYTES // (8 * max(n, 1))), dim=1):
            yield part.to(torch.float64)


def _lost_share(features: int) -> float:
    """Share of the sum of two squared norms below which rounding takes too much of a squared distance."""
    return LOST * max(1.0, math.sqrt(features) / 16)


def _add_products(gram: torch.Tensor, x: torch.Tensor) -> None:
    """Adds the inner products of centred features, in place; to the lower triangle at least."""
    # Taking off a sample before the mean makes a constant layer exactly zero.
    x = x - x[:1]
    x = x.sub_(x.mean(dim=0, keepdim=True))
    rows = len(x) if x.is_cuda else PRODUCT_ROWS
    for start in range(0, len(x), rows):
        stop = start + rows
        gram[start:stop, :stop].addmm_(x[start:stop], x[:stop].T)


def _distances_inside(gram: torch.Tensor, share: float) -> bool:
    """Squared distances in the place of the inner products in the lower triangle: no second (n, n) array.

    A lost pair is marked by the sign bit: −0 now, minus what is measured again later.

    Returns:
        Whether any pair was lost.
    """
    norms = gram.diagonal().clone()
    found = False
    for start in range(0, len(gram), STRIPE_ROWS):
        stop = start + STRIPE_ROWS
        stripe = gram[start:stop, :stop]
        corner = stripe[:, start:].tril()
        stripe[:, start:] = corner + corner.tril(-1).T
        sums = norms[start:stop, None] + norms[None, :stop]
        torch.sub(sums, stripe, alpha=2, out=stripe)
        stripe[:, start:].fill_diagonal_(math.inf)
        lost = stripe < sums.mul_(share)
        found = found or bool(lost.any())
        stripe.masked_fill_(lost, -0.0)
        gram[:start, start:stop] = stripe[:, :start].T
    gram.fill_diagonal_(0.0)
    return found


def _lost(squared: torch.Tensor) -> torch.Tensor:
    """Which pairs are marked as lost; a NaN is not, whatever its sign."""
    return torch.signbit(squared) & (squared <= 0)


def _balls(squared: torch.Tensor) -> list[_Ball]:
    """Balls such that every lost pair has one of its samples in one, and the other there or among its others.

    Distances from the centre of a ball are below about 1e-3 of the scale at which pairs were lost.
    """
    stripes = range(0, len(squared), STRIPE_ROWS)
    touched = torch.cat([_lost(squared[start : start + STRIPE_ROWS]).any(1) for start in stripes])
    free = touched.clone()
    balls = []
    for centre in touched.nonzero()[:, 0].tolist():
        if not free[centre]:
            continue
        near = _lost(squared[centre]) & free
        if not near.any():
            continue  # all its pairs lie in balls before
        # Samples before the centre are in balls before, or have no pairs left: it stays the first.
        near[centre] = True
        inner = near.nonzero()[:, 0]
        free &= ~near
        beside = torch.zeros_like(free)
        for rows in inner.split(STRIPE_ROWS):
            beside |= _lost(squared[rows]).any(0)
        balls.append(_Ball(torch.cat([inner, (beside & free).nonzero()[:, 0]]), len(inner)))
    return balls


def _measure_again(squared: torch.Tensor, balls: list[_Ball], parts: Iterable[torch.Tensor], share: float) -> None:
    """Measures lost pairs about the centres of balls, in place; those still lost there stay marked."""
    norms = [squared.new_zeros(len(ball.samples)) for ball in balls]
    for part in parts:
        for ball, total in zip(balls, norms, strict=True):
            x = part[ball.samples] - part[ball.samples[:1]]
            if not x.any():
                continue  # copies
            own = torch.einsum("nf,nf->n", x, x)  # without a second array of that size
            total += own
            for rows, place in ball.stripes():
                apart = (own[rows, None] + own).addmm_(x[rows], x.T, alpha=-2).clamp_(min=0)
                before = squared[place]
                squared[place] = torch.where(_lost(before), before - apart, before)
    for ball, total in zip(balls, norms, strict=True):
        for rows, place in ball.stripes():
            block = squared[place]
            lost = _lost(block)
            block = torch.where(lost, -block, block)
            corner = block[:, rows].tril()
            block[:, rows] = corner + corner.tril(-1).T
            block.masked_fill_(lost & (block < share * (total[rows, None] + total)), -0.0)
            squared[place] = block
            # Rows to come find their pairs with these settled: both triangles hold the same.
            squared[place[1].T, place[0].T] = block.T


def _differentiable_distances(x: torch.Tensor) -> torch.Tensor:
    """`squared_distances` of rows (n, f) float64 by operations that autograd follows, in the same rounds."""
    share = _lost_share(x.shape[1])
    centred = x - x[:1]
    squared, lost = _distances_about(centred - centred.mean(dim=0, keepdim=True), share)
    squared = squared.masked_fill(lost, 0.0)
    marks = torch.zeros_like(squared.detach()).masked_fill_(lost, -0.0)
    while balls := _balls(marks):
        for ball in balls:
            place = ball.samples[: ball.inner, None], ball.samples[None, :]
            apart, lost = _distances_about(x[ball.samples] - x[ball.samples[:1]], share)
            settled = _lost(marks[place]) & ~lost[: ball.inner]
            block = torch.where(settled, apart[: ball.inner], squared[place])
            marked = marks[place].masked_fill_(settled, 0.0)
            mirror = place[1].T, place[0].T
            marks[place], marks[mirror] = marked, marked.T
            squared = squared.index_put(place, block).index_put(mirror, block.T)
    return squared


def _distances_about(x: torch.Tensor, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distances of rows about a centre, (m, m), and which are lost there; symmetric, the diagonal 0."""
    gram = x @ x.T
    norms = gram.diagonal()
    sums = norms[:, None] + norms[None, :]
    other = ~torch.eye(len(x), dtype=torch.bool, device=x.device)
    squared = torch.where(other, (sums - (gram + gram.T)).clamp(min=0), 0.0)
    return squared, other & (squared < share * sums)


def hamming_distances(ids: torch.Tensor, kept: torch.Tensor | None = None) -> torch.Tensor:
    """Euclidean distances between one-hot codes of tokens, in which a masked position is the zero vector.

    A position adds 2 to the squared distance where both samples keep different tokens, 1 where only one of them
    keeps its token, otherwise nothing: the numbering of tokens and the amount of padding do not matter.

    Args:
        ids: Tokens, (n, positions…), any integer dtype.
        kept: Which positions count, (n, positions…) bool, or of its leading axes only; None keeps all.

    Returns:
        (n, n) float64 on the device of the tokens (on the CPU where the device has no float64).

    Raises:
        ValueError: The tokens are no integers, or the mask is not bool or does not fit them.
    """
    if ids.is_floating_point() or ids.is_complex() or ids.ndim < 2:
        raise ValueError(f"expected integer tokens (n, positions), got {ids.dtype} of shape {tuple(ids.shape)}")
    kept = torch.ones_like(ids, dtype=torch.bool) if kept is None else kept
    if kept.dtype != torch.bool or kept.shape != ids.shape[: kept.ndim]:
        raise ValueError(
            f"expected a bool mask for tokens of shape {tuple(ids.shape)}, got {kept.dtype} of {tuple(kept.shape)}"
        )
    kept = kept.reshape(kept.shape + (1,) * (ids.ndim - kept.ndim)).expand(ids.shape)
    ids, kept = (_rows(tensor) for tensor in (ids, kept))
    tokens = torch.unique(ids, return_inverse=True)[1].to(torch.int32)
    # Two numbers for what is masked, so that it equals nothing.
    left, right = (torch.where(kept, tokens, masked) for masked in (-1, -2))
    n, counts = len(ids), kept.sum(1).to(torch.float64)
    squared = counts[:, None] + counts
    rows = max(1, CHUNK_BYTES // max(ids.numel(), 1))
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        equal = (left[start:stop, None] == right[None, :stop]).sum(2)
        squared[start:stop, :stop] -= 2 * equal
        squared[:start, start:stop] = squared[start:stop, :start].T
    return squared.fill_diagonal_(0.0).sqrt_()


def gram_matrix(x: Array, sigma: float | None = None) -> Array:
    """Normalised Gram matrix of samples under the Gaussian kernel exp(−d² / (2σ²)).

    Args:
        x: Samples, (n, ...), NumPy array or tensor; the axes after the first are flattened, a complex value counts
            as two.
        sigma: Bandwidth σ > 0 in the units of x; None takes the median pairwise distance.

    Returns:
        (n, n) float64, trace 1, of the same kind as x.

    Raises:
        ValueError: x is no array of numbers, empty or not finite, σ is not positive and finite, or there is none
            given and the median distance is 0 or there is one sample only.

    Example:
        >>> gram = ip.gram_matrix(torch.randn(30, 1, 8, 8))
        >>> tuple(gram.shape), round(gram.trace().item(), 6)
        ((30, 30), 1.0)
    """
    tensor = as_tensor(x, "samples")
    if tensor.ndim == 0 or tensor.numel() == 0:
        raise ValueError(f"expected samples of shape (n, ...), got shape {tuple(tensor.shape)}")
    tensor = _rows(tensor).to(torch.float64)
    scale = tensor.detach().abs().max().item()
    if not math.isfinite(scale):
        raise ValueError("samples hold NaN or infinite values")
    # Working at unit scale keeps squares of 1e±300 in range.
    scale = scale or 1.0
    squared = squared_distances(tensor / scale)
    if sigma is None:
        if len(tensor) == 1:
            raise ValueError("one sample has no pairwise distances: give sigma, or more samples")
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


def as_tensor(values: object, what: str) -> torch.Tensor:
    """An array or a list as a tensor; of others one line says `what` was expected as an array of numbers."""
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError):
        kind = f"an array of {values.dtype}" if isinstance(values, np.ndarray) else type(values).__name__
        raise ValueError(f"expected {what} as a NumPy array or a tensor of numbers, got {kind}") from None


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


def square_gram(distances: torch.Tensor, sigma: float) -> torch.Tensor:
    """Normalised Gaussian Gram matrix from the distances of all pairs, in their place.

    Args:
        distances: Euclidean distances, (n, n) float64 on any device; used up.
        sigma: Bandwidth σ > 0 in the units of the distances.

    Returns:
        (n, n) float64, trace 1.
    """
    return distances.div_(sigma).square_().mul_(-0.5).exp_().div_(len(distances))


def constant_gram(n: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Normalised Gram matrix of samples that are all alike, 1/n everywhere: (n, n) float64."""
    return torch.full((n, n), 1 / n, dtype=torch.float64, device=device)


def multiply_kernel(gram: torch.Tensor, distances: NDArray, sigma: float, order: NDArray | None = None) -> None:
    """Multiplies a Gram matrix by a Gaussian kernel in place, entry by entry: no second (n, n) array on a CPU.

    From `constant_gram`, one variable gives its Gram matrix, and further ones the joint Gram matrix of them all.

    Args:
        gram: Symmetric matrix, (n, n) float64, on any device.
        distances: Euclidean distances, (n (n−1) / 2,), in the order of `scipy.spatial.distance.pdist`.
        sigma: Bandwidth σ > 0 in the units of the distances.
        order: Takes sample order[i] for sample i of the distances, (n,) int64; None takes them as they are.
    """
    n = len(gram)
    if gram.is_cuda:
        values = square_form(torch.from_numpy(distances).to(gram.device, torch.float64), n)
        if order is not None:
            places = torch.from_numpy(order).to(gram.device)
            values = values[places[:, None], places[None, :]]
        gram.mul_(values.div_(sigma).square_().mul_(-0.5).exp_())
        return
    for start in range(0, n, STRIPE_ROWS):
        stop = min(start + STRIPE_ROWS, n)
        if order is None:
            stripe = _stripe(distances, n, start, stop)
        else:
            stripe = _pairs(distances, n, order[start:stop], order[start:])
        values = torch.from_numpy(stripe).to(gram.device)
        values.div_(sigma).square_().mul_(-0.5).exp_()
        gram[start:stop, start:].mul_(values)
        gram[stop:, start:stop].mul_(values[:, stop - start :].T)


def square_form(condensed: torch.Tensor, n: int) -> torch.Tensor:
    """Distances of all pairs, (n, n), from condensed ones, (n (n−1) / 2,), on their device; 0 on the diagonal."""
    above = torch.ones(n, n, dtype=torch.bool, device=condensed.device).triu_(1)
    square = torch.zeros(n, n, dtype=condensed.dtype, device=condensed.device).masked_scatter_(above, condensed)
    return square.add_(square.mT.clone())


def exponents(distances: NDArray, sigma: float, order: NDArray | None = None, dtype: str = "float64") -> NDArray:
    """d² / (2σ²), of which a Gaussian kernel is the exponential: a product of kernels is that of their sum.

    Args:
        distances: Euclidean distances, (n (n−1) / 2,), in the order of `scipy.spatial.distance.pdist`.
        sigma: Bandwidth σ > 0 in the units of the distances.
        order: Takes sample order[i] for sample i, (n,) int64; None takes them as they are.
        dtype: "float64" or "float32".

    Returns:
        (n (n−1) / 2,) of that dtype.
    """
    n = samples(distances)
    if order is None:
        return np.square((distances / (math.sqrt(2) * sigma)).astype(dtype, copy=False))
    found, first = np.empty(len(distances), dtype), 0
    for start in range(0, n, STRIPE_ROWS):
        stripe = _pairs(distances, n, order[start : start + STRIPE_ROWS], order[start:])
        part = np.concatenate([row[number + 1 :] for number, row in enumerate(stripe)])
        found[first : first + len(part)] = np.square(part / (math.sqrt(2) * sigma))
        first += len(part)
    return found


def exponent_gram(values: NDArray, device: torch.device | str = "cpu") -> torch.Tensor:
    """Normalised Gram matrix of exp(−v), (n, n) in the precision of the condensed exponents v; these are lost."""
    n = samples(values)
    kernel = torch.from_numpy(values).neg_().exp_().div_(n).numpy()
    return torch.from_numpy(squareform(kernel)).fill_diagonal_(1 / n).to(device)


def _stripe(distances: NDArray, n: int, start: int, stop: int) -> NDArray:
    """Distances of the samples start … stop to these and all later ones, (stop − start, n − start) float64."""
    if stop - start == n:
        return squareform(distances).astype(np.float64, copy=False)
    stripe = np.zeros((stop - start, n - start))
    first = start * n - start * (start + 1) // 2
    for row, count in enumerate(range(n - start - 1, n - stop - 1, -1)):
        stripe[row, row + 1 :] = distances[first : first + count]
        first += count
    corner = stripe[:, : stop - start]
    corner += corner.T.copy()
    return stripe


def _pairs(distances: NDArray, n: int, rows: NDArray, columns: NDArray) -> NDArray:
    """Distances of some samples to others, (rows, columns) float64, from condensed ones."""
    small, large = np.minimum(rows[:, None], columns), np.maximum(rows[:, None], columns)
    # Before the pairs of a sample with later ones stand those of all samples before it.
    places = (n * small - small * (small + 1) // 2 - small - 1) + large
    same = small == large
    places[same] = 0
    values = distances[places].astype(np.float64, copy=False)
    values[same] = 0.0
    return np.asarray(values)


def label_gram(labels: Array) -> Array:
    """Normalised Gram matrix of labels under the delta kernel (1 where labels agree).

    Args:
        labels: Class labels, (n,), NumPy array (of strings too) or tensor.

    Returns:
        (n, n) float64, trace 1, of the same kind as the labels.

    Raises:
        ValueError: These are no labels of an array.

    Example:
        >>> classes = ip.label_gram(np.array(["cat", "dog", "cat", "dog"]))
        >>> round(float(ip.renyi_entropy(classes, alpha=1.0)), 6)  # one bit tells two equal classes apart
        1.0
    """
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "OSU":
        labels = np.unique(labels, return_inverse=True)[1]
    tensor = as_tensor(labels, "labels")
    if tensor.ndim != 1 or not len(tensor):
        raise ValueError(f"expected class labels of shape (n,), got shape {tuple(tensor.shape)}")
    gram = (tensor[:, None] == tensor[None, :]).to(torch.float64) / len(tensor)
    return gram if isinstance(labels, torch.Tensor) else gram.numpy()


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

    @classmethod
    def of(cls, rule: Bandwidth | str) -> Bandwidth:
        """The rule itself, or what its text says.

        Raises:
            InfoplaneError: It is neither, or as for `parse`.
        """
        if isinstance(rule, Bandwidth | str):
            return rule if isinstance(rule, Bandwidth) else cls.parse(rule)
        raise InfoplaneError(f"a bandwidth is a rule such as 'median:1' or 'fixed:0.5', got {rule!r}")

    def __str__(self) -> str:
        return f"{self.rule}:{int(self.value) if self.value.is_integer() else repr(self.value)}"

    def sigma(self, distances: NDArray | torch.Tensor, features: int = 1, labels: NDArray | None = None) -> float:
        """The bandwidth of one layer at one snapshot, before any averaging over snapshots.

        Args:
            distances: Euclidean distances: condensed, (n (n−1) / 2,), or a tensor of all pairs, (n, n) float64, on
                the device of which the rule is applied (`alignment`: on the CPU).
            features: Number of features d of the layer (for `silverman`); 0 where it is not known.
            labels: Class labels, (n,) (for `alignment`).

        Returns:
            σ in the units of the distances; 0 where the rule finds none (more than half of the pairs are
            repeated samples under `median`, say).

        Raises:
            InfoplaneError: `knn` with fewer than k other samples; `silverman` where d is not known.
        """
        if self.rule == "fixed":
            return self.value
        if isinstance(distances, torch.Tensor):
            n = len(distances)
        else:
            n, distances = samples(distances), distances.astype(np.float64, copy=False)
        if self.rule == "median":
            return self.value * median_distance(distances)
        if self.rule == "silverman":
            if features == 0:
                raise InfoplaneError(
                    "this run file does not say how many features an input has, which silverman needs: "
                    "give another --input-bandwidth, such as median:1"
                )
            # Twice the summed variance of the features is the mean squared distance over all n² pairs.
            if isinstance(distances, torch.Tensor):
                rms = float(torch.linalg.vector_norm(distances)) / (math.sqrt(2) * n)
            else:
                rms = math.sqrt(float(np.square(distances).sum()) / n**2)
            return self.value * rms * n ** (-1 / (4 + features))
        if self.rule == "knn":
            if self.value >= n:
                raise InfoplaneError(f"bandwidth {self} needs more than {self.value:g} samples, the probe has {n}")
            return _nearest(distances, int(self.value))
        if labels is None:
            raise InfoplaneError("the alignment bandwidth needs class labels")
        if isinstance(distances, torch.Tensor):
            distances = condense(distances.cpu().numpy())
        return _aligned(distances, labels)


def median_distance(distances: NDArray | torch.Tensor) -> float:
    """The median distance of pairs, in a fifth of the time of `np.median`: few distances are put in order.

    Args:
        distances: Condensed, (n (n−1) / 2,) float64; or those of all pairs as a tensor, (n, n) on any device.
    """
    if isinstance(distances, torch.Tensor):
        n = len(distances)
        # Each pair stands twice there, and each sample with itself, at 0, before them.
        pairs, before, times = n * (n - 1) // 2, n, 2
    else:
        pairs, before, times = len(distances), 0, 1
    if not pairs:
        return math.nan
    ranks = before + times * ((pairs - 1) // 2), before + times * (pairs // 2)
    if isinstance(distances, torch.Tensor):
        values = _of_ranks(distances.reshape(-1), *ranks, lambda values: values.sort().values)
    else:
        values = _of_ranks(distances, *ranks, np.sort)
    return sum(values) / 2


def _of_ranks(values: Array, first: int, last: int, ordered: Callable[[Array], Array]) -> tuple[float, float]:
    """The values of two neighbouring ranks from 0 on, of (m,) values."""
    # An odd stride does not stay in some columns of a matrix.
    sample = ordered(values[:: len(values) // _SAMPLED | 1])
    before, after = (
        round((rank / len(values) + side) * len(sample)) for rank, side in ((first, -_ASIDE), (last, _ASIDE))
    )
    low, high = sample[max(before, 0)], sample[min(after, len(sample) - 1)]
    below = int((values < low).sum())
    inside = values[(values >= low) & (values <= high)]
    if not below <= first <= last < below + len(inside):
        below, inside = 0, values
    inside = ordered(inside)
    return float(inside[first - below]), float(inside[last - below])


def _nearest(distances: NDArray | torch.Tensor, k: int) -> float:
    if isinstance(distances, torch.Tensor):
        # The nearest to a sample is itself, at 0.
        return float(distances.topk(k + 1, largest=False).values.sum()) / (len(distances) * k)
    square = squareform(distances)
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
