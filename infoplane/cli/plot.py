"""`infoplane plot`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from infoplane.cli.estimation import ESTIMATORS, batches_of, estimator_options, estimator_settings
from infoplane.cli.options import CONTEXT, RUN_FILE, examples, talkative


@click.command(
    short_help="Draw the information plane of runs.",
    context_settings=CONTEXT,
    epilog=examples(
        "infoplane plot run.h5",
        "infoplane plot seed0.h5 seed1.h5 seed2.h5 -o figures",
        "infoplane plot run.h5 --alpha 2 --bandwidth knn:10 --name run-knn",
        "infoplane plot run.h5 --estimator kde --noise median:0.2",
    ),
)
@click.argument("runs", nargs=-1, required=True, type=RUN_FILE)
@click.option("--estimator", default="renyi", help=f"What to draw, of {ESTIMATORS}.")
@estimator_options
@click.option(
    "-o", "--output", type=RUN_FILE, default=None, show_default="beside the run", help="Folder of the figures."
)
@click.option("--name", default=None, show_default="the run's", help="First part of the figures' names.")
@click.option("--force", is_flag=True, help="Overwrite existing figures.")
@talkative
def plot(
    runs: Sequence[Path],
    estimator: str,
    output: Path | None,
    name: str | None,
    force: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Draw the information plane and the informations against training time.

    Estimates what is missing first. Several runs (seeds) and --batches give means with 95 % intervals. Hollow
    points carry no information: they are saturated, or no better than the permuted labels.
    """
    from infoplane.analysis.plane import metrics_table, plane_table, saturation_summary
    from infoplane.analysis.runs import gather
    from infoplane.figures import caption, plane, style, time
    from infoplane.runfile import beside

    jobs, batches = options.pop("jobs"), batches_of(options)
    settings = estimator_settings(estimator, **options)
    first = beside(runs[0], "").name
    stem = name or (first if len(runs) == 1 else f"{first}-and-{len(runs) - 1}-more")
    stem = stem if name or estimator == "renyi" else f"{stem}-{estimator}"
    stems = {kind: (output or runs[0].parent) / f"{stem}-{kind}" for kind in ("plane", "time")}
    for target in stems.values():
        style.writable(target, force)
    estimates, metrics = gather(runs, settings, batches, jobs=jobs, progress=not quiet)
    table, measured = plane_table(estimates), metrics_table(metrics)
    figures = {
        "plane": plane.information_plane(table, caption.plane_caption(table)),
        "time": time.information_over_time(table, measured, caption.time_caption(table)),
    }
    tables = {"plane": table, "time": table.merge(measured, on="step", how="left", suffixes=("", "_metric"))}
    for sentence in saturation_summary(table):
        click.echo(f"carries no information: {sentence}", err=True)
    for kind, figure in figures.items():
        for path in style.save(figure, stems[kind], tables[kind], force):
            click.echo(path)
