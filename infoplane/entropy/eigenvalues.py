"""Eigenvalues by the fastest solver of this machine, and the entropy of a spectrum.

Eigenvectors are never formed. Which LAPACK is fastest differs between machines, sizes and numbers of threads (NumPy
brings OpenBLAS, torch often MKL), so it is measured once for each and kept in the user's cache folder; the choice
changes results by rounding only. `INFOPLANE_EIGENSOLVER=torch` (or numpy, one-stage, two-stage) fixes it. SciPy's
solver is no candidate: it keeps the interpreter, so that layers would wait for each other.
"""

from __future__ import annotations

import contextlib
import json
import logging
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
from infoplane.entropy.lapack import available, one_stage_eigenvalues, two_stage_eigenvalues
from infoplane.errors import InfoplaneError
from infoplane.files import write_text

Given = TypeVar("Given")
Found = TypeVar("Found")

LN2 = math.log(2)
SINGLE = (torch.float16, torch.bfloat16, torch.float32)
LEAST_ORDER = 0.2  # below, λ^α of the smallest eigenvalue above its rounding error is 1/1000 of the largest or more
BATCHED_UP_TO = 64  # a CPU solves blocks up to this size in one call: they cost little more than the call
MEASURED_FROM = 512  # below, torch is taken: NumPy keeps the interpreter while it solves small matrices
SIZE_CLASSES = (512, 1024, 2048, 3072)  # sizes at which they are timed; a matrix follows the nearest by ratio
MOST_BESIDE = 4  # solves at once while they are timed
HOPELESS = 1.5  # times the fastest of a first round; slower ones get no second
logger = logging.getLogger(__name__)
_lock = threading.Lock()


def checked_order(alpha: float, *precisions: torch.dtype) -> float:
    """The order α, after the checks that every public function promises; a warning where rounding decides.

    Args:
        alpha: Order α > 0.
        precisions: Those of the matrices and of the computation.

    Raises:
        ValueError: α is not positive and finite, or below 1 in single precision.
    """
    if not (alpha > 0 and math.isfinite(alpha)):
        raise ValueError(f"the order alpha must be positive and finite, got {alpha}")
    if alpha < 1 and any(precision in SINGLE for precision in precisions):
        raise ValueError(
            f"alpha {alpha}: orders below 1 make much of rounding errors in float32; give Gram matrices in float64 "
            "and dtype float64, or take alpha >= 1"
        )
    if alpha < LEAST_ORDER:
        _warn(float(alpha))
    return float(alpha)


@cache
def _warn(alpha: float) -> None:
    logger.warning(
        "alpha %g: below %g, entropies are decided by eigenvalues at rounding level; take a larger alpha",
        alpha,
        LEAST_ORDER,
    )


def _numpy(matrix: NDArray) -> NDArray:
    return np.linalg.eigvalsh(matrix)


def _torch(matrix: NDArray) -> NDArray:
    return torch.linalg.eigvalsh(torch.from_numpy(matrix)).numpy()


SOLVERS: dict[str, Callable[[NDArray], NDArray]] = {"numpy": _numpy, "torch": _torch}
# NumPy solves float32 in float64, at float64 speed, and float64 as one stage does.
CANDIDATES: dict[str, tuple[str, ...]] = {"float64": ("torch", "numpy"), "float32": ("torch",)}
if available():
    SOLVERS |= {"one-stage": one_stage_eigenvalues, "two-stage": two_stage_eigenvalues}
    CANDIDATES = {"float64": ("torch", "numpy", "two-stage"), "float32": ("torch", "one-stage", "two-stage")}


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


def eigenvalues(matrix: torch.Tensor) -> torch.Tensor:
    """Eigenvalues of symmetric matrices, in the precision of the matrix.

    Args:
        matrix: (..., n, n) float32 or float64, CPU or GPU; only one triangle is read. Gradients do not pass.

    Returns:
        (..., n) float64, ascending. A float32 matrix is solved in true single precision.
    """
    matrix = matrix.detach()
    if matrix.is_cuda or matrix.ndim > 2:
        return solved(torch.linalg.eigvalsh, matrix).to(torch.float64)
    array = matrix.numpy()
    values = solved(SOLVERS[fastest(len(array), str(array.dtype))], array)
    return torch.from_numpy(values.astype(np.float64, copy=False))


