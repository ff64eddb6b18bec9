"""How far each layer is from its end, at every time: the picture behind the convergence times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from infoplane.analysis.convergence.times import TOLERANCE, Curves, final_value, layer_times, smooth
from infoplane.errors import InfoplaneError


def profile_table(found: Sequence[Curves], tolerance: float = TOLERANCE) -> pd.DataFrame:
    """The relative distance to the end, |q(t) − q(end)| / max(range of q, floor), q smoothed by 3-snapshot medians.

    Args:
        found: The curves of one or several quantities of the same layers.
        tolerance: Tolerance of the convergence times, relative to the range.

    Returns:
        One row per quantity, layer and step: `quantity`, `layer`, `depth`, `step`, `distance` (0 to 1, mean over
        the runs in which the layer is usable; NaN where it is in none), `runs` (how many those are), `of` (of how
        many), `time` (median convergence time over them, the later of two middle ones; infinite for not converged),
        `dropped` (why the layer is not usable in the first run where it is not, "" if it is in all) and
        `tolerance`.

    Raises:
        InfoplaneError: No curves, one quantity twice, or curves of different layers.
    """
    if not found:
        raise InfoplaneError("nothing to profile: give curves")
    names = [one.quantity for one in found]
    if len(set(names)) < len(names):
        raise InfoplaneError(f"the quantities {', '.join(names)} are not all different")
    strangers = [one.quantity for one in found if one.layers != found[0].layers]
    if strangers:
        raise InfoplaneError(f"{strangers[0]} and {names[0]} are of different layers")
    return pd.concat([_profile(one, tolerance) for one in found], ignore_index=True)


def _profile(found: Curves, tolerance: float) -> pd.DataFrame:
    """One quantity."""
    smoothed = smooth(found.values.mean(axis=1))
    ranges = np.maximum(np.ptp(smoothed, axis=-1), found.floor)
    distances = np.abs(smoothed - final_value(smoothed, found.steps)[..., None]) / ranges[..., None]
    times = layer_times(found, tolerance)
    rows: list[dict[str, Any]] = []
    for place, layer in enumerate(found.layers):
        own = times[times["layer"] == layer]
        usable = (own["dropped"] == "").to_numpy()
        mean = distances[usable, place].mean(axis=0) if usable.any() else np.full(len(found.steps), np.nan)
        about = {
            "runs": int(usable.sum()),
            "of": len(usable),
            "time": median_time(own),
            "dropped": next(filter(None, own["dropped"]), ""),
            "tolerance": tolerance,
        }
        named = {"quantity": found.quantity, "layer": layer, "depth": place + 1}
        rows += [
            named | {"step": step, "distance": value} | about
            for step, value in zip(found.steps.tolist(), mean.tolist(), strict=True)
        ]
    return pd.DataFrame(rows)


def median_time(times: pd.DataFrame) -> float:
    """Median convergence time of one layer over the runs in which it has one.

    Args:
        times: Rows of `infoplane.analysis.convergence.times.layer_times`.

    Returns:
        A step, the later of two middle ones (between a finite and an infinite time there is no mean); infinite for
        not converged, NaN where the layer is dropped in all runs.
    """
    found = np.sort(times["time"].dropna().to_numpy())
    return float(found[len(found) // 2]) if len(found) else float("nan")
