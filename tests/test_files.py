import errno
import io
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import filelock
import numpy as np
import pandas as pd
import pytest
import torch

from infoplane import InfoplaneError
from infoplane.files import (
    MARK,
    drafts,
    hold,
    load_tensors,
    reason,
    refuse_foreign,
    refuse_no_file,
    save_tensors,
    scratch,
    unwritten,
    whole,
    without_quotes,
    write_csv,
    write_text,
)


class Refusing(io.RawIOBase):
    """An open file that the system lets nobody write to."""

    def __init__(self, code):
        self.code = code

    def writable(self):
        return True

    def write(self, _):
        raise OSError(self.code, os.strerror(self.code))


def write_some_tensors(path):
    save_tensors({"x": torch.arange(4)}, path)


def write_some_text(path):
    write_text(path, "text")


HALF_WRITTEN = """
import sys, time
from pathlib import Path
from infoplane.files import whole
with whole(*map(Path, sys.argv[1:])) as places:
    for place in places:
        place.write_text("new")
    print("written", flush=True)
    time.sleep(60)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_set_of_files_appears_at_once(tmp_path):
    paths = [tmp_path / "new" / "a.txt", tmp_path / "b.txt"]
    with whole(*paths) as places:
        assert [place.name for place in places] == ["a.txt", "b.txt"]
        for place in places:
            place.write_text(place.stem)
            assert not any(path.exists() for path in paths)
    assert [path.read_text() for path in paths] == ["a", "b"]
    assert names(tmp_path) == ["b.txt", "new"]
    assert names(tmp_path / "new") == ["a.txt"]


def test_an_error_leaves_what_was_there(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    paths[0].write_text("old")
    with pytest.raises(TypeError), whole(*paths) as places:
        places[0].write_text(1)
    with (
        pytest.raises(InfoplaneError, match=r"cannot write .*a: No such file.*; mend"),
        whole(*paths) as places,
    ):
        places[0].write_text("new")  # and the other one is not
    assert paths[0].read_text() == "old"
    assert names(tmp_path) == ["a"]


@pytest.mark.skipif(os.name != "posix", reason="kills as POSIX does")
def test_a_kill_leaves_what_was_there_and_its_rest_is_swept(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with subprocess.Popen(
        [sys.executable, "-c", HALF_WRITTEN, path, tmp_path / "b"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "written\n"
        write_text(tmp_path / "c", "what another process is writing stays")
        assert len(names(tmp_path)) == 3
        process.send_signal(signal.SIGKILL)
    assert path.read_text() == "old"
    assert not (tmp_path / "b").exists()
    write_text(tmp_path / "d", "sweeps")
    assert names(tmp_path) == ["a", "c", "d"]


def test_the_rest_of_another_machine_is_swept_after_a_day(tmp_path):
    fresh, old = (tmp_path / f".infoplane-elsewhere-{number}-x" for number in (1, 2))
    for folder in (fresh, old):
        folder.mkdir()
    os.utime(old, (time.time() - 100_000,) * 2)
    with scratch(tmp_path) as made:
        assert set(tmp_path.iterdir()) == {fresh, made}
    assert names(tmp_path) == [fresh.name]


def test_links_are_followed_and_folders_and_pipes_stay(tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "disk" / "file")
    write_text(link, "text")
    assert link.is_symlink()
    assert (tmp_path / "disk" / "file").read_text() == "text"
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "disk"):
        with pytest.raises(InfoplaneError, match=f"cannot write .*{name}: a folder, a pipe or a device is there"):
            write_text(tmp_path / name, "text")
        with pytest.raises(InfoplaneError, match=f"{name} is a .*; give the name of a file"):
            refuse_no_file(tmp_path / name)
        with pytest.raises(InfoplaneError, match=f"{name} is a .*; give the name of a file"):
            load_tensors(tmp_path / name)
    assert (tmp_path / "pipe").is_fifo()
    refuse_no_file(tmp_path / "nothing")


@pytest.mark.parametrize("place", ["file/a.md", "file/folder/a.md"])
def test_a_file_in_the_place_of_a_folder_is_named(tmp_path, place):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(InfoplaneError, match="file is no folder; give another place"):
        write_text(tmp_path / place, "text")
    assert (tmp_path / "file").read_text() == "kept"


def test_many_threads_write_one_file(tmp_path):
    texts = [str(number) * 100_000 for number in range(8)]
    threads = [threading.Thread(target=write_text, args=(tmp_path / "a", text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a").read_text() in texts
    assert names(tmp_path) == ["a"]


def test_tensors_are_saved_as_a_whole(tmp_path):
    save_tensors({"x": torch.arange(3)}, tmp_path / "a.pt")
    before = (tmp_path / "a.pt").read_bytes()
    save_tensors({"x": torch.arange(3)}, tmp_path / "a.pt")
    assert (tmp_path / "a.pt").read_bytes() == before
    with pytest.raises(AttributeError, match="pickle"):
        save_tensors({"x": lambda: 0}, tmp_path / "a.pt")
    assert (tmp_path / "a.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (errno.ENOSPC, "No space left on device; free some space, or choose another place"),
        (errno.EDQUOT, "Disk quota exceeded; free some space, or choose another place"),
        (
            errno.EFBIG,
            r"File too large; raise the limit on the size of a file \(ulimit -f\), or choose another place",
        ),
        (errno.EROFS, "Read-only file system; mend that, or choose another place"),
    ],
)
@pytest.mark.parametrize("write", [write_some_tensors, write_some_text])
def test_what_the_system_refuses_is_said_in_its_words(tmp_path, monkeypatch, write, code, line):
    (tmp_path / "a").write_text("old")
    monkeypatch.setattr(io, "open", lambda *_, **__: Refusing(code))
    with pytest.raises(InfoplaneError, match=f"^cannot write .*a: {line}$"):
        write(tmp_path / "a")
    monkeypatch.undo()
    assert (tmp_path / "a").read_text() == "old"


def test_the_words_of_hdf5_hold_those_of_the_system(tmp_path):
    text = "Can't write data (file write failed: time = Fri, errno = 122, error message = 'Disk quota exceeded')"
    assert str(unwritten(Path("a"), RuntimeError(text))) == (
        "cannot write a: Disk quota exceeded; free some space, or choose another place"
    )
    assert reason(OSError("Unable to open file (truncated file: eof = 96)")) == "truncated file"
    assert reason(KeyError("Unable to open object (object 'x' doesn't exist)")) == "object 'x' doesn't exist"
    assert reason(ValueError()) == "ValueError"


def test_what_is_replaced_is_on_the_disk_first(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda _: done.append("flush"))
    monkeypatch.setattr(Path, "replace", lambda _self, target: done.append(target.name))
    (tmp_path / "a").write_text("old")
    with drafts(tmp_path / "b", tmp_path / "a") as places:
        for place in places:
            place.write_text("new")
    assert done == ["flush", "b", "a"]


CELLS = [
    "=1+1",
    "+1",
    "-1",
    "@x",
    "\tx",
    "\rx",
    "'=x",
    "''=x",
    "'x",
    "x",
    "−1",
    "a,b",
    'say "a"',
    "two\nlines",
    None,
]


@pytest.mark.parametrize("cells", [CELLS, [cell for cell in CELLS if "\r" not in str(cell)]])
def test_no_cell_is_a_formula_and_all_read_back(tmp_path, cells):
    numbers = np.random.default_rng(0).standard_normal(len(cells))
    table = pd.DataFrame({"text": cells, "=column": cells, "number": -abs(numbers), "flag": True})
    write_csv(table, tmp_path / "a.csv")
    back = pd.read_csv(tmp_path / "a.csv", dtype=str, keep_default_na=False, na_values=[""])
    assert list(back) == ["text", "'=column", "number", "flag"]
    assert not [cell for cell in back["text"].dropna() if cell[0] in "=+-@\t\r"]
    assert [value if isinstance(value, str) else None for value in without_quotes(back["text"])] == cells
    assert back["number"].astype(float).tolist() == table["number"].tolist()


def test_what_infoplane_did_not_make_is_kept(tmp_path):
    png, csv = tmp_path / "a.png", tmp_path / "a.csv"
    refuse_foreign(png, csv, force=False)
    csv.write_text("x\n1\n")
    with pytest.raises(InfoplaneError, match=r"a\.csv exists; use `force=True`"):
        refuse_foreign(png, csv, force=False)
    refuse_foreign(png, csv, force=True)
    png.write_bytes(b"\x89PNG" + MARK.encode())
    refuse_foreign(png, csv, force=False)
    png.write_bytes(b"\x89PNG")
    with pytest.raises(InfoplaneError, match=r"a\.png exists; use `force=True`"):
        refuse_foreign(png, csv, force=False)


def test_a_table_is_known_by_what_stands_beside_it_or_how_it_begins(tmp_path):
    csv = tmp_path / "lr0.1-plane.csv"
    csv.write_text("layer,step\n1,0\n")
    with pytest.raises(InfoplaneError, match="infoplane did not make it"):
        refuse_foreign(tmp_path / "lr0.1-plane.png", csv, force=False)
    # Of another format than is written now.
    (tmp_path / "lr0.1-plane.svg").write_text(f"<svg>{MARK}</svg>")
    refuse_foreign(tmp_path / "lr0.1-plane.png", csv, force=False)
    metrics = tmp_path / "run-metrics.csv"
    metrics.write_text("snapshot,step,epoch,loss\n0,0,0,1\n")
    refuse_foreign(metrics, force=False, header="snapshot,step,epoch")
    metrics.write_text("step,loss\n0,1\n")
    with pytest.raises(InfoplaneError, match="infoplane did not make it"):
        refuse_foreign(metrics, force=False, header="snapshot,step,epoch")


def test_a_lock_that_is_not_given_back_is_named(tmp_path, monkeypatch):
    first = hold(tmp_path / "a", wait=0)
    with pytest.raises(InfoplaneError, match="a is being written by this very process; close the recorder"):
        hold(tmp_path / "a", wait=0)
    monkeypatch.setattr("infoplane.files._HELD", weakref.WeakSet())  # as another process has it
    start = time.monotonic()
    with pytest.raises(InfoplaneError, match=r"a is being written by another process; .* delete .*\.a\.lock"):
        hold(tmp_path / "a", wait=0.2)
    assert time.monotonic() - start < 60
    first.release()
    hold(tmp_path / "a", wait=0).release()


@pytest.mark.parametrize("error", [OSError(37, "No locks available"), NotImplementedError("no flock")])
def test_a_file_system_without_locks(tmp_path, monkeypatch, error):
    def refused(*_args, **_options):
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", refused)
    monkeypatch.setattr(filelock.SoftFileLock, "acquire", filelock.BaseFileLock.acquire)
    lock = hold(tmp_path / "a", wait=0)
    with pytest.raises(InfoplaneError, match=r"another process; if there is none on any machine, delete .*\.held"):
        hold(tmp_path / "a", wait=0.1)
    lock.release()
    # Of a process that was killed on another machine.
    (tmp_path / ".a.held").write_text("4242\nelsewhere\n")
    with pytest.raises(InfoplaneError, match=r"delete .*\.a\.held"):
        hold(tmp_path / "a", wait=0.1)
    (tmp_path / ".a.held").unlink()
    hold(tmp_path / "a", wait=0).release()
