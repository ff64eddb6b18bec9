"""How far each layer is from its end, at every time: the picture behind the times of convergence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from infoplane.analysis.convergence.trajectories import Trajectories, half_time, relative_distance
from infoplane.errors import InfoplaneError


def profile_table(quantities: Sequence[Trajectories]) -> pd.DataFrame:
    """Relative distances D to the end, means over the runs in which a layer can be used.

    Args:
        quantities: The trajectories of one or several quantities of the same layers.

    Returns:
        One row per quantity, layer and step: `quantity`, `layer`, `depth`, `step`, `distance` (0 to 1; NaN where
        the layer can be used in no run), `runs` (in how many it can), `of` (how many there are), `t50` (its median
        over those runs, in steps) and `left_out` (why not in the first run where it cannot be used, "" where it
        can in all).

    Raises:
        InfoplaneError: No trajectories, a quantity twice, or different layers.
    """
    if not quantities:
        raise InfoplaneError("nothing to profile: give trajectories")
    names = [curves.quantity for curves in quantities]
    if len(set(names)) < len(names):
        raise InfoplaneError(f"the quantities {', '.join(names)} are not all different")
    strangers = [curves.quantity for curves in quantities if curves.layers != quantities[0].layers]
    if strangers:
        raise InfoplaneError(f"{strangers[0]} and {names[0]} are of different layers")
    return pd.concat(map(_profile, quantities), ignore_index=True)


def _profile(curves: Trajectories) -> pd.DataFrame:
    """One quantity."""
    troubles = curves.troubles()
    distances = relative_distance(curves.means, curves.steps)
    halves = half_time(distances, curves.steps)
    layers = []
    for place, layer in enumerate(curves.layers):
        usable = troubles[:, place] == ""
        mean = distances[usable, place].mean(axis=0) if usable.any() else np.full(len(curves.steps), np.nan)
        rows = pd.DataFrame({"step": curves.steps, "distance": mean})
        rows.insert(0, "quantity", curves.quantity)
        layers.append(
            rows.assign(
                layer=layer,
                depth=place + 1,
                runs=int(usable.sum()),
                of=len(usable),
                t50=float(np.median(halves[usable, place])) if usable.any() else np.nan,
                left_out=next(filter(None, troubles[:, place]), ""),
            )
        )
    return pd.concat(layers, ignore_index=True)
