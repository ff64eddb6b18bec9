"""The device that computes."""

from __future__ import annotations

import torch

from infoplane.errors import InfoplaneError


def device_of(name: str) -> torch.device:
    """The device of a name; "auto" is a GPU where there is one.

    Raises:
        InfoplaneError: It is not available here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InfoplaneError(f"device '{name}' is not available here; use --device auto or cpu") from error
    return device
