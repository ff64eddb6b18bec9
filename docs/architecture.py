"""Draws which rooms of the package import which, from the imports themselves, and counts what the package holds.

    python docs/architecture.py            # docs/images/architecture.svg and .png, and the counts on the page
    python docs/architecture.py --count    # the counts alone, printed

The layers are those of the first contract in pyproject.toml; the SVG carries the data that it was drawn from.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grimp
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Curve

from infoplane.figures.parts.canvas import DOUBLE_COLUMN
from infoplane.figures.parts.style import GREY, LINES, SMALL, TEXT, style
from infoplane.reporting.tables import markdown

ROOT = Path(__file__).parents[1]
PACKAGE = "infoplane"
PAGE = ROOT / "docs" / "architecture.md"
DRAWING = ROOT / "docs" / "images" / "architecture.svg"
COUNTS = re.compile(r"(?<=<!-- counts -->\n).*?(?=<!-- end of counts -->)", re.DOTALL)

# Where a room stands in its layer, from left to right, so that few arrows cross; a new room stands in the middle.
PLACES = {
    **{"cli": 0.2, "api": 0.33, "study": 0.58, "integrations": 0.1, "figures": 1.0},
    **{"reporting": 0.5, "verify": 0.0},
    **{"trainers": 0.2, "analysis": 0.82, "models": 0.07, "data": 0.33},
    **{"recording": 0.2, "estimators": 0.82, "runfile": 0.5, "entropy": 0.92},
}
STEP = 0.72  # inches from one layer to the next
HEIGHT, LETTER, PORT = 0.36, 0.05, 0.16  # of a box, and the widths of a letter in it and of an arrow's end

Layers = list[list[str]]


def layers() -> Layers:
    """The rooms of the package, layer by layer from the top, as the first contract orders them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    written = next(one for one in contracts["contracts"] if one["type"] == "layers")["layers"]
    return [[name.strip().removeprefix(f"{PACKAGE}.") for name in re.split("[|:]", line)] for line in written]


def architecture() -> dict[str, Any]:
    """What is drawn: the layers, the number of modules of each room, its inner rooms, and the imports.

    An import is counted once for each pair of modules; imports for type checkers alone are left out.
    """
    graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)
    rooms = [room for layer in layers() for room in layer]
    modules = Counter(_room(module) for module in graph.modules)
    imports = Counter(
        (_room(module), _room(imported))
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if {_room(module), _room(imported)} <= {*rooms} and _room(module) != _room(imported)
    )
    return {
        "layers": layers(),
        "modules": {room: modules[room] for room in rooms},
        "inner": {room: _inner(room) for room in rooms},
        "imports": {" -> ".join(pair): imports[pair] for pair in sorted(imports)},
    }


def _room(module: str) -> str:
    return module.removeprefix(PACKAGE).lstrip(".").split(".")[0]


def _inner(room: str) -> list[str]:
    return sorted(file.parent.name for file in (ROOT / PACKAGE / room).glob("*/__init__.py"))


def counts() -> dict[str, int]:
    """How large the package is, and how far its two most travelled parameters go."""
    files = sorted((ROOT / PACKAGE).rglob("*.py"))
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    names = [name for tree in trees for name in _public(tree)]
    parameters = Counter(argument.arg for tree in trees for argument in _of(tree, ast.arg))
    front = next(tree for file, tree in zip(files, trees, strict=True) if file.parent.name == PACKAGE)
    return {
        "files": len(files),
        "lines": sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files),
        "names exported by `infoplane`": len(_exported(front)),
        "public functions and classes": len(names),
        "parameters named `progress`": parameters["progress"],
        "parameters named `jobs`": parameters["jobs"],
    }


def _of(tree: ast.AST, kind: type) -> Iterator[Any]:
    return (node for node in ast.walk(tree) if isinstance(node, kind))


