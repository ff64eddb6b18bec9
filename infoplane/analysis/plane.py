"""The information plane as a table: which points can be read, and their means over runs.

A kernel that is too narrow puts I(X;T) at log2 n and I(T;Y) at H(Y) whatever the network does, and one that
is too wide puts both at 0. Such points are marked here, once, so that every table, verdict and figure says
the same about them. When a value is no better than its null is decided in `infoplane.estimators.nulls`, as the
estimates say so too.
"""

from __future__ import annotations

import fnmatch
import html
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from infoplane.analysis.stats import interval_table
from infoplane.errors import InfoplaneError, unknown
from infoplane.estimators.nulls import AT_NULL, OK, ROUNDING, at_null, chance_deviations, input_pairings, measured
from infoplane.runfile import is_metric_name
from infoplane.words import settings_text, symbol, target_limit, target_text

SETTINGS = (
    *("estimator", "unit", "target", "alpha", "kernel", "bandwidth", "scope", "input_bandwidth"),
    *("target_bandwidth", "dtype", "tolerance", "permutations", "input_permutations"),
    *("bins", "noise", "neighbours", "batches", "batch_size"),
)
FLAGS = ("saturated_x", "saturated_y", "at_null", "at_null_x", "uninformative")
QUANTITIES = (
    *("I_XT", "I_XT_null", "I_XT_corrected", "I_TY", "I_TY_null", "I_TY_corrected"),
    *("S_T", "S_Y", "epoch"),
)
# Those that differ from batch to batch, for which there are standard errors and intervals.
SAMPLED = (
    *("I_XT", "I_XT_null", "I_XT_corrected", "I_TY", "I_TY_null", "I_TY_corrected"),
    "S_T",
)
SATURATION = 0.01

SHARED = ("dataset", "model", "n", "classes", *SETTINGS)
_NEEDED = ("run", "layer", "depth", "step", "dataset", "model", "n", "classes", "estimator", "permutations")
_LIMITS = ("limit_XT", "limit_TY")
# Why runs that differ so are not averaged.
_WHY_APART = {
    "n": "values depend on the probe size and can't be compared",
    "classes": "their probes hold other classes; record them on one probe, or draw them apart",
}
# What tells the rows of one batch from those of others: all but the number of the batch.
_PLACE = ("run", *SETTINGS, "step", "depth", "layer")


