"""Tables of several runs as arrays over layers, runs and batches, and which layers of them can be read."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from numpy.typing import NDArray

from infoplane.analysis.plane import average_batches, mark_saturation
from infoplane.analysis.stats import run_cube
from infoplane.errors import InfoplaneError
from infoplane.estimators.nulls import measured


def layer_cube(estimates: pd.DataFrame, columns: Sequence[str], step: int, layers: Sequence[str]) -> NDArray:
    """Estimates at one step.

    Args:
        estimates: One row per run, snapshot, layer and batch, as `infoplane.analysis.gather.gather` gives them.
        columns: Names of the quantities.
        step: Step of the snapshot.
        layers: Names of layers that have rows there.

    Returns:
        (quantities, layers, runs, batches); runs and batches in ascending order, NaN where one has no row.
    """
    rows = estimates[(estimates["step"] == step) & estimates["layer"].isin(layers)].sort_values(["run", "batch"])
    names, cube = run_cube(rows, ["layer"], columns)
    return cube[names.get_indexer(pd.Index(layers))].swapaxes(0, 1)


def readable_layers(estimates: pd.DataFrame, steps: Sequence[int]) -> tuple[list[str], dict[str, str]]:
    """Which layers can be read at these steps, in the order of their depth, and why the others cannot.

    A layer is left out where it is constant, not finite or without a bandwidth in any run, or where at least half
    of the runs are saturated (I(X;T) at its limit, or S(T) at log2 n: then the kernel decides, not the network).

    Args:
        estimates: One row per run, snapshot, layer and batch.
        steps: Steps of the snapshots.

    Returns:
        Names of the readable layers, and the reason for each that is not.
    """
    marked = mark_saturation(average_batches(estimates[estimates["step"].isin(steps)]))
    kept, dropped = [], {}
    for (_, name), rows in marked.groupby(["depth", "layer"], sort=True):
        trouble = rows["status"][~measured(rows["status"])]
        share = rows.groupby("step")["saturated_x"].mean().max()
        if len(trouble):
            dropped[str(name)] = str(trouble.iloc[0])
        elif share >= 0.5:
            dropped[str(name)] = "saturated"
        else:
            kept.append(str(name))
    return kept, dropped


def refuse_strangers(estimates: pd.DataFrame, pairs: pd.DataFrame) -> None:
    """Refuses two tables that are not of the same runs under the same settings.

    Raises:
        InfoplaneError: They differ, with the column.
    """
    for name in ("run", "alpha", "kernel", "bandwidth", "scope", "input_bandwidth", "batch_size", "batch", "n"):
        for table, maker in ((estimates, "gather"), (pairs, "gather_pairs")):
            if name not in table:
                raise InfoplaneError(
                    f"a table lacks the column {name}; make it with infoplane.analysis.gather.{maker}"
                )
        if {*estimates[name].unique()} != {*pairs[name].unique()}:
            raise InfoplaneError(
                f"estimates and pairs differ in {name}: make both from the same runs with the same settings"
            )
