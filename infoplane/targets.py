"""Targets Y: classes, sets of labels, or continuous values, and how they are read from what people have."""

from __future__ import annotations

import decimal
import numbers
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from infoplane.errors import InfoplaneError, unknown

if TYPE_CHECKING:
    import torch

CLASSES, MULTILABEL, REGRESSION = "classes", "multilabel", "regression"
KINDS = (CLASSES, MULTILABEL, REGRESSION)
AUTO = "auto"
TABLES = ("DataFrame", "Series", "Index")  # of pandas

# What loss functions of torch skip by default; never a class.
_IGNORE_INDEX = -100


@dataclass(frozen=True)
class Target:
    """A target Y of a network, one value a sample.

    Attributes:
        kind: "classes", "multilabel" (a set of labels is a class of its own: the product of one delta kernel a
            label) or "regression" (continuous values under a Gaussian kernel).
        values: Number of the class of each sample, (n,) int64; continuous values, (n, k) float64.
        names: Names of the classes 0, 1, …, where they have any.
    """

    kind: str
    values: NDArray
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    @property
    def discrete(self) -> bool:
        """Whether there are classes, so that H(Y) exists."""
        return self.kind != REGRESSION

    @property
    def classes(self) -> NDArray:
        """Number of the class of each sample, (n,) int64.

        Raises:
            InfoplaneError: The target is continuous.
        """
        if not self.discrete:
            raise InfoplaneError("this needs classes, and the run has a continuous target")
        return self.values

    @property
    def class_count(self) -> int:
        """Number of classes that occur; 0 of a continuous target."""
        return len(np.unique(self.values)) if self.discrete else 0

    def take(self, members: NDArray) -> Target:
        """The target of some of the samples."""
        return Target(self.kind, self.values[members], self.names)


def as_target(values: Any, kind: str = AUTO) -> Target:
    """Reads a target from what people have, and refuses what cannot mean what it seems to.

    Args:
        values: One value a sample: a list, NumPy array, torch tensor or pandas object. Classes are whole numbers,
            which stay as they are, or booleans, strings or categories, which are numbered from 0 and named,
            (n,) or (n, 1); sets of labels are rows of 0 and 1, (n, k); continuous values are (n,) or (n, k).
        kind: "classes", "multilabel" or "regression"; "auto" reads classes.

    Returns:
        The target, with values (n,) int64 of classes and sets of labels, (n, k) float64 of continuous values.

    Raises:
        InfoplaneError: Missing values, fractions that are to be classes, samples without a class among others that
            have one, values that do not vary, or a class for every sample.
    """
    if not isinstance(kind, str):
        raise InfoplaneError(f"target must be one of {', '.join((AUTO, *KINDS))}, got {kind}")
    if kind not in (AUTO, *KINDS):
        raise unknown("target", kind, [AUTO, *KINDS])
    if kind == REGRESSION:
        return Target(kind, _continuous(_array(values, "targets")))
    if kind == MULTILABEL:
        _refuse_names(values)
        columns = values.columns if _is_of(values, "pandas", "DataFrame") else None
        return _sets(_array(values), None if columns is None else [str(column) for column in columns])
    if _is_of(values, "pandas", "DataFrame") and values.shape[1] == 1:
        values = values.iloc[:, 0]
    numbers, names = _categories(values) if _is_categorical(values) else _classes(_array(values))
    count = len(np.unique(numbers))
    if count == 1:
        raise InfoplaneError("the labels hold one class only, so I(T;Y) says nothing; take at least two classes")
    if count == len(numbers):
        raise InfoplaneError(
            f"each sample has a class of its own ({count} labels, {count} classes), so I(T;Y) says nothing; are "
            "they continuous values, target='regression'?"
        )
    return Target(CLASSES, numbers, names)


def _array(values: Any, what: str = "labels") -> NDArray:
    """Values as they are, (n, …): booleans, whole numbers, floats or complex, or objects that are all str or bytes.

    Missing values are refused; NaN among floats is left to whoever knows what the values are. Messages call the
    values `what`.
    """
    if _is_tensor(values):
        values = _of_tensor(values)
    elif _is_of(values, "pandas", *TABLES) or _is_of(values, "pandas.api.extensions", "ExtensionArray"):
        values = np.asarray(values, dtype=object)
    elif isinstance(values, list | tuple):
        values = _of_list(values, what)
    array = np.asarray(values)
    if array.ndim == 0:
        raise InfoplaneError(
            f"{what} are one value a sample, not one {type(values).__name__}; give a list or an array"
        )
    _refuse_empty(array.size, what)
    if array.dtype.kind in "mM":
        raise _times(what, str(array.dtype))
    if np.ma.isMaskedArray(values):
        _refuse_missing(np.ma.getmaskarray(values), what)
    return _typed(array.astype(object), what) if array.dtype.kind not in "biufc" else array


