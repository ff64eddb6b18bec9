"""Measures besides accuracy: calibration, images unlike those of training, and compression at equal accuracy.

A method *compresses* where S(T) and I(X;T) less its null, averaged over the hidden layers, are both below those of
the reference, each with the whole 95 % interval of its paired difference, at comparable or better accuracy. It
*hides* where they are, but a later layer comes out with more of X than one before it, by 0.01 bits more than in
the reference or above that, and with the whole interval: in a chain each layer is a function of the one before it,
so that the kernel has lost sight of some of what the earlier one knows, and not all that fell is lost. Of layers
that are no chain, such as those inside a residual block, that says nothing.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from infoplane.analysis.comparison.cells import decoded
from infoplane.analysis.comparison.information import hidden_layers
from infoplane.analysis.comparison.methods import (
    MARGIN,
    comparison_table,
    is_comparable,
    mean_of_all,
    paired_difference,
)
from infoplane.analysis.comparison.results import ABOUT, records

LEAST_RISE = 0.01  # bits; a maximum over pairs of layers is above 0 by its noise alone
_LESS = ("S_T", "I_XT_corrected")  # of these compression is less
QUANTITIES = (*_LESS, "I_XT_rise")
_SCORES = ("test_accuracy", "test_nll", "calibration_error", "corrupted_accuracy", "ood_auroc")


def measures_table(runs: pd.DataFrame, reference: str = "sgd", margin: float = MARGIN) -> pd.DataFrame:
    """Scores besides accuracy, and what hidden layers hold at the end of training against a reference.

    Args:
        runs: A table of `infoplane.analysis.comparison.results.runs_table`.
        reference: The variant that the others are compared with, such as greedy-ce with the same blocks.
        margin: How far below the reference a comparable method may be, in accuracy.

    Returns:
        One row per variant, the reference first: `variant`, `subject`, `seeds`, `diverged`, `pairs`;
        `test_accuracy`, `test_nll` (nats), `calibration_error`, `corrupted_accuracy` and `ood_auroc` with
        `<name>_sd`; `gap_low` of the accuracy; of S_T and I_XT_corrected (mean over hidden layers) and I_XT_rise
        the mean over seeds in bits (NaN unless all runs whose informations are known have it), the mean paired
        difference `<name>_gap` over seeds with the same layers, and the ends of its 95 % interval, `<name>_low` and
        `<name>_high` (NaN without three such seeds); `compresses`, "yes", "no" or "hides", "" where it cannot be
        said.

    Raises:
        InfoplaneError: As for `infoplane.analysis.comparison.methods.comparison_table`.
    """
    compared = comparison_table(runs, reference, margin)
    columns = [
        "variant",
        "subject",
        *("seeds", "diverged", "pairs"),
        *(part for name in _SCORES for part in (name, f"{name}_sd")),
        "gap_low",
    ]
    hidden = hidden_informations(runs)
    of_reference = hidden[hidden["variant"] == reference]
    rows = []
    for row in records(compared[columns]):
        own = hidden[hidden["variant"] == row["variant"]]
        others = of_reference if row["variant"] != reference else of_reference[:0]
        pairs = own.merge(others, on=["seed", "layers"], suffixes=("", " there"))
        for name in QUANTITIES:
            row[name] = mean_of_all(own[name])
            left, right = (pairs[end].to_numpy(dtype=float) for end in (name, f"{name} there"))
            gap = paired_difference(left, right)[:3]
            row |= dict(zip((f"{name}_gap", f"{name}_low", f"{name}_high"), gap, strict=True))
        rows.append({**row, "compresses": _compresses(row, margin)})
    return pd.DataFrame(rows)


def hidden_informations(runs: pd.DataFrame) -> pd.DataFrame:
    """What the layers of each run hold at its last snapshot, of those runs whose informations are known.

    Args:
        runs: A table of `infoplane.analysis.comparison.results.runs_table`.

    Returns:
        One row per run: `variant`, `method`, `seed`, `subject`, `layers` (names of the hidden ones); in bits `S_T`
        and `I_XT_corrected`, means over these, and `I_XT_rise`, the most by which I_XT_corrected of any layer is
        above that of one before it, 0 where it falls throughout. NaN where a layer has no value, as a constant one:
        the mean over the others is that of another network.
    """
    rows = []
    for row in records(runs[[*ABOUT, "informations"]]):
        known = decoded(row.pop("informations"))
        if known is not None:
            layers = pd.DataFrame(known).sort_values("depth")
            hidden = hidden_layers(layers)
            values = {n: mean_of_all(hidden[n].astype(float)) if n in hidden else np.nan for n in _LESS}
            if "I_XT_corrected" in layers:
                informations = layers["I_XT_corrected"].astype(float)
                values["I_XT_rise"] = (informations - informations.cummin()).max(skipna=False)
            rows.append({**row, "layers": ", ".join(hidden["layer"]), **values})
    return pd.DataFrame(rows, columns=[*ABOUT, "layers", *QUANTITIES])


def _compresses(row: dict[str, float], margin: float) -> str:
    highs, rise = [row[f"{name}_high"] for name in _LESS], row["I_XT_rise_low"]
    if not np.isfinite([*highs, rise, row["gap_low"]]).all():
        return ""
    if max(highs) >= 0 or not is_comparable(row["gap_low"], margin):
        return "no"
    return "hides" if rise > 0 and row["I_XT_rise_gap"] >= LEAST_RISE else "yes"
