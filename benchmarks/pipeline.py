"""What a user waits for, beside an earlier commit in one run: info, record, estimate, plot and analyze.

    python benchmarks/pipeline.py
    python benchmarks/pipeline.py --before COMMIT --rounds 3 --profile analyze

The study: five seeds of the CNN on the digits, 1 epoch, 10 snapshots, a probe of 400 for plot and analyze, and
one run with a probe of 1,000 for the others. Each command runs in a process of its own, before and after in
turn, on one thread; a ratio is that of the least times of both. Time is that of the processor, which other work
on the machine disturbs least, and the peak that of resident memory. Each version reads what it made itself.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pandas as pd

BEFORE = "df9708e"  # the last commit before the work on speed
HERE = Path(__file__).parents[1]
SEEDS = [f"{seed}.h5" for seed in range(5)]
TRAINING = ["record", "--epochs", "1", "--snapshots", "10", "--probe-split", "all", "--probe-size"]
COMMANDS = {
    "info": ["info", "large.h5"],
    "record": [*TRAINING, "1000", "--force", "--output", "large.h5"],
    "estimate": ["estimate", "large.h5", "--jobs", "1"],
    "plot": ["plot", "large.h5", "--jobs", "1", "--output", "figures"],
    "analyze": ["analyze", *SEEDS, "--jobs", "1", "--output", "report"],
}
MADE = {"estimate": (".estimates.csv",), "analyze": (".estimates.csv", ".pairs.csv")}  # what is made anew


def source(commit: str, folder: Path) -> Path:
    """The package as it was at a commit, in a folder."""
    packed = subprocess.run(["git", "archive", commit, "infoplane"], cwd=HERE, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def run(package: Path, command: list[str], folder: Path, *profile: str) -> tuple[float, float]:
    """Processor seconds and peak MiB of one command in a folder."""
    environment = os.environ | {"PYTHONPATH": str(package), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    asked = [sys.executable, *profile, "-m", "infoplane", *command]
    child = subprocess.Popen(asked, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert child.stderr is not None
    messages = child.stderr.read().decode()
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed:\n{messages}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def study(package: Path, folder: Path) -> Path:
    """The runs of the study."""
    folder.mkdir()
    for seed, name in enumerate(SEEDS):
        run(package, [*TRAINING, "400", "--seed", str(seed), "--output", name], folder)
    run(package, COMMANDS["record"], folder)
    # Finds the fastest solvers once; plot shows estimates that are there.
    for name in ("estimate", "plot"):
        run(package, COMMANDS[name], folder)
    return folder


def measured(package: Path, folder: Path, name: str, *profile: str) -> tuple[float, float]:
    """One command, from where it has everything to do."""
    for path in folder.iterdir():
        if path.name.endswith(MADE.get(name, ("nothing",))):
            path.unlink()
    return run(package, COMMANDS[name], folder, *profile)


def profile(package: Path, folder: Path, name: str) -> str:
    """Where the processor time of a command goes: the functions that take most of it themselves."""
    kept = folder / "profile"
    measured(package, folder, name, str(HERE / "benchmarks" / "profiled.py"), str(kept))
    shown = f"import pstats; pstats.Stats({str(kept)!r}).strip_dirs().sort_stats('tottime').print_stats(15)"
    text = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True).stdout
    return re.sub(r"\n{2,}", "\n", text)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default=BEFORE, help="the commit to measure beside")
    parser.add_argument("--rounds", type=int, default=3, help="how often each command runs")
    parser.add_argument("--only", nargs="+", default=[*COMMANDS], choices=COMMANDS, help="commands")
    parser.add_argument("--profile", nargs="*", default=[], choices=COMMANDS, help="commands to profile, after")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        now = Path(folder) / "now"  # a copy, so that the package may be worked on meanwhile
        shutil.copytree(HERE / "infoplane", now / "infoplane")
        packages = {"before": source(given.before, Path(folder) / "then"), "after": now}
        folders = {name: study(package, Path(folder) / name) for name, package in packages.items()}
        rows = []
        for name in given.only:
            times: dict[str, list[tuple[float, float]]] = {which: [] for which in packages}
            for which in [*packages] * given.rounds:
                times[which].append(measured(packages[which], folders[which], name))
            (before, memory), (after, now) = (tuple(map(min, zip(*found, strict=True))) for found in times.values())
            rows.append(
                {
                    "command": name,
                    "before [s]": before,
                    "after [s]": after,
                    "ratio": before / after,
                    "peak before [MiB]": memory,
                    "peak after [MiB]": now,
                }
            )
            print(pd.DataFrame(rows[-1:]).to_string(index=False, float_format="%.3g"), flush=True)
        print(f"\nbefore: {given.before}")
        print(pd.DataFrame(rows).to_string(index=False, float_format="%.3g"))
        for name in given.profile:
            print(f"\n{name}\n{profile(now, folders['after'], name)}")


if __name__ == "__main__":
    main()
