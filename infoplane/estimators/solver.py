"""Gram matrices and their entropies, with the order, precision, tolerance and device that the user chose."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from infoplane.condensed import samples
from infoplane.device import device_of
from infoplane.entropy import (
    Interval,
    certified_class_joint_entropy,
    certified_entropy,
    class_joint_entropies,
    gram_entropies,
    gram_entropy,
)
from infoplane.entropy.eigenvalues import TOGETHER_UP_TO, Partitions, checked_order
from infoplane.errors import InfoplaneError
from infoplane.kernels import constant_gram, multiply_kernel, square_gram

DTYPES = ("float64", "float32")
# Of the matrices that a GPU solves at once.
CHUNK_BYTES = 2**30
# One solve fills a GPU, and two might not fit into its memory.
_gpu, _ahead = threading.Lock(), threading.BoundedSemaphore(2)


@dataclass(frozen=True)
class Solver:
    """Entropies of Gram matrices.

    Attributes:
        alpha: Order α > 0.
        dtype: "float64" or "float32", the precision of eigenvalues and matrix products.
        tolerance: 0 for exact values; otherwise bits.
        device: "auto" (CUDA where there is one), "cpu" or "cuda".

    Raises:
        InfoplaneError: An order, precision or tolerance out of range, or both of the last two, or an order below 1
            in single precision; no such device here.
    """

    alpha: float = 1.0
    dtype: str = "float64"
    tolerance: float = 0.0
    device: str = "auto"

    def __post_init__(self) -> None:
        if not (self.alpha > 0 and math.isfinite(self.alpha)):
            raise InfoplaneError(f"alpha must be positive and finite, got {self.alpha}")
        if self.dtype not in DTYPES:
            raise InfoplaneError(f"dtype '{self.dtype}': choose one of {', '.join(DTYPES)}")
        if self.dtype == "float32" and self.alpha < 1:
            raise InfoplaneError(
                f"alpha {self.alpha} with dtype float32: orders below 1 make much of rounding errors; "
                "choose dtype float64 or alpha >= 1"
            )
        checked_order(self.alpha)
        if not (self.tolerance >= 0 and math.isfinite(self.tolerance)):
            raise InfoplaneError(
                f"the tolerance must be a positive number of bits (0: exact), got {self.tolerance}"
            )
        if self.tolerance and self.dtype != "float64":
            raise InfoplaneError(
                f"choose a tolerance or dtype {self.dtype}: with a tolerance, float32 is taken anyway where its "
                "error is known, and what is exact nevertheless is in float64"
            )
        if self.place.type not in ("cpu", "cuda"):
            raise InfoplaneError(f"device '{self.device}' has no float64; use `device='auto'`, cpu or cuda")

    @property
    def place(self) -> torch.device:
        """The device."""
        return device_of(self.device)

    @property
    def rough(self) -> Solver:
        """The solver of what differs between permutations by more than rounding: in float32 where that may be."""
        return self if self.tolerance or self.alpha < 1 else replace(self, dtype="float32")

    def turn(self) -> contextlib.AbstractContextManager[object]:
        """Waits until a GPU is free, for as long as Gram matrices stand on it; any number of CPU solves go on."""
        return _gpu if self.place.type == "cuda" else contextlib.nullcontext()

    def ahead(self) -> contextlib.AbstractContextManager[object]:
        """Waits until the distances of another layer may stand on a GPU: of one that is solved, and the next."""
        return _ahead if self.place.type == "cuda" else contextlib.nullcontext()

    def gram(self, distances: NDArray | torch.Tensor, sigma: float) -> torch.Tensor:
        """Normalised Gaussian Gram matrix from distances.

        Args:
            distances: Euclidean distances: condensed, (n (n−1) / 2,), or a tensor of all pairs on the device,
                (n, n) float64, which is used up.
            sigma: Bandwidth σ > 0 in the units of the distances.

        Returns:
            (n, n) float64 on the device, trace 1.
        """
        if isinstance(distances, torch.Tensor):
            return square_gram(distances, sigma)
        gram = constant_gram(samples(distances), self.place)
        multiply_kernel(gram, distances, sigma)
        return gram

    def entropy(self, gram: torch.Tensor, room: float = math.inf, seed: int = 0) -> Interval:
        """S_α of a normalised Gram matrix, bits.

        Args:
            gram: (n, n) float64, trace 1.
            room: Half-width in bits that its interval may have, where that is less than the tolerance.
            seed: Seed of the probes where it is not exact.
        """
        if self.tolerance:
            return certified_entropy(gram, self.alpha, min(room, self.tolerance), seed=seed)
        return Interval.of_exact(gram_entropy(gram, self.alpha, self.dtype))

    @property
    def solves_many(self) -> bool:
        """Whether many matrices are solved at once, exactly: a single one does not fill a GPU."""
        return self.place.type == "cuda" and not self.tolerance

    def solves_together(self, n: int) -> bool:
        """Whether matrices of n samples are solved faster several at once, exactly: small ones on a CPU too."""
        return self.solves_many or (n <= TOGETHER_UP_TO and not self.tolerance)

    def entropies(self, grams: torch.Tensor) -> list[Interval]:
        """S_α of several Gram matrices (k, n, n) of any trace, bits: all at once, where `solves_together`."""
        return [Interval.of_exact(value) for value in gram_entropies(grams, self.alpha, self.dtype).tolist()]

    def permuted_joint_entropies(
        self, gram: torch.Tensor, other: torch.Tensor, orders: Sequence[NDArray]
    ) -> list[float]:
        """S_α of a variable and another one under several orders of its samples: all at once, where `solves_many`.

        Args:
            gram: Normalised Gram matrix of the variable, (n, n) float64.
            other: Of the other one, (n, n) float64 on the same device.
            orders: For each entropy, which sample of the other one goes with sample i, (n,) int64.

        Returns:
            Entropies in bits, in the precision of `rough`.
        """
        together = max(1, CHUNK_BYTES // gram.nbytes)
        values: list[float] = []
        for first in range(0, len(orders), together):
            places = torch.from_numpy(np.stack(orders[first : first + together])).to(gram.device)
            joint = other[places[:, :, None], places[:, None, :]].mul_(gram)
            values += gram_entropies(joint, self.alpha, self.rough.dtype).tolist()
        return values

    def class_joint_entropies(
        self,
        gram: torch.Tensor,
        labelings: Sequence[NDArray],
        rooms: Sequence[float],
        seed: int = 0,
        partitions: Partitions | None = None,
    ) -> list[Interval]:
        """S_α(T, Y) of a variable and several labelings under the delta kernel, bits.

        Args:
            gram: Normalised Gram matrix of T with a constant diagonal, (n, n).
            labelings: Class labels, (n,) each.
            rooms: For each labeling, as for `entropy`.
            seed: Seed of the probes of the first labeling; the others have the next ones.
            partitions: `class_partitions` of the labelings, where they are at hand.
        """
        if not self.tolerance:
            values = class_joint_entropies(gram, partitions or labelings, self.alpha, self.dtype)
            return [Interval.of_exact(value) for value in values]
        return [
            certified_class_joint_entropy(gram, labels, self.alpha, min(room, self.tolerance), seed=seed + number)
            for number, (labels, room) in enumerate(zip(labelings, rooms, strict=True))
        ]
