"""Damages run files, checkpoints, tables of estimates and configuration files, by bytes or in their structure."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

KINDS = {
    "run file": ("run.h5",),
    "table of estimates": ("run.estimates.csv",),
    "checkpoint": ("run.ckpt",),
    "configuration": ("record.toml", "compare.toml"),
}
LONG = "n" * 250
WORDS = (
    "",
    "x",
    "ok",
    LONG,
    "\x1b[31mred",
    "=1+1",
    "../outside/x",
    "planted:model",
    "sys:exit",
    "\u202egpj",
    "a,b",
)
JSON_VALUES: tuple[Any, ...] = (
    *WORDS,
    None,
    True,
    -1,
    0,
    1.5,
    2**70,
    float("nan"),
    -1e308,
    [],
    {},
    [[1]],
    {"a": 1},
)
NUMBERS = (-1, 0, 1, 2**31, 2**62, 1.5, float("nan"), float("inf"), -1e300)
CELLS = (*WORDS, "nan", "inf", "-1e400", "1.5", "-3", "1e3", "١", '"', ",", "\n", "None", "True", "1979-05-27")
TOML = (
    *("1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "[true, 1979-05-27]"),
    *("1.5", "-1", "0", "nan", "inf", "1e300", "99999999999999999999", "0x10", "true"),
    *("[]", '[1, "a"]', "[1.5]", "[[1]]", "[nan]", "[-1]", "{a = 1}", "[" * 3000 + "]" * 3000),
    *('""', '"x"', f'"{LONG}"', '"\\u001b[31mred"', "'''\nx\n'''", '"../outside/x"', '"sys:exit"'),
)
Random = np.random.Generator


def damage(folder: Path, kind: str, level: str, number: int, seed: int) -> str:
    """Damages a file of a folder.

    Args:
        folder: Where the whole files are.
        kind: One of `KINDS`.
        level: "byte" or "structural".
        number: Number of the mutant.
        seed: Seed of the attack.

    Returns:
        What was done to which file.
    """
    random = np.random.default_rng([seed, number, level == "byte"])
    path = folder / pick(random, KINDS[kind])
    if level == "byte":
        content, what = damaged_bytes(path.read_bytes(), random)
        path.write_bytes(content)
    else:
        what = STRUCTURAL[kind](path, random)
    return f"{path.name}: {what}"


def pick(random: Random, choices: Any) -> Any:
    """One of several things, with equal chances."""
    things = list(choices)
    return things[int(random.integers(len(things)))]


def damaged_bytes(raw: bytes, random: Random) -> tuple[bytes, str]:
    """A content with bits flipped, or a stretch of it lost, zeroed, swapped, repeated or random."""
    data, size = bytearray(raw), len(raw)
    at, to = sorted(int(place) for place in random.integers(size, size=2))
    length = int(min(2 ** random.uniform(0, 13), size - to, max(1, to - at)))
    here, there = slice(at, at + length), slice(to, to + length)
    kind = pick(random, ("flip", "flip", "truncate", "zero", "swap", "repeat", "noise", "remove"))
    if kind == "flip":
        for place in random.integers(size, size=int(2 ** random.uniform(0, 8))):
            data[place] ^= 1 << int(random.integers(8))
    elif kind == "truncate":
        del data[at:]
    elif kind == "swap":
        data[here], data[there] = data[there], data[here]
    elif kind == "repeat":
        data[at:at] = data[here]
    else:
        data[here] = {"zero": bytes(length), "noise": random.bytes(length), "remove": b""}[kind]
    return bytes(data), f"{kind} at {at} of {size}"


def damaged_run(path: Path, random: Random) -> str:
    """A run file with an attribute, dataset or group that is missing or something else."""
    if random.random() < 0.04:
        length = pick(random, (230, 240, 245, 252))
        path.rename(path.with_name("n" * length + ".h5"))
        return f"a name of {length + 3} characters"
    with h5py.File(path, "r+") as file:
        places: list[str] = []
        file.visit(lambda name: places.append(name) if _is_used(file[name]) else None)
        place = file[pick(random, ["/", "/", *places])]
        if len(place.attrs) and random.random() < 0.6:
            return _damaged_attribute(place, random)
        change = _damaged_dataset if isinstance(place, h5py.Dataset) else _damaged_group
        return change(file, place.name, random)


def _is_used(place: Any) -> bool:
    """Whether an object is no empty slot, of which there are many."""
    return isinstance(place, h5py.Dataset) or len(place) > 0 or len(place.attrs) > 0


def _damaged_attribute(place: Any, random: Random) -> str:
    name = pick(random, sorted(place.attrs))
    value, where = place.attrs[name], f"attribute {name} of {place.name}"
    if random.random() < 0.15:
        del place.attrs[name]
        return f"{where} is missing"
    is_json = isinstance(value, str) and value[:1] in ("[", "{")
    new = _damaged_json(value, random) if is_json and random.random() < 0.7 else pick(random, _attributes())
    del place.attrs[name]
    place.attrs[name] = new
    return f"{where} is {str(new)[:60]!r}"


def _attributes() -> list[Any]:
    """Attributes that no reader expects."""
    arrays = [np.arange(3), np.zeros((2, 2)), np.array([b"a", b"b"]), np.empty(0), h5py.Empty("f"), np.bool_(True)]
    texts = ["[" * 10**4, "{}", "[]", '{"a": [1]}', "NaN", '"x"', b"\xff\xfe", "null"]
    return [*WORDS, *NUMBERS, *arrays, *texts]


def _damaged_json(text: str, random: Random) -> str:
    """A JSON text in which a value is missing or something else."""
    tree = json.loads(text)
    if not tree:
        return json.dumps(pick(random, JSON_VALUES))
    holder, key = _somewhere(tree, random)
    if random.random() < 0.2:
        del holder[key]
    else:
        holder[key] = pick(random, JSON_VALUES)
    return json.dumps(tree)


def _somewhere(tree: Any, random: Random) -> tuple[Any, Any]:
    """A place in a tree of dicts and lists: what holds it, and its key."""
    while True:
        key = pick(random, tree if isinstance(tree, dict) else range(len(tree)))
        below = tree[key]
        if not isinstance(below, (dict, list)) or not below or random.random() < 0.2:
            return tree, key
        tree = below


def _damaged_dataset(file: h5py.File, name: str, random: Random) -> str:
    values, attributes = np.asarray(file[name][()]), dict(file[name].attrs)
    changes = _other_arrays(values)
    what = pick(random, [*changes, "missing", "a group", "a giant", "a soft link", "an external link"])
    if what in changes:
        new = changes[what]()
        del file[name]
        file.create_dataset(name, data=new).attrs.update(attributes)
    elif what == "a giant":
        del file[name]
        giant = file.create_dataset(name, (len(values), 2**40), values.dtype, chunks=(1, 2**18))
        giant.attrs.update(attributes)
    else:
        _replaced(file, name, what)
    return f"{name} is {what}"


def _other_arrays(values: np.ndarray) -> dict[str, Callable[[], Any]]:
    """What may stand in the place of an array, by what is wrong with it."""
    shape = values.shape
    return {
        "shorter": lambda: values[:-1],
        "longer": lambda: np.concatenate([values, values[:1]]),
        "of a rank more": lambda: values[..., None],
        "of no rank": lambda: np.float32(3),
        "empty": lambda: values[:0],
        "of whole numbers": lambda: np.ones(shape, np.int16),
        "of fractions": lambda: np.ones(shape, np.float16),
        "complex": lambda: values.astype(np.complex64),
        "of text": lambda: np.full(shape, b"x"),
        "of bytes": lambda: np.void(b"\x00" * 16),
        "NaN": lambda: np.full(shape, np.nan, np.float32),
        "infinite": lambda: np.full(shape, np.inf, np.float32),
        "negative": lambda: (-np.abs(values) - 1).astype(values.dtype),
        "huge": lambda: np.full(shape, np.finfo(np.float32).max, np.float32),
        "zero": lambda: np.zeros_like(values),
        "transposed": lambda: values.T,
        "of records": lambda: np.zeros(shape, [("a", "f4"), ("b", "i4")]),
    }


def _damaged_group(file: h5py.File, name: str, random: Random) -> str:
    if name == "/":
        file.create_group("surplus")
        return "a surplus group"
    what = pick(random, ["missing", "an array", "renamed", "a soft link", "an external link", "fuller"])
    if what == "an array":
        del file[name]
        file[name] = np.ones(3)
    elif what == "fuller":
        file[name].create_dataset("surplus", data=np.ones(3))
        file[name].create_group("\x1b[31m")
    else:
        _replaced(file, name, what)
    return f"{name} is {what}"


def _replaced(file: h5py.File, name: str, what: str) -> None:
    """Something else in the place of an object."""
    if what in ("missing", "a group"):
        del file[name]
        if what == "a group":
            file.create_group(name)
        return
    file.move(name, "/aside")
    if what == "a soft link":
        file[name] = h5py.SoftLink("/aside")
    elif what == "an external link":
        file[name] = h5py.ExternalLink("../outside/run.h5", name)


def damaged_table(path: Path, random: Random) -> str:
    """A table with cells, rows or columns that are missing, repeated or something else."""
    rows = [line.split(",") for line in path.read_text().splitlines()]
    row, column, cell = int(random.integers(1, len(rows))), int(random.integers(len(rows[0]))), pick(random, CELLS)
    title = rows[0][column]
    kinds = ("cell", "cell", "cell", "column", "no column", "no row", "twice", "long", "short", "header")
    what = pick(random, kinds)
    if what in ("cell", "header"):
        row = 0 if what == "header" else row
        rows[row][column] = cell
    elif what in ("column", "no column"):
        for cells in rows[what == "column" :]:
            cells[column : column + 1] = [cell] if what == "column" else []
    elif what == "no row":
        del rows[row]
    elif what == "twice":
        rows.insert(row, [*rows[row]])
        rows[row][column] = cell
    else:
        rows[row] = [*rows[row], "1", "2"] if what == "long" else rows[row][:column]
    path.write_text("\n".join(",".join(cells) for cells in rows) + "\n")
    return f"{what} at row {row}, column {title}; cell {cell[:30]!r}"


class Planted:
    """An object whose pickle runs code when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("open('../outside/planted', 'w').close()",)


