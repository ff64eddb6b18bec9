"""The HDF5 run file: schema, reader, writer. Nothing outside this package knows h5py."""

from infoplane.runfile.labelled import export_csv, export_netcdf, export_paths
from infoplane.runfile.names import (
    GO_ON,
    SYNCHRONOUS,
    TUNING,
    beside,
    recording_of,
    refuse_existing,
    run_names,
    synchronous_path_of,
    trainings,
    trial_path,
    trials_of,
)
from infoplane.runfile.reader import Run, Snapshot, open_run, open_runs, opened, trial_score
from infoplane.runfile.schema import Closing, LayerInfo, Probe, is_metric_name
from infoplane.runfile.summary import TRAINING, data_text, training_words
from infoplane.runfile.writer import SLOTS, RunWriter, SnapshotWriter

__all__ = [
    "GO_ON",
    "SLOTS",
    "SYNCHRONOUS",
    "TRAINING",
    "TUNING",
    "Closing",
    "LayerInfo",
    "Probe",
    "Run",
    "RunWriter",
    "Snapshot",
    "SnapshotWriter",
    "beside",
    "data_text",
    "export_csv",
    "export_netcdf",
    "export_paths",
    "is_metric_name",
    "open_run",
    "open_runs",
    "opened",
    "recording_of",
    "refuse_existing",
    "run_names",
    "synchronous_path_of",
    "training_words",
    "trainings",
    "trial_path",
    "trial_score",
    "trials_of",
]
