"""Samples: what goes into a network, and the labels beside it, read from the forms in which people have them."""

from __future__ import annotations

import inspect
import itertools
import random
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from infoplane.errors import InfoplaneError

_ATTENTION_MASK = "attention_mask"
# In this order where a mapping holds both.
_LABEL_NAMES = ("labels", "label")
# How a network is called: parts one after another, parts by name, or all parts in one dict.
POSITIONAL, KEYWORDS, WHOLE = "positional", "keywords", "whole"

_SHOWN = 4  # of several inputs in a message

_COMPLEX = {torch.float16: torch.complex32, torch.float64: torch.complex128}

FORMS = (
    "a probe is (inputs, labels), a Dataset or DataLoader of such pairs, or a dict with the labels under 'labels' "
    "beside the inputs"
)


class Inputs:
    """The inputs of some samples in memory of their own, and how a network takes them; `as_inputs` makes them.

    Attributes:
        parts: What the network is given, (n, …) each, by name; "0", "1", … where it goes by place.
    """

    def __init__(self, parts: Mapping[str, Tensor], call: str = POSITIONAL) -> None:
        self.parts = dict(parts)
        self._call = call

    def __len__(self) -> int:
        return len(next(iter(self.parts.values())))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample; of several parts together the number of their features, (d,)."""
        if len(self.parts) > 1:
            return (self.features,)
        (part,) = self.parts.values()
        return tuple(part.shape[1:])

    @property
    def features(self) -> int:
        """The number d of features of one sample, over all parts."""
        return sum(part[0].numel() for part in self.parts.values())

    @property
    def attention_masks(self) -> dict[str, Tensor]:
        """Which positions of the sequences hold something, (n, L) bool each: `attention_mask` and the like."""
        named = {name: part for name, part in self.parts.items() if name.endswith(_ATTENTION_MASK)}
        return {name: part != 0 for name, part in named.items() if part.ndim == 2}

    @property
    def masks(self) -> set[str]:
        """The names of the parts that say which values count: truth values, and what is called a mask."""
        if len(self.parts) == 1:
            return set()

        def is_mask(name: str, part: Tensor) -> bool:
            called_so = "mask" in name and (name.endswith(_ATTENTION_MASK) or not _is_continuous(part))
            return part.dtype == torch.bool or called_so

        found = {name for name, part in self.parts.items() if is_mask(name, part)}
        return found if len(found) < len(self.parts) else set()

    def token_parts(self) -> list[str]:
        """The names of the parts that hold numbers of tokens: whole numbers, but no bytes of an image."""
        return [
            name
            for name, part in self.parts.items()
            if name not in self.masks and not _is_continuous(part) and part.dtype not in (torch.bool, torch.uint8)
        ]

    def take(self, indices: Tensor | NDArray | Sequence[int]) -> Inputs:
        """The inputs of some of the samples, in the order of the indices (m,)."""
        rows = torch.as_tensor(indices)
        return Inputs({name: part[rows.to(part.device)] for name, part in self.parts.items()}, self._call)

    def cut(self, axis: int, names: Collection[str]) -> Inputs:
        """The inputs without the last position along an axis in some of the parts."""
        short = {name: self.parts[name].narrow(axis, 0, self.parts[name].shape[axis] - 1) for name in names}
        return Inputs(self.parts | short, self._call)

    def batch(
        self, rows: slice | Tensor, device: torch.device | str, dtype: torch.dtype | None = None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the network is called with for some samples: a copy, which it may change.

        Args:
            rows: Which samples.
            device: Where the copy goes.
            dtype: Type of the floating-point parts, and by its complex counterpart of complex ones; whole numbers
                and booleans stay as they are. None leaves all.

        Returns:
            Positional and keyword arguments.
        """

        def copy(part: Tensor) -> Tensor:
            which = rows.to(part.device) if isinstance(rows, Tensor) else rows
            return part[which].to(device, _cast(part.dtype, dtype), copy=True)

        return self._arguments({name: copy(part) for name, part in self.parts.items()})

    def bind(self, model: nn.Module) -> Inputs:
        """Decides how this network is called: one that knows none of the names may take the whole dict as input.

        Several inputs by place get the names that `forward` has for them.

        Returns:
            These inputs.

        Raises:
            InfoplaneError: The network's `forward` cannot take them.
        """
        try:
            signature = inspect.signature(model.forward)
        except (TypeError, ValueError):
            return self  # what is not written in Python does not say what it takes
        args, kwargs = self._arguments(self.parts)
        try:
            self._name_parts(signature.bind(*args, **kwargs).arguments)
        except TypeError as error:
            if self._call != KEYWORDS or not _takes_one_input(signature, self.parts):
                raise InfoplaneError(
                    f"forward of {type(model).__name__} does not fit the probe's inputs ({error}); give what "
                    "it takes, in its order or by its names"
                ) from None
            self._call = WHOLE
        return self

    def _name_parts(self, arguments: Mapping[str, Any]) -> None:
        """Calls several inputs that go by place as `forward` does, so that a mask among them is known."""
        if self._call == POSITIONAL and 1 < len(arguments) == len(self.parts):
            self.parts = dict(zip(arguments, self.parts.values(), strict=True))

    def _arguments(self, parts: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self._call == POSITIONAL:
            return tuple(parts.values()), {}
        return ((dict(parts),), {}) if self._call == WHOLE else ((), dict(parts))


def _is_continuous(part: Tensor) -> bool:
    return part.is_floating_point() or part.is_complex()


def _cast(own: torch.dtype, wanted: torch.dtype | None) -> torch.dtype:
    if wanted is None or not (own.is_floating_point or own.is_complex):
        return own
    return _COMPLEX.get(wanted, torch.complex64) if own.is_complex else wanted


def _takes_one_input(signature: inspect.Signature, names: Mapping[str, Any]) -> bool:
    """Whether a call takes one positional argument, and none of these names."""
    kinds = inspect.Parameter
    known = signature.parameters.values()
    named = {one.name for one in known if one.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)}
    places = (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
    required = [one for one in known if one.kind in places and one.default is kinds.empty]
    return len(required) == 1 and not named & set(names)


def as_inputs(value: Any, rows: Tensor | None = None) -> Inputs:
    """Reads what goes into a network, into memory of its own.

    Args:
        value: A tensor, NumPy array, table of numbers or nested list of numbers (n, …); a tuple or list of tensors
            or arrays where the network takes several inputs by place; a mapping of such where it takes them by
            name, without what is None.
        rows: Positions (m,) of the samples to take; None takes all.

    Raises:
        InfoplaneError: Inputs that are no numbers, not finite, empty, or of unlike lengths.
    """
    return _made(*_parts(value), rows)


def _made(parts: Mapping[str, Tensor], call: str, rows: Tensor | None) -> Inputs:
    lengths = {len(part) for part in parts.values()}
    if len(lengths) > 1:
        raise InfoplaneError(f"the probe's inputs are of unlike lengths ({_shapes(parts)}); give one row a sample")
    if not all(part.numel() for part in parts.values()):
        raise InfoplaneError(f"the probe's inputs are empty ({_shapes(parts)}); give at least one value a sample")
    owned = {name: part.clone() if rows is None else part[rows.to(part.device)] for name, part in parts.items()}
    if not all(torch.isfinite(part).all() for part in owned.values() if _is_continuous(part)):
        raise InfoplaneError("the probe's inputs hold NaN or infinite values; leave those samples out or fill them")
    return Inputs(owned, call)


def _parts(value: Any) -> tuple[Mapping[str, Tensor], str]:
    """The parts of what goes into a network, still in the memory of who gave them, and how it is called."""
    if isinstance(value, Inputs):
        return value.parts, value._call
    mapping = _mapping(value)
    if mapping is not None:
        parts = {name: _tensor(part, f"input '{name}'") for name, part in mapping.items() if part is not None}
        if not parts:
            raise InfoplaneError("the probe's inputs are an empty dict; give at least one tensor by its name")
        if not all(isinstance(name, str) for name in parts):
            raise InfoplaneError("the names of the probe's inputs must be strings, those of forward's arguments")
        return parts, KEYWORDS
    if isinstance(value, tuple | list) and any(_is_array(part) for part in value):
        return {str(place): _tensor(part, f"input {place}") for place, part in enumerate(value)}, POSITIONAL
    return {"0": _tensor(value, "the probe's inputs")}, POSITIONAL


def _mapping(value: Any) -> Mapping[Any, Any] | None:
    """A mapping, or the dict inside an object that stands for one; None where it is neither."""
    if isinstance(value, Mapping):
        return value
    # Those of arrays are their memory.
    inside = None if isinstance(value, Tensor | np.ndarray) else getattr(value, "data", None)
    return inside if isinstance(inside, dict) else None


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray | pd.DataFrame | pd.Series) and value.ndim > 0


