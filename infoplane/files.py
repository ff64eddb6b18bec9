"""Files that appear whole or not at all, the locks beside them, and which of them may be overwritten."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import os
import platform
import re
import shutil
import tempfile
import time
import weakref
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from infoplane.errors import InfoplaneError, one_line

if TYPE_CHECKING:
    import pandas as pd

# What a file says that can be made again from what it was made of.
MARK = "Made by infoplane, which overwrites it."
# Endings of the files that stand beside a CSV and bear the mark.
_MARKED = (".png", ".pdf", ".svg", ".txt", ".md", ".tex", ".json")

_SCRATCH = ".infoplane-"
_MACHINE = re.sub(r"\W", "_", platform.node())[:64]
_DAY = 86_400.0  # seconds
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
FREE_SPACE = "free some space"
# What to do where the system refuses to write; all writers take it from here (`remedy`).
_REMEDIES = {
    errno.ENOSPC: FREE_SPACE,
    errno.EDQUOT: FREE_SPACE,
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f)",
    errno.ENAMETOOLONG: "give a shorter name",
}
# How a text begins that a spreadsheet runs as a formula, or that was kept from it.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


@contextlib.contextmanager
def whole(*paths: Path) -> Iterator[list[Path]]:
    """Files that appear, or take the places of others, when the block ends without an error.

    Each is whole at any moment, however the process ends: the old one, the new one or none. All are written before
    the first takes its place. A power cut may cost files that are new, but not those that were there.

    Args:
        paths: The files; their folders are made if needed, and links are followed.

    Yields:
        Where to write each of them: a file of the same name in another folder.

    Raises:
        InfoplaneError: One cannot be written.
    """
    try:
        with drafts(*paths) as places:
            yield places
    except OSError as error:
        raise unwritten(paths[0], error) from error


@contextlib.contextmanager
def drafts(*paths: Path) -> Iterator[list[Path]]:
    """Files as of `whole`, for those who make something of the OSError that is raised where one cannot be written.

    Args:
        paths: The files.

    Yields:
        Where to write each of them.
    """
    targets = [path.resolve() for path in paths]
    with contextlib.ExitStack() as stack:
        folders = {folder: stack.enter_context(scratch(folder)) for folder in {path.parent for path in targets}}
        places = [folders[target.parent] / target.name for target in targets]
        yield places
        for place, target in zip(places, targets, strict=True):
            _flush(place, to_disk=_is_replaceable(target))
        for place, target in zip(places, targets, strict=True):
            place.replace(target)


@contextlib.contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A folder for unfinished files within another, taken away at the end.

    Those of processes that were killed are taken away too: of this machine at once, of others after a day.

    Args:
        folder: Where it is made; itself made if needed.

    Raises:
        InfoplaneError: Something else is in the place of the folder.
        OSError: Nothing can be written there.
    """
    make_folder(folder)
    for leftover in folder.glob(_SCRATCH + "*"):
        if _is_abandoned(leftover):
            shutil.rmtree(leftover, ignore_errors=True)
    prefix = f"{_SCRATCH}{_MACHINE}-{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder, ignore_cleanup_errors=True) as made:
        yield Path(made)


