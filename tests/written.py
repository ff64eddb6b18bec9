"""Run files of layers and targets that are given, not recorded."""

import numpy as np
from scipy.spatial.distance import pdist

from infoplane.runfile import LayerInfo, Probe, RunWriter
from infoplane.targets import Target


def made(path, inputs, layer, target, **others):
    """A run of one snapshot of one layer, or of several of as many features."""
    layers = np.atleast_3d(layer).transpose(2, 0, 1)
    probe = Probe(target, pdist(inputs), np.arange(len(inputs)), inputs.shape[1:], others=others)
    infos = [LayerInfo(f"layer{place}", values.shape[1:]) for place, values in enumerate(layers)]
    with (
        RunWriter.create(path, infos, probe, config={}, provenance={}) as writer,
        writer.snapshot(0, 0.0, {}) as out,
    ):
        for info, values in zip(infos, layers, strict=True):
            out.layer(info.name, "activations", values, nonfinite=0, constant=False)
    return path


def continuous(values):
    return Target("regression", np.asarray(values, dtype=float).reshape(len(values), -1))


def classes(labels, kind="classes"):
    return Target(kind, np.asarray(labels))
