"""`infoplane info`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from infoplane.cli.options import RUN_FILE, examples, given, loading, option, settings_options, talkative, verb
from infoplane.cli.output import say
from infoplane.trainers.settings import MODEL, TrainingSettings


@verb(
    short_help="Show a run file, or the layers of a model.",
    epilog=examples(
        "infoplane info run.h5",
        "infoplane info --layers --model vgg11 --dataset cifar10",
        "infoplane info --layers --model mynets.resnet:small --dataset cifar100",
    ),
)
@click.argument("runs", nargs=-1, type=RUN_FILE)
@option("--layers", is_flag=True, help="List the hookable layers of --model, with their shapes.", heading=MODEL)
@settings_options(TrainingSettings, only=("model", "widths", "activation", "dataset", "image_size"))
@talkative
@click.pass_context
def info(
    ctx: click.Context, runs: Sequence[Path], layers: bool, quiet: bool, verbose: bool, **model_options: Any
) -> None:
    """Show what is in a run file, or which layers of a model can be recorded; its data need not be there."""
    if bool(runs) == layers:
        raise click.UsageError("give run files, or --layers with a --model")
    if runs and (foreign := [*given(ctx, model_options)]):
        raise click.UsageError(
            f"--{foreign[0].replace('_', '-')} goes with --layers; run files say what they are of"
        )
    if layers:
        with loading(quiet):
            from infoplane.reporting.terminal import model_layers
        say(model_layers(**model_options))
        return
    from infoplane.runfile import open_run

    for path in runs:
        with open_run(path) as run:
            say(repr(run))
