"""Damaged heaps of texts, from which HDF5 never comes back."""

import pytest
from recorded import make_run

from infoplane import open_run
from infoplane.errors import RunFileError
from infoplane.runfile import heap

SIGNATURE, HEADER = b"GCOL\x01\x00\x00\x00", 16
# The first object of a collection takes no room: it has no number and no size, or one so large that it begins anew.
ENDLESS = [(0, 0), (7, 2**64 - HEADER)]


def with_first_object(path, number, size):
    raw = bytearray(path.read_bytes())
    place = raw.index(SIGNATURE) + HEADER
    raw[place : place + 2] = number.to_bytes(2, "little")
    raw[place + 8 : place + HEADER] = size.to_bytes(8, "little")
    path.write_bytes(raw)


@pytest.mark.parametrize(("number", "size"), ENDLESS)
def test_a_heap_without_end_is_refused(tmp_path, probe, number, size):
    path = make_run(tmp_path / "run.h5", probe)
    with open_run(path) as run:
        assert len(run.snapshots) == 3
    with_first_object(path, number, size)
    with pytest.raises(RunFileError, match=r"run\.h5 is damaged .*heap.*record it again"):
        open_run(path)


def test_collections_are_found_wherever_they_begin(tmp_path, monkeypatch):
    monkeypatch.setattr(heap, "_CHUNK", 16)
    places = [0, 13, 40, 77]
    raw = bytearray(100)
    for place in places:
        raw[place : place + 8] = SIGNATURE
    path = tmp_path / "some"
    path.write_bytes(raw)
    with path.open("rb") as file:
        assert list(heap._collections(file)) == places


def test_a_collection_that_is_cut_off_is_left_to_hdf5(tmp_path):
    path = tmp_path / "short"
    path.write_bytes(SIGNATURE + (4096).to_bytes(8, "little"))
    heap.refuse_endless_heap(path)
