"""`infoplane page`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from infoplane.cli.options import (
    OUTPUT,
    RUN_FILE,
    batches_of,
    estimation_options,
    estimators_of,
    examples,
    force_option,
    loading,
    option,
    repetitions,
    talkative,
    target_option,
    verb,
)
from infoplane.cli.output import say
from infoplane.estimators.registry import ESTIMATOR, NAMES


@verb(
    short_help="Make a page for the browser: the plane under a slider.",
    epilog=examples(
        "infoplane page run.h5",
        "infoplane page sgd/seed*.h5 greedy-dib/seed*.h5 -o page.html   # side by side",
        "infoplane page seed*.h5 --judge   # with the verdicts of infoplane analyze",
    ),
)
@click.argument("runs", nargs=-1, required=True, type=RUN_FILE, callback=repetitions)
@option(
    "--each",
    is_flag=True,
    help="Show each run by itself, not the mean of those that differ in their seeds.",
    heading="Runs",
)
@option(
    "--judge",
    is_flag=True,
    help="Judge the runs as infoplane analyze does, which takes minutes; else a report that is there is shown.",
    heading="Runs",
)
@option("--estimator", default="renyi", help=f"What to show, of {', '.join(NAMES)}.", heading=ESTIMATOR)
@target_option
@estimation_options
@option("-o", "--output", type=RUN_FILE, default=Path("page.html"), help="The HTML file.", heading=OUTPUT)
@force_option
@talkative
def page(
    runs: Sequence[Path],
    each: bool,
    judge: bool,
    estimator: str,
    output: Path,
    force: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Make one HTML file that needs no network: the plane under a slider over training, curves, verdicts, settings.

    Layers can be switched on and off, and the mouse shows all numbers of a point. Runs that differ in their seeds
    alone are shown as their mean; others, such as those of two methods, stand side by side on the same axes.
    """
    with loading(quiet):
        from infoplane.api import write_page
        from infoplane.runfile import run_names

    jobs, batches = options.pop("jobs"), batches_of(options)
    [settings] = estimators_of(click.get_current_context(), [estimator], options)
    sets = dict(zip(run_names(runs), ([run] for run in runs), strict=True)) if each else runs
    how: dict[str, Any] = {"batches": batches, "jobs": jobs, "progress": not quiet}
    say(write_page(sets, output, settings, judge=judge, force=force, **how))
