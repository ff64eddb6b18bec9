"""Nearest-neighbour estimates: I(X;T) after Kraskov et al., I(T;Y) after Ross, in bits.

Kraskov, Stögbauer and Grassberger, "Estimating mutual information", Physical Review E 69, 066138, 2004, eq. 8:
    I(X;T) = ψ(k) + ψ(n) − ⟨ψ(n_x + 1) + ψ(n_t + 1)⟩
with the maximum norm over (X, T) and the Euclidean norm within each; Ross, "Mutual information between discrete
and continuous data sets", PLoS ONE 9(2), e87357, 2014:
    I(T;Y) = ψ(n) − ⟨ψ(n_y)⟩ + ψ(k) − ⟨ψ(m)⟩.
Both need distances only (scikit-learn's versions take one-dimensional variables). X and T are divided by their
median distances first. Samples that repeat (distance 0 to the k-th neighbour) are counted as discrete ones, as by
Gao et al., NeurIPS 2017. Slightly negative values are estimates of 0 and are not clipped.

**Saturation.** The estimator cannot exceed ψ(n) − ψ(k) for I(X;T), about log2(n/k) bits, while the true value of a
deterministic network is infinite or huge: a strongly dependent layer shows the limit. In high dimension
neighbourhoods are so wide that it is biased low instead. I(T;Y) cannot exceed about H(Y), reached where classes are
further apart than neighbours, but permuted labels stay near 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import squareform
from scipy.special import digamma

from infoplane.errors import InfoplaneError
from infoplane.estimators.base import EstimatorSettings, LayerEstimator, LayerView, input_entropy
from infoplane.runfile import Probe, Run

LN2 = float(np.log(2))


@dataclass(frozen=True)
class KsgSettings(EstimatorSettings):
    """Settings of the nearest-neighbour estimator.

    Attributes:
        neighbours: k, the number of neighbours; fewer mean less bias and more noise.
    """

    name = "ksg"
    neighbours: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neighbours < 1:
            raise InfoplaneError(
                f"the nearest-neighbour estimator needs at least 1 neighbour, got {self.neighbours}"
            )

    def options(self, run: Run) -> dict[str, Any]:
        """The number of neighbours."""
        return {"neighbours": self.neighbours}

    def prepare(self, probe: Probe, source: Path) -> LayerEstimator:
        """The estimator for one probe."""
        return Ksg(probe, self, source)


class Ksg(LayerEstimator):
    """Counts neighbours."""

    def __init__(self, probe: Probe, settings: KsgSettings, source: Path) -> None:
        super().__init__(probe, settings)
        self.k = settings.neighbours
        n = len(self.labels)
        if self.k >= n:
            raise InfoplaneError(f"{source}: {self.k} neighbours need more than {self.k} samples, there are {n}")
        self.inputs = _scaled(squareform(probe.distances))
        self.entropy_x = input_entropy(probe.distances)
        self.limit_x = float(digamma(n) - digamma(self.k)) / LN2

    def shared(self) -> dict[str, float]:
        """The limits of the two informations."""
        limits = {"limit_XT": self.limit_x, "limit_TY": self.entropy_y}
        return {"S_X": self.entropy_x, "S_Y": self.entropy_y, **limits}

    def measure(self, view: LayerView, told: Any) -> dict[str, Any]:
        """One layer."""
        layer = _scaled(view.square)
        return self.row(
            i_xt=ksg_information(self.inputs, layer, self.k),
            i_ty=lambda labels: ross_information(layer, labels, self.k),
        )


def _scaled(square: NDArray) -> NDArray:
    """Distances in units of their median over different samples."""
    positive = square[square > 0]
    return square / np.median(positive) if len(positive) else square


def ksg_information(x: NDArray, t: NDArray, k: int) -> float:
    """Mutual information of two continuous variables (first algorithm of Kraskov et al., 2004).

    Args:
        x: Distances between the samples of one variable, (n, n).
        t: Distances between those of the other, (n, n).
        k: Number of neighbours, below n.

    Returns:
        Bits.
    """
    joint = np.maximum(x, t)
    # The sample itself comes first, at distance 0.
    radius = np.partition(joint, k, axis=1)[:, k]
    # With the sample itself, so that these are n_x + 1 and n_t + 1.
    inside_x, inside_t = _inside(x, radius), _inside(t, radius)
    count = np.where(radius > 0, k, (joint == 0).sum(axis=1))
    terms = digamma(count) - digamma(inside_x) - digamma(inside_t)
    return float(digamma(len(x)) + terms.mean()) / LN2


def ross_information(t: NDArray, labels: NDArray, k: int) -> float:
    """Mutual information of a continuous variable and labels (Ross, 2014).

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
    radius, count = np.empty(len(labels)), np.empty(len(labels))
    for name in range(len(names)):
        members = np.flatnonzero(classes == name)
        within = t[np.ix_(members, members)]
        nearest = min(k, len(members) - 1)
        radius[members] = np.partition(within, nearest, axis=1)[:, nearest]
        count[members] = np.where(radius[members] > 0, nearest, (within == 0).sum(axis=1))
    terms = digamma(count) - digamma(sizes[classes]) - digamma(_inside(t, radius))
    return float(digamma(len(t)) + terms.mean()) / LN2


def _inside(distances: NDArray, radius: NDArray) -> NDArray:
    """How many samples stand nearer to each than its radius, itself among them; repeated ones at radius 0."""
    return (distances < np.where(radius > 0, radius, np.finfo(float).tiny)[:, None]).sum(axis=1)
