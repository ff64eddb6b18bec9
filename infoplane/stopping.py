"""Work that is asked to stop, by a signal or by a time limit, keeps what is done."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from infoplane.errors import InfoplaneError

MARGIN = 30.0  # seconds between the end of the work and the limit, or a tenth of the limit where that is less

_Handler = Callable[[int, FrameType | None], Any] | signal.Handlers


class Stopped(KeyboardInterrupt):
    """Work was asked to stop, and stops where it is, as by Ctrl-C.

    Attributes:
        signal: Number of the signal that asked.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number

    def __str__(self) -> str:
        return stop_name(self.signal)


def stop_name(number: int) -> str:
    """Name of the signal that asked to stop, or the time limit."""
    name = signal.Signals(number).name
    return "the time limit" if name == "SIGALRM" else name


@contextlib.contextmanager
def _on_stop(handler: _Handler, names: tuple[str, ...]) -> Iterator[dict[int, Any]]:
    """Signals that ask to stop are given to a handler, until the block ends.

    Outside the main thread signals cannot be caught; there Python's own handling stays. Signals that are ignored,
    as under nohup, stay so.

    Args:
        handler: Called with the number of the signal; or SIG_IGN.
        names: Names of the signals; those that this system does not have are left out.

    Yields:
        The handlers that were there before, by number of the signal.
    """
    before: dict[int, Any] = {}
    try:
        for number in (int(getattr(signal, name)) for name in names if hasattr(signal, name)):
            if signal.getsignal(number) is not signal.SIG_IGN:
                with contextlib.suppress(ValueError):
                    before[number] = signal.signal(number, handler)
        yield before
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM and SIGHUP raise `Stopped` in the block, as Ctrl-C raises KeyboardInterrupt."""
    with _on_stop(_stop, ("SIGTERM", "SIGHUP")):
        yield


@contextlib.contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Ctrl-C does nothing in the block, nor ever to the processes that are started in it."""
    with _on_stop(signal.SIG_IGN, ("SIGINT",)):
        yield


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Work in the block is asked to stop before a limit, `MARGIN` ahead of it.

    Args:
        seconds: The limit, counted from now.

    Raises:
        InfoplaneError: This system has no alarms, or this is not the main thread.
        Stopped: The time is over.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        raise InfoplaneError("a time limit needs the alarms of POSIX, in the main thread; leave out `time_limit`")
    with _on_stop(_stop, ("SIGALRM",)):
        before = signal.setitimer(signal.ITIMER_REAL, seconds - min(MARGIN, seconds / 10))
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, *before)


_collecting: list[list[int]] = []


def ask_to_stop(number: int) -> bool:
    """Asks all work of this process that is within `stop_requests` to stop, as a signal does, in whatever thread.

    Args:
        number: Number of the signal in whose place this stands.

    Returns:
        Whether there is any.
    """
    for received in _collecting:
        received.append(number)
    return bool(_collecting)


@contextlib.contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collects what asks to stop, so that it takes effect where the block looks; a second one acts at once.

    Yields:
        The numbers of the signals that came.
    """
    received: list[int] = []

    def receive(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, before[number])

    limited = hasattr(signal, "SIGALRM") and signal.getsignal(signal.SIGALRM) is _stop
    with _on_stop(receive, ("SIGINT", "SIGTERM", "SIGHUP", *(["SIGALRM"] if limited else []))) as before:
        _collecting.append(received)
        try:
            yield received
        finally:
            _collecting.remove(received)


def _stop(number: int, _frame: FrameType | None) -> None:
    raise Stopped(number)
