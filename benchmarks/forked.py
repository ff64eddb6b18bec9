"""Runs a verb of infoplane, or a function, in a forked process that may crash, hang, be killed or eat memory.

A verb sees a time limit, a memory limit and a watch over what it opens for writing, runs or connects to. This
process must have imported everything before, and must have no threads.
"""

from __future__ import annotations

import os
import pickle
import re
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm.std import TqdmDefaultWriteLock

# Forks of a process share its lock of progress bars, which stays taken where one is killed while it prints.
TqdmDefaultWriteLock.mp_lock = None
MEMORY = 3 * 2**30  # bytes of addresses beyond those of this process
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
RUNS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "pickle.find_class")
# NumPy's, pandas' and torch's own arrays travel as pickles of these modules.
PICKLED = re.compile(r"(numpy|pandas|torch|collections)\b")
STOPPED = tuple(128 + number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM))


@dataclass(frozen=True)
class Ending:
    """How a verb ended.

    Attributes:
        how: "read" (exit 0), "refused" (one line), "stopped" (time limit), "traceback", "unexpected", "wordless"
            (an error without exactly one line), "hang", "crash" or "killed".
        printed: What it printed to standard error.
        outside: What it wrote, ran or connected to outside its folder.
        peak: Bytes of memory beyond those that it began with.
        seconds: How long it took.
    """

    how: str
    printed: str
    outside: tuple[str, ...]
    peak: int
    seconds: float


def run_verb(args: Sequence[str], folder: Path, seconds: float, kill_at: float | None = None) -> Ending:
    """Runs `infoplane ARGS` in a folder.

    Args:
        args: The verb and its options.
        folder: The current folder of the verb, the only place where it may write.
        seconds: After so long it counts as hanging: seconds of the processor, or ten times as many by the clock.
        kill_at: Seconds after which it is killed; None lets it end.
    """
    with tempfile.TemporaryDirectory(prefix="logs-", dir=folder.parent) as name:
        logs = Path(name)
        for log in ("out", "err", "outside", "began"):
            (logs / log).touch()
        start = time.monotonic()
        child = os.fork()
        if not child:
            _be_verb(args, folder, logs)
        status, peak = _wait(child, seconds, kill_at)
        took = time.monotonic() - start
        printed = (logs / "err").read_text(errors="replace")
        outside = sorted(set((logs / "outside").read_text().splitlines()))
        before = int((logs / "began").read_text() or peak)
    how = _ending(status, printed)
    if status == -signal.SIGKILL:
        how = "hang" if kill_at is None else "killed"
    return Ending(how, printed, tuple(outside), max(0, peak - before), took)


def apart(function: Callable[..., Any], *args: Any, seconds: float = 60.0) -> Any:
    """What a function gives in a process of its own; None where that crashes, hangs or raises an error."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            with os.fdopen(writer, "wb") as stream:
                stream.write(pickle.dumps(function(*args)))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        content = _read_until(stream.fileno(), child, seconds)
    _wait(child, seconds if content else 0)
    return pickle.loads(content) if content else None


def _read_until(descriptor: int, child: int, seconds: float) -> bytes:
    """All that comes through a pipe until it is closed; nothing where that takes too long."""
    parts: list[bytes] = []
    start = time.monotonic()
    while not _is_hanging(child, seconds, start):
        if select.select([descriptor], [], [], 1.0)[0]:
            part = os.read(descriptor, 2**16)
            if not part:
                return b"".join(parts)
            parts.append(part)
    return b""


def _is_hanging(child: int, seconds: float, start: float) -> bool:
    """Whether a process has had its time, on a machine that may be busy with others."""
    fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return used >= seconds or time.monotonic() - start >= 10 * seconds


def _wait(child: int, seconds: float, kill_at: float | None = None) -> tuple[int, int]:
    """Waits for a process, and kills it at a moment or if it hangs: its exit code and its peak memory in bytes."""
    start = time.monotonic()
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        late = not done and (
            _is_hanging(child, seconds, start) if kill_at is None else time.monotonic() - start >= kill_at
        )
        if late:
            os.kill(child, signal.SIGKILL)
            done, status, usage = os.wait4(child, 0)
        if done:
            return os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024
        time.sleep(0.01 if kill_at is None else 0.002)


def _ending(status: int, printed: str) -> str:
    lines = [line for line in printed.splitlines() if line.lower().startswith("error:")]
    if status < 0:
        return "crash"
    if "Traceback (most recent call last)" in printed:
        return "traceback"
    if "(unexpected;" in printed:
        return "unexpected"
    if status in STOPPED:
        return "stopped"
    return "read" if status == 0 else "refused" if len(lines) == 1 else "wordless"


def _be_verb(args: Sequence[str], folder: Path, logs: Path) -> None:
    """Becomes the verb; never comes back."""
    code = 70
    try:
        for name, number in (("out", 1), ("err", 2)):
            os.dup2(os.open(logs / name, os.O_WRONLY), number)
        (logs / "began").write_text(str(_memory("VmRSS")))
        os.chdir(folder)
        tempfile.tempdir = str(folder)
        limit = _memory("VmSize") + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        _watch(folder, os.open(logs / "outside", os.O_WRONLY | os.O_APPEND))
        sys.argv = ["infoplane", *args]
        from infoplane.cli import main

        main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _watch(folder: Path, log: int) -> None:
    """Writes down what is opened for writing, changed, run or connected to outside a folder."""
    allowed = (os.path.realpath(folder), os.devnull, os.path.realpath(os.environ["HOME"]))
    # No file: the kernel's own account of the memory of this process, which begins anew with a run.
    allowed += (os.path.realpath("/proc/self/clear_refs"),)

    def watch(event: str, details: tuple[Any, ...]) -> None:
        if event in RUNS:
            if event != "pickle.find_class" or not PICKLED.match(str(details[0])):
                os.write(log, f"{event} {details[:2]}\n".encode(errors="replace"))
        elif event in CHANGES or (event == "open" and isinstance(details[2], int) and details[2] & WRITES):
            path = details[0]
            if isinstance(path, (str, bytes, os.PathLike)) and not _is_within(path, allowed):
                os.write(log, f"{event} {os.fsdecode(path)}\n".encode(errors="replace"))

    sys.addaudithook(watch)


def _is_within(path: Any, allowed: tuple[str, ...]) -> bool:
    real = os.path.realpath(os.fsdecode(path))
    return any(real == place or real.startswith(place + os.sep) for place in allowed)


def _memory(name: str) -> int:
    """A size of this process in bytes, as Linux counts it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