@dataclass(frozen=True)
class Plane:
    """The information plane of one run, or of several as their mean.

    Attributes:
        table: One row per layer and step, as `plane_table` gives it.
        metrics: One row per step, as `metrics_table` gives it; None without.

    Example:
        >>> plane = ip.information_plane("own.h5")
        >>> plane.layers
        ('hidden', 'logits')
        >>> plane.names["I_XT"], round(plane.limits["I_XT"], 2)  # log2 of the 64 samples of the probe
        ('I(X;T)', 6.0)
    """

    table: pd.DataFrame
    metrics: pd.DataFrame | None = None

    @classmethod
    def of(cls, estimates: pd.DataFrame, metrics: pd.DataFrame | None = None) -> Plane:
        """The plane of runs from what was estimated and measured.

        Args:
            estimates: One row per run, snapshot, layer and batch.
            metrics: One row per run and snapshot; None without.

        Raises:
            InfoplaneError: As for `plane_table` and `metrics_table`.
        """
        return cls(plane_table(estimates), None if metrics is None else metrics_table(metrics))

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, from the input to the output."""
        return tuple(self.table.sort_values("depth")["layer"].unique())

    def only(self, layers: Iterable[str] = (), steps: Iterable[int] = ()) -> Plane:
        """A part of the plane.

        Args:
            layers: Names or patterns of layers, such as "conv*"; none takes all.
            steps: Training steps; none takes all.

        Raises:
            InfoplaneError: No layer is called so, or a step was not recorded.

        Example:
            >>> ip.information_plane("own.h5").only(layers=["hid*"], steps=[0, 20]).table["step"].tolist()
            [0, 20]
        """
        kept = self.table
        patterns, wanted = list(layers), list(steps)
        for pattern in patterns:
            if not fnmatch.filter(self.layers, pattern):
                raise unknown("layer", pattern, self.layers)
        names = {name for pattern in patterns for name in fnmatch.filter(self.layers, pattern)} or {*self.layers}
        known = {int(step) for step in kept["step"]}
        if strangers := sorted({*wanted} - known):
            nearest = min(known, key=lambda step: abs(step - strangers[0]))
            raise InfoplaneError(f"step {strangers[0]} was not recorded by all runs; the nearest is {nearest}")
        rows = kept["layer"].isin(names) & kept["step"].isin(wanted or known)
        metrics = self.metrics
        if metrics is not None and wanted:
            metrics = metrics[metrics["step"].isin(wanted)].reset_index(drop=True)
        return Plane(kept[rows].reset_index(drop=True), metrics)

    @property
    def corrected(self) -> tuple[str, str]:
        """The columns of the corrected plane; I_XT is raw where permuted pairings say nothing of it."""
        return corrected_axes(self.table)

    @property
    def names(self) -> dict[str, str]:
        """Names of the quantities in the columns I_XT and I_TY: informations, or dependence measures."""
        return {name: symbol(name, self.table) for name in ("I_XT", "I_TY")}

    @property
    def limits(self) -> dict[str, float]:
        """The largest I_XT and I_TY that the estimator can give, in their unit; NaN where it has no limit."""
        return dict(zip(("I_XT", "I_TY"), limits(self.table), strict=True))

    @property
    def settings(self) -> str:
        """The estimator and the settings that decided the numbers, in words."""
        return settings_text(self.table.iloc[0])

    @property
    def with_metrics(self) -> pd.DataFrame:
        """The table with the metrics of each step beside its layers; names that both have end in `_metric`."""
        if self.metrics is None:
            return self.table
        return self.table.merge(self.metrics, on="step", how="left", suffixes=("", "_metric"))

    @property
    def final(self) -> pd.DataFrame:
        """The last step, a row for each layer: the quantities, their nulls, what is above them, the status."""
        last = self.table[self.table["step"] == self.table["step"].max()].set_index("layer")
        columns = ("I_XT", "I_XT_null", "I_XT_corrected", "I_TY", "I_TY_null", "I_TY_corrected", "status")
        return last[[name for name in columns if name in last]]

    def __repr__(self) -> str:
        return f"{self._heading()}\n{self.final.to_string(float_format='{:.3f}'.format)}"

    def _repr_html_(self) -> str:
        """The plane in a notebook."""
        return f"<p>{html.escape(self._heading())}</p>\n{self.final.to_html(float_format='{:.3f}'.format)}"

    def _heading(self) -> str:
        """A line that says what was measured, of how many runs, and which step is shown."""
        row, steps, runs = self.table.iloc[0], self.table["step"], int(self.table["runs"].max())
        return (
            f"{row['model']} on {row['dataset']}: {len(self.layers)} layers at {steps.nunique()} steps, "
            f"n = {row['n']}, {target_text(row)}, {runs} run{'s' if runs > 1 else ''}; {self.settings}; "
            f"at step {steps.max()}:"
        )


def mark_saturation(estimates: pd.DataFrame) -> pd.DataFrame:
    """Mark the estimates that say nothing about the network.

    Args:
        estimates: One row per run, snapshot and layer, with `n`, `status` and, in bits, `I_XT`, `I_TY`, `S_Y`,
            `I_TY_null` and `I_TY_null_std`.

    The limits are `limit_XT` and `limit_TY`, the largest values that the estimator can give (NaN: it has none, as
    the dependence measures), and log2 n and H(Y) where a table has no such columns.

    Returns:
        A copy with five boolean columns more: `saturated_x` (I(X;T) within 1 % of its limit or, for the Rényi
        entropies, S(T) within 1 % of it: then I(X;T) = S(X) for any network), `saturated_y`
        (I(T;Y) within 1 % of its limit), `at_null` (I(T;Y) at most its permuted null plus two standard deviations),
        `at_null_x` (I(X;T) no further above its null than another pairing comes in 95 of 100 cases, by Student's t,
        as there are few of them) and `uninformative` (any of the four). Rows without values are in none of them.
    """
    marked = estimates.copy()
    ok = measured(marked["status"])
    i_xt, i_ty = marked["I_XT"], marked["I_TY"]
    limit_x = marked.get("limit_XT", np.log2(marked["n"]))
    limit_y = marked.get("limit_TY", marked["S_Y"])
    at_limit = i_xt >= (1 - SATURATION) * limit_x - ROUNDING
    if {"estimator", "S_T"} <= set(marked):
        # A Gram matrix of T that tells all distinct inputs apart gives I(X;T) = S(X) whatever the network does.
        identity = marked["S_T"] >= (1 - SATURATION) * limit_x - ROUNDING
        at_limit |= identity & (marked["estimator"] == "renyi")
    marked["saturated_x"] = ok & at_limit
    marked["saturated_y"] = ok & (i_ty >= (1 - SATURATION) * limit_y - ROUNDING)
    marked["at_null"] = ok & _at_null(marked)
    marked["at_null_x"] = ok & _at_null_x(marked)
    marked["uninformative"] = marked[["saturated_x", "saturated_y", "at_null", "at_null_x"]].any(axis=1)
    return marked


def _at_null_x(rows: pd.DataFrame) -> pd.Series | bool:
    """Where I(X;T) is no better than its permuted null, if there is one."""
    if not {"I_XT_null", "I_XT_null_std"} <= set(rows):
        return False
    deviations = chance_deviations(input_pairings(rows))
    return at_null(rows["I_XT"], rows["I_XT_null"], rows["I_XT_null_std"], deviations)


def _at_null(rows: pd.DataFrame) -> pd.Series:
    """Where I(T;Y) is no better than its permuted null."""
    return at_null(rows["I_TY"], rows["I_TY_null"], rows["I_TY_null_std"])


def average_batches(estimates: pd.DataFrame) -> pd.DataFrame:
    """Means and standard errors over the batches of each run.

    Args:
        estimates: One row per snapshot, layer and batch, for one or several estimators (and runs), as
            `estimate_run` gives it.

    Returns:
        One row where there was one for each batch, in the same order: every number its mean, and beside those of
        `SAMPLED` the standard error `<name>_se` = standard deviation / √batches (ddof=1; NaN for one batch). It
        is the error from the choice of samples. The status of several batches is "at null" where the mean is no
        better than the mean null; a single row keeps its own. A layer that has no estimate on some of the batches
        has no mean either.
    """
    return _averaged(_complete(estimates))


def _averaged(estimates: pd.DataFrame) -> pd.DataFrame:
    """As `average_batches`, of estimates that are complete."""
    keys = [name for name in _PLACE if name in estimates]
    groups = estimates.groupby(keys, sort=False, dropna=False)
    numbers = [name for name in estimates.select_dtypes("number") if name not in (*keys, "batch")]
    others = [name for name in estimates if name not in (*keys, *numbers, "batch", "status")]
    table = groups[numbers].mean().astype({name: estimates[name].dtype for name in ("n",) if name in numbers})
    for name in _sampled(estimates):
        table[f"{name}_se"] = groups[name].sem(ddof=1)
    means = _with_null(groups["status"].agg(_trouble), _at_null(table))
    table["status"] = means.where(groups.size() > 1, groups["status"].first())
    return table.join(groups[others].first()).reset_index()


def _complete(estimates: pd.DataFrame) -> pd.DataFrame:
    """The estimates without those of layers that have none on another batch of the same snapshot."""
    keys = [name for name in _PLACE if name in estimates]
    lacking = (~measured(estimates["status"])).groupby([estimates[key] for key in keys], dropna=False)
    names = _sampled(estimates)
    return estimates.assign(**estimates[names].mask(lacking.transform("any")))


def plane_table(estimates: pd.DataFrame) -> pd.DataFrame:
    """Average the estimates of one or several runs at the steps that all of them have.

    Args:
        estimates: One row per run, snapshot, layer and batch, as `infoplane estimate` writes it.

    Returns:
        One row per layer and step, sorted by depth and step: `depth`, `layer`, `step`; the mean over runs of
        `I_XT`, `I_TY`, `I_TY_null`, `I_TY_corrected`, `S_T`, `S_Y` (bits, unless `unit` says otherwise) and
        `epoch`, each with its standard deviation over runs in `<name>_sd` (ddof=1; NaN for one run); for those
        of `SAMPLED` also `<name>_se`, the standard error of the mean from the batches alone (NaN without), and
        `<name>_low` and `<name>_high`, the 95 % interval of Student's t over runs, or over the batches of one run
        (NaN with fewer than three); `runs`, the number of runs in the mean (those that have an estimate there);
        the flags of `mark_saturation`, true where they hold in at least half of these runs; the limits it
        compared with; `status`, the trouble of any run, otherwise "at null" where that flag is true and "ok" where
        it is not; of `I_XT_null` and `I_XT_corrected`, where there are any, means and deviations too; and, the same
        in every row, data set, model, n, number of classes and settings.

    Raises:
        InfoplaneError: If the runs differ in n, data set, model, classes, layers or settings, or share no step.
    """
    refuse_mixture(estimates)
    common = _complete(common_steps(estimates))
    marked = mark_saturation(_averaged(common))
    ok = measured(marked["status"])
    # Unmeasured rows become NaN, which pandas leaves out of means, counts and shares alike.
    flags = marked[list(FLAGS)].astype(float).where(ok)
    marked = marked.assign(measured=marked["run"].where(ok), **{name: flags[name] for name in FLAGS})
    groups = marked.groupby(["depth", "layer", "step"], sort=True)
    table = _mean_and_deviation(groups, [name for name in QUANTITIES if name in marked])
    table["runs"] = groups["measured"].nunique()
    for name in _sampled(marked):
        squares = marked[f"{name}_se"].pow(2).groupby([marked[key] for key in groups.keys]).sum(min_count=1)
        table[f"{name}_se"] = np.sqrt(squares) / table["runs"]
    batched = common.assign(batch=common.get("batch", 0))
    sampled = _sampled(common)
    table = table.join(interval_table(batched, ["depth", "layer", "step"], sampled).drop(columns=sampled))
    table[[name for name in _LIMITS if name in marked]] = groups[[n for n in _LIMITS if n in marked]].mean()
    table[list(FLAGS)] = groups[list(FLAGS)].mean() >= 0.5
    table["status"] = _with_null(groups["status"].agg(_trouble), table["at_null"])
    shared = {name: estimates[name].iloc[0] for name in SHARED if name in estimates}
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
    common = common_steps(metrics)
    names = [*filter(is_metric_name, common.select_dtypes("number").columns)]
    groups = common.groupby("step", sort=True)
    table = pd.DataFrame({"epoch": groups["epoch"].mean(), "runs": groups["run"].nunique()})
    return table.join(_mean_and_deviation(groups, names)).reset_index()


def corrected_axes(table: pd.DataFrame) -> tuple[str, str]:
    """The columns of the corrected plane of a table; I_XT is raw where permuted pairings say nothing of it."""
    measured_null = "I_XT_corrected" in table and table["I_XT_corrected"].notna().any()
    return ("I_XT_corrected" if measured_null else "I_XT"), "I_TY_corrected"


def _sampled(table: pd.DataFrame) -> list[str]:
    """The quantities of `SAMPLED` that a table has."""
    return [name for name in SAMPLED if name in table]


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
        limit_x, limit_y = limits(rows)
        named = "log2 n" if np.isclose(limit_x, np.log2(rows["n"].iloc[0])) else "its limit"
        near = ~(rows["I_XT"] < (1 - SATURATION) * limit_x - ROUNDING)
        what = symbol("I_TY", rows)
        kinds = {
            f"I(X;T) saturated at {named} = {limit_x:.2f} bits": rows["saturated_x"] & near,
            f"I(X;T) saturated at S(X), with S(T) at {named}": rows["saturated_x"] & ~near,
            f"I(T;Y) saturated at {target_limit(rows)} = {limit_y:.2f} bits": rows["saturated_y"],
            f"{symbol('I_XT', rows)} no better than its permuted null": rows["at_null_x"],
            f"{what} no better than its permuted null": rows["at_null"],
        }
        troubles = rows.loc[~measured(rows["status"]), "status"].unique()
        kinds |= {str(status): rows["status"] == status for status in troubles}
        sentences += [f"{layer}: {kind} {_when(rows, where)}" for kind, where in kinds.items() if where.any()]
    return sentences


def limits(table: pd.DataFrame) -> tuple[float, float]:
    """The largest I(X;T) and I(T;Y) that the estimator can give, means over the rows; NaN where it has no limit."""
    if "limit_XT" in table:
        return float(table["limit_XT"].mean()), float(table["limit_TY"].mean())
    return float(np.log2(table["n"].iloc[0])), float(table["S_Y"].mean())


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


def _trouble(statuses: pd.Series) -> str:
    """The first status that says why there is no value; "ok" without."""
    return str(next(iter(statuses[~measured(statuses)]), OK))


def _with_null(statuses: pd.Series, null: pd.Series) -> pd.Series:
    """The statuses, "at null" in the place of "ok" where it is so."""
    return statuses.mask((statuses == OK) & null, AT_NULL)


def common_steps(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows at steps that every run has."""
    if rows.empty:
        raise InfoplaneError("nothing to average: the table has no rows")
    runs_at = rows.groupby("step")["run"].nunique()
    common = runs_at.index[runs_at == rows["run"].nunique()]
    if common.empty:
        raise InfoplaneError("the runs have no training step in common; record them with the same schedule")
    return rows[rows["step"].isin(common)]


def refuse_mixture(estimates: pd.DataFrame) -> None:
    """Refuse runs whose values can't be averaged."""
    if estimates.empty:
        raise InfoplaneError("nothing to average: there are no estimates")
    missing = [name for name in _NEEDED if name not in estimates]
    if missing:
        raise InfoplaneError(f"the estimates lack {', '.join(missing)}; make them with `infoplane estimate`")
    for name in (name for name in SHARED if name in estimates):
        values = estimates[name].unique()
        if len(values) > 1:
            why = _WHY_APART.get(name, "draw them apart")
            raise InfoplaneError(f"the runs differ in {name} ({', '.join(map(str, values))}); {why}")
    layers = {
        str(run): set(zip(rows["depth"], rows["layer"], strict=True)) for run, rows in estimates.groupby("run")
    }
    first = next(iter(layers))
    for run in layers:
        if layers[run] != layers[first]:
            raise InfoplaneError(f"runs {first} and {run} have different layers; draw them apart")
