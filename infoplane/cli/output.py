"""Output of the command line, on terminals, in pipes and into files of every kind."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
from pathlib import Path

import click

from infoplane.errors import InfoplaneError
from infoplane.files import reason
from infoplane.text import printable


class NobodyReads(Exception):
    """The pipe that results are printed into was closed, as by `head`."""


def say(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Prints a text at once, without what would steer the terminal.

    Args:
        text: What to print.
        err: Print a complaint; one that cannot be printed is dropped.
        nl: End the line.

    Raises:
        InfoplaneError: A result cannot be printed.
        NobodyReads: The pipe of the results is closed.
    """
    try:
        click.echo(printable(str(text)), err=err, nl=nl)
    except BrokenPipeError as error:
        if not err:
            raise NobodyReads from error
    except OSError as error:
        if not err:
            raise InfoplaneError(f"cannot print the results: {reason(error)}") from error


class PrintableFormatter(logging.Formatter):
    """Formats log records in the words of the command line, without what would steer the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        return printable(in_options(super().format(record)))


def in_options(message: str) -> str:
    """A message that names settings as Python does, in the words of the command line.

    Args:
        message: Text with settings such as `` `force=True` ``, `` `keep='activations'` `` and `` `widths` ``, which
            become `--force`, `--keep activations` and `--widths`.
    """

    def in_words(setting: re.Match[str]) -> str:
        name, value = "--" + setting[1].replace("_", "-"), (setting[2] or "").strip("'")
        return name if value in ("", "True") else f"{name} {value}"

    return re.sub(r"`(\w+)(?:=([^`]*))?`", in_words, message)


def prepare_streams() -> None:
    """Makes standard output and error take whatever is printed.

    Characters that a console does not have are replaced. Streams that are closed become those that lead nowhere,
    so that no file is opened in their place and printed into.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - progress bars insist on one


def close_streams() -> None:
    """Drops what could not be printed, as Python would complain of it once more when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def show(error: click.ClickException) -> None:
    """Prints how a verb is used, and what was wrong."""
    page = io.StringIO()
    error.show(file=page)
    say(page.getvalue(), err=True, nl=False)
