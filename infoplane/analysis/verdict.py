"""What an analysis says about a claim: one of four outcomes, the reasons in words, the numbers behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OUTCOMES = ("supported", "mixed", "not supported", "undecidable")


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
