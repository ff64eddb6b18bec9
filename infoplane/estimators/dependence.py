"""HSIC, its normalised forms and CKA: how alike two kernels are. Dependence measures, **not bits**.

They stand in the columns of I(X;T) and I(T;Y) with `unit` = "dependence". K̃ = H K H is a centred kernel matrix.
    hsic        tr(K̃ L̃) / (n−1)²                               Gretton et al., ALT 2005 (biased)
    nhsic       tr(R_K R_L), R_K = K̃ (K̃ + ε n 1)⁻¹, ε = 1e-5      Ma, Lewis and Kleijn, AAAI 2020
    cka         tr(K̃ L̃) / (‖K̃‖ ‖L̃‖) of linear kernels            Kornblith et al., ICML 2019
    kernel-cka  the same of Gaussian kernels                    (as above)
Gaussian kernels exp(−d²/2σ²) take `bandwidth` for the layer, at each snapshot, and `input_bandwidth` for X; the
labels have the delta kernel, a continuous Y a Gaussian one with `target_bandwidth` (for cka a linear one). All of
it needs distances only (the centred linear kernel is −½ H D² H).

**Saturation.** CKA lies between 0 and 1, and 1 is no failure: the two are alike up to rotation and scale. With few
samples and many features the biased forms are large for independent variables too (with kernels narrower than the
distances between samples, K is the identity, K̃ = H and any two are alike): compare with the permuted nulls. nHSIC
tends to the smaller rank of the two kernels when ε is small: it counts dimensions rather than bits. HSIC has the
scale of its kernels, thus no meaningful zero-to-one range; compare it over layers only under the same rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.distance import squareform

from infoplane.estimators.base import DEPENDENCE, EstimatorSettings, InOrder, LayerEstimator, LayerView, one_hot
from infoplane.estimators.gaussian import centred
from infoplane.estimators.nulls import is_permutation
from infoplane.estimators.registry import default
from infoplane.kernels import Bandwidth
from infoplane.runfile import Probe, Run
from infoplane.runfile.schema import CONSTANT

EPSILON = 1e-5
Map = Callable[[NDArray], NDArray]


@dataclass(frozen=True)
class Variable:
    """The kernel of X or of a continuous Y.

    Attributes:
        mapped: f(K̃), (n, n).
        centred: K̃, (n, n).
        prepared: The map f.
    """

    mapped: NDArray
    centred: NDArray
    prepared: Map

    def __call__(self, order: NDArray) -> NDArray:
        """f(K̃) of the samples in some order."""
        if is_permutation(order):
            return self.mapped[np.ix_(order, order)]
        # With other samples in it the kernel has another mean.
        return self.prepared(centred(self.centred[np.ix_(order, order)]))


@dataclass(frozen=True)
class CkaSettings(EstimatorSettings):
    """Linear CKA has no settings of its own."""

    name = "cka"
    unit = DEPENDENCE

    def prepare(self, probe: Probe, source: Path) -> LayerEstimator:
        """The estimator for one probe."""
        return Dependence(probe, self, source, aligned)


@dataclass(frozen=True)
class KernelSettings(EstimatorSettings):
    """Settings of the measures with Gaussian kernels.

    Attributes:
        bandwidth: Rule for the layers, applied at each snapshot.
        input_bandwidth: Rule for the input X.
        target_bandwidth: Rule for a continuous Y.
    """

    unit = DEPENDENCE
    bandwidth: Bandwidth = field(default=Bandwidth.parse(default("bandwidth")))
    input_bandwidth: Bandwidth = field(default=Bandwidth.parse(default("bandwidth")))
    target_bandwidth: Bandwidth = field(default=Bandwidth.parse(default("target_bandwidth")))

    def options(self, run: Run) -> dict[str, Any]:
        """The rules; that of Y where it has one."""
        rules = {"bandwidth": str(self.bandwidth), "input_bandwidth": str(self.input_bandwidth)}
        return rules | self.target_columns(run, self.target_bandwidth)


@dataclass(frozen=True)
class HsicSettings(KernelSettings):
    """Settings of HSIC."""

    name = "hsic"

    def prepare(self, probe: Probe, source: Path) -> LayerEstimator:
        """The estimator for one probe."""
        return Dependence(probe, self, source, unscaled)


@dataclass(frozen=True)
class NhsicSettings(KernelSettings):
    """Settings of the normalised HSIC."""

    name = "nhsic"

    def prepare(self, probe: Probe, source: Path) -> LayerEstimator:
        """The estimator for one probe."""
        return Dependence(probe, self, source, whitened)


@dataclass(frozen=True)
class KernelCkaSettings(KernelSettings):
    """Settings of CKA with Gaussian kernels."""

    name = "kernel-cka"

    def prepare(self, probe: Probe, source: Path) -> LayerEstimator:
        """The estimator for one probe."""
        return Dependence(probe, self, source, aligned)


class Dependence(LayerEstimator):
    """Inner products ⟨f(K̃), f(L̃)⟩ of centred kernels.

    Args:
        probe: The probe, or a batch of it.
        settings: The settings; with bandwidths the kernels are Gaussian, otherwise linear.
        source: The run file, for messages.
        prepared: The map f, which makes HSIC, nHSIC or CKA of the inner product.
    """

    def __init__(self, probe: Probe, settings: CkaSettings | KernelSettings, source: Path, prepared: Map) -> None:
        super().__init__(probe, settings, source)
        self.prepared = prepared
        self.bandwidth, self.sigma_x = None, math.nan
        if isinstance(settings, KernelSettings):
            self.bandwidth = settings.bandwidth
            self.sigma_x = settings.input_bandwidth.sigma(probe.distances, probe.features, self.labels)
        self.inputs = self._variable(squareform(probe.distances), self.sigma_x)
        if self.labels is not None:
            self.classes = np.unique(self.labels)
            self.pairs = class_pairs(self.labels, prepared, self.classes)
            self._pairs_of_orders: dict[bytes, NDArray] = {}
            return
        distances, sigma = self.target_distances(), math.nan
        if isinstance(settings, KernelSettings):
            sigma = self.target_sigma(distances, settings.target_bandwidth, source)
        self.values = self._variable(squareform(distances), sigma)

    def shared(self) -> dict[str, float]:
        """The bandwidth of X; entropies have no place here."""
        return {"sigma_X": self.sigma_x}

    def measure(self, view: LayerView, told: Any) -> dict[str, Any]:
        """One layer."""
        sigma = math.nan
        if self.bandwidth is not None:
            sigma = self.bandwidth.sigma(view.distances, view.features, self.labels)
        found = self._kernel(view.square, sigma)
        if found is None or self.inputs is None:
            return self.row("no bandwidth" if self.bandwidth else CONSTANT)
        kernel, inputs = self.prepared(found), self.inputs

        def i_xt(order: NDArray) -> float:
            return float(np.vdot(inputs(order), kernel))

        return self.row(i_xt=i_xt, i_ty=self._with_target(kernel), sigma_T=sigma)

    def _with_target(self, kernel: NDArray) -> InOrder:
        """The inner product of a layer's kernel and that of Y; 0 where Y does not vary."""
        if self.labels is not None:
            indicator, _ = one_hot(self.labels)
            return lambda order: float(np.vdot(self._pairs(order), indicator[order].T @ kernel @ indicator[order]))
        values = self.values
        return lambda order: 0.0 if values is None else float(np.vdot(values(order), kernel))

    def _pairs(self, order: NDArray) -> NDArray:
        """`class_pairs` of the labels in some order; other ones where the classes have other counts in it."""
        assert self.labels is not None
        if is_permutation(order):
            return self.pairs
        key = order.tobytes()
        if key not in self._pairs_of_orders:
            self._pairs_of_orders[key] = class_pairs(self.labels[order], self.prepared, self.classes)
        return self._pairs_of_orders[key]

    def _variable(self, square: NDArray, sigma: float) -> Variable | None:
        """The kernel of X or Y; None as for `_kernel`."""
        found = self._kernel(square, sigma)
        return None if found is None else Variable(self.prepared(found), found, self.prepared)

    def _kernel(self, square: NDArray, sigma: float) -> NDArray | None:
        """The centred kernel of a variable, (n, n); None where there is no bandwidth or nothing varies."""
        if self.bandwidth is not None:
            return centred(np.exp(-np.square(square / sigma) / 2)) if sigma > 0 else None
        return centred(-0.5 * np.square(square)) if square.any() else None


