"""The training methods by name: an objective for every block, and the settings it was published with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from infoplane.errors import unknown
from infoplane.trainers.objectives.base import BlockInfo, LossSettings, Objective, OwnClassifier, read_options
from infoplane.trainers.objectives.forward_forward import Goodness, PlainReadout, expand, normalise
from infoplane.trainers.objectives.greedy_ce import GreedyCE
from infoplane.trainers.objectives.greedy_dib import GreedyDIB
from infoplane.trainers.objectives.hsic import HSICBottleneck
from infoplane.trainers.objectives.infopro import InfoPro
from infoplane.trainers.objectives.phsic import PlausibleHSIC
from infoplane.trainers.objectives.predsim import PredSim, Sim
from infoplane.trainers.task import Targets, Task

SGD = {
    "optimizer": "sgd",
    "lr": 0.05,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "batch_size": 64,
    "schedule": "constant",
}
# The sources are those of the objectives; epochs are turned into shares of the training.
GREEDY = SGD | {"lr": 0.1, "batch_size": 128, "schedule": "fractions:0.3,0.6,0.9:0.2"}
LOCAL = {
    "optimizer": "adam",
    "lr": 5e-4,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "batch_size": 128,
    "schedule": "fractions:0.5,0.75,0.89,0.94:0.25",
}
PREDICTED = LOCAL | {"aux": "pool:2048"}
HSIC = LOCAL | {"lr": 1e-3, "batch_size": 256, "schedule": "constant"}
PHSIC = LOCAL | {"optimizer": "adamw", "weight_decay": 1e-7, "schedule": "fractions:0.6,0.7,0.9,0.95:0.25"}
INFOPRO = SGD | {"lr": 0.1, "weight_decay": 1e-4, "batch_size": 128, "schedule": "cosine", "aux": "conv:1"}
FORWARD = LOCAL | {"lr": 1e-3, "schedule": "constant"}

Make = Callable[[BlockInfo, LossSettings], Objective]


def _own_classifier(info: BlockInfo, loss_settings: LossSettings) -> Objective:
    return OwnClassifier(info.task)


def _end_to_end(info: BlockInfo, loss_settings: LossSettings) -> Objective:
    read_options(loss_settings, {})
    return OwnClassifier(info.task)


@dataclass(frozen=True)
class Method:
    """How a network is trained.

    Attributes:
        name: What it is called on the command line.
        summary: One line with the source.
        local: Whether every block has a loss of its own; else the whole network is one block.
        make: The objective of a hidden block.
        defaults: Training settings that it was published with, by the names of `TrainingSettings`.
        last: The objective of the last block, which ends in the network's own classifier.
        expand: Makes more samples of a batch before the first block sees it, with a generator on the CPU.
        between: What is put between two blocks.
    """

    name: str
    summary: str
    local: bool
    make: Make
    defaults: Mapping[str, Any]
    last: Make = _own_classifier
    expand: Callable[[Tensor, Targets, Task, torch.Generator], tuple[Tensor, Targets]] | None = None
    between: Callable[[Tensor], Tensor] | None = None

    @property
    def auxiliary(self) -> bool:
        """Whether its hidden blocks have auxiliary classifiers."""
        return isinstance(self.make, type) and issubclass(self.make, GreedyCE)


_CHECKPOINT = "sgd with gradient checkpointing over the blocks (Chen et al. 2016)"
_ALL = (
    Method("sgd", "end to end by back-propagation", False, _end_to_end, SGD),
    Method("sgd-checkpoint", _CHECKPOINT, False, _end_to_end, SGD),
    Method("sgd-accumulate", "sgd with gradients accumulated over parts of a batch", False, _end_to_end, SGD),
    Method("greedy-ce", "cross-entropy at auxiliary classifiers (Belilovsky et al. 2019)", True, GreedyCE, GREEDY),
    Method("greedy-dib", "greedy-ce and an information in bits (Yu et al. 2021)", True, GreedyDIB, GREEDY),
    Method("predsim", "prediction and similarity matching (Nøkland and Eidnes 2019)", True, PredSim, PREDICTED),
    Method("pred", "prediction alone (Nøkland and Eidnes 2019)", True, GreedyCE, PREDICTED),
    Method("sim", "similarity matching alone (Nøkland and Eidnes 2019)", True, Sim, LOCAL),
    Method("hsic", "HSIC bottleneck with a linear readout (Ma et al. 2020)", True, HSICBottleneck, HSIC),
    Method("phsic", "plausible kernelized bottleneck (Pogodin and Latham 2020)", True, PlausibleHSIC, PHSIC),
    Method("infopro", "reconstruction and cross-entropy (Wang et al. 2021)", True, InfoPro, INFOPRO),
    Method(
        "forward-forward",
        "goodness of positive against negative data (Hinton 2022)",
        True,
        Goodness,
        FORWARD,
        last=PlainReadout,
        expand=expand,
        between=normalise,
    ),
)
METHODS: dict[str, Method] = {method.name: method for method in _ALL}


def method(name: str) -> Method:
    """The method of a name.

    Raises:
        InfoplaneError: No such method.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]
