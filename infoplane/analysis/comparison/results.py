"""`results.csv`, one row a run: scores, costs, settings, and all that the tables and figures of a comparison show.

The folder of a comparison holds run files, `VARIANT/seedN.h5`, its results, or both. Results are a hundredth as
large, so they can be kept, published, and brought together from several machines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from infoplane.analysis.comparison.cells import NESTED, encoded, numbers_of, refuse_misfits
from infoplane.analysis.gather import MAY_DIFFER
from infoplane.data.boxes import intersection_over_union
from infoplane.errors import InfoplaneError
from infoplane.files import hold, reason, refuse_no_file, unwritten, whole, without_quotes, write_csv
from infoplane.runfile import Run, data_text, open_run, trainings, trial_path, trial_score, trials_of
from infoplane.runfile.summary import TRAINING
from infoplane.settings import is_number, setting_text

NAME = "results.csv"
# Settings in which variants may differ, tested on the same data; the runs of one variant differ in MAY_DIFFER only.
_VARIED = {*MAY_DIFFER, *TRAINING, "model", "layers", "permute_labels", "cache_mib"}
# Shuffled labels are learnt by heart, which takes fewer samples: a control beside the methods and none of them.
_CONTROL = {*_VARIED, "train_size"}
MEASURES = (
    *("test_accuracy", "test_iou", "test_nll", "calibration_error", "corrupted_accuracy", "ood_auroc"),
    *("validation_accuracy", "peak_bytes", "saved_bytes", "cache_bytes", "peak_rss", "seconds"),
    *("images_per_second", "flops", "epochs", "steps", "parameters", "auxiliary_parameters"),
)
# Settings follow all other columns, each behind this prefix and as text.
_SETTING = "setting."
ABOUT = ["variant", "method", "seed", "subject"]
_WORDS = ("variant", "method", "dataset", "model", "subject", "run", "run_id", "version", "device", "aux", "order")
_WAIT = 60.0  # seconds for another process to give the file back
_NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:e-?\d+)?)")


def compared_runs(folder: Path) -> list[Path]:
    """The run files of a comparison, `VARIANT/*.h5` in a folder, in the order of their names.

    Args:
        folder: The folder of a comparison; without run files the list is empty.
    """
    return sorted(trainings(folder.glob("[!.]*/[!.]*.h5")), key=_natural) if folder.is_dir() else []


def runs_table(paths: Sequence[Path]) -> pd.DataFrame:
    """The finished runs among some, as `results.csv` keeps them.

    Args:
        paths: Run files; the name of a run's folder is that of its variant.

    Returns:
        One row per run. In words: `variant`, `method`, `dataset`, `model`, `subject` (network and data), `run` (its
        file within the folder of the comparison), `run_id`, `version` (of infoplane), `device`, `aux`, `order`.
        Numbers: `seed`, `beta` (the first β), `lr`, `lr_trials` (of how many it was chosen), `batch_size`, and
        `MEASURES` as in docs/run-file.md, NaN where they were not measured. In JSON, "" where there is nothing:
        `class_names`, where the classes have some, `class_accuracy` and `class_iou` by class, `blocks` (test
        accuracy by block), `confusion` (true classes in rows), `corruptions` and `outsiders` (scores by kind of
        image), `curves` (metrics by snapshot), `informations` (see `infoplane.analysis.comparison.information`).
        All settings but the folder of the data, as text in `setting.NAME`.
    """
    rows = []
    for path in paths:
        with open_run(path) as run:
            if run.results:
                rows.append(_row(path, run))
                refuse_misfits(pd.DataFrame(rows[-1:]), path)
    return _ordered(pd.DataFrame(rows)) if rows else _empty()


def folder_table(folder: Path) -> pd.DataFrame:
    """The finished runs of a comparison, from its run files and, where these are gone, from `results.csv`.

    Args:
        folder: The folder of a comparison.

    Returns:
        A table as of `runs_table`.

    Raises:
        InfoplaneError: No run is finished, a file is damaged, or the runs are no comparison or have a seed twice.
    """
    paths = compared_runs(folder)
    if not paths and not (folder / NAME).exists():
        what = "is a folder without" if folder.is_dir() else "is no folder of"
        raise InfoplaneError(
            f"{folder} {what} a comparison (run files VARIANT/seedN.h5, or {NAME}); make one: "
            f"infoplane compare -o {folder}"
        )
    table = _with_known(runs_table(paths), _known(folder))
    if table.empty:
        raise InfoplaneError("no run is finished yet; go on with infoplane compare")
    refuse_mixture({str(folder): table})
    for (variant, seed), rows in table.groupby(["variant", "seed"]):
        if len(rows) > 1:
            names = " and ".join(rows["run"])
            raise InfoplaneError(f"'{variant}' has seed {seed} twice, {names}; keep one of them")
    return table


def update_results(folder: Path, paths: Iterable[Path] | None = None) -> pd.DataFrame:
    """Brings `results.csv` of a comparison up to date, as a whole; other rows stay.

    Args:
        folder: The folder of a comparison.
        paths: Run files whose rows are made anew; None takes all of the folder.

    Returns:
        The table, as of `runs_table`.

    Raises:
        InfoplaneError: A file is damaged, is no table of results, or cannot be written.
    """
    rows = runs_table(compared_runs(folder) if paths is None else [*paths])
    return save_results(rows, folder)


def save_results(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Puts rows into `results.csv` of a folder, in the place of those of the same variants and seeds.

    Args:
        rows: A table as of `runs_table`.
        folder: The folder of a comparison.

    Returns:
        All rows that the file has now.

    Raises:
        InfoplaneError: What is there is no table of results, or it cannot be written.
    """
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = hold(path, _WAIT)
    except OSError as error:
        raise unwritten(path, error) from error
    try:
        table = _with_known(rows, _known(folder))
        if len(table):
            with whole(path) as [draft]:
                write_csv(table, draft)
    finally:
        lock.release()
    return table