def _shapes(parts: Mapping[str, Tensor]) -> str:
    if len(parts) == 1:
        return str(tuple(next(iter(parts.values())).shape))
    shown = [f"{name}: {tuple(part.shape)}" for name, part in itertools.islice(parts.items(), _SHOWN)]
    return ", ".join(shown) + (f", … {len(parts)} in all" if len(parts) > _SHOWN else "")


def _tensor(value: Any, what: str) -> Tensor:
    if isinstance(value, Tensor):
        if value.layout != torch.strided:
            raise InfoplaneError(f"{what}: tensors of layout {value.layout} cannot be measured; make them dense")
        if value.is_meta:
            raise InfoplaneError(f"{what}: tensors on the device meta have no values; give them on the CPU")
        tensor = value.detach().as_subclass(Tensor)
    else:
        array = _table(value) if isinstance(value, pd.DataFrame | pd.Series) else _numbers(value, what)
        with warnings.catch_warnings():
            # It is only read, and then copied.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            tensor = torch.from_numpy(np.asarray(array, _known_dtype(array.dtype), order="C"))
    if tensor.ndim == 0:
        raise InfoplaneError(f"{what}: one value is no batch; give one row a sample")
    return tensor


def _table(table: pd.DataFrame | pd.Series) -> NDArray:
    """A table as numbers, (n, d), a single column as (n,)."""
    for name, column in (table if isinstance(table, pd.DataFrame) else table.to_frame()).items():
        if not pd.api.types.is_numeric_dtype(column.dtype):
            raise InfoplaneError(
                f"column {name!r} of the probe's inputs holds {column.dtype}, no numbers; encode it or leave it out"
            )
    array = table.to_numpy()
    # Columns of several types, or that could hold missing values.
    return table.to_numpy(dtype=np.float64, na_value=np.nan) if array.dtype == object else array


