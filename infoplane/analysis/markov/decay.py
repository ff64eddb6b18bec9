"""How the information between layers decays with the distance between them.

The diagonal I(T;T) = 2 S(K) − S(K∘K) is not S(T), so a matrix is normalised either by √(I_ii I_jj), which makes the
diagonal 1, or by max(S_i, S_j); verdicts use the first. Neighbours share the architecture's nearness before any
training, so what is judged is the trained matrix minus that at initialisation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from infoplane.analysis.arrays import pair_cube
from infoplane.analysis.inference import Criterion, Fall, effect, order_p, spearman

NORMS = ("diagonal", "entropy")


def normalised(pairs: pd.DataFrame, step: int, layers: Sequence[str], norm: str = "diagonal") -> NDArray:
    """Normalised information between layers at one step.

    Args:
        pairs: One row per run, step, batch, quantity and pair.
        step: Step of the snapshot.
        layers: The layers in the order of their depth.
        norm: "diagonal", divided by √(I_ii I_jj), or "entropy", divided by max(S_i, S_j).

    Returns:
        (layers, layers, runs, batches), symmetric.
    """
    matrix = pair_cube(pairs, "information", step, layers)
    matrix = np.where(np.isnan(matrix), matrix.swapaxes(0, 1), matrix)
    places = np.arange(len(layers))
    with np.errstate(invalid="ignore", divide="ignore"):
        if norm == "diagonal":
            own = matrix[places, places]
            return matrix / np.sqrt(own[:, None] * own[None])
        entropies = pair_cube(pairs, "entropy", step, layers)[places, places]
        return matrix / np.maximum(entropies[:, None], entropies[None])


def decay_table(pairs: pd.DataFrame, layers: Sequence[str], norm: str = "diagonal") -> pd.DataFrame:
    """Normalised information by distance |i−j|, at every step and minus the first one.

    Args:
        pairs: One row per run, step, batch, quantity and pair.
        layers: The layers in the order of their depth.
        norm: As in `normalised`.

    Returns:
        One row per step and distance: `step`, `distance`, `pairs` (their number), and with `_low` and `_high` (95 %
        hierarchical bootstrap) the means over pairs, runs and batches `information` and `gain`, the same minus the
        first step.
    """
    steps = sorted(pairs["step"].unique())
    start = normalised(pairs, steps[0], layers, norm)
    rows = []
    for step in steps:
        now = normalised(pairs, step, layers, norm)
        for distance in range(1, len(layers)):
            i = np.arange(len(layers) - distance)
            found = effect(np.stack([now, now - start])[:, i, i + distance].mean(axis=1))
            row = {"step": step, "distance": distance, "pairs": len(i)}
            for place, name in enumerate(("information", "gain")):
                row |= {name: found.mean[place], f"{name}_low": found.low[place], f"{name}_high": found.high[place]}
            rows.append(row)
    return pd.DataFrame(rows)


def seed_table(pairs: pd.DataFrame, layers: Sequence[str], norm: str = "diagonal") -> pd.DataFrame:
    """The same for each run: the means over pairs and batches that the intervals of `decay_table` are of.

    Returns:
        One row per step, distance and run: `step`, `distance`, `run`, `information` and `gain`.
    """
    steps = sorted(pairs["step"].unique())
    start = normalised(pairs, steps[0], layers, norm)
    runs = np.unique(pairs["run"])
    rows = []
    for step in steps:
        now = normalised(pairs, step, layers, norm)
        for distance in range(1, len(layers)):
            i = np.arange(len(layers) - distance)
            both = np.stack([now, now - start])[:, i, i + distance].mean(axis=(1, 3))
            place = {"step": step, "distance": distance}
            rows += [
                {**place, "run": run, "information": information, "gain": gain}
                for run, information, gain in zip(runs, *both, strict=True)
            ]
    return pd.DataFrame(rows)


def matrix_table(pairs: pd.DataFrame, names: Sequence[str], norm: str = "diagonal") -> pd.DataFrame:
    """The information between all pairs of variables at every step.

    Args:
        pairs: One row per run, step, batch, quantity and pair.
        names: The variables in their order, such as X, the layers and Y.
        norm: As in `normalised`.

    Returns:
        One row per step and ordered pair: `step`, `i` and `j` (places in `names`), `name_i`, `name_j`, `norm`, and
        the mean `information` over runs and batches with `_low` and `_high` (95 % hierarchical bootstrap).
    """
    rows = []
    for step in sorted(pairs["step"].unique()):
        found = effect(normalised(pairs, step, names, norm))
        for i, j in np.ndindex(len(names), len(names)):
            place = {"step": step, "i": i, "j": j, "name_i": names[i], "name_j": names[j], "norm": norm}
            ends = {"information_low": found.low[i, j], "information_high": found.high[i, j]}
            rows.append({**place, "information": found.mean[i, j], **ends})
    return pd.DataFrame(rows)


def decay_holds(pairs: pd.DataFrame, layers: Sequence[str], first: int, last: int) -> Criterion:
    """Criterion (b): training makes the information between layers fall with their distance.

    Spearman's ρ of |i−j| and the normalised information (by √(I_ii I_jj)) at the end minus that at initialisation
    is below 0 over the runs (test and interval), and lower than in shuffled orders of the layers (Mantel's
    permutation test, p < 0.05; it needs 5 layers, since an order and its reverse count as one).
    """
    change = normalised(pairs, last, layers) - normalised(pairs, first, layers)
    i, j = np.triu_indices(len(layers), 1)
    mean = change.mean(axis=(2, 3))
    fall = Fall(
        effect(-spearman(j - i, np.moveaxis(change[i, j], 0, -1))),
        order_p(lambda orders: spearman(j - i, mean[orders[:, i], orders[:, j]]), len(layers)),
    )
    return Criterion(
        "decay with distance",
        fall.holds(),
        f"ρ of |i−j| and I(T_i;T_j) / √(I_ii I_jj), trained minus initialisation, is {fall.text()}",
        {**fall.numbers()},
    )