def read_results(path: Path) -> pd.DataFrame:
    """The rows of a `results.csv`.

    Args:
        path: The file, or the folder in which it is.

    Returns:
        A table as of `runs_table`.

    Raises:
        InfoplaneError: It is not there, cannot be read, or is no table of results.
    """
    file = path / NAME if path.is_dir() else path
    refuse_no_file(file)
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise InfoplaneError(f"{file} is not there; infoplane compare writes one") from None
    except (OSError, ValueError) as error:
        raise InfoplaneError(f"{file} cannot be read: {reason(error)}") from error
    if not {*ABOUT, "run", "run_id", "test_accuracy", f"{_SETTING}dataset"} <= set(table):
        raise InfoplaneError(f"{file} is no table of results of infoplane compare; move it away")
    for name in map(str, table):
        if _is_text(name):
            table[name] = without_quotes(table[name])
        else:
            table[name] = numbers_of(table[name], file)
    # An older infoplane measured less.
    table = table.assign(**{name: np.nan for name in MEASURES if name not in table})
    table = table.assign(**{name: "" for name in NESTED if name not in table})
    if ((table["seed"] % 1 != 0) | (table["seed"] > 2**53)).any():
        raise InfoplaneError(f"{file} has a row without a seed; make it again: infoplane compare")
    refuse_misfits(table, file)
    return table.astype({"seed": int})


