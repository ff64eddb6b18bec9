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
from infoplane.cli.export import export
from infoplane.cli.figures import figures
from infoplane.cli.info import info
from infoplane.cli.options import CONTEXT, examples
from infoplane.cli.output import (
    NobodyReads,
    PrintableFormatter,
    close_streams,
    in_options,
    prepare_streams,
    say,
    show,
)
from infoplane.cli.page import page
from infoplane.cli.plot import plot
from infoplane.cli.record import record
from infoplane.cli.verify import verify
from infoplane.errors import InfoplaneError, WriteFailed, is_of_memory, of_memory, one_line, without_afterthoughts
from infoplane.files import reason, remedy
from infoplane.stopping import Stopped, stoppable

_EXIT_INTERRUPTED = 130


@click.group(context_settings=CONTEXT, epilog=examples("infoplane record", "infoplane plot run.h5"))
@click.version_option(__version__, prog_name="infoplane")
def cli() -> None:
    """Information planes of deep networks: record, estimate, show, compare."""


for command in (record, compare, estimate, analyze, plot, page, export, figures, info, verify, completion):
    cli.add_command(command)


def main() -> None:
    """Runs the command; an error is one line and an exit code, a traceback only with --verbose."""
    verbose = bool({"-v", "--verbose"} & set(sys.argv))
    prepare_streams()
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(levelname)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("infoplane").setLevel(logging.INFO if verbose else logging.WARNING)
    WriteFailed.happened = False
    logging.captureWarnings(True)  # they may name what files of others hold
    try:
        with without_afterthoughts():
            code = _run(verbose)
            close_streams()
            if WriteFailed.happened:
                os._exit(code)  # HDF5 crashes at the end of such a process
    finally:
        logging.captureWarnings(False)
    sys.exit(code)


def _run(verbose: bool) -> int:
    try:
        with stoppable():
            return int(cli(standalone_mode=False) or 0)
    except click.ClickException as error:
        show(error)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        # Click makes an Abort of what stops its verbs.
        stop = error.__cause__ if isinstance(error, click.Abort) else error
        asked = f"stopped by {stop}" if isinstance(stop, Stopped) else "interrupted"
        say(f"{asked}; what was finished is safe; the same command goes on", err=True)
        return 128 + stop.signal if isinstance(stop, Stopped) else _EXIT_INTERRUPTED
    except NobodyReads:
        return 1
    except SystemExit as end:
        if "_INFOPLANE_COMPLETE" in os.environ:  # click ends the process when it has completed a line
            raise
        return _failed(
            InfoplaneError(f"code that was called asked to exit with {end.code!r}; remove that"), verbose
        )
    except OSError as error:
        named = InfoplaneError(f"{error.filename} cannot be used: {reason(error)}", remedy(error))
        return _failed(named if error.filename else error, verbose)
    except Exception as error:
        return _failed(of_memory(error) if is_of_memory(error) else error, verbose)


def _failed(error: Exception, verbose: bool) -> int:
    if verbose:
        traceback.print_exc()
    line = in_options(one_line(error))
    if not isinstance(error, InfoplaneError):
        line = f"{type(error).__name__}: {line} (unexpected; --verbose shows where)"
    say(f"error: {line}", err=True)
    return 1