def _is_of(value: Any, library: str, *classes: str) -> bool:
    """Whether a value is of one of the classes of a library, which nothing is where that is not loaded."""
    return library in sys.modules and isinstance(value, tuple(getattr(sys.modules[library], c) for c in classes))


def _is_tensor(value: Any) -> bool:
    return _is_of(value, "torch", "Tensor")


def _of_tensor(tensor: torch.Tensor) -> NDArray:
    import torch

    tensor = tensor.detach().cpu()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    # NumPy knows no bfloat16.
    return (tensor.double() if tensor.is_floating_point() else tensor.resolve_conj()).numpy()


def _of_list(values: Sequence[Any], what: str) -> NDArray:
    """A list as objects: NumPy would make strings of numbers beside strings, and of None."""
    items = [_of_tensor(item)[()] if _is_tensor(item) else item for item in values]
    rows = [item for item in items if isinstance(item, list | tuple | np.ndarray)]
    for row in rows:
        if isinstance(row, np.ndarray) and row.dtype.kind in "mM":
            raise _times(what, str(row.dtype))  # as objects they would be whole numbers
    try:
        if len(rows) in (0, len(items)) and len({np.shape(row) for row in rows}) < 2:
            return np.array(items, dtype=object)
    except ValueError:
        pass
    raise InfoplaneError(f"{what} are lists of unlike length; give as many values for each sample")


def _typed(objects: NDArray, what: str) -> NDArray:
    """An array of objects as numbers where they are numbers."""
    import pandas as pd  # takes longer to load than a run file, which needs it not

    _refuse_missing(np.asarray(pd.isna(objects)), what)
    kinds = {_type_name(item) for item in objects.flat}
    if kinds == {"whole numbers", "fractions"}:
        kinds = {"fractions"}
    if len(kinds) > 1:
        raise InfoplaneError(f"{what} are a mixture of {' and '.join(sorted(kinds))}; give them one type")
    (kind,) = kinds
    if kind in ("strings", "bytes"):
        return objects
    dtypes = {"booleans": np.bool_, "whole numbers": np.int64, "fractions": np.float64, "complex numbers": complex}
    if kind not in dtypes:
        if kind in ("Timestamp", "Timedelta", "datetime", "date", "timedelta", "datetime64", "timedelta64"):
            raise _times(what, kind)
        raise InfoplaneError(f"{what} of type {kind} cannot be read; give numbers, strings or categories")
    try:
        return objects.astype(dtypes[kind])
    except OverflowError:
        raise _too_large(what) from None


def _times(what: str, kind: str) -> InfoplaneError:
    return InfoplaneError(f"{what} are times ({kind}); make classes of them, or numbers with target='regression'")


def _refuse_names(values: Any) -> None:
    """Refuses sets of labels that are lists of their names."""
    if isinstance(values, list | tuple) and any(isinstance(row, list | tuple | set | frozenset) for row in values):
        items = [item for row in values if isinstance(row, list | tuple | set | frozenset) for item in row]
        if any(isinstance(item, str | bytes) for item in items):
            raise InfoplaneError(
                "target='multilabel' takes rows of 0 and 1, not lists of names; make a row for each sample with a "
                "column for each label"
            )


def _type_name(item: Any) -> str:
    if isinstance(item, bool | np.bool_):
        return "booleans"
    for kind, name in (
        (str, "strings"),
        (bytes, "bytes"),
        (numbers.Integral, "whole numbers"),
        (numbers.Real | decimal.Decimal, "fractions"),
        (numbers.Complex, "complex numbers"),
    ):
        if isinstance(item, kind):
            return name
    return type(item).__name__


def _refuse_empty(size: int, what: str = "labels") -> None:
    if not size:
        raise InfoplaneError(f"there are no {what}; give one value a sample")


def _refuse_missing(missing: NDArray, what: str = "labels") -> None:
    count = np.count_nonzero(missing)
    if count:
        raise InfoplaneError(
            f"{count} of {missing.size} {what} are missing (None, NaN or infinite); leave those samples out"
        )


def _too_large(what: str = "labels") -> InfoplaneError:
    advice = "number the classes from 0" if what == "labels" else "give them as fractions"
    return InfoplaneError(f"{what} are beyond 64-bit whole numbers; {advice}")


def _is_categorical(values: Any) -> bool:
    return _is_of(getattr(values, "dtype", None), "pandas", "CategoricalDtype")


def _categories(values: Any) -> tuple[NDArray, tuple[str, ...]]:
    """Numbers (n,) of pandas categories, in the order that these have, and their names."""
    import pandas as pd

    categorical = pd.Categorical(values)
    codes = categorical.codes.astype(np.int64)
    _refuse_empty(len(codes))
    _refuse_missing(codes < 0)
    if pd.api.types.is_integer_dtype(categorical.categories.dtype):
        _refuse_unlabelled(np.asarray(categorical.categories, dtype=np.int64)[codes])
    return codes, tuple(str(category) for category in categorical.categories)


