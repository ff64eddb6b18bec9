"""The information plane as a table: which points can be read, and their means over runs.

A kernel that is too narrow puts I(X;T) at log2 n and I(T;Y) at H(Y) whatever the network does, and one that
is too wide puts both at 0. Such points are marked here, once, so that every table, verdict and figure says
the same about them.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from infoplane.errors import InfoplaneError

SETTINGS = ("estimator", "alpha", "kernel", "bandwidth", "scope", "input_bandwidth", "permutations")
FLAGS = ("saturated_x", "saturated_y", "at_null", "uninformative")
QUANTITIES = ("I_XT", "I_TY", "I_TY_null", "I_TY_corrected", "S_T", "S_Y", "epoch")
SATURATION = 0.01
NULL_DEVIATIONS = 2.0
ROUNDING = 1e-9

_SHARED = ("dataset", "model", "n", "classes", *SETTINGS)
_NOT_METRICS = ("run", "seed", "snapshot", "step", "epoch")


def mark_saturation(estimates: pd.DataFrame) -> pd.DataFrame:
    """Mark the estimates that say nothing about the network.

    Args:
        estimates: One row per run, snapshot and layer, with `n`, `status` and, in bits, `I_XT`, `I_TY`, `S_Y`,
            `I_TY_null` and `I_TY_null_std`.

    Returns:
        A copy with four boolean columns more: `saturated_x` (I(X;T) within 1 % of log2 n), `saturated_y`
        (I(T;Y) within 1 % of H(Y)), `at_null` (I(T;Y) at most its permuted-label null plus two standard
        deviations) and `uninformative` (any of the three). Rows whose status is not "ok" are in none of them.
    """
    marked = estimates.copy()
    ok = marked["status"] == "ok"
    i_xt, i_ty = marked["I_XT"], marked["I_TY"]
    null = marked["I_TY_null"] + NULL_DEVIATIONS * marked["I_TY_null_std"].fillna(0)
    marked["saturated_x"] = ok & (i_xt >= (1 - SATURATION) * np.log2(marked["n"]) - ROUNDING)
    marked["saturated_y"] = ok & (i_ty >= (1 - SATURATION) * marked["S_Y"] - ROUNDING)
    marked["at_null"] = ok & (i_ty <= null + ROUNDING)
    marked["uninformative"] = marked[["saturated_x", "saturated_y", "at_null"]].any(axis=1)
    return marked


def plane_table(estimates: pd.DataFrame) -> pd.DataFrame:
    """Average the estimates of one or several runs at the steps that all of them have.

    Args:
        estimates: One row per run, snapshot and layer, as `infoplane estimate` writes it; information in bits.

    Returns:
        One row per layer and step, sorted by depth and step: `depth`, `layer`, `step`; the mean over runs of
        `I_XT`, `I_TY`, `I_TY_null`, `I_TY_corrected`, `S_T`, `S_Y` (bits) and `epoch`, each with its standard
        deviation in `<name>_sd` (ddof=1; NaN for one run); `runs`, the number of runs in the mean (those that
        have an estimate there); the flags of `mark_saturation`, true where they hold in at least half of these
        runs; `status`, "ok" if it is so in all runs and otherwise the trouble; and, the same in every row, data
        set, model, n, number of classes and settings.

    Raises:
        InfoplaneError: If the runs differ in n, data set, model, classes, layers or settings, or share no step.
    """
    _refuse_mixture(estimates)
    marked = mark_saturation(_common_steps(estimates))
    ok = marked["status"] == "ok"
    # Unmeasured rows become NaN, which pandas leaves out of means, counts and shares alike.
    flags = marked[list(FLAGS)].astype(float).where(ok)
    marked = marked.assign(measured=marked["run"].where(ok), **{name: flags[name] for name in FLAGS})
    groups = marked.groupby(["depth", "layer", "step"], sort=True)
    table = _mean_and_deviation(groups, QUANTITIES)
    table["runs"] = groups["measured"].nunique()
    table[list(FLAGS)] = groups[list(FLAGS)].mean() >= 0.5
    table["status"] = groups["status"].agg(_worst)
    shared = {name: estimates[name].iloc[0] for name in _SHARED}
    return table.reset_index().assign(**shared)


def metrics_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """Average the training metrics of one or several runs at the steps that all of them have.

    Args:
        metrics: One row per run and snapshot: `run`, `snapshot`, `step`, `epoch` and any metrics.

    Returns:
        One row per step: `step`, `epoch`, `runs`, and for each numeric metric its mean over runs and its
        standard deviation in `<name>_sd` (ddof=1; NaN for one run), in the metric's own unit.

    Raises:
        InfoplaneError: If there are no metrics, or the runs share no step.
    """
    common = _common_steps(metrics)
    names = [name for name in common.select_dtypes("number").columns if name not in _NOT_METRICS]
    groups = common.groupby("step", sort=True)
    table = pd.DataFrame({"epoch": groups["epoch"].mean(), "runs": groups["run"].nunique()})
    return table.join(_mean_and_deviation(groups, names)).reset_index()


def saturation_summary(table: pd.DataFrame) -> list[str]:
    """Say in plain words which layers are uninformative or unmeasured, and how often.

    Args:
        table: A table of `plane_table`.

    Returns:
        One short sentence per layer and kind, by depth, such as "conv1: I(X;T) saturated at log2 n = 8.97 bits
        at 37 of 40 snapshots"; empty if every point can be read.
    """
    sentences = []
    for (_, layer), rows in table.groupby(["depth", "layer"], sort=True):
        limit_x, limit_y = np.log2(rows["n"].iloc[0]), rows["S_Y"].mean()
        kinds = {
            f"I(X;T) saturated at log2 n = {limit_x:.2f} bits": rows["saturated_x"],
            f"I(T;Y) saturated at H(Y) = {limit_y:.2f} bits": rows["saturated_y"],
            "I(T;Y) no better than its permuted null": rows["at_null"],
        }
        kinds |= {str(status): rows["status"] == status for status in rows["status"].unique() if status != "ok"}
        sentences += [f"{layer}: {kind} {_when(rows, where)}" for kind, where in kinds.items() if where.any()]
    return sentences


def _when(rows: pd.DataFrame, where: pd.Series) -> str:
    """At which of a layer's snapshots, in as few words as possible."""
    if where.sum() == 1:
        return f"at step {rows.loc[where, 'step'].iloc[0]}"
    return f"at {where.sum()} of {len(rows)} snapshots"


