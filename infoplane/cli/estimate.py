"""`infoplane estimate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from infoplane.cli.estimation import ESTIMATORS, batches_of, estimator_options, estimator_settings
from infoplane.cli.options import CONTEXT, RUN_FILE, CommaList, examples, talkative


@click.command(
    short_help="Estimate the informations of runs, in bits.",
    context_settings=CONTEXT,
    epilog=examples(
        "infoplane estimate run.h5",
        "infoplane estimate run.h5 --alpha 1.01 --bandwidth knn:10",
        "infoplane estimate seed*.h5 --bandwidth median:0.5 --scope final",
        "infoplane estimate run.h5 --estimator renyi,kde,ksg,gaussian,cka",
        "infoplane estimate run.h5 --batches 10 --batch-size 128",
        "infoplane estimate large.h5 --tolerance 0.01   # a probe of 10,000",
    ),
)
@click.argument("runs", nargs=-1, required=True, type=RUN_FILE)
@click.option(
    "--estimator",
    "estimators",
    type=CommaList(str, "NAME,..."),
    default="renyi",
    help=f"Estimators, of {ESTIMATORS}.",
)
@estimator_options
@talkative
def estimate(runs: Sequence[Path], estimators: Sequence[str], quiet: bool, verbose: bool, **options: Any) -> None:
    """Estimate I(X;T) and I(T;Y) of every layer at every snapshot, in bits.

    Several estimators fill one table. hsic, nhsic, cka and kernel-cka are dependence measures, not bits. binning
    needs recorded activations (infoplane record --keep activations); the others do with distances.
    """
    from infoplane import describe
    from infoplane.estimators.table import estimate_run, estimates_path

    jobs, batches = options.pop("jobs"), batches_of(options)
    if not estimators:
        raise click.UsageError("name an estimator")
    settings = estimator_settings(estimators, **options)
    for path in runs:
        table = estimate_run(path, settings, batches, jobs=jobs, progress=not quiet)
        for _, rows in table.groupby("estimator", sort=False):
            click.echo(describe.final_estimates(rows))
        click.echo(f"all {len(table)} rows: {estimates_path(path)}")
