"""The tables of a comparison as people read them: accuracy, costs, and both side by side."""

from __future__ import annotations

from typing import Any

import pandas as pd

from infoplane.analysis.comparison.measures import LEAST_RISE
from infoplane.analysis.comparison.results import subjects
from infoplane.reporting.tables import plus_minus, shown_p

MIB = 2**20
Shown = tuple[pd.DataFrame, str, str]


def show(table: pd.DataFrame, margin: float) -> Shown:
    """Accuracy and costs side by side.

    Args:
        table: A table of `infoplane.analysis.comparison.methods.comparison_table`, the reference first.
        margin: The margin of its verdicts, in accuracy.

    Returns:
        The table in words, with units, its caption, and what should stand below it.
    """
    (scores, caption, about_scores), (costs, _, about_costs) = show_accuracy(table, margin), show_costs(table)
    shown = scores.join(costs.drop(columns="method"))
    return shown, caption, f"{about_scores} {about_costs}"


def show_accuracy(table: pd.DataFrame, margin: float) -> Shown:
    """Scores, gaps to the reference and verdicts; arguments and result as of `show`."""
    reference = table["variant"].iloc[0]
    columns = {
        "method": table["variant"],
        "seeds": _seeds(table),
        "test accuracy [%]": _pairs(table, "test_accuracy", 100),
        "box IoU [%]": _pairs(table, "test_iou", 100),
        f"gap to {reference} [points]": [shown_gap(row) for _, row in table.iterrows()],
        "p (Holm)": [shown_p(value) for value in table["p_holm"]],
        "verdict": table["verdict"].replace("", "–"),
    }
    note = (
        "Gap: mean paired difference in accuracy over the seeds that both have, with its 95 % interval (Student's "
        f"t). Comparable: the lower end is at least −{100 * margin:g} points; better, worse: paired t-test, p < "
        "0.05 after Holm's correction; no verdict under three seeds. Test accuracy of the last epoch."
        + _tuning(table)
    )
    caption = f"Methods of training{_subject(table)} against {reference}: mean ± standard deviation over seeds."
    return _measured(columns), caption, note


def show_measures(table: pd.DataFrame, margin: float) -> Shown:
    """Scores besides accuracy, and compression.

    Args:
        table: A table of `infoplane.analysis.comparison.measures.measures_table`, the reference first.
        margin: How far below the reference the accuracy of a method that compresses may be.

    Returns:
        As of `show`.
    """
    reference = table["variant"].iloc[0]
    columns = {
        "method": table["variant"],
        "seeds": _seeds(table),
        "test accuracy [%]": _pairs(table, "test_accuracy", 100),
        "negative log-likelihood [nats]": _pairs(table, "test_nll", 1, 3),
        "calibration error [%]": _pairs(table, "calibration_error", 100),
        "accuracy, corrupted [%]": _pairs(table, "corrupted_accuracy", 100),
        "AUROC, no class [%]": _pairs(table, "ood_auroc", 100),
        "S(T) [bits]": [_against(row, "S_T") for _, row in table.iterrows()],
        "I(X;T) − null [bits]": [_against(row, "I_XT_corrected") for _, row in table.iterrows()],
        "rise of I(X;T) − null [bits]": [_against(row, "I_XT_rise") for _, row in table.iterrows()],
        "compresses": table["compresses"].replace("", "–"),
    }
    note = (
        "Calibration error: expected, 15 bins. Corrupted: mean over noise, blur and brightness of three strengths. "
        "No class: test images told from uniform noise and from patches in disorder by the largest probability. "
        "S(T) and I(X;T) less its null: mean over the hidden layers at the end, in brackets the paired difference "
        f"to {reference} with its 95 % interval. Compresses: these intervals of both are below 0, at an accuracy "
        f"whose interval ends no more than {100 * margin:g} points below that of {reference}. Rise: the most by "
        "which a layer, the last one too, comes out above one before it; in a chain it cannot know more of X. "
        f"Hides: these fall, but the rise is {LEAST_RISE:g} bits or more above that of the reference, with its "
        "interval: part of what fell is out of the kernel's sight, not lost."
    )
    caption = f"Measures besides accuracy, of training{_subject(table)}: mean ± standard deviation over seeds."
    return _measured(columns), caption, note


