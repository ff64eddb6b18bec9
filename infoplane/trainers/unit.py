"""A unit is trained by one loss: a block with its objective; under SGD, the whole network."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from infoplane.recording.layers import tensor_of
from infoplane.trainers.objectives.base import Layout, Objective, Pass
from infoplane.trainers.task import Targets

_Wrapper = Callable[..., tuple[Tensor, Tensor]]


class Unit(nn.Module):
    """A block and the objective that trains it.

    Attributes:
        name: The block's last recorded layer.
        block: Maps T_{l−1} to T_l.
        objective: Its local loss, with the auxiliary classifier.
        layout: How the objective sees the block's output; None as it is.
    """

    def __init__(self, name: str, block: nn.Module, objective: Objective, layout: Layout | None = None) -> None:
        super().__init__()
        self.name = name
        self.block = block
        self.objective = objective
        self.layout = layout

    def forward(
        self,
        below: Tensor,
        inputs: Tensor,
        targets: Targets,
        progress: float,
        step: int,
        memo: dict[str, Any],
        share: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """The local loss, 0-dimensional, and T_l, both with the graph of this unit; arguments as in `Pass`."""
        # No gradient crosses into the block below, whatever it gave.
        below = below.detach()
        output = tensor_of(self.block(below))
        local = Pass(inputs, below, self._seen(output), targets, progress, step, memo, share)
        loss: Tensor = self.objective.loss(local)
        return loss, output

    @torch.no_grad()
    def predict(self, below: Tensor) -> tuple[Tensor, Tensor | None]:
        """T_l and the outputs of its classifier, if it has one."""
        output = tensor_of(self.block(below))
        return output, self.objective.predict(self._seen(output))

    def _seen(self, output: Tensor) -> Tensor:
        return output if self.layout is None else self.layout.to_maps(output)


class Checkpointed(nn.Module):
    """Blocks that keep their inputs only and run again in the backward pass (Chen et al. 2016).

    Running again leaves the running statistics of batch norm alone, so that training is the same bit for bit.
    """

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, below: Tensor) -> Tensor:
        """The output of the last block."""
        for block in self.blocks:
            contexts = partial(_contexts, block)
            below = tensor_of(checkpoint(block, below, use_reentrant=False, context_fn=contexts))
        return below


def _contexts(block: nn.Module) -> tuple[contextlib.AbstractContextManager, contextlib.AbstractContextManager]:
    """The contexts of a block's forward pass, and of the pass that runs it again."""
    return contextlib.nullcontext(), _without_statistics(block)


@contextlib.contextmanager
def _without_statistics(block: nn.Module) -> Iterator[None]:
    """Batch norm goes through the same operations, with a momentum that leaves its statistics where they are."""
    norms: list[Any] = [m for m in block.modules() if getattr(m, "track_running_stats", False) and m.training]
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(batches)


def train_unit(
    unit: _Wrapper,
    optimizer: torch.optim.Optimizer,
    below: Tensor,
    inputs: Tensor,
    targets: Targets,
    *,
    progress: float,
    step: int,
    memo: dict[str, Any],
    micro_batches: int = 1,
    weight: float = 1.0,
    autocast: torch.dtype | None = None,
) -> Tensor:
    """One optimiser step of one unit; its gradients are freed at once.

    Args:
        unit: The unit, or what DistributedDataParallel makes of it.
        optimizer: Trains its parameters.
        below: T_{l−1}, (n, ...).
        inputs: X, (n, ...).
        targets: Labels and boxes.
        progress: Share of the unit's training that is over.
        step: Number of steps that the unit has taken.
        memo: Shared by all units of this step.
        micro_batches: The batch is cut into so many parts (of two samples or more) whose gradients add up.
        weight: Factor of the loss, for shares of unequal size under data parallelism.
        autocast: Reduced precision of the forward pass; None for full precision.

    Returns:
        T_l for the next unit, (n, ...), without graph.
    """
    parts = _parts(len(below), micro_batches)
    # A block that is frozen, with an objective without parameters, does not.
    learns = any(parameter.requires_grad for group in optimizer.param_groups for parameter in group["params"])
    outputs = []
    for part in parts:
        with torch.autocast(below.device.type, dtype=autocast, enabled=autocast is not None):
            # What is kept for one part of the batch is of no use to another.
            kept = memo if len(parts) == 1 else {}
            share = (part.stop - part.start) / len(below)
            loss, output = unit(below[part], inputs[part], targets[part], progress, step, kept, share)
        if learns:
            (loss if weight * share == 1 else loss * (weight * share)).backward()
        outputs.append(output.detach())
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _parts(samples: int, count: int) -> list[slice]:
    count = max(1, min(count, samples // 2))
    edges = [round(k * samples / count) for k in range(count + 1)]
    return [slice(start, end) for start, end in pairwise(edges)]
