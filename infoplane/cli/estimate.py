"""`infoplane estimate`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from infoplane.cli.options import (
    RUN_FILE,
    CommaList,
    batches_of,
    estimation_options,
    estimators_of,
    examples,
    loading,
    option,
    scheduler_of,
    scheduler_option,
    talkative,
    verb,
)
from infoplane.cli.output import say
from infoplane.estimators.registry import ESTIMATOR, NAMES

if TYPE_CHECKING:
    from infoplane.estimators.base import EstimatorSettings


@verb(
    short_help="Estimate the informations of runs, in bits.",
    epilog=examples(
        "infoplane estimate run.h5",
        "infoplane estimate run.h5 --alpha 1.01 --bandwidth knn:10",
        "infoplane estimate seed*.h5 --bandwidth median:0.5 --scope final",
        "infoplane estimate run.h5 --estimator renyi,kde,ksg,gaussian,cka",
        "infoplane estimate signs.h5 --target box",
        "infoplane estimate run.h5 --batches 4 --batch-size 100",
        "infoplane estimate large.h5 --tolerance 0.01   # a probe of 10,000",
        "infoplane estimate seed*.h5 --scheduler tcp://10.0.0.1:8786   # a Dask cluster",
    ),
)
@click.argument("runs", nargs=-1, required=True, type=RUN_FILE)
@option(
    "--estimator",
    "estimators",
    type=CommaList(str, "NAME,..."),
    default="renyi",
    help=f"Estimators, of {', '.join(NAMES)}.",
    heading=ESTIMATOR,
)
@option(
    "--target",
    default=None,
    metavar="NAME",
    show_default="all that the run has",
    help="Only this target Y: labels, which the run is trained for, or another by its name.",
    heading=ESTIMATOR,
)
@estimation_options
@scheduler_option(ESTIMATOR)
@talkative
@click.pass_context
def estimate(
    ctx: click.Context,
    runs: Sequence[Path],
    estimators: Sequence[str],
    target: str | None,
    scheduler: str | None,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Estimate I(X;T) and I(T;Y) of every layer at every snapshot, in bits.

    Of a run with further targets, such as the boxes of signs, I(T;Y) is estimated for each. Several estimators
    fill one table. hsic, nhsic, cka and kernel-cka are dependence measures, not bits. binning
    needs recorded activations (infoplane record --keep activations); the others do with distances.
    """
    with loading(quiet):
        from tqdm.auto import tqdm

        from infoplane.estimators.engine.estimate import estimate_runs, estimates_path
        from infoplane.execution import Execution
        from infoplane.reporting import terminal as describe

    jobs, batches = options.pop("jobs"), batches_of(options)
    if not estimators:
        raise click.UsageError("name an estimator")
    plain = estimators_of(ctx, estimators, options)
    execution = Execution(jobs, scheduler_of(ctx, scheduler, jobs), not quiet)
    for settings, paths in _by_targets(runs, plain, target):
        tables = estimate_runs(paths, settings, batches, execution=execution)
        for path, table in zip(paths, tables, strict=True):
            # Other runs may have their progress bars below.
            with tqdm.external_write_mode():
                for _, rows in table.groupby(["target", "estimator"], sort=False):
                    say(describe.final_estimates(rows))
                if table.attrs.get("kept", True):
                    say(f"all {len(table)} rows: {estimates_path(path)}")


def _by_targets(
    runs: Sequence[Path], plain: Sequence[EstimatorSettings], target: str | None
) -> Iterator[tuple[list[EstimatorSettings], list[Path]]]:
    """The settings for each target of the runs, and the runs in a row that have these targets.

    Of a target that was not asked for by name, an estimator that cannot take it is left out, and says so.
    """
    if target is not None:
        yield [replace(estimator, target=target) for estimator in plain], list(runs)
        return
    for others, paths in itertools.groupby(runs, _other_targets):
        settings = list(plain)
        for name, discrete in others:
            able = [estimator for estimator in plain if discrete or estimator.takes_values]
            settings += [replace(estimator, target=name) for estimator in able]
            left = ", ".join(estimator.name for estimator in plain if estimator not in able)
            if left:
                say(f"not estimated: target {name} by {left}: it is continuous", err=True)
        yield settings, list(paths)


def _other_targets(path: Path) -> tuple[tuple[str, bool], ...]:
    """The further targets of a run: their names, and whether they have classes."""
    from infoplane.runfile import open_run

    with open_run(path) as run:
        return tuple((name, target.discrete) for name, target in run.probe.others.items())
