"""The fastest solver of this machine: it brings a symmetric matrix into a form from which its entropy is read.

Eigenvectors are never formed. Which LAPACK is fastest differs between machines, sizes and numbers of threads (NumPy
brings OpenBLAS, torch often MKL), so it is measured once for each and kept in the user's cache folder; the choice
changes results by rounding only. `INFOPLANE_EIGENSOLVER=torch` (or numpy, one-stage, two-stage) fixes it. SciPy's
solver is no candidate: it keeps the interpreter, so that layers would wait for each other.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_info

from infoplane.device import cores
from infoplane.entropy.determinants import entropy_by_determinants
from infoplane.entropy.forms import Form, Known
from infoplane.entropy.lapack import available, band_form, tridiagonal_form
from infoplane.errors import InfoplaneError
from infoplane.files import write_text

Given = TypeVar("Given")
Found = TypeVar("Found")

_MEASURED_FROM = 512  # below, the first candidate is taken
SIZE_CLASSES = (512, 1024, 2048, 3072)  # sizes at which they are timed; a matrix follows the nearest by ratio
MOST_BESIDE = 4  # solves at once while they are timed
_HOPELESS = 1.5  # times the fastest of a first round; slower ones get no second
_UNDISTURBED = 0.7  # least share of the cores in use that is the race's own where its outcome is kept
_lock = threading.Lock()


def _numpy(matrix: NDArray) -> Form:
    return Known(np.linalg.eigvalsh(matrix))


def _torch(matrix: NDArray) -> Form:
    return Known(torch.linalg.eigvalsh(torch.from_numpy(matrix)).numpy().astype(np.float64, copy=False))


SOLVERS: dict[str, Callable[[NDArray], Form]] = {"numpy": _numpy, "torch": _torch}
# NumPy solves float32 in float64, at float64 speed.
CANDIDATES: dict[str, tuple[str, ...]] = {"float64": ("torch", "numpy"), "float32": ("torch",)}
if available():
    SOLVERS |= {"one-stage": tridiagonal_form, "two-stage": band_form}
    CANDIDATES = dict.fromkeys(CANDIDATES, ("one-stage", "two-stage", "torch"))


@contextlib.contextmanager
def flushed_denormals() -> Iterator[None]:
    """Takes numbers below the normal range for 0 in this thread, and puts back what held before.

    Where eigenvalues are 0, the reduction of a matrix runs through such numbers, each of which takes a processor
    many times as long as others. No entry or eigenvalue of a Gram matrix counts at that size. Where the processor
    has no such mode, nothing happens.
    """
    # There is no other way to ask: half of the least normal number is 0 where they are flushed already.
    before = sys.float_info.min / 2 == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def solved(solver: Callable[[Given], Found], matrix: Given) -> Found:
    """What a solver finds, at full speed where it can: denormals flushed, unless it does not converge so."""
    try:
        with flushed_denormals():
            return solver(matrix)
    except (np.linalg.LinAlgError, torch.linalg.LinAlgError):
        # LAPACK's dsterf waits for off-diagonal elements to vanish whose squares are flushed (a constant matrix).
        return solver(matrix)


@cache
def _measured(size: int, dtype: str, threads: int) -> str:
    """The fastest solver at a size, from the cache folder or by a measurement of seconds."""
    path = cache_path()
    key = f"{dtype}-{size}-{threads}"
    known = _kept(path)
    if known.get(key) in CANDIDATES[dtype]:
        return known[key]
    root = np.random.default_rng(0).standard_normal((size, size)).astype(dtype)
    best, undisturbed = _race(CANDIDATES[dtype], root @ root.T / size + np.eye(size, dtype=dtype), threads)
    # Without a home, or one that cannot be written to, it is measured again next time.
    with contextlib.suppress(InfoplaneError):
        if path and undisturbed:
            write_text(path, json.dumps({**known, key: best}))
    return best


def _kept(path: Path | None) -> dict[str, str]:
    """The choices in the cache folder; none where the file is missing or damaged."""
    try:
        known = json.loads(path.read_text()) if path and path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return {key: name for key, name in known.items() if isinstance(name, str)} if isinstance(known, dict) else {}


def fastest(n: int, dtype: str) -> str:
    """Name of the solver for an (n, n) matrix of a dtype."""
    forced = os.environ.get("INFOPLANE_EIGENSOLVER")
    if forced in SOLVERS:
        return str(forced)
    if n < _MEASURED_FROM:
        return CANDIDATES[dtype][0]
    with _lock:
        nearest = min(SIZE_CLASSES, key=lambda size: abs(math.log(n / size)))
        return _measured(nearest, dtype, torch.get_num_threads())


def cache_path() -> Path | None:
    """Where the measured choice is kept: one file per processor and versions of libraries; None without a home."""
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    kinds = {about["architecture"] for about in threadpool_info() if about.get("architecture")}
    processor = "-".join([platform.machine(), *sorted(kinds), str(os.cpu_count())])
    versions = f"{processor}-{np.__version__}-{scipy.__version__}-{torch.__version__}"
    return home / "infoplane" / f"solvers-{versions}.json"


def _race(names: Sequence[str], matrix: NDArray, threads: int) -> tuple[str, bool]:
    """The fastest solver, and whether the machine was free for long enough to believe it.

    They go in rounds, so that a disturbance meets them all, and side by side, as those of layers do. Single threads
    are timed by the processor's clock, on which the work of others is not.
    """
    beside = max(1, min(cores() // threads, MOST_BESIDE))
    times: dict[str, list[float]] = {name: [] for name in names}

    def solve(name: str, matrix: NDArray) -> float:
        start = time.thread_time()
        form = SOLVERS[name](matrix)
        if entropy_by_determinants(form, len(matrix), 1.0, matrix.dtype == np.float32) is None:
            form.eigenvalues()
        return time.thread_time() - start

    def lap(name: str, matrix: NDArray) -> float:
        start = time.perf_counter()
        seconds = list(pool.map(solve, [name] * beside, [matrix] * beside))
        return sum(seconds) if threads == 1 else time.perf_counter() - start

    with ThreadPoolExecutor(beside, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
        for name in names:
            lap(name, matrix[:64, :64].copy())  # starts its threads before the clock
        running, begin, used = list(names), time.perf_counter(), time.process_time()
        while len(times[running[0]]) < 2 or time.perf_counter() - begin < 0.1:
            for name in running:
                times[name].append(lap(name, matrix))
            best = min(min(found) for found in times.values())
            running = [name for name in running if min(times[name]) <= _HOPELESS * best]
        share = (time.process_time() - used) / (time.perf_counter() - begin) / (beside * threads)
    return min(names, key=lambda name: min(times[name])), threads == 1 or share >= _UNDISTURBED