def _numbers(value: Any, what: str) -> NDArray:
    """An array or a nested list as an array of numbers."""
    if np.ma.is_masked(value):
        raise InfoplaneError(f"{what}: some values are masked; leave those samples out or fill them")
    try:
        array = np.asarray(value)
        if array.dtype == object:
            array = np.asarray(array.tolist())
    except (TypeError, ValueError, RuntimeError):
        raise InfoplaneError(
            f"{what}: rows of unlike length or type; give numbers, as many for each sample"
        ) from None
    if array.dtype.kind in "UST":
        raise InfoplaneError(f"{what}: strings are no numbers; tokenise them first")
    if array.dtype.kind not in "biufc":
        raise InfoplaneError(
            f"{what}: {type(value).__name__} of {array.dtype} is not numbers; give tensors or arrays"
        )
    return array


def _known_dtype(dtype: np.dtype) -> np.dtype:
    """The nearest type that torch computes with."""
    if dtype.kind == "u" and dtype.itemsize > 1:
        return np.dtype(np.int64)
    if dtype in (np.longdouble, np.clongdouble):
        return np.dtype(np.float64 if dtype.kind == "f" else np.complex128)
    return dtype.newbyteorder("=")


@dataclass(frozen=True)
class Samples:
    """Inputs and the labels beside them.

    Attributes:
        inputs: What goes into the network.
        labels: One value a sample, as `infoplane.targets.as_target` reads them.
        indices: Positions (n,) int64 of the samples in their data; None where they are all of it.
    """

    inputs: Inputs
    labels: Any
    indices: Tensor | None = None

    def __len__(self) -> int:
        return len(self.inputs)


