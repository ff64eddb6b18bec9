"""Bounds on I(X;T) and I(T;Y) from pairwise distances, for a layer with Gaussian noise added, in bits.

Kolchinsky and Tracey, "Estimating mixture entropy with pairwise distances", Entropy 19(7), 2017, eqs. 10 and 13;
used for networks by Saxe et al., "On the information bottleneck theory of deep learning", ICLR 2018. With noise of
variance s on every unit, T + ε is a mixture of n Gaussians, and with a_ij = ‖t_i − t_j‖²
    upper (Kullback–Leibler):   I(X;T) ≤ −1/n Σ_i log2 1/n Σ_j exp(−a_ij / 2s)
    lower (Bhattacharyya):      I(X;T) ≥ −1/n Σ_i log2 1/n Σ_j exp(−a_ij / 8s)
for X uniform over the probe; I(T;Y) is the same bound of H(T) less that of each class, Σ_y p(y) H(T|y) (a
difference of two bounds, thus itself none). The number of neurons cancels, so distances are enough.

**No null of I(X;T).** It is the entropy of the noisy layer less that of the noise, by determinism: no pairing of
inputs and activations enters, so that a permuted one gives the same value (`I_XT_null` is empty). I(T;Y) has its
permuted null.

**Saturation.** Where the distances are far above the noise (wide or unbounded layers), both values are at log2 n
and H(Y) for any labels; far below it, at 0. The noise is not in the network: it is a resolution that the user
chooses. A variance is in the layer's own units, so that a layer which merely grows moves to the right; a rule such
as `median:0.2` sets the noise in proportion to the layer and takes growth out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infoplane.errors import InfoplaneError
from infoplane.estimators.base import (
    EstimatorSettings,
    LayerEstimator,
    LayerView,
    input_entropy,
    one_hot,
)
from infoplane.estimators.registry import default
from infoplane.kernels import Bandwidth
from infoplane.runfile import Probe, Run

UPPER, LOWER = 2.0, 8.0


@dataclass(frozen=True)
class KdeSettings(EstimatorSettings):
    """Settings of the upper bound.

    Attributes:
        noise: The noise variance, such as "0.1", or a bandwidth rule for its standard deviation, "median:0.2".
    """

    name = "kde"
    takes_values = False
    noise: str = default("noise")

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_noise(self.noise)

    def options(self, run: Run) -> dict[str, Any]:
        """The noise."""
        return {"noise": str(parse_noise(self.noise))}

    def pairings_of_input(self, n: int) -> int:
        """None: no pairing of inputs and activations enters."""
        return 0

    def prepare(self, probe: Probe, source: Path) -> LayerEstimator:
        """The estimator for one probe."""
        return Kde(probe, self, source, UPPER)


@dataclass(frozen=True)
class KdeLowerSettings(KdeSettings):
    """Settings of the lower bound; as those of the upper one."""

    name = "kde-lower"

    def prepare(self, probe: Probe, source: Path) -> LayerEstimator:
        """The estimator for one probe."""
        return Kde(probe, self, source, LOWER)


class Kde(LayerEstimator):
    """A bound from pairwise distances; `sigma_T` in its rows is the standard deviation of the noise."""

    def __init__(self, probe: Probe, settings: KdeSettings, source: Path, divisor: float) -> None:
        super().__init__(probe, settings, source)
        self.noise = parse_noise(settings.noise)
        self.divisor = divisor
        self.entropy_x = input_entropy(probe.distances)

    def shared(self) -> dict[str, float]:
        """H(X) and H(Y) are also the limits of the two informations."""
        limits = {"limit_XT": self.entropy_x, "limit_TY": self.entropy_y}
        return {"S_X": self.entropy_x, "S_Y": self.entropy_y, **limits}

    def measure(self, view: LayerView, told: Any) -> dict[str, Any]:
        """One layer."""
        sigma = self._sigma(view)
        if not sigma > 0:
            return self.row("no bandwidth")
        kernel = np.exp(-np.square(view.square / sigma) / self.divisor)
        whole, labels = mixture_information(kernel), self.target.classes

        def i_ty(order: NDArray) -> float:
            return whole - mixture_information(kernel, labels[order])

        return self.row(i_xt=whole, i_ty=i_ty, sigma_T=sigma)

    def _sigma(self, view: LayerView) -> float:
        if isinstance(self.noise, float):
            return math.sqrt(self.noise)
        return self.noise.sigma(view.distances, view.features, self.labels)


def parse_noise(text: str) -> float | Bandwidth:
    """Reads a variance ("0.1") or a bandwidth rule for the standard deviation ("median:0.2").

    Raises:
        InfoplaneError: Neither a positive number nor a rule.
    """
    try:
        variance = float(text)
    except ValueError:
        return Bandwidth.parse(text)
    if not (variance > 0 and math.isfinite(variance)):
        raise InfoplaneError(f"the noise variance must be positive and finite, got {text}")
    return variance


def mixture_information(kernel: NDArray, labels: NDArray | None = None) -> float:
    """What a sample of a mixture of n Gaussians tells of its component, as bounded by pairwise distances.

    Args:
        kernel: exp(−a_ij / 2s) for the upper bound, exp(−a_ij / 8s) for the lower, (n, n).
        labels: Mean over classes of the information within the class, Σ_y p(y) I(X;T|y), weighted; (n,).

    Returns:
        Bits, between 0 and log2 n.
    """
    if labels is None:
        return -float(np.log2(kernel.mean(axis=1)).mean())
    indicator, classes = one_hot(labels)
    # One product sums each row over every class at once.
    own = (kernel @ indicator)[np.arange(len(labels)), classes]
    return -float(np.log2(own / indicator.sum(axis=0)[classes]).mean())
