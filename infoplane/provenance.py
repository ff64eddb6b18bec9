"""Provenance of a file: versions, command, device."""

from __future__ import annotations

import contextlib
import datetime
import functools
import importlib.metadata
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import infoplane

_PACKAGES = ("torch", "torchvision", "numpy", "scipy", "h5py", "scikit-learn")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    # An editable install keeps its first metadata, which may be older than the code.
    return {"python": platform.python_version(), "infoplane": infoplane.__version__, **_installed()}


@functools.cache
def _installed() -> dict[str, str]:
    """The versions of other packages, whose metadata take long to read."""
    known = {}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            known[package] = importlib.metadata.version(package)
    return known


def _program() -> list[str]:
    """What was called: the name of a script, or a package as `python -m` calls it."""
    path = Path(sys.argv[0])
    return ["python", "-m", path.parent.name] if path.name == "__main__.py" else [path.name]


def provenance(device: str = "cpu") -> dict[str, Any]:
    """Time, command, versions, platform and device of what is being made now.

    Args:
        device: Name of the device that computes.
    """
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join([*_program(), *sys.argv[1:]]),
        "versions": versions(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": device,
    }
