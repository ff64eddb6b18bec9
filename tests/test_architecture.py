"""The page on architecture, and its drawing, say what the package is now."""

import importlib.util
import re
from pathlib import Path

import pytest

pytest.importorskip("grimp")
ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
TEXT = PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def drawn():
    """The script that draws."""
    spec = importlib.util.spec_from_file_location("architecture", PAGE.with_suffix(".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_drawing_shows_the_imports_as_they_are(drawn):
    assert drawn.data_of(drawn.DRAWING) == drawn.architecture(), "the imports have changed: make architecture"
    assert drawn.DRAWING.with_suffix(".png").exists()


def test_all_of_the_drawing_is_on_the_page(drawn):
    figure = drawn.draw(drawn.architecture())
    tight, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(tight.x0, tight.y0) >= -0.01
    assert tight.x1 <= width + 0.01
    assert tight.y1 <= height + 0.01


def test_no_import_leads_upwards(drawn):
    data = drawn.architecture()
    height = {room: place for place, layer in enumerate(data["layers"]) for room in layer}
    for pair in data["imports"]:
        above, below = pair.split(" -> ")
        assert height[above] < height[below], pair


def test_the_counts_of_the_page_are_near_those_of_the_package(drawn):
    stated = dict(re.findall(r"^\| ([^|]+) \| ([\d,]+) \|$", drawn.COUNTS.search(TEXT)[0], re.MULTILINE))
    counted = drawn.counts()
    assert list(stated) == list(counted)
    for name, number in counted.items():
        assert int(stated[name].replace(",", "")) == pytest.approx(number, rel=0.05, abs=2), "make architecture"


def test_every_room_has_its_line(drawn):
    rows = re.findall(r"^\| \[(\w+)\]\(\.\./infoplane/\1(?:\.py)?\) \|", TEXT, re.MULTILINE)
    assert sorted(rows) == sorted(room for layer in drawn.layers() for room in layer)


def test_what_is_to_be_found_is_there():
    rows = re.findall(r"^\| [^|]+ \| \[[^|]+\]\((\S+?\.py)\)[^|]* \| `(\w+)` \|$", TEXT, re.MULTILINE)
    assert len(rows) > 8
    for file, name in rows:
        code = (PAGE.parent / file).read_text(encoding="utf-8")
        assert re.search(rf"^(?:def |class )?{name}\b", code, re.MULTILINE), f"{file} has no {name}"
