"""Errors that are written for the person who reads them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# How alike a name is to another that may be meant, from 0 to 1. At 0.6, the default of difflib, foo is infopro.
_ALIKE = 0.65


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
    """A write that failed half-way; HDF5 cannot end such a process in good order.

    Attributes:
        happened: Whether there was one in this process, since somebody set it to False.
    """

    happened = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        WriteFailed.happened = True


def is_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the machine or of a GPU; PyTorch says so in words only."""
    words = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, MemoryError) or any(phrase in str(error) for phrase in words)


def of_memory(error: BaseException) -> InfoplaneError:
    """The error for people where memory ran out.

    Args:
        error: What was raised.
    """
    detail = f" ({str(error).splitlines()[0]})" if str(error) else ""
    return InfoplaneError(
        f"there is not enough memory for this{detail}; use a smaller probe or batch, `batches`, or fewer `jobs`"
    )


def unknown(what: str, name: str, choices: Iterable[str]) -> InfoplaneError:
    """The error for a name that is not among the choices, with the nearest ones.

    Args:
        what: What the name stands for, such as "model".
        name: The name that was asked for.
        choices: The names that exist.
    """
    names = list(choices)
    near = difflib.get_close_matches(name, names, n=3, cutoff=_ALIKE)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from: {', '.join(names)}"
    return InfoplaneError(f"unknown {what} '{name}'; {hint}")
