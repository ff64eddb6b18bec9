"""The figures of a study, F1 to F14: what each is made of, and why one cannot be drawn."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from infoplane.analysis.comparison.pictures import hard_pictures
from infoplane.analysis.convergence.order import ConvergenceOrder, beyond, order_table
from infoplane.analysis.convergence.phases import phases
from infoplane.analysis.convergence.profile import profile_table
from infoplane.analysis.markov.tables import MarkovTables, markov_tables
from infoplane.analysis.modified_plane import gather_interactions, modified_plane_table
from infoplane.analysis.plane import Plane
from infoplane.analysis.runset import RunSet
from infoplane.analysis.sensitivity import sensitivity_table
from infoplane.errors import InfoplaneError, MissingData, RunFileError
from infoplane.estimators.batches import Batches
from infoplane.estimators.renyi import RenyiSettings
from infoplane.execution import QUIET, Execution
from infoplane.figures.convergence.order import BEYOND, convergence_order, order_caption
from infoplane.figures.convergence.profile import convergence_profile, profile_caption
from infoplane.figures.markov.decay import information_decay
from infoplane.figures.markov.matrices import information_matrices
from infoplane.figures.markov.structure import link_structure
from infoplane.figures.markov.triples import violated_triples
from infoplane.figures.modified_plane import modified_plane
from infoplane.figures.parts.captions import plane_caption
from infoplane.figures.plane import information_plane
from infoplane.figures.sensitivity import sensitivity
from infoplane.figures.time import information_over_time
from infoplane.runfile import Closing, open_runs
from infoplane.study.comparison import Drawing, Material, comparison_drawings, finished_runs
from infoplane.study.experiments import runs_of

_CONTROLS = {"shuffled": "shuffled labels", "drop": "learning rate drops"}
_MAPS = Batches(3, 100)
_MAP_PAIRS = 30
_PLANES = ("sgd", "greedy-dib")


@dataclass
class Study(Closing):
    """The runs of a study and what is estimated from them, each thing once.

    Attributes:
        runs: Folder of the runs, GROUP/VARIANT/seedN.h5.
        data_root: Folder of the data sets, for pictures; None for none.
        execution: How work is done.
    """

    runs: Path
    data_root: Path | None = None
    execution: Execution = QUIET
    _comparisons: dict[str, Material] = field(default_factory=dict, repr=False)
    _files: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False)

    def run_set(self, group: str, name: str) -> RunSet:
        """The runs of a variant, which stay open until the study is closed.

        Raises:
            MissingData: There are none.
        """
        paths = runs_of(self.runs, group, name)
        if not paths:
            raise MissingData(f"there are no runs {self.runs / group / name}/seedN.h5")
        runs = self._files.enter_context(open_runs(paths))
        return RunSet.of([*runs.values()], execution=self.execution)

    def close(self) -> None:
        """Closes the runs."""
        self._files.close()

    def __post_init__(self) -> None:
        if self.runs.exists() and not self.runs.is_dir():
            raise InfoplaneError(f"{self.runs} is no folder of runs; give the folder")
        if not self.runs.exists():
            raise InfoplaneError(f"{self.runs} is not there; make the runs first: infoplane figures --run quick")

    @functools.cached_property
    def trained(self) -> RunSet:
        """The runs by SGD with a constant learning rate."""
        return self.run_set("training", "sgd")

    @functools.cached_property
    def controls(self) -> dict[str, RunSet]:
        """The controls that are there, by name."""
        names = {folder: name for folder, name in _CONTROLS.items() if runs_of(self.runs, "training", folder)}
        return {name: self.run_set("training", folder) for folder, name in names.items()}

    @functools.cached_property
    def markov(self) -> MarkovTables:
        """The tables of the Markov structure."""
        return markov_tables(self.trained.estimates, self.trained.pairs_over_time, self.trained.links)

    def comparison(self, group: str) -> Material:
        """The material of a comparison's figures.

        Raises:
            MissingData: There are no finished runs.
        """
        if group not in self._comparisons:
            self._comparisons[group] = self._material(group)
        return self._comparisons[group]

    def _material(self, group: str) -> Material:
        folder = self.runs / group
        try:
            runs = finished_runs(folder)
        except InfoplaneError as error:
            raise MissingData(*error.args) from error
        pictures = None
        if self.data_root is not None:
            # Without pictures, or without hard classes, the figures are still there.
            with contextlib.suppress(InfoplaneError):
                pictures = hard_pictures(folder, runs, self.data_root)
        return Material(runs, folder, RenyiSettings(), pictures, execution=self.execution)

    def groups(self, start: str) -> list[str]:
        """Names of the groups that begin with `start`, such as all comparisons."""
        names = sorted(folder.name for folder in self.runs.glob(f"{start}*") if folder.is_dir())
        return names or [start]


def drawings(study: Study) -> Iterator[Drawing]:
    """All figures of a study, one after another; those that cannot be drawn with the reason.

    Raises:
        RunFileError: A run file is damaged.
    """
    for name, make in _FIGURES.items():
        try:
            yield from make(study, name)
        except RunFileError:
            raise
        except InfoplaneError as error:
            yield Drawing(name, missing=str(error))


def _planes(study: Study, name: str) -> Iterator[Drawing]:
    plane = Plane.of(study.trained.estimates)
    yield Drawing(name, plane.table, partial(information_plane, plane))


def _modified(study: Study, name: str) -> Iterator[Drawing]:
    runs = study.run_set("training", "maps").runs
    interactions = gather_interactions(runs, batches=_MAPS, pairs=_MAP_PAIRS, execution=study.execution)
    table = modified_plane_table(interactions)
    yield Drawing(name, table, partial(modified_plane, table))


def _time(study: Study, name: str) -> Iterator[Drawing]:
    runs = study.trained
    plane = Plane.of(runs.estimates, runs.metrics)
    turns = phases(runs.trajectories(runs.information))
    draw = partial(information_over_time, plane, times=runs.orders[0].table(), turns=turns)
    yield Drawing(name, plane.with_metrics, draw)


def _profile(study: Study, name: str) -> Iterator[Drawing]:
    runs = study.trained
    table = profile_table([runs.trajectories(quantity) for quantity in (runs.information, "cka")])
    yield Drawing(name, table, partial(convergence_profile, table, profile_caption(table, runs.estimates)))


def _order(study: Study, name: str) -> Iterator[Drawing]:
    runs = study.trained
    orders: dict[str, Sequence[ConvergenceOrder]] = {"trained": runs.orders}
    if runs.synchronous:
        orders["synchronous path"] = runs.synchronous.orders
    orders |= {control: others.orders for control, others in study.controls.items()}
    if runs.synchronous:
        orders[BEYOND] = tuple(map(beyond, runs.orders, runs.synchronous.orders))
    table = order_table(orders)
    yield Drawing(name, table, partial(convergence_order, table, order_caption(table, runs.estimates)))


def _matrices(study: Study, name: str) -> Iterator[Drawing]:
    tables = study.markov
    yield Drawing(name, tables.matrices, partial(information_matrices, tables.matrices, tables.shares))


def _decay(study: Study, name: str) -> Iterator[Drawing]:
    table = study.markov.decay
    yield Drawing(name, table, partial(information_decay, table))


def _triples(study: Study, name: str) -> Iterator[Drawing]:
    tables = study.markov
    yield Drawing(name, tables.shares, partial(violated_triples, tables.shares, tables.middles))


def _links(study: Study, name: str) -> Iterator[Drawing]:
    table = study.markov.links
    yield Drawing(name, table, partial(link_structure, table))


def _compared(*kinds: str, groups: str) -> Callable[[Study, str], Iterator[Drawing]]:
    """Figures of all comparisons of a group whose names begin with one of `kinds`."""

    def make(study: Study, name: str) -> Iterator[Drawing]:
        for group in study.groups(groups):
            where = name if group == groups else f"{name}-{group.removeprefix(groups).strip('-')}"
            for drawing in comparison_drawings(study.comparison(group)):
                if drawing.name.startswith(kinds):
                    yield Drawing(f"{where}-{drawing.name}", drawing.table, drawing.draw, drawing.missing)

    return make


def _greedy_plane(study: Study, name: str) -> Iterator[Drawing]:
    planes: dict[str, Plane] = {}
    for method in _PLANES:
        try:
            planes[method] = Plane.of(study.run_set("comparison", method).estimates)
        except MissingData as error:
            yield Drawing(f"{name}-plane-{method}", missing=str(error))
    for method, plane in planes.items():
        caption = f"Trained by {method}. {plane_caption(plane.table)}"
        draw = partial(information_plane, plane, caption, beside=[*planes.values()])
        yield Drawing(f"{name}-plane-{method}", plane.table, draw)
    yield from _compared("depth", groups="comparison")(study, name)


def _sensitivity(study: Study, name: str) -> Iterator[Drawing]:
    runs = study.trained
    table = sensitivity_table(runs.runs, batches=runs.batches, execution=study.execution)
    yield Drawing(name, table, partial(sensitivity, table))


_FIGURES: dict[str, Callable[[Study, str], Iterator[Drawing]]] = {
    "F1-plane": _planes,
    "F2-modified-plane": _modified,
    "F3-time": _time,
    "F4-profile": _profile,
    "F5-order": _order,
    "F6-matrices": _matrices,
    "F7-decay": _decay,
    "F8-triples": _triples,
    "F9-links": _links,
    "F10": _compared("accuracy", "costs", groups="comparison"),
    "F11": _greedy_plane,
    "F12": _compared("sweep", groups="sweep"),
    "F13-sensitivity": _sensitivity,
    "F14": _compared("classes", "confusion", groups="signs"),
}
