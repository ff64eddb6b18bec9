"""The verdict of an analysis on a claim: one of five outcomes, the reasons in words, the numbers behind them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

OUTCOMES = ("supported", "mixed", "contradicted", "not shown", "undecidable")


@dataclass(frozen=True)
class Verdict:
    """A verdict on one claim, by rules that were fixed before the data were looked at.

    Attributes:
        claim: What is judged, such as "bottom-up convergence".
        outcome: One of `OUTCOMES`; "undecidable" where the data cannot answer (one seed, one snapshot, too few
            usable layers), with the limitation among the reasons.
        reasons: Sentences, with the numbers in them.
        numbers: Every number of the reasons, as JSON values.

    Raises:
        ValueError: The outcome is none of `OUTCOMES`.
    """

    claim: str
    outcome: str
    reasons: tuple[str, ...]
    numbers: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise ValueError(f"outcome '{self.outcome}' is none of {', '.join(OUTCOMES)}")


@dataclass(frozen=True)
class Criterion:
    """One criterion of a verdict.

    Attributes:
        name: What it asks.
        holds: Whether the data meet it.
        reason: A sentence with the numbers.
        numbers: The same as JSON values.
    """

    name: str
    holds: bool
    reason: str
    numbers: dict[str, Any]


def json_value(value: Any) -> Any:
    """Makes JSON values: NaN and infinity become None, arrays lists, NumPy's numbers Python's."""
    if isinstance(value, Mapping):
        return {str(name): json_value(item) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
