"""The cells of `results.csv`: writes them, and checks them when they are read, as a file may be damaged."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from infoplane.errors import InfoplaneError
from infoplane.settings import is_number

_DIGITS = 9  # as many as tell all numbers in single precision apart
_LARGEST = 1e300  # whole numbers of JSON may be too large for a float


def encoded(value: Any) -> str:
    """A cell of `NESTED`: JSON, numbers with 9 digits, null for what is not finite."""
    return json.dumps(_plain(value), separators=(",", ":"))


def decoded(cell: str) -> Any:
    """The value that a cell of JSON holds; None for an empty cell.

    Raises:
        InfoplaneError: It is no JSON.
    """
    if not cell:
        return None
    try:
        return json.loads(cell, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise InfoplaneError(
            f"results.csv is damaged: '{cell[:40]}' is no JSON; make it again: infoplane compare"
        ) from None


def _refuse_constant(name: str) -> None:
    """NaN and Infinity are no JSON, though Python reads them."""
    raise ValueError(name)


def numbers_of(column: pd.Series, file: object) -> pd.Series:
    """A column of numbers, NaN in empty cells.

    Args:
        column: Texts; its name is that of the column.
        file: What the table is called in an error.

    Raises:
        InfoplaneError: A cell is no number, or a negative or infinite one.
    """
    numbers = pd.to_numeric(column, errors="coerce")
    impossible = (numbers.isna() & ~column.str.lower().isin(["", "nan"])) | (numbers < 0) | np.isinf(numbers)
    if impossible.any():
        raise _damaged(file, f"'{column[impossible].iloc[0][:40]}' under {column.name} is no number from 0 on")
    return numbers


def refuse_misfits(table: pd.DataFrame, file: object) -> None:
    """Refuses rows with cells that are impossible or do not fit each other.

    Args:
        table: A table as of `infoplane.analysis.comparison.results.runs_table`.
        file: What it is called in an error.

    Raises:
        InfoplaneError: A cell of `NESTED` holds something else, a run is no file VARIANT/NAME, confusion matrices
            and scores are of different numbers of classes, or an accuracy is above 1.
    """
    classes = set()
    for variant, run, accuracy in zip(table["variant"], table["run"], table["test_accuracy"], strict=True):
        place = PurePosixPath(run)
        if place.parts != (variant, place.name) or ".." in place.parts or "\0" in run:
            raise _damaged(file, f"'{run[:40]}' is no run of '{variant[:40]}'")
        if accuracy > 1:
            raise _damaged(file, f"an accuracy of {accuracy:g}")
    for name, fits in NESTED.items():
        for cell in table[name].unique():
            value = decoded(cell)
            if value is not None and not fits(value):
                raise _damaged(file, f"'{cell[:40]}' cannot stand under {name}")
            if name in _BY_CLASS and value is not None:
                classes.add(len(value))
    if len(classes) > 1:
        raise _damaged(file, f"its runs have {' and '.join(map(str, sorted(classes)))} classes")


def _damaged(file: object, fault: str) -> InfoplaneError:
    return InfoplaneError(
        f"{file} is damaged: {fault}; take a whole copy of it, or make it again: infoplane compare"
    )


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value


def _are_numbers(values: Any) -> bool:
    """A list of finite numbers, of which some may be missing."""
    return isinstance(values, list) and all(value is None or _is_finite(value) for value in values)


def _is_finite(value: Any) -> bool:
    return is_number(value) and abs(value) < _LARGEST


def _are_named(values: Any) -> bool:
    """Numbers by name."""
    return isinstance(values, dict) and _are_numbers([*values.values()])


def _are_counts(values: Any) -> bool:
    """A square of whole numbers from 0 on."""
    if not isinstance(values, list) or not all(isinstance(row, list) and len(row) == len(values) for row in values):
        return False
    return len(values) > 0 and all(type(count) is int and 0 <= count < _LARGEST for row in values for count in row)


def _are_columns(values: Any, kinds: Mapping[str, Callable[[Any], bool]]) -> bool:
    """Columns of one length; some must be there, of a kind each, and all others hold numbers or nothing."""
    if not isinstance(values, dict) or not kinds.keys() <= values.keys():
        return False
    lengths = {len(column) if isinstance(column, list) else -1 for column in values.values()}
    if len(lengths) > 1 or lengths == {-1}:
        return False
    return all(
        all(map(kinds[name], column)) if name in kinds else _are_numbers(column) for name, column in values.items()
    )


def _are_curves(values: Any) -> bool:
    return _are_columns(values, {"step": _is_finite, "epoch": lambda epoch: epoch is None or _is_finite(epoch)})


def _are_informations(values: Any) -> bool:
    words, flags = (lambda text: isinstance(text, str)), (lambda flag: isinstance(flag, bool))
    kinds = {"layer": words, "estimate": words, "uninformative": flags, "depth": _is_finite, "n": _is_finite}
    newer = {"hidden": flags} if isinstance(values, dict) and "hidden" in values else {}
    return _are_columns(values, kinds | newer)


def _are_words(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(word, str) for word in values)


_BY_CLASS = ("class_names", "class_accuracy", "class_iou", "confusion")
# Columns of lists and tables, in JSON, and whether a value can stand there.
NESTED: Mapping[str, Callable[[Any], bool]] = {
    "class_names": _are_words,
    "class_accuracy": _are_numbers,
    "class_iou": _are_numbers,
    "blocks": _are_named,
    "confusion": _are_counts,
    "corruptions": _are_named,
    "outsiders": _are_named,
    "curves": _are_curves,
    "informations": _are_informations,
}
