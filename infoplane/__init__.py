"""Information planes of deep networks: record, estimate, show, compare."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infoplane.data.probe import probe_from
    from infoplane.entropy import (
        conditional_mutual_information,
        joint_entropy,
        mutual_information,
        renyi_entropy,
    )
    from infoplane.errors import InfoplaneError
    from infoplane.kernels import gram_matrix
    from infoplane.recording.recorder import Recorder
    from infoplane.runfile import open_run

__version__ = "0.2.0"

# Loaded on first use, so that the command line answers --help without loading torch.
_HOMES = {
    "InfoplaneError": "errors",
    "Recorder": "recording.recorder",
    "conditional_mutual_information": "entropy",
    "gram_matrix": "kernels",
    "joint_entropy": "entropy",
    "mutual_information": "entropy",
    "open_run": "runfile",
    "probe_from": "data.probe",
    "renyi_entropy": "entropy",
}

__all__ = [
    "InfoplaneError",
    "Recorder",
    "conditional_mutual_information",
    "gram_matrix",
    "joint_entropy",
    "mutual_information",
    "open_run",
    "probe_from",
    "renyi_entropy",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'infoplane' has no attribute '{name}'")
    return getattr(importlib.import_module(f"infoplane.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
