"""Greedy training by the deterministic information bottleneck."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from infoplane.entropy import entropy_with_gradient
from infoplane.errors import InfoplaneError, unknown
from infoplane.kernels import Bandwidth
from infoplane.trainers.objectives.base import BlockInfo, LossSettings, Pass
from infoplane.trainers.objectives.predsim import PredSim, build_projection
from infoplane.trainers.objectives.similarities import bandwidth, batch_distances, directions, gaussian, to_float64
from infoplane.trainers.settings import (
    BANDWIDTH_GRADIENTS,
    BOTH,
    CE,
    CORRECTIONS,
    DIRECTIONS,
    ENTROPY_T,
    FITS,
    FOLLOWING,
    MI_PREV_T,
    MI_TY,
    PENALTIES,
    PERMUTED,
    PROJECTIONS,
    RANDOM,
    UNPROJECTED,
)

_BETA_SCHEDULES = ("constant", "warmup", "target")
RULES = ("knn", "median", "fixed")
_FIT, _PENALTY = "fit", "penalty"
SEED_STRIDE = 1_000_003
# Fewer values, less their mean and at length 1, are alike in all samples up to a sign.
_FEWEST = 3
# A steered β stays within this factor of the β that it starts from.
_STEERED = 1000.0


class GreedyDIB(PredSim):
    """A fit to the targets plus β_l times an information in bits, from matrix-based Rényi entropies S of the batch.

    The fit is the loss of the task at an auxiliary classifier (ce), the information −[I(T_l;Y) − I(T_l;πY)] =
    −[S(T_l,πY) − S(T_l,Y)] (mi_ty), or the first plus `fit_weight` times the second (both). The Gram matrix of Y
    is 1 where two samples have one class and 0 elsewhere, times a Gaussian of the boxes where the task has some.
    The permutation π, one a step, takes off what the kernel reports of any labels, which has a gradient too:
    without it all distances may grow until I(T_l;Y) = S(Y), whatever the labels. Under mi_ty alone the auxiliary
    classifier learns from the detached output, to read out what the block has. The last block learns by the task.
    With `fit_projection` directions the fit is of the directions of the samples of T_l in the place of T_l; with
    learned of those in a projection that is trained with the block, as `PredSim` compares them; with random its
    weights stay as they are drawn.

    The penalty is I_α(X;T_l) (mi_xt; Yu, Yu and Príncipe, "Deep deterministic information bottleneck with
    matrix-based entropy functional", ICASSP 2021), S_α(T_l) (entropy_t; after Strouse and Schwab, "The
    deterministic information bottleneck", Neural Computation 29(6), 2017) or I_α(T_{l−1};T_l) (mi_prev_t), as it
    is or less its permuted null: I(X;T_l) − I(πX;T_l) = S(πX,T_l) − S(X,T_l). Bandwidths σ of the kernel
    exp(−d² / (2σ²)) are of the batch and get no gradient, as published: S(T_l) then falls along a step that shrinks
    all distances, though at the bandwidth that comes with them its value stays where it was. With
    `bandwidth_gradient` scale the bandwidth is taken as a multiple of the root mean square distance, which follows
    the output: values are the same, and the gradient of the fit and the penalty along that scale is 0. A knn
    bandwidth is that of neighbours, so classes that shrink, each for itself, are still rewarded under it.

    Yu, Yu and Príncipe train a whole network with one such penalty at its bottleneck, with α = 1.01, σ from the 10
    nearest samples and β = 0.01 (VGG-16, CIFAR-10) or 1e-6 (MNIST, perceptron); their public code takes
    exp(−d²/σ²), which is a σ smaller by √2. Here every block has its own term and classifier.

    Under the schedule `target` β_l is steered: in each step in which it enters it is multiplied by
    exp(r · (I − target)), the difference cut to 1 bit and r the option `steering_rate`, 0.02. The option
    `similarity_weight`, 0, puts similarity matching beside the loss of the task, as in `PredSim`.

    On a GPU no value is read back, except inside the solver of eigenvalues, which α from 1 to 1.1 and 2 do without.
    """

    NUMBERS: ClassVar[Mapping[str, float]] = {"similarity_weight": 0.0, "steering_rate": 0.02}
    steered: Tensor

    def __init__(self, info: BlockInfo, loss_settings: LossSettings) -> None:
        super().__init__(info, loss_settings)
        _check(loss_settings)
        self.loss_settings = loss_settings
        rules = {_FIT: loss_settings.fit_bandwidth, _PENALTY: loss_settings.bandwidth}
        self.rules = {name: Bandwidth.parse(rule) for name, rule in rules.items()}
        self.projection = self._build_projection(info)
        learns = self.projection is not None and any(p.requires_grad for p in self.projection.parameters())
        self.rests = learns and loss_settings.fit == BOTH and loss_settings.every > 1
        if loss_settings.beta_schedule == "target":
            self.register_buffer("steered", torch.tensor(loss_settings.beta))

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> GreedyDIB:
        """As of any module; the steered β stays in single precision, in steps that bfloat16 does not have."""
        before = self.__dict__.get("_buffers", {}).get("steered")
        super()._apply(fn, recurse)
        if before is not None:
            self.steered = before.to(self.steered.device)
        return self

    def loss(self, local: Pass) -> Tensor:
        """Loss of the task in nats, plus the weighted informations in bits."""
        loss = super().loss(local)
        weights = self._weights(local)
        if not weights:
            return loss
        for name, bits in zip(weights, self._bits(local, [*weights]), strict=True):
            loss = loss + weights[name] * bits.to(loss)
            if name == _PENALTY and self.loss_settings.beta_schedule == "target":
                self._steer(bits.detach(), local.share)
        return loss

    def classification(self, local: Pass) -> Tensor:
        """Loss of the task; a readout alone where the information is the fit."""
        output = local.output.detach() if self.loss_settings.fit == MI_TY else local.output
        return self.task.loss(self.head(output), local.targets)

    def weight(self, local: Pass) -> float:
        """Weight of the penalty in this step, under `target` relative to the steered β; 0 leaves it out."""
        every = self.loss_settings.every
        if local.step % every:
            return 0.0
        if self.loss_settings.beta_schedule == "target":
            return float(every)
        rise = min(1.0, 2 * local.progress) if self.loss_settings.beta_schedule == "warmup" else 1.0
        return self.loss_settings.beta * every * rise

    def information(self, local: Pass) -> Tensor:
        """The penalised information in bits, 0-dimensional float64, with its graph."""
        return self._bits(local, [_PENALTY])[0]

    def fitted(self, local: Pass) -> Tensor:
        """I(T_l;Y) less its permuted null in bits, 0-dimensional float64, with its graph."""
        return self._bits(local, [_FIT])[0]

    def state(self) -> dict[str, float]:
        """The steered β."""
        return {"beta": self.steered.item()} if self.loss_settings.beta_schedule == "target" else {}

    def _build_projection(self, info: BlockInfo) -> nn.Module | None:
        """From the output to the vectors of whose directions the fit is, (n, d); None where it is of the output."""
        settings = self.loss_settings
        if settings.fit_projection == UNPROJECTED or (settings.fit == BOTH and not settings.fit_weight):
            return None
        if math.prod(info.shape) < _FEWEST:
            raise InfoplaneError(
                f"the output of block {info.index + 1} has {math.prod(info.shape)} values, whose directions say "
                "nothing; leave out `fit_projection`, or merge it into another by `blocks`"
            )
        if settings.fit_projection == DIRECTIONS:
            return nn.Flatten()
        return build_projection(info).requires_grad_(settings.fit_projection != RANDOM)

    def _weights(self, local: Pass) -> dict[str, float | Tensor]:
        """Weights of the informations that enter in this step."""
        settings = self.loss_settings
        weights: dict[str, float | Tensor] = {}
        if settings.fit == MI_TY:
            weights[_FIT] = -1.0
        elif settings.fit == BOTH and settings.fit_weight and local.step % settings.every == 0:
            weights[_FIT] = -settings.fit_weight * settings.every
        weight = self.weight(local)
        if weight:
            # A copy, since the buffer moves before the gradients are taken.
            weights[_PENALTY] = weight * self.steered.clone() if settings.beta_schedule == "target" else weight
        return weights

    def _steer(self, bits: Tensor, share: float) -> None:
        """Moves β up where there are more bits than the target, and down where there are fewer.

        A part of a batch moves it by its share, so that all parts together move it as the whole would.
        """
        excess = (bits - self.loss_settings.target_bits).clamp(-1.0, 1.0).to(self.steered)
        self.steered.mul_(torch.exp(share * self.numbers["steering_rate"] * excess))
        start = self.loss_settings.beta
        self.steered.clamp_(start / _STEERED, start * _STEERED)

    def _bits(self, local: Pass, names: Sequence[str]) -> list[Tensor]:
        """The informations of these names."""
        distances: dict[nn.Module | None, Tensor] = {}
        terms = []
        for name in names:
            # Both terms are of the same distances unless the fit has a projection.
            projection = self.projection if name == _FIT else None
            if projection not in distances:
                distances[projection] = self._distances(local.output, projection)
            squared = distances[projection]
            terms.append(self._term(local, name, gaussian(squared, bandwidth(squared, self.rules[name]))))
        matrices = [matrix for several, _ in terms for matrix in several]
        # One eigenproblem of several matrices is faster than several, above all on a GPU.
        stack = torch.stack(matrices) if len(matrices) > 1 else matrices[0]
        entropies = iter(entropy_with_gradient(stack, self.loss_settings.alpha).reshape(-1))
        values = []
        for several, known in terms:
            value = next(entropies) + known
            values.append(value - next(entropies) if len(several) > 1 else value)
        return values

    def _distances(self, output: Tensor, projection: nn.Module | None) -> Tensor:
        """Squared distances (n, n) of T_l, or of the directions of its projection, with their graph."""
        squared = batch_distances(output if projection is None else directions(projection(output)))
        return _without_scale(squared) if self.loss_settings.bandwidth_gradient == FOLLOWING else squared

    def _term(self, local: Pass, name: str, output: Tensor) -> tuple[list[Tensor], Tensor | float]:
        """An information as the entropy of a matrix, plus a number, less that of a second if there is one."""
        if name == _PENALTY and self.loss_settings.penalty == ENTROPY_T:
            return [output], 0.0
        other, known = self._given(local, name)
        if not self._is_corrected(name):
            return [output, output * other], known
        order = self._permutation(local)
        return [output * other[order][:, order], output * other], known

    @torch.no_grad()
    def _given(self, local: Pass, name: str) -> tuple[Tensor, Tensor | float]:
        """Gram matrix of Y, X or T_{l−1}, which the block does not change, and its entropy.

        The entropy is 0 where the null takes it off. Y and X are the same for all blocks.
        """
        rule, alpha, corrected = self.rules[name], self.loss_settings.alpha, self._is_corrected(name)
        of_below = name == _PENALTY and self.loss_settings.penalty == MI_PREV_T
        key = f"{name} with {rule}, alpha {alpha}, corrected {corrected}"
        if key in local.memo and not of_below:
            known: tuple[Tensor, Tensor | float] = local.memo[key]
            return known
        gram = (
            self._label_gram(local) if name == _FIT else self._gram(local.below if of_below else local.inputs, rule)
        )
        made = gram, 0.0 if corrected else entropy_with_gradient(gram, alpha)
        if not of_below:
            local.memo[key] = made
        return made

    def _label_gram(self, local: Pass) -> Tensor:
        """1 where two samples have one class, else 0; times a Gaussian of the boxes."""
        labels, boxes = local.targets.labels, local.targets.boxes
        gram = to_float64(labels[:, None] == labels)
        return gram if boxes is None or not self.task.boxes else gram * self._gram(boxes, self.rules[_FIT])

    def _is_corrected(self, name: str) -> bool:
        return name == _FIT or self.loss_settings.correction == PERMUTED

    def _permutation(self, local: Pass) -> Tensor:
        """An order of the samples, one for all blocks of a step, by the seed of the run and the step."""
        if "permutation" not in local.memo:
            # Below zero, away from the seeds of the data.
            generator = torch.Generator().manual_seed(-1 - self.loss_settings.seed * SEED_STRIDE - local.step)
            order = torch.randperm(len(local.output), generator=generator)
            local.memo["permutation"] = order.to(local.output.device, non_blocking=True)
        permutation: Tensor = local.memo["permutation"]
        return permutation

    def _gram(self, samples: Tensor, rule: Bandwidth) -> Tensor:
        squared = batch_distances(samples)
        return gaussian(squared, bandwidth(squared, rule))


def _without_scale(squared: Tensor) -> Tensor:
    """Squared distances (n, n) of the same values, whose gradient along their common scale is 0."""
    spread = squared.mean()
    # Copies have no scale; 1 before the division, since 0 / 0 has no gradient even where it is not taken.
    spread = torch.where(spread > 0, spread, 1.0)
    return squared * (spread.detach() / spread)


def _check(loss_settings: LossSettings) -> None:
    for what, value, choices in (
        ("fit", loss_settings.fit, FITS),
        ("penalty", loss_settings.penalty, PENALTIES),
        ("correction", loss_settings.correction, CORRECTIONS),
        ("projection", loss_settings.fit_projection, PROJECTIONS),
        ("gradient of the bandwidth", loss_settings.bandwidth_gradient, BANDWIDTH_GRADIENTS),
        ("schedule of beta", loss_settings.beta_schedule, _BETA_SCHEDULES),
    ):
        if value not in choices:
            raise unknown(what, value, choices)
    for rule in (loss_settings.bandwidth, loss_settings.fit_bandwidth):
        kind = Bandwidth.parse(rule).rule
        if kind not in RULES:
            raise InfoplaneError(f"bandwidth '{rule}' is not for training; choose from: {', '.join(RULES)}")
        if kind == "fixed" and loss_settings.bandwidth_gradient == FOLLOWING:
            raise InfoplaneError(
                f"bandwidth '{rule}' follows no scale; take median:1 or knn:10, or leave out "
                "`loss_bandwidth_gradient`"
            )
    if loss_settings.fit_projection != UNPROJECTED and loss_settings.fit == CE:
        raise InfoplaneError("the projection is that of I(T;Y), which `fit` ce does not have; take mi_ty or both")
    if not (loss_settings.alpha > 0 and math.isfinite(loss_settings.alpha)):
        raise InfoplaneError(f"alpha must be positive and finite, got {loss_settings.alpha}")
    for name in ("beta", "fit_weight"):
        if not math.isfinite(getattr(loss_settings, name)):
            raise InfoplaneError(f"{name} must be finite, got {getattr(loss_settings, name)}")
    if loss_settings.every < 1:
        raise InfoplaneError(f"the information term enters every 1, 2, 3 … steps, not every {loss_settings.every}")
    if loss_settings.correction == PERMUTED and loss_settings.penalty == ENTROPY_T:
        raise InfoplaneError(
            "S(T) pairs nothing, so it has no permuted null to take off; penalise mi_xt or mi_prev_t"
        )
    if loss_settings.beta_schedule == "target" and not loss_settings.beta > 0:
        raise InfoplaneError("a beta that is steered to a target starts above 0, such as 0.01")
