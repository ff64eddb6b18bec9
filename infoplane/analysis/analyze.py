"""The analysis of `infoplane analyze`: takes run files of several seeds, gives a report with verdicts."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from infoplane.analysis.convergence.order import (
    ConvergenceOrder,
    beyond,
    envelope_area,
    log_half_time,
)
from infoplane.analysis.convergence.phases import phases
from infoplane.analysis.convergence.trajectories import last_snapshots
from infoplane.analysis.convergence.verdict import CLAIM as BOTTOM_UP
from infoplane.analysis.convergence.verdict import bottom_up_verdict
from infoplane.analysis.markov.verdict import CLAIM as MARKOV
from infoplane.analysis.markov.verdict import markov_verdict, missing
from infoplane.analysis.runset import RunSet
from infoplane.analysis.verdict import Verdict, json_value
from infoplane.errors import InfoplaneError
from infoplane.estimators.base import EstimatorSettings
from infoplane.estimators.batches import Batches
from infoplane.estimators.renyi import RenyiSettings
from infoplane.estimators.similarity import layer_rates
from infoplane.execution import QUIET, Execution
from infoplane.kernels import Bandwidth
from infoplane.provenance import versions
from infoplane.runfile import Run, data_text, open_runs, training_words
from infoplane.settings import setting_words
from infoplane.words import settings_text

logger = logging.getLogger(__name__)

# The first two that are not the one that the verdict stands on.
BANDWIDTHS = (Bandwidth("median", 0.5), Bandwidth("knn", 10.0), Bandwidth("median", 1.0))


@dataclass(frozen=True)
class Variant:
    """The verdict on bottom-up convergence under one change.

    Attributes:
        varied: What was changed, such as "bandwidth", or "runs" for other runs.
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
    """The results of an analysis.

    Attributes:
        about: Runs, settings and versions, as JSON values.
        verdicts: The verdicts; the first is that on bottom-up convergence.
        variants: How it changes with the measure of time, quantity and bandwidth, and in control runs.
        orders: The order of convergence of I(X;T), and of linear CKA to the end.
        phases: A table of `infoplane.analysis.convergence.phases.phases`.
        rates: One row per layer: `layer`, `depth` and `rate` of its parameters, as `layer_rates` gives it.
    """

    about: dict[str, Any]
    verdicts: tuple[Verdict, ...]
    variants: tuple[Variant, ...]
    orders: tuple[ConvergenceOrder, ...]
    phases: pd.DataFrame
    rates: pd.DataFrame

    @property
    def areas(self) -> pd.DataFrame:
        """The areas behind the verdict on bottom-up convergence: `run`, `layer`, `depth`, `quantity` and `area`.

        A layer that is left out has no area.
        """
        tables = pd.concat([order.table() for order in self.orders], ignore_index=True)
        return tables[["run", "layer", "depth", "quantity", "area"]]


def analyze(
    runs: Sequence[Path | Run],
    controls: Mapping[str, Sequence[Path | Run]] | None = None,
    *,
    settings: EstimatorSettings | None = None,
    batches: Batches | None = None,
    execution: Execution = QUIET,
) -> Report:
    """Judges runs that differ in their seeds: bottom-up convergence, how its verdict depends on choices, Markov.

    Args:
        runs: Run files, one a seed, or runs that are open.
        controls: Other sets of runs by name, such as "shuffled labels" or "constant learning rate"; each gets
            its own verdict beside the others, and decides nothing. Recorded synchronous paths do so by themselves.
        settings: Settings of the estimator of I(X;T); None takes the default of `infoplane estimate`.
        batches: Batches of the probe; None takes up to 10 disjoint ones of 128 samples.
        execution: How work is done.

    Raises:
        InfoplaneError: The runs cannot stand side by side (other networks, probes, settings or last steps).
    """
    with contextlib.ExitStack() as stack:

        def opened(several: Sequence[Path | Run]) -> tuple[Run, ...]:
            return tuple(stack.enter_context(open_runs(several)).values())

        study = RunSet.of(opened(runs), settings, batches, execution=execution)
        sets = {name: dataclasses.replace(study, runs=opened(other)) for name, other in (controls or {}).items()}
        return judge(study, sets)


def judge(study: RunSet, controls: Mapping[str, RunSet]) -> Report:
    """Judges a set of runs, with its controls, as `analyze` does run files.

    Args:
        study: The runs.
        controls: Other sets of runs by name.

    Raises:
        InfoplaneError: As for `analyze`.
    """
    if study.shortage:
        logger.warning("%s cannot be judged: %s", BOTTOM_UP, "; ".join(study.shortage))
    elif isinstance(study.settings, RenyiSettings):
        rules = [_under(study.settings, rule) for rule in BANDWIDTHS]
        study.estimate_under([*rules, _other_bandwidth(study.settings)])
    verdict = study.verdict()
    # What cannot be judged under the rule cannot be under other choices either, which take the time.
    choices = [] if study.shortage else [*_measures(study), *_bandwidths(study)]
    same = sum(row.verdict is not None and row.verdict.outcome == verdict.outcome for row in choices)
    others = [Variant("runs", name, runs.verdict()) for name, runs in controls.items()]
    return Report(
        about={**_about(study), "variants": len(choices), "unchanged": same},
        verdicts=(verdict, *_markov(study)),
        variants=(*choices, *_path(study), *others),
        orders=study.orders,
        phases=phases(study.trajectories(study.information)),
        rates=layer_rates(study.parameters),
    )


