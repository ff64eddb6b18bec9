"""Informations between X and the layers as arrays and tables, less their null and in units of what each knows of
itself.

The self-information I(T;T) = 2 S(K) − S(K∘K) of a layer is not S(T), so that layers differ in how much there is to
know of them under their kernels. Divided by √(I(i;i) I(j;j)), after the null was taken off, the diagonal is 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from infoplane.analysis.markov.triples import normalised
from infoplane.analysis.stats import student_interval

INPUT = "X"


def pair_cube(pairs: pd.DataFrame, column: str, names: Sequence[str], step: int, step_j: int) -> NDArray:
    """A column of the pairs as an array.

    Args:
        pairs: One row per run, batch, steps and pair, as `infoplane.analysis.gather.gather_pairs` gives.
        column: `information` or `information_null`.
        names: Names of the variables.
        step: Step of the first variable of a pair.
        step_j: Step of the second.

    Returns:
        (R, B, V, V), runs and batches in ascending order, the first axis of the pair i and the second j as they are
        stored; NaN where there is none.
    """
    axes = [pd.Index(axis) for axis in (np.unique(pairs["run"]), np.unique(pairs["batch"]), names, names)]
    cube = np.full([len(axis) for axis in axes], np.nan)
    rows = pairs[(pairs["step"] == step) & (pairs["step_j"] == step_j)]
    keys = ("run", "batch", "name_i", "name_j")
    places = np.array([axis.get_indexer(pd.Index(rows[key])) for axis, key in zip(axes, keys, strict=True)])
    known = (places >= 0).all(axis=0)
    cube[tuple(places[:, known])] = rows[column].to_numpy()[known]
    return cube


def informations(pairs: pd.DataFrame, names: Sequence[str], step: int) -> NDArray:
    """Normalised, null-corrected informations between variables at one step.

    Args:
        pairs: One row per run, batch, steps and pair.
        names: Names of the variables, such as X and the layers in the order of their depth.
        step: The step.

    Returns:
        (R, B, V, V), symmetric, with a diagonal of 1; NaN as in `triples.normalised`.
    """
    return normalised(*(_symmetric(pairs, column, names, step) for column in ("information", "information_null")))


def end_informations(pairs: pd.DataFrame, layers: Sequence[str], step: int, last: int) -> NDArray:
    """Normalised, null-corrected informations between layers at one step and at the last one, I(T_i(t);T_j(end)).

    Args:
        pairs: One row per run, batch, steps and pair, with `to_end`.
        layers: Names of the layers.
        step: Step of the first layer of a pair.
        last: The last step.

    Returns:
        (R, B, L, L), i at `step` and j at the end, in units of √(I_ii(t) I_jj(end)).
    """
    if step == last:
        return informations(pairs, layers, last)
    value, null = (pair_cube(pairs, name, layers, step, last) for name in ("information", "information_null"))
    then, end = (
        np.einsum(
            "...ii->...i",
            _symmetric(pairs, "information", layers, at) - _symmetric(pairs, "information_null", layers, at),
        )
        for at in (step, last)
    )
    with np.errstate(invalid="ignore"):
        return np.asarray((value - null) / np.sqrt(then[..., :, None] * end[..., None, :]))


def _symmetric(pairs: pd.DataFrame, column: str, names: Sequence[str], step: int) -> NDArray:
    cube = pair_cube(pairs, column, names, step, step)
    return np.where(np.isnan(cube), cube.swapaxes(-1, -2), cube)


def matrix_table(pairs: pd.DataFrame, layers: Sequence[str]) -> pd.DataFrame:
    """The information between all pairs at every step, and between each step and the end where that was estimated.

    Args:
        pairs: One row per run, batch, steps and pair.
        layers: Names of the layers in the order of their depth.

    Returns:
        One row per `step`, `step_j` and ordered pair: `i` and `j` (places, 0 is X), `name_i`, `name_j`, and
        `information` over runs, with `information_low` and `information_high` (95 % interval of Student's t).
    """
    last = int(pairs["step"].max())
    names = [INPUT, *layers]
    tables = []
    for step, step_j in sorted(pairs[["step", "step_j"]].drop_duplicates().itertuples(index=False, name=None)):
        same = step == step_j
        values = informations(pairs, names, step) if same else end_informations(pairs, layers, step, last)
        tables.append(_cells(values.mean(axis=1), names if same else layers, 0 if same else 1, step, step_j))
    return pd.concat(tables, ignore_index=True)


def _cells(values: NDArray, names: Sequence[str], first: int, step: int, step_j: int) -> pd.DataFrame:
    """The cells of one matrix of each run, (R, V, V), as rows."""
    rows = []
    mean, low, high = student_interval(np.moveaxis(values, 0, -1))
    for i, j in np.ndindex(mean.shape):
        pair = {"i": i + first, "j": j + first, "name_i": names[i], "name_j": names[j]}
        ends = {"information": mean[i, j], "information_low": low[i, j], "information_high": high[i, j]}
        rows.append({"step": step, "step_j": step_j, **pair, **ends})
    return pd.DataFrame(rows)


def decay_table(pairs: pd.DataFrame, layers: Sequence[str]) -> pd.DataFrame:
    """Normalised information between layers by their distance |i−j|, at every step; a description, not judged.

    Neighbours share the architecture's nearness before any training, so what training changes stands beside it.

    Args:
        pairs: One row per run, batch, steps and pair.
        layers: Names of the layers in the order of their depth.

    Returns:
        One row per `step`, `distance` and `run`: `information`, the mean over pairs and batches, and `gain`, the
        same less that of the first step.
    """
    steps, runs = sorted(pairs["step"].unique()), np.unique(pairs["run"])
    start = informations(pairs, layers, steps[0])
    rows = []
    for step in steps:
        now = informations(pairs, layers, step)
        for distance in range(1, len(layers)):
            i = np.arange(len(layers) - distance)
            means, gains = (values[..., i, i + distance].mean(axis=(1, 2)) for values in (now, now - start))
            place = {"step": step, "distance": distance}
            rows += [
                {**place, "run": run, "information": information, "gain": gain}
                for run, information, gain in zip(runs, means, gains, strict=True)
            ]
    return pd.DataFrame(rows)
