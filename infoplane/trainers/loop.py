"""The one training loop: every method, end to end or block by block, goes through it.

A step takes a batch through the blocks that are trained already (frozen, in evaluation mode, without gradients),
then through the active units: each computes its output from a detached input, its local loss, its gradients and its
optimiser step before the next one begins, so that no more than one unit's graph is in memory. End-to-end training
is one unit that holds the whole network.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from infoplane.data import Augmentation, Dataset, Split
from infoplane.recording.layers import eval_mode, tensor_of
from infoplane.stopping import stop_name, stop_requests
from infoplane.trainers.distributed import any_of, parallel, rank, share_buffers, world
from infoplane.trainers.meter import Cost, measure_step
from infoplane.trainers.settings import window_of
from infoplane.trainers.task import Targets
from infoplane.trainers.unit import Unit, train_unit

# What the cost of a step depends on: its stage, its number of samples, and whether all terms of the loss enter.
Kind = tuple[int, int, bool]
Expand = Callable[[Tensor, Targets, torch.Generator], tuple[Tensor, Targets]]
SEED_STRIDE = 1_000_003


class Interrupted(Exception):
    """Training was asked to stop; the step that was under way is finished.

    Attributes:
        signal: Number of the signal that asked.
    """

    def __init__(self, number: int) -> None:
        super().__init__(stop_name(number))
        self.signal = number


@dataclass(frozen=True)
class Stage:
    """A part of the training: units before `first` are frozen, those from `first` up to `end` are trained.

    Attributes:
        first: The first unit that is trained.
        end: The unit after the last one that is trained.
        steps: Number of steps.
    """

    first: int
    end: int
    steps: int


def stages(order: str, units: int, steps: int) -> list[Stage]:
    """The stages of an order, of so many steps each: as many as the window of units has places to stand.

    Args:
        order: simultaneous (a single stage), sequential (one a unit), or window:W.
        units: Number of units.
        steps: Number of steps of a stage.
    """
    width = min(window_of(order) or units, units)
    return [Stage(k, k + width, steps) for k in range(units - width + 1)]


@dataclass(frozen=True)
class Recipe:
    """How the parameters move: what all methods have in common.

    Attributes:
        optimizer: Makes an optimiser for some parameters.
        lr: Learning rate before the factor.
        lr_factor: Factor of the learning rate after so many steps of a stage.
        batch_size: Samples a step, over all processes.
        seed: Seed of the order of the data, the augmentation and what a method draws.
        augment: Changes the inputs of a batch; None leaves them.
        expand: Makes the samples that a method learns from out of those of a batch; None takes them as they are.
        per_class: Batches are drawn in groups of so many samples of one class.
        loss_every: All terms of the loss enter every so many steps.
        micro_batches: Each batch is cut into so many parts whose gradients add up.
        autocast: Reduced precision of the forward passes, with images in channels-last order, which is where it is
            faster; None for full precision.
        cache_bytes: How much memory the outputs of frozen units may take, so that they are computed once.
    """

    optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
    lr: float
    lr_factor: Callable[[int], float]
    batch_size: int
    seed: int
    augment: Augmentation | None = None
    expand: Expand | None = None
    per_class: int = 1
    loss_every: int = 1
    micro_batches: int = 1
    autocast: torch.dtype | None = None
    cache_bytes: int = 0


@dataclass
class Loop:
    """Trains units stage by stage; the data of a step are a function of seed and step alone.

    Attributes:
        units: From input to output, on their device.
        plan: The stages.
        recipe: How the parameters move.
        dataset: The data set.
        step: Number of steps taken.
        seconds: Time of the timed steps.
        timed_steps: Number of timed steps (those in which memory was measured are not).
        cache_seconds: Time in which outputs of frozen units were computed to be kept.
        cache_flops: Floating-point operations of that.
        costs: What a step of each kind costs, as far as the training has come.
        largest_cache: Bytes of the largest cache of frozen outputs.
    """

    units: Sequence[Unit]
    plan: Sequence[Stage]
    recipe: Recipe
    dataset: Dataset
    step: int = 0
    seconds: float = 0.0
    timed_steps: int = 0
    cache_seconds: float = 0.0
    cache_flops: int = 0
    costs: dict[Kind, Cost] = field(default_factory=dict)
    largest_cache: int = 0
    _stage: int = -1
    _optimizers: dict[int, torch.optim.Optimizer] = field(default_factory=dict)
    _wrapped: dict[int, nn.Module] = field(default_factory=dict)
    _cache: Tensor | None = None
    _clock: float | None = None

    def __post_init__(self) -> None:
        if self.recipe.autocast is not None:
            for unit in self.units:
                # Volumes have an order of their own, and stay as they are.
                if all(parameter.ndim != 5 for parameter in unit.parameters()):
                    unit.to(memory_format=torch.channels_last)

    @property
    def device(self) -> torch.device:
        """Where the units are."""
        return next(self.units[0].parameters()).device

    @property
    def total_steps(self) -> int:
        """Number of steps of all stages."""
        return sum(stage.steps for stage in self.plan)

    @property
    def steps_per_epoch(self) -> int:
        """Number of optimiser steps of one epoch."""
        return count_steps(len(self.dataset.train), self.recipe.batch_size)

    @cached_property
    def kinds(self) -> Counter[Kind]:
        """How many steps of the whole training are of each kind."""
        starts = enumerate(zip(self._starts, self.plan, strict=True))
        steps = ((k, np.arange(start, start + stage.steps)) for k, (start, stage) in starts)
        return Counter(itertools.chain.from_iterable(self._kinds_of(k, of_stage) for k, of_stage in steps))

    @property
    def epoch(self) -> float:
        """Number of epochs passed, fractional, over all stages."""
        return self.step / self.steps_per_epoch

    @property
    def stage(self) -> int:
        """Number of the stage that the last step belongs to; 0 at initialisation."""
        return self._stage_at(max(self.step - 1, 0))

    @property
    def trained(self) -> int:
        """Number of units that are trained or being trained."""
        return self.plan[self.stage].end

    def run(
        self, is_pause: Callable[[int], bool], at_pause: Callable[[], None], after_step: Callable[[], None]
    ) -> None:
        """Trains from where it stands to the end.

        Args:
            is_pause: Whether to call `at_pause` after that many steps.
            at_pause: Called between two steps, outside the measured time.
            after_step: Called after each step; should be cheap.

        Raises:
            Interrupted: A signal or the time limit asks to stop; the step under way and its callbacks are finished.
        """
        with stop_requests() as stop:
            while self.step < self.total_steps:
                epoch, start = divmod(self.step, self.steps_per_epoch)
                for indices in self._batches(epoch)[start:]:
                    if self.step == self.total_steps:
                        break
                    self._enter(self._stage_at(self.step))
                    self._timed_step(indices)
                    self.step += 1
                    after_step()
                    if is_pause(self.step):
                        self._stop_clock()
                        at_pause()
                    asked = any_of(stop[0] if stop else 0, self.device)
                    if asked:
                        self._stop_clock()
                        raise Interrupted(asked)
            self._stop_clock()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on; loads with `weights_only=True`."""
        return {
            "step": self.step,
            "units": [unit.state_dict() for unit in self.units],
            "optimizers": {k: optimizer.state_dict() for k, optimizer in self._optimizers.items()},
            "optimizers_of": self._stage,
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "seconds": self.seconds,
            "timed_steps": self.timed_steps,
            "cache_seconds": self.cache_seconds,
            "cache_flops": self.cache_flops,
            "largest_cache": self.largest_cache,
            "costs": {k: (cost.peak, cost.saved, cost.flops) for k, cost in self.costs.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what `state_dict` gave.

        Raises:
            ValueError: It is of another form; what PyTorch makes of the values may raise any error.
        """
        _refuse_other_form(state, self.state_dict(), {"optimizers", "cuda_rng", "costs"})
        if not (0 <= state["step"] <= self.total_steps and -1 <= state["optimizers_of"] < len(self.plan)):
            raise ValueError("it is not of this plan")
        self.step = state["step"]
        for unit, values in zip(self.units, state["units"], strict=True):
            unit.load_state_dict(values)
        self.seconds, self.timed_steps = state["seconds"], state["timed_steps"]
        self.largest_cache = state["largest_cache"]
        self.costs = {kind: _cost(*values) for kind, values in state["costs"].items()}
        if state["optimizers_of"] >= 0:
            self._enter(state["optimizers_of"])
            # What was spent on the cache before is known; making it again is no part of the training.
            self.cache_seconds, self.cache_flops = state["cache_seconds"], state["cache_flops"]
            for k, optimizer in self._optimizers.items():
                _put_back(optimizer, state["optimizers"][k])
        torch.set_rng_state(state["rng"].cpu())
        if torch.cuda.is_available() and len(state["cuda_rng"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([rng.cpu() for rng in state["cuda_rng"]])

    @cached_property
    def _starts(self) -> list[int]:
        """The step at which each stage begins."""
        return [sum(stage.steps for stage in self.plan[:k]) for k in range(len(self.plan))]

    def _stage_at(self, step: int) -> int:
        """The number of the stage to which a step belongs."""
        return max(k for k, start in enumerate(self._starts) if start <= step)

    def _enter(self, number: int) -> None:
        """Freezes what is trained, and makes new optimisers for what is to be trained."""
        if number == self._stage:
            return
        self._stop_clock()
        self._stage = number
        stage = self.plan[number]
        for k, unit in enumerate(self.units):
            unit.train(k >= stage.first)
        active = range(stage.first, stage.end)
        self._optimizers = {k: self.recipe.optimizer(list(self.units[k].parameters())) for k in active}
        self._wrapped = {k: parallel(self.units[k], self.units[k].objective.rests) for k in active}
        share_buffers(self.units[: stage.first])
        begin = self._now()
        self._cache = self._cached(stage)
        self.cache_seconds += self._now() - begin

    def _kinds_of(self, stage: int, steps: NDArray) -> list[Kind]:
        """The kinds of some steps of a stage, which are counted over all stages."""
        size, per_epoch = self.recipe.batch_size, self.steps_per_epoch
        ends = steps % per_epoch == per_epoch - 1
        sizes = np.where(ends, len(self.dataset.train) - (per_epoch - 1) * size, size)
        enters = (steps - self._starts[stage]) % self.recipe.loss_every == 0
        return [(stage, *kind) for kind in zip(sizes.tolist(), enters.tolist(), strict=True)]

    def _timed_step(self, indices: Tensor) -> None:
        [kind] = self._kinds_of(self._stage, np.array([self.step]))
        # The first step of a stage makes the optimiser's state, which stays; another of its kind is measured.
        begins = self.step == self._starts[self._stage] and self.kinds[kind] > 1
        if kind not in self.costs and not begins and world() == 1:
            self._stop_clock()
            self.costs[kind] = measure_step(lambda: self._train_on(indices), self.device)
            return
        if self._clock is None:
            self._clock = self._now()
        self._train_on(indices)
        self.timed_steps += 1

    def _now(self) -> float:
        """The time when all that was asked of the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _stop_clock(self) -> None:
        # One stretch of steps is timed as a whole: waiting for a GPU after each step would leave it idle.
        if self._clock is not None:
            self.seconds += self._now() - self._clock
            self._clock = None

    def _train_on(self, indices: Tensor) -> None:
        stage, recipe = self.plan[self._stage], self.recipe
        started = self.step - self._starts[self._stage]
        inputs, below, targets = self._batch(indices)
        if recipe.autocast is not None and below.ndim == 4:
            below = below.contiguous(memory_format=torch.channels_last)
        memo: dict[str, Any] = {}
        for k, optimizer in self._optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr * recipe.lr_factor(started)
            below = train_unit(
                self._wrapped[k],
                optimizer,
                below,
                inputs,
                targets,
                progress=started / stage.steps,
                step=started,
                memo=memo,
                micro_batches=recipe.micro_batches,
                # The mean over processes becomes the mean over samples.
                weight=len(indices[rank() :: world()]) * world() / len(indices),
                autocast=recipe.autocast,
            )

    def _batch(self, indices: Tensor) -> tuple[Tensor, Tensor, Targets]:
        """Inputs X, what the first active unit gets, and targets of this process's share of a step."""
        recipe, share = self.recipe, slice(rank(), None, world())
        generator = torch.Generator().manual_seed(recipe.seed * SEED_STRIDE + self.step)
        if recipe.augment is None:
            indices = indices[share]
        inputs, targets = batch_of(self.dataset, self.dataset.train, indices, self.device)
        if recipe.augment is not None:
            # Drawn for the whole batch, so that several processes augment as one does.
            inputs, targets = _augmented(recipe.augment, inputs, targets, generator)
            inputs, targets = inputs[share], targets[share]
        if recipe.expand is not None:
            inputs, targets = recipe.expand(inputs, targets, generator)
        if self._cache is not None:
            return inputs, self._cache[indices.to(self._cache.device)], targets
        return inputs, self._through_frozen(inputs, self.plan[self._stage].first), targets

    @torch.no_grad()
    def _through_frozen(self, below: Tensor, until: int, start: int = 0) -> Tensor:
        for unit in self.units[start:until]:
            with torch.autocast(below.device.type, dtype=self.recipe.autocast, enabled=bool(self.recipe.autocast)):
                below = tensor_of(unit.block(below))
        return below

    def _cached(self, stage: Stage) -> Tensor | None:
        """Outputs of the frozen units for the whole training split, (N, ...), where they stay the same and fit."""
        recipe, first = self.recipe, stage.first
        if first == 0 or recipe.augment is not None or recipe.expand is not None:
            return None
        split, before = self.dataset.train, self._cache
        everything = torch.arange(len(split))

        def outputs(part: Tensor) -> Tensor:
            if before is not None:
                return self._through_frozen(before[part.to(before.device)], first, first - 1)
            return self._through_frozen(self.dataset.batch(split, part, self.device)[0], first)

        examples: list[Tensor] = []
        few = everything[:2]
        cost = measure_step(lambda: examples.append(outputs(few)), self.device)
        example = examples[0]
        if example[0].numel() * example.element_size() * len(split) > recipe.cache_bytes:
            return None
        cache = torch.empty(len(split), *example.shape[1:], dtype=example.dtype, device=self.device)
        self.cache_flops += cost.flops * len(split) // len(few)
        # The old one stays until the new one is full.
        held = cache.nbytes + (0 if before is None else before.nbytes)
        self.largest_cache = max(self.largest_cache, held)
        for part in everything.split(recipe.batch_size):
            cache[part[0] : part[-1] + 1] = outputs(part)
        return cache

    def _batches(self, epoch: int) -> list[Tensor]:
        labels = self.dataset.train.labels
        generator = torch.Generator().manual_seed(self.recipe.seed * SEED_STRIDE + epoch)
        order = torch.randperm(len(labels), generator=generator)
        if self.recipe.per_class > 1:
            order = by_class(order, labels.cpu(), self.recipe.per_class, generator)
        batches = list(order.to(labels.device).split(self.recipe.batch_size))
        if len(batches) > self.steps_per_epoch:
            batches[-2:] = [torch.cat(batches[-2:])]
        return batches


def _augmented(
    augment: Augmentation, inputs: Tensor, targets: Targets, generator: torch.Generator
) -> tuple[Tensor, Targets]:
    if targets.boxes is None:
        return augment(inputs, generator), targets
    moved, boxes = augment.with_boxes(inputs, targets.boxes, generator)
    return moved, Targets(targets.labels, boxes)


def batch_of(dataset: Dataset, split: Split, indices: Tensor, device: torch.device) -> tuple[Tensor, Targets]:
    """Normalised inputs and the targets of some samples, on a device."""
    inputs, labels = dataset.batch(split, indices, device)
    return inputs, Targets(labels, None if split.boxes is None else dataset.boxes(split, indices, device))


def by_class(order: Tensor, labels: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """An order of the samples in which groups of one class stand together; each sample comes once, as before.

    Args:
        order: A random order, (N,) int64.
        labels: Classes, (N,) int64.
        size: Samples of a group; the last one of a class takes what is left.
        generator: Shuffles the groups.
    """
    order = order[labels[order].argsort(stable=True)]
    counts = labels.bincount()
    place = torch.arange(len(order)) - (counts.cumsum(0) - counts)[labels[order]]
    group = (place % size == 0).cumsum(0) - 1
    turns = torch.randperm(int(group[-1]) + 1, generator=generator)
    return order[turns[group].argsort(stable=True)]


def count_steps(samples: int, batch_size: int) -> int:
    """Number of batches of an epoch; a last one with one sample a process, useless to batch norm, joins another."""
    full, rest = divmod(samples, batch_size)
    return max(1, full + (rest >= 2 * world()))


@contextlib.contextmanager
def evaluation(units: Sequence[Unit]) -> Iterator[None]:
    """Units in evaluation mode and without gradients, without a trace on training."""
    with eval_mode(nn.ModuleList(units)), torch.no_grad():
        yield


def _refuse_other_form(value: Any, model: Any, free: Collection[str] = ()) -> None:
    """Refuses what has not the types, keys, lengths and shapes of a model, but for keys that are `free`."""
    if type(value) is not type(model):
        raise ValueError(f"{type(value).__name__} in the place of {type(model).__name__}")
    if isinstance(model, Tensor):
        if value.shape != model.shape or value.dtype != model.dtype:
            raise ValueError(f"{value.dtype} {tuple(value.shape)} in the place of {tuple(model.shape)}")
    elif isinstance(model, dict):
        if value.keys() != model.keys():
            raise ValueError("other keys")
        for key in model.keys() - free:
            _refuse_other_form(value[key], model[key])
    elif isinstance(model, list | tuple):
        if len(value) != len(model):
            raise ValueError("another length")
        for part, of_model in zip(value, model, strict=True):
            _refuse_other_form(part, of_model)


def _put_back(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Puts back the state of an optimiser: tensors like its parameters, and counters."""
    present = optimizer.state_dict()["param_groups"]
    # How parameters are moved is a matter of the device, which may be another one now.
    groups = [{**group, "fused": now["fused"]} for group, now in zip(state["param_groups"], present, strict=True)]
    _refuse_other_form(groups, present)
    optimizer.load_state_dict({**state, "param_groups": groups})
    for parameter, values in optimizer.state.items():
        for value in values.values():
            if value is not None and torch.as_tensor(value).shape not in (parameter.shape, ()):
                raise ValueError("state of an optimiser that is not like its parameters")


def _cost(peak: int, saved: int | None, flops: int) -> Cost:
    if not all(isinstance(number, int) for number in (peak, saved or 0, flops)):
        raise ValueError("a cost that is no number")
    return Cost(peak, saved, flops)
