"""`infoplane compare`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from infoplane.cli.options import (
    OUTPUT,
    RUN_FILE,
    CommaList,
    config_option,
    examples,
    given,
    loading,
    option,
    scheduler_of,
    scheduler_option,
    settings_options,
    tables_of,
    talkative,
    time_limited,
    verb,
)
from infoplane.cli.output import say
from infoplane.trainers.methods import METHODS
from infoplane.trainers.settings import ALIKE, TrainingSettings

_COMPARISON = "Comparison"


@verb(
    short_help="Train methods side by side and tabulate them.",
    epilog=examples(
        "infoplane compare --methods sgd,greedy-ce,greedy-dib --seeds 5 -o comparison   # some minutes a seed",
        "infoplane compare --methods sgd,greedy-dib --beta 0,1e-4,1e-2,1 --seeds 5 -o sweep",
        "infoplane compare --validation 0.1 --tune-lr 0.1,0.3,1,3 --methods sgd,greedy-ce,predsim -o tuned",
        "infoplane compare --config comparison.toml -o comparison   # a table a variant: [wide] method = 'sgd' …",
        "infoplane compare --scheduler tcp://10.0.0.1:8786 -o comparison   # a Dask cluster, a shared folder",
        "infoplane compare --merge here/results.csv there/results.csv -o all   # of several machines",
        "infoplane plot comparison",
    ),
)
@click.argument("results", nargs=-1, type=RUN_FILE)
@partial(config_option, tables=True)
@option(
    "--methods",
    type=CommaList(str, "NAME,..."),
    default=("sgd", "greedy-ce", "greedy-dib"),
    show_default="sgd,greedy-ce,greedy-dib",
    help=f"What to compare, of {', '.join(METHODS)}.",
    heading=_COMPARISON,
)
@option(
    "--reference",
    default=None,
    show_default="the first",
    help="The variant that the others are compared with.",
    heading=_COMPARISON,
)
@option(
    "--seeds",
    type=click.IntRange(1, 10_000),
    default=5,
    help="Number of seeds, the same for all methods.",
    heading=_COMPARISON,
)
@option(
    "--tune-lr",
    type=CommaList(float, "FACTOR,..."),
    default=(),
    show_default="no tuning",
    help="Try these multiples of each method's learning rate, and take the best by validation accuracy.",
    heading=_COMPARISON,
)
@option(
    "--as-published",
    is_flag=True,
    help="Batch size and schedule of each method as published, in place of 128 and onecycle for all.",
    heading=_COMPARISON,
)
@option(
    "--margin",
    type=float,
    default=0.01,
    help="How far below the accuracy of the reference a comparable method may be.",
    heading=_COMPARISON,
)
@option(
    "--jobs",
    type=click.IntRange(1),
    default=None,
    show_default="1",
    help="Trainings at once; the times of more than one cannot be compared.",
    heading=_COMPARISON,
)
@scheduler_option(_COMPARISON)
@option(
    "--merge",
    is_flag=True,
    help="Train nothing; merge RESULTS, the results.csv of several machines, into OUTPUT/results.csv.",
    heading=_COMPARISON,
)
@settings_options(
    TrainingSettings,
    without=("method", "seed"),
    unset={name: f"{value}, for all methods" for name, value in ALIKE.items()},
)
@option(
    "-o",
    "--output",
    "output",
    type=RUN_FILE,
    default=Path("comparison"),
    help="Folder of runs and tables.",
    heading=OUTPUT,
)
@time_limited
@talkative
@click.pass_context
def compare(
    ctx: click.Context,
    results: tuple[Path, ...],
    methods: tuple[str, ...],
    reference: str | None,
    seeds: int,
    tune_lr: tuple[float, ...],
    as_published: bool,
    margin: float,
    jobs: int | None,
    scheduler: str | None,
    merge: bool,
    output: Path,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Train methods on the same seeds and tabulate accuracy, gap to the reference, memory, time and parameters.

    What is trained already is kept, what is unfinished goes on. OUTPUT/results.csv has a row for each finished run,
    with scores, costs and settings; all tables and figures can be made from it alone. A --config file may hold a
    table for each variant, named as the variant, with settings that differ from the others (method = ..., lr = ...,
    aux = ...).
    """
    if results and not merge:
        raise click.UsageError("RESULTS are for --merge; name methods by --methods")
    if merge:
        _refuse_training(ctx)
    scheduler = scheduler_of(ctx, scheduler, jobs)
    with loading(quiet):
        from infoplane.analysis.comparison.measures import measures_table
        from infoplane.analysis.comparison.results import read_results
        from infoplane.api import compare as train_all
        from infoplane.api import merge as merge_all
        from infoplane.reporting.methods import show, show_measures
        from infoplane.reporting.tables import markdown, save_table
        from infoplane.trainers.jobs import variants_of

    if merge:
        table = merge_all(results, output, reference=reference, margin=margin)
    else:
        tables = tables_of(ctx)
        if tables and given(ctx, ["methods"]):
            raise click.UsageError("--config names the variants in its tables; leave out --methods")
        wanted = variants_of(options, tables or {method: {} for method in methods})
        table = train_all(
            wanted,
            output,
            seeds=seeds,
            reference=reference,
            margin=margin,
            tune_lr=tune_lr,
            as_published=as_published,
            jobs=jobs or 1,
            scheduler=scheduler,
            progress=not quiet,
        )
    measures = measures_table(read_results(output), table["variant"].iloc[0], margin)
    shown = show(table, margin)
    ending = f"-to-{reference}" if reference else ""
    for name, numbers, (text, caption, note) in (
        ("comparison", table, shown),
        ("measures", measures, show_measures(measures, margin)),
    ):
        for path in save_table(numbers, text, output / f"{name}{ending}", caption, note):
            say(path)
    say(markdown(shown[0]))
    say(f"now: infoplane plot {output}")


def _refuse_training(ctx: click.Context) -> None:
    """Refuses options of training, as a merge trains nothing."""
    kept = {"results", "merge", "reference", "margin", "output", "quiet", "verbose"}
    if others := given(ctx, sorted({*ctx.params} - kept)):
        raise click.UsageError(f"--merge trains nothing; leave out --{next(iter(others)).replace('_', '-')}")
