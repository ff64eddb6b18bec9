"""`infoplane analyze`."""

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
    verb,
)
from infoplane.cli.output import say
from infoplane.errors import InfoplaneError
from infoplane.estimators.registry import ESTIMATOR


@verb(
    short_help="Judge bottom-up convergence and the Markov structure.",
    epilog=examples(
        "infoplane analyze seed*.h5   # five runs of a small network: some minutes",
        "infoplane analyze sgd/seed*.h5 --control 'shuffled labels=shuffled/seed*.h5' -o report",
        "infoplane analyze seed*.h5 --bandwidth knn:10 --batches 4",
    ),
)
@click.argument("runs", nargs=-1, required=True, type=RUN_FILE, callback=repetitions)
@option(
    "--control",
    "controls",
    multiple=True,
    metavar="NAME=PATTERN",
    help="Control runs, judged beside the others: 'shuffled labels=shuffled/*.h5'; may be given several times.",
    heading="Runs",
)
@option(
    "--estimator",
    default="renyi",
    help="Estimator of I(X;T): renyi, or another that infoplane estimate knows.",
    heading=ESTIMATOR,
)
@estimation_options
@option(
    "-o",
    "--output",
    type=RUN_FILE,
    default=None,
    show_default="beside the first run",
    help="Name of the report without ending.",
    heading=OUTPUT,
)
@force_option
@talkative
def analyze(
    runs: Sequence[Path],
    controls: Sequence[str],
    estimator: str,
    output: Path | None,
    force: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Judge runs of several seeds by rules fixed in advance, and write a report (Markdown, JSON and CSV).

    Is bottom-up convergence supported, mixed, contradicted or not shown? The Markov information bottleneck? The
    report says which layers were left out and why, and how the verdict changes with the measure of time, quantity
    and bandwidth; synchronous paths that were recorded with the runs stand beside them. It takes at least 5 runs of
    different seeds, of networks of 6 layers or more. The exit code is 0 whatever the verdict.
    """
    with loading(quiet):
        from infoplane.api import analyze as judge
        from infoplane.reporting.report import report_paths
        from infoplane.runfile import beside

    jobs, batches = options.pop("jobs"), batches_of(options)
    stem = output or beside(runs[0], "-report")
    report_paths(stem, force)
    report = judge(
        runs,
        dict(_control(text) for text in controls),
        estimators_of(click.get_current_context(), [estimator], options)[0],
        batches=batches,
        jobs=jobs,
        progress=not quiet,
    )
    for verdict in report.verdicts:
        say(f"{verdict.claim}: {verdict.outcome}")
        for reason in verdict.reasons if not quiet else ():
            say(f"  {reason}")
    for path in report.save(stem, force=force):
        say(path)


def _control(text: str) -> tuple[str, list[Path]]:
    from infoplane.runfile import trainings

    name, separator, pattern = text.partition("=")
    path = Path(pattern)
    if not separator or not name or not pattern:
        raise InfoplaneError(f"--control '{text}': write NAME=PATTERN, such as 'shuffled labels=shuffled/*.h5'")
    matches = sorted(path.parent.glob(path.name))
    if not matches:
        raise InfoplaneError(f"--control '{text}': no file matches {pattern}")
    return name, trainings(matches) or matches
