"""The information plane of a network while it trains, in the shape of a metric: update, compute, plot, reset."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import pandas as pd
from torch import Tensor, nn

from infoplane.analysis.plane import Plane
from infoplane.api import Estimator, information_plane, plot_plane
from infoplane.estimators.base import EstimatorSettings
from infoplane.estimators.engine.estimate import estimate_run
from infoplane.estimators.registry import EstimatorOptions, named_settings, refuse_foreign
from infoplane.recording.recorder import Recorder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOGGED = ("I_XT", "I_TY")


def newest_values(path: Path, settings: EstimatorSettings) -> dict[str, float]:
    """Informations at the last snapshot of a run, by quantity and layer, as loggers take them.

    Args:
        path: The run file; it may still be being written.
        settings: Settings of the estimator.

    Returns:
        Bits (or what the estimator measures) by names such as "I_XT/conv1".

    Raises:
        InfoplaneError: As for `infoplane.estimators.engine.estimate.estimate_run`.
    """
    rows = estimate_run(path, settings, last=True)
    return {
        f"{name}/{layer}": float(value)
        for name in _LOGGED
        for layer, value in zip(rows["layer"], rows[name], strict=True)
    }


class InformationPlane:
    """Gives the information plane of a network while it trains.

    `update` records the network as it is and estimates that snapshot, a tenth of a second for a small network and
    100 samples; training goes on as if it had not been called, bit for bit.

    Attributes:
        recorder: What records; its `path` is the run file.

    Example:
        >>> model = nn.Sequential(OrderedDict(hidden=nn.Linear(20, 8), act=nn.Tanh(), logits=nn.Linear(8, 2)))
        >>> plane = ip.InformationPlane(model, (x, y))
        >>> plane.update()
        >>> sorted(plane.values())
        ['I_TY/act', 'I_TY/logits', 'I_XT/act', 'I_XT/logits']
        >>> plane.compute().layers
        ('act', 'logits')
    """

    def __init__(
        self,
        model: nn.Module,
        probe: Any,
        layers: Sequence[str] | None = None,
        *,
        estimator: Estimator = "renyi",
        path: str | Path | None = None,
        recording: Mapping[str, Any] | None = None,
        **options: Unpack[EstimatorOptions],
    ) -> None:
        """Opens a run file and looks at the network.

        Args:
            model: The network.
            probe: The samples and their targets, as `Recorder` takes them.
            layers: Module names or patterns; None takes the natural units of the architecture.
            estimator: Name of an estimator, or its settings.
            path: The run file to make; None makes one that goes with this object.
            recording: Further arguments of `Recorder`, such as `target` or `reduce`.
            options: Settings of the estimator, see `infoplane.estimators.registry.EstimatorOptions`.

        Raises:
            InfoplaneError: As for `Recorder`, and as for `infoplane.estimate`.
        """
        self._folder = None if path else tempfile.TemporaryDirectory(prefix="infoplane-")
        run = Path(path) if path else Path(str(self._folder and self._folder.name), "live.h5")
        self._arguments: tuple[Any, ...] = (model, probe, run, layers)
        self._recording = dict(recording or {})
        if isinstance(estimator, str):
            refuse_foreign([estimator], options)
            [estimator] = named_settings([estimator], **options)
        else:
            refuse_foreign([], options)
        self._settings = estimator
        self.recorder = Recorder(*self._arguments, **self._recording)

    def update(self, step: int | None = None, epoch: float = math.nan, **metrics: float | Tensor) -> None:
        """Records the network as it is now.

        Args:
            step: Number of optimiser steps taken; None is one more than at the last update, 0 at the first.
            epoch: Number of epochs passed, may be fractional.
            metrics: Loss, accuracy and whatever else was measured, one number each.

        Raises:
            InfoplaneError: As for `Recorder.snapshot`.
        """
        self.recorder.snapshot(max(self.recorder.steps, default=-1) + 1 if step is None else step, epoch, **metrics)

    def compute(self) -> Plane:
        """The plane of all updates; what was estimated before is not estimated again.

        Raises:
            InfoplaneError: There was no update, or the estimator cannot be had.
        """
        return information_plane(self.recorder.path, self._settings)

    def newest(self) -> pd.DataFrame:
        """The estimates of the last update, one row per layer; columns as those of `infoplane.estimate`.

        Raises:
            InfoplaneError: As for `compute`.
        """
        return estimate_run(self.recorder.path, self._settings, last=True)

    def values(self) -> dict[str, float]:
        """The newest informations by "I_XT/layer" and "I_TY/layer" in bits, as loggers take them.

        Raises:
            InfoplaneError: As for `compute`.
        """
        return newest_values(self.recorder.path, self._settings)

    def plot(self, ax: Axes | None = None) -> Figure:
        """Draws the plane of all updates, as `infoplane.plot_plane` does.

        Args:
            ax: Axes to draw into; None makes a figure.

        Raises:
            InfoplaneError: As for `compute`.
        """
        return plot_plane(self.compute(), ax=ax)

    def reset(self) -> None:
        """Forgets all updates, as before a new training; a run file of your own is overwritten."""
        self.recorder.close()
        self.recorder = Recorder(*self._arguments, **{**self._recording, "force": True, "resume": False})

    def close(self) -> None:
        """Closes the run file; one that was made for this object goes with it."""
        self.recorder.close()
