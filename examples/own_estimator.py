"""Writing an estimator
====================

An estimator is a settings class and a class that measures a layer. It gets permuted nulls, batches, caching and
figures from infoplane. This one is distance correlation (Székely, Rizzo and Bakirov, 2007).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import pdist, squareform
from torch import nn

import infoplane as ip
from infoplane.estimators.base import DEPENDENCE, EstimatorSettings, LayerEstimator, LayerView, one_hot
from infoplane.estimators.gaussian import centred
from infoplane.runfile import Probe


@dataclass(frozen=True)
class DistanceCorrelationSettings(EstimatorSettings):
    """Distance correlation has no settings of its own."""

    name = "dcor"
    unit = DEPENDENCE

    def prepare(self, probe: Probe, source: Path) -> LayerEstimator:
        """The estimator for one probe."""
        return DistanceCorrelation(probe, self, source)


class DistanceCorrelation(LayerEstimator):
    """Compares centred distances of a layer with those of X and of Y."""

    def __init__(self, probe: Probe, settings: EstimatorSettings, source: Path) -> None:
        super().__init__(probe, settings, source)
        self.inputs, self.classes = scaled(probe.distances), scaled(pdist(one_hot(self.labels)[0]))

    def measure(self, view: LayerView, told: Any) -> dict[str, Any]:
        """One layer: a function of the order of the samples for each axis, from which the nulls are made too."""
        layer = scaled(view.distances)
        return self.row(
            i_xt=lambda order: correlation(self.inputs, layer, order),
            i_ty=lambda order: correlation(self.classes, layer, order),
        )


def scaled(distances):
    """Centred distances of norm 1, (n, n)."""
    matrix = centred(squareform(distances))
    return matrix / np.linalg.norm(matrix)


def correlation(one, other, order):
    """Distance correlation under an order of the samples."""
    return float(np.sqrt(max(np.vdot(one[np.ix_(order, order)], other), 0.0)))


# %%
# It is used as the built-in ones are.
torch.manual_seed(0)
x = torch.randn(150, 20)
model = nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 2))
with ip.Recorder(model, (x, (x[:, 0] > 0).long()), "one.h5", force=True) as recorder:
    recorder.snapshot(0)
table = ip.estimate("one.h5", DistanceCorrelationSettings())
table[["layer", "estimator", "I_XT", "I_XT_null", "I_TY", "I_TY_null"]]
