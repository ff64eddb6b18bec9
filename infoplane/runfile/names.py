"""Names of run files, and of what stands beside them."""

from __future__ import annotations

import glob
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

from infoplane.errors import InfoplaneError, RunFileError
from infoplane.files import exists, refuse_no_file

# How the configuration of a run file calls it that is of a synchronous path, no training.
SYNCHRONOUS = "synchronous path"
_ENDING = ".synchronous.h5"
# The folder within that of a comparison that is no variant's.
TUNING = "tuning"
# What to do with a run that a recording could not finish; a comparison goes on by itself.
GO_ON = "go on with `resume=True`"
_TRIALS = Path(TUNING) / "trials"


def beside(run: Path, ending: str) -> Path:
    """The file that stands beside a run file: `run.h5` and ".ckpt" give `run.ckpt`, `lr0.1` gives `lr0.1.ckpt`."""
    stem = run.name.removesuffix(".h5").removesuffix(".hdf5")
    return run.parent / (stem + ending)


def synchronous_path_of(run: Path) -> Path:
    """The run file of a training's synchronous path, there or not: `run.h5` has `run.synchronous.h5`."""
    return beside(run, _ENDING)


def another_id(run_id: str) -> str:
    """An identity for a run that went back, of the same recording."""
    return f"{recording_of(run_id)}.{uuid.uuid4().hex[:8]}"


def recording_of(run_id: str) -> str:
    """What is the same in all identities that the run of one recording had."""
    return run_id.partition(".")[0]


def trial_path(folder: Path, variant: str, lr: float) -> Path:
    """The run file of a trial of a learning rate, two folders deep, where nobody takes it for a run of a variant.

    Args:
        folder: The folder of a comparison.
        variant: Name of the variant that is tuned.
        lr: The learning rate.
    """
    return folder / _TRIALS / f"{variant}-lr{lr:g}.h5"


def trials_of(folder: Path, variant: str) -> list[Path]:
    """The run files of all trials of a variant; arguments as of `trial_path`."""
    start = f"{variant}-lr"
    files = trainings((folder / _TRIALS).glob(f"{glob.escape(start)}*.h5"))
    # Of a variant whose name begins alike the rest is no number.
    return sorted(path for path in files if _is_number(path.stem.removeprefix(start)))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def trainings(paths: Iterable[Path]) -> list[Path]:
    """Run files, such as those of a folder, without those of synchronous paths, which are no runs of their own."""
    return [path for path in paths if not path.name.endswith(_ENDING)]


def run_names(paths: Sequence[Path]) -> list[str]:
    """Names for runs that stand side by side: the stems of files, with folders and then endings where they repeat.

    Raises:
        InfoplaneError: A run is given twice.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise InfoplaneError("a run is given twice; name each run once")
    without = [beside(path, "") for path in paths]
    choices = ([path.name for path in without], [str(path) for path in without], [str(path) for path in paths])
    return next(names for names in choices if len(set(names)) == len(names))


def refuse_existing(path: Path, force: bool) -> None:
    """Lets nobody overwrite a run by accident, nor what is no file at all.

    Raises:
        InfoplaneError: The path exists (and not `force`), or is a folder, a pipe or a device.
    """
    if path.exists() and not force:
        raise RunFileError(f"{exists(path)} or `resume=True` to go on with it")
    if path.is_dir():
        raise RunFileError(f"{path} is a folder; give the name of a file")
    refuse_no_file(path)
