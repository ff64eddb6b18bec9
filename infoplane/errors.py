"""Errors that are written for the person who reads them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InfoplaneError(Exception):
    """An error whose one line says what went wrong and what to do.

    A message names settings as Python does, between backticks: `force=True`. The command line prints it in its own
    words, `--force` (`infoplane.cli.output.in_options`), and exits with code 1, without a traceback.

    Example:
        >>> try:
        ...     ip.open_run("missing.h5")
        ... except ip.InfoplaneError as error:
        ...     print(error)
        missing.h5 does not exist; record it first: infoplane record -o missing.h5
    """


class MissingData(InfoplaneError):
    """Something that cannot be made from the data that are there, though nothing is broken."""


class RunFileError(InfoplaneError):
    """A run file that cannot be read, written or trusted."""


class WriteFailed(RunFileError):
    """A write that failed half-way; HDF5 cannot end such a process in good order."""


def unknown(what: str, name: str, choices: Iterable[str]) -> InfoplaneError:
    """The error for a name that is not among the choices, with the nearest ones.

    Args:
        what: What the name stands for, such as "model".
        name: The name that was asked for.
        choices: The names that exist.
    """
    names = list(choices)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from: {', '.join(names)}"
    return InfoplaneError(f"unknown {what} '{name}'; {hint}")