def show_costs(table: pd.DataFrame) -> Shown:
    """Memory, time and size; the table is one of `infoplane.analysis.comparison.methods.comparison_table`."""
    columns = {
        "method": table["variant"],
        "peak memory [MiB]": [plus_minus(value / MIB, float("nan"), digits=1) for value in table["peak_bytes"]],
        "with cached outputs [MiB]": [
            plus_minus((peak + cache) / MIB, float("nan"), digits=1) if cache > 0 else "–"
            for peak, cache in zip(table["peak_bytes"], table["cache_bytes"], strict=True)
        ],
        "saved for backward [MiB]": [plus_minus(v / MIB, float("nan"), digits=1) for v in table["saved_bytes"]],
        "time [s]": _pairs(table, "seconds", 1, 1),
        "operations [10¹²]": [plus_minus(value / 1e12, float("nan")) for value in table["flops"]],
        "batch": table["batch_size"].astype(str),
        "epochs": [f"{value:g}" for value in table["epochs"]],
        "parameters": [f"{value:,.0f}" for value in table["parameters"]],
        "auxiliary parameters": [f"{value:,.0f}" for value in table["auxiliary_parameters"]],
    }
    note = (
        "Memory: the most that one training step holds beyond parameters, optimiser state and data. Operations: "
        "matrix products, convolutions, recurrent layers and attention, without eigenvalues."
    )
    if table["batch_size"].nunique() > 1:
        note += " Batch sizes differ, so that memory, time and numbers of steps are no comparison of the methods."
    if table["epochs"].nunique() > 1:
        note += " Lengths of training differ."
    devices = list(table["device"].dropna().unique()) if "device" in table else []
    place = f" on {', '.join(map(str, devices))}" if devices else ""
    caption = f"Memory and time of training{_subject(table)}{place}; time: mean ± standard deviation over seeds."
    return _measured(columns), caption, note


def _subject(table: pd.DataFrame) -> str:
    """Network and data, where the table names them."""
    return f" {subjects(table)}" if "subject" in table else ""


def _seeds(table: pd.DataFrame) -> list[str]:
    """How many seeds a variant has, and how many of its runs diverged."""
    counts = zip(table["seeds"], table["diverged"], strict=True)
    return [f"{seeds}, {diverged} diverged" if diverged else f"{seeds}" for seeds, diverged in counts]


def _tuning(table: pd.DataFrame) -> str:
    """How learning rates were chosen, where the table knows it."""
    if "lr_trials" not in table:
        return ""
    trials = {f"{count:g}": ", ".join(rows["variant"]) for count, rows in table.groupby("lr_trials")}
    texts = [
        f"the best of {count} by validation accuracy" if count != "0" else "not tuned here" for count in trials
    ]
    if len(trials) > 1:
        texts = [f"{text} ({names})" for text, names in zip(texts, trials.values(), strict=True)]
    return f" Learning rates: {'; '.join(texts)}."


def _measured(columns: dict[str, Any]) -> pd.DataFrame:
    """The columns in which something was measured."""
    shown = pd.DataFrame(columns)
    return shown.loc[:, [name for name in shown if not (shown[name] == "–").all()]]


def _pairs(table: pd.DataFrame, name: str, scale: float, digits: int = 2) -> list[str]:
    return [plus_minus(m, s, scale, digits) for m, s in zip(table[name], table[f"{name}_sd"], strict=True)]


def _against(row: pd.Series, name: str) -> str:
    text = plus_minus(row[name], float("nan"))
    if pd.notna(row[f"{name}_low"]):
        gap, low, high = (f"{row[f'{name}_{end}']:+.2f}".replace("-", "−") for end in ("gap", "low", "high"))
        text += f" ({gap} [{low}, {high}])"
    return text


def shown_gap(row: pd.Series) -> str:
    """The gap of a row of `comparison_table` in points with its interval, and – without one."""
    if not pd.notna(row["gap"]):
        return "–"
    text = f"{100 * row['gap']:+.2f}"
    if pd.notna(row["gap_low"]):
        text += f" [{100 * row['gap_low']:+.2f}, {100 * row['gap_high']:+.2f}]"
    return text.replace("-", "−")
