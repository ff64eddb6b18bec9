"""Data sets as tensors in memory, their splits, and the probe: the fixed samples on which information is estimated.

The usual order is `load_dataset`, `subset`, `hold_out`, `permute_labels` or `noisy_labels`,
`Dataset.with_channels`, `Dataset.to`.
"""

from infoplane.data.augment import Augmentation, augmentation
from infoplane.data.dataset import Dataset, DatasetSpec, Split
from infoplane.data.load import DATASETS, dataset_spec, load_dataset
from infoplane.data.probe import balanced_probe
from infoplane.data.splits import hold_out, noisy_labels, permute_labels, subset

__all__ = [
    "DATASETS",
    "Augmentation",
    "Dataset",
    "DatasetSpec",
    "Split",
    "augmentation",
    "balanced_probe",
    "dataset_spec",
    "hold_out",
    "load_dataset",
    "noisy_labels",
    "permute_labels",
    "subset",
]
