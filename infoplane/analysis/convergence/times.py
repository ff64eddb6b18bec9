"""When each layer converges: the first time after which a quantity stays where it ends.

q(t) of a layer is smoothed by a median over 3 snapshots (the ends stay as they are). Its final value is the mean
over the last 5 %: the snapshots of the last 5 % of the steps, and never fewer than 5 % of the snapshots, nor than
two; of log-spaced snapshots only one may fall into the last 5 % of the steps, and the noise of a single one would
be in every distance to the end. The convergence time is the step of the first snapshot from which on

    |q(s) − q(end)| ≤ tolerance · max(range of q, floor)   for all later s,

and infinite if the last snapshot is not within it. A layer has no convergence time, and is dropped with the reason,
if it was not measured at every snapshot, if it is saturated at half of them or more, if it never was outside the
tolerance (it would come first for standing still), or if noise alone spans its range. Noise spans the range of T
values in 95 % of cases within the studentised range (5.5 standard errors for 40 snapshots); 3 standard errors are
asked for in any case.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import studentized_range

from infoplane.analysis.plane import common_steps, mark_saturation
from infoplane.errors import InfoplaneError
from infoplane.estimators.nulls import measured

TOLERANCE = 0.05
LAST_SHARE = 0.05
STANDARD_ERRORS = 3.0
NOISE_LEVEL = 0.95
# 0.1 bit is about one per cent of log2 n; the same share of what ends at 1 or at 0.
FLOOR_BITS, FLOOR_RELATIVE = 0.1, 0.01
_SATURATION = {"I_XT": "saturated_x", "I_TY": "saturated_y", "I_TY_corrected": "saturated_y"}
_BITS = {"I_XT", "I_TY", "I_TY_corrected", "S_T"}


@dataclass(frozen=True)
class Curves:
    """One quantity of every layer over time, of several runs and batches.

    Attributes:
        quantity: Its name, such as "I_XT".
        runs: Names of the R runs.
        layers: Names of the L layers from input to output.
        steps: Steps of the T common snapshots, ascending.
        values: (R, B, L, T), B batches; NaN where one was not measured.
        trouble: (R, L) strings: why a layer of a run cannot be used, "" where it can.
        floor: Least range that a tolerance refers to, in the unit of the values.
    """

    quantity: str
    runs: tuple[str, ...]
    layers: tuple[str, ...]
    steps: NDArray
    values: NDArray
    trouble: NDArray
    floor: float


def curves(table: pd.DataFrame, quantity: str) -> Curves:
    """The curves of a quantity from a tidy table.

    Args:
        table: One row per run, layer, step and batch: `run`, `layer`, `depth`, `step`, the quantity, `status`, and
            `batch` where there are batches; as `gather`, `representation_table` and `parameter_table` give it.
        quantity: The column.

    Raises:
        InfoplaneError: There is no such column, or the runs have different layers, batches or last steps.
    """
    if table.empty or quantity not in table:
        raise InfoplaneError(f"the table holds no {quantity}")
    rows = _common(table.assign(batch=table.get("batch", 0)))
    names = rows.drop_duplicates("depth").sort_values("depth")["layer"].tolist()
    runs, batches, steps = (sorted(rows[name].unique()) for name in ("run", "batch", "step"))
    order = [(run, batch, depth) for run in runs for batch in batches for depth in sorted(rows["depth"].unique())]
    wide = rows.pivot(index=["run", "batch", "depth"], columns="step", values=quantity).reindex(order)
    shape = (len(runs), len(batches), len(names), len(steps))
    bits = quantity in _BITS and (table["unit"].iloc[0] == "bits" if "unit" in table else True)
    return Curves(
        quantity,
        tuple(map(str, runs)),
        tuple(map(str, names)),
        np.asarray(steps),
        wide.to_numpy(dtype=np.float64).reshape(shape),
        _trouble(rows, quantity, runs, len(names)),
        FLOOR_BITS if bits else FLOOR_RELATIVE,
    )


def convergence_times(
    values: NDArray, steps: NDArray, tolerance: float = TOLERANCE, floor: float = FLOOR_BITS
) -> NDArray:
    """The time after which each curve stays within the tolerance of its final value.

    Args:
        values: Curves, (..., T), not smoothed.
        steps: Steps of the snapshots, (T,).
        tolerance: Tolerance, relative to the range.
        floor: Least range that the tolerance refers to, in the unit of the values.

    Returns:
        (...): a step; infinity where the last snapshot is outside; NaN where a curve is never outside, or holds
        NaN.
    """
    smoothed = smooth(values)
    end = final_value(smoothed, steps)
    allowed = tolerance * np.maximum(np.ptp(smoothed, axis=-1), floor)
    outside = np.abs(smoothed - end[..., None]) > allowed[..., None]
    reached = outside.shape[-1] - outside[..., ::-1].argmax(axis=-1)
    times = np.append(steps, np.inf)[np.minimum(reached, len(steps))]
    known = outside.any(axis=-1) & np.isfinite(values).all(axis=-1)
    return np.where(known, times, np.nan)


def smooth(values: NDArray) -> NDArray:
    """Median over 3 snapshots along the last axis; the first and the last stay as they are."""
    if values.shape[-1] < 3:
        return values
    before, here, after = values[..., :-2], values[..., 1:-1], values[..., 2:]
    low, high = np.minimum(before, here), np.maximum(before, here)
    inner = np.maximum(low, np.minimum(high, after))
    return np.concatenate([values[..., :1], inner, values[..., -1:]], axis=-1)


def final_value(values: NDArray, steps: NDArray) -> NDArray:
    """Mean over the last 5 %, as the module says."""
    return values[..., -last_snapshots(steps) :].mean(axis=-1)


def last_snapshots(steps: NDArray) -> int:
    """How many snapshots the last 5 % are."""
    inside = int((steps >= (1 - LAST_SHARE) * steps[-1]).sum())
    return min(len(steps), max(2, inside, int(np.ceil(LAST_SHARE * len(steps)))))


def layer_times(found: Curves, tolerance: float = TOLERANCE) -> pd.DataFrame:
    """Convergence time of every layer of every run, or why it has none.

    Args:
        found: The curves.
        tolerance: Tolerance, relative to the range.

    Returns:
        One row per run and layer: `run`, `layer`, `depth`, `time` (step; infinite, NaN if dropped), `range` and
        `final` of the mean over batches, its `standard_error` and the range `noise` alone would span (NaN without
        batches), `dropped`: the reason, "" if it is not.
    """
    means = found.values.mean(axis=1)
    times = convergence_times(means, found.steps, tolerance, found.floor)
    smoothed = smooth(means)
    ranges, final = np.ptp(smoothed, axis=-1), final_value(smoothed, found.steps)
    errors = standard_errors(found.values)
    needed = noise_range(len(found.steps)) * errors
    rows = []
    for r, run in enumerate(found.runs):
        for place, layer in enumerate(found.layers):
            here = (r, place)
            reason = found.trouble[here] or _still(ranges[here], needed[here], times[here])
            numbers = {"range": ranges[here], "standard_error": errors[here], "noise": needed[here]}
            numbers["final"] = final[here]
            time = np.nan if reason else times[here]
            about: dict[str, Any] = {"run": run, "layer": layer, "depth": place + 1, "time": time}
            rows.append(about | numbers | {"dropped": reason})
    return pd.DataFrame(rows)


def standard_errors(values: NDArray) -> NDArray:
    """Standard error of a curve's values from the choice of samples, levels of the batches apart.

    A batch that is higher than another at all times says nothing about changes over time, so the spread is that of
    the residuals of batch + snapshot (the interaction of a two-way analysis of variance).

    Args:
        values: (..., B, L, T).

    Returns:
        (..., L); NaN for one batch, or one snapshot.
    """
    batches, snapshots = values.shape[-3], values.shape[-1]
    if batches < 2 or snapshots < 2:
        return np.full((*values.shape[:-3], values.shape[-2]), np.nan)
    residuals = values - values.mean(axis=-1, keepdims=True)
    residuals = residuals - residuals.mean(axis=-3, keepdims=True)
    variance = np.square(residuals).sum(axis=(-3, -1)) / ((batches - 1) * (snapshots - 1))
    return np.asarray(np.sqrt(variance / batches))


@functools.cache
def noise_range(snapshots: int) -> float:
    """How many standard errors noise alone spans over so many snapshots, in 95 % of cases; at least 3."""
    if snapshots < 2:
        return STANDARD_ERRORS
    return max(STANDARD_ERRORS, float(studentized_range.ppf(NOISE_LEVEL, snapshots, np.inf)))


def _still(spread: float, needed: float, time: float) -> str:
    if spread < needed:
        return f"range {spread:.2g} is within noise, which spans {needed:.2g}"
    return f"never outside the tolerance (range {spread:.2g})" if np.isnan(time) else ""


def _common(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows at the steps that all runs have, of runs that can stand side by side."""
    groups = rows.groupby("run")
    first = str(rows["run"].iloc[0])
    for what, columns in (("layers", ["depth", "layer"]), ("batches", ["batch"])):
        sets = {str(run): set(map(tuple, part[columns].to_numpy())) for run, part in groups}
        for run, found in sets.items():
            if found != sets[first]:
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
    found = np.full((len(runs), layers), "", dtype=object)
    places = sorted(rows["depth"].unique())
    for (run, depth), part in marked.groupby(["run", "depth"]):
        here = (runs.index(run), places.index(depth))
        snapshots = part["step"].nunique()
        known = measured(part["status"])
        bad = part[~known | part[quantity].isna()]
        if len(bad):
            status = next(iter(bad.loc[~known, "status"]), "not measured")
            found[here] = f"{status} at {bad['step'].nunique()} of {snapshots} snapshots"
        elif flag in part and part[flag].mean() >= 0.5:
            found[here] = f"saturated at {part.loc[part[flag], 'step'].nunique()} of {snapshots} snapshots"
    return found
