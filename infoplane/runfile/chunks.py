"""Chunks of a run file, compressed as HDF5's own filters would do it, in half of the time.

Of a measured number in single precision the last bytes are noise. gzip looks for repetitions in them and finds
none; told to look for runs of one byte alone, it makes data of the same format that take no more room
(benchmarks/recording.md has the measurement). HDF5 does not pass this on to gzip, so that shuffled, compressed and
summed chunks are handed to it as they shall stand in the file.
"""

from __future__ import annotations

import itertools
import zlib

import h5py
import numpy as np
from numpy.typing import NDArray

from infoplane.runfile.schema import block_extents

CHUNK_BYTES = 2**20
CHUNK_SAMPLES = 2**10
FILTERS = {"shuffle": True, "compression": "gzip", "compression_opts": 1, "fletcher32": True}  # in HDF5's order
_LEVEL, _MEMORY = 1, 9  # of gzip
_MODULUS = 65535
_WORDS = 2**12  # of 16 bits, in a row: sums of them are whole numbers below 2⁵³
_WEIGHTS = np.stack([np.ones(_WORDS), np.arange(_WORDS, 0.0, -1)], 1)


def chunk_shape(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Chunks of about 1 MiB: whole samples where many fit, otherwise some features of many samples.

    So the features of a wide layer can be read some at a time, each once.

    Args:
        shape: Of the array, samples first.
        itemsize: Bytes of a value.
    """
    most, rows = CHUNK_BYTES // itemsize, min(shape[0], CHUNK_SAMPLES)
    features = block_extents(shape[1:], most // max(rows, 1))
    rows = min(shape[0], most // int(np.prod(features, dtype=np.int64)))
    return (max(rows, 1), *features)


def write_array(parent: h5py.Group, name: str, values: NDArray, chunks: tuple[int, ...]) -> h5py.Dataset:
    """Makes a dataset of an array.

    Args:
        parent: The group.
        name: Name of the dataset.
        values: Numbers.
        chunks: Shape of a chunk.
    """
    data = parent.create_dataset(name, shape=values.shape, dtype=values.dtype, chunks=chunks, **FILTERS)
    starts = [range(0, extent, step) for extent, step in zip(values.shape, chunks, strict=True)]
    for first in itertools.product(*starts):
        part = values[tuple(slice(start, start + step) for start, step in zip(first, chunks, strict=True))]
        if part.shape != chunks:
            part = np.pad(part, [(0, step - extent) for step, extent in zip(chunks, part.shape, strict=True)])
        data.id.write_direct_chunk(first, packed(part))
    return data


def packed(part: NDArray) -> bytes:
    """A whole chunk as it stands in the file: shuffled, compressed, with a checksum."""
    planes = np.ascontiguousarray(part).reshape(-1).view(np.uint8).reshape(-1, part.itemsize).T
    squeezer = zlib.compressobj(_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS, _MEMORY, zlib.Z_RLE)
    squeezed = squeezer.compress(planes.tobytes()) + squeezer.flush()
    return squeezed + fletcher32(squeezed).to_bytes(4, "little")


def fletcher32(data: bytes) -> int:
    """HDF5's checksum: the sum of all words and the sum of these sums, modulo 65535, which stands for 0."""
    words = np.frombuffer(data + bytes(len(data) % 2), ">u2")
    # Words of 0 before them change neither.
    rows = np.zeros((-(-len(words) // _WORDS), _WORDS))
    rows.reshape(-1)[rows.size - len(words) :] = words
    sums, weighted = (rows @ _WEIGHTS % _MODULUS).T
    later = np.arange(len(rows))[::-1] * _WORDS % _MODULUS
    zero = _MODULUS if words.any() else 0
    first, second = (int(total % _MODULUS) or zero for total in (sums.sum(), (weighted + later * sums).sum()))
    return second << 16 | first