def as_samples(data: Any, choose: Callable[[Any], Tensor] | None = None) -> Samples:
    """Reads samples in any of the forms in which people have them; random states stay as they were.

    Args:
        data: A pair (inputs, labels); a mapping, the labels under "labels" or "label"; a `Dataset` whose items are
            such; a `DataLoader` whose batches are such; or samples.
        choose: Gives the positions (m,) int64 of the samples to read from the labels of all; None reads all.

    Raises:
        InfoplaneError: None of these, or inputs and labels that do not belong together.
    """
    if isinstance(data, Dataset):
        return _of_dataset(data, choose)
    if isinstance(data, DataLoader):
        data = _of_loader(data)
    if isinstance(data, Samples):
        inputs, labels, places = data.inputs, data.labels, data.indices
    else:
        (inputs, labels), places = _pair(data, FORMS), None
    parts, call = _parts(inputs)
    _refuse_lengths(parts, labels)
    rows = None if choose is None else choose(labels)
    if rows is not None:
        places = rows if places is None else places[rows]
    return Samples(_made(parts, call, rows), _taken(labels, rows), places)


def _pair(data: Any, wanted: str) -> tuple[Any, Any]:
    """Inputs and labels of a pair or a mapping."""
    mapping = _mapping(data)
    if mapping is not None:
        name = next((name for name in _LABEL_NAMES if mapping.get(name) is not None), None)
        if name is None:
            raise InfoplaneError(
                f"{wanted}; this dict has no 'labels' but {', '.join(map(str, mapping)) or 'nothing'}"
            )
        return {key: part for key, part in mapping.items() if key not in _LABEL_NAMES}, mapping[name]
    if isinstance(data, tuple | list):
        if len(data) == 2:
            return data[0], data[1]
        raise InfoplaneError(f"{wanted}; this {type(data).__name__} has {len(data)} items")
    raise InfoplaneError(f"{wanted}; got {type(data).__name__}")


def _refuse_lengths(parts: Mapping[str, Tensor], labels: Any) -> None:
    if not _is_column(labels):
        raise InfoplaneError(f"the labels are one value a sample, not one {type(labels).__name__}")
    if {len(part) for part in parts.values()} == {len(labels)}:
        return
    # The samples of a list are easily meant, where several inputs are read.
    hint = "; torch.stack a list of samples" if 1 < len(parts) == len(labels) and "1" in parts else ""
    shown = tuple(labels.shape) if hasattr(labels, "shape") else f"({len(labels)},)"
    raise InfoplaneError(
        f"a probe is inputs (n, ...) and labels (n,); got inputs {_shapes(parts)} and labels {shown}{hint}"
    )


def _is_column(labels: Any) -> bool:
    """Whether something holds a value for each of several samples."""
    is_one = isinstance(labels, str | bytes | Mapping) or not hasattr(labels, "__len__")
    return not is_one and getattr(labels, "ndim", 1) > 0


def _taken(labels: Any, rows: Tensor | None) -> Any:
    """The labels of some samples, in the form in which they are."""
    if rows is None:
        return labels
    if isinstance(labels, pd.DataFrame | pd.Series):
        return labels.iloc[rows.tolist()]
    if isinstance(labels, Sequence):
        return [labels[row] for row in rows.tolist()]
    return labels[rows.to(labels.device) if isinstance(labels, Tensor) else rows.numpy()]


def _of_loader(loader: DataLoader) -> tuple[Inputs, Any]:
    """Inputs and labels of all batches of a loader, one after another."""
    wanted = "a DataLoader's batches are (inputs, labels), or dicts with 'labels'"
    generators = {loader.generator, getattr(loader.sampler, "generator", None)} - {None}
    with random_states_kept(generators):
        pairs = [_pair(batch, wanted) for batch in loader]
    if not pairs:
        raise InfoplaneError("the DataLoader gives no batches; give it samples")
    read = [_parts(inputs) for inputs, _ in pairs]
    first, call = read[0]
    if any(parts.keys() != first.keys() for parts, _ in read):
        raise InfoplaneError(
            "the batches of the DataLoader hold other inputs from batch to batch; give them the same"
        )
    with _same_shapes():
        joined = {name: torch.cat([parts[name] for parts, _ in read]) for name in first}
    labels = [batch for _, batch in pairs]
    if not all(map(_is_column, labels)):
        raise InfoplaneError(f"{wanted}, with one label for each sample of the batch")
    are_tensors = all(isinstance(batch, Tensor) for batch in labels)
    return Inputs(joined, call), torch.cat(labels) if are_tensors else list(itertools.chain(*labels))


