"""Fitting and compression: where I(X;T) of a layer turns, how much it rises before and falls after.

The turn of a run is the highest point of its smoothed curve. A highest point found and measured in the same noisy
curve lies above its end whatever the network does, so the turn is found in the other runs, and rise and fall are
measured in the run left out: a curve that does not fall has a fall of 0 on average, and one that rises to the end
turns at the end and does not fall at all.

A layer *compresses* if its fall, and *fits* if its rise, is above 0 over runs by a one-sided t-test at 5 % with
Holm's correction over the layers; "neither" is a possible answer. However certain a phase is, its size stands
beside it. One run cannot decide it: fluctuations of its training are the same in all its batches.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import ttest_1samp

from infoplane.analysis.convergence.trajectories import Trajectories, last_snapshots, smooth
from infoplane.analysis.stats import SIGNIFICANCE, holm, nested_interval

PHASES = {
    (True, True): "fitting, then compression",
    (True, False): "fitting",
    (False, True): "compression",
    (False, False): "neither",
}
_ENDS = ("", "_low", "_high")
_COLUMNS = [*(name + end for name in ("turn", "rise", "fall") for end in _ENDS), "p_rise", "p_fall"]


def phases(curves: Trajectories) -> pd.DataFrame:
    """Fitting and compression of every layer.

    Args:
        curves: Those of I(X;T); of one run alone rise and fall are measured where its own turn is.

    Returns:
        One row per layer: `layer`, `depth`, `turn` (step of the highest point of the mean over runs) with those of
        the first and the last run to turn in `turn_low` and `turn_high` (NaN for one run), `rise` and `fall` (in
        the unit of the curves) with the ends of their 95 % intervals of Student's t in `<name>_low` and
        `<name>_high`, `p_rise` and `p_fall` after Holm's correction, and `phase`: one of `PHASES`, "undecidable"
        for one run, or the trouble of a layer that was not measured in all runs.
    """
    troubles = [next(filter(None, column), "") for column in curves.trouble.T]
    rows = [
        {} if trouble else _layer(curves.values[:, :, place], curves.steps)
        for place, trouble in enumerate(troubles)
    ]
    table = pd.DataFrame(rows).reindex(columns=_COLUMNS).astype(float)
    for name in ("p_rise", "p_fall"):
        table[name] = holm(table[name].to_numpy())
    decided = table["p_rise"].notna() | table["p_fall"].notna()
    certain = [table[f"p_{name}"] < SIGNIFICANCE for name in ("rise", "fall")]
    table["phase"] = [
        trouble or (PHASES[rise, fall] if known else "undecidable")
        for trouble, known, rise, fall in zip(troubles, decided, *certain, strict=True)
    ]
    table.insert(0, "layer", curves.layers)
    table.insert(1, "depth", range(1, len(troubles) + 1))
    return table


def _layer(values: NDArray, steps: NDArray) -> dict[str, float]:
    """Turn, rise and fall of one layer, (R, B, T)."""
    means = values.mean(axis=1)
    turn = steps[_turns(means.mean(axis=0), steps)]
    row: dict[str, float] = {"turn": float(turn)}
    if len(means) > 1:
        single = steps[_turns(means, steps)]
        row |= {"turn_low": float(single.min()), "turn_high": float(single.max())}
    rise, fall = _rise_and_fall(values, steps)
    for name, changes in (("rise", rise), ("fall", fall)):
        mean, low, high = nested_interval(changes)
        row |= {name: float(mean), f"{name}_low": float(low), f"{name}_high": float(high)}
        row[f"p_{name}"] = _above_zero(changes.mean(axis=1))
    return row


def _rise_and_fall(values: NDArray, steps: NDArray) -> tuple[NDArray, NDArray]:
    """Change from the first snapshot to the turn of the others, and from there to the end, (R, B) each."""
    smoothed = smooth(values)
    end = smoothed[..., -last_snapshots(steps) :].mean(axis=-1)
    means = values.mean(axis=1)
    rise, fall = np.empty(values.shape[:2]), np.empty(values.shape[:2])
    for run in range(len(values)):
        others = np.delete(means, run, axis=0) if len(means) > 1 else means
        place = int(_turns(others.mean(axis=0), steps))
        at_turn = smoothed[run, :, place] if place < len(steps) - last_snapshots(steps) else end[run]
        rise[run], fall[run] = at_turn - smoothed[run, :, 0], at_turn - end[run]
    return rise, fall


def _turns(values: NDArray, steps: NDArray) -> NDArray:
    """Place of the highest point of smoothed curves, (..., T); a point in the last 5 % counts as the end."""
    places = smooth(values).argmax(axis=-1)
    return np.where(places >= len(steps) - last_snapshots(steps), len(steps) - 1, places)


def _above_zero(changes: NDArray) -> float:
    """One-sided p-value that the mean is above 0; 1 where nothing changes in any run, NaN for one."""
    if len(changes) < 2:
        return math.nan
    if np.ptp(changes) <= 1e-12 * np.abs(changes).max():
        return 1.0 if changes[0] <= 0 else 0.0
    return float(ttest_1samp(changes, 0, alternative="greater").pvalue)
