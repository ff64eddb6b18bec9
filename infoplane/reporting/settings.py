"""How the runs of a study were trained and estimated."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from infoplane.analysis.gather import common_settings, training_of
from infoplane.errors import InfoplaneError
from infoplane.runfile import TRAINING, Run, data_text, open_runs, training_words
from infoplane.settings import setting_words
from infoplane.words import settings_text

_VERSIONS = ("infoplane", "torch")


def settings_table(
    sets: Mapping[str, Sequence[Path | Run]], estimates: Mapping[str, pd.DataFrame] | None = None
) -> pd.DataFrame:
    """The settings of sets of runs.

    Args:
        sets: Run files, or open runs, by the name of their set; the runs of one set differ in their seeds only.
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
    for name, runs in sets.items():
        with open_runs(runs) as several:
            each = [_about(run) for run in several.values()]
        row = {key: _joined([words[key] for words in each]) for key in each[0]}
        table = (estimates or {}).get(name)
        rows.append({"runs": name, **row, **({} if table is None else _estimated(table))})
    return pd.DataFrame(rows).fillna("")


def sets_by_training(runs: Mapping[str, Run]) -> dict[str, tuple[Run, ...]]:
    """Runs that differ in their seeds alone, put together.

    Args:
        runs: The runs, by their names.

    Returns:
        The runs of each training, in the order of the first of each, by the settings that tell it from the others:
        a method such as "greedy-dib", or "lr 0.1"; by the name of its first run where no setting does.
    """
    names: dict[str, str] = {}
    sets: dict[str, list[Run]] = {}
    configs: dict[str, dict[str, Any]] = {}
    for name, run in runs.items():
        training = json.dumps(training_of(run), sort_keys=True)
        sets.setdefault(training, []).append(run)
        names.setdefault(training, name)
        configs[training] = common_settings(run)
    if len(sets) == 1:
        return {"": tuple(runs.values())}
    order = (*TRAINING, "model", "dataset", *_rest(configs))
    differ = [name for name in order if _differs(configs, name)]
    for count in range(1, len(differ) + 1):
        labels = {key: _setting_words(config, differ[:count]) for key, config in configs.items()}
        if len(set(labels.values())) == len(sets):
            return {labels[training]: tuple(several) for training, several in sets.items()}
    return {names[training]: tuple(several) for training, several in sets.items()}


def _rest(configs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The settings that have no place of their own in the order."""
    return sorted({name for config in configs.values() for name in config} - {*TRAINING, "model", "dataset"})


def _differs(configs: Mapping[str, Mapping[str, Any]], name: str) -> bool:
    return len({json.dumps(config.get(name)) for config in configs.values()}) > 1


def _setting_words(config: Mapping[str, Any], names: Sequence[str]) -> str:
    """Some settings in words; a method, a network and data need not be named as such."""
    plain = ("method", "model", "dataset")
    words = {name: setting_words(config.get(name)) or "none" for name in names}
    return ", ".join(word if name in plain else f"{name.replace('_', ' ')} {word}" for name, word in words.items())


def _about(run: Run) -> dict[str, str]:
    config = run.config
    versions = run.provenance.get("versions", {})
    return {
        "data": data_text(config),
        "network": setting_words(config.get("model")) or "own model",
        **dict.fromkeys(TRAINING, ""),
        **training_words(config),
        "seeds": setting_words(config.get("seed")),
        "probe": f"{run.samples} {config.get('probe_split', '')} samples".replace("  ", " "),
        "snapshots": str(len(run.snapshots)),
        "device": setting_words(run.results.get("device")),
        **{name: setting_words(versions.get(name)) for name in _VERSIONS},
    }


def _estimated(estimates: pd.DataFrame) -> dict[str, str]:
    row = estimates.iloc[0]
    batches = int(row.get("batches", 0))
    return {
        "estimator": settings_text(row),
        "samples": f"{batches} batches of {row['n']}" if batches else f"{row['n']}",
        "permutations": str(row["permutations"]),
    }


def _joined(words: Sequence[str]) -> str:
    """Different words of the runs of one set, whole numbers in a row as 0–4."""
    different = list(dict.fromkeys(words))
    numbers = [int(word) for word in different if word.isdigit()]
    if len(numbers) == len(different) > 2 and sorted(numbers) == [*range(min(numbers), max(numbers) + 1)]:
        return f"{min(numbers)}–{max(numbers)}"
    return ", ".join(different)
