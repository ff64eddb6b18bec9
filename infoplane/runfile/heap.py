"""The heaps of an HDF5 file, in which its texts lie: a damaged one keeps HDF5 busy for ever.

HDF5 goes from object to object by the sizes that stand there, and does not move where one is zero. Nothing can stop
it: neither a signal nor a time limit is looked at meanwhile. So the heaps are looked at before HDF5 opens the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from infoplane.runfile.schema import Damaged

# Of a global heap collection: signature, version 1 and three bytes that are zero; then its size (HDF5 File Format
# Specification 3.0, III.E).
_COLLECTION = b"GCOL\x01\x00\x00\x00"
_HEADER = 16  # bytes, of a collection and of each object in it
_WORD = 8
_CHUNK = 2**20


def refuse_endless_heap(path: Path) -> None:
    """Refuses a file that HDF5 would not come back from.

    Args:
        path: Any file.

    Raises:
        Damaged: An object in one of its heaps takes no room.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        if any(_is_endless(file, place) for place in _collections(file)):
            raise Damaged("a heap of texts in it is damaged")


def _collections(file: BinaryIO) -> Iterator[int]:
    """Where the collections begin."""
    start, before = 0, b""
    while True:
        file.seek(start)
        chunk = file.read(_CHUNK)
        if not chunk:
            return
        # One may begin in one chunk and go on in the next.
        searched, at = before + chunk, -1
        while (at := searched.find(_COLLECTION, at + 1)) >= 0:
            yield start - len(before) + at
        start, before = start + len(chunk), searched[1 - len(_COLLECTION) :]


def _is_endless(file: BinaryIO, start: int) -> bool:
    """Whether going from object to object in a collection never comes to its end, or to that of the file."""
    place, end = start + _HEADER, min(start + _number(file, start + _WORD, _WORD), file.seek(0, os.SEEK_END))
    while place + _HEADER <= end:
        size = _number(file, place + _WORD, _WORD)
        # What has no number is the room that is left, whose size counts its header.
        step = size if _number(file, place, 2) == 0 else (_HEADER + -(-size // _WORD) * _WORD) % 2**64
        if not step:
            return True
        place += step
    return False


def _number(file: BinaryIO, place: int, size: int) -> int:
    file.seek(place)
    return int.from_bytes(file.read(size), "little")
