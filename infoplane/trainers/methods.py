"""The training methods by name: an objective for every block, and the settings it was published with."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from infoplane.errors import unknown

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from infoplane.trainers.objectives.base import BlockInfo, LossSettings, Objective
    from infoplane.trainers.task import Targets, Task

    Make = Callable[[BlockInfo, LossSettings], Objective]
    Expand = Callable[[Tensor, Targets, Task, torch.Generator], tuple[Tensor, Targets]]

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
ADAM = {
    "optimizer": "adam",
    "lr": 5e-4,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "batch_size": 128,
    "schedule": "fractions:0.5,0.75,0.89,0.94:0.25",
}
PREDICTED = ADAM | {"aux": "pool:2048"}
HSIC = ADAM | {"lr": 1e-3, "batch_size": 256, "schedule": "constant"}
_PHSIC = ADAM | {"optimizer": "adamw", "weight_decay": 1e-7, "schedule": "fractions:0.6,0.7,0.9,0.95:0.25"}
_INFOPRO = SGD | {"lr": 0.1, "weight_decay": 1e-4, "batch_size": 128, "schedule": "cosine", "aux": "conv:1"}
_FORWARD = ADAM | {"lr": 1e-3, "schedule": "constant"}


@dataclass(frozen=True)
class Method:
    """How a network is trained.

    The place of a class or function in `infoplane.trainers.objectives` is written MODULE:NAME; it is loaded when it
    is asked for, so that the names of the methods are known without torch.

    Attributes:
        name: Its name on the command line.
        summary: One line with the source.
        objective: Place of the objective of a hidden block; "" where the whole network is trained as one.
        defaults: Training settings that it was published with, by the names of `TrainingSettings`.
        last_objective: Place of that of the last block, which ends in the network's own classifier.
        expansion: Place of a function that makes more samples of a batch before the first block sees it, or "".
        joint: Place of a function that is put between two blocks, or "".
    """

    name: str
    summary: str
    objective: str
    defaults: Mapping[str, Any]
    last_objective: str = "base:own_classifier"
    expansion: str = ""
    joint: str = ""

    @property
    def local(self) -> bool:
        """Whether every block has a loss of its own; else the whole network is one block."""
        return bool(self.objective)

    @property
    def make(self) -> Make:
        """The objective of a hidden block."""
        make: Make = _loaded(self.objective)
        return make

    @property
    def options(self) -> frozenset[str]:
        """Names of the numbers that `option` may give."""
        return frozenset(getattr(self.make, "NUMBERS", ()) if self.local else ())

    @property
    def last(self) -> Make:
        """The objective of the last block."""
        make: Make = _loaded(self.last_objective)
        return make

    @property
    def expand(self) -> Expand | None:
        """The function that makes more samples of a batch, with a generator on the CPU."""
        return _loaded(self.expansion) if self.expansion else None

    @property
    def between(self) -> Callable[[Tensor], Tensor] | None:
        """The function between two blocks."""
        return _loaded(self.joint) if self.joint else None

    @property
    def auxiliary(self) -> bool:
        """Whether its hidden blocks have auxiliary classifiers."""
        from infoplane.trainers.objectives.greedy_ce import GreedyCE

        return self.local and isinstance(self.make, type) and issubclass(self.make, GreedyCE)


def _loaded(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"infoplane.trainers.objectives.{module}"), name)


_CHECKPOINT = "sgd with gradient checkpointing over the blocks (Chen et al. 2016)"
_ALL = (
    Method("sgd", "end to end by back-propagation", "", SGD),
    Method("sgd-checkpoint", _CHECKPOINT, "", SGD),
    Method("sgd-accumulate", "sgd with gradients accumulated over parts of a batch", "", SGD),
    Method(
        "greedy-ce",
        "cross-entropy at auxiliary classifiers (Belilovsky et al. 2019)",
        "greedy_ce:GreedyCE",
        GREEDY,
    ),
    Method("greedy-dib", "greedy-ce and an information in bits (Yu et al. 2021)", "greedy_dib:GreedyDIB", GREEDY),
    Method(
        "predsim",
        "prediction and similarity matching (Nøkland and Eidnes 2019)",
        "predsim:PredSim",
        PREDICTED,
    ),
    Method("pred", "prediction alone (Nøkland and Eidnes 2019)", "greedy_ce:GreedyCE", PREDICTED),
    Method("sim", "similarity matching alone (Nøkland and Eidnes 2019)", "predsim:Sim", ADAM),
    Method("hsic", "HSIC bottleneck with a linear readout (Ma et al. 2020)", "hsic:HSICBottleneck", HSIC),
    Method("phsic", "plausible kernelized bottleneck (Pogodin and Latham 2020)", "phsic:PlausibleHSIC", _PHSIC),
    Method("infopro", "reconstruction and cross-entropy (Wang et al. 2021)", "infopro:InfoPro", _INFOPRO),
    Method(
        "forward-forward",
        "goodness of positive against negative data (Hinton 2022)",
        "forward_forward:Goodness",
        _FORWARD,
        last_objective="forward_forward:PlainReadout",
        expansion="forward_forward:expand",
        joint="forward_forward:normalise",
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
