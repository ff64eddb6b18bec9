"""Methods side by side: test scores over seeds, paired differences to a reference, cost.

The criteria were fixed before any run. A method is *comparable* to the reference where the lower end of the paired
95 % interval of its difference in accuracy is no more than a margin below 0. It is *better* or *worse* where the
paired t-test over seeds says so at 5 % after Holm's correction over all methods of the table.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from infoplane.analysis.inference import holm
from infoplane.errors import InfoplaneError
from infoplane.runfile import Run, open_run

LEVEL = 0.95
MARGIN = 0.01
# Settings in which the runs of one comparison may differ.
VARIED = {
    *(
        "seed",
        "data_root",
        "device",
        "method",
        "order",
        "blocks",
        "group",
        "aux",
        "beta",
        "beta_schedule",
        "penalty",
    ),
    *("loss_alpha", "loss_bandwidth", "loss_every", "option", "lr", "schedule", "optimizer", "momentum"),
    *("weight_decay", "batch_size", "micro_batches", "cache_mib", "amp"),
}
MEASURES = (
    *(
        "test_accuracy",
        "test_iou",
        "peak_bytes",
        "saved_bytes",
        "cache_bytes",
        "seconds",
        "flops",
        "epochs",
        "steps",
    ),
    *("parameters", "auxiliary_parameters"),
)
_NUMBER = re.compile(r"(\d+)")


def compared_runs(folder: Path) -> list[Path]:
    """The run files of a comparison, `VARIANT/*.h5` in a folder, in the order of their names.

    Raises:
        InfoplaneError: There are none.
    """
    paths = sorted(folder.glob("*/*.h5"), key=_natural) if folder.is_dir() else []
    if not paths:
        raise InfoplaneError(
            f"{folder} holds no comparison (run files VARIANT/seedN.h5); make one: infoplane compare"
        )
    return paths


def runs_table(paths: Sequence[Path]) -> pd.DataFrame:
    """The finished runs of a comparison.

    Args:
        paths: Run files; the name of a run's folder is that of its variant.

    Returns:
        One row per run: `variant`, `path`, `method`, `seed`, `beta` (the first β, NaN without), `lr`, `batch_size`,
        `aux`, `order`, `dataset`, `model`, and the measures of docs/run-file.md, NaN where they were not measured.
        Runs that are not finished are left out.

    Raises:
        InfoplaneError: No run is finished, or runs differ in data, network or length.
    """
    rows = []
    configs: dict[str, dict[str, Any]] = {}
    for path in paths:
        with open_run(path) as run:
            if not run.results:
                continue
            configs[str(path)] = {k: v for k, v in run.config.items() if k not in VARIED}
            rows.append(_row(path, run))
    if not rows:
        raise InfoplaneError("no run is finished yet; go on with infoplane compare")
    _refuse_mixture(configs)
    return pd.DataFrame(rows)


def curves_table(paths: Sequence[Path]) -> pd.DataFrame:
    """What the runs of a comparison measured while they trained.

    Args:
        paths: Run files; the name of a run's folder is that of its variant.

    Returns:
        One row per run, snapshot, classifier and split: `variant`, `method`, `seed`, `step`, `epoch`, `stage`,
        `block` (name of the auxiliary classifier's block, "" for the deepest one that is trained yet), `depth`
        (number of the block from 1, 0 for ""), `split`, `accuracy`.
    """
    rows = []
    for path in paths:
        with open_run(path) as run:
            about = {"variant": path.parent.name, "method": run.config["method"], "seed": run.config["seed"]}
            for snapshot in run.snapshots:
                place = {**about, "step": snapshot.step, "epoch": snapshot.epoch}
                place["stage"] = int(snapshot.metrics.get("stage", 0))
                hidden = itertools.count(1)
                for name, value in snapshot.metrics.items():
                    split, _, rest = name.partition("_accuracy")
                    if rest or name.endswith("_accuracy"):
                        block = rest.removeprefix("@")
                        depth = next(hidden) if block else 0
                        rows.append({**place, "block": block, "depth": depth, "split": split, "accuracy": value})
    return pd.DataFrame(rows)


def blocks_table(paths: Sequence[Path]) -> pd.DataFrame:
    """Test accuracy of every classifier of the finished runs, one row per run and block.

    Returns:
        `variant`, `method`, `seed`, `block`, `depth` (from 1 to the last), `accuracy` (NaN without a classifier).
    """
    rows = []
    for path in paths:
        with open_run(path) as run:
            about = {
                "variant": path.parent.name,
                "method": run.config.get("method"),
                "seed": run.config.get("seed"),
            }
            for depth, (block, accuracy) in enumerate(run.results.get("blocks", {}).items(), start=1):
                rows.append({**about, "block": block, "depth": depth, "accuracy": accuracy})
    return pd.DataFrame(rows)


def comparison_table(runs: pd.DataFrame, reference: str = "sgd", margin: float = MARGIN) -> pd.DataFrame:
    """Means over seeds, and paired differences to a reference.

    Args:
        runs: A table of `runs_table`.
        reference: The variant that the others are compared with.
        margin: How far below the reference a comparable method may be, in accuracy.

    Returns:
        One row per variant, the reference first: `variant`, `method`, `batch_size`, `lr`, `seeds`; each measure's
        mean, and its standard deviation over seeds in `<name>_sd` (ddof=1); `gap`, the mean paired difference in
        test accuracy, with the 95 % interval of Student's t `gap_low`, `gap_high`; `p`, two-sided paired t-test;
        `p_holm`;
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


def paired_difference(left: NDArray, right: NDArray) -> tuple[float, float, float, float]:
    """Mean paired difference with its 95 % interval and two-sided p by Student's t.

    Args:
        left: Values of one method, (seeds,); NaN where a seed is missing.
        right: Values of another at the same seeds, (seeds,).

    Returns:
        Mean difference, lower end, upper end, p; the last three NaN with fewer than two seeds in common. Where all
        differences are the same, the interval is a point and p is 1 for no difference and 0 otherwise.
    """
    differences = (left - right)[np.isfinite(left) & np.isfinite(right)]
    mean = float(differences.mean()) if len(differences) else np.nan
    if len(differences) < 2:
        return mean, np.nan, np.nan, np.nan
    error = float(stats.sem(differences))
    if error == 0:
        return mean, mean, mean, float(mean == 0)
    low, high = stats.t.interval(LEVEL, len(differences) - 1, loc=mean, scale=error)
    return mean, float(low), float(high), float(stats.ttest_1samp(differences, 0).pvalue)


def _row(path: Path, run: Run) -> dict[str, Any]:
    beta = run.config.get("beta")
    about = {name: run.config.get(name) for name in ("method", "seed", "lr", "batch_size", "aux", "order")}
    measures = {name: run.results.get(name) for name in MEASURES}
    numbers = {name: np.nan if value is None else value for name, value in measures.items()}
    return {
        "variant": path.parent.name,
        "path": str(path),
        **about,
        "beta": beta[0] if beta else np.nan,
        "dataset": run.config.get("dataset"),
        "model": run.config.get("model"),
        **numbers,
    }


def _summary(rows: pd.DataFrame, values: pd.Series, reference: pd.Series) -> dict[str, Any]:
    about = {name: rows[name].iloc[0] for name in ("variant", "method", "batch_size", "lr")} | {"seeds": len(rows)}
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


def _refuse_mixture(configs: Mapping[str, Mapping[str, Any]]) -> None:
    first, *others = configs
    for path in others:
        names = sorted(
            name
            for name in {*configs[first], *configs[path]}
            if configs[first].get(name) != configs[path].get(name)
        )
        if names:
            raise InfoplaneError(
                f"{path} differs from {first} in {', '.join(names)}, so they are no comparison of methods; "
                "keep them in folders of their own"
            )


def _natural(path: Path) -> list[Any]:
    """Sorts seed10 after seed9."""
    return [int(part) if part.isdigit() else part for part in _NUMBER.split(str(path))]
