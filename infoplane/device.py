"""The device and the cores that compute."""

from __future__ import annotations

import functools
import os

import torch

from infoplane.errors import InfoplaneError


@functools.cache  # trying a GPU waits for all that it was asked before
def device_of(name: str) -> torch.device:
    """The device of a name; "auto" is a GPU where there is one.

    Raises:
        InfoplaneError: It is not available here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()  # one without values, such as meta, has none to give back
    except (RuntimeError, AssertionError) as error:
        raise InfoplaneError(f"device '{name}' is not available here; use `device='auto'` or cpu") from error
    return device


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
