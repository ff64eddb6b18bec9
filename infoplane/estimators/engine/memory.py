"""How many solves stand side by side: as many as there are cores, or as memory holds."""

from __future__ import annotations

import math
import os
from pathlib import Path

# Arrays (n, n) of float64 that one layer takes at once: distances of X and T, Gram matrix, the solver's copy.
_SQUARES = 3
CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


def side_by_side(n: int, cores: int) -> int:
    """Number of layers to estimate at once.

    Args:
        n: Number of samples.
        cores: The most that is useful.

    Returns:
        At least 1: memory that does not suffice for one is left to the system to refuse.
    """
    return int(max(1, min(cores, available_memory() // (8 * _SQUARES * n**2))))


def available_memory() -> float:
    """Bytes that are still free, on the machine and in the container that limits the process; ∞ where unknown."""
    return min(_machine(), _container())


def _machine() -> float:
    try:
        return 1024 * _entry(MEMINFO, "MemAvailable:")
    except (OSError, KeyError):
        # All of the memory, where nobody says how much of it is free.
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else math.inf


def _container() -> float:
    try:
        # Pages of files make room when they must, so that only anonymous memory counts as taken.
        return int((CGROUP / "memory.max").read_text()) - _entry(CGROUP / "memory.stat", "anon")
    except (OSError, ValueError, KeyError):
        return math.inf


def _entry(path: Path, name: str) -> int:
    """A number in a file of lines that begin with names."""
    return {words[0]: int(words[1]) for words in map(str.split, path.read_text().splitlines())}[name]
