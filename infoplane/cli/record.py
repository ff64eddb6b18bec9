"""`infoplane record`."""

from __future__ import annotations

import os
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import click

from infoplane.cli.options import (
    OUTPUT,
    RUN_FILE,
    config_option,
    examples,
    given,
    loading,
    option,
    settings_options,
    talkative,
    time_limited,
    verb,
)
from infoplane.cli.output import say
from infoplane.trainers.settings import OWN, TrainingSettings


@verb(
    short_help="Train a network and record its layers.",
    epilog=examples(
        "infoplane record                                  # a small CNN on digits, half a minute",
        "infoplane record --dataset cifar10 --model vgg11 --epochs 20 -o vgg.h5",
        "infoplane record --dataset szt --model mlp --widths 10,7,5,4,3 --activation tanh -o szt.h5",
        "infoplane record --dataset mine:data --model mine:network -o mine.h5   # docs/recording.md",
        "infoplane record --method greedy-dib --beta 0.01 -o dib.h5",
        "infoplane record --resume -o run.h5 --epochs 60   # go on with a run",
    ),
)
@config_option
@settings_options(TrainingSettings)
@option("-o", "--output", "output", type=RUN_FILE, default=Path("run.h5"), help="The run file.", heading=OUTPUT)
@option("--force", is_flag=True, help="Overwrite an existing run file.", heading=OUTPUT)
@option(
    "--resume",
    "go_on",
    is_flag=True,
    help="Go on with the run file after a kill, Ctrl-C or its end.",
    heading=OUTPUT,
)
@partial(time_limited, onward="--resume goes on")
@talkative
@click.pass_context
def record(
    ctx: click.Context, output: Path, force: bool, go_on: bool, quiet: bool, verbose: bool, **options: Any
) -> None:
    """Train a network, end to end or layer by layer, and record its layers on a probe set.

    Under torchrun several processes share the training; the first one records.
    """
    with loading(quiet):
        from infoplane.api import resume, train
        from infoplane.stopping import Stopped
        from infoplane.trainers.loop import Interrupted
        from infoplane.user_code import names_code

    before = _state(output)
    try:
        if go_on and force:
            raise click.UsageError("--force overwrites, --resume goes on: give one of them")
        if go_on:
            accuracy = resume(output, progress=not quiet, **given(ctx, options))
        else:
            accuracy = train(TrainingSettings(**options), output, force=force, progress=not quiet)
    except (Interrupted, Stopped) as stopped:
        # What is there may be another run that was to be overwritten.
        if not go_on and _state(output) == before:
            raise Stopped(stopped.signal) from None
        code = [part for name in OWN if names_code(options[name]) for part in (f"--{name}", options[name])]
        command = shlex.join(["infoplane", "record", "--resume", "-o", str(output), *code])
        say(f"stopped by {stopped}; every finished snapshot is safe; go on with: {command}", err=True)
        ctx.exit(128 + stopped.signal)
    # Of the processes of torchrun one speaks.
    if os.environ.get("RANK", "0") == "0":
        say(f"test accuracy {accuracy:.2%}; recorded in {output}; now: infoplane plot {output}")


def _state(path: Path) -> tuple[int, int] | None:
    """What tells one file at a path from another; None without any."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns
