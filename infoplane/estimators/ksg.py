"""Nearest-neighbour estimates: I(X;T) after Kraskov et al., I(T;Y) after Ross, in bits.

Kraskov, Stögbauer and Grassberger, "Estimating mutual information", Physical Review E 69, 066138, 2004, eq. 8:
    I(X;T) = ψ(k) + ψ(n) − ⟨ψ(n_x + 1) + ψ(n_t + 1)⟩
with the maximum norm over (X, T) and the Euclidean norm within each; Ross, "Mutual information between discrete
and continuous data sets", PLoS ONE 9(2), e87357, 2014:
    I(T;Y) = ψ(n) − ⟨ψ(n_y)⟩ + ψ(k) − ⟨ψ(m)⟩.
Both need distances only (scikit-learn's versions take one-dimensional variables). X and T are divided by their
median distances first. Slightly negative values are estimates of 0 and are not clipped. A continuous Y stands in
the place of X: I(T;Y) is then eq. 8 as well.

**Ties.** The formulas are for variables of which no two distances are equal. Whole numbers, bits, rows of zeros
behind a ReLU and repeated samples have ties, and a neighbour count that stops short of them is too small: without
care, independent variables seem to share a bit. So each variable is thought to have one more coordinate, of
independent noise that is infinitely small beside every distance: it orders what is tied at the radius of a sample
and touches nothing else, so that samples without ties keep their value to the last bit. Then independent variables
stay near 0, and discrete ones give about their plug-in information, with a little more variance than counting has.
The noise is the same in every call.

**Saturation.** The estimator cannot exceed ψ(n) − ψ(k) for I(X;T), about log2(n/k) bits, while the true value of a
deterministic network is infinite or huge: a strongly dependent layer shows the limit. Where inputs repeat, H(X) of
the distinct ones may be below that, and the same is true of the values of a continuous Y. In high dimension
neighbourhoods are so wide that it is biased low instead. I(T;Y) cannot exceed about H(Y), reached where classes are
further apart than neighbours, but permuted labels stay near 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import squareform
from scipy.special import digamma

from infoplane.errors import InfoplaneError
from infoplane.estimators.base import EstimatorSettings, LayerEstimator, LayerView, input_entropy
from infoplane.estimators.registry import default
from infoplane.runfile import Probe, Run

LN2 = float(np.log(2))
_TIE_SEED, _TIE_DRAWS = 0, 4  # a mean over draws, as one adds a few hundredths of a bit of noise


@dataclass(frozen=True)
class KsgSettings(EstimatorSettings):
    """Settings of the nearest-neighbour estimator.

    Attributes:
        neighbours: k, the number of neighbours; fewer mean less bias and more noise.
    """

    name = "ksg"
    neighbours: int = default("neighbours")

    def options(self, run: Run) -> dict[str, Any]:
        """The number of neighbours."""
        return {"neighbours": self.neighbours}

    def prepare(self, probe: Probe, source: Path) -> LayerEstimator:
        """The estimator for one probe."""
        return Ksg(probe, self, source)


class Ksg(LayerEstimator):
    """Counts neighbours."""

    def __init__(self, probe: Probe, settings: KsgSettings, source: Path) -> None:
        super().__init__(probe, settings, source)
        self.k = settings.neighbours
        if self.k >= self.n:
            raise InfoplaneError(
                f"{source}: {self.k} neighbours need more than {self.k} samples, there are {self.n}"
            )
        self.inputs = _scaled(squareform(probe.distances))
        self.values = None if self.target.discrete else _scaled(squareform(self.target_distances()))
        self.entropy_x = input_entropy(probe.distances)
        self.limit = float(digamma(self.n) - digamma(self.k)) / LN2

    def shared(self) -> dict[str, float]:
        """The limits of the two informations."""
        of_y = self.entropy_y if self.values is None else min(self.limit, self.entropy_y)
        limits = {"limit_XT": min(self.limit, self.entropy_x), "limit_TY": of_y}
        return {"S_X": self.entropy_x, "S_Y": self.entropy_y, **limits}

    def measure(self, view: LayerView, told: Any) -> dict[str, Any]:
        """One layer."""
        layer = _scaled(view.square)

        def i_xt(order: NDArray) -> float:
            return ksg_information(self.inputs[np.ix_(order, order)], layer, self.k)

        def i_ty(order: NDArray) -> float:
            if self.values is None:
                return ross_information(layer, self.target.classes[order], self.k)
            if not self.values.any():
                return 0.0  # a batch in which Y does not vary, of which ties would be all that is counted
            return ksg_information(layer, self.values[np.ix_(order, order)], self.k)

        return self.row(i_xt=i_xt, i_ty=i_ty)


def _scaled(square: NDArray) -> NDArray:
    """Distances in units of their median over different samples."""
    positive = square[square > 0]
    return square / np.median(positive) if len(positive) else square


def ksg_information(x: NDArray, t: NDArray, k: int) -> float:
    """Mutual information of two continuous variables (first algorithm of Kraskov et al., 2004), ties broken.

    Args:
        x: Distances between the samples of one variable, (n, n).
        t: Distances between those of the other, (n, n).
        k: Number of neighbours, below n.

    Returns:
        Bits.
    """
    # The sample itself comes first, at distance 0.
    radius = np.partition(np.maximum(x, t), k, axis=1)[:, k]
    # With the sample itself, so that these are n_x + 1 and n_t + 1.
    terms = digamma(_inside(x, radius)) + digamma(_inside(t, radius))
    rows = np.flatnonzero(_tied(x, radius) | _tied(t, radius))
    if len(rows):
        pairs = zip(_places(x, radius, rows, seed=0), _places(t, radius, rows, seed=1), strict=True)
        terms[rows] = np.mean([_tied_terms(*places, k) for places in pairs], axis=0)
    return float(digamma(k) + digamma(len(x)) - terms.mean()) / LN2


def _tied_terms(x: NDArray, t: NDArray, k: int) -> NDArray:
    """ψ(n_x + 1) + ψ(n_t + 1) of some samples, (m,), around which all others have places, (m, n)."""
    nearest = np.partition(np.maximum(x, t), k, axis=1)[:, k]
    return np.asarray(digamma(_inside(x, nearest)) + digamma(_inside(t, nearest)))


def ross_information(t: NDArray, labels: NDArray, k: int) -> float:
    """Mutual information of a continuous variable and labels (Ross, 2014), ties broken.

    Args:
        t: Distances between the samples, (n, n).
        labels: Class labels, (n,). Classes of one sample are left out.
        k: Number of neighbours; in a class of fewer others, all of these.

    Returns:
        Bits.
    """
    names, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    kept = sizes[classes] > 1
    if not kept.any():
        return 0.0
    if not kept.all():
        return ross_information(t[np.ix_(kept, kept)], labels[kept], k)
    radius, count = np.empty(len(labels)), np.minimum(k, sizes - 1)[classes]
    for name in range(len(names)):
        members = np.flatnonzero(classes == name)
        nearest = count[members[0]]
        radius[members] = np.partition(t[np.ix_(members, members)], nearest, axis=1)[:, nearest]
    inside = digamma(_inside(t, radius))
    rows = np.flatnonzero(_tied(t, radius))
    if len(rows):
        others = classes[rows, None] != classes
        found = [_tied_term(places, others, count[rows]) for places in _places(t, radius, rows, seed=0)]
        inside[rows] = np.mean(found, axis=0)
    terms = digamma(count) - digamma(sizes[classes]) - inside
    return float(digamma(len(t)) + terms.mean()) / LN2


def _tied_term(places: NDArray, others: NDArray, count: NDArray) -> NDArray:
    """ψ(m) of some samples, (m,).

    Args:
        places: Of all samples around them, (m, n).
        others: Which of them are of another class, (m, n).
        count: Number of neighbours within the class, (m,).
    """
    own = np.sort(np.where(others, np.inf, places), axis=1)
    return np.asarray(digamma(_inside(places, own[np.arange(len(own)), count])))


def _inside(distances: NDArray, radius: NDArray) -> NDArray:
    """How many samples stand nearer to each than its radius, itself among them."""
    return (distances < radius[:, None]).sum(axis=1)


def _tied(distances: NDArray, radius: NDArray) -> NDArray:
    """Whether several samples stand at just the radius of each, so that their order decides the count."""
    return (distances == radius[:, None]).sum(axis=1) > 1


def _places(distances: NDArray, radius: NDArray, rows: NDArray, seed: int) -> Iterator[NDArray]:
    """Where the samples stand around those of some rows, as seen from the radius, for each draw of the noise.

    Args:
        distances: (n, n).
        radius: Of each sample, (n,).
        rows: Samples around which to look, (m,).
        seed: Of the noise that orders what is tied: another for each variable, as it must be independent.

    Yields:
        (m, n): −1 for the sample itself and for those nearer than the radius, between 0 and 1 at the radius, in the
        order of the noise, and ∞ beyond.
    """
    near, edge = distances[rows], radius[rows, None]
    outside = np.where(near < edge, -1.0, np.inf)
    outside[np.arange(len(rows)), rows] = -1.0
    tied = near == edge
    tied[np.arange(len(rows)), rows] = False
    for noise in np.random.default_rng([_TIE_SEED, seed]).random((_TIE_DRAWS, len(distances))):
        yield np.where(tied, np.abs(noise[rows, None] - noise), outside)
