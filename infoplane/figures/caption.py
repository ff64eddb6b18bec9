"""Captions: what was measured, how, on what, and what can't be read from it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from infoplane.analysis.plane import saturation_summary

_ESTIMATORS = {"renyi": "matrix-based Rényi"}


def plane_caption(table: pd.DataFrame, most: int = 3) -> str:
    """The caption of an information plane.

    Args:
        table: A table of `infoplane.analysis.plane.plane_table`.
        most: How many sentences about uninformative layers to print before "and k more".

    Returns:
        One paragraph: data set, model, n, settings, runs, and what bars, null and hollow markers mean.
    """
    runs = _runs(table)
    spread = f"Means over {runs} runs; bars at the last point: ± 1 standard deviation." if runs > 1 else "One run."
    return f"Information plane of {_measured(table)} {spread} {_reading(table, most)}"


def time_caption(table: pd.DataFrame, most: int = 3) -> str:
    """The caption of information over time; arguments and result as in `plane_caption`."""
    runs = _runs(table)
    spread = f"Means over {runs} runs; bands: ± 1 standard deviation." if runs > 1 else "One run."
    null = "" if table["I_TY_null"].isna().all() else " Dotted: the permuted null of I(T;Y)."
    return f"Information over training of {_measured(table)} {spread}{null} {_reading(table, most)}"


def _runs(table: pd.DataFrame) -> int:
    """How many runs are behind the table."""
    return int(table["runs"].max())


def _measured(table: pd.DataFrame) -> str:
    """What was measured, and with which settings."""
    row = table.iloc[0]
    alpha = f", α = {row['alpha']:g}" if np.isfinite(row["alpha"]) else ""
    estimator = _ESTIMATORS.get(row["estimator"], row["estimator"])
    return (
        f"{row['model']} on {row['dataset']}: n = {row['n']} probe samples, {row['classes']} classes; "
        f"{estimator} estimator{alpha}, {row['kernel']} kernel, bandwidth {row['bandwidth']} "
        f"(scope {row['scope']}; input {row['input_bandwidth']})."
    )


def _reading(table: pd.DataFrame, most: int) -> str:
    """What null and hollow mean here, and for which layers."""
    permutations = int(table["permutations"].iloc[0])
    null = (
        f"Null: mean of {permutations} label permutations. " if permutations else "No permuted null was measured. "
    )
    findings = _findings(table)
    if not findings:
        return f"{null}No point is saturated or at its null."
    more = [f"and {len(findings) - most} more"] if len(findings) > most else []
    hollow = ""
    if table["uninformative"].any():
        hollow = "Hollow: uninformative (within 1 % of log₂ n or H(Y), or I(T;Y) within 2 deviations of its null). "
    return f"{null}{hollow}{'; '.join([*findings[:most], *more])}."


def _findings(table: pd.DataFrame) -> list[str]:
    """The sentences of `saturation_summary`, with the layers of which the same is said taken together."""
    layers: dict[str, list[str]] = {}
    for sentence in saturation_summary(table):
        layer, _, finding = sentence.partition(": ")
        layers.setdefault(finding.replace("log2", "log₂"), []).append(layer)
    return [f"{', '.join(names)}: {finding}" for finding, names in layers.items()]