def _public(tree: ast.Module) -> list[str]:
    """Functions and classes of a module whose names begin with a letter."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


def _exported(front: ast.Module) -> list[str]:
    """The names in `__all__`, which is a list of texts."""
    for node in front.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return [text.value for text in _of(node.value, ast.Constant)]
    return []


def count_table() -> str:
    """The counts as a Markdown table."""
    rows = [(name, f"{number:,}") for name, number in counts().items()]
    return markdown(pd.DataFrame(rows, columns=["what", "number"])) + "\n"


def draw(data: dict[str, Any]) -> Figure:
    """Draw rooms as boxes in their layers and imports as arrows, from the importing room to the imported one.

    Args:
        data: What `architecture` returns.

    Returns:
        A figure in double column width (6.75 in). The lowest layers, which nearly all rooms import, have the number
        of imports in their boxes instead of arrows.
    """
    ground = [room for layer in data["layers"] for room in layer if _is_ground(data, room)]
    drawn = [
        [room for room in layer if room not in ground] for layer in data["layers"] if not {*layer} <= {*ground}
    ]
    height = STEP * (len(drawn) + 0.95)
    figure = Figure(figsize=(DOUBLE_COLUMN, height))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, DOUBLE_COLUMN), ylim=(0, height))
    axes.set_axis_off()
    boxes = {}
    for row, layer in enumerate(drawn):
        for place, room in enumerate(layer):
            half = _width(data, room) / 2 + 0.12
            x = PLACES.get(room, (place + 1) / (len(layer) + 1)) * DOUBLE_COLUMN
            x = min(max(x, half), DOUBLE_COLUMN - half)
            boxes[room] = (x, height - STEP * (row + 0.42), row / (len(drawn) - 1))
    _arrows(axes, data, boxes)
    for room, (x, y, share) in boxes.items():
        _box(axes, x, y, _width(data, room), room, _about(data, room), LINES(share))
    _ground(axes, data, ground)
    return figure


def _is_ground(data: dict[str, Any], room: str) -> bool:
    """Whether a room imports only rooms of the ground: errors, files, kernels and their like."""
    imported = [pair.split(" -> ")[1] for pair in data["imports"] if pair.split(" -> ")[0] == room]
    return room not in PLACES and all(_is_ground(data, other) for other in imported)


def _about(data: dict[str, Any], room: str) -> str:
    n = data["modules"][room]
    return " · ".join([f"{n} module{'s' * (n != 1)}", *data["inner"][room]])


def _width(data: dict[str, Any], room: str) -> float:
    coming = sum(pair.endswith(f" -> {room}") for pair in data["imports"])
    return max(LETTER * 1.6 * len(room), LETTER * len(_about(data, room)), PORT * coming) + 0.16


def _box(axes: Axes, x: float, y: float, width: float, name: str, about: str, colour: Any) -> None:
    """One room, with its name and what is in it."""
    corner = (x - width / 2, y - HEIGHT / 2)
    look: dict[str, Any] = {"boxstyle": "round,pad=0,rounding_size=0.05", "linewidth": 1.1, "zorder": 3}
    axes.add_patch(FancyBboxPatch(corner, width, HEIGHT, facecolor="white", edgecolor=colour, **look))
    axes.text(x, y + 0.075, name, ha="center", va="center", size=TEXT + 0.5, weight="bold", zorder=4)
    axes.text(x, y - 0.085, about, ha="center", va="center", size=SMALL - 0.5, color=GREY, zorder=4)


def _arrows(axes: Axes, data: dict[str, Any], boxes: dict[str, tuple[float, float, float]]) -> None:
    """All imports between boxes; each leaves and arrives at a place of its own, so that few lie on each other."""
    pairs = {tuple(pair.split(" -> ")): n for pair, n in data["imports"].items()}
    pairs = {pair: n for pair, n in pairs.items() if {*pair} <= {*boxes}}
    for (source, target), n in pairs.items():
        leaving = sorted((other for one, other in pairs if one == source), key=lambda room: boxes[room][0])
        coming = sorted((one for one, other in pairs if other == target), key=lambda room: boxes[room][0])
        start = _port(data, source, boxes, leaving.index(target), len(leaving)), boxes[source][1] - HEIGHT / 2
        end = _port(data, target, boxes, coming.index(source), len(coming)), boxes[target][1] + HEIGHT / 2
        _arrow(axes, start, end, n, LINES(boxes[source][2]))


def _port(data: dict[str, Any], room: str, boxes: dict[str, Any], place: int, count: int) -> float:
    return boxes[room][0] + (_width(data, room) - 0.2) * ((place + 0.5) / count - 0.5)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], n: int, colour: Any) -> None:
    """A curve that leaves downwards and arrives from above, as thick as it has imports, with their number."""
    (x, y), (to_x, to_y) = start, end
    tip = to_y + 0.06
    bend = 0.5 * (y - tip)
    points = [(x, y), (x, y - bend), (to_x, tip + bend), (to_x, tip)]
    codes = [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4]
    width = 0.45 + 0.09 * n
    axes.add_patch(PathPatch(Curve(points, codes), fill=False, edgecolor=colour, linewidth=width, alpha=0.75))
    axes.fill([to_x - 0.028, to_x + 0.028, to_x], [tip, tip, to_y], color=colour, linewidth=0, zorder=2)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.85}
    axes.text(
        to_x, tip + 0.055, str(n), ha="center", va="center", size=SMALL - 1.5, color=colour, bbox=box, zorder=2.5
    )


def _ground(axes: Axes, data: dict[str, Any], rooms: list[str]) -> None:
    """The lowest layers as one row, with the number of imports of each."""
    text = "Below: what nearly every room imports, each with the number of imports from other rooms."
    axes.text(0.12, 0.56, text, size=SMALL, color=GREY, va="center")
    total = Counter[str]()
    for pair, n in data["imports"].items():
        total[pair.split(" -> ")[1]] += n
    share = (DOUBLE_COLUMN - 0.24) / len(rooms)
    for place, room in enumerate(rooms):
        _box(axes, 0.12 + share * (place + 0.5), 0.24, share - 0.1, room, f"{total[room]} imports", GREY)


def data_of(svg: Path) -> dict[str, Any]:
    """The data that a drawing was made from."""
    found = re.search(r"<dc:description>(.*?)</dc:description>", svg.read_text(encoding="utf-8"), re.DOTALL)
    assert found, f"{svg} carries no data"
    data: dict[str, Any] = json.loads(found[1].replace("&gt;", ">"))
    return data


def main() -> None:
    """Print the counts, or write the drawing and the counts of the page."""
    parser = argparse.ArgumentParser(description="Draw and count the package.")
    parser.add_argument("--count", action="store_true", help="print the counts and write nothing")
    if parser.parse_args().count:
        print(count_table(), end="")
        return
    data = architecture()
    with style(), rc_context({"svg.hashsalt": PACKAGE, "svg.fonttype": "path"}):
        figure = draw(data)
        figure.savefig(DRAWING, metadata={"Date": None, "Creator": None, "Description": json.dumps(data)})
        figure.savefig(DRAWING.with_suffix(".png"), metadata={"Software": None})
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(COUNTS.sub(lambda _: count_table(), page), encoding="utf-8")
    print(f"{DRAWING.relative_to(ROOT)}, its PNG, and the counts in {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
