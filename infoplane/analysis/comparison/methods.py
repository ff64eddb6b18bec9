"""Methods side by side: test scores over seeds, paired differences to a reference, cost.

The criteria were fixed before any run. A method is *comparable* to the reference where the lower end of the paired
95 % interval of its difference in accuracy is no more than a margin below 0. It is *better* or *worse* where the
paired t-test over seeds says so at 5 % after Holm's correction over all methods of the table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from infoplane.analysis.gather import MAY_DIFFER
from infoplane.analysis.stats import LEVEL, holm, over_seeds, student_interval
from infoplane.errors import InfoplaneError
from infoplane.runfile import Run, data_text, open_run, trainings

MARGIN = 0.01
# Settings in which variants may differ, tested on the same data; the runs of one variant differ in MAY_DIFFER only.
_VARIED = (
    "model widths activation layers permute_labels "
    "method order blocks group aux beta beta_schedule target_bits penalty correction loss_alpha loss_bandwidth "
    "loss_every fit fit_weight fit_bandwidth option epochs "
    "lr schedule optimizer momentum weight_decay batch_size micro_batches per_class cache_mib amp"
)
VARIED = {*MAY_DIFFER, *_VARIED.split()}
# Shuffled labels are learnt by heart, which takes fewer samples: a control beside the methods and none of them.
_CONTROL = {*VARIED, "train_size"}
MEASURES = (
    *("test_accuracy", "test_iou", "peak_bytes", "saved_bytes", "cache_bytes", "seconds", "flops", "epochs"),
    *("steps", "parameters", "auxiliary_parameters"),
)
_NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:e-?\d+)?)")


def compared_runs(folder: Path) -> list[Path]:
    """The run files of a comparison, `VARIANT/*.h5` in a folder, in the order of their names.

    Raises:
        InfoplaneError: There are none.
    """
    paths = _run_files(folder)
    if not paths:
        what = "is a folder without" if folder.is_dir() else "is no folder of"
        raise InfoplaneError(
            f"{folder} {what} a comparison (run files VARIANT/seedN.h5); make one: infoplane compare -o {folder}"
        )
    return paths


def refuse_unlike(planned: Mapping[Path, Mapping[str, Any]], folder: Path | None = None) -> None:
    """Refuses a comparison before it is trained that `runs_table` would refuse afterwards.

    Args:
        planned: The settings of each run that is to be trained, by its file in the folder of its variant.
        folder: The folder of the comparison, whose finished runs stand in the same table; None looks at none.

    Raises:
        InfoplaneError: Runs differ in their data, or those of one variant in more than their seeds.
    """
    finished: dict[Path, Mapping[str, Any]] = {}
    for path in _run_files(folder) if folder else ():
        with open_run(path) as run:
            if run.results:
                finished[path] = run.config
    # As a run file holds them.
    _refuse_mixture({**{path: json.loads(json.dumps(config)) for path, config in planned.items()}, **finished})


def runs_table(paths: Sequence[Path]) -> pd.DataFrame:
    """The finished runs of a comparison.

    Args:
        paths: Run files; the name of a run's folder is that of its variant.

    Returns:
        One row per run: `variant`, `path`, `method`, `seed`, `subject` (network and data in words), `beta` (the
        first β, NaN without), `lr`, `batch_size`, `aux`, `order`, `dataset`, `model`, `device`, and the measures of
        docs/run-file.md, NaN where they were not measured. Runs that are not finished are left out.

    Raises:
        InfoplaneError: No run is finished, runs differ in their data, or those of one variant differ in more than
            their seeds.
    """
    rows = []
    configs: dict[Path, dict[str, Any]] = {}
    for path in paths:
        with open_run(path) as run:
            if not run.results:
                continue
            configs[path] = run.config
            rows.append(_row(path, run))
    if not rows:
        raise InfoplaneError("no run is finished yet; go on with infoplane compare")
    _refuse_mixture(configs)
    return pd.DataFrame(rows)


def comparison_table(runs: pd.DataFrame, reference: str = "sgd", margin: float = MARGIN) -> pd.DataFrame:
    """Means over seeds, and paired differences to a reference.

    Args:
        runs: A table of `runs_table`.
        reference: The variant that the others are compared with.
        margin: How far below the reference a comparable method may be, in accuracy.

    Returns:
        One row per variant, the reference first: `variant`, `method`, `subject`, `device` (of its first run),
        `batch_size`, `lr`, `seeds`; each measure's mean, and its standard deviation over seeds in `<name>_sd`
        (ddof=1); `gap`, the mean paired difference in test accuracy, with the 95 % interval of Student's t
        `gap_low`, `gap_high`; `p`, two-sided paired t-test; `p_holm`;
        `verdict`: better, worse, comparable or "not shown to be comparable", "" for the reference and where fewer
        than two seeds are shared.

    Raises:
        InfoplaneError: The reference is not among the variants, or a seed stands twice in a variant.
    """
    if reference not in set(runs["variant"]):
        names = ", ".join(runs["variant"].unique())
        raise InfoplaneError(f"there is no finished run of '{reference}' to compare with; there are {names}")
    if runs.duplicated(["variant", "seed"]).any():
        raise InfoplaneError("a seed stands twice in a variant; keep one run for each seed")
    accuracy = runs.pivot(index="seed", columns="variant", values="test_accuracy")
    order = [reference, *(name for name in runs["variant"].unique() if name != reference)]
    rows = [_summary(runs[runs["variant"] == name], accuracy[name], accuracy[reference]) for name in order]
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p"].to_numpy(dtype=float))
    table["verdict"] = [_verdict(row, margin) for _, row in table.iterrows()]
    return table


def cost_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Memory and time of each variant, averaged over seeds.

    Args:
        runs: A table of `runs_table`.

    Returns:
        One row per variant: `variant`, `method`, `subject`, `device`,
        `batch_size`, `seeds`; `peak_bytes`, `saved_bytes`,
        `cache_bytes` and `seconds` with the ends of their intervals in `<name>_low` and `<name>_high`.
    """
    about = ("variant", "method", "subject", "device", "batch_size")
    return over_seeds(runs, about, ["peak_bytes", "saved_bytes", "cache_bytes", "seconds"])


