"""How the informations at the end of training depend on bandwidth, probe size and order α.

The choices are varied one at a time; the others are those of the settings given. The bandwidth is a multiple of the
median distance, for the layers and the input alike. Sizes are those of disjoint batches of the probe, and the whole
probe: values of different n are no estimates of one number (DESIGN: never compare different n), which is what this
table shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from infoplane.analysis.gather import gather, refuse_other_training
from infoplane.analysis.plane import plane_table
from infoplane.estimators.batches import Batches
from infoplane.estimators.engine.estimate import estimate_runs
from infoplane.estimators.renyi import RenyiSettings
from infoplane.execution import QUIET, Execution
from infoplane.kernels import Bandwidth
from infoplane.runfile import Run, open_runs

_FACTORS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
SIZES = (64, 128, 256, 512, 1024, 2048, 4096)
ALPHAS = (1.0, 1.01, 2.0)
MAX_BATCHES = 10
Choice: TypeAlias = tuple[str, float, RenyiSettings, Batches | None]


def sensitivity_table(
    runs: Sequence[Path | Run],
    settings: RenyiSettings | None = None,
    batches: Batches | None = None,
    *,
    factors: Sequence[float] = _FACTORS,
    sizes: Sequence[int] = SIZES,
    alphas: Sequence[float] = ALPHAS,
    execution: Execution = QUIET,
) -> pd.DataFrame:
    """I(X;T) and I(T;Y) of each layer at the last snapshot, under other choices.

    Args:
        runs: Run files of runs that differ in their seeds, or these runs open.
        settings: What is not varied; None takes the defaults.
        batches: Batches of the probe where n is not varied; None takes the whole probe.
        factors: Bandwidths in multiples of the median distance.
        sizes: Sizes of batches; those of which the probe holds under two are left out, the whole probe is added.
        alphas: Orders α.
        execution: How work is done.

    Returns:
        For each choice the rows of `infoplane.analysis.plane.plane_table` at that snapshot, with `varied`
        ("bandwidth", "n" or "alpha") and `value`: the factor, n, or α.

    Raises:
        InfoplaneError: As `gather` and `plane_table`; the runs end at different steps, for example.
    """
    settings = settings or RenyiSettings()
    tables = []
    with open_runs(runs) as several:
        opened = [*several.values()]
        refuse_other_training(opened)
        choices = [*_choices(opened, settings, batches, factors, sizes, alphas)]
        _estimate_at_once(opened, choices, execution)
        for varied, value, changed, cut in choices:
            estimates, _ = gather(opened, changed, cut, last=True, execution=execution)
            choice: dict[str, Any] = {"varied": varied, "value": value}
            tables.append(plane_table(estimates).assign(**choice))
    return pd.concat(tables, ignore_index=True)


def _estimate_at_once(runs: Sequence[Run], choices: Sequence[Choice], execution: Execution) -> None:
    """Estimates what is missing, each layer read once for all settings that cut the probe alike."""
    settings: dict[Batches | None, dict[RenyiSettings, None]] = {}
    for _, _, changed, cut in choices:
        settings.setdefault(cut, {})[changed] = None
    for cut, several in settings.items():
        for table in estimate_runs(runs, [*several], cut, last=True, execution=execution):
            if not table.attrs.get("kept", True):
                return  # where nothing can be written, nothing is spared


def _choices(
    runs: Sequence[Run],
    settings: RenyiSettings,
    batches: Batches | None,
    factors: Sequence[float],
    sizes: Sequence[int],
    alphas: Sequence[float],
) -> Iterator[Choice]:
    """Name and value of each choice, with the settings and batches that it gives."""
    for factor in factors:
        rule = Bandwidth("median", factor)
        yield "bandwidth", factor, replace(settings, bandwidth=rule, input_bandwidth=rule), batches
    probe = min(run.samples for run in runs)
    for size in sorted({*sizes}):
        if 2 * size <= probe:
            yield "n", size, settings, Batches(min(probe // size, MAX_BATCHES), size)
    yield "n", probe, settings, None
    for alpha in alphas:
        yield "alpha", alpha, replace(settings, alpha=alpha), batches
