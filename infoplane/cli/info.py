"""`infoplane info`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from infoplane.cli.options import CONTEXT, RUN_FILE, CommaList, examples, talkative


@click.command(
    short_help="Show a run file, or the layers of a model.",
    context_settings=CONTEXT,
    epilog=examples(
        "infoplane info run.h5",
        "infoplane info --layers --model vgg11 --dataset cifar10",
        "infoplane info --layers --model mynets.resnet:small --dataset cifar100",
    ),
)
@click.argument("runs", nargs=-1, type=RUN_FILE)
@click.option("--layers", is_flag=True, help="List the hookable layers of --model, with their shapes.")
@click.option("--model", default="cnn", help="As in infoplane record.")
@click.option("--dataset", default="digits", help="As in infoplane record; need not be there.")
@click.option("--image-size", type=click.IntRange(4), default=None, help="As in infoplane record.")
@click.option("--widths", type=CommaList(int, "N,N,..."), default=None, help="As in infoplane record.")
@click.option("--activation", default="relu", help="As in infoplane record.")
@talkative
def info(runs: Sequence[Path], layers: bool, quiet: bool, verbose: bool, **model_options: Any) -> None:
    """Show what is in a run file, or which layers of a model can be recorded."""
    from infoplane.reporting import terminal as describe

    if bool(runs) == layers:
        raise click.UsageError("give run files, or --layers with a --model")
    if layers:
        click.echo(describe.model_layers(**model_options))
    for path in runs:
        click.echo(describe.run(path))