def merge_results(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The rows of several machines in one table; those that several have stand in it once.

    Args:
        tables: Tables as of `runs_table`, by the names of their files.

    Raises:
        InfoplaneError: Rows are no comparison, or two runs of one variant have the same seed.
    """
    refuse_mixture(tables)
    if all(table.empty for table in tables.values()):
        raise InfoplaneError(f"{' and '.join(tables)} hold no run; go on with infoplane compare")
    joined = pd.concat([table.assign(origin=name) for name, table in tables.items()], ignore_index=True)
    for (variant, seed), rows in joined.groupby(["variant", "seed"]):
        if rows["run_id"].nunique() > 1:
            raise InfoplaneError(
                f"{' and '.join(rows['origin'].unique())} have different runs of seed {seed} of '{variant}'; "
                "take one of them out"
            )
    # Of two states of one run the longer one, and the one of which more is known.
    told = joined.assign(told=joined["informations"].str.len()).sort_values(["steps", "told"], kind="stable")
    return _ordered(told.drop(columns=["origin", "told"]).drop_duplicates(["variant", "seed"], keep="last"))


def refuse_mixture(tables: Mapping[str, pd.DataFrame]) -> None:
    """Refuses runs that cannot be compared: variants may differ in network and training, their runs in seeds only.

    Args:
        tables: Tables with `variant`, `run` and the settings, by what they are called in an error.

    Raises:
        InfoplaneError: A setting differs where it must not, with both of its values.
    """
    rows = [
        (str(Path(name) / row["run"]), row["variant"], settings_of_run(row))
        for name, table in tables.items()
        for row in records(table)
    ]
    siblings: dict[str, tuple[str, dict[str, str]]] = {}
    for name, variant, settings in rows:
        first_name, _, first = rows[0]
        sibling = siblings.setdefault(variant, (name, settings))
        control = settings.get("permute_labels") != first.get("permute_labels")
        _refuse_difference(name, settings, *sibling, MAY_DIFFER, "repetitions of one variant")
        allowed = _CONTROL if control else _VARIED
        _refuse_difference(name, settings, first_name, first, allowed, "a comparison of methods")


def refuse_unlike(
    planned: Mapping[Path, Mapping[str, Any]], folder: Path | None = None, recorded: pd.DataFrame | None = None
) -> None:
    """Refuses a comparison before it is trained that `refuse_mixture` would refuse afterwards.

    Args:
        planned: The settings of each run that is to be trained, by its file in the folder of its variant.
        folder: The folder of the comparison, whose finished runs stand in the same table; None looks at none.
        recorded: Those of its run files, a table of `runs_table`; None reads them.

    Raises:
        InfoplaneError: Runs differ in their data, or those of one variant in more than their seeds.
    """
    table = pd.DataFrame([{**_place(path), **_as_columns(settings)} for path, settings in planned.items()])
    if folder is None:
        refuse_mixture({"": table})
        return
    recorded = runs_table(compared_runs(folder)) if recorded is None else recorded
    missing, known = table[~table["run"].isin(recorded["run"])], _known(folder)
    again = known[known["run"].isin(missing["run"])] if len(known) else known
    if len(again):
        # Their run files are gone, and training would replace these rows.
        refuse_mixture({str(folder): missing, f"the row in {folder / NAME} of {folder}": again})
    parts = [part for part in (missing, recorded, known) if len(part)]
    refuse_mixture({str(folder): pd.concat(parts, ignore_index=True)})


def settings_of_run(row: Mapping[str, Any]) -> dict[str, str]:
    """The settings of one run by name, as text.

    Args:
        row: A row of a table as of `runs_table`.
    """
    texts = {name: value for name, value in row.items() if name.startswith(_SETTING) and isinstance(value, str)}
    return {name.removeprefix(_SETTING): value for name, value in texts.items()}


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, each its values by column."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def subject(config: Mapping[str, Any]) -> str:
    """Network and data of a run, such as "vgg6 on gtsrb (16×16, 1,500 training samples)"."""
    return f"{config.get('model')} on {data_text(config)}"


def subjects(table: pd.DataFrame) -> str:
    """Networks and data of all variants in words, each once.

    Args:
        table: A table with the column `subject`, one row or more.
    """
    return ", ".join(table["subject"].unique())


def _row(path: Path, run: Run) -> dict[str, Any]:
    results, last = run.results, run.snapshots[-1].metrics if run.snapshots else {}
    known = {**results, "validation_accuracy": last.get("validation_accuracy")}
    measured = {name: _number(path, name, known.get(name)) for name in (*MEASURES, "train_samples")}
    images = measured.pop("train_samples") * measured["epochs"]
    numbers = {**measured, "images_per_second": images / (measured["seconds"] or np.nan)}
    beta = run.config.get("beta") or [np.nan]
    confusion = run.result("confusion")
    totals, names = confusion.sum(1), run.probe.target.names
    return {
        **_place(path),
        "method": setting_text(run.config.get("method")),
        "seed": _number(path, "seed", run.config.get("seed"), needed=True),
        "subject": subject(run.config),
        **{name: setting_text(run.config.get(name)) for name in ("dataset", "model")},
        "run_id": run.run_id,
        "version": setting_text(run.provenance.get("versions", {}).get("infoplane")),
        "device": setting_text(run.provenance.get("device") or results.get("device")),
        **{name: setting_text(run.config.get(name)) for name in ("aux", "order")},
        "beta": _number(path, "beta", beta[0] if isinstance(beta, list) else beta),
        **{name: _number(path, name, run.config.get(name)) for name in ("lr", "batch_size")},
        "lr_trials": _trials(path, run.config.get("lr")),
        **numbers,
        "class_names": encoded(names) if len(names) == len(confusion) else "",
        "class_accuracy": encoded(np.divide(confusion.diagonal(), totals, where=totals > 0, out=_nan(totals))),
        "class_iou": _class_iou(run, totals),
        "blocks": encoded(results.get("blocks", {})),
        "confusion": encoded(confusion),
        **{name: encoded(results[name]) if name in results else "" for name in ("corruptions", "outsiders")},
        "curves": encoded({name: column.tolist() for name, column in run.metrics.drop(columns="snapshot").items()}),
        "informations": "",
        **_as_columns(run.config),
    }


def _trials(path: Path, lr: Any) -> int:
    """The number of trials of which the learning rate of a run is the best; 0 where it is of none."""
    folder, variant = path.parents[1], path.parent.name
    own, trials = trial_path(folder, variant, lr) if is_number(lr) else None, trials_of(folder, variant)
    if own not in trials:
        return 0
    scores = {trial: trial_score(trial) for trial in trials}
    return len(trials) if scores[own] == max(scores.values()) else 0


def _number(path: Path, name: str, value: Any, *, needed: bool = False) -> Any:
    """A number that a run file keeps, NaN in the place of one that was not measured or is infinite."""
    if value is None and not needed:
        return np.nan
    if not is_number(value):
        raise InfoplaneError(f"{path} is damaged: its {name} is no number; record it again")
    return np.nan if np.isinf(value) else value


def _place(path: Path) -> dict[str, str]:
    return {"variant": path.parent.name, "run": f"{path.parent.name}/{path.name}"}


def _as_columns(settings: Mapping[str, Any]) -> dict[str, str]:
    return {f"{_SETTING}{name}": setting_text(value) for name, value in settings.items() if name != "data_root"}


def _nan(like: np.ndarray) -> np.ndarray:
    return np.full(like.shape, np.nan)


def _class_iou(run: Run, totals: np.ndarray) -> str:
    """Mean intersection over union of the boxes of each class."""
    if run.config.get("task") != "classes+boxes":
        return ""
    boxes, wanted = (torch.from_numpy(run.result(name)) for name in ("boxes", "true_boxes"))
    overlap = intersection_over_union(boxes, wanted).numpy()
    sums = np.bincount(run.result("labels"), overlap, len(totals))
    return encoded(np.divide(sums, totals, where=totals > 0, out=_nan(totals)))


def _is_text(name: str) -> bool:
    return name in _WORDS or name in NESTED or name.startswith(_SETTING)


def _empty() -> pd.DataFrame:
    return pd.DataFrame(columns=[*_WORDS, "seed", *MEASURES, *NESTED])


def _known(folder: Path) -> pd.DataFrame:
    """The rows of a folder's results, none where there is no such file."""
    return read_results(folder) if (folder / NAME).exists() else _empty()


def _with_known(rows: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Rows together with known rows of other runs; known informations of a run that has not changed stay."""
    if known.empty or rows.empty:
        return rows if known.empty else known
    same = ["run_id", "steps"]
    known_informations = known.loc[known["informations"] != "", [*same, "informations"]].drop_duplicates(same)
    before = rows[same].merge(known_informations, on=same, how="left")["informations"].fillna("").to_numpy()
    rows = rows.assign(informations=rows["informations"].where(rows["informations"] != "", before))
    places = pd.MultiIndex.from_frame(known[["variant", "seed"]])
    others = known[~places.isin(pd.MultiIndex.from_frame(rows[["variant", "seed"]]))]
    return _ordered(pd.concat([rows, others], ignore_index=True) if len(others) else rows)


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Rows in the order of the names of their runs, settings that some do not have as if they were not given."""
    texts = [name for name in map(str, table) if _is_text(name)]
    table = table.assign(**{name: table[name].fillna("") for name in texts})
    return table.sort_values("run", key=lambda runs: runs.map(lambda run: _natural(Path(run))), ignore_index=True)


def _refuse_difference(
    name: str, settings: Mapping[str, str], other: str, others: Mapping[str, str], allowed: set[str], what: str
) -> None:
    pairs = {key: (settings.get(key, ""), others.get(key, "")) for key in sorted({*settings, *others} - allowed)}
    # As values: 1 is 1.0, whichever of them a user wrote.
    unlike = {key: (own, its) for key, (own, its) in pairs.items() if own != its and _value(own) != _value(its)}
    texts = [f"{key} ({own or 'none'}, there {its or 'none'})" for key, (own, its) in unlike.items()]
    if texts:
        raise InfoplaneError(
            f"{name} differs from {other} in {', '.join(texts)}, so they are not {what}; keep them in folders of "
            "their own"
        )


def _value(text: str) -> Any:
    """A setting as `setting_text` wrote it: words are no JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _natural(path: Path) -> tuple[tuple[Any, ...], ...]:
    """Sorts seed10 after seed9, and beta0.001 before beta0.01."""
    return tuple(
        tuple(float(part) if place % 2 else part for place, part in enumerate(_NUMBER.split(name)))
        for name in (path.parent.name, path.stem)
    )