def damaged_checkpoint(path: Path, random: Random) -> str:
    """A checkpoint in which a value is missing or something else, or that is something else as a whole."""
    if random.random() < 0.15:
        return _other_checkpoint(path, random)
    state = torch.load(path, weights_only=True)
    holder, key = _somewhere(state, random)
    below = holder[key]
    values: list[Any] = [None, "x", -1, 2**62, 1.5, float("nan"), [], {}, True, torch.zeros(0), torch.zeros(2, 2)]
    if isinstance(below, torch.Tensor):
        values += [
            below[..., None],
            below.double(),
            below.to(torch.int8),
            below * float("nan"),
            below.flatten()[:-1],
        ]
    new = "missing" if random.random() < 0.2 else pick(random, values)
    if new == "missing":
        del holder[key]
    else:
        holder[key] = new
    torch.save(state, path)
    return f"{key} is {str(new)[:40]!r}"


def _other_checkpoint(path: Path, random: Random) -> str:
    what = pick(random, ("planted code", "an empty archive", "bare weights", "nothing", "a list", "a number"))
    if what == "an empty archive":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x/data.pkl", b"\x80\x02.")
    elif what == "nothing":
        path.write_bytes(b"")
    else:
        contents = {"planted code": {"step": Planted()}, "bare weights": {"weight": torch.zeros(3)}, "a list": []}
        torch.save(contents.get(what, 3), path)
    return str(what)


def damaged_configuration(path: Path, random: Random) -> str:
    """A configuration file with a value or key that is missing, repeated or something else."""
    lines = path.read_text().splitlines()
    where = int(random.integers(len(lines)))
    key, _, value = lines[where].partition(" = ")
    name = key.strip("[]")
    new = {
        "value": [f"{name} = {pick(random, TOML)}"],
        "twice": [lines[where]] * 2,
        "other key": [f"x{name} = {value or 1}"],
        "long key": [f"{LONG} = 1"],
        "table": [f"[{name}]"],
        "dotted": [f"{name}.x = 1"],
        "bare": [name],
    }
    what = pick(random, ["value"] * 6 + list(new))
    lines[where : where + 1] = new[what]
    path.write_text("\n".join(lines) + "\n")
    return f"line {where} is {new[what][0][:60]!r}"


STRUCTURAL: dict[str, Callable[[Path, Random], str]] = {
    "run file": damaged_run,
    "table of estimates": damaged_table,
    "checkpoint": damaged_checkpoint,
    "configuration": damaged_configuration,
}
