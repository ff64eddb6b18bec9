"""Errors that are written for the person who reads them."""

from __future__ import annotations

import contextlib
import difflib
import functools
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType

# How alike a name is to another that may be meant, from 0 to 1. At 0.6, the default of difflib, foo is infopro.
_ALIKE = 0.65


class InfoplaneError(Exception):
    """An error whose one line says what went wrong and what to do.

    Args:
        fault: What went wrong; it may say what to do as well.
        advice: What to do, step by step, where somebody may put another step in the place of one (`text`).

    A message names settings as Python does, between backticks: `force=True`. The command line prints it in its own
    words, `--force` (`infoplane.cli.output.in_options`), and exits with code 1, without a traceback.

    Example:
        >>> try:
        ...     ip.open_run("missing.h5")
        ... except ip.InfoplaneError as error:
        ...     print(error)
        missing.h5 does not exist; record it first: infoplane record -o missing.h5
    """

    def __init__(self, fault: str, *advice: str) -> None:
        super().__init__(fault, *advice)
        self.fault, self.advice = fault, advice

    def __str__(self) -> str:
        return self.text({})

    def text(self, instead: Mapping[str, str]) -> str:
        """The line, with other steps of the advice in the place of some.

        Args:
            instead: Steps by those whose place they take.
        """
        steps = ", then ".join(instead.get(step, step) for step in self.advice)
        return f"{self.fault}; {steps}" if steps else self.fault


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

    def __init__(self, fault: str, *advice: str) -> None:
        super().__init__(fault, *advice)
        WriteFailed.happened = True


@contextlib.contextmanager
def without_afterthoughts() -> Iterator[None]:
    """Leaves out what h5py prints after a failed write, of each object that it then cannot close.

    The error itself is raised before, and says all that these say. h5py prints each of them in two ways.
    """
    hook, unraisable_hook = sys.excepthook, sys.unraisablehook

    def is_afterthought(trace: TracebackType | None) -> bool:
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        return trace is not None and trace.tb_frame.f_code.co_filename.startswith("h5py/")

    def excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not is_afterthought(trace):
            hook(kind, error, trace)

    def unraisablehook(unraisable: sys.UnraisableHookArgs) -> None:
        if not is_afterthought(unraisable.exc_traceback):
            unraisable_hook(unraisable)

    sys.excepthook, sys.unraisablehook = excepthook, unraisablehook
    try:
        yield
    finally:
        sys.excepthook, sys.unraisablehook = hook, unraisable_hook


def is_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the machine or of a GPU; PyTorch says so in words only, infoplane in its own."""
    if isinstance(error, InfoplaneError):
        return False
    words = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, MemoryError) or any(phrase in str(error) for phrase in words)


def one_line(error: object, most: int | None = None) -> str:
    """What an error says, in one line; its type where it says nothing.

    Args:
        error: What was raised.
        most: Number of characters after which it is cut; None for all.
    """
    return " ".join(str(error).split())[:most] or type(error).__name__


def with_type(error: BaseException, most: int | None = None) -> str:
    """What an error says, after its type, in one line without its last full stop: "ValueError: no such file".

    Args:
        error: What was raised.
        most: Number of characters after which its words are cut; None for all.
    """
    name, text = type(error).__name__, one_line(error, most).rstrip(" .")
    return name if text == name else f"{name}: {text}"


def of_memory(error: BaseException) -> InfoplaneError:
    """The error for people where memory ran out.

    Args:
        error: What was raised.
    """
    detail = f" ({str(error).splitlines()[0]})" if str(error) else ""
    return InfoplaneError(
        f"there is not enough memory for this{detail}; use a smaller probe or batch, `batches`, or fewer `jobs`"
    )


@functools.cache
def warn_once(logger: logging.Logger, message: str) -> None:
    """Warns of what many calls meet, such as a run file that is opened again and again.

    Args:
        logger: Of the module that warns.
        message: The warning.
    """
    logger.warning("%s", message)


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
