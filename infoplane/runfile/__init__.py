"""The HDF5 run file: schema, reader, writer. Nothing outside this package knows h5py."""

from infoplane.runfile.reader import Run, Snapshot, open_run
from infoplane.runfile.schema import LayerInfo, Probe, beside
from infoplane.runfile.writer import SLOTS, RunWriter, SnapshotWriter

__all__ = ["SLOTS", "LayerInfo", "Probe", "Run", "RunWriter", "Snapshot", "SnapshotWriter", "beside", "open_run"]
