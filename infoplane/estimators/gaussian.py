"""I(X;T) and I(T;Y) as if all variables were jointly Gaussian, in bits.

For Gaussian variables I(A;B) = ½ log2 (det Σ_A · det Σ_B / det Σ_AB) = −½ Σ log2(1 − ρ_i²) with the canonical
correlations ρ_i (Cover and Thomas, *Elements of Information Theory*, ch. 8). Covariances are shrunk towards a
multiple of the identity, after Ledoit and Wolf ("A well-conditioned estimator for large-dimensional covariance
matrices", Journal of Multivariate Analysis 88, 2004), by the share δ of ‖S‖² that is sampling error. They divide
that error by the distance of S from the multiple instead, which makes δ 1 for a layer whose features are alike and
uncorrelated: what is left of it then knows of nothing.

The labels enter as class means: I(T;Y) = ½ log2 (det Σ_T / det Σ_W) with the shrunk covariance Σ_T and the same
less the between-class part, Σ_W. X and T, and a continuous Y in the same way, are taken as coordinates recovered
from their distances (classical scaling), each scaled to mean variance 1, so that distances are enough and any
rotation, shift or scaling of a layer changes nothing. The null of I(X;T) pairs the coordinates of the layer with
those of other inputs.

**Saturation.** There is no limit of I(X;T) in theory; a noiseless linear layer has infinite information, and what
is shown is then the amount of shrinkage, which depends on n and on the number of features, be they few or many. It
sees linear dependence only. With more features than samples the values are mostly shrinkage: read them against the
null only. I(T;Y) of classes far apart passes H(Y), as no information does: such values are marked as saturated.
Where a covariance is singular but for rounding (a layer of two values which are those of Y), the status is
"infinite"; where one sample has more than half of a variable's variance, so that the covariance is that of this
sample, "outlier". A few such samples are not noticed, and draw the values towards 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpstrf
from scipy.spatial.distance import squareform

from infoplane.estimators.base import (
    EstimatorSettings,
    InOrder,
    LayerEstimator,
    LayerView,
    input_entropy,
    one_hot,
)
from infoplane.runfile import Probe
from infoplane.runfile.schema import CONSTANT

# Distances kept as float32 leave spurious coordinates of about this relative variance.
ROUNDING = 1e-6
_OUTLIER = 0.5  # share of the variance that one sample may have


@dataclass(frozen=True)
class GaussianSettings(EstimatorSettings):
    """The Gaussian estimator has no settings of its own."""

    name = "gaussian"

    def prepare(self, probe: Probe, source: Path) -> LayerEstimator:
        """The estimator for one probe."""
        return Gaussian(probe, self, source)


class Gaussian(LayerEstimator):
    """Compares determinants of covariances."""

    def __init__(self, probe: Probe, settings: GaussianSettings, source: Path) -> None:
        super().__init__(probe, settings, source)
        self.inputs = coordinates(squareform(probe.distances))
        self.values = None if self.target.discrete else coordinates(squareform(self.target_distances()))
        self.entropy_x = input_entropy(probe.distances)

    def shared(self) -> dict[str, float]:
        """H(X) and H(Y), of which that of classes is a limit, though the formula passes it."""
        limits = {} if self.labels is None else {"limit_TY": self.entropy_y}
        return {"S_X": self.entropy_x, "S_Y": self.entropy_y, **limits}

    def measure(self, view: LayerView, told: Any) -> dict[str, Any]:
        """One layer."""
        layer = coordinates(view.square)
        if not layer.size:
            return self.row(CONSTANT)
        if any(map(has_outlier, (layer, self.inputs, self.values))):
            return self.row("outlier")

        def i_xt(order: NDArray) -> float:
            return gaussian_information(_standardised(self.inputs[order]), layer)

        return self.row(i_xt=i_xt if self.inputs.size else math.nan, i_ty=self._with_target(layer))

    def _with_target(self, layer: NDArray) -> InOrder:
        """I(T;Y) of a layer (n, p) as a function of the order of Y; 0 where Y does not vary."""
        if self.values is None:
            labels, covariance = self.target.classes, shrunk_covariance(layer)
            whole = _log_det(covariance.matrix)
            return lambda order: whole - _log_det(covariance.within(layer, labels[order]))
        values = self.values
        return lambda order: gaussian_information(layer, _standardised(values[order])) if values.size else 0.0


@dataclass(frozen=True)
class Shrunk:
    """A shrunk covariance.

    Attributes:
        matrix: (1 − δ) S + δ tr(S)/p · 1, (p, p).
        shrinkage: δ, at least 0 and below 1.
    """

    matrix: NDArray
    shrinkage: float

    def within(self, x: NDArray, labels: NDArray) -> NDArray:
        """The same less the covariance of the class means, (p, p)."""
        indicator, _ = one_hot(labels)
        counts = indicator.sum(axis=0)
        means = indicator.T @ x / counts[:, None]
        between = (means * counts[:, None]).T @ means / len(x)
        return self.matrix - (1 - self.shrinkage) * between


def coordinates(square: NDArray) -> NDArray:
    """Coordinates with the given distances, up to scale and rotation: centred, of mean variance 1.

    Args:
        square: Euclidean distances, (n, n) float64.

    Returns:
        (n, p) with p ≤ n − 1 the dimension the samples span; p = 0 for repeated samples only.
    """
    gram = centred(-0.5 * np.square(square))
    tolerance = ROUNDING * max(gram.diagonal().max(), 0.0)
    # Pivoted Cholesky stops at the dimension of the samples: n p² instead of the n³ of eigenvectors.
    factor, pivots, rank, _ = dpstrf(gram, tol=tolerance, lower=1)
    points = np.empty((len(gram), rank))
    points[pivots - 1] = np.tril(factor)[:, :rank]
    return _standardised(points) if rank and points.any() else points[:, :0]


def _standardised(points: NDArray) -> NDArray:
    """Points (n, p) centred and scaled to mean variance 1, all features by one number."""
    centre = points - points.mean(axis=0)
    scale = np.sqrt(np.square(centre).mean()) if centre.size else 0.0
    return np.asarray(centre / scale if scale > 0 else centre)


def has_outlier(points: NDArray | None) -> bool:
    """Whether one sample has more than half of the variance of centred points, (n, p)."""
    norms = np.zeros(0) if points is None else np.square(points).sum(axis=1)
    return bool(norms.any() and norms.max() > _OUTLIER * norms.sum())


def centred(matrix: NDArray) -> NDArray:
    """H M H with H = 1 − 11ᵀ/n, (n, n)."""
    rows = matrix - matrix.mean(axis=0)
    return rows - rows.mean(axis=1, keepdims=True)


def shrunk_covariance(x: NDArray) -> Shrunk:
    """Covariance S of centred samples (n, p), shrunk by the share δ of its ‖S‖² that is sampling error.

    δ is the best shrinkage towards 0 in the sense of Ledoit and Wolf (2004), with their estimate of the error,
    Σ_i ‖x_i x_iᵀ − S‖² / n². It is at most what they take towards a multiple of the identity.
    """
    matrix = x.T @ x / len(x)
    size = np.square(matrix).sum()
    error = (np.square(np.square(x).sum(axis=1)).mean() - size) / len(x)
    delta = float(np.clip(error / size, 0, 1)) if size > 0 else 0.0
    matrix *= 1 - delta
    matrix.flat[:: len(matrix) + 1] += delta * np.square(x).sum() / x.size
    return Shrunk(matrix, delta)


def gaussian_information(x: NDArray, t: NDArray) -> float:
    """Mutual information of two variables as if they were jointly Gaussian, from their shrunk joint covariance.

    Args:
        x: Centred samples, (n, p).
        t: Centred samples, (n, q).

    Returns:
        Bits; never negative; ∞ where one determines the other to rounding.
    """
    joint = shrunk_covariance(np.hstack([x, t])).matrix
    p = x.shape[1]
    return _log_det(joint[:p, :p]) + _log_det(joint[p:, p:]) - _log_det(joint)


def _log_det(matrix: NDArray) -> float:
    """½ log2 det of a covariance of coordinates of variance about 1; −∞ where it is singular but for rounding."""
    try:
        pivots = np.linalg.cholesky(matrix).diagonal()
    except np.linalg.LinAlgError:
        return -math.inf
    # A pivot is what the coordinates before it leave of a variance.
    return float(np.log2(pivots).sum()) if (np.square(pivots) > ROUNDING).all() else -math.inf
