import h5py
import numpy as np
import pytest

from infoplane.runfile.chunks import FILTERS, fletcher32, write_array

RNG = np.random.default_rng(0)
ARRAYS = {
    "condensed": (RNG.standard_normal(1000).astype(np.float32), (300,)),
    "wide": (np.maximum(RNG.standard_normal((7, 5, 3)), 0), (3, 5, 2)),
    "strided": (RNG.standard_normal((20, 6)).astype(np.float32)[::2, ::3], (4, 2)),
    "integers": (np.arange(12), (12,)),
    "constant": (np.zeros(1000, np.float32), (1000,)),
    "booleans": (np.arange(9) % 2 == 0, (4,)),
    "bytes": (RNG.integers(0, 255, 77).astype(np.uint8), (77,)),
    "not finite": (np.array([np.nan, -np.inf, -0.0, 1e-45], np.float32), (3,)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_hdf5_reads_what_was_written(tmp_path, name):
    values, chunks = ARRAYS[name]
    with h5py.File(tmp_path / "file.h5", "w") as file:
        write_array(file, "data", values, chunks)
    with h5py.File(tmp_path / "file.h5") as file:
        data = file["data"]
        assert (data.dtype, data.chunks) == (values.dtype, chunks)
        assert (data.shuffle, data.compression, data.fletcher32) == (True, "gzip", True)
        assert data[...].tobytes() == values.tobytes()


def test_measured_numbers_take_no_more_room_than_by_the_filters_of_hdf5(tmp_path):
    values = np.abs(RNG.standard_normal(40_000)).astype(np.float32)
    sparse = np.maximum(RNG.standard_normal(40_000), 0).astype(np.float32)
    with h5py.File(tmp_path / "file.h5", "w") as file:
        for name, array in (("values", values), ("sparse", sparse)):
            made = write_array(file, name, array, array.shape)
            other = file.create_dataset(f"{name} by HDF5", data=array, chunks=array.shape, **FILTERS)
            assert made.id.get_storage_size() <= 1.02 * other.id.get_storage_size()


@pytest.mark.parametrize("size", [1, 2, 3, 8191, 8192, 8193, 40_001])
@pytest.mark.parametrize("fill", [None, 0, 255])
def test_the_checksum_is_that_of_hdf5(tmp_path, size, fill):
    values = RNG.integers(0, 256, size).astype(np.uint8) if fill is None else np.full(size, fill, np.uint8)
    with h5py.File(tmp_path / "file.h5", "w") as file:
        data = file.create_dataset("data", data=values, chunks=values.shape, fletcher32=True)
        file.flush()
        _, raw = data.id.read_direct_chunk((0,))
    assert int.from_bytes(raw[-4:], "little") == fletcher32(values.tobytes())


def test_a_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as file:
        data = write_array(file, "data", RNG.standard_normal(500), (100,))
        file.flush()
        offset = data.id.get_chunk_info(2).byte_offset
    raw = bytearray(path.read_bytes())
    raw[offset + 11] ^= 4
    path.write_bytes(raw)
    with h5py.File(path) as file:
        assert np.isfinite(file["data"][:200]).all()
        with pytest.raises(OSError, match="filter"):
            file["data"][:]
