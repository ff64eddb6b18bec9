"""I(X;T) and I(T;Y) by matrix-based Rényi entropies, exact, float64, in bits.

What depends on the run alone (the Gram matrix of X, S(X), S(Y), the permuted labels) is computed once per run;
joint entropies with the labels go by class blocks. See `infoplane.entropy` for the definitions.

**Saturation.** A bandwidth far below the distances makes every Gram matrix the identity: I(X;T) = log2 n and
I(T;Y) = H(Y) for any labels; one far above makes it constant, and everything 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from infoplane.entropy import class_entropy, class_joint_entropy, joint_entropy, renyi_entropy
from infoplane.errors import InfoplaneError
from infoplane.estimators import scopes
from infoplane.estimators.base import EstimatorSettings, Item, LayerEstimator, LayerView
from infoplane.kernels import Bandwidth, condense, distance_gram, squared_distances
from infoplane.runfile import Probe, Run


@dataclass(frozen=True)
class Settings(EstimatorSettings):
    """What decides the numbers, kept beside each of them.

    Attributes:
        alpha: Order α > 0; 1 is the von Neumann entropy.
        kernel: "tensor", one Gaussian over a whole layer, or "multivariate", the Hadamard product of one
            Gaussian per channel, each with its own bandwidth (needs recorded activations).
        bandwidth: Rule for the layers.
        scope: "snapshot", the rule applied at each snapshot; "final", the bandwidth of the last snapshot at all
            of them; "shared", one multiple of the median distance for all layers of a snapshot (the geometric
            mean of what the rule gives).
        input_bandwidth: Rule for the input X.
    """

    name = "renyi"
    alpha: float = 1.0
    kernel: str = "tensor"
    bandwidth: Bandwidth = field(default=Bandwidth("median", 1.0))
    scope: str = "snapshot"
    input_bandwidth: Bandwidth = field(default=Bandwidth("median", 1.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.alpha > 0 and math.isfinite(self.alpha)):
            raise InfoplaneError(f"alpha must be positive and finite, got {self.alpha}")
        if self.kernel == "multivariate" and (self.scope != "snapshot" or self.bandwidth.rule == "alignment"):
            raise InfoplaneError(
                "the multivariate kernel takes the median, knn, silverman and fixed rules, at each snapshot"
            )

    def options(self, run: Run) -> dict[str, Any]:
        """What decides the numbers, as columns of the estimates table."""
        # The final bandwidth of a run that went on is another one.
        scope = f"final:{run.snapshots[-1].step}" if self.scope == "final" else self.scope
        return {
            "alpha": self.alpha,
            "kernel": self.kernel,
            "bandwidth": str(self.bandwidth),
            "scope": scope,
            "input_bandwidth": str(self.input_bandwidth),
        }

    def prepare(self, probe: Probe, source: Path) -> LayerEstimator:
        """The estimator for one probe."""
        return RunEstimator(probe, self, source)

    def survey_items(self, items: Sequence[Item], layers: Sequence[str], snapshots: int) -> Iterable[Item]:
        """Where the bandwidth of a layer depends on other layers or snapshots, all those."""
        return scopes.needed(items, layers, snapshots, self.scope, self.bandwidth)

    def settle(self, found: dict[Item, Any], items: Sequence[Item]) -> dict[Item, Any]:
        """The bandwidth of every item, after the averaging that rule and scope ask for."""
        return scopes.settled(found, items, self.scope, self.bandwidth)


class RunEstimator(LayerEstimator):
    """Estimates the layers of one run; what all layers share is computed once.

    Args:
        probe: The probe, or a batch of it.
        settings: The settings.
        source: The run file, for messages.

    Raises:
        InfoplaneError: The rule finds no bandwidth for the inputs.
    """

    def __init__(self, probe: Probe, settings: Settings, source: Path) -> None:
        super().__init__(probe, settings)
        self.settings = settings
        self.sigma_x = settings.input_bandwidth.sigma(probe.distances, probe.features, self.labels)
        if self.sigma_x == 0:
            raise InfoplaneError(
                f"{source}: '{settings.input_bandwidth}' finds no bandwidth for the probe's inputs (more than "
                "half of them repeat); give one with --input-bandwidth fixed:NUMBER"
            )
        self.gram_x = distance_gram(probe.distances, self.sigma_x)
        self.entropy_x = float(renyi_entropy(self.gram_x, settings.alpha))
        self.entropy_y = class_entropy(self.labels, settings.alpha)

    def shared(self) -> dict[str, float]:
        """Bandwidth and entropies of X and Y, and the limits of the two informations."""
        limits = {"limit_XT": math.log2(len(self.labels)), "limit_TY": self.entropy_y}
        return {"sigma_X": self.sigma_x, "S_X": self.entropy_x, "S_Y": self.entropy_y, **limits}

    def survey(self, view: LayerView) -> tuple[float, float]:
        """Bandwidth of a layer by the rule alone, and its median distance.

        Returns:
            σ and the median pairwise distance; σ is NaN where the activations are not finite or constant, 0
            where the rule finds none.
        """
        if view.trouble:
            return math.nan, math.nan
        sigma = self.settings.bandwidth.sigma(view.distances, view.features, self.labels)
        return sigma, float(np.median(view.distances))

    def layer_gram(self, view: LayerView, told: Any = None) -> tuple[NDArray, float] | None:
        """Gram matrix of one layer at one snapshot, (n, n), and its bandwidth; None where the rule finds none.

        Args:
            view: The layer, of finite activations that are not constant.
            told: The bandwidth that `Settings.settle` gave for it; None applies the rule.
        """
        if self.settings.kernel == "multivariate":
            sigma, distances = 1.0, channel_distances(view.activations, self.settings.bandwidth)
        else:
            sigma, distances = self.survey(view)[0] if told is None else told, view.distances
        return None if distances is None or not sigma > 0 else (distance_gram(distances, sigma), sigma)

    def measure(self, view: LayerView, told: Any) -> dict[str, Any]:
        """Entropies and informations of one layer at one snapshot, under the bandwidth `told`, in bits."""
        found = self.layer_gram(view, told)
        if found is None:
            return self.row("no bandwidth")
        alpha, (gram, sigma) = self.settings.alpha, found
        s_t = float(renyi_entropy(gram, alpha))
        i_xt = self.entropy_x + s_t - float(joint_entropy(self.gram_x, gram, alpha=alpha))

        def i_ty(labels: NDArray) -> float:
            return self.entropy_y + s_t - class_joint_entropy(gram, labels, alpha)

        return self.row(i_xt=i_xt, i_ty=i_ty, S_T=s_t, sigma_T=sigma)


def channel_distances(activations: NDArray, bandwidth: Bandwidth) -> NDArray | None:
    """Distances under which one Gaussian of σ = 1 is the product of one Gaussian per channel.

    d² = Σ_c d_c² / σ_c² with each channel's own bandwidth (multivariate kernel; Yu et al., 2020). Channels
    that are constant carry nothing and are left out.

    Args:
        activations: (n, channels, ...); a layer without further axes has one channel per feature.
        bandwidth: Rule for each channel.

    Returns:
        Condensed distances, (n (n−1) / 2,) float64; None where the rule finds no bandwidth for a channel.
    """
    total: NDArray | None = None
    maps = activations if activations.ndim > 1 else activations[:, None]
    for channel in torch.from_numpy(maps).unbind(1):
        squared = condense(squared_distances(channel).numpy())
        if not squared.any():
            continue
        sigma = bandwidth.sigma(np.sqrt(squared), int(np.prod(channel.shape[1:])))
        if sigma == 0:
            return None
        total = squared / sigma**2 + (0 if total is None else total)
    return None if total is None else np.sqrt(total)
