"""Recording in a training of Transformers: `Trainer(callbacks=[RecorderCallback(probe, "run.h5")], …)`."""

from __future__ import annotations

import os
from typing import Any

from infoplane.errors import InfoplaneError
from infoplane.estimators.base import EstimatorSettings
from infoplane.integrations.loop import LoopRecording

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError:
    raise InfoplaneError(
        'this callback needs Transformers; install it: pip install "infoplane[transformers]"'
    ) from None


class RecorderCallback(TrainerCallback):
    """Records a training of Transformers' Trainer, with the same weights at its end as without, bit for bit.

    Snapshots are taken before optimiser steps (`state.global_step` counts them, so accumulated batches are one)
    and at the end, in the process of rank 0 alone. Under mixed precision the network runs as in training, for
    Accelerate puts the autocast into its `forward`. A training that goes on from a checkpoint goes on with its run
    file.

    Example:
        >>> layers = ["bert.encoder.layer.*", "classifier"]
        >>> callback = RecorderCallback((tokens, y), "transformers.h5", layers=layers)
        >>> trained = Trainer(model, arguments, train_dataset=sentences, callbacks=[callback]).train()
        >>> [snapshot.step for snapshot in ip.open_run("transformers.h5").snapshots][:4]
        [0, 1, 2, 3]
    """

    def __init__(
        self,
        probe: Any,
        path: str | os.PathLike[str],
        *,
        snapshots: int = 40,
        log: bool = False,
        estimator: EstimatorSettings | None = None,
        **recording: Any,
    ) -> None:
        """Keeps the arguments until the training begins.

        Args:
            probe: The samples and their targets, as `Recorder` takes them.
            path: The run file to make.
            snapshots: Number of snapshots in the first 10,000 steps, log-spaced; see `Recorder`.
            log: Add I(X;T) and I(T;Y) of every snapshot to `state.log_history`.
            estimator: What makes them; None is Rényi's with its defaults.
            recording: Further arguments of `Recorder`, such as `layers`, `reduce` or `force`.
        """
        self._recording = LoopRecording(probe, path, estimator, snapshots=snapshots, **recording)
        self._log = log

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **kwargs: Any,
    ) -> None:
        """Opens the run file."""
        if state.is_world_process_zero:
            self._recording.begin(model, state.global_step)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Records, if a snapshot is due."""
        self._recording.step(state.global_step, state.epoch or 0.0, _metrics(state), self._logger(state))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Records the end and closes the run file."""
        self._recording.finish(state.global_step, state.epoch or 0.0, _metrics(state), self._logger(state))

    def _logger(self, state: TrainerState) -> Any:
        if not self._log:
            return None
        return lambda values, step: state.log_history.append({**values, "step": step})


def _metrics(state: TrainerState) -> dict[str, float]:
    """Metrics that the trainer logged last, one number each."""
    logged: dict[str, float] = {}
    for entry in state.log_history:
        numbers = {name: value for name, value in entry.items() if isinstance(value, int | float)}
        logged |= {name: value for name, value in numbers.items() if not name.startswith("infoplane/")}
    return {name: value for name, value in logged.items() if name != "total_flos"}
