"""I(X;T) and I(T;Y) by matrix-based Rényi entropies, exact, float64, in bits.

What depends on the run alone (the Gram matrix of X, S(X), S(Y), the permuted labels) is computed once per run;
joint entropies with the labels go by class blocks. See `infoplane.entropy` for the definitions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from infoplane.entropy import class_entropy, class_joint_entropy, joint_entropy, renyi_entropy
from infoplane.errors import InfoplaneError
from infoplane.kernels import Bandwidth, condense, distance_gram, squared_distances
from infoplane.runfile import Run, Snapshot

KERNELS = ("tensor", "multivariate")
SCOPES = ("snapshot", "final", "shared")
PERMUTATION_SEED = 0


@dataclass(frozen=True)
class Settings:
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
        permutations: Number of label permutations behind the null of I(T;Y), the same for all layers.
    """

    alpha: float = 1.0
    kernel: str = "tensor"
    bandwidth: Bandwidth = field(default=Bandwidth("median", 1.0))
    scope: str = "snapshot"
    input_bandwidth: Bandwidth = field(default=Bandwidth("median", 1.0))
    permutations: int = 10

    def __post_init__(self) -> None:
        if not (self.alpha > 0 and math.isfinite(self.alpha)):
            raise InfoplaneError(f"alpha must be positive and finite, got {self.alpha}")
        if self.kernel == "multivariate" and (self.scope != "snapshot" or self.bandwidth.rule == "alignment"):
            raise InfoplaneError(
                "the multivariate kernel takes the median, knn, silverman and fixed rules, at each snapshot"
            )
        if self.permutations < 2:
            raise InfoplaneError(f"the null of I(T;Y) needs at least 2 permutations, got {self.permutations}")

    def columns(self, run: Run) -> dict[str, Any]:
        """The settings as columns of the estimates table."""
        # The final bandwidth of a run that went on is another one.
        scope = f"final:{run.snapshots[-1].step}" if self.scope == "final" else self.scope
        return {
            "estimator": "renyi",
            "alpha": self.alpha,
            "kernel": self.kernel,
            "bandwidth": str(self.bandwidth),
            "scope": scope,
            "input_bandwidth": str(self.input_bandwidth),
            "permutations": self.permutations,
        }


class RunEstimator:
    """Estimates the layers of one run; what all layers share is computed once.

    Args:
        run: The run.
        settings: The settings.

    Raises:
        InfoplaneError: The rule finds no bandwidth for the inputs.
    """

    def __init__(self, run: Run, settings: Settings) -> None:
        self.run = run
        self.settings = settings
        self.labels = run.probe.labels
        self.sigma_x = settings.input_bandwidth.sigma(run.probe.distances, labels=self.labels)
        if self.sigma_x == 0:
            raise InfoplaneError(
                f"{run.path}: '{settings.input_bandwidth}' finds no bandwidth for the probe's inputs (more than "
                "half of them repeat); give one with --input-bandwidth fixed:NUMBER"
            )
        self.gram_x = distance_gram(run.probe.distances, self.sigma_x)
        self.entropy_x = float(renyi_entropy(self.gram_x, settings.alpha))
        self.entropy_y = class_entropy(self.labels, settings.alpha)
        rng = np.random.default_rng(PERMUTATION_SEED)
        self.permuted = [rng.permutation(self.labels) for _ in range(settings.permutations)]

    def bandwidth(self, snapshot: Snapshot, layer: str) -> tuple[float, float]:
        """Bandwidth of a layer by the rule, and its median distance.

        Returns:
            σ and the median pairwise distance; σ is NaN where the activations are not finite or constant, 0
            where the rule finds none.
        """
        if snapshot.nonfinite(layer) or snapshot.constant(layer):
            return math.nan, math.nan
        if self.settings.kernel == "multivariate":
            return 1.0, math.nan
        distances = snapshot.distances(layer)
        features = self.run.layer(layer).features
        sigma = self.settings.bandwidth.sigma(distances, features, self.labels)
        return sigma, float(np.median(distances))

    def estimate(self, snapshot: Snapshot, layer: str, sigma: float) -> dict[str, Any]:
        """Entropies and informations of one layer at one snapshot.

        Args:
            snapshot: The snapshot.
            layer: Name of the layer.
            sigma: Bandwidth of the layer.

        Returns:
            Columns of the estimates table, in bits; NaN with the reason in `status` where the activations are
            constant or not finite, or no bandwidth was found.
        """
        distances, status = None, "ok"
        if snapshot.nonfinite(layer):
            status = "not finite"
        elif snapshot.constant(layer):
            status = "constant"
        elif sigma > 0:
            distances = self._distances(snapshot, layer)
        if distances is None:
            return self._row(math.nan, status if status != "ok" else "no bandwidth")
        return self._row(sigma, status, distance_gram(distances, sigma))

    def _distances(self, snapshot: Snapshot, layer: str) -> NDArray | None:
        if self.settings.kernel == "tensor":
            return snapshot.distances(layer)
        return channel_distances(snapshot.activations(layer), self.settings.bandwidth)

    def _row(self, sigma: float, status: str, gram: NDArray | None = None) -> dict[str, Any]:
        alpha = self.settings.alpha
        s_t = i_xt = i_ty = null = null_std = math.nan
        if gram is not None:
            s_t = float(renyi_entropy(gram, alpha))
            i_xt = self.entropy_x + s_t - float(joint_entropy(self.gram_x, gram, alpha=alpha))
            base = self.entropy_y + s_t
            i_ty = base - class_joint_entropy(gram, self.labels, alpha)
            nulls = [base - class_joint_entropy(gram, labels, alpha) for labels in self.permuted]
            null, null_std = float(np.mean(nulls)), float(np.std(nulls, ddof=1))
        return {
            "sigma_T": sigma,
            "sigma_X": self.sigma_x,
            "S_T": s_t,
            "S_X": self.entropy_x,
            "S_Y": self.entropy_y,
            "I_XT": i_xt,
            "I_TY": i_ty,
            "I_TY_null": null,
            "I_TY_null_std": null_std,
            "I_TY_corrected": i_ty - null,
            "status": status,
        }


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
    for channel in torch.from_numpy(activations).unbind(1):
        squared = condense(squared_distances(channel).numpy())
        if not squared.any():
            continue
        sigma = bandwidth.sigma(np.sqrt(squared), int(np.prod(channel.shape[1:])))
        if sigma == 0:
            return None
        total = squared / sigma**2 + (0 if total is None else total)
    return None if total is None else np.sqrt(total)
