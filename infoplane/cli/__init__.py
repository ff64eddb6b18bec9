"""The `infoplane` command: parses, calls one function a verb, and prints.

Each verb is a file of its own. What computes is imported inside the verb that needs it, so that `--help` answers at
once.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback

import click

from infoplane import __version__
from infoplane.cli.analyze import analyze
from infoplane.cli.compare import compare
from infoplane.cli.completion import completion
from infoplane.cli.estimate import estimate
from infoplane.cli.figures import figures
from infoplane.cli.info import info
from infoplane.cli.options import CONTEXT, examples, in_options
from infoplane.cli.plot import plot
from infoplane.cli.record import record
from infoplane.cli.verify import verify
from infoplane.errors import InfoplaneError, WriteFailed

EXIT_INTERRUPTED = 130


@click.group(context_settings=CONTEXT, epilog=examples("infoplane record", "infoplane plot run.h5"))
@click.version_option(__version__, prog_name="infoplane")
def cli() -> None:
    """Information planes of deep networks: record, estimate, show, compare."""


for command in (record, compare, estimate, analyze, plot, figures, info, verify, completion):
    cli.add_command(command)


def main() -> None:
    """Runs the command; an error is one line and an exit code, a traceback only with --verbose."""
    verbose = bool({"-v", "--verbose"} & set(sys.argv))
    quiet = bool({"-q", "--quiet"} & set(sys.argv))
    level = logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    logging.getLogger("infoplane").setLevel(level)
    if not verbose:
        # After a failed write HDF5 complains once more of each object that it could not flush.
        sys.unraisablehook = lambda _: None
    try:
        code = cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; what was finished is safe", err=True)
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:
        code = _failed(error, verbose)
    sys.exit(code)


def _failed(error: Exception, verbose: bool) -> int:
    if verbose:
        traceback.print_exc()
    line = in_options(" ".join(str(error).split())) or type(error).__name__
    if not isinstance(error, InfoplaneError):
        line = f"{type(error).__name__}: {line} (unexpected; --verbose shows where)"
    click.echo(f"error: {line}", err=True)
    if isinstance(error, WriteFailed):
        # HDF5 crashes at the end of a process whose last write failed.
        sys.stdout.flush()
        os._exit(1)
    return 1
