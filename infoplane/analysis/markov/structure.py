"""Whether the network is a chain at all: the swap test of each link between neighbouring layers.

δ of a link is measured when a run is recorded (`infoplane.recording.swap_test`), as only the network can tell: 0
where a layer gets all that it knows through the one before, about 1 where it gets nothing from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from infoplane.runfile import Run, open_runs
from infoplane.runfile.schema import EXACT

CHAIN, NO_CHAIN, UNKNOWN = "chain", "no chain", "structure unknown"
_WHENS = ("first", "last")  # the snapshots at which δ is measured


@dataclass(frozen=True)
class StructureTest:
    """The swap test of several runs.

    Attributes:
        state: `NO_CHAIN` where δ of any link is above `EXACT` in any run, otherwise `UNKNOWN` where any was not
            measured, otherwise `CHAIN`.
        worst: The largest δ of each link over runs and snapshots, by its name "T → T′"; NaN where unknown.
        runs_without: Runs without any δ.
    """

    state: str
    worst: pd.Series
    runs_without: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether all links are those of a chain."""
        return self.state == CHAIN

    @property
    def broken(self) -> pd.Series:
        """The links that are none of a chain, with their largest δ."""
        return self.worst[self.worst > EXACT]


def structure_test(links: pd.DataFrame) -> StructureTest:
    """Tests whether every layer gets all that it knows through the one before it.

    Args:
        links: One row per run, snapshot and link, as `links_of` gives them, with a column `run`. What is known at
            one of the two snapshots is enough.
    """
    named = links.assign(name=links["layer_i"] + " → " + links["layer_j"])
    by_link = named.pivot_table("delta", index="name", columns="run", aggfunc="max", sort=False, dropna=False)
    worst = by_link.max(axis=1, skipna=False).where(~(by_link > EXACT).any(axis=1), by_link.max(axis=1))
    without = tuple(str(run) for run in by_link.columns[by_link.isna().all()])
    state = NO_CHAIN if (worst > EXACT).any() else UNKNOWN if worst.isna().any() else CHAIN
    return StructureTest(state, worst, without)


def links_of(run: Run) -> pd.DataFrame:
    """The links of one run.

    Args:
        run: The run, open.

    Returns:
        One row per snapshot (`when`, "first" or "last") and link: `link` (from 1), `layer_i`, `layer_j`, and
        `delta`, NaN where it was not measured.
    """
    names = pairwise(layer.name for layer in run.layers)
    links = [{"link": number, "layer_i": i, "layer_j": j} for number, (i, j) in enumerate(names, start=1)]
    return pd.DataFrame(
        [
            {"when": when, **link, "delta": delta}
            for when in _WHENS
            for link, delta in zip(links, run.links.get(when, np.full(len(links), np.nan)), strict=True)
        ]
    )


def gather_links(runs: Sequence[Path | Run]) -> pd.DataFrame:
    """The links of several runs, as `links_of` gives them, and `run`.

    Raises:
        InfoplaneError: A run is given twice, or cannot be read.
    """
    with open_runs(runs) as several:
        tables = [links_of(run).assign(run=name) for name, run in several.items()]
    return pd.concat(tables, ignore_index=True)
