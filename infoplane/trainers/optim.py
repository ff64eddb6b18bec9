"""Optimisers and learning-rate schedules by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from infoplane.errors import InfoplaneError, unknown

_OPTIMIZERS = ("sgd", "adam", "adamw")
_SCHEDULES = ("constant", "step", "fractions", "cosine", "onecycle")
_LENGTH_FREE = ("constant", "step")


def build_optimizer(
    name: str, parameters: Iterable[nn.Parameter], lr: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """An optimiser by name.

    Args:
        name: "sgd" (with momentum), "adam" or "adamw" (momentum is their β₁).
        parameters: What it trains.
        lr: Learning rate before the schedule's factor.
        momentum: Momentum, or β₁.
        weight_decay: Weight decay.

    Raises:
        InfoplaneError: No such optimiser.
    """
    parameters = list(parameters)
    # On a GPU one kernel moves all parameters.
    fused = True if parameters and all(parameter.is_cuda for parameter in parameters) else None
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay, fused=fused)
    if name in ("adam", "adamw"):
        kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
        return kind(parameters, lr=lr, betas=(momentum, 0.999), weight_decay=weight_decay, fused=fused)
    raise unknown("optimizer", name, _OPTIMIZERS)


def lr_factor(spec: str, total_steps: int, steps_per_epoch: int) -> Callable[[int], float]:
    """The learning rate's factor as a pure function of the step, so that a resumed run goes on exactly.

    Args:
        spec: "constant"; "step:30,60" (×0.1 after those epochs) or "step:30,60:0.2"; "fractions:0.5,0.75" (×0.1
            after those shares of the run) or "fractions:0.5,0.75:0.2"; "cosine" (to 0 at the end); "onecycle"
            (linear rise over the first 30 %, then linear fall to 0).
        total_steps: Number of optimiser steps of the run.
        steps_per_epoch: Number of optimiser steps of one epoch.

    Returns:
        Function of the number of steps taken.

    Raises:
        InfoplaneError: The specification is none of these.
    """
    name, _, rest = spec.partition(":")
    if name not in _SCHEDULES:
        raise unknown("schedule", name, _SCHEDULES)
    if name == "step":
        return _step_factor(spec, rest, steps_per_epoch)
    if name == "fractions":
        return _step_factor(spec, rest, total_steps)
    if rest:
        raise InfoplaneError(f"schedule '{name}' takes no numbers, got '{spec}'")
    if name == "constant":
        return lambda step: 1.0
    if name == "cosine":
        return lambda step: 0.5 * (1 + math.cos(math.pi * step / total_steps))
    peak = 0.3 * total_steps
    return lambda step: min((step + 1) / max(peak, 1), (total_steps - step) / (total_steps - peak), 1.0)


def _step_factor(spec: str, rest: str, unit: int) -> Callable[[int], float]:
    """Drops after some multiples of a unit of steps: an epoch, or the whole run."""
    milestones, _, gamma = rest.partition(":")
    is_share = spec.startswith("fractions")
    try:
        places = [float(milestone) for milestone in milestones.split(",")]
        rate = float(gamma or 0.1)
    except ValueError:
        places, rate = [], math.nan
    # NaN compares as false.
    if not (0 < rate < math.inf and all(0 <= place <= (1 if is_share else 1e9) for place in places)):
        example = "fractions:0.5,0.75" if is_share else "step:30,60"
        raise InfoplaneError(f"schedule '{spec}': write '{example}' or '{example}:0.2'")
    drops = [place * unit for place in places]
    return lambda step: rate ** sum(step >= drop for drop in drops)


def is_length_free(spec: str) -> bool:
    """Whether a schedule does not depend on the number of epochs, so that a finished run may go on."""
    return spec.partition(":")[0] in _LENGTH_FREE
