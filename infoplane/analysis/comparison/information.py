"""Informations of compared networks at the end of training, in bits: from `results.csv`, or estimated anew."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from infoplane.analysis.comparison.cells import decoded, encoded
from infoplane.analysis.comparison.results import ABOUT, records, save_results
from infoplane.analysis.plane import average_batches, mark_saturation
from infoplane.errors import InfoplaneError
from infoplane.estimators.base import EstimatorSettings
from infoplane.estimators.batches import Batches
from infoplane.estimators.engine.estimate import estimate_run
from infoplane.estimators.renyi import RenyiSettings
from infoplane.execution import QUIET, Execution
from infoplane.runfile import Run, open_run
from infoplane.words import settings_text

logger = logging.getLogger(__name__)

QUANTITIES = ("S_T", "I_XT", "I_XT_corrected", "I_TY", "I_TY_corrected")
_ABOUT_LAYER = ("layer", "depth", "hidden", "uninformative")
KEPT = RenyiSettings()  # of the informations in `results.csv`


def informations(
    runs: pd.DataFrame,
    folder: Path,
    settings: EstimatorSettings = KEPT,
    batches: Batches | None = None,
    *,
    execution: Execution = QUIET,
) -> pd.DataFrame:
    """Informations of all layers at the last snapshots.

    Those with the usual settings are taken from the table where it has them; others need the run files.

    Args:
        runs: A table of `infoplane.analysis.comparison.results.runs_table`.
        folder: The folder of the comparison.
        settings: Settings of the estimator.
        batches: Batches of the probe to estimate apart, averaged in each run; None takes the whole probe at once.
        execution: How work is done.

    Returns:
        One row per run and layer: `variant`, `method`, `seed`, `subject`, `layer`, `depth`, `hidden` (whether it is
        not the network's output), those of `QUANTITIES` that the estimator has, in bits, `uninformative`
        (saturated, or at its null), `estimate` (the settings in words), `n` (samples).

    Raises:
        InfoplaneError: A run file is needed and not there, or the estimator needs what it does not hold.
    """
    usual = settings == KEPT and batches is None
    parts = []
    for row in records(runs[[*ABOUT, "run", "informations"]]):
        known = decoded(row["informations"]) if usual else None
        if known is None:
            known = _estimated(folder / row["run"], settings, batches, execution)
        parts.append(pd.DataFrame(known).assign(**{name: row[name] for name in ABOUT}))
    return pd.concat(parts, ignore_index=True)


def hidden_layers(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of hidden layers; those that an older infoplane wrote have the output as the last layer.

    Args:
        table: A table of informations with `depth`, of one run or several.
    """
    below = table["depth"] < table["depth"].max()
    hidden = table["hidden"].where(table["hidden"].notna(), below) if "hidden" in table else below
    return table[hidden.astype(bool)]


def _output_layer(run: Run) -> str:
    """The recorded layer that is the network's output, "" where there is none.

    It is the last where all layers are recorded; of layers that were chosen the last if it has the output's shape.
    """
    last = run.layers[-1]
    if not run.config.get("layers"):
        return last.name
    outputs = len(run.result("confusion"))
    if run.config.get("task") == "classes+boxes":
        outputs += run.result("boxes").shape[1]
    return last.name if last.shape == (outputs,) else ""


def add_informations(runs: pd.DataFrame, folder: Path, *, execution: Execution = QUIET) -> pd.DataFrame:
    """Estimates what `results.csv` lacks of informations and has a run file for, and writes it down.

    Args:
        runs: A table of `infoplane.analysis.comparison.results.runs_table`.
        folder: The folder of the comparison.
        execution: How work is done.

    Returns:
        The table with what could be estimated.

    Raises:
        InfoplaneError: The table cannot be written.
    """
    cells = runs["informations"].tolist()
    for place, run in enumerate(runs["run"]):
        # What an older infoplane wrote does not say which layers are hidden.
        if "hidden" not in (decoded(cells[place]) or {}) and (folder / run).exists():
            try:
                cells[place] = encoded(_estimated(folder / run, KEPT, None, execution))
            except InfoplaneError as error:
                logger.warning("no informations: %s", error)
    return save_results(runs.assign(informations=cells), folder)


def _estimated(
    path: Path, settings: EstimatorSettings, batches: Batches | None, execution: Execution
) -> dict[str, list[Any]]:
    """Columns of one run, a value a layer."""
    if not path.exists():
        raise InfoplaneError(
            f"{path} is not here, and results.csv lacks these estimates; keep to the usual settings"
        )
    estimates = estimate_run(path, settings, batches, last=True, execution=execution)
    table = mark_saturation(average_batches(estimates))
    with open_run(path) as run:
        table["hidden"] = table["layer"] != _output_layer(run)
    names = [*_ABOUT_LAYER, *(name for name in QUANTITIES if name in table)]
    texts = [settings_text(row) for _, row in table.iterrows()]
    return {name: table[name].tolist() for name in (*names, "n")} | {"estimate": texts}
