"""A set of runs that differ in their seeds, with the tables that analyses ask for, each made once."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from infoplane.analysis.convergence.order import ConvergenceOrder, Measure, area, convergence_order, missing
from infoplane.analysis.convergence.trajectories import SIMILARITIES, Trajectories, trajectories
from infoplane.analysis.convergence.verdict import bottom_up_verdict
from infoplane.analysis.gather import gather, gather_pairs, refuse_other_training
from infoplane.analysis.markov.structure import gather_links
from infoplane.analysis.plane import common_steps, refuse_mixture
from infoplane.analysis.verdict import Verdict
from infoplane.errors import InfoplaneError
from infoplane.estimators.base import EstimatorSettings
from infoplane.estimators.batches import Batches
from infoplane.estimators.engine.estimate import estimate_runs
from infoplane.estimators.renyi import RenyiSettings
from infoplane.estimators.similarity import parameter_table, representation_table
from infoplane.execution import QUIET, Execution
from infoplane.runfile import Run, open_runs, opened, synchronous_path_of

_BATCH_SIZE = 128
MIN_BATCHES, MAX_BATCHES = 4, 10
_PAIRED_SNAPSHOTS = 9  # of figures over time


def default_batches(run: Path | Run) -> Batches | None:
    """Up to 10 disjoint batches of 128 samples; quarters of a smaller probe; None under 16 samples.

    Args:
        run: A run file, or a run that is open.
    """
    with opened(run) as run:
        n = run.samples
    if n < MIN_BATCHES * 4:
        return None
    return Batches(min(max(n // _BATCH_SIZE, MIN_BATCHES), MAX_BATCHES), min(_BATCH_SIZE, n // MIN_BATCHES))


@dataclass
class RunSet:
    """Runs that differ in their seeds, under one choice of settings.

    Attributes:
        runs: Run files, one a seed, or these runs open, which saves opening them for each table.
        settings: Settings of the estimator.
        batches: Batches of the probe; None for the whole probe.
        execution: How work is done.
        must_settle: Judge no order of convergence of runs that have not settled.
    """

    runs: tuple[Path | Run, ...]
    settings: EstimatorSettings
    batches: Batches | None
    execution: Execution = QUIET
    must_settle: bool = True
    _others: dict[EstimatorSettings, RunSet] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        runs: Sequence[Path | Run],
        settings: EstimatorSettings | None = None,
        batches: Batches | None = None,
        *,
        execution: Execution = QUIET,
    ) -> RunSet:
        """A set of runs with the default settings in the place of None: Rényi, and `default_batches`.

        Raises:
            InfoplaneError: There is no run.
        """
        if not runs:
            raise InfoplaneError("nothing to analyse: name run files")
        return cls(tuple(runs), settings or RenyiSettings(), batches or default_batches(runs[0]), execution)

    def under(self, settings: EstimatorSettings) -> RunSet:
        """Gives the same runs under other settings; a set that was made before comes with its tables."""
        if settings == self.settings:
            return self
        if settings not in self._others:
            self._others[settings] = dataclasses.replace(self, settings=settings)
        return self._others[settings]

    def estimate_under(self, others: Sequence[EstimatorSettings]) -> None:
        """Estimates under these settings and further ones at once, so that each layer is read once for all of them.

        What fails under one of them is left to whoever asks for its table.

        Raises:
            InfoplaneError: The runs cannot stand side by side.
        """
        with open_runs(self.runs) as runs:
            refuse_other_training([*runs.values()])
        settings = list(dict.fromkeys([self.settings, *others]))
        with contextlib.suppress(InfoplaneError):
            for _ in estimate_runs(self.runs, settings, self.batches, execution=self.execution):
                pass

    @functools.cached_property
    def _gathered(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        tables = gather(self.runs, self.settings, self.batches, execution=self.execution)
        refuse_mixture(tables[0])
        _refuse_other_inputs(self.runs)
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
        """Informations between pairs at more snapshots, and between the layers at each and those at the end.

        Raises:
            InfoplaneError: As for `pairs`.
        """
        steps = sorted(common_steps(self.estimates)["step"].unique())
        places = np.linspace(0, len(steps) - 1, _PAIRED_SNAPSHOTS).round().astype(int)
        return self._pairs([int(steps[place]) for place in places], to_end=True)

    def _pairs(self, steps: Sequence[int] | None, *, to_end: bool) -> pd.DataFrame:
        if not isinstance(self.settings, RenyiSettings):
            raise InfoplaneError("information between layers needs the matrix-based entropies: `estimator='renyi'`")
        return gather_pairs(
            self.runs, self.settings, self.batches, steps=steps, to_end=to_end, execution=self.execution
        )

    @functools.cached_property
    def links(self) -> pd.DataFrame:
        """δ of the links between layers, as `gather_links` gives them."""
        return gather_links(self.runs)

    @functools.cached_property
    def similarities(self) -> pd.DataFrame:
        """CKA and SVCCA to the last snapshot, as `representation_table` gives them."""
        return representation_table(self.runs, self.batches, execution=self.execution)

    @functools.cached_property
    def parameters(self) -> pd.DataFrame:
        """Distances and rates of the parameters, as `parameter_table` gives them."""
        return parameter_table(self.runs)

    @functools.cached_property
    def shortage(self) -> list[str]:
        """Reasons in words why no order of convergence can be judged; nothing is estimated for it."""
        with open_runs(self.runs) as runs:
            layers = min(len(run.layers) for run in runs.values())
            snapshots = min(len(run.snapshots) for run in runs.values())
        return missing(layers, len(self.runs), snapshots)

    @property
    def information(self) -> str:
        """The quantity that stands for I(X;T): the corrected one where the estimator has a null of it."""
        corrected = self.estimates.get("I_XT_corrected")
        return "I_XT" if corrected is None or corrected.isna().all() else "I_XT_corrected"

    def trajectories(self, quantity: str) -> Trajectories:
        """The trajectories of one quantity: a column of the estimates, "cka" or "svcca"."""
        return trajectories(self.similarities if quantity in SIMILARITIES else self.estimates, quantity)

    def order(self, quantity: str, measure: Measure = area) -> ConvergenceOrder:
        """The order of convergence of one quantity, as of `trajectories`."""
        return convergence_order(self.trajectories(quantity), measure, must_settle=self.must_settle)

    @functools.cached_property
    def orders(self) -> tuple[ConvergenceOrder, ConvergenceOrder]:
        """The orders that the verdict stands on: of I(X;T) and of linear CKA to the end."""
        return self.order(self.information), self.order("cka")

    @functools.cached_property
    def synchronous(self) -> RunSet | None:
        """The synchronous paths of these trainings; None unless each of them is recorded."""
        paths = tuple(synchronous_path_of(run.path if isinstance(run, Run) else run) for run in self.runs)
        if not all(path.exists() for path in paths):
            return None
        # It ends where it ends, on its way or not.
        return dataclasses.replace(self, runs=paths, must_settle=False)

    def verdict(self) -> Verdict:
        """The verdict on bottom-up convergence."""
        return bottom_up_verdict(*self.orders)


def _refuse_other_inputs(runs: Sequence[Path | Run]) -> None:
    """Refuses runs whose probes differ; runs of own loops have no configuration that would show it."""
    probes = {}
    with open_runs(runs) as several:
        for run in several.values():
            with opened(run):
                target = run.probe.target
                asked = set(target.classes.tolist()) if target.discrete else target.values.shape[1:]
                probes[run.path] = run.probe.shape, run.samples, target.kind, asked
    first = next(iter(probes))
    for path, probe in probes.items():
        if probe != probes[first]:
            raise InfoplaneError(
                f"{path} and {first} have different probes (size, input shape or target); analyse them apart"
            )
