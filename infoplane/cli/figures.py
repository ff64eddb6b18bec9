"""`infoplane figures`."""

from __future__ import annotations

from pathlib import Path

import click

from infoplane.cli.options import (
    OUTPUT,
    RUN_FILE,
    examples,
    force_option,
    loading,
    option,
    talkative,
    time_limited,
    verb,
)
from infoplane.cli.output import say

RUNS = "Runs"


@verb(
    short_help="Make every figure and table of the study.",
    epilog=examples(
        "infoplane figures --run quick --out study      # the runs too: digits, a small CNN",
        "infoplane figures --out study                  # the figures again, from the runs that are there",
        "infoplane figures --run full --out study --data-root data --device cuda",
    ),
)
@option(
    "--runs",
    type=RUN_FILE,
    default=None,
    show_default="OUT/runs",
    help="Runs: GROUP/VARIANT/seedN.h5.",
    heading=RUNS,
)
@option(
    "--run",
    "name",
    type=click.Choice(["quick", "full"]),
    default=None,
    show_default="no runs",
    help="Make the runs that are missing first: digits on a CPU in minutes, or CIFAR and traffic signs on a GPU.",
    heading=RUNS,
)
@option("--data-root", type=RUN_FILE, default=None, help="Folder of the data sets.", heading=RUNS)
@option("--device", default="auto", help="Device that trains the runs: auto, cpu, cuda, ...", heading=RUNS)
@option(
    "--jobs",
    type=click.IntRange(1),
    default=None,
    show_default="one per core",
    help="Trainings, or solves, at once.",
    heading=RUNS,
)
@option(
    "--out",
    "output",
    type=RUN_FILE,
    default=Path("study"),
    help="Folder of figures, tables and report.",
    heading=OUTPUT,
)
@force_option
@time_limited
@talkative
def figures(
    output: Path,
    runs: Path | None,
    name: str | None,
    data_root: Path | None,
    device: str,
    jobs: int | None,
    force: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Make every figure (F1 to F14) and table (T1 to T6) of the study, its report with verdicts, and a page of all.

    Runs that are there are kept, and unfinished ones go on. A figure whose runs are missing is named as missing.
    """
    with loading(quiet):
        from infoplane.execution import Execution
        from infoplane.study.experiments import groups_of, make_runs, side_by_side
        from infoplane.study.figures import Study
        from infoplane.study.make import make_study, study_page

    study_page(output, force)
    where = runs or output / "runs"
    execution = Execution(jobs, progress=not quiet)
    if name:
        groups = groups_of(name, str(data_root or "data"), device)
        make_runs(groups, where, side_by_side(execution, device))
    command = f"infoplane figures{f' --run {name}' if name else ''}"
    with Study(where, data_root, execution) as study:
        for line in make_study(study, output, command, force=force):
            say(line, err=line.startswith("missing"))
