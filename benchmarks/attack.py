"""Attacks infoplane with damaged files and kills: nothing may be lost, run, left half-written or waited for.

    python benchmarks/attack.py --mutants 300 --structural 200 --kills 200 --jobs 2 -o attack.md
    python benchmarks/attack.py --only structural:17      # one mutant again, with all that was printed

Mutants are damaged run files, tables of estimates, checkpoints and configuration files; each goes through the verbs
that read it, in forked processes with limits of time and memory (`forked.py`). Kills are SIGKILL at random moments;
after each, all finished snapshots must be there, all files whole, and going on must end where a run without a kill
ends. Libraries are loaded once, and --jobs processes take one trial after another, each in folders of its own.
Needs Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import gc
import hashlib
import importlib
import io
import json
import os
import pickle
import shlex
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import torch
from forked import Ending, apart, run_verb
from mutants import KINDS, damage
from tqdm import tqdm

SMALL = "--model mlp --widths 12,6 --probe-size 40 --train-size 200 --eval-size 50 --snapshots 4 --device cpu"
RECORD = f"record {SMALL} --epochs 1 -o run.h5"
RESUME = "record --resume -o run.h5"
COMPARE = f"compare {SMALL} --epochs 1 --methods sgd,greedy-ce --seeds 1 -o comparison"
VERBS = {
    "run file": (
        "info run.h5",
        "estimate run.h5 --jobs 1",
        "plot run.h5 --jobs 1",
        "analyze run.h5 --jobs 1",
        "figures --runs . --out study --jobs 1",
        f"{RESUME} --epochs 2",
    ),
    "table of estimates": ("plot run.h5 --jobs 1", "analyze run.h5 --jobs 1", "estimate run.h5 --jobs 1"),
    "checkpoint": (f"{RESUME} --epochs 2",),
    "configuration": (
        "record --config record.toml -o new.h5 --time-limit 20s",
        "compare --config compare.toml --seeds 1 -o comparison --time-limit 20s",
    ),
}
CONFIGURATION = """dataset = "digits"
model = "mlp"
widths = [12, 6]
epochs = 1
snapshots = "4"
probe_size = 40
train_size = 200
eval_size = 50
batch_size = 64
lr = 0.1
activation = "relu"
layers = ["fc?", "logits"]
device = "cpu"
"""
TABLES = """[plain]
method = "sgd"
[greedy]
method = "greedy-ce"
aux = "linear"
"""
COMPARED = {
    "run file": ("record --resume",),
    "table of estimates": ("estimate",),
    "checkpoint": ("record --resume",),
}
SLOW = ("plot", "analyze", "compare", "figures")
WHOLE_FILES = "not damaged"
TALLY = "tally"
FAULTS = ("traceback", "unexpected", "wordless", "crash", "hang")
MIB = 2**20
DAMAGED = "damaged"  # in the place of a digest: it fails the checksum in the file
Digests = Counter[tuple[int, str, str]]  # of (step, layer, digest or DAMAGED)
Result = tuple[Digests | None, str | None]  # layers and estimates


@dataclass
class Tally:
    """What happened in the rows of a table, and the faults one by one."""

    rows: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    peaks: dict[tuple[str, str], int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)

    def count(self, row: tuple[str, str], peak: int, *what: str) -> None:
        """Counts what happened in a row."""
        self.rows.setdefault(row, Counter()).update(what)
        self.peaks[row] = max(self.peaks.get(row, 0), peak)

    def fault(self, text: str) -> None:
        """Notes a fault, and prints it at once."""
        self.faults.append(text)
        print(f"FAULT {text}", file=sys.stderr, flush=True)

    def add(self, other: Tally) -> None:
        """Adds what another process counted."""
        for row, counts in other.rows.items():
            self.count(row, other.peaks[row], *counts.elements())
        self.faults += other.faults
        self.done += other.done


@dataclass(frozen=True)
class Ground:
    """The folders of an attack.

    Attributes:
        root: Folder of all others.
        clean: Files without damage, that mutants are made of.
        results: What the verbs make of files without damage, by kind.
    """

    root: Path
    clean: Path
    results: dict[str, Result] = field(default_factory=dict)

    def apart(self, name: str) -> Ground:
        """The same in a folder of its own, for another process."""
        root = self.root.parent / name
        shutil.copytree(self.root / "outside", root / "outside")
        return dataclasses.replace(self, root=root)

    @contextlib.contextmanager
    def trial(self, clean: bool = True) -> Iterator[Path]:
        """A folder for one trial, with a copy of the clean files or empty."""
        folder = self.root / "trial"
        if clean:
            shutil.copytree(self.clean, folder)
        else:
            folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder)

    def surroundings(self) -> list[tuple[str, bytes]]:
        """All that is beside the trial: no verb may change it."""
        files = [path for path in sorted((self.root / "outside").rglob("*")) if path.is_file()]
        contents = [(str(path), path.read_bytes()) for path in files]
        return contents + [(path.name, b"") for path in sorted(self.root.iterdir())]


def prepare(root: Path) -> Ground:
    """Makes the clean files, in this process, so that every library is loaded before it forks."""
    ground = Ground(root / "first", root / "clean")
    os.environ |= {"HOME": str(root / "home"), "MPLCONFIGDIR": str(root / "home"), "OMP_NUM_THREADS": "1"}
    for folder in ("home", "clean", "first/outside"):
        (root / folder).mkdir(parents=True)
    from infoplane.cli import main

    # Processes with threads fork badly: a fork waits for ever for those of OpenMP.
    tqdm.monitor_interval = 0
    torch.set_num_threads(1)
    before = Path.cwd()
    os.chdir(ground.clean)
    for line in (f"{RECORD} -q", "estimate run.h5 --jobs 1 -q", "plot run.h5 --jobs 1 -q -o ../drawn"):
        sys.argv = ["infoplane", *shlex.split(line)]
        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
            main()
    os.chdir(before)
    shutil.rmtree(root / "drawn")
    (ground.clean / "record.toml").write_text(CONFIGURATION)
    (ground.clean / "compare.toml").write_text(CONFIGURATION + TABLES)
    (ground.clean / "planted.py").write_text("open('../outside/planted', 'w').close()\n")
    shutil.copy(ground.clean / "run.h5", ground.root / "outside")
    for path in ground.clean.rglob("*"):
        os.utime(path, (0, 0))  # no reader is to wait for a writer that is half-way through
    for name in ("analysis.analyze", "study.make", "study.figures", "study.comparison", "trainers.jobs"):
        importlib.import_module(f"infoplane.{name}")
    if threading.active_count() > 1:
        raise RuntimeError("a process with threads cannot fork")
    gc.collect()
    gc.freeze()
    return ground


def finished_snapshots(path: Path) -> Digests:
    """The layers of the finished snapshots of a run file, as plain h5py reads them."""
    seen: Digests = Counter()
    with h5py.File(path, "r", locking=False) as file:
        for slot in file["snapshots"].values():
            with contextlib.suppress(Exception):
                if slot.attrs["complete"]:
                    seen.update((int(slot.attrs["step"]), name, _digest(slot, name)) for name in slot)
    return seen


def _digest(slot: h5py.Group, name: str) -> str:
    try:
        return hashlib.sha256(np.asarray(slot[name][()]).tobytes()).hexdigest()
    except (OSError, TypeError):  # fails its checksum, or is a group
        return DAMAGED


def same_result(result: Result, wanted: Result) -> bool:
    """Whether layers and estimates are those that are wanted; a damaged layer may lack estimates."""
    (layers, estimates), (wanted_layers, wanted_estimates) = result, wanted
    if layers is None or estimates is None or wanted_layers is None or wanted_estimates is None:
        return False
    names = {name for _, name, _ in wanted_layers}
    other = [part for part in (layers - wanted_layers).elements() if part[1] in names]
    damaged = sorted(part[:2] for part in other if part[2] == DAMAGED)
    missing = sorted(part[:2] for part in (wanted_layers - layers).elements())
    known = set(wanted_estimates.splitlines())
    same_rows = estimates == wanted_estimates or (bool(damaged) and set(estimates.splitlines()) <= known)
    return len(damaged) == len(other) and damaged == missing and same_rows


def snapshots_of(folder: Path) -> Digests:
    """The finished snapshots of all run files of a folder that can be read."""
    seen: Digests = Counter()
    for path in sorted(folder.rglob("*.h5")):
        if not any(part.startswith(".infoplane-") for part in path.parts):
            seen += apart(finished_snapshots, path) or Counter()
    return seen


def half_written(folder: Path) -> list[str]:
    """Names of the files that are not whole."""
    import warnings

    warnings.simplefilter("ignore")
    broken = []
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        check = WHOLE.get(path.suffix)
        if path.is_file() and not hidden and check:
            try:
                assert check(path)
            except Exception:
                broken.append(path.name)
    return broken


def _is_picture(path: Path) -> bool:
    from PIL import Image

    with Image.open(path) as image:
        image.load()
    return True


def _is_checkpoint(path: Path) -> bool:
    return bool(torch.load(path, weights_only=True))


def _is_run(path: Path) -> bool:
    from infoplane import open_run

    with open_run(path) as run:
        return len(run.layers) > 0


WHOLE: dict[str, Callable[[Path], bool]] = {
    ".png": _is_picture,
    ".pdf": lambda path: path.read_bytes().rstrip().endswith(b"%%EOF"),
    ".csv": lambda path: len(pd.read_csv(path).columns) > 0 and path.read_bytes().endswith(b"\n"),
    ".json": lambda path: bool(json.loads(path.read_text())),
    ".md": lambda path: path.read_text().endswith("\n"),
    ".tex": lambda path: path.read_text().endswith("\n"),
    ".ckpt": _is_checkpoint,
    ".h5": _is_run,
}


@dataclass(frozen=True)
class Mutant:
    """One damaged file, by level ("byte", "structural" or `WHOLE_FILES`), number and seed."""

    level: str
    number: int
    seed: int

    @property
    def kind(self) -> str:
        """What is damaged."""
        return list(KINDS)[self.number % len(KINDS)]

    def lines(self, quick: bool) -> list[str]:
        """The commands that read it; figures, which are slow and read what others read, each fifth time only."""
        left_out = set(SLOW) if quick else {"figures"} if self.number % (5 * len(KINDS)) else set()
        return [line for line in VERBS[self.kind] if line.split()[0] not in left_out]


def attack_file(ground: Ground, tally: Tally, mutant: Mutant, quick: bool, verbose: bool = False) -> None:
    """Damages one file and puts it through the verbs that read it."""
    with ground.trial() as folder:
        is_whole = mutant.level == WHOLE_FILES
        damaged = "whole" if is_whole else apart(damage, folder, mutant.kind, *dataclasses.astuple(mutant))
        if damaged is None:
            raise RuntimeError(f"{mutant} was not made")
        label = f"{mutant.level}:{mutant.number} ({damaged})"
        before, around = snapshots_of(folder), ground.surroundings()
        path = next(path.name for path in folder.glob("*.h5"))
        for line in mutant.lines(quick):
            if line.startswith("figures"):
                _as_study(folder, path)
            ending = run_verb(shlex.split(line.replace("run.h5", path)), folder, 60)
            if verbose:
                print(f"$ infoplane {line}\n{ending.printed}{ending.how}, {ending.seconds:.1f} s", *ending.outside)
            row = (f"{mutant.kind}, {mutant.level}", line.split()[0] + " --resume" * ("--resume" in line))
            _judge(tally, row, f"{label}, {line}", ending)
        # What the verbs did together counts for the last of them.
        if ending.how == "read" and mutant.kind != "configuration":  # another configuration has another result
            result = apart(finished_snapshots, folder / path), apart(_estimates, folder, "*.estimates.csv")
            is_same = same_result(result, ground.results.setdefault(mutant.kind, result))
            tally.count(row, 0, "same" if is_same else "another")
            if not is_same and (mutant.kind, mutant.level) == ("checkpoint", "byte"):
                tally.fault(f"{label}: trained on from what is damaged")
        if before - snapshots_of(folder):
            tally.count(row, 0, "lost")
            tally.fault(f"{label}: finished snapshots are lost")
        if ground.surroundings() != around:
            tally.count(row, 0, "outside")
            tally.fault(f"{label}: something was written outside")


def _as_study(folder: Path, name: str) -> None:
    """The run as one of a study, so that `figures` reads it."""
    place = folder / "training" / "sgd"
    place.mkdir(parents=True)
    shutil.copy(folder / name, place / "seed0.h5")
    shutil.copy(folder / "run.estimates.csv", place / "seed0.estimates.csv")


def _judge(tally: Tally, row: tuple[str, str], label: str, ending: Ending) -> None:
    tally.count(row, ending.peak, ending.how)
    if ending.how in FAULTS or (row[0].endswith(WHOLE_FILES) and ending.how != "read"):
        last = (ending.printed.strip().splitlines() or ["nothing printed"])[-1]
        tally.fault(f"{label}: {ending.how}: {last[:300]}")
    if ending.outside:
        tally.count(row, 0, "outside")
        tally.fault(f"{label}: outside: {'; '.join(ending.outside)[:300]}")


@dataclass(frozen=True)
class Scenario:
    """Work that is killed.

    Attributes:
        name: What it is called.
        line: The command.
        again: The command that goes on.
        clean: Whether it begins with a finished run.
    """

    name: str
    line: str
    again: str
    clean: bool = True

    @contextlib.contextmanager
    def start(self, ground: Ground) -> Iterator[Path]:
        """The folder in which it begins."""
        with ground.trial(self.clean) as folder:
            if self.name == "figures":
                _as_study(folder, "run.h5")
            yield folder


def scenarios(quick: bool) -> list[Scenario]:
    """All that is killed: every method of training, and every verb that writes (without `SLOW` if `quick`)."""
    from infoplane.trainers.methods import METHODS

    verbs = [Scenario(name, line, line) for name, line in KILLED.items() if not (quick and name in SLOW)]
    resume = f"{RESUME} --epochs 2"
    records = [Scenario(f"record {name}", f"{RECORD} --method {name}", RESUME, clean=False) for name in METHODS]
    return [*verbs, Scenario("record --resume", resume, resume), *records]


KILLED = {
    "estimate": "estimate run.h5 --jobs 1 --alpha 2",
    "plot": "plot run.h5 --jobs 1",
    "analyze": "analyze run.h5 --jobs 1",
    "compare": COMPARE,
    "figures": "figures --runs . --out study --jobs 1",
}


@dataclass(frozen=True)
class Reference:
    """What a scenario makes when nobody kills it, and how long that takes."""

    seconds: float
    snapshots: Digests
    files: frozenset[str]
    estimates: str


class Killer:
    """Kills scenarios, and compares what they come to with what they come to without."""

    def __init__(self, ground: Ground, tally: Tally, seed: int) -> None:
        self.ground, self.tally, self.seed = ground, tally, seed

    @functools.cache  # noqa: B019 - lives as long as the attack
    def reference(self, scenario: Scenario) -> Reference:
        """What comes of it without a kill."""
        with scenario.start(self.ground) as folder:
            ending = run_verb(shlex.split(scenario.line), folder, 300)
            if ending.how != "read":
                raise RuntimeError(f"{scenario.name} does not work: {ending.printed}")
            return Reference(ending.seconds, snapshots_of(folder), _visible(folder), apart(_estimates, folder))

    def kill(self, scenario: Scenario, number: int) -> None:
        """Kills a scenario at a random moment, an earlier one where it had ended before, and goes on."""
        wanted = self.reference(scenario)
        moment = float(np.random.default_rng([self.seed, number]).uniform(0.01, wanted.seconds))
        while not self._killed(scenario, wanted, moment):
            moment /= 2

    def _killed(self, scenario: Scenario, wanted: Reference, moment: float) -> bool:
        with scenario.start(self.ground) as folder:
            before = snapshots_of(folder)
            killed = run_verb(shlex.split(scenario.line), folder, 60, kill_at=moment)
            if killed.how != "killed":
                return False
            label = f"{scenario.name} killed after {moment:.3f} s"
            row = (scenario.name, "")
            self.tally.count(row, killed.peak, "killed")
            after = snapshots_of(folder)
            self._complain(row, label, "lost", before - after)
            self._complain(row, label, "half", apart(half_written, folder))
            self._go_on(scenario, folder, row, label)
            self._compare(folder, row, label, wanted, after)
        return True

    def _go_on(self, scenario: Scenario, folder: Path, row: tuple[str, str], label: str) -> None:
        """Runs the command that goes on; where nothing was begun, the first one again."""
        begun = scenario.clean or (folder / "run.h5").exists()
        ending = run_verb(shlex.split(scenario.again if begun else scenario.line), folder, 120)
        _judge(self.tally, row, f"{label}, going on", ending)
        if ending.how == "refused":
            self.tally.fault(f"{label}: does not go on: {ending.printed.strip()[-300:]}")

    def _compare(self, folder: Path, row: tuple[str, str], label: str, wanted: Reference, after: Digests) -> None:
        """What stands in the folder at the end, beside what should."""
        end = snapshots_of(folder)
        self._complain(row, label, "lost", after - end)
        same = end == wanted.snapshots and apart(_estimates, folder) == wanted.estimates
        self._complain(row, label, "other", "" if same else "the end is another")
        left = _visible(folder) ^ wanted.files
        self._complain(row, label, "left", sorted(left))
        self._complain(row, label, "half", apart(half_written, folder))

    def _complain(self, row: tuple[str, str], label: str, what: str, of: Any) -> None:
        if of or of is None:
            self.tally.count(row, 0, what)
            self.tally.fault(f"{label}: {what}: {of}")


def _visible(folder: Path) -> frozenset[str]:
    """Names of all files but locks; leftovers of drafts are among them."""
    return frozenset(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"
    )


def _estimates(folder: Path, pattern: str = "**/*.estimates.csv") -> str:
    """The tables of estimates without the columns that say how long things took."""
    tables = []
    for path in sorted(folder.glob(pattern)):
        table = pd.read_csv(path)
        keep = [str(name) for name in table if not any(word in str(name) for word in ("seconds", "time", "run_id"))]
        tables.append(table[keep].sort_values(keep).to_csv(index=False, float_format="%.6g"))
    return "\n".join(tables)


def attack(given: argparse.Namespace, root: Path) -> Tally:
    """All mutants and kills, as many as the time allows."""
    deadline = time.monotonic() + 60 * given.minutes
    ground, tally = prepare(root), Tally()
    if given.only:
        level, number = given.only.split(":")
        attack_file(ground, tally, Mutant(level, int(number), given.seed), given.quick, verbose=True)
        return tally
    for number in range(len(KINDS)):
        attack_file(ground, tally, Mutant(WHOLE_FILES, number, given.seed), given.quick)
    trials = in_turn({"byte": given.mutants, "structural": given.structural, "kills": given.kills})
    (root / "turns").write_bytes(b"".join(place.to_bytes(4) for place in range(len(trials))))
    turns = os.open(root / "turns", os.O_RDONLY)
    jobs = {}
    for job in range(given.jobs):
        own = ground.apart(f"job{job}")
        child = os.fork()
        if not child:
            _be_job(given, own, trials, turns, deadline)
        jobs[child] = own.root / TALLY
    for child, counted in jobs.items():
        os.waitpid(child, 0)
        if not counted.exists():
            raise RuntimeError("one of the processes that attack died")
        tally.add(pickle.loads(counted.read_bytes()))
    return tally


def _be_job(
    given: argparse.Namespace, ground: Ground, trials: Sequence[tuple[str, int]], turns: int, deadline: float
) -> None:
    """Becomes a process that makes one trial after another; never comes back.

    Args:
        given: The options of the attack.
        ground: Its own folders.
        trials: All trials.
        turns: An open file of the places of the trials, whose position all processes share.
        deadline: When to begin no other.
    """
    code, tally = 1, Tally()
    try:
        killer, kinds = Killer(ground, tally, given.seed), scenarios(given.quick)
        while time.monotonic() < deadline and (turn := os.read(turns, 4)):
            level, number = trials[int.from_bytes(turn)]
            if level == "kills":
                killer.kill(kinds[number % len(kinds)], number)
            else:
                attack_file(ground, tally, Mutant(level, number, given.seed), given.quick)
            tally.done[level] += 1
        (ground.root / TALLY).write_bytes(pickle.dumps(tally))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def in_turn(wanted: dict[str, int]) -> list[tuple[str, int]]:
    """Numbered trials of several levels in such an order that the levels end together, whenever that is."""
    trials = [((number + 1) / count, level, number) for level, count in wanted.items() for number in range(count)]
    return [(level, number) for _, level, number in sorted(trials)]


def shown(tally: Tally, of_kills: bool) -> str:
    """The table of mutants or of kills."""
    from infoplane.reporting.tables import markdown

    rows = []
    for (what, verb), counts in tally.rows.items():
        if bool(verb) == of_kills:
            continue
        names: dict[str, Any] = {"killed": what} if of_kills else {"damaged: verb": f"{what}: {verb}"}
        columns = KILL_COLUMNS if of_kills else COLUMNS
        cells: dict[str, Any] = {title: sum(counts[key] for key in keys) for title, keys in columns.items()}
        if not of_kills and verb not in COMPARED.get(what.split(",")[0], ()):
            cells |= dict.fromkeys(("the same result", "another result"), "–")
        peak = {"peak memory [MiB]": f"{tally.peaks[what, verb] / MIB:.0f}"}
        rows.append(names | cells | peak)
    if not rows:
        return ""
    table = pd.DataFrame(rows)
    numbers = table[[name for name in table if name not in (table.columns[0], "peak memory [MiB]")]]
    total = {table.columns[0]: "all", **numbers.replace("–", 0).sum().astype(int)}
    return str(markdown(pd.concat([table, pd.DataFrame([total])]).fillna("")))


COLUMNS = {
    "read": ("read",),
    "the same result": ("same",),
    "another result": ("another",),
    "refused in one line": ("refused",),
    "stopped at the time limit": ("stopped",),
    "no or several lines": ("wordless",),
    "traceback": ("traceback",),
    "unexpected": ("unexpected",),
    "crash": ("crash",),
    "hang": ("hang",),
    "outside": ("outside",),
    "snapshots lost": ("lost",),
}
KILL_COLUMNS = {
    "kills": ("killed",),
    "went on": ("read",),
    "did not": ("refused", "stopped", *FAULTS),
    "snapshots lost": ("lost",),
    "files half written": ("half",),
    "another end": ("other",),
    "leftovers or missing files": ("left",),
    "outside": ("outside",),
}
INTRODUCTION = """# An attack with damaged files and kills

