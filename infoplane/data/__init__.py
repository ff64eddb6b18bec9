"""Data sets as tensors in memory, and the probe: the fixed samples on which information is estimated."""

from infoplane.data.dataset import Dataset, DatasetSpec, Split
from infoplane.data.load import DATASETS, dataset_spec, load_dataset
from infoplane.data.probe import balanced_probe

__all__ = ["DATASETS", "Dataset", "DatasetSpec", "Split", "balanced_probe", "dataset_spec", "load_dataset"]
