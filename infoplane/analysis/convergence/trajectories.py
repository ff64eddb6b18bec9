"""How a quantity of each layer goes to its end, and when: on the logarithm of the step, without any tolerance.

m(s) is the mean of the quantity over batches, smoothed by a median over 3 snapshots, and e its mean over the last
5 % of training: the snapshots of the last 5 % of the steps, and never fewer than 5 % of the snapshots, nor than
two. With the distance d(s) = |m(s) − e| and the noise f, 1.5 times the mean deviation of the last five m from a
straight line through them, the relative distance is

    D(s) = (d(s) − f) / (max over s of d − 3 f), between 0 and 1.

The line lets a layer be on its way in those five; the 1.5 make up for what it takes of the noise. The largest of
many fluctuations lies some 3 f above the range, which is why the range has 3 f taken off and not one: else layers
of a small range come out early. A similarity to the last snapshot is 1 there by itself, and high beside it, however
much the layer still moves, so that the last 5 % of the steps are left out of it. `benchmarks/false_positives.md`
shows what each of these is worth.

The area a = ∫ D du over u = ln(1 + step), by trapezoids, is the logarithm of a time: where D depends on step / τ
alone, a = ln τ + constant, so that a difference of two layers is the logarithm of the ratio of their times,
whatever the range of either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.integrate import trapezoid

from infoplane.analysis.plane import common_steps, mark_saturation
from infoplane.errors import InfoplaneError
from infoplane.estimators.nulls import measured
from infoplane.words import symbol

_LAST_SHARE = 0.05
NOISE_SNAPSHOTS = 5
_LINE = 1.5
_LARGEST_NOISE = 3.0  # in units of f, of 15 to 80 snapshots
LEAST_RANGE = 6.0
_UNSETTLED_DISTANCE, _UNSETTLED_SHARE = 0.2, 0.1
SIMILARITIES = frozenset({"cka", "svcca"})
_SATURATION = {
    "I_XT": "saturated_x",
    "I_XT_corrected": "saturated_x",
    "I_TY": "saturated_y",
    "I_TY_corrected": "saturated_y",
}


@dataclass(frozen=True)
class Trajectories:
    """One quantity of every layer over time, of several runs and batches.

    Attributes:
        quantity: Its name, such as "I_XT_corrected".
        runs: Names of the R runs.
        layers: Names of the L layers from input to output.
        steps: Steps of the T common snapshots, ascending, (T,).
        values: (R, B, L, T), B batches; NaN where one was not measured.
        trouble: (R, L) strings: why a layer of a run cannot be used, "" where it can.
        symbol: How the quantity is written, such as "I(X;T) − null", or "CKA(X,T)" of another estimator.
        snapshots: Number of common snapshots, with those at the end to which a similarity compares.
    """

    quantity: str
    runs: tuple[str, ...]
    layers: tuple[str, ...]
    steps: NDArray
    values: NDArray
    trouble: NDArray
    symbol: str
    snapshots: int

    @property
    def means(self) -> NDArray:
        """Means over batches, (R, L, T)."""
        return np.asarray(self.values.mean(axis=1))

    def troubles(self) -> NDArray:
        """Reasons why layers of a run cannot be used, (R, L) strings: `trouble`, or a range within noise."""
        still = (self.trouble == "") & within_noise(self.means, self.steps)
        return np.where(still, "its range is not above the fluctuations at its end", self.trouble)


def trajectories(table: pd.DataFrame, quantity: str) -> Trajectories:
    """The trajectories of a quantity from a tidy table.

    Args:
        table: One row per run, layer, step and batch: `run`, `layer`, `depth`, `step`, the quantity, `status`, and
            `batch` where there are batches; as `gather` and `representation_table` give it.
        quantity: The column.

    Raises:
        InfoplaneError: There is no such column, or the runs have different layers, batches or last steps.
    """
    if table.empty or quantity not in table:
        raise InfoplaneError(f"the table holds no {quantity}")
    rows = _common(table.assign(batch=table.get("batch", 0)))
    names = rows.drop_duplicates("depth").sort_values("depth")["layer"].tolist()
    # As they were given: those of a synchronous path stand where their trainings do, whatever their names.
    runs = rows["run"].unique().tolist()
    batches, steps = (sorted(rows[name].unique()) for name in ("batch", "step"))
    recorded = len(steps)
    if quantity in SIMILARITIES and recorded > 1:
        steps = before_the_end(np.asarray(steps)).tolist()
        rows = rows[rows["step"].isin(steps)]
    order = [(run, batch, depth) for run in runs for batch in batches for depth in sorted(rows["depth"].unique())]
    wide = rows.pivot(index=["run", "batch", "depth"], columns="step", values=quantity).reindex(order)
    shape = (len(runs), len(batches), len(names), len(steps))
    return Trajectories(
        quantity,
        tuple(map(str, runs)),
        tuple(map(str, names)),
        np.asarray(steps),
        wide.to_numpy(dtype=np.float64).reshape(shape),
        _trouble(rows, quantity, runs, len(names)),
        symbol(quantity, table),
        recorded,
    )


def relative_distance(means: NDArray, steps: NDArray, *, envelope: bool = False) -> NDArray:
    """The relative distance D to the end, as the module says.

    Args:
        means: Means over batches, not smoothed, (..., T).
        steps: Steps of the snapshots, (T,).
        envelope: Take the largest d from each snapshot on in the place of d, so that a curve that leaves its end
            and comes back has not converged before.

    Returns:
        (..., T), 0 to 1; 0 throughout where a curve does not leave its noise.
    """
    distance, noise = _distance_and_noise(means, steps)
    if envelope:
        distance = np.maximum.accumulate(distance[..., ::-1], axis=-1)[..., ::-1]
    span = distance.max(axis=-1, keepdims=True) - _LARGEST_NOISE * noise
    return np.where(span > 0, np.clip((distance - noise) / np.where(span > 0, span, 1), 0, 1), 0.0)


def log_time_area(distances: NDArray, steps: NDArray) -> NDArray:
    """The area a under relative distances over ln(1 + step): the logarithm of a time.

    Args:
        distances: Relative distances D, (..., T).
        steps: Steps of the snapshots, (T,).

    Returns:
        (...), in units of ln step.
    """
    return np.asarray(trapezoid(distances, np.log1p(steps), axis=-1))


def half_time(distances: NDArray, steps: NDArray) -> NDArray:
    """The time t50 after which each relative distance stays below one half.

    Args:
        distances: Relative distances D, (..., T).
        steps: Steps of the snapshots, (T,).

    Returns:
        (...): a step, interpolated in ln(1 + step) between two snapshots; the last one where D is above one half to
        the end, NaN where it never is.
    """
    above = distances > 0.5
    last = distances.shape[-1] - 1 - above[..., ::-1].argmax(axis=-1)
    after = np.minimum(last + 1, distances.shape[-1] - 1)
    before, below = (np.take_along_axis(distances, place[..., None], -1)[..., 0] for place in (last, after))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(before > below, (before - 0.5) / (before - below), 0.0)
    log_steps = np.log1p(steps)
    crossing = np.expm1(log_steps[last] + share * (log_steps[after] - log_steps[last]))
    return np.where(above.any(axis=-1), crossing, np.nan)


def within_noise(means: NDArray, steps: NDArray) -> NDArray:
    """Whether a curve is never further from its end than 6 times its noise f, (...); arguments as above."""
    distance, noise = _distance_and_noise(means, steps)
    return np.asarray(distance.max(axis=-1) <= LEAST_RANGE * noise[..., 0])


def unsettled(distances: NDArray, steps: NDArray) -> NDArray:
    """Whether layers are still on their way in the last tenth of training, on the axis of the areas, ln(1 + step).

    Args:
        distances: Relative distances D of several runs, (..., R, L, T).
        steps: Steps of the snapshots, (T,).

    Returns:
        (..., L): whether the mean of D over runs is above 0.2 at some snapshot of it.
    """
    log_steps = np.log1p(steps)
    last = log_steps >= (1 - _UNSETTLED_SHARE) * log_steps[-1]
    return np.asarray((distances.mean(axis=-3)[..., last] > _UNSETTLED_DISTANCE).any(axis=-1))


def smooth(values: NDArray) -> NDArray:
    """Median over 3 snapshots along the last axis; the first and the last stay as they are."""
    if values.shape[-1] < 3:
        return values
    before, middle, after = values[..., :-2], values[..., 1:-1], values[..., 2:]
    inner = np.maximum(np.minimum(before, middle), np.minimum(np.maximum(before, middle), after))
    return np.concatenate([values[..., :1], inner, values[..., -1:]], axis=-1)


def before_the_end(steps: NDArray) -> NDArray:
    """The steps, of (T,) ascending ones, that are not among the last 5 % of training."""
    return np.asarray(steps[steps < (1 - _LAST_SHARE) * steps[-1]])


def last_snapshots(steps: NDArray) -> int:
    """Number of snapshots in the last 5 % of training, as the module defines them."""
    inside = int((steps >= (1 - _LAST_SHARE) * steps[-1]).sum())
    return min(len(steps), max(2, inside, int(np.ceil(_LAST_SHARE * len(steps)))))


def _distance_and_noise(means: NDArray, steps: NDArray) -> tuple[NDArray, NDArray]:
    """The distance d to the end, (..., T), and the noise f, (..., 1), in the unit of the curves."""
    smoothed = smooth(means)
    end = smoothed[..., -last_snapshots(steps) :].mean(axis=-1, keepdims=True)
    last = smoothed[..., -NOISE_SNAPSHOTS:]
    places = np.arange(last.shape[-1]) - (last.shape[-1] - 1) / 2
    left = last - last.mean(axis=-1, keepdims=True)
    if last.shape[-1] > 1:
        left = left - (left @ places)[..., None] / (places @ places) * places
    return np.abs(smoothed - end), _LINE * np.abs(left).mean(axis=-1, keepdims=True)


def _common(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows at the steps that all runs have, of runs that can stand side by side."""
    groups = rows.groupby("run")
    first = str(rows["run"].iloc[0])
    for what, columns in (("layers", ["depth", "layer"]), ("batches", ["batch"])):
        sets = {str(run): set(map(tuple, part[columns].to_numpy())) for run, part in groups}
        for run, members in sets.items():
            if members != sets[first]:
                raise InfoplaneError(f"runs {first} and {run} have different {what}; analyse them apart")
    ends = groups["step"].max()
    if ends.nunique() > 1:
        raise InfoplaneError(
            f"the runs end at different steps ({', '.join(f'{run} at {step}' for run, step in ends.items())}); "
            "finish them with `resume=True`"
        )
    return common_steps(rows)


def _trouble(rows: pd.DataFrame, quantity: str, runs: Sequence[Any], layers: int) -> NDArray:
    """Why layers cannot be used, (R, L) strings."""
    flag = _SATURATION.get(quantity, "")
    marked = mark_saturation(rows) if flag and "I_TY_null_std" in rows else rows
    reasons = np.full((len(runs), layers), "", dtype=object)
    places = sorted(rows["depth"].unique())
    for (run, depth), part in marked.groupby(["run", "depth"]):
        place = (runs.index(run), places.index(depth))
        snapshots = part["step"].nunique()
        known = measured(part["status"])
        bad = part[~known | part[quantity].isna()]
        if len(bad):
            status = next(iter(bad.loc[~known, "status"]), "not measured")
            reasons[place] = f"{status} at {bad['step'].nunique()} of {snapshots} snapshots"
        elif flag in part and part[flag].mean() >= 0.5:
            reasons[place] = f"saturated at {part.loc[part[flag], 'step'].nunique()} of {snapshots} snapshots"
    return reasons
