"""The shared part of all callbacks: a recorder that is opened, stepped and closed in a foreign loop."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from infoplane.estimators.base import EstimatorSettings
from infoplane.estimators.renyi import RenyiSettings
from infoplane.live import newest_values
from infoplane.recording.recorder import Recorder
from infoplane.runfile import is_metric_name

Log = Callable[[dict[str, float], int], None]


class LoopRecording:
    """A recording in somebody else's training loop.

    Attributes:
        recorder: The recorder while training runs; None before, after, and in processes that do not record.
    """

    def __init__(
        self, probe: Any, path: str | os.PathLike[str], estimator: EstimatorSettings | None, **recording: Any
    ):
        """Keeps the arguments until there is a network.

        Args:
            probe: As `Recorder` takes it.
            path: The run file to make.
            estimator: What makes the logged values; None is Rényi's with its defaults.
            recording: Further arguments of `Recorder`.
        """
        self._probe, self._path, self._recording = probe, Path(path), recording
        self._estimator = estimator or RenyiSettings()
        self.recorder: Recorder | None = None

    def begin(self, model: nn.Module, step: int) -> None:
        """Opens the run file; a training that goes on from a checkpoint goes on with its file.

        Args:
            model: The network.
            step: Number of optimiser steps taken so far.

        Raises:
            InfoplaneError: As for `Recorder`.
        """
        resume = step > 0 and self._path.exists()
        arguments = {**self._recording, **({"resume": True, "force": False} if resume else {})}
        self.close(ended=False)  # one that an error left behind
        self.recorder = Recorder(model, self._probe, self._path, **arguments)
        if resume:
            self.recorder.rewind(step)

    def step(self, step: int, epoch: float, metrics: Mapping[str, Any], log: Log | None = None) -> None:
        """Records, if a snapshot is due, and hands the newest informations to a logger.

        Args:
            step: Number of optimiser steps taken; the same number may come several times.
            epoch: Number of epochs passed, may be fractional.
            metrics: Numbers by name.
            log: Is called with numbers by name, and the step.
        """
        if self.recorder:
            self.recorder.steps_taken = step
            if self.recorder.step(epoch, **_named(metrics)) and log:
                log(self._values(), step)

    def finish(self, step: int, epoch: float, metrics: Mapping[str, Any], log: Log | None = None) -> None:
        """Records the end, and closes the run file; arguments as for `step`."""
        if self.recorder:
            self.recorder.steps_taken = step
            if step not in self.recorder.steps:
                self.recorder.snapshot(step, epoch, **_named(metrics))
                if log:
                    log(self._values(), step)
        self.close()

    def close(self, ended: bool = True) -> None:
        """Closes the run file, if it is open; `ended` as for `Recorder.close`."""
        if self.recorder:
            self.recorder.close(ended)
            self.recorder = None

    def _values(self) -> dict[str, float]:
        return {f"infoplane/{name}": value for name, value in newest_values(self._path, self._estimator).items()}


def _named(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics under names that a metric can have: loops log step and epoch among them."""
    return {name: value for name, value in metrics.items() if is_metric_name(name)}
