"""The tables of a study as people read them: verdicts and settings, and how the hardest classes fare."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from infoplane.analysis.comparison.classes import hardest_classes
from infoplane.analysis.comparison.results import subjects
from infoplane.analysis.convergence.verdict import RULE
from infoplane.errors import InfoplaneError
from infoplane.reporting.tables import plus_minus, shown_p

Shown = tuple[pd.DataFrame, str, str]
_HOLDS = {True: "yes", False: "no"}
_NAMES = {
    "lr": "learning rate",
    "batch_size": "batch",
    "weight_decay": "weight decay",
    "micro_batches": "micro-batches",
}


def show_convergence(table: pd.DataFrame) -> Shown:
    """The verdicts on bottom-up convergence.

    Args:
        table: A table of `infoplane.reporting.verdicts.convergence_verdicts`.

    Returns:
        The table in words, its caption, and what should stand below it.
    """
    _refuse_empty(table)
    columns = {
        "runs": table["runs"],
        "varied": [f"{what} {to}".strip() for what, to in zip(table["varied"], table["to"], strict=True)],
        "verdict": table["outcome"],
        "quantity": table["quantity"].replace("", "–"),
        "seeds": [_count(value) for value in table["seeds"]],
        "layers": [_count(value) for value in table["layers"]],
        "factor a layer [95 %]": _intervals(table, "factor"),
        "p (layers)": [shown_p(value) for value in table["p_layers"]],
        "p (seeds)": [shown_p(value) for value in table["p_seeds"]],
        "p (orders)": [shown_p(value) for value in table["p_orders"]],
        "detectable": [plus_minus(value, float("nan")) for value in table["detectable_factor"]],
        "bottom-up": [_HOLDS.get(value, "–") for value in table["shows"]],
    }
    limits = table.loc[table["limitation"] != "", ["quantity", "limitation"]].drop_duplicates()
    unjudged = "; ".join(f"{name}: {why}" if name else why for name, why in limits.itertuples(index=False))
    note = (
        "Factor: how many times as long a layer takes as the one below it, with the 95 % interval of Student's t "
        "over seeds. p: one-sided t-tests of its logarithm over layers and over seeds, and the share of orders of "
        f"the layers with as large a factor. Detectable: the factor that would be found with 80 % power. {RULE}"
        + (f" Not judged: {unjudged}." if unjudged else "")
    )
    shown = _blanked(pd.DataFrame(columns), ["runs", "varied", "verdict"])
    return shown, "Verdicts on bottom-up convergence, under the rule and under other choices.", note


def show_markov(table: pd.DataFrame) -> Shown:
    """The verdicts on the Markov information bottleneck.

    Args:
        table: A table of `infoplane.reporting.verdicts.markov_verdicts`.

    Returns:
        As for `show_convergence`.
    """
    _refuse_empty(table)
    columns = {
        "runs": table["runs"],
        "verdict": table["outcome"],
        "seeds": [_count(value) for value in table["seeds"]],
        "criterion": table["criterion"].replace("", "–"),
        "holds": [_HOLDS.get(value, "–") for value in table["holds"]],
        "measure": table["measure"].replace("", "–"),
        "value [95 %]": [_measure(row) for _, row in table.iterrows()],
        "p": [shown_p(value) for value in table["p"]],
    }
    reasons = table.loc[table["criterion"] == "", ["runs", "note"]].itertuples(index=False)
    undecided = " ".join(f"{name} is undecidable: {why}." for name, why in reasons)
    note = (
        "Supported: all three criteria hold; mixed: the triples and one other; contradicted: the network is "
        "no chain and over 5 % of the triples are violated; not shown: otherwise. δ: 0 where a layer gets all "
        "that it knows through the one before it. A triple is violated where variables further apart know "
        "more of each other than nearer ones, after their nulls; p: share of orders of the layers with as "
        "few. Slope and I(T;Y): null-corrected; p: of t-tests over layers and over seeds, the larger of the "
        f"two. {undecided}"
    ).strip()
    shown = _blanked(pd.DataFrame(columns), ["runs", "verdict", "seeds", "criterion", "holds"])
    return shown, "Verdicts on the Markov information bottleneck, by criterion.", note


def show_settings(table: pd.DataFrame) -> Shown:
    """The settings of a study: what differs between sets of runs as columns, the rest in the note.

    Args:
        table: A table of `infoplane.reporting.settings.settings_table`.

    Returns:
        As for `show_convergence`.
    """
    _refuse_empty(table)
    names = [str(name) for name in table if name != "runs"]
    differ = [name for name in names if table[name].nunique() > 1]
    same = {name: table[name].iloc[0] for name in names if name not in differ}
    shown = table[["runs", *differ]].replace("", "–").rename(columns=_NAMES)
    known = "; ".join(f"{_NAMES.get(name, name)}: {value}" for name, value in same.items() if value)
    return shown, "Settings of all runs.", f"The same in all: {known}." if known else ""


def show_classes(classes: pd.DataFrame, comparison: pd.DataFrame, worst: int = 5) -> Shown:
    """Accuracy and box overlap of each method, on all classes and on the hardest ones.

    Args:
        classes: A table of `infoplane.analysis.comparison.classes.per_class`.
        comparison: A table of `infoplane.analysis.comparison.methods.comparison_table` of the same runs.
        worst: Number of classes to show.

    Returns:
        As for `show_convergence`.
    """
    _refuse_empty(classes)
    hard = hardest_classes(classes, worst)
    rows = []
    for variant, subset in classes.groupby("variant", sort=False):
        whole = comparison[comparison["variant"] == variant]
        if whole.empty:
            raise InfoplaneError(f"the comparison has no {variant}; make both tables from the same runs")
        total = whole.iloc[0]
        rows.append(_class_row(variant, "all", int(subset["support"].sum()), total, ("test_accuracy", "test_iou")))
        for name in hard:
            rows += [
                _class_row(variant, row["name"], int(row["support"]), row, ("accuracy", "iou"))
                for _, row in subset[subset["class"] == name].iterrows()
            ]
    shown = pd.DataFrame(rows)
    shown = _blanked(shown.loc[:, [name for name in shown if not (shown[name] == "–").all()]], ["method"])
    caption = f"{subjects(classes)}: accuracy on the test split, and of the {len(hard)} hardest classes."
    note = (
        f"Mean ± standard deviation over {int(classes['seeds'].max())} seeds. Hardest: by accuracy over all "
        "methods. Taken for: the class that it is mistaken for most often, and the share of its samples that are. "
        "IoU: intersection over union of the boxes."
    )
    return shown, caption, note


def _class_row(variant: object, name: str, support: int, row: pd.Series, columns: Sequence[str]) -> dict[str, str]:
    accuracy, overlap = (plus_minus(row[column], row[f"{column}_sd"], 100) for column in columns)
    taken = row.get("taken_for_name", "")
    mistaken = f"{taken} ({100 * row['taken_for_share']:.0f} %)" if taken else "–"
    identity = {"method": str(variant), "class": name, "test samples": str(support)}
    return {**identity, "accuracy [%]": accuracy, "box IoU [%]": overlap, "taken for": mistaken}


def _measure(row: pd.Series) -> str:
    """A value with its unit."""
    if not pd.notna(row["value"]):
        return "–"
    if row["unit"] == "share":
        return f"{100 * row['value']:.0f} %"
    return f"{row['value']:.2g}" if row["unit"] == "δ" else _interval(row["value"], row["low"], row["high"], 3)


def _intervals(table: pd.DataFrame, name: str) -> list[str]:
    return [_interval(*ends) for ends in zip(table[name], table["low"], table["high"], strict=True)]


def _interval(value: float, low: float, high: float, digits: int = 2) -> str:
    if not pd.notna(value):
        return "–"
    ends = f" [{low:z.{digits}f}, {high:z.{digits}f}]" if pd.notna(low) else ""
    return f"{value:z.{digits}f}{ends}".replace("-", "−")


def _count(value: float) -> str:
    return f"{value:.0f}" if pd.notna(value) else "–"


def _blanked(shown: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """A table in which cells of the first columns are empty where they repeat the row above."""
    same = pd.Series(True, index=shown.index)
    blanked = shown.copy()
    for name in names:
        same &= shown[name].eq(shown[name].shift())
        blanked[name] = shown[name].mask(same, "")
    return blanked


def _refuse_empty(table: pd.DataFrame) -> None:
    if table.empty:
        raise InfoplaneError("nothing to show: the table has no rows")
