"""`infoplane estimate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from infoplane.cli.estimation import ESTIMATORS, batches_of, estimator_options, estimator_settings
from infoplane.cli.options import CONTEXT, RUN_FILE, CommaList, examples, given, talkative


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
        "infoplane estimate seed*.h5 --scheduler tcp://10.0.0.1:8786   # a Dask cluster",
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
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    default=None,
    envvar="DASK_SCHEDULER_ADDRESS",
    show_envvar=True,
    show_default="this machine",
    help="Scheduler of a Dask cluster to work in place of this machine.",
)
@talkative
@click.pass_context
def estimate(
    ctx: click.Context,
    runs: Sequence[Path],
    estimators: Sequence[str],
    scheduler: str | None,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Estimate I(X;T) and I(T;Y) of every layer at every snapshot, in bits.

    Several estimators fill one table. hsic, nhsic, cka and kernel-cka are dependence measures, not bits. binning
    needs recorded activations (infoplane record --keep activations); the others do with distances.
    """
    from tqdm import tqdm

    from infoplane import describe
    from infoplane.estimators.table import estimate_runs, estimates_path

    jobs, batches = options.pop("jobs"), batches_of(options)
    if not estimators:
        raise click.UsageError("name an estimator")
    if jobs is not None and scheduler is not None:
        if given(ctx, ["scheduler"]):
            raise click.UsageError("--jobs is for this machine; with --scheduler the workers decide")
        scheduler = None  # of the environment
    settings = estimator_settings(estimators, **options)
    for path, table in estimate_runs(runs, settings, batches, jobs=jobs, scheduler=scheduler, progress=not quiet):
        # Other runs may have their progress bars below.
        with tqdm.external_write_mode():
            for _, rows in table.groupby("estimator", sort=False):
                click.echo(describe.final_estimates(rows))
            click.echo(f"all {len(table)} rows: {estimates_path(path)}")