def paired_difference(left: NDArray, right: NDArray) -> tuple[float, float, float, float]:
    """Mean paired difference with its 95 % interval and two-sided p by Student's t.

    Args:
        left: Values of one method, (seeds,); NaN where a seed is missing.
        right: Values of another at the same seeds, (seeds,).

    Returns:
        Mean difference, lower end, upper end, p; the last three NaN with fewer than two seeds in common. Where all
        differences are the same they tell nothing of their spread: p is that of a sign test then.
    """
    differences = left - right
    # A verdict may rest on two seeds: their interval is as wide as it must be.
    mean, low, high = (float(value) for value in student_interval(differences, least=2))
    if not np.isfinite(low):
        return mean, low, high, np.nan
    known = differences[np.isfinite(differences)]
    if low == high:
        return mean, low, high, 1.0 if mean == 0 else 2.0 ** (1 - len(known))
    return mean, low, high, float(stats.ttest_1samp(known, 0).pvalue)


def about_run(path: Path, run: Run) -> dict[str, Any]:
    """What every table says of a run: `variant`, `method`, `seed`, and its `subject`, network and data in words."""
    return {
        "variant": path.parent.name,
        "method": run.config.get("method"),
        "seed": run.config.get("seed"),
        "subject": subject(run.config),
    }


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
    beta = run.config.get("beta")
    about = about_run(path, run) | {n: run.config.get(n) for n in ("lr", "batch_size", "aux", "order")}
    measures = {name: run.results.get(name) for name in MEASURES}
    numbers = {name: np.nan if value is None else value for name, value in measures.items()}
    return {
        **about,
        "path": str(path),
        "beta": beta[0] if beta else np.nan,
        "dataset": run.config.get("dataset"),
        "model": run.config.get("model"),
        "device": run.results.get("device"),
        **numbers,
    }


def _summary(rows: pd.DataFrame, values: pd.Series, reference: pd.Series) -> dict[str, Any]:
    known = ("variant", "method", "subject", "device", "batch_size", "lr")
    about = {name: rows[name].iloc[0] for name in known if name in rows} | {"seeds": len(rows)}
    for name in MEASURES:
        about |= {name: rows[name].mean(), f"{name}_sd": rows[name].std(ddof=1)}
    if values.name == reference.name:
        return about | dict.fromkeys(("gap", "gap_low", "gap_high", "p"), np.nan)
    gap, low, high, p = paired_difference(values.to_numpy(dtype=float), reference.to_numpy(dtype=float))
    return about | {"gap": gap, "gap_low": low, "gap_high": high, "p": p}


def _verdict(row: pd.Series, margin: float) -> str:
    if not np.isfinite(row["p"]):
        return ""
    if row["p_holm"] < 1 - LEVEL and row["gap"] > 0:
        return "better"
    if row["gap_low"] >= -margin:
        return "comparable"
    return "worse" if row["p_holm"] < 1 - LEVEL else "not shown to be comparable"


def _refuse_mixture(configs: Mapping[Path, Mapping[str, Any]]) -> None:
    """Variants may differ in network and training, the runs of one variant in their seeds only."""
    first: dict[str, Path] = {}
    anyone = next(iter(configs))
    for path, config in configs.items():
        sibling = first.setdefault(path.parent.name, path)
        control = config.get("permute_labels") != configs[anyone].get("permute_labels")
        for other, allowed in ((sibling, MAY_DIFFER), (anyone, _CONTROL if control else VARIED)):
            names = sorted(
                name
                for name in {*config, *configs[other]} - allowed
                if config.get(name) != configs[other].get(name)
            )
            if names:
                what = "repetitions of one variant" if other == sibling else "a comparison of methods"
                raise InfoplaneError(
                    f"{path} differs from {other} in {', '.join(names)}, so they are not {what}; "
                    "keep them in folders of their own"
                )


def _run_files(folder: Path) -> list[Path]:
    return sorted(trainings(folder.glob("[!.]*/[!.]*.h5")), key=_natural) if folder.is_dir() else []


def _natural(path: Path) -> list[Any]:
    """Sorts seed10 after seed9, and beta0.001 before beta0.01."""
    return [
        [float(part) if place % 2 else part for place, part in enumerate(_NUMBER.split(name))]
        for name in (path.parent.name, path.stem)
    ]
