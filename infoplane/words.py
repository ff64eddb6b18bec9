"""The words for quantities, units, estimators and settings, in figures, tables, reports and messages alike.

The analysis gives its reasons in these words too: so they stand below it, and not in `infoplane.reporting`.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter
from typing import Any

import numpy as np
import pandas as pd

from infoplane.estimators.base import BITS, MAIN


@dataclass(frozen=True)
class Quantity:
    """How a column of a table is called.

    Attributes:
        symbol: Its name in legends, on axes and in tables, such as "I(X;T)".
        words: What it is, in a sentence.
        unit: The unit in which it is shown; "" for a number without.
        limit: Column of the largest value that it can take; "" where there is none.
    """

    symbol: str
    words: str
    unit: str = BITS
    limit: str = ""

    @property
    def label(self) -> str:
        """The symbol with its unit, for an axis."""
        return f"{self.symbol} ({self.unit})" if self.unit else self.symbol


QUANTITIES = {
    "I_XT": Quantity("I(X;T)", "information of a layer about the input", limit="limit_XT"),
    "I_XT_null": Quantity("null of I(X;T)", "I(X;T) under permuted pairings of input and layer"),
    "I_XT_corrected": Quantity("I(X;T) − null", "I(X;T) above its permuted null"),
    "I_TY": Quantity("I(T;Y)", "information of a layer about the target", limit="limit_TY"),
    "I_TY_null": Quantity("null of I(T;Y)", "I(T;Y) under permuted targets"),
    "I_TY_corrected": Quantity("I(T;Y) − null", "I(T;Y) above its permuted null"),
    "S_T": Quantity("S(T)", "entropy of a layer"),
    "S_X": Quantity("S(X)", "entropy of the input"),
    "S_Y": Quantity("S(Y)", "entropy of the target"),
    "cka": Quantity("linear CKA to the end", "linear CKA of a layer with its last snapshot", ""),
    "svcca": Quantity("SVCCA to the end", "mean canonical correlation of a layer with its last snapshot", ""),
    "redundancy_synergy": Quantity("redundancy − synergy", "redundancy–synergy trade-off of pairs of maps"),
    "weighted_nonredundant": Quantity(
        "weighted non-redundant information", "what only one of two maps tells of the input"
    ),
    "total_correlation": Quantity("total correlation", "total correlation of all maps of a layer"),
    "test_accuracy": Quantity("test accuracy", "share of the test split that is classified rightly", "%"),
}
# Measures that stand in the columns of I(X;T) and I(T;Y) and are no informations.
MEASURES = {"hsic": "HSIC", "nhsic": "nHSIC", "cka": "CKA", "kernel-cka": "kCKA"}
_KERNELS = "bandwidth {bandwidth}; input {input_bandwidth}"
# How an estimator and the settings that decide its numbers read; the names in braces are columns of its table.
_ESTIMATORS = {
    "binning": "binning estimator, bins {bins}",
    "kde": "pairwise-distance upper bound, noise {noise}",
    "kde-lower": "pairwise-distance lower bound, noise {noise}",
    "ksg": "nearest-neighbour estimator (KSG, Ross), {neighbours:g} neighbours",
    "gaussian": "Gaussian estimator, shrinkage after Ledoit and Wolf",
    "hsic": f"HSIC, Gaussian kernels, {_KERNELS}",
    "nhsic": f"normalised HSIC, Gaussian kernels, {_KERNELS}",
    "cka": "linear CKA",
    "kernel-cka": f"CKA with Gaussian kernels (kCKA), {_KERNELS}",
    "renyi": "matrix-based Rényi estimator, α = {alpha:g}{precision}, {kernel} kernel, bandwidth {bandwidth} "
    "(scope {scope}; input {input_bandwidth})",
}


def symbol(name: str, table: pd.DataFrame | None = None) -> str:
    """The name of a column in legends and tables.

    Args:
        name: The column.
        table: Estimates that say whether it holds informations or a dependence measure; None for informations.

    Returns:
        Its symbol, such as "I(X;T)" or "HSIC(X,T)"; the column itself where it has none.
    """
    text = QUANTITIES[name].symbol if name in QUANTITIES else name
    if table is None or is_bits(table):
        return text
    estimator = str(table["estimator"].iloc[0])
    measure = MEASURES.get(estimator, estimator)
    return text.replace("I(X;T)", f"{measure}(X,T)").replace("I(T;Y)", f"{measure}(T,Y)")


def label(name: str, table: pd.DataFrame | None = None) -> str:
    """The symbol of a column with its unit, for an axis; arguments as of `symbol`."""
    quantity = QUANTITIES.get(name, Quantity(name, "", ""))
    unit = quantity.unit if table is None or quantity.unit != BITS else unit_of(table)
    return Quantity(symbol(name, table), "", unit).label


def unit_of(table: pd.DataFrame) -> str:
    """The unit of the estimates in a table: bits, or dependence of measures that are no informations."""
    return str(table["unit"].iloc[0]) if "unit" in table else BITS


def is_bits(table: pd.DataFrame) -> bool:
    """Whether estimates are informations in bits, not dependence measures."""
    return unit_of(table) == BITS


def target_limit(table: pd.DataFrame) -> str:
    """The name of the largest I(T;Y): H(Y) of classes, S(Y) of a continuous Y under a kernel, else just a limit."""
    if table["classes"].iloc[0]:
        return "H(Y)"
    return "S(Y)" if table["estimator"].iloc[0] == "renyi" else "its limit"


def target_text(row: pd.Series) -> str:
    """The target Y of a row of estimates in words: "10 classes", or "target box, continuous"."""
    name, kind = row.get("target", MAIN), f"{row['classes']:g} classes" if row["classes"] else "continuous"
    if name == MAIN:
        return kind if row["classes"] else "a continuous target"
    return f"target {name}, {kind}"


def settings_text(row: pd.Series) -> str:
    """The estimator of a row of estimates and the settings that decided its numbers, in words."""
    name = str(row["estimator"])
    template = _ESTIMATORS.get(name, f"{name} estimator")
    columns = [field for _, field, _, _ in Formatter().parse(template) if field and field != "precision"]
    text = template.format(precision=_precision(row), **{column: row.get(column, np.nan) for column in columns})
    rule = row.get("target_bandwidth")
    return f"{text}, bandwidth {rule} of the target" if isinstance(rule, str) and rule else text


def _precision(row: pd.Series) -> str:
    """How exact the numbers are, where they are not exact in double precision."""
    single = ", single precision" if row.get("dtype") == "float32" else ""
    tolerance: Any = row.get("tolerance", 0)
    return f"{single}, within {tolerance:g} bits" if np.nan_to_num(tolerance) > 0 else single