def _classes(labels: NDArray) -> tuple[NDArray, tuple[str, ...]]:
    """Numbers (n,) int64 of classes, and their names where they are no numbers themselves."""
    if labels.size != len(labels):
        raise InfoplaneError(
            f"labels of shape {labels.shape} are not one class a sample; take those of one position where each has "
            "its own (labels[:, -1]), target='multilabel' for sets of labels (rows of 0 and 1), "
            "target='regression' for continuous values, or one-hot rows' argmax(1)"
        )
    labels = labels.reshape(-1)
    if labels.dtype.kind == "b":
        return labels.astype(np.int64), ("False", "True")
    if labels.dtype.kind == "O":
        names, codes = np.unique(labels, return_inverse=True)
        return codes.astype(np.int64), tuple(map(_text, names))
    whole = _whole_numbers(labels)
    _refuse_unlabelled(whole)
    return whole, ()


def _text(name: str | bytes) -> str:
    return name.decode(errors="backslashreplace") if isinstance(name, bytes) else str(name)


def _whole_numbers(labels: NDArray) -> NDArray:
    if labels.dtype.kind == "c":
        raise InfoplaneError("labels are complex numbers; number the classes from 0")
    _refuse_missing(~np.isfinite(labels) if labels.dtype.kind == "f" else np.zeros(len(labels), bool))
    fractions = labels[labels != np.floor(labels)]
    if len(fractions):
        raise InfoplaneError(
            f"labels such as {fractions[0]:.6g} are no whole numbers, so no classes; use target='regression' for "
            "continuous values, or bin them into classes"
        )
    if labels.max() >= 2**63 or labels.min() < -(2**63):
        raise _too_large()
    return labels.astype(np.int64)


def _refuse_unlabelled(classes: NDArray) -> None:
    """Refuses numbers that say that a sample has no class."""
    present = np.unique(classes)
    if _IGNORE_INDEX in present:
        count = np.count_nonzero(classes == _IGNORE_INDEX)
        raise InfoplaneError(
            f"{count} of {len(classes)} labels are {_IGNORE_INDEX}, which means no label; leave those samples out"
        )
    # Alone beside one other class, as in {−1, +1}, it is a class.
    if present[0] == -1 and len(present) > 2:
        count = np.count_nonzero(classes == -1)
        raise InfoplaneError(
            f"{count} of {len(classes)} labels are -1; if -1 means no label, leave those samples out, otherwise "
            "number the classes from 0"
        )


def _sets(table: NDArray, columns: Sequence[str] | None) -> Target:
    """The distinct rows of a table of 0 and 1, (n, k), each a class that is named by its labels."""
    if table.ndim != 2:
        raise InfoplaneError(
            f"target='multilabel' takes a row of 0 and 1 for each sample, (n, k), not labels of shape "
            f"{table.shape}; leave it out where a sample has one class"
        )
    if table.dtype.kind == "f":
        _refuse_missing(np.isnan(table))
    if table.dtype.kind == "O" or not np.isin(table, (0, 1)).all():
        raise InfoplaneError(
            "target='multilabel' takes 0 and 1 only; cut scores at a threshold, or use target='regression'"
        )
    rows, codes = np.unique(table.astype(np.int8), axis=0, return_inverse=True)
    if len(rows) == 1:
        raise InfoplaneError("all samples have the same set of labels, so I(T;Y) says nothing; take others")
    if len(rows) == len(table):
        raise InfoplaneError(
            "each sample has a set of labels of its own, so I(T;Y) says nothing; take fewer labels or more samples"
        )
    columns = columns or [str(column) for column in range(table.shape[1])]
    names = ("+".join(columns[column] for column in np.flatnonzero(row).tolist()) or "none" for row in rows)
    return Target(MULTILABEL, codes.reshape(-1).astype(np.int64), tuple(names))


def _continuous(values: NDArray) -> NDArray:
    """Continuous values, (n, k) float64."""
    if values.dtype.kind in "Oc":
        kind = "complex numbers; give their real and imaginary parts as columns"
        if values.dtype.kind == "O":
            kind = "strings, which are classes; leave out target='regression'"
        raise InfoplaneError(f"the targets are {kind}")
    if values.ndim > 2:
        raise InfoplaneError(f"targets of shape {values.shape} are no (n,) or (n, k); flatten those of each sample")
    with np.errstate(over="ignore"):
        table = values.reshape(len(values), -1).astype(np.float64)
    bad = np.count_nonzero(~np.isfinite(table))
    if bad:
        raise InfoplaneError(f"{bad} of {table.size} target values are NaN or infinite; leave those samples out")
    if (table == table[0]).all():
        raise InfoplaneError("all samples have the same target, so I(T;Y) says nothing; take others")
    return table
