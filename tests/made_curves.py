"""Made-up curves of layers that converge when they are told to."""

import numpy as np
import pandas as pd

from infoplane.analysis.convergence.trajectories import Trajectories
from infoplane.recording.schedule import log_spaced
from infoplane.words import symbol

STEPS = np.array(log_spaced(5000, 40))
UP = (40, 60, 90, 135, 200, 300, 450, 675)  # 1.5 times as long a layer
NAMES = tuple(f"layer{depth}" for depth in range(1, 9))


def approach(time, steps=STEPS):
    """Goes from 0 to 1, exponentially."""
    return 1 - np.exp(-steps / time)


def _curve(shape, ratio, steps):
    return shape if np.ndim(shape) else approach(shape * ratio, steps)


def made(shapes, quantity="I_XT_corrected", *, runs=5, noise=0.001, jitter=0.0, ranges=None, steps=STEPS, seed=0):
    """Trajectories of layers by their times of convergence, or by curves of their own, in 2 batches.

    `jitter` is a deviation of ln time of each run and layer, `noise` that of the means over batches.
    """
    rng = np.random.default_rng(seed)
    spread = np.exp(rng.normal(0, jitter, (runs, len(shapes))))
    curves = np.array([[_curve(*pair, steps) for pair in zip(shapes, row, strict=True)] for row in spread])
    curves = curves * (np.ones(len(shapes)) if ranges is None else np.asarray(ranges))[:, None]
    values = curves + rng.normal(0, noise, curves.shape)
    levels = rng.normal(0, 0.3, (runs, 1, len(shapes), 1))
    batches = np.concatenate([values[:, None] + levels, values[:, None] - levels], axis=1)
    names = tuple(f"layer{depth}" for depth in range(1, len(shapes) + 1))
    trouble = np.full((runs, len(shapes)), "", dtype=object)
    names_of_runs = tuple(f"run{run}" for run in range(runs))
    return Trajectories(quantity, names_of_runs, names, steps, batches, trouble, symbol(quantity), len(steps))


def table(layers, runs=5, batches=3, noise=0.001, steps=STEPS, quantity="I_XT_corrected", **columns):
    """A tidy table: `layers` maps names to curves; each batch has its own level and noise."""
    rng = np.random.default_rng(0)
    rows = []
    for run in range(runs):
        for depth, (layer, curve) in enumerate(layers.items(), start=1):
            for batch in range(batches):
                values = curve + rng.normal(0, 0.3) + rng.normal(0, noise, len(steps))
                rows += [
                    {"run": f"r{run}", "layer": layer, "depth": depth, "step": step, "batch": batch}
                    | {quantity: value, "status": "ok"}
                    | columns
                    for step, value in zip(steps, values, strict=True)
                ]
    return pd.DataFrame(rows)


PLANTED = dict(zip(NAMES, map(approach, UP), strict=True))
