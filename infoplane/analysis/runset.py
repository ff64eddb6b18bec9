"""A set of runs that differ in their seeds, with the tables that analyses ask for, each made once."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from infoplane.analysis.convergence.order import DepthOrder, depth_order
from infoplane.analysis.convergence.times import Curves, curves
from infoplane.analysis.convergence.verdict import bottom_up_verdict
from infoplane.analysis.gather import gather, gather_pairs
from infoplane.analysis.markov.structure import gather_links
from infoplane.analysis.plane import common_steps, refuse_mixture
from infoplane.analysis.verdict import Verdict
from infoplane.errors import InfoplaneError
from infoplane.estimators.base import EstimatorSettings
from infoplane.estimators.batches import Batches
from infoplane.estimators.renyi import RenyiSettings
from infoplane.estimators.similarity import parameter_table, representation_table
from infoplane.execution import QUIET, Execution
from infoplane.runfile import open_run

BATCH_SIZE = 128
MIN_BATCHES, MAX_BATCHES = 4, 10
PAIRED_SNAPSHOTS = 9  # of figures over time


def default_batches(path: Path) -> Batches | None:
    """Up to 10 disjoint batches of 128 samples; quarters of a smaller probe; None under 16 samples.

    Args:
        path: A run file.
    """
    with open_run(path) as run:
        n = len(run.probe)
    if n < MIN_BATCHES * 4:
        return None
    return Batches(min(max(n // BATCH_SIZE, MIN_BATCHES), MAX_BATCHES), min(BATCH_SIZE, n // MIN_BATCHES))


@dataclass
class RunSet:
    """Runs that differ in their seeds, under one choice of settings.

    Attributes:
        paths: Run files, one a seed.
        settings: Settings of the estimator.
        batches: Batches of the probe; None for the whole probe.
        execution: How work is done.
    """

    paths: tuple[Path, ...]
    settings: EstimatorSettings
    batches: Batches | None
    execution: Execution = QUIET

    @classmethod
    def of(
        cls,
        paths: Sequence[Path],
        settings: EstimatorSettings | None = None,
        batches: Batches | None = None,
        *,
        execution: Execution = QUIET,
    ) -> RunSet:
        """A set of runs with the default settings in the place of None: Rényi, and `default_batches`.

        Raises:
            InfoplaneError: There is no run.
        """
        if not paths:
            raise InfoplaneError("nothing to analyse: name run files")
        return cls(tuple(paths), settings or RenyiSettings(), batches or default_batches(paths[0]), execution)

    @functools.cached_property
    def _gathered(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        tables = gather(self.paths, self.settings, self.batches, execution=self.execution)
        refuse_mixture(tables[0])
        _refuse_other_inputs(self.paths)
        return tables

    @property
    def estimates(self) -> pd.DataFrame:
        """One row per run, snapshot, layer and batch, as `gather` gives them.

        Raises:
            InfoplaneError: The runs cannot stand side by side.
        """
        return self._gathered[0]

    @property
    def metrics(self) -> pd.DataFrame:
        """One row per run and snapshot."""
        return self._gathered[1]

    @functools.cached_property
    def pairs(self) -> pd.DataFrame:
        """Informations between pairs of layers at the first and last snapshot and some between, as of
        `gather_pairs`.

        Raises:
            InfoplaneError: The settings are not of matrix-based entropies.
        """
        return self._pairs(None, to_end=False)

    @functools.cached_property
    def pairs_over_time(self) -> pd.DataFrame:
        """The same at more snapshots, and between the layers at each of them and those at the end.

        Raises:
            InfoplaneError: As for `pairs`.
        """
        steps = sorted(common_steps(self.estimates)["step"].unique())
        places = np.linspace(0, len(steps) - 1, PAIRED_SNAPSHOTS).round().astype(int)
        return self._pairs([int(steps[place]) for place in places], to_end=True)

    def _pairs(self, steps: Sequence[int] | None, *, to_end: bool) -> pd.DataFrame:
        if not isinstance(self.settings, RenyiSettings):
            raise InfoplaneError("information between layers needs the matrix-based entropies: `estimator='renyi'`")
        return gather_pairs(
            self.paths,
            self.settings,
            self.batches,
            steps=steps,
            to_end=to_end,
            execution=self.execution,
        )

    @functools.cached_property
    def links(self) -> pd.DataFrame:
        """δ of the links between layers, as `gather_links` gives them."""
        return gather_links(self.paths)

    @property
    def curves(self) -> Curves:
        """Those of I(X;T)."""
        return curves(self.estimates, "I_XT")

    @functools.cached_property
    def controls(self) -> list[Curves]:
        """Those that estimate no information."""
        similar = representation_table(self.paths, self.batches, execution=self.execution)
        distances = parameter_table(self.paths)
        return [curves(similar, "cka"), curves(similar, "svcca"), curves(distances, "parameters")]

    @functools.cached_property
    def orders(self) -> tuple[DepthOrder, ...]:
        """Orders of convergence of I(X;T) and the controls, at the tolerance of the rule."""
        return tuple(map(depth_order, [self.curves, *self.controls]))

    def verdict(self) -> Verdict:
        """The verdict on bottom-up convergence."""
        return bottom_up_verdict(self.orders[0], self.orders[1:])


def _refuse_other_inputs(paths: Sequence[Path]) -> None:
    """Runs of own loops have no configuration to compare, but inputs and targets."""
    found = []
    for path in paths:
        with open_run(path) as run:
            target = run.probe.target
            asked = set(target.classes.tolist()) if target.discrete else target.values.shape[1:]
            found.append((run.probe.shape, len(run.probe), target.kind, asked))
    for path, probe in zip(paths, found, strict=True):
        if probe != found[0]:
            raise InfoplaneError(
                f"{path} and {paths[0]} have different probes (size, input shape or target); analyse them apart"
            )
