"""Recording in a training of Lightning: `Trainer(callbacks=[RecorderCallback(probe, "run.h5")])`."""

from __future__ import annotations

import math
import os
from typing import Any

from torch import Tensor

from infoplane.errors import InfoplaneError
from infoplane.estimators.base import EstimatorSettings
from infoplane.integrations.loop import LoopRecording

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError:
    raise InfoplaneError('this callback needs Lightning; install it: pip install "infoplane[lightning]"') from None


class RecorderCallback(Callback):
    """Records a Lightning training, with the same weights at its end as without, bit for bit.

    Snapshots are taken before optimiser steps (`trainer.global_step` counts them, so accumulated batches are one)
    and at the end, in the process of rank 0 alone. The module runs in the precision of its parameters, outside of
    autocast: under `bf16-mixed` the recorded values are those of float32. A training that goes on from a
    checkpoint goes on with its run file.

    Example:
        >>> callback = RecorderCallback((x, y), "lightning.h5", log=True)
        >>> Trainer(max_epochs=2, callbacks=[callback], **quiet).fit(module, loader)
        >>> [snapshot.step for snapshot in ip.open_run("lightning.h5").snapshots][:4]
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
            log: Hand I(X;T) and I(T;Y) of every snapshot to the trainer's loggers.
            estimator: What makes them; None is Rényi's with its defaults.
            recording: Further arguments of `Recorder`, such as `layers`, `target` or `force`.
        """
        self._recording = LoopRecording(probe, path, estimator, snapshots=snapshots, **recording)
        self._log = log

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens the run file."""
        if trainer.is_global_zero:
            self._recording.begin(pl_module, trainer.global_step)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Records, if a snapshot is due."""
        self._recording.step(trainer.global_step, _epoch(trainer), _metrics(trainer), self._logger(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Records the end and closes the run file."""
        self._recording.finish(trainer.global_step, _epoch(trainer), _metrics(trainer), self._logger(trainer))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Closes the run file; all snapshots so far are safe."""
        self._recording.close(ended=False)

    def _logger(self, trainer: Trainer) -> Any:
        if not self._log:
            return None

        def log(values: dict[str, float], step: int) -> None:
            for logger in trainer.loggers:
                logger.log_metrics(values, step)

        return log


def _epoch(trainer: Trainer) -> float:
    """Number of epochs passed, with the part of the present one where its length is known."""
    batches = float(trainer.num_training_batches)
    part = trainer.fit_loop.batch_idx / batches if math.isfinite(batches) and batches else 0.0
    return trainer.current_epoch + max(part, 0.0) * (not trainer.fit_loop.done)


def _metrics(trainer: Trainer) -> dict[str, float]:
    """Metrics that the module logged last, one number each."""
    logged = trainer.callback_metrics.items()
    return {name: float(value) for name, value in logged if not isinstance(value, Tensor) or value.numel() == 1}