def _of_dataset(dataset: Dataset, choose: Callable[[Any], Tensor] | None) -> Samples:
    """The samples of a data set, of which only the chosen ones have their inputs kept."""
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise InfoplaneError("a Dataset without a length cannot be a probe; give a DataLoader over a part of it")

    def item(place: int) -> tuple[Any, Any]:
        try:
            found = dataset[place]
        except IndexError as error:
            raise InfoplaneError(
                f"the Dataset says that it has {len(dataset)} items, but gives none at {place} ({error}); mend its "
                "__len__"
            ) from error
        return _pair(found, "a Dataset's items are (input, label), or dicts with 'labels'")

    with random_states_kept():
        rows = None
        if choose is not None:
            known = _known_labels(dataset)
            rows = choose(_stacked([item(place)[1] for place in range(len(dataset))]) if known is None else known)
        places = range(len(dataset)) if rows is None else rows.tolist()
        items = [item(place) for place in places]
    if not items:
        raise InfoplaneError("the Dataset is empty; give it samples")
    inputs, labels = _collated([one for one, _ in items]), _stacked([label for _, label in items])
    return Samples(as_inputs(inputs), labels, rows)


def _known_labels(dataset: Any) -> Any:
    """The labels that a data set has at hand without its items, None where it has none or changes them."""
    if isinstance(dataset, Subset):
        known = _known_labels(dataset.dataset)
        return None if known is None else _taken(known, torch.as_tensor(dataset.indices))
    if getattr(dataset, "target_transform", None) is not None:
        return None
    for known in (getattr(dataset, name, None) for name in ("targets", "labels")):
        if known is not None and _is_column(known) and len(known) == len(dataset):
            return known
    return None


def _stacked(labels: list[Any]) -> Any:
    """Labels of single samples as one tensor where they are tensors of one shape."""
    same = all(isinstance(label, Tensor) for label in labels) and len({label.shape for label in labels}) == 1
    return torch.stack(labels) if same else labels


def _collated(items: list[Any]) -> Any:
    """Inputs of single samples as those of all."""
    first = items[0]
    mapping = _mapping(first)
    if mapping is not None:
        rows = [_mapping(item) or {} for item in items]
        if any(row.keys() != mapping.keys() for row in rows):
            raise InfoplaneError("the Dataset's items hold other inputs from item to item; give them the same")
        return {name: _collated([row[name] for row in rows]) for name in mapping}
    if isinstance(first, tuple | list) and any(_is_array(part) for part in first):
        with _same_shapes():
            return tuple(_collated(list(column)) for column in zip(*items, strict=True))
    if first is None:
        return None
    if isinstance(first, Tensor | np.ndarray):
        with _same_shapes():
            return torch.stack(items) if isinstance(first, Tensor) else np.stack(items)
    if isinstance(first, int | float | complex | str | list | tuple | np.generic):
        return items
    raise InfoplaneError(
        f"the Dataset's inputs are of type {type(first).__name__}; give it a transform that makes tensors of them"
    )


@contextmanager
def _same_shapes() -> Iterator[None]:
    """Turns what goes wrong where samples are put together into one clear line."""
    try:
        yield
    except (RuntimeError, TypeError, ValueError):
        raise InfoplaneError(
            "the probe's inputs are of unlike shapes or types; pad or resize them to one"
        ) from None


@contextmanager
def random_states_kept(generators: Iterable[torch.Generator] = ()) -> Iterator[None]:
    """Leaves all random states as they were, which shuffling and augmentation change: training must not notice."""
    states = [(generator, generator.get_state()) for generator in generators]
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - that of others, not ours
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002
            for generator, state in states:
                generator.set_state(state)
