"""Methods side by side: test scores over seeds, paired differences to a reference, cost.

The criteria were fixed before any run. A method is *comparable* to the reference where the lower end of the paired
95 % interval of its difference in accuracy is no more than a margin below 0. It is *better* or *worse* where the
paired t-test over seeds says so at 5 % after Holm's correction over all methods of the table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from infoplane.analysis.comparison.cells import decoded
from infoplane.analysis.comparison.results import MEASURES
from infoplane.analysis.stats import LEVEL, holm, over_seeds, student_interval
from infoplane.errors import InfoplaneError

MARGIN = 0.01
_ROUNDING = 1e-6  # accuracies are of single precision, in which equal numbers of right samples differ by 1e-7


def comparison_table(runs: pd.DataFrame, reference: str = "sgd", margin: float = MARGIN) -> pd.DataFrame:
    """Means over seeds, and paired differences to a reference.

    Args:
        runs: A table of `infoplane.analysis.comparison.results.runs_table`.
        reference: The variant that the others are compared with.
        margin: How far below the reference a comparable method may be, in accuracy.

    Returns:
        One row per variant, the reference first: `variant`, `method`, `subject`, `device` (all of its
        runs), `batch_size`, `lr`, `lr_trials`, `seeds`, `diverged` (how many of these ended without a finite loss);
        each measure's mean, and its standard deviation over seeds in `<name>_sd` (ddof=1), NaN unless all of the
        variant's runs have it; `pairs`, how many seeds are the reference's too; over these `gap`, the mean paired
        difference in test accuracy, with the 95 % interval of Student's t `gap_low`, `gap_high`; `p`, two-sided
        paired t-test; `p_holm`; `verdict`: better, worse, comparable or "not shown to be comparable", "" for the
        reference and where fewer than three seeds are shared.

    Raises:
        InfoplaneError: The reference is not among the variants, a seed stands twice in a variant, or the margin is
            impossible.
    """
    refuse_margin(margin)
    if reference not in set(runs["variant"]):
        names = ", ".join(runs["variant"].unique())
        raise InfoplaneError(f"there is no finished run of '{reference}' to compare with; there are {names}")
    if runs.duplicated(["variant", "seed"]).any():
        raise InfoplaneError("a seed stands twice in a variant; keep one run for each seed")
    accuracy = runs.pivot(index="seed", columns="variant", values="test_accuracy")
    order = [reference, *(name for name in runs["variant"].unique() if name != reference)]
    rows = [_summary(runs[runs["variant"] == name], accuracy[name], accuracy[reference]) for name in order]
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p"].to_numpy(dtype=float))
    table["verdict"] = [_verdict(row, margin) for _, row in table.iterrows()]
    return table


def refuse_margin(margin: float) -> None:
    """Lets no margin pass that is no difference in accuracy.

    Raises:
        InfoplaneError: It is not between 0 and 1.
    """
    if not 0 <= margin <= 1:
        raise InfoplaneError(f"a margin of {margin:g} is no difference in accuracy; choose one from 0 to 1")


def first_reference(runs: pd.DataFrame) -> str:
    """The variant that others are compared with where none is named: sgd, or else the first that is end to end.

    Args:
        runs: A table of `infoplane.analysis.comparison.results.runs_table`.
    """
    whole = runs.loc[runs["method"].str.startswith("sgd"), "variant"]
    if (whole == "sgd").any():
        return "sgd"
    return str((whole if len(whole) else runs["variant"]).iloc[0])


def cost_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Memory and time of each variant, averaged over seeds.

    Args:
        runs: A table of `infoplane.analysis.comparison.results.runs_table`.

    Returns:
        One row per variant: `variant`, `method`, `subject`, `device`,
        `batch_size`, `seeds`; `peak_bytes`, `saved_bytes`,
        `cache_bytes` and `seconds` with the ends of their intervals in `<name>_low` and `<name>_high`.
    """
    keys = ("variant", "method", "subject", "device", "batch_size")
    return over_seeds(runs, keys, ["peak_bytes", "saved_bytes", "cache_bytes", "seconds"])


def paired_difference(left: NDArray, right: NDArray) -> tuple[float, float, float, float]:
    """Mean paired difference with its 95 % interval and two-sided p by Student's t.

    Args:
        left: Values of one method, (seeds,); NaN where a seed is missing.
        right: Values of another at the same seeds, (seeds,).

    Returns:
        Mean difference, lower end, upper end, p; the last three NaN with fewer than three seeds in common. Where
        all differences are the same, up to rounding, they tell nothing of their spread: p is that of a sign test
        then.
    """
    differences = left - right
    mean, low, high = (float(value) for value in student_interval(differences))
    if not np.isfinite(low):
        return mean, low, high, np.nan
    shared = np.isfinite(differences)
    known, rounding = differences[shared], _ROUNDING * np.abs([left[shared], right[shared]]).max()
    if np.ptp(known) <= rounding:
        return mean, mean, mean, 1.0 if abs(mean) <= rounding else 2.0 ** (1 - len(known))
    return mean, low, high, float(stats.ttest_1samp(known, 0).pvalue)


def mean_of_all(values: pd.Series) -> float:
    """The mean over runs, NaN unless every one of them has a value: another choice of runs is another mean."""
    return float(values.mean(skipna=False))


def _diverged(rows: pd.DataFrame) -> int:
    """How many runs ended without a finite loss."""
    curves = [decoded(cell) or {} for cell in rows["curves"]] if "curves" in rows else []
    losses = [[column for name, column in of_run.items() if name.endswith("_loss") and column] for of_run in curves]
    return sum(any(column[-1] is None for column in columns) for columns in losses)


def _summary(rows: pd.DataFrame, values: pd.Series, reference: pd.Series) -> dict[str, Any]:
    known = ("variant", "method", "subject", "device", "batch_size", "lr", "lr_trials")
    summary = {name: rows[name].iloc[0] for name in known if name in rows} | {"seeds": len(rows)}
    summary["diverged"] = _diverged(rows)
    if "device" in rows:
        summary["device"] = " and ".join(rows["device"].unique())
    for name in MEASURES:
        mean = mean_of_all(rows[name])
        summary |= {name: mean, f"{name}_sd": rows[name].std(ddof=1) if np.isfinite(mean) else np.nan}
    summary["pairs"] = int((values.notna() & reference.notna()).sum())
    if values.name == reference.name:
        return summary | dict.fromkeys(("gap", "gap_low", "gap_high", "p"), np.nan)
    gap, low, high, p = paired_difference(values.to_numpy(dtype=float), reference.to_numpy(dtype=float))
    return summary | {"gap": gap, "gap_low": low, "gap_high": high, "p": p}


def is_comparable(gap_low: float, margin: float) -> bool:
    """Whether the lower end of a gap in accuracy is within a margin, up to rounding."""
    return gap_low >= -margin - _ROUNDING


def _verdict(row: pd.Series, margin: float) -> str:
    if not np.isfinite(row["p"]):
        return ""
    if row["p_holm"] < 1 - LEVEL and row["gap"] > 0:
        return "better"
    if is_comparable(row["gap_low"], margin):
        return "comparable"
    return "worse" if row["p_holm"] < 1 - LEVEL else "not shown to be comparable"