def _mean_and_deviation(groups, names: Iterable[str]) -> pd.DataFrame:  # type: ignore[no-untyped-def]
    """For each name its mean and, beside it, its standard deviation over a group's rows."""
    columns = {}
    for name in names:
        columns[name] = groups[name].mean()
        columns[f"{name}_sd"] = groups[name].std(ddof=1)
    return pd.DataFrame(columns)


def _worst(statuses: pd.Series) -> str:
    """The first status that is not "ok", if any."""
    return next((str(status) for status in statuses if status != "ok"), "ok")


def _common_steps(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows at steps that every run has."""
    if rows.empty:
        raise InfoplaneError("nothing to average: the table has no rows")
    runs_at = rows.groupby("step")["run"].nunique()
    common = runs_at.index[runs_at == rows["run"].nunique()]
    if common.empty:
        raise InfoplaneError("the runs have no training step in common; record them with the same schedule")
    return rows[rows["step"].isin(common)]


def _refuse_mixture(estimates: pd.DataFrame) -> None:
    """Refuse runs whose values can't be averaged."""
    if estimates.empty:
        raise InfoplaneError("nothing to average: there are no estimates")
    missing = [name for name in ("run", "layer", "depth", "step", *_SHARED) if name not in estimates]
    if missing:
        raise InfoplaneError(f"the estimates lack {', '.join(missing)}; make them with `infoplane estimate`")
    for name in _SHARED:
        values = estimates[name].unique()
        if len(values) > 1:
            why = "values depend on the probe size and can't be compared" if name == "n" else "draw them apart"
            raise InfoplaneError(f"the runs differ in {name} ({', '.join(map(str, values))}); {why}")
    layers = {
        str(run): set(zip(rows["depth"], rows["layer"], strict=True)) for run, rows in estimates.groupby("run")
    }
    first = next(iter(layers))
    for run in layers:
        if layers[run] != layers[first]:
            raise InfoplaneError(f"runs {first} and {run} have different layers; draw them apart")
