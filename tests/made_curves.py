"""Made-up curves of layers that converge when they are told to."""

import numpy as np
import pandas as pd

from infoplane.recording.schedule import log_spaced

STEPS = np.array(log_spaced(1000, 40))


def ramp(end, steps=STEPS, low=2.0, high=5.0):
    """Rises in the logarithm of the step until `end`, then stays."""
    return low + (high - low) * np.minimum(np.log1p(steps) / np.log1p(end), 1.0)


def table(layers, runs=5, batches=3, noise=0.01, steps=STEPS, quantity="I_XT", **columns):
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


PLANTED = {"conv1": 20, "conv2": 60, "conv3": 150, "fc1": 300, "logits": 600}