`{command}`: {done}, in {minutes:.0f} minutes.

Each damaged file goes through the verbs that read it. *Read*: the damage is in something that the verb does not
need, or in a value that could be true, such as another digit of a table. *The same result*: all layers of the run,
bit for bit, and its estimates are in the end those of files that were not damaged, but for layers that fail the
checksum in the file: they stay in a run that goes on, every verb that reads them names them, and what was not
estimated before is not. *Outside*: a file outside the folder of the trial was written, or something was run or
connected to. *Peak memory* is what the process took beyond the libraries; it may take 3 GiB. What the verbs lost or
wrote together counts for the last of them.
`figures` is tried on each fifth damaged run file only.

Each kill is SIGKILL at a random moment of the work; after it every finished snapshot is compared with what it was,
every file is read, and the work goes on. *Another end*: its run files (all layers, bit for bit) or its estimates
differ from those of work that nobody killed.
"""


def main() -> None:
    """Attacks, prints what came of it and writes the tables; exit code 1 where there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=300, help="files damaged byte by byte")
    parser.add_argument("--structural", type=int, default=200, help="files damaged in their structure")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1, help="processes that attack at once")
    parser.add_argument("--minutes", type=float, default=60, help="no new trial after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help=f"without {', '.join(SLOW)}")
    parser.add_argument(
        "--only", metavar="LEVEL:NUMBER", help="one mutant, byte:N or structural:N, and what it prints"
    )
    parser.add_argument("-o", "--output", type=Path, help="write the tables to this file too")
    given = parser.parse_args()
    command, start = shlex.join(["python", "benchmarks/attack.py", *sys.argv[1:]]), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="attack-") as name:
        tally = attack(given, Path(name).resolve())
    done = f"{tally.done['byte']} + {tally.done['structural']} mutants and {tally.done['kills']} kills"
    text = INTRODUCTION.format(command=command, done=done, minutes=(time.monotonic() - start) / 60)
    parts = [text, shown(tally, of_kills=False), shown(tally, of_kills=True)]
    if tally.faults:
        parts.append("Faults:\n\n" + "\n".join(f"- {fault}" for fault in tally.faults))
    page = "\n\n".join(part.strip() for part in parts if part) + "\n"
    print(page)
    if given.output:
        given.output.write_text(page, encoding="utf-8")
    sys.exit(bool(tally.faults))


if __name__ == "__main__":
    main()