def make_folder(folder: Path) -> None:
    """Makes a folder, and those above it, where it is not there.

    Args:
        folder: The folder.

    Raises:
        InfoplaneError: Something else is in the way.
        OSError: It cannot be made for another reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        other = next(path for path in (folder, *folder.parents) if path.exists())
        raise InfoplaneError(f"{other} is no folder; give another place") from None


def write_text(path: Path, text: str) -> None:
    """Writes a text file as a whole, in UTF-8.

    Args:
        path: The file; its folder is made if needed.
        text: What goes into it.

    Raises:
        InfoplaneError: It cannot be written.
    """
    with whole(path) as [draft]:
        draft.write_text(text, encoding="utf-8")


def save_tensors(state: Mapping[str, Any], path: Path) -> None:
    """Saves tensors, numbers and words as a whole.

    Args:
        state: What `load_tensors` reads.
        path: The file; its folder is made if needed.

    Raises:
        InfoplaneError: It cannot be written.
    """
    import torch

    with whole(path) as [draft]:
        try:
            with draft.open("wb") as file:
                torch.save(state, file)
        except RuntimeError as error:
            raise _refusal(error) or error from error


def load_tensors(path: Path) -> Any:
    """Loads what `save_tensors` saved, to the CPU; nothing in it is run.

    PyTorch takes bytes that changed for weights. The archive has a checksum of each of its parts, which says so.

    Args:
        path: The file.

    Raises:
        ValueError: A part is damaged; where more is, zipfile and PyTorch may raise any error.
        InfoplaneError: It is no file.
    """
    import torch

    refuse_no_file(path)
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{damaged} is damaged")
    return torch.load(path, map_location="cpu", weights_only=True)


def write_csv(table: pd.DataFrame, draft: Path | io.StringIO) -> None:
    """Writes a table as CSV in which no cell is a formula for a spreadsheet; numbers keep all digits.

    A text that begins with = + - @, a tab or a return, after any number of ', gets one ' more in front.
    `without_quotes` takes it off.

    Args:
        table: The table; its index is left out.
        draft: Where to write it, as of `whole`, or a text in memory.
    """
    words = table.select_dtypes(exclude=["number", "bool"])
    safe = table.assign(**{str(name): _each(words[name], _quoted) for name in words}).rename(columns=_quoted)
    # Readers take a return for the end of a line, unless the text is between quotes.
    has_returns = any("\r" in str(value) for name in words for value in [name, *words[name].unique()])
    safe.to_csv(draft, index=False, quoting=csv.QUOTE_NONNUMERIC if has_returns else csv.QUOTE_MINIMAL)


def without_quotes(column: pd.Series) -> pd.Series:
    """The texts of a column that `write_csv` wrote, as they were.

    Args:
        column: Texts, and what stands for missing ones.
    """
    return _each(column, _unquoted)


def refuse_foreign(*paths: Path, force: bool, header: str = "") -> None:
    """Lets nobody overwrite a file that infoplane did not make, or that cannot be made again.

    Args:
        paths: Files that belong together, as they are written together. A CSV bears no mark, and counts as made by
            infoplane where another of them does, or a file of its name with another ending.
        force: Overwrite them all the same.
        header: With what a CSV of infoplane begins that stands alone.

    Raises:
        InfoplaneError: One is there that does not bear `MARK` (and not `force`).
    """
    if force:
        return
    known = [path for path in paths if _bears_mark(path)]
    for path in paths:
        if path.exists() and path not in known and not (path.suffix == ".csv" and (known or _is_own(path, header))):
            raise InfoplaneError(f"{exists(path)}; infoplane did not make it")


def _is_own(table: Path, header: str) -> bool:
    """Whether a CSV is of infoplane, by what stands beside it or by how it begins."""
    beside = (table.with_suffix(ending) for ending in _MARKED)
    return any(map(_bears_mark, beside)) or (bool(header) and _begins(table, header))


def exists(path: Path) -> str:
    """The sentence on a file that is in the way."""
    return f"{path} exists; use `force=True` to overwrite it"


def refuse_no_file(path: Path) -> None:
    """Lets nobody wait for a pipe or a device that stands in the place of a file.

    Args:
        path: A path; nothing need be there.

    Raises:
        InfoplaneError: Something is there that is no file.
    """
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "a pipe or a device"
        raise InfoplaneError(f"{path} is {what}; give the name of a file")


# The locks that this process took; one that nobody holds any more goes away.
_HELD: weakref.WeakSet[filelock.BaseFileLock] = weakref.WeakSet()


def hold(path: Path, wait: float) -> filelock.BaseFileLock:
    """The lock of a file, taken; `release` gives it back, and so does the end of the process.

    Where a file system has no locks, the name of a file stands for one. Such a name outlives a process that was
    killed on another machine.

    Args:
        path: The file.
        wait: Seconds to wait for others.

    Raises:
        InfoplaneError: Another process has it, and did not give it back in time.
        OSError: No lock can be made there.
    """
    name = path.with_name(f".{path.name}.lock")
    refuse_no_file(name)
    lock: filelock.BaseFileLock = filelock.FileLock(name, thread_local=False)
    try:
        try:
            lock.acquire(timeout=wait)
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                raise
            lock = filelock.SoftFileLock(name.with_suffix(".held"), thread_local=False)
            lock.acquire(timeout=wait)
    except filelock.Timeout as error:
        if any(one.is_locked and Path(one.lock_file).absolute() == name.absolute() for one in _HELD):
            raise InfoplaneError(
                f"{path} is being written by this very process; close the recorder that does, or begin a new one"
            ) from None
        raise InfoplaneError(
            f"{path} is being written by another process; if there is none on any machine, delete {error.lock_file}"
        ) from None
    _HELD.add(lock)
    # The file stays: taking it away would let two writers lock two files of one name.
    return lock


def unwritten(path: Path, error: Exception) -> InfoplaneError:
    """The error for people where a file cannot be written.

    Args:
        path: The file.
        error: What the system or a library raised.
    """
    return InfoplaneError(f"cannot write {path}: {reason(error)}", f"{remedy(error)}, or choose another place")


def remedy(error: Exception) -> str:
    """What to do before something can be written."""
    return _REMEDIES.get(_code(error), "mend that")


def reason(error: Exception) -> str:
    """Why something cannot be read or written, in a few words: those of the system where it refused."""
    if code := _code(error):
        return os.strerror(code)
    # A KeyError shows its text as code.
    text = one_line(error.args[0] if isinstance(error, KeyError) and error.args else error)
    if "truncated file" in text:
        return "truncated file"
    # HDF5 says what it did, and in brackets what was wrong.
    return re.sub(r"^(?:Unable to|Can't) [^(]*\((.*)\)$", r"\1", text)[:120]


def _code(error: Exception) -> int:
    """The number by which the system says why it refused; HDF5 hands it on in words. 0 where there is none."""
    in_words = re.search(r"\berrno = (\d+)", str(error))
    return (isinstance(error, OSError) and error.errno) or (int(in_words[1]) if in_words else 0)


def _refusal(error: BaseException) -> OSError | None:
    """What the system said before a library raised an error of its own that does not tell."""
    before = error.__context__
    return before if before is None or isinstance(before, OSError) else _refusal(before)


def _is_replaceable(target: Path) -> bool:
    """Whether a file is there; a pipe, a device or a folder is none to be replaced."""
    if target.exists() and not target.is_file():
        raise OSError("a folder, a pipe or a device is there")
    return target.exists()


def _flush(file: Path, to_disk: bool) -> None:
    """Makes sure that a file is there, and on the disk before one whose place it takes is gone."""
    with file.open("rb+") as opened:
        if to_disk:
            os.fsync(opened.fileno())


def _is_abandoned(folder: Path) -> bool:
    """Whether the process that made a scratch folder is gone."""
    machine, _, process = folder.name.removeprefix(_SCRATCH).rpartition("-")[0].rpartition("-")
    if machine == _MACHINE and process.isdigit() and os.name == "posix":
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            return False
        return False
    try:
        return time.time() - folder.stat().st_mtime > _DAY
    except OSError:
        return False


def _bears_mark(path: Path) -> bool:
    try:
        return path.is_file() and MARK.encode() in path.read_bytes()
    except OSError:
        return False


def _begins(path: Path, text: str) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(text.encode())) == text.encode()
    except OSError:
        return False


def _quoted(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _unquoted(value: Any) -> Any:
    is_quoted = isinstance(value, str) and value.startswith("'") and _FORMULA.match(value)
    return value[1:] if is_quoted else value


def _each(column: pd.Series, change: Callable[[Any], Any]) -> pd.Series:
    """A column with its values changed; each is looked at once, however many rows have it, and most stay."""
    changed = {value: new for value in column.unique() if (new := change(value)) is not value}
    return column.map(lambda value: changed.get(value, value)) if changed else column
