"""Which functions carry the path of a run through a verb, in how many modules, and how often it is opened.

    python docs/walks.py plot run.h5
    python docs/walks.py analyze seed?.h5

It runs the verb into a folder of its own and notes each call of a function of infoplane that is given the path,
alone or in a list. A return is a call into a module that the path has been in before and has left. What takes a
run that is open is given no path.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import infoplane
from infoplane.cli import cli
from infoplane.runfile import Run

PACKAGE = f"{Path(infoplane.__file__).parent}{os.sep}"


def carries(value: Any, paths: set[str]) -> bool:
    """Whether a value is one of the paths, or holds one."""
    if isinstance(value, (str, Path)):
        return str(value) in paths
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple, set)):
        return any(isinstance(one, (str, Path)) and str(one) in paths for one in value)
    return False


def walk(verb: str, runs: list[str]) -> list[tuple[str, str]]:
    """Module and function of each call that carries a run, in their order."""
    paths = {name for run in runs for name in (run, str(Path(run).absolute()))}
    calls: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(PACKAGE) or code.co_name.startswith("<"):
            return
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + 2]
        if any(carries(frame.f_locals.get(name), paths) for name in names):
            calls.append((code.co_filename.removeprefix(PACKAGE), code.co_qualname))

    with tempfile.TemporaryDirectory() as folder:
        threading.setprofile(note)
        sys.setprofile(note)
        try:
            cli([verb, *runs, "-o", f"{folder}/made", "--quiet", "--jobs", "1"], standalone_mode=False)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
    return calls


def main() -> None:
    """Prints the functions, and counts."""
    calls = walk(sys.argv[1], sys.argv[2:])
    visits = [module for k, (module, _) in enumerate(calls) if k == 0 or calls[k - 1][0] != module]
    for module, function in dict.fromkeys(calls):
        print(f"{module}: {function}")
    modules, functions = set(visits), set(calls)
    print(f"{len(functions)} functions, {len(modules)} modules, {len(visits) - len(modules)} returns")
    openings = calls.count(("runfile/reader.py", Run.__init__.__qualname__))
    print(f"{openings} openings of {len(sys.argv[2:])} runs")


if __name__ == "__main__":
    main()