def block_eigenvalues(
    matrix: torch.Tensor, partitions: Sequence[Sequence[torch.Tensor]], precision: torch.dtype
) -> list[torch.Tensor]:
    """Eigenvalues of the diagonal blocks of a matrix whose samples are parted in one or several ways.

    Blocks of equal size are solved together, those of all partitions: on a GPU, which that fills, and on a CPU if
    they are small. No call takes more values than the matrix has.

    Args:
        matrix: Symmetric, (n, n).
        partitions: For each way, the members of its blocks: (n_i,) int64 each, on the device of the matrix.
        precision: What to solve in, float32 or float64.

    Returns:
        For each partition the union of the eigenvalues of its blocks, (Σ n_i,) float64, in no order.
    """
    parts = [part for partition in partitions for part in partition]
    largest = math.inf if matrix.is_cuda else BATCHED_UP_TO
    found = [torch.empty(0)] * len(parts)
    for size in sorted({len(part) for part in parts}):
        places = [place for place, part in enumerate(parts) if len(part) == size]
        together = len(matrix) ** 2 // size**2 if size <= largest else 1
        for first in range(0, len(places), together):
            chosen = places[first : first + together]
            members = torch.stack([parts[place] for place in chosen])
            stack = matrix[members[:, :, None], members[:, None, :]].to(precision)
            values = eigenvalues(stack if len(stack) > 1 else stack[0]).view(len(stack), size)
            for place, own in zip(chosen, values, strict=True):
                found[place] = own
    each = iter(found)
    return [torch.cat([next(each) for _ in partition]) for partition in partitions]


def spectral_entropy(eigenvalues: NDArray, alpha: float) -> float:
    """Rényi entropy of a spectrum that sums to 1.

    Args:
        eigenvalues: (n,), non-negative up to rounding.
        alpha: Order α > 0.

    Returns:
        Entropy in bits.
    """
    return float(entropy_of(torch.from_numpy(np.asarray(eigenvalues, dtype=np.float64)), alpha))


def entropy_of(values: torch.Tensor, alpha: float, precision: torch.dtype = torch.float64) -> torch.Tensor:
    """Entropy of spectra; rounding errors around zero are dropped, what is left is scaled to sum 1.

    Args:
        values: Eigenvalues, (..., n) float64, non-negative up to rounding.
        alpha: Order α > 0.
        precision: What the eigenvalues were computed in.

    Returns:
        Entropy in bits, (...).
    """
    kept = torch.where(values > rounding(values, alpha, precision), values, 0.0)
    kept = kept / kept.sum(-1, keepdim=True)
    logs = torch.log(torch.where(kept > 0, kept, 1.0))
    if alpha == 1:
        return -(kept * logs).sum(-1) / LN2
    if abs(alpha - 1) < 0.5:
        # tr(A^α) − 1 directly: log2 of a trace near 1 over 1 − α near 0 would cancel.
        excess = (kept * torch.expm1((alpha - 1) * logs)).sum(-1)
        return torch.log1p(excess) / ((1 - alpha) * LN2)
    powers = torch.where(kept > 0, alpha * logs, -math.inf)
    return torch.logsumexp(powers, dim=-1) / ((1 - alpha) * LN2)


def rounding(values: torch.Tensor, alpha: float, precision: torch.dtype) -> torch.Tensor:
    """Eigenvalues up to this are rounding errors of zero, (..., 1)."""
    n, largest = values.shape[-1], values.amax(-1, keepdim=True)
    if alpha < 1:
        # λ^α makes much of little: a single error that is kept counts, so the bound on all of them is taken.
        spread = float(n)
    elif precision == torch.float64:
        spread = math.sqrt(n)
    else:
        # In single precision the errors of eigenvalues near zero have both signs and largely cancel in the sum.
        spread = 0.0
    return torch.finfo(precision).eps * spread * largest


@cache
def _measured(size: int, dtype: str, threads: int) -> str:
    """The fastest solver at a size, from the cache folder or by a measurement of seconds."""
    path = cache_path()
    key = f"{dtype}-{size}-{threads}"
    known = _kept(path)
    if known.get(key) in CANDIDATES[dtype]:
        return known[key]
    rng = np.random.default_rng(0)
    root = rng.standard_normal((size, size)).astype(dtype)
    best = _race(CANDIDATES[dtype], root @ root.T / size, threads)
    # Without a home, or one that cannot be written to, it is measured again next time.
    with contextlib.suppress(InfoplaneError):
        if path:
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
    if forced in CANDIDATES[dtype]:
        return str(forced)
    if n < MEASURED_FROM:
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
    return home / "infoplane" / f"eigensolver-{versions}.json"


def _race(names: Sequence[str], matrix: NDArray, threads: int) -> str:
    """The fastest solver; in rounds, so that a disturbance of the machine meets them all.

    Solves go side by side, as those of layers do: some wait for each other.
    """
    beside = max(1, min(cores() // threads, MOST_BESIDE))
    times: dict[str, list[float]] = {name: [] for name in names}

    def lap(name: str, matrix: NDArray) -> float:
        start = time.perf_counter()
        list(pool.map(SOLVERS[name], [matrix] * beside))
        return time.perf_counter() - start

    with ThreadPoolExecutor(beside, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
        for name in names:
            lap(name, matrix[:64, :64].copy())  # starts its threads before the clock
        running, begin = list(names), time.perf_counter()
        while len(times[running[0]]) < 2 or time.perf_counter() - begin < 0.1:
            for name in running:
                times[name].append(lap(name, matrix))
            best = min(min(found) for found in times.values())
            running = [name for name in running if min(times[name]) <= HOPELESS * best]
    return min(names, key=lambda name: min(times[name]))
