"""Reduced forms of symmetric matrices by LAPACK's own routines, from the OpenBLAS that NumPy and SciPy bring along.

A matrix is reduced to tridiagonal form in *one stage*, as `eigvalsh` does: half of the operations are products with
vectors, which wait for memory once the matrix has left the cache. Or in *two stages*: from full to band form by
products of matrices, which do not wait, then from band to tridiagonal form (Haidar, Ltaief and Dongarra, "Parallel
reduction to condensed forms for symmetric eigenvalue problems", SC 2011; LAPACK 3.7, dsytrd_sy2sb and
dsytrd_sb2st). Either form has the eigenvalues of the matrix, and for next to nothing the log-determinants of which
`infoplane.entropy.determinants` makes entropies.

NumPy and SciPy give no such forms; NumPy solves single precision in double, and SciPy keeps other threads waiting
for the interpreter. Where no OpenBLAS is found, `available` says so.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import scipy.linalg  # noqa: F401 loads its OpenBLAS, which serves where NumPy brings another library
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_info

NARROWEST, WIDEST, PER_BAND = 24, 64, 42  # bandwidth n / 42: the stages take least time together (measured)
# How builds of OpenBLAS spell the routines, and the size of their integers.
_SPELLINGS = {"scipy_{}_64_": ctypes.c_int64, "scipy_{}_": ctypes.c_int32, "{}_": ctypes.c_int32}
LOWER, NO_VECTORS, AFTER_BAND = (ctypes.c_char_p(letter) for letter in (b"L", b"N", b"Y"))


def available() -> bool:
    """Whether an OpenBLAS with the routines is loaded."""
    return _library() is not None


@dataclass(frozen=True)
class Tridiagonal:
    """A symmetric tridiagonal matrix.

    Attributes:
        diagonal: (n,) float64.
        beside: What stands beside the diagonal, (n−1,) float64.
    """

    diagonal: NDArray
    beside: NDArray

    @property
    def moments(self) -> tuple[float, float]:
        """The trace, and the sum of the squared eigenvalues."""
        return float(self.diagonal.sum()), float(self.diagonal @ self.diagonal + 2 * self.beside @ self.beside)

    @classmethod
    def joined(cls, blocks: Sequence[Tridiagonal]) -> Tridiagonal:
        """A matrix of diagonal blocks."""
        besides = [np.append(block.beside, 0.0) for block in blocks]
        return cls(np.concatenate([block.diagonal for block in blocks]), np.concatenate(besides)[:-1])

    def eigenvalues(self) -> NDArray:
        """Eigenvalues, (n,) float64, ascending.

        Raises:
            numpy.linalg.LinAlgError: They did not converge.
        """
        values, beside = self.diagonal.copy(), self.beside.copy()
        _call("dsterf", [len(values), values, beside], strings=0)
        return values

    def log_determinants(self, shifts: NDArray) -> NDArray | None:
        """Natural logarithms of det(A/t + 1) for shifts t > 0, (m,); None where one of them is not positive."""
        made = log_determinants([self], shifts[None])
        return None if made is None else made[0]


def log_determinants(forms: Sequence[Tridiagonal], shifts: NDArray) -> NDArray | None:
    """Those of several matrices of one size, in little more time than their operations take.

    Args:
        forms: The k matrices A.
        shifts: Of each, (k, m) float64.

    Returns:
        Natural logarithms of det(A/t + 1), (k, m); None where one of these matrices is not positive.
    """
    # One matrix of all the shifted ones, which nothing couples.
    pivots = np.stack([form.diagonal for form in forms])[:, None, :] / shifts[:, :, None]
    pivots += 1
    beside = np.zeros_like(pivots)
    np.divide(np.stack([form.beside for form in forms])[:, None, :], shifts[:, :, None], out=beside[:, :, :-1])
    if _call("dpttrf", [pivots.size, pivots, beside], strings=0, positive=True):
        return None
    # NumPy's logarithm is several times as slow where there is no AVX-512.
    return np.asarray(torch.from_numpy(pivots).log_().sum(-1))


@dataclass(frozen=True)
class Band:
    """A symmetric band matrix.

    Attributes:
        rows: (n, width + 1) float64: of each column the diagonal and what stands below it.
    """

    rows: NDArray

    @property
    def moments(self) -> tuple[float, float]:
        """The trace, and the sum of the squared eigenvalues."""
        squares = np.einsum("ij,ij->j", self.rows, self.rows)
        return float(self.rows[:, 0].sum()), float(2 * squares.sum() - squares[0])

    def eigenvalues(self) -> NDArray:
        """Eigenvalues, (n,) float64, ascending.

        Raises:
            numpy.linalg.LinAlgError: They did not converge.
        """
        return _to_tridiagonal(self.rows.copy(), self.rows.shape[1] - 1).eigenvalues()

    def times(self, vectors: torch.Tensor) -> torch.Tensor:
        """Products A x with the rows x of (k, n) float64."""
        rows = torch.from_numpy(self.rows).mT
        products = rows[0] * vectors
        for offset, values in enumerate(rows[1:], 1):
            values = values[:-offset]
            products[:, offset:].addcmul_(values, vectors[:, :-offset])
            products[:, :-offset].addcmul_(values, vectors[:, offset:])
        return products

    def log_determinants(self, shifts: NDArray) -> NDArray | None:
        """Natural logarithms of det(A/t + 1) for shifts t > 0, (m,); None where one of them is not positive."""
        n, width = len(self.rows), self.rows.shape[1] - 1
        factor, diagonals = np.empty_like(self.rows), np.empty((len(shifts), n))
        for shift, diagonal in zip(shifts, diagonals, strict=True):
            np.divide(self.rows, shift, out=factor)
            factor[:, 0] += 1
            if _call("dpbtrf", [LOWER, n, width, factor, width + 1], strings=1, positive=True):
                return None
            diagonal[:] = factor[:, 0]
        return 2 * np.asarray(torch.from_numpy(diagonals).log_().sum(1))


@dataclass(frozen=True)
class Reduction:
    """A band matrix B and the reflections of which Q is the product, with A ≈ Q B Qᵀ up to rounding.

    Attributes:
        band: B.
        reflectors: (n, n): reflection i is along the vector with 0 up to i + width − 1, then 1, then what row i
            holds to the right of i + width.
        factors: (n,); 0 where there is no reflection.
    """

    band: Band
    reflectors: NDArray
    factors: NDArray

    def rotated(self, vectors: torch.Tensor) -> torch.Tensor:
        """Products with Q, orthogonal but for rounding in double precision, whatever the reflectors' precision.

        Q is made of the directions of the reflectors alone: I − Vᵀ T V is orthogonal where T⁻¹ + T⁻ᵀ = V Vᵀ
        (Puglisi, "Modification of the Householder method based on the compact WY representation", SIAM Journal on
        Scientific and Statistical Computing 13(3), 1992).

        Args:
            vectors: Rows x, (k, n) float64.

        Returns:
            Rows Q x, (k, n).
        """
        n, width = len(self.reflectors), self.band.rows.shape[1] - 1
        vectors = vectors.clone()
        for start in reversed(range(0, n - width, width)):
            stop = min(start + width, n - width)
            directions = torch.from_numpy(self.reflectors[start:stop, start + width :]).double().triu_(1)
            directions.diagonal().fill_(1)
            inverse = directions @ directions.mT
            inverse.diagonal().div_(2)
            if not self.factors[start:stop].all():
                none = torch.from_numpy(self.factors[start:stop] == 0)
                directions[none], inverse[none], inverse[:, none] = 0, 0, 0
                inverse.diagonal()[none] = 1
            part = vectors[:, start + width :]
            lengths = torch.linalg.solve_triangular(inverse, directions @ part.mT, upper=True)
            part.addmm_(lengths.mT, directions, alpha=-1)
        return vectors


def tridiagonal_form(matrix: NDArray) -> Tridiagonal:
    """The tridiagonal form of a symmetric matrix, in one stage.

    Args:
        matrix: (n, n) float64 or float32; one copy is made.
    """
    return tridiagonal_forms(matrix[None])[0]


def tridiagonal_forms(matrices: NDArray) -> list[Tridiagonal]:
    """Those of several matrices, which takes less time for small ones than one by one.

    Args:
        matrices: (k, n, n) float64 or float32; one copy is made.
    """
    n, letter = matrices.shape[-1], _letter(matrices)
    matrices = np.array(matrices, order="C")
    # LAPACK leaves the last number besides as it is, and one that happens to be there may be none that can be cast.
    diagonals, besides = np.zeros((2, len(matrices), n), matrices.dtype)
    factors, work = np.empty(n, matrices.dtype), np.empty(_tridiagonal_room(letter, n), matrices.dtype)
    for matrix, diagonal, beside in zip(matrices, diagonals, besides, strict=True):
        _call(f"{letter}sytrd", [LOWER, n, matrix, n, diagonal, beside, factors, work, len(work)], strings=1)
    diagonals, besides = diagonals.astype(np.float64, copy=False), besides.astype(np.float64, copy=False)
    return [Tridiagonal(diagonal, beside[:-1]) for diagonal, beside in zip(diagonals, besides, strict=True)]


@cache
def _tridiagonal_room(letter: str, n: int) -> int:
    """How many numbers a reduction of an (n, n) matrix to tridiagonal form works in."""
    asked = np.empty(1, np.float64 if letter == "d" else np.float32)
    _call(f"{letter}sytrd", [LOWER, n, asked, n, asked, asked, asked, asked, -1], strings=1)
    return _room(asked)


def band_form(matrix: NDArray) -> Band:
    """The band form of a symmetric matrix, the first of two stages.

    Args:
        matrix: (n, n) float64 or float32; one copy is made.
    """
    return band_reduction(matrix).band


def band_reduction(matrix: NDArray, overwrite: bool = False) -> Reduction:
    """The band form of a symmetric matrix, and how it came about.

    Args:
        matrix: (n, n) float64 or float32, row by row in memory.
        overwrite: The matrix need not be kept; otherwise one copy is made.
    """
    n, routine = len(matrix), f"{_letter(matrix)}sytrd_sy2sb"
    width = min(max(n // PER_BAND, NARROWEST), WIDEST, n - 1)
    matrix = matrix if overwrite else np.array(matrix, order="C")
    band, factors = np.zeros((n, width + 1), matrix.dtype), np.zeros(n, matrix.dtype)

    def reduce(work: NDArray, size: int) -> None:
        _call(routine, [LOWER, n, width, matrix, n, band, width + 1, factors, work, size], strings=1)

    _with_room(reduce, matrix.dtype)
    return Reduction(Band(band.astype(np.float64, copy=False)), matrix, factors)


def _to_tridiagonal(band: NDArray, width: int) -> Tridiagonal:
    """The second of two stages; overwrites the band."""
    n = len(band)
    diagonal, beside = np.empty(n), np.empty(n)

    def reduce(reflectors: NDArray, room: int, work: NDArray, size: int) -> None:
        about = [AFTER_BAND, NO_VECTORS, LOWER, n, width, band, width + 1, diagonal, beside]
        _call("dsytrd_sb2st", [*about, reflectors, room, work, size], strings=3)

    asked = np.empty(1), np.empty(1)
    reduce(asked[0], -1, asked[1], -1)
    room, size = (int(array[0]) for array in asked)
    reduce(np.empty(room), room, np.empty(size), size)
    return Tridiagonal(diagonal, beside[:-1])


def _with_room(routine: Callable[[NDArray, int], None], dtype: np.dtype[Any]) -> None:
    """Asks a routine how much room it works in, then runs it with that."""
    asked = np.empty(1, dtype)
    routine(asked, -1)
    size = _room(asked)
    routine(np.empty(size, dtype), size)


def _room(asked: NDArray) -> int:
    """The size of an array that a routine asked for; in single precision it comes rounded."""
    return int(asked[0] * (1 + np.finfo(asked.dtype).eps)) + 1


def _letter(matrix: NDArray) -> str:
    return "d" if matrix.dtype == np.float64 else "s"


def _call(routine: str, arguments: Sequence[Any], strings: int, positive: bool = False) -> bool:
    """Calls a Fortran routine: integers by reference, the error code and the lengths of the strings at the end.

    Args:
        routine: Its name.
        arguments: Its arguments.
        strings: How many of them are strings.
        positive: The routine is for positive definite matrices.

    Returns:
        Whether the matrix was not positive definite, if `positive`.

    Raises:
        numpy.linalg.LinAlgError: The routine failed.
    """
    function, integer = _routine(routine)
    failed = integer(0)
    converted = [
        ctypes.byref(integer(one)) if isinstance(one, int)
        else ctypes.c_void_p(one.ctypes.data) if isinstance(one, np.ndarray)
        else one
        for one in arguments
    ]  # fmt: skip
    function(*converted, ctypes.byref(failed), *[ctypes.c_size_t(1)] * strings)
    if failed.value > 0 and not positive:
        raise np.linalg.LinAlgError("the eigenvalues did not converge")
    if failed.value < 0:
        raise np.linalg.LinAlgError(f"{routine} refused argument {-failed.value}")
    return bool(failed.value)


@cache
def _routine(name: str) -> tuple[Any, Any]:
    """A routine of the library and its type of integers."""
    found = _library()
    assert found is not None
    library, spelling, integer = found
    return getattr(library, spelling.format(name)), integer


@cache
def _library() -> tuple[ctypes.CDLL, str, Any] | None:
    """The library, its spelling of the routines and its type of integers."""
    for about in threadpool_info():
        if about["internal_api"] != "openblas":
            continue
        library = ctypes.CDLL(about["filepath"])
        for spelling, integer in _SPELLINGS.items():
            if all(hasattr(library, spelling.format(f"{kind}sytrd_sy2sb")) for kind in "ds"):
                return library, spelling, integer
    return None