def _measures(study: RunSet) -> list[Variant]:
    """Other measures of time, and other quantities; they cost no estimate of information."""
    names = (study.information, "cka")
    orders = {
        ("distance", "its envelope"): [study.order(name, envelope_area) for name in names],
        ("time", "t50"): [study.order(name, log_half_time) for name in names],
        ("similarity", "SVCCA"): [study.orders[0], study.order("svcca")],
    }
    if study.information != "I_XT":
        orders["information", "raw I(X;T)"] = [study.order("I_XT"), study.orders[1]]
    return [Variant(*names, bottom_up_verdict(*pair)) for names, pair in orders.items()]


def _bandwidths(study: RunSet) -> list[Variant]:
    """Other bandwidths of the layers and the input."""
    if not isinstance(study.settings, RenyiSettings):
        return []
    rows = []
    others = [rule for rule in BANDWIDTHS if _under(study.settings, rule) != study.settings]
    for rule in others[:2]:
        runs = study.under(_under(study.settings, rule))
        try:
            verdict = bottom_up_verdict(runs.order(runs.information), study.orders[1])
        except InfoplaneError as error:
            rows.append(Variant("bandwidth", str(rule), None, str(error)))
        else:
            rows.append(Variant("bandwidth", str(rule), verdict))
    return rows


def _path(study: RunSet) -> list[Variant]:
    """The synchronous path, on which no layer learns before another, and what training adds to its order."""
    if study.synchronous is None or study.shortage:
        return []
    orders = study.synchronous.orders
    differences = [beyond(*pair) for pair in zip(study.orders, orders, strict=True)]
    return [
        Variant("runs", "synchronous path", bottom_up_verdict(*orders)),
        Variant("runs", "training beyond that path", bottom_up_verdict(*differences)),
    ]


def _other_bandwidth(settings: RenyiSettings) -> RenyiSettings:
    """A second rule: the 10 nearest samples, or the median distance."""
    rule = Bandwidth("median", 1.0) if settings.bandwidth.rule == "knn" else Bandwidth("knn", 10.0)
    return _under(settings, rule)


def _under(settings: RenyiSettings, rule: Bandwidth) -> RenyiSettings:
    return dataclasses.replace(settings, bandwidth=rule, input_bandwidth=rule)


def _markov(study: RunSet) -> list[Verdict]:
    """The verdict on the Markov information bottleneck, and that under another bandwidth."""
    if not isinstance(study.settings, RenyiSettings):
        return []
    verdict = _markov_under(study)
    if study.shortage:
        return [verdict]
    other = _other_bandwidth(study.settings)
    under_other = _markov_under(study.under(other))
    return [verdict, dataclasses.replace(under_other, claim=f"{MARKOV}, bandwidth {other.bandwidth}")]


def _markov_under(study: RunSet) -> Verdict:
    try:
        batches = study.batches.count if study.batches else 1
        short = missing(study.estimates["layer"].nunique(), len(study.runs), batches)
        if short:
            return Verdict(MARKOV, "undecidable", tuple(short), {"seeds": len(study.runs)})
        return markov_verdict(study.estimates, study.pairs, study.links)
    except InfoplaneError as error:
        return Verdict(MARKOV, "undecidable", (str(error),), {})


def _about(study: RunSet) -> dict[str, Any]:
    runs, config, curves = [], {}, study.trajectories(study.information)
    with open_runs(study.runs) as several:
        for name, run in several.items():
            config, last, probe = run.config, run.snapshots[-1], run.samples
            facts = {"run": name, "run_id": run.run_id, "seed": config.get("seed"), "snapshots": len(run.snapshots)}
            # The end of a loop may be recorded without metrics.
            metrics = next((one.metrics for one in reversed(run.snapshots) if one.metrics), {})
            runs.append(facts | {"last_step": last.step, "metrics": metrics})
    values = {
        "runs": runs,
        "data": data_text(config),
        "model": setting_words(config.get("model")),
        "training": training_words(config),
        "schedule": config.get("schedule"),
        "layers": list(curves.layers),
        "snapshots": len(curves.steps),
        "last_snapshots": last_snapshots(curves.steps),
        "probe": probe,
        "batches": study.batches.count if study.batches else 0,
        "n": study.batches.size if study.batches else probe,
        "estimator": settings_text(study.estimates.iloc[0]),
        "infoplane": versions().get("infoplane", ""),
    }
    return dict(json_value(values))
