"""I(X;T) and I(T;Y) by matrix-based Rényi entropies in bits: exact, or within a tolerance.

What depends on the run alone (S(X), S(Y), the permuted pairings) is computed once per run; joint entropies with
labels go by class blocks. A continuous Y has a Gaussian kernel with a bandwidth of its own, and S(T,Y) is that of
the product of kernels. See `infoplane.entropy` for the definitions.

**Null of I(X;T).** Under a Gaussian kernel independent samples have information: much of I(X;T) is what permuted
pairings of X and T give as well, a pedestal that depends on the bandwidth and changes with depth by itself. Each of
its pairings takes a joint entropy more, so that there are fewer than for the labels: 4, and 2 from 500 samples on.
These entropies are in single precision, as pairings differ by far more than its rounding, unless there is a
tolerance or an order below 1. What the kernel of X needs in each of these orders is kept for all layers.

**Memory.** Distances stand condensed, n²/2 values for X and for T each, and one (n, n) matrix at a time: the Gram
matrix of T, which becomes the joint one of X and T when it is multiplied by the kernel of X in place. For up to 4
pairings the exponents of the kernel of X are kept, n²/2 values in single precision each. A continuous Y takes
another matrix, the joint one of T and Y, and its own distances while that is made.

**Tolerance.** The half-widths of the entropies' intervals add up to that of an information at most. S(X), and S(Y)
of a continuous Y, which are computed once and whose errors are the same in all layers, and S(T) get shares of the
tolerance; a joint entropy gets all that they left, often more than the rest, as few probes do more than was asked.

**Saturation.** A bandwidth far below the distances makes every Gram matrix the identity: I(X;T) = log2 n and
I(T;Y) = H(Y) for any labels; one far above makes it constant, and everything 0. Where inputs repeat, copies share a
block of ones, and the entropy of order α of the distinct inputs stands in the place of log2 n.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from infoplane.condensed import condense
from infoplane.entropy import Interval, class_entropy
from infoplane.entropy.certified import combine
from infoplane.entropy.eigenvalues import Partitions
from infoplane.entropy.exact import class_partitions
from infoplane.errors import InfoplaneError
from infoplane.estimators import bandwidths as scopes
from infoplane.estimators.base import EstimatorSettings, Item, LayerEstimator, LayerView, WithNull, input_entropy
from infoplane.estimators.nulls import few_pairings, is_permutation
from infoplane.estimators.registry import default
from infoplane.estimators.solver import Solver
from infoplane.kernels import (
    Bandwidth,
    constant_gram,
    exponent_gram,
    exponents,
    median_distance,
    multiply_kernel,
    squared_distances,
)
from infoplane.runfile import Probe, Run
from infoplane.runfile.schema import CONSTANT

SHARE_X, SHARE_T = 0.2, 0.4  # of the tolerance; what they leave is for the joint entropies
_MOST_KEPT = 4  # pairings whose exponents are kept
_SEED_X, _SEED_T, _SEED_XT, _SEED_TY = range(4)
_SEED_Y, _SEED_NULL = 2**20, 2**21  # from _SEED_TY and _SEED_NULL on they count permutations


@dataclass(frozen=True)
class RenyiSettings(EstimatorSettings):
    """What decides the numbers, kept beside each of them.

    Attributes:
        alpha: Order α > 0; 1 is the von Neumann entropy.
        kernel: "tensor", one Gaussian over a whole layer; "multivariate", the Hadamard product of one Gaussian per
            channel, each with its own bandwidth (needs recorded activations); or "nested", the Hadamard product of
            the Gaussians of a layer and of all after it, under which no layer gains information at α = 1.
        bandwidth: Rule for the layers.
        scope: "snapshot", the rule applied at each snapshot; "final", the bandwidth of the last snapshot at all
            of them; "shared", one multiple of the median distance for all layers of a snapshot (the geometric
            mean of what the rule gives).
        input_bandwidth: Rule for the input X.
        target_bandwidth: Rule for a continuous Y.
        dtype: "float64" or "float32", the precision of exact computations.
        tolerance: Half-width in bits of the 99 % interval of each information; 0 is exact.
        input_permutations: Number of permuted pairings behind the null of I(X;T), the same for all layers and
            snapshots; 0 takes 4, and 2 from 500 samples on, where they differ less.
        device: Where to compute: "auto" (CUDA where there is one), "cpu" or "cuda". No column: it changes rounding.
    """

    name = "renyi"
    alpha: float = default("alpha")
    kernel: str = default("kernel")
    bandwidth: Bandwidth = field(default=Bandwidth.parse(default("bandwidth")))
    scope: str = default("scope")
    input_bandwidth: Bandwidth = field(default=Bandwidth.parse(default("bandwidth")))
    target_bandwidth: Bandwidth = field(default=Bandwidth.parse(default("target_bandwidth")))
    dtype: str = default("dtype")
    tolerance: float = default("tolerance")
    input_permutations: int = default("input_permutations")
    device: str = default("device")

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.solver  # refuses what it cannot take
        if self.kernel != "tensor" and (self.scope != "snapshot" or self.bandwidth.rule == "alignment"):
            raise InfoplaneError(
                f"the {self.kernel} kernel takes the median, knn, silverman and fixed rules, at each snapshot"
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
            "dtype": self.dtype,
            "tolerance": self.tolerance,
            "input_permutations": float(self.input_permutations),  # a number of which other estimators have none
            **self.target_columns(run, self.target_bandwidth),
        }

    def pairings_of_input(self, n: int) -> int:
        """Number of permuted pairings behind the null of I(X;T) for so many samples."""
        return self.input_permutations or few_pairings(n)

    @property
    def solver(self) -> Solver:
        """What computes entropies under these settings."""
        return Solver(self.alpha, self.dtype, self.tolerance, self.device)

    def prepare(self, probe: Probe, source: Path) -> LayerEstimator:
        """The estimator for one probe."""
        return Renyi(probe, self, source)

    def survey_items(self, items: Sequence[Item], layers: Sequence[str], snapshots: int) -> Iterable[Item]:
        """Where the bandwidth of a layer depends on other layers or snapshots, all those."""
        return scopes.needed(items, layers, snapshots, self.scope, self.bandwidth)

    def settle(self, found: dict[Item, Any], items: Sequence[Item]) -> dict[Item, Any]:
        """The bandwidth of every item, after the averaging that rule and scope ask for."""
        return scopes.settled(found, items, self.scope, self.bandwidth)


class Renyi(LayerEstimator):
    """Estimates the layers of one run; what all layers share is computed once.

    Args:
        probe: The probe, or a batch of it.
        settings: The settings.
        source: The run file, for messages.

    Raises:
        InfoplaneError: The rule finds no bandwidth for the inputs, or for a continuous target.
    """

    def __init__(self, probe: Probe, settings: RenyiSettings, source: Path) -> None:
        super().__init__(probe, settings, source)
        self.settings = settings
        self.sigma_x = settings.input_bandwidth.sigma(probe.distances, probe.features, self.labels)
        if self.sigma_x == 0:
            raise InfoplaneError(
                f"{source}: '{settings.input_bandwidth}' finds no bandwidth for the probe's inputs (more than "
                "half of them repeat); give one with `input_bandwidth='fixed:NUMBER'`"
            )
        self.solver = settings.solver
        self._input_distances = probe.distances
        self.limit_x = input_entropy(probe.distances, settings.alpha) if self.repeats else math.log2(self.n)
        self._exponents: dict[int, NDArray] = {}
        with self.solver.turn():
            gram = self.input_gram()
            # Kept where every layer is joined with it, in all orders at once.
            self._inputs = gram if self.solver.solves_together(self.n) else None
            self.entropy_x = self._input_entropy(gram)
            del gram
            self._entropies_x = [self._input_entropy_in(order) for order in self.input_orders]
            self._known_y = self._target_entropy(source)
        self.entropy_y = self._known_y.value

    def _input_entropy(self, gram: torch.Tensor) -> Interval:
        return self.solver.entropy(gram, SHARE_X * self.settings.tolerance, _SEED_X)

    def _input_entropy_in(self, order: NDArray) -> Interval:
        """S(X) in an order of the samples: another one where some stand several times in it and others never."""
        if is_permutation(order):
            return self.entropy_x
        gram = constant_gram(self.n, self.solver.place)
        multiply_kernel(gram, self._input_distances, self.sigma_x, order)
        return self._input_entropy(gram)

    def _target_entropy(self, source: Path) -> Interval:
        """S(Y), and the bandwidth of a continuous Y on the way."""
        if self.labels is not None:
            return Interval.of_exact(class_entropy(self.labels, self.settings.alpha))
        self.sigma_y = self.target_sigma(self.target_distances(), self.settings.target_bandwidth, source)
        return self.solver.entropy(self.target_gram(), SHARE_X * self.settings.tolerance, _SEED_Y)

    def _entropy_of_order(self, order: NDArray) -> Interval:
        """S(Y) in an order of the samples: another one where some stand several times in it and others never."""
        if is_permutation(order):
            return self._known_y
        if self.labels is not None:
            return Interval.of_exact(class_entropy(self.labels[order], self.settings.alpha))
        gram = self.solver.gram(self.target_distances(order), self.sigma_y)
        return self.solver.entropy(gram, SHARE_X * self.settings.tolerance, _SEED_Y)

    def input_gram(self) -> torch.Tensor:
        """Normalised Gram matrix of X, (n, n) float64, made anew."""
        return self.solver.gram(self._input_distances, self.sigma_x)

    def target_gram(self) -> torch.Tensor:
        """Normalised Gram matrix of a continuous Y, (n, n) float64, made anew."""
        return self.solver.gram(self.target_distances(), self.sigma_y)

    def shared(self) -> dict[str, float]:
        """Bandwidth and entropies of X and Y, and the limits of the two informations."""
        limits = {"limit_XT": self.limit_x, "limit_TY": self.entropy_y}
        return {"sigma_X": self.sigma_x, "S_X": self.entropy_x.value, "S_Y": self.entropy_y, **limits}

    def survey(self, view: LayerView) -> tuple[float, float]:
        """Bandwidth of a layer by the rule alone, and its median distance.

        Returns:
            σ and the median pairwise distance; σ is NaN where the activations are not finite or constant, 0
            where the rule finds none.
        """
        if view.trouble:
            return math.nan, math.nan
        with self.solver.ahead():
            distances = self._distances(view)
            return self._sigma(view, distances), median_distance(distances)

    def _distances(self, view: LayerView) -> NDArray | torch.Tensor:
        """Distances of a layer: condensed, or of all pairs where they are computed on a GPU and stay there."""
        return view.square_on(self.solver.place) if self.solver.solves_many else view.distances

    def _sigma(self, view: LayerView, distances: NDArray | torch.Tensor) -> float:
        return self.settings.bandwidth.sigma(distances, view.features, self.labels)

    def layer_gram(self, view: LayerView, told: Any = None) -> tuple[torch.Tensor, float] | None:
        """Gram matrix of one layer at one snapshot, (n, n), and its bandwidth; None where the rule finds none.

        Args:
            view: The layer, of finite activations that are not constant; its distances are spared afterwards.
            told: The bandwidth that `RenyiSettings.settle` gave for it; None applies the rule.
        """
        kernel = self._layer_kernel(view, told)
        return None if kernel is None else (self.solver.gram(*kernel), kernel[1])

    def _layer_kernel(self, view: LayerView, told: Any) -> tuple[NDArray | torch.Tensor, float] | None:
        """Distances and bandwidth behind `layer_gram`."""
        distances: NDArray | torch.Tensor | None
        if self.settings.kernel == "multivariate":
            sigma, distances = 1.0, channel_distances(view.channels, self.settings.bandwidth)
        elif self.settings.kernel == "nested":
            sigma, distances = (
                1.0,
                _nested_distances([view, *view.deeper], lambda view: self._sigma(view, view.distances)),
            )
        else:
            distances = self._distances(view)
            sigma = self._sigma(view, distances) if told is None else told
        view.spare()
        return None if distances is None or not sigma > 0 else (distances, sigma)

    def measure(self, view: LayerView, told: Any) -> dict[str, Any]:
        """Entropies and informations of one layer at one snapshot, under the bandwidth `told`, in bits."""
        with self.solver.ahead():
            kernel = self._layer_kernel(view, told)
            if kernel is None:
                return self.row("no bandwidth")
            with self.solver.turn():
                return self._informations(*kernel)

    def _informations(self, distances: NDArray | torch.Tensor, sigma: float) -> dict[str, Any]:
        """The row of a layer with these distances and this bandwidth."""
        tolerance, gram = self.settings.tolerance, self.solver.gram(distances, sigma)
        if self._inputs is not None:
            s_t, joint = self.solver.entropies(torch.stack([gram, gram * self._inputs]))
            left = 0.0
            if self.solver.solves_many or isinstance(distances, torch.Tensor):
                null = self._null_at_once(gram, self._inputs, s_t)
            else:
                null = self._null_of_inputs(distances, sigma, s_t, left)
            *null_ty, i_ty = self._with_target(gram, s_t, left)
        else:
            assert isinstance(distances, np.ndarray)  # what stays on a GPU is solved there at once
            s_t = self.solver.entropy(gram, SHARE_T * tolerance, _SEED_T)
            left = tolerance - s_t.halfwidth
            *null_ty, i_ty = self._with_target(gram, s_t, left)
            multiply_kernel(gram, self._input_distances, self.sigma_x)
            joint = self.solver.entropy(gram, left - self.entropy_x.halfwidth, _SEED_XT)
            del gram
            null = self._null_of_inputs(distances, sigma, s_t, left)
        i_xt = combine([self.entropy_x, s_t, joint], [1, 1, -1])
        return self.row(
            i_xt=WithNull(i_xt.value, null),
            i_ty=WithNull(i_ty.value, [null.value for null in null_ty]),
            S_T=s_t.value,
            sigma_T=sigma,
            I_XT_halfwidth=i_xt.halfwidth,
            I_TY_halfwidth=i_ty.halfwidth,
        )

    def _with_target(self, gram: torch.Tensor, s_t: Interval, left: float) -> list[Interval]:
        """I(T;Y) of the layer with this Gram matrix and entropy, under each permuted order of Y and the true one.

        Args:
            gram: Of the layer, (n, n).
            s_t: S(T).
            left: Of the tolerance, for S(Y) and S(T,Y).
        """
        entropies = self._entropies_y
        rooms = [left - s_y.halfwidth for s_y in entropies]
        if self.labels is not None:
            labelings, partitions = self._labelings
            joints = self.solver.class_joint_entropies(gram, labelings, rooms, _SEED_TY, partitions)
        else:
            each = enumerate(zip(self._all_orders, rooms, strict=True), _SEED_TY)
            joints = [self._joint_entropy(gram, order, room, seed) for seed, (order, room) in each]
        return [combine([s_t, s_y, joint], [1, 1, -1]) for s_y, joint in zip(entropies, joints, strict=True)]

    @functools.cached_property
    def _all_orders(self) -> list[NDArray]:
        """The permuted orders of Y and the true one, (n,) each."""
        return [*self.orders, np.arange(self.n)]

    @functools.cached_property
    def _entropies_y(self) -> list[Interval]:
        """S(Y) in each permuted order and the true one."""
        return [self._entropy_of_order(order) for order in self._all_orders]

    @functools.cached_property
    def _labelings(self) -> tuple[list[NDArray], Partitions]:
        """The classes in each permuted order and the true one, (n,) each, and their members."""
        assert self.labels is not None
        found = [self.labels[order] for order in self._all_orders]
        return found, class_partitions(found, self.solver.place)

    def _joint_entropy(self, gram: torch.Tensor, order: NDArray, room: float, seed: int) -> Interval:
        """S(T,Y) of the layer with this Gram matrix and a continuous Y in some order; as in `Solver.entropy`."""
        joint = gram.clone()
        multiply_kernel(joint, self.target_distances(order), self.sigma_y)
        return self.solver.entropy(joint, room, seed)

    def _null_at_once(self, gram: torch.Tensor, inputs: torch.Tensor, s_t: Interval) -> list[float]:
        """I(X;T) under each permuted pairing, from the Gram matrices of a layer and of the inputs."""
        joints = self.solver.permuted_joint_entropies(gram, inputs, self.input_orders)
        return [s_x.value + s_t.value - joint for s_x, joint in zip(self._entropies_x, joints, strict=True)]

    def _null_of_inputs(self, distances: NDArray, sigma: float, s_t: Interval, left: float) -> list[float]:
        """I(X;T) under each permuted pairing of the inputs with a layer of these distances and this bandwidth.

        Args:
            distances: Of the layer, condensed.
            sigma: Its bandwidth.
            s_t: S(T).
            left: Of the tolerance, for S(X) and S(X,T).
        """
        rough, own = self.solver.rough, exponents(distances, sigma, dtype=self._null_dtype)
        numbers = range(len(self._entropies_x))
        grams = (exponent_gram(own + self._paired_exponents(number), self.solver.place) for number in numbers)
        if rough.solves_together(self.n):
            joints = rough.entropies(torch.stack([*grams]))
        else:
            rooms = [left - s_x.halfwidth for s_x in self._entropies_x]
            joints = [rough.entropy(gram, rooms[k], _SEED_NULL + k) for k, gram in enumerate(grams)]
        return [s_x.value + s_t.value - joint.value for s_x, joint in zip(self._entropies_x, joints, strict=True)]

    @property
    def _null_dtype(self) -> str:
        return "float64" if self.settings.alpha < 1 else "float32"

    def _paired_exponents(self, number: int) -> NDArray:
        """Exponents of the kernel of X in one of its permuted orders, condensed."""
        if number not in self._exponents:
            order = self.input_orders[number]
            made = exponents(self._input_distances, self.sigma_x, order, self._null_dtype)
            if len(self.input_orders) > _MOST_KEPT:
                return made
            self._exponents[number] = made
        return self._exponents[number]


def _nested_distances(views: Sequence[LayerView], sigma: Callable[[LayerView], float]) -> NDArray | None:
    """Distances under which one Gaussian of σ = 1 is the product of the kernels of a layer and of all after it.

    d² = Σ_m d_m² / σ_m² over the layers m = l … L. So T_l under this kernel holds T_{l+1} under its own as a part,
    and by strong sub-additivity at α = 1 both data-processing inequalities are theorems: I(X;T_l) ≥ I(X;T_{l+1})
    and I(T_l;Y) ≥ I(T_{l+1};Y). They say how much a layer loses, and test nothing of the network.

    Args:
        views: The layer and those after it; what is constant has no part in the product.
        sigma: The bandwidth of a layer, 0 where its rule finds none.

    Returns:
        Condensed distances, (n (n−1) / 2,) float64; None where a layer is not finite or has no bandwidth.
    """
    total = np.zeros(())
    for view in views:
        if view.trouble == CONSTANT:
            continue
        width = 0.0 if view.trouble else sigma(view)
        if not width > 0:
            return None
        total = total + (view.distances / width) ** 2
        view.spare()
    return np.sqrt(total)


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
