"""Forms of a symmetric matrix that have its eigenvalues, and from which its entropy is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Form(Protocol):
    """What a solver makes of a symmetric matrix A, (n, n)."""

    @property
    def moments(self) -> tuple[float, float]:
        """The trace, and the sum of the squared eigenvalues."""

    def eigenvalues(self) -> NDArray:
        """Eigenvalues, (n,) float64, in any order.

        Raises:
            numpy.linalg.LinAlgError: They did not converge.
        """

    def log_determinants(self, shifts: NDArray) -> NDArray | None:
        """Natural logarithms of det(A/t + 1) for shifts t > 0.

        Args:
            shifts: (m,) float64.

        Returns:
            (m,) float64; None where one of these matrices is not positive.
        """


@dataclass(frozen=True)
class Known:
    """Eigenvalues themselves.

    Attributes:
        values: (n,) float64.
    """

    values: NDArray

    @property
    def moments(self) -> tuple[float, float]:
        """The trace, and the sum of the squared eigenvalues."""
        return float(self.values.sum()), float(self.values @ self.values)

    def eigenvalues(self) -> NDArray:
        """They."""
        return self.values

    def log_determinants(self, shifts: NDArray) -> NDArray | None:
        """None: whoever knows the eigenvalues takes them."""
        return None


@dataclass(frozen=True)
class Blocks:
    """A block-diagonal matrix.

    Attributes:
        forms: Those of its blocks.
    """

    forms: Sequence[Form]

    @property
    def moments(self) -> tuple[float, float]:
        """The trace, and the sum of the squared eigenvalues."""
        traces, squares = zip(*(form.moments for form in self.forms), strict=True)
        return sum(traces), sum(squares)

    def eigenvalues(self) -> NDArray:
        """Those of all blocks."""
        return np.concatenate([form.eigenvalues() for form in self.forms])

    def log_determinants(self, shifts: NDArray) -> NDArray | None:
        """Sums over the blocks; None where one of them has none."""
        total = np.zeros(len(shifts))
        for form in self.forms:
            found = form.log_determinants(shifts)
            if found is None:
                return None
            total += found
        return total
