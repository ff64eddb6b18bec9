"""Checks the estimator of this installation on this machine against independent values and closed forms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from infoplane.entropy import class_entropy, class_joint_entropy, joint_entropy, mutual_information, renyi_entropy
from infoplane.kernels import gram_matrix, label_gram

# Printed by at least two independently written public implementations that agree to all digits shown
# (representation-itl, MI.py of S. Yu, and for α = 1 the code of Wickstrøm et al.), for
# X = default_rng(0).standard_normal((200, 20)), W = default_rng(1).standard_normal((20, 10)) / √20,
# T = tanh(X W), y = arange(200) mod 10, σ_X = 3, σ_T = 2, in bits. The label kernel there is a Gaussian of
# σ = 0.1 on one-hot labels, which is the delta kernel to 1e-43.
REFERENCE = {
    1.0: {
        "S(X)": 6.64505523914,
        "S(T)": 3.62132660795,
        "S(Y)": 3.32192809489,
        "S(X,T)": 7.16912051515,
        "S(T,Y)": 6.17934142826,
        "I(X;T)": 3.09726133195,
        "I(T;Y)": 0.763913274585,
    },
    1.01: {
        "S(X)": 6.63071600219,
        "S(T)": 3.59468972022,
        "S(Y)": 3.32192809489,
        "S(X,T)": 7.16247458528,
        "S(T,Y)": 6.16640126242,
        "I(X;T)": 3.06293113713,
        "I(T;Y)": 0.750216552692,
    },
    2.0: {
        "S(X)": 5.04352182037,
        "S(T)": 2.16003222862,
        "S(Y)": 3.32192809489,
        "S(X,T)": 6.28413876144,
        "S(T,Y)": 5.28137565043,
        "I(X;T)": 0.919415287546,
        "I(T;Y)": 0.200584673071,
    },
}
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Check:
    """One comparison, in bits.

    Attributes:
        name: What is computed.
        device: "cpu" or "cuda".
        expected: The independent value.
        got: What this installation gives.
    """

    name: str
    device: str
    expected: float
    got: float

    @property
    def ok(self) -> bool:
        """Whether both agree to 1e-9 bits."""
        return abs(self.got - self.expected) <= TOLERANCE


def devices() -> list[str]:
    """The devices that this machine computes on: the CPU, and CUDA where there is one."""
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def checks(device: str) -> Iterator[Check]:
    """Every comparison on one device.

    Args:
        device: "cpu" or "cuda".
    """
    yield from _reference(device)
    yield from _closed_forms(device)


def reference_data() -> tuple[Tensor, Tensor, Tensor]:
    """X (200, 20), T (200, 10), y (200,) of the stored values."""
    x = np.random.default_rng(0).standard_normal((200, 20))
    weights = np.random.default_rng(1).standard_normal((20, 10)) / math.sqrt(20)
    labels = np.arange(200) % 10
    return torch.from_numpy(x), torch.from_numpy(np.tanh(x @ weights)), torch.from_numpy(labels)


def _reference(device: str) -> Iterator[Check]:
    x, t, y = (part.to(device) for part in reference_data())
    gram_x, gram_t, gram_y = gram_matrix(x, sigma=3.0), gram_matrix(t, sigma=2.0), label_gram(y)
    labels, host_t = y.cpu().numpy(), gram_t.cpu().numpy()
    for alpha, expected in REFERENCE.items():
        got = {
            "S(X)": renyi_entropy(gram_x, alpha),
            "S(T)": renyi_entropy(gram_t, alpha),
            "S(Y)": renyi_entropy(gram_y, alpha),
            "S(X,T)": joint_entropy(gram_x, gram_t, alpha=alpha),
            "S(T,Y)": joint_entropy(gram_t, gram_y, alpha=alpha),
            "I(X;T)": mutual_information(gram_x, gram_t, alpha),
            "I(T;Y)": mutual_information(gram_t, gram_y, alpha),
        }
        for name, value in got.items():
            yield Check(f"{name}, α={alpha:g}, stored", device, expected[name], float(value))
        if device == "cpu":
            by_class = class_joint_entropy(host_t, labels, alpha)
            yield Check(f"S(T,Y) by class, α={alpha:g}, stored", device, expected["S(T,Y)"], by_class)
            by_count = class_entropy(labels, alpha)
            yield Check(f"S(Y) by counts, α={alpha:g}, stored", device, expected["S(Y)"], by_count)


def _closed_forms(device: str) -> Iterator[Check]:
    n = 64
    identical = gram_matrix(torch.ones(n, 3, device=device), sigma=1.0)
    orthogonal = torch.eye(n, dtype=torch.float64, device=device) / n
    labels = torch.arange(n, device=device) % 3
    frequencies = np.bincount(labels.cpu().numpy()) / n
    for alpha in (0.5, 1.0, 1.01, 2.0, 3.0):
        shannon = -float((frequencies * np.log2(frequencies)).sum())
        classical = shannon if alpha == 1 else float(np.log2((frequencies**alpha).sum()) / (1 - alpha))
        yield Check(f"identical samples, α={alpha:g}", device, 0.0, float(renyi_entropy(identical, alpha)))
        yield Check(
            f"orthogonal samples, α={alpha:g}", device, math.log2(n), float(renyi_entropy(orthogonal, alpha))
        )
        yield Check(
            f"delta kernel, α={alpha:g}", device, classical, float(renyi_entropy(label_gram(labels), alpha))
        )
    gram = gram_matrix(reference_data()[1].to(device), sigma=1.0)
    squares = torch.linalg.eigvalsh(gram).square().sum().item()
    yield Check("α=2 by eigenvalues", device, -math.log2(squares), float(renyi_entropy(gram, 2.0)))
    limit = float(renyi_entropy(gram, 1.0))
    yield Check("α=1+1e-12 against α=1", device, limit, float(renyi_entropy(gram, 1 + 1e-12)))
