"""How the runs of a study were trained and estimated."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from infoplane.analysis.gather import MAY_DIFFER
from infoplane.errors import InfoplaneError
from infoplane.runfile import Run, data_text, open_run, run_names
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


def sets_by_training(paths: Sequence[Path]) -> dict[str, tuple[Path, ...]]:
    """Runs that differ in their seeds alone, put together.

    Args:
        paths: Run files.

    Returns:
        The runs of each training, in the order of the first of each, by the settings that tell it from the others:
        a method such as "greedy-dib", or "lr 0.1"; by the name of its first run where no setting does.

    Raises:
        InfoplaneError: A run is given twice or cannot be read.
    """
    names = dict(zip(paths, run_names(paths), strict=True))
    sets: dict[str, list[Path]] = {}
    configs: dict[str, dict[str, Any]] = {}
    for path in paths:
        with open_run(path) as run:
            config = {name: value for name, value in run.config.items() if name not in MAY_DIFFER}
            key = json.dumps([config, [[layer.name, layer.shape] for layer in run.layers]], sort_keys=True)
        sets.setdefault(key, []).append(path)
        configs[key] = config
    if len(sets) == 1:
        return {"": tuple(paths)}
    order = (*TRAINING, "model", "dataset", *_rest(configs))
    differ = [name for name in order if _differs(configs, name)]
    for count in range(1, len(differ) + 1):
        labels = {key: _setting_words(config, differ[:count]) for key, config in configs.items()}
        if len(set(labels.values())) == len(sets):
            return {labels[key]: tuple(found) for key, found in sets.items()}
    return {names[found[0]]: tuple(found) for found in sets.values()}


def _rest(configs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The settings that have no place of their own in the order."""
    return sorted({name for config in configs.values() for name in config} - {*TRAINING, "model", "dataset"})


def _differs(configs: Mapping[str, Mapping[str, Any]], name: str) -> bool:
    return len({json.dumps(config.get(name)) for config in configs.values()}) > 1


def _setting_words(config: Mapping[str, Any], names: Sequence[str]) -> str:
    """Some settings in words; a method, a network and data need not be named as such."""
    plain = ("method", "model", "dataset")
    words = {name: _word(config.get(name)) or "none" for name in names}
    return ", ".join(word if name in plain else f"{name.replace('_', ' ')} {word}" for name, word in words.items())


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