def class_pairs(labels: NDArray, prepared: Map, classes: NDArray) -> NDArray:
    """The map f of the centred delta kernel, which is one number for each pair of classes.

    It depends on the class counts alone, so that permuted labels have the same.

    Args:
        labels: Class labels, (n,).
        prepared: The map f.
        classes: The C classes; not all of them need occur among the labels.

    Returns:
        (C, C) float64, 0 where a class does not occur.
    """
    found, first = np.unique(labels, return_index=True)
    whole = prepared(centred((labels[:, None] == labels).astype(np.float64)))
    places = np.searchsorted(classes, found)
    pairs = np.zeros((len(classes), len(classes)))
    pairs[np.ix_(places, places)] = whole[np.ix_(first, first)]
    return pairs


def unscaled(kernel: NDArray) -> NDArray:
    """The map of HSIC: ⟨·,·⟩ becomes tr(K̃ L̃) / (n−1)²."""
    return kernel / (len(kernel) - 1)


def aligned(kernel: NDArray) -> NDArray:
    """The map of CKA: ⟨·,·⟩ becomes the cosine between the centred kernels."""
    norm = np.linalg.norm(kernel)
    return kernel / norm if norm > 0 else kernel


def whitened(kernel: NDArray) -> NDArray:
    """The map of nHSIC: K̃ (K̃ + ε n 1)⁻¹."""
    n = len(kernel)
    return np.asarray(cho_solve(cho_factor(kernel + EPSILON * n * np.eye(n)), kernel))
