"""Eigenvalues by LAPACK's own routines, from the OpenBLAS that NumPy and SciPy bring along.

Two things that NumPy and SciPy do not give. *One stage* in true single precision: NumPy solves it in double, SciPy
keeps other threads waiting for the interpreter until it is done. *Two stages*: `eigvalsh` reduces a matrix to
tridiagonal form at once and spends half of its operations in products with vectors, which wait for memory once the
matrix has left the cache; from full to band form by products of matrices, then from band to tridiagonal form, it
does not (Haidar, Ltaief and Dongarra, "Parallel reduction to condensed forms for symmetric eigenvalue problems", SC
2011; LAPACK 3.7, dsytrd_sy2sb and dsytrd_sb2st). Where no OpenBLAS is found, `available` says so.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import scipy.linalg  # noqa: F401 loads its OpenBLAS, which serves where NumPy brings another library
from numpy.typing import NDArray
from threadpoolctl import threadpool_info

NARROWEST, WIDEST, PER_BAND = 24, 64, 42  # bandwidth n / 42: the stages take least time together (measured)
# How builds of OpenBLAS spell the routines, and the size of their integers.
SPELLINGS = {"scipy_{}_64_": ctypes.c_int64, "scipy_{}_": ctypes.c_int32, "{}_": ctypes.c_int32}
LOWER, NO_VECTORS, AFTER_BAND = (ctypes.c_char_p(letter) for letter in (b"L", b"N", b"Y"))


def available() -> bool:
    """Whether an OpenBLAS with the routines is loaded."""
    return _library() is not None


def one_stage_eigenvalues(matrix: NDArray) -> NDArray:
    """Eigenvalues of a symmetric matrix, ascending; arguments and errors as for `two_stage_eigenvalues`.

    Returns:
        (n,) in the precision of the matrix.
    """
    n, routine = len(matrix), f"{_letter(matrix)}syevd"
    matrix = np.array(matrix, order="C")
    values = np.empty(n, matrix.dtype)

    def solve(work: NDArray, size: int) -> None:
        integers = np.empty(1, np.int64)
        _call(routine, [NO_VECTORS, LOWER, n, matrix, n, values, work, size, integers, 1], strings=2)

    _with_room(solve, matrix.dtype)
    return values


def two_stage_eigenvalues(matrix: NDArray) -> NDArray:
    """Eigenvalues of a symmetric matrix, ascending.

    Args:
        matrix: (n, n) float64 or float32; one copy is made. From single precision the band goes on in double.

    Returns:
        (n,) float64.

    Raises:
        numpy.linalg.LinAlgError: The eigenvalues did not converge.
    """
    n = len(matrix)
    width = min(max(n // PER_BAND, NARROWEST), WIDEST, n - 1)
    band = _to_band(np.array(matrix, order="C"), width).astype(np.float64, copy=False)
    diagonal, beside = _to_tridiagonal(band, width)
    _call("dsterf", [n, diagonal, beside], strings=0)
    return diagonal


def _to_band(matrix: NDArray, width: int) -> NDArray:
    """Band of the same eigenvalues, (n, width + 1), diagonal by diagonal within each row; overwrites the matrix."""
    n, routine = len(matrix), f"{_letter(matrix)}sytrd_sy2sb"
    band, factors = np.zeros((n, width + 1), matrix.dtype), np.empty(n, matrix.dtype)

    def reduce(work: NDArray, size: int) -> None:
        _call(routine, [LOWER, n, width, matrix, n, band, width + 1, factors, work, size], strings=1)

    _with_room(reduce, matrix.dtype)
    return band


def _to_tridiagonal(band: NDArray, width: int) -> tuple[NDArray, NDArray]:
    """Diagonal (n,) and what stands beside it (n−1,); overwrites the band."""
    n = len(band)
    diagonal, beside = np.empty(n), np.empty(n)

    def reduce(reflectors: NDArray, room: int, work: NDArray, size: int) -> None:
        about = [AFTER_BAND, NO_VECTORS, LOWER, n, width, band, width + 1, diagonal, beside]
        _call("dsytrd_sb2st", [*about, reflectors, room, work, size], strings=3)

    asked = np.empty(1), np.empty(1)
    reduce(asked[0], -1, asked[1], -1)
    room, size = (int(array[0]) for array in asked)
    reduce(np.empty(room), room, np.empty(size), size)
    return diagonal, beside[:-1]


def _with_room(routine: Callable[[NDArray, int], None], dtype: np.dtype[Any]) -> None:
    """Asks a routine how much room it works in, then runs it with that."""
    asked = np.empty(1, dtype)
    routine(asked, -1)
    # In single precision the size comes rounded.
    size = int(asked[0] * (1 + np.finfo(dtype).eps)) + 1
    routine(np.empty(size, dtype), size)


def _letter(matrix: NDArray) -> str:
    return "d" if matrix.dtype == np.float64 else "s"


def _call(routine: str, arguments: Sequence[Any], strings: int) -> None:
    """Calls a Fortran routine: integers by reference, the error code and the lengths of the strings at the end."""
    found = _library()
    assert found is not None
    library, spelling, integer = found
    failed = integer(0)
    converted = [
        ctypes.byref(integer(one)) if isinstance(one, int)
        else one.ctypes.data_as(ctypes.c_void_p) if isinstance(one, np.ndarray)
        else one
        for one in arguments
    ]  # fmt: skip
    getattr(library, spelling.format(routine))(*converted, ctypes.byref(failed), *[ctypes.c_size_t(1)] * strings)
    if failed.value > 0:
        raise np.linalg.LinAlgError("the eigenvalues did not converge")
    if failed.value:
        raise np.linalg.LinAlgError(f"{routine} refused argument {-failed.value}")


@cache
def _library() -> tuple[ctypes.CDLL, str, Any] | None:
    """The library, its spelling of the routines and its type of integers."""
    for about in threadpool_info():
        if about["internal_api"] != "openblas":
            continue
        library = ctypes.CDLL(about["filepath"])
        for spelling, integer in SPELLINGS.items():
            if all(hasattr(library, spelling.format(f"{kind}sytrd_sy2sb")) for kind in "ds"):
                return library, spelling, integer
    return None
