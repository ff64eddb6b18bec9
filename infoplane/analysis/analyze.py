"""What `infoplane analyze` does: run files of several seeds in, a report with verdicts out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from infoplane.analysis.convergence.order import DepthOrder, depth_order
from infoplane.analysis.convergence.phases import phases
from infoplane.analysis.convergence.times import curves, last_snapshots
from infoplane.analysis.convergence.verdict import bottom_up_verdict
from infoplane.analysis.markov.verdict import CLAIM as MARKOV
from infoplane.analysis.markov.verdict import markov_verdict
from infoplane.analysis.plane import settings_text
from infoplane.analysis.runset import RunSet
from infoplane.analysis.verdict import Verdict, json_value
from infoplane.errors import InfoplaneError
from infoplane.estimators.base import EstimatorSettings
from infoplane.estimators.batches import Batches
from infoplane.estimators.kde import KdeSettings
from infoplane.estimators.renyi import RenyiSettings
from infoplane.execution import QUIET, Execution
from infoplane.kernels import Bandwidth
from infoplane.provenance import versions
from infoplane.runfile import open_run, run_names

TOLERANCES = (0.02, 0.10)
TRAINING = ("dataset", "model", "optimizer", "lr", "momentum", "weight_decay", "batch_size", "epochs")


@dataclass(frozen=True)
class Variant:
    """The verdict on bottom-up convergence under one change.

    Attributes:
        varied: What was changed, such as "tolerance".
        value: To what.
        verdict: The verdict; None where it cannot be had.
        note: Why not.
    """

    varied: str
    value: str
    verdict: Verdict | None
    note: str = ""


@dataclass(frozen=True)
class Report:
    """What an analysis found.

    Attributes:
        about: Runs, settings and versions, as JSON values.
        verdicts: The verdicts; the first is that on bottom-up convergence.
        variants: How it changes with tolerance, bandwidth, estimator, probe size, and in control runs.
        orders: The order of convergence of each quantity, with the times of all layers.
        phases: A table of `infoplane.analysis.convergence.phases.phases`.
    """

    about: dict[str, Any]
    verdicts: tuple[Verdict, ...]
    variants: tuple[Variant, ...]
    orders: tuple[DepthOrder, ...]
    phases: pd.DataFrame


def analyze(
    paths: Sequence[Path],
    controls: Mapping[str, Sequence[Path]] | None = None,
    *,
    settings: EstimatorSettings | None = None,
    batches: Batches | None = None,
    execution: Execution = QUIET,
) -> Report:
    """Judges runs that differ in their seeds: bottom-up convergence, how its verdict depends on choices, Markov.

    Args:
        paths: Run files, one a seed.
        controls: Other sets of run files by name, such as "shuffled labels" or "constant learning rate"; each gets
            its own verdict beside the others, and decides nothing.
        settings: Settings of the estimator of I(X;T); None takes the default of `infoplane estimate`.
        batches: Batches of the probe; None takes up to 10 disjoint ones of 128 samples.
        execution: How work is done.

    Raises:
        InfoplaneError: The runs cannot stand side by side (other networks, probes, settings or last steps).
    """
    study = RunSet.of(paths, settings, batches, execution=execution)
    sets = {name: dataclasses.replace(study, paths=tuple(runs)) for name, runs in (controls or {}).items()}
    return judge(study, sets)


def judge(study: RunSet, controls: Mapping[str, RunSet]) -> Report:
    """The same of a set of runs that is at hand, with its controls.

    Args:
        study: The runs.
        controls: Other sets of runs by name.

    Raises:
        InfoplaneError: As for `analyze`.
    """
    variants = (*_tolerances(study), *_estimators(study), *_probe_sizes(study))
    verdict = study.verdict()
    same = sum(one.verdict is not None and one.verdict.outcome == verdict.outcome for one in variants)
    others = [Variant("runs", name, runs.verdict()) for name, runs in controls.items()]
    return Report(
        about={**_about(study), "variants": len(variants), "unchanged": same},
        verdicts=(verdict, *_markov(study)),
        variants=(*variants, *others),
        orders=study.orders,
        phases=phases(study.curves),
    )


def _tolerances(study: RunSet) -> list[Variant]:
    found = []
    for tolerance in TOLERANCES:
        orders = [depth_order(one, tolerance) for one in (study.curves, *study.controls)]
        found.append(Variant("tolerance", f"{100 * tolerance:g} %", bottom_up_verdict(orders[0], orders[1:])))
    return found


def _estimators(study: RunSet) -> list[Variant]:
    """A second bandwidth rule and a second estimator; the controls stay what they are."""
    settings, permutations = study.settings, study.settings.permutations
    found: list[tuple[str, EstimatorSettings]] = []
    if isinstance(settings, RenyiSettings):
        found.append(("bandwidth", _other_bandwidth(settings)))
    second = RenyiSettings() if settings.name == "kde" else KdeSettings(noise="median:0.2")
    found.append(("estimator", dataclasses.replace(second, permutations=permutations)))
    return [_estimated(study, varied, other) for varied, other in found]


def _other_bandwidth(settings: RenyiSettings) -> RenyiSettings:
    """A second rule: the 10 nearest samples, or the median distance."""
    rule = Bandwidth("median", 1.0) if settings.bandwidth.rule == "knn" else Bandwidth("knn", 10.0)
    return dataclasses.replace(settings, bandwidth=rule, input_bandwidth=rule)


def _estimated(study: RunSet, varied: str, settings: EstimatorSettings) -> Variant:
    changed = dataclasses.replace(study, settings=settings)
    try:
        estimates = changed.estimates
    except InfoplaneError as error:
        return Variant(varied, settings.name, None, str(error))
    verdict = bottom_up_verdict(depth_order(curves(estimates, "I_XT")), study.orders[1:])
    return Variant(varied, settings_text(estimates.iloc[0]), verdict)


def _probe_sizes(study: RunSet) -> list[Variant]:
    """Batches of half the size."""
    if study.batches is None or study.batches.size < 8:
        return []
    half = dataclasses.replace(study.batches, size=study.batches.size // 2)
    value = f"batches of {half.size} samples"
    try:
        return [Variant("probe size", value, dataclasses.replace(study, batches=half).verdict())]
    except InfoplaneError as error:
        return [Variant("probe size", value, None, str(error))]


def _markov(study: RunSet) -> list[Verdict]:
    """The verdict on the Markov information bottleneck, and that under another bandwidth."""
    if not isinstance(study.settings, RenyiSettings):
        return []
    other = _other_bandwidth(study.settings)
    under_other = _markov_under(dataclasses.replace(study, settings=other))
    return [
        _markov_under(study),
        dataclasses.replace(under_other, claim=f"{MARKOV}, bandwidth {other.bandwidth}"),
    ]


def _markov_under(study: RunSet) -> Verdict:
    try:
        return markov_verdict(study.estimates, study.pairs, study.links)
    except InfoplaneError as error:
        return Verdict(MARKOV, "undecidable", (str(error),), {})


def _about(study: RunSet) -> dict[str, Any]:
    runs, config = [], {}
    for name, path in zip(run_names(study.paths), study.paths, strict=True):
        with open_run(path) as run:
            config = run.config
            last = run.snapshots[-1]
            about = {"run": name, "run_id": run.run_id, "seed": config.get("seed"), "snapshots": len(run.snapshots)}
            runs.append(about | {"last_step": last.step, "metrics": last.metrics})
            probe = len(run.probe)
    found = {
        "runs": runs,
        "training": {name: config.get(name) for name in TRAINING},
        "schedule": config.get("schedule"),
        "layers": list(study.curves.layers),
        "snapshots": len(study.curves.steps),
        "last_snapshots": last_snapshots(study.curves.steps),
        "probe": probe,
        "batches": study.batches.count if study.batches else 0,
        "n": study.batches.size if study.batches else probe,
        "estimator": settings_text(study.estimates.iloc[0]),
        "infoplane": versions().get("infoplane", ""),
    }
    return dict(json_value(found))
