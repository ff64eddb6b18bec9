"""Information planes of deep networks: record, estimate, show, compare.

What `__all__` names is the front door: it keeps its meaning from version to version. Everything else, the
subpackages too, may change.

Example:
    >>> import torch
    >>> from torch import nn
    >>> import infoplane as ip
    >>> x = torch.randn(64, 20)
    >>> y = (x[:, 0] > 0).long()
    >>> model = nn.Sequential(nn.Linear(20, 8), nn.Tanh(), nn.Linear(8, 2))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    >>> with ip.Recorder(model, (x, y), "first.h5") as recorder:
    ...     for _ in range(20):
    ...         loss = nn.functional.cross_entropy(model(x), y)
    ...         recorded = recorder.step(loss=loss)
    ...         optimizer.zero_grad()
    ...         loss.backward()
    ...         _ = optimizer.step()
    >>> plane = ip.information_plane("first.h5", bandwidth="knn:10")
    >>> figure = ip.plot_plane(plane)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infoplane import analysis as analysis
    from infoplane import data as data
    from infoplane import entropy as entropy
    from infoplane import estimators as estimators
    from infoplane import figures as figures
    from infoplane import integrations as integrations
    from infoplane import kernels as kernels
    from infoplane import models as models
    from infoplane import recording as recording
    from infoplane import reporting as reporting
    from infoplane import runfile as runfile
    from infoplane import study as study
    from infoplane import targets as targets
    from infoplane import trainers as trainers
    from infoplane.analysis.plane import Plane
    from infoplane.api import (
        analyze,
        compare,
        estimate,
        information_plane,
        plot_over_time,
        plot_plane,
        resume,
        train,
        write_page,
    )
    from infoplane.data.probe import probe_from
    from infoplane.entropy import (
        conditional_mutual_information,
        joint_entropy,
        mutual_information,
        renyi_entropy,
    )
    from infoplane.errors import InfoplaneError
    from infoplane.kernels import gram_matrix, label_gram
    from infoplane.live import InformationPlane
    from infoplane.recording.recorder import Recorder
    from infoplane.runfile import Run, open_run
    from infoplane.trainers.settings import TrainingSettings

__version__ = "0.2.0"

# Loaded on first use, so that the command line answers --help without loading torch.
_HOMES = {
    "InfoplaneError": "errors",
    "InformationPlane": "live",
    "Plane": "analysis.plane",
    "Recorder": "recording.recorder",
    "Run": "runfile",
    "TrainingSettings": "trainers.settings",
    "analyze": "api",
    "compare": "api",
    "conditional_mutual_information": "entropy",
    "estimate": "api",
    "gram_matrix": "kernels",
    "information_plane": "api",
    "joint_entropy": "entropy",
    "label_gram": "kernels",
    "mutual_information": "entropy",
    "open_run": "runfile",
    "plot_over_time": "api",
    "plot_plane": "api",
    "probe_from": "data.probe",
    "renyi_entropy": "entropy",
    "resume": "api",
    "train": "api",
    "write_page": "api",
}
_ROOMS = (
    *(
        "analysis",
        "data",
        "entropy",
        "estimators",
        "figures",
        "integrations",
        "kernels",
        "models",
        "recording",
        "reporting",
    ),
    *("runfile", "study", "targets", "trainers"),
)

__all__ = [
    "InfoplaneError",
    "InformationPlane",
    "Plane",
    "Recorder",
    "Run",
    "TrainingSettings",
    "analyze",
    "compare",
    "conditional_mutual_information",
    "estimate",
    "gram_matrix",
    "information_plane",
    "joint_entropy",
    "label_gram",
    "mutual_information",
    "open_run",
    "plot_over_time",
    "plot_plane",
    "probe_from",
    "renyi_entropy",
    "resume",
    "train",
    "write_page",
]

# Hidden from type checkers, which would take any name for one of the package.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in _ROOMS:
            return importlib.import_module(f"infoplane.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module 'infoplane' has no attribute '{name}'")
        return getattr(importlib.import_module(f"infoplane.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, *_ROOMS, "__version__"]
