"""The training loop: steps through shuffled epochs, calls back at planned steps, stops between two steps."""

from __future__ import annotations

import contextlib
import logging
import math
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from infoplane.data import Dataset, Split
from infoplane.layers import eval_mode, tensor_of

logger = logging.getLogger(__name__)

Objective = Callable[[nn.Module, Tensor, Tensor], Tensor]


class Interrupted(Exception):
    """Training was asked to stop; the step that was under way is finished.

    Attributes:
        signal: Number of the signal that asked.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.signal = number


@dataclass
class Loop:
    """Trains a model; the order of the data is a function of seed and epoch alone.

    Attributes:
        model: The network, on its device.
        objective: Gives the loss of a batch.
        optimizer: Trains the network's parameters.
        lr: Learning rate before the factor.
        lr_factor: Factor of the learning rate after so many steps.
        dataset: The data set.
        batch_size: Samples a step.
        seed: Seed of the shuffling.
        step: Number of steps taken.
    """

    model: nn.Module
    objective: Objective
    optimizer: torch.optim.Optimizer
    lr: float
    lr_factor: Callable[[int], float]
    dataset: Dataset
    batch_size: int
    seed: int
    step: int = field(default=0)

    @property
    def steps_per_epoch(self) -> int:
        """Number of optimiser steps of one epoch."""
        return count_steps(len(self.dataset.train), self.batch_size)

    @property
    def epoch(self) -> float:
        """Number of epochs passed, fractional."""
        return self.step / self.steps_per_epoch

    def run(self, total_steps: int, after_step: Callable[[], None]) -> None:
        """Trains until so many steps are taken in all.

        Args:
            total_steps: Where to stop.
            after_step: Called after each step.

        Raises:
            Interrupted: SIGINT or SIGTERM came; the step under way and its callback are finished.
        """
        device = next(self.model.parameters()).device
        self.model.train()
        with _stop_signal() as stop:
            while self.step < total_steps:
                epoch, start = divmod(self.step, self.steps_per_epoch)
                for indices in self._batches(epoch)[start:]:
                    if self.step == total_steps:
                        break
                    self._train_on(*self.dataset.batch(self.dataset.train, indices, device))
                    self.step += 1
                    after_step()
                    if stop:
                        raise Interrupted(stop[0])

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on; loads with `weights_only=True`."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what `state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        torch.set_rng_state(state["rng"].cpu())
        if torch.cuda.is_available() and len(state["cuda_rng"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([rng.cpu() for rng in state["cuda_rng"]])

    def _batches(self, epoch: int) -> list[Tensor]:
        n = len(self.dataset.train)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(self.seed * 1_000_003 + epoch))
        batches = list(order.split(self.batch_size))
        if len(batches) > self.steps_per_epoch:
            batches[-2:] = [torch.cat(batches[-2:])]
        return batches

    def _train_on(self, inputs: Tensor, labels: Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * self.lr_factor(self.step)
        loss = self.objective(self.model, inputs, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def count_steps(samples: int, batch_size: int) -> int:
    """Number of batches of an epoch; a last batch of one sample, useless to batch norm, joins the one before."""
    full, rest = divmod(samples, batch_size)
    return max(1, full + (rest > 1))


def evaluate(
    model: nn.Module, dataset: Dataset, split: Split, indices: Tensor, batch_size: int = 500
) -> tuple[float, float]:
    """Loss and accuracy of a model on some samples, in eval mode and without a trace on training.

    Args:
        model: The network.
        dataset: Where the samples come from.
        split: The split of it.
        indices: Positions in the split, (m,).
        batch_size: Samples of one forward pass.

    Returns:
        Mean cross-entropy in nats, and accuracy between 0 and 1.
    """
    device = next(model.parameters()).device
    loss = correct = 0.0
    with eval_mode(model), torch.no_grad():
        for part in indices.split(batch_size):
            inputs, labels = dataset.batch(split, part, device)
            logits = tensor_of(model(inputs)).float()
            loss += functional.cross_entropy(logits, labels, reduction="sum").item()
            correct += (logits.argmax(1) == labels).sum().item()
    if not math.isfinite(loss):
        logger.warning("the loss is not finite any more; try a smaller --lr")
    return loss / len(indices), correct / len(indices)


@contextlib.contextmanager
def _stop_signal() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM, so that they take effect between two steps; a second one acts at once."""
    received: list[int] = []
    before: dict[int, Any] = {}

    def receive(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, before[number])

    try:
        for number in (int(signal.SIGINT), int(signal.SIGTERM)):
            # Outside the main thread signals cannot be caught; there Python's own handling stays.
            with contextlib.suppress(ValueError):
                before[number] = signal.signal(number, receive)
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
