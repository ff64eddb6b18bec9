"""How the runs of a study were trained and estimated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from infoplane.errors import InfoplaneError
from infoplane.runfile import Run, data_text, open_run
from infoplane.words import settings_text

# Settings that decide what is trained, by the names they have in a configuration.
TRAINING = (
    *("method", "optimizer", "lr", "momentum", "weight_decay", "schedule", "epochs", "batch_size", "micro_batches"),
    *("fit", "fit_weight", "fit_bandwidth", "beta", "beta_schedule", "target_bits", "penalty", "correction"),
    *("loss_alpha", "loss_bandwidth", "loss_every", "order", "aux", "blocks"),
    *("group", "per_class", "option", "activation", "widths", "amp"),
)
_VERSIONS = ("infoplane", "torch")


def settings_table(
    sets: Mapping[str, Sequence[Path]], estimates: Mapping[str, pd.DataFrame] | None = None
) -> pd.DataFrame:
    """The settings of sets of runs.

    Args:
        sets: Run files by the name of their set; the runs of one set differ in their seeds only.
        estimates: Tables of `infoplane.analysis.gather.gather` by the same names, for those that were estimated.

    Returns:
        One row per set, words everywhere: `runs` (its name), `data`, `network`, the settings of training, `seeds`,
        `probe` (samples and split), `snapshots`, `device`, versions, and `estimator` and `samples` of it. What a
        set lacks, or what its runs disagree in, is "" or a list.

    Raises:
        InfoplaneError: A set is empty, or there is none.
    """
    if not sets or not all(sets.values()):
        raise InfoplaneError("no runs to tabulate: name run files for each set")
    rows = []
    for name, paths in sets.items():
        found = []
        for path in paths:
            with open_run(path) as run:
                found.append(_about(run))
        row = {key: _joined([one[key] for one in found]) for key in found[0]}
        table = (estimates or {}).get(name)
        rows.append({"runs": name, **row, **({} if table is None else _estimated(table))})
    return pd.DataFrame(rows).fillna("")


def _about(run: Run) -> dict[str, str]:
    config = run.config
    known = {name: _word(config.get(name)) for name in TRAINING}
    versions = run.provenance.get("versions", {})
    return {
        "data": data_text(config),
        "network": _word(config.get("model")) or "own model",
        **known,
        "seeds": _word(config.get("seed")),
        "probe": f"{len(run.probe)} {config.get('probe_split', '')} samples".replace("  ", " "),
        "snapshots": str(len(run.snapshots)),
        "device": _word(run.results.get("device")),
        **{name: _word(versions.get(name)) for name in _VERSIONS},
    }


def _estimated(estimates: pd.DataFrame) -> dict[str, str]:
    row = estimates.iloc[0]
    batches = int(row.get("batches", 0))
    return {
        "estimator": settings_text(row),
        "samples": f"{batches} batches of {row['n']}" if batches else f"{row['n']}",
        "permutations": str(row["permutations"]),
    }


def _word(value: Any) -> str:
    """A setting in words; "" where it has no say."""
    if value is None or value is False or value == []:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(map(_word, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _joined(words: Sequence[str]) -> str:
    """Different words of the runs of one set, whole numbers in a row as 0–4."""
    different = list(dict.fromkeys(words))
    numbers = [int(word) for word in different if word.isdigit()]
    if len(numbers) == len(different) > 2 and sorted(numbers) == [*range(min(numbers), max(numbers) + 1)]:
        return f"{min(numbers)}–{max(numbers)}"
    return ", ".join(different)
