"""Runs a module and notes where its processor time goes, in all of its threads: cProfile alone sees the first.

python benchmarks/profiled.py NOTES -m MODULE ARGUMENTS
"""

from __future__ import annotations

import cProfile
import pstats
import runpy
import sys
import threading
import time


def main() -> None:
    """Runs the module and writes the notes, which `pstats` reads."""
    notes, _, module, *arguments = sys.argv[1:]
    profiles = [cProfile.Profile(time.thread_time)]
    plain = threading.Thread.run

    def run(thread: threading.Thread) -> None:
        profile = cProfile.Profile(time.thread_time)
        profiles.append(profile)
        profile.runcall(plain, thread)

    threading.Thread.run = run  # type: ignore[method-assign]
    sys.argv = [module, *arguments]
    try:
        profiles[0].runcall(runpy.run_module, module, run_name="__main__", alter_sys=True)
    finally:
        pstats.Stats(*profiles).dump_stats(notes)


if __name__ == "__main__":
    main()
