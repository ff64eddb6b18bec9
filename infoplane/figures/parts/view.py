"""What a figure of a plane shows, how large, and in which way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import pandas as pd

from infoplane.errors import InfoplaneError, unknown
from infoplane.figures.parts.style import panels_of

_PANELS = ("both", "corrected", "raw")
_STYLES = ("layers", "classic")
Limits = tuple[float, float] | None


class ViewOptions(TypedDict, total=False):
    """The fields of a `View`, for functions that take them by name."""

    width: float | None
    height: float | None
    panel: str
    xlim: Limits
    ylim: Limits
    style: str


@dataclass(frozen=True)
class View:
    """What a figure shows, and how large.

    Attributes:
        width: Width in inches; None takes the usual one.
        height: Height in inches without legend and caption; None takes the usual one.
        panel: "corrected" for informations less their nulls alone, "raw", or "both".
        xlim: Ends of the lower axes of the plane, in bits; None fits the data.
        ylim: Ends of its left axes.
        style: "layers" joins the snapshots of a layer; "classic" joins the layers of a snapshot, coloured by its
            time, as Shwartz-Ziv and Tishby drew it (arXiv:1703.00810, figure 2).

    Raises:
        InfoplaneError: A panel or style that is none, a size that is not positive, or limits that are no range.
    """

    width: float | None = None
    height: float | None = None
    panel: str = "both"
    xlim: Limits = None
    ylim: Limits = None
    style: str = "layers"

    def __post_init__(self) -> None:
        for what, name, choices in (("panel", self.panel, _PANELS), ("style", self.style, _STYLES)):
            if name not in choices:
                raise unknown(what, name, choices)
        for name in ("width", "height"):
            size = getattr(self, name)
            if size is not None and not 0.5 <= size <= 100:
                raise InfoplaneError(f"`{name}={size:g}`: give inches, from 0.5 to 100")
        for name in ("xlim", "ylim"):
            ends = getattr(self, name)
            if ends is not None and not (len(ends) == 2 and ends[0] < ends[1]):
                raise InfoplaneError(f"`{name}={','.join(map(str, ends))}`: give two numbers, the lower one first")

    def quantities(self, table: pd.DataFrame, names: Sequence[str]) -> list[str]:
        """The quantities among some that are shown and were measured; the first of them in any case."""
        kept = [name for name in names if self.panel == "both" or name.endswith("_corrected") == self._is_corrected]
        return panels_of(table, kept)

    @property
    def _is_corrected(self) -> bool:
        return self.panel == "corrected"
