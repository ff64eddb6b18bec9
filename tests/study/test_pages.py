"""What the pages of the studies say is what the rows beside them give."""

import contextlib
import functools
import io
import itertools
import re
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from infoplane.analysis.comparison.accuracy import blocks_table
from infoplane.analysis.comparison.cells import decoded
from infoplane.analysis.comparison.results import read_results
from infoplane.analysis.stats import student_interval

FOLDER = Path(__file__).parents[2] / "docs" / "studies"
SCORES = ("test_accuracy", "corrupted_accuracy", "test_iou")
MEAN = re.compile(r"\d+\.\d+ ± \d+\.\d+")
# In tables +2.63 [+0.99, +4.27], in sentences 2.6 points [1.0, 4.3].
NUMBER = r"[+−]?\d+\.\d{1,2}"
GAP = re.compile(rf"(?<![\d.]){NUMBER} (?:points )?\[{NUMBER}, {NUMBER}\]")
PAGES = [page for page in sorted(FOLDER.glob("*/index.md")) if any(page.parent.rglob("results.csv"))]
# Lengths of training that each seed chose are no rows.
CHOSEN = FOLDER / "label-noise" / "tables.py"


@functools.cache
def said_by(path):
    """What the rows of a file say; pages share some."""
    return frozenset(said_by_rows(read_results(path)))


def said_by_rows(rows):
    """Every mean ± standard deviation in %, every paired difference of two in points, every information in bits.

    Of the network of each variant, and of the classifier on each of its blocks. That a number is one of these says
    not that it stands in the right place.
    """
    scores = [rows.pivot(index="seed", columns="variant", values=score) for score in SCORES]
    blocks = blocks_table(rows).assign(variant=lambda table: table["variant"] + ", " + table["block"])
    scores[0] = scores[0].join(blocks.pivot(index="seed", columns="variant", values="accuracy"))
    for table in scores:
        values = 100 * table.dropna(axis=1, how="all")
        for mean, deviation in zip(values.mean(), values.std(ddof=1), strict=True):
            yield from (f"{mean:.{digits}f} ± {deviation:.{digits}f}" for digits in (1, 2))
        for left, right in itertools.combinations(values.columns, 2):
            ends = student_interval((values[left] - values[right]).to_numpy())
            yield from (interval(*ends, digits) for digits in (1, 2))
    for variant in set(rows["variant"]):
        layers = pd.DataFrame(map(informations, rows.loc[rows["variant"] == variant, "informations"]))
        for layer in layers:
            yield interval(*student_interval(layers[layer].to_numpy()), 2)


def informations(cell):
    known = decoded(cell) or {"layer": [], "I_XT_corrected": []}
    return dict(zip(known["layer"], known["I_XT_corrected"], strict=True))


def interval(middle, low, high, digits):
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]".replace("-", "−")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_means_and_gaps_of_a_page_are_those_of_the_rows(page):
    said = page.read_text("utf-8")
    # A page may tell what another says that it points to.
    folders = [page.parent, *(page.parent / other for other in re.findall(r"\((\.\./[\w-]+)/index\.md\)", said))]
    known, texts = set(), []
    for folder in folders:
        for path in folder.rglob("results.csv"):
            known.update(said_by(path))
        texts += [path.read_text("utf-8") for path in folder.rglob("measures*.md")]
    if CHOSEN.parent == page.parent:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            runpy.run_path(str(CHOSEN), run_name="__main__")
        texts.append(printed.getvalue())
    for text in texts:
        known.update(numbers_of(text))
    known.update([turned(number) for number in known if GAP.fullmatch(number)])
    numbers = numbers_of(said)
    assert len(numbers) > 10
    assert not [number for number in numbers if number not in known]


def numbers_of(text):
    """Means and gaps that a text gives, as they would be in a sentence."""
    words = " ".join(text.split())
    return [number.replace("points ", "").replace("+", "") for number in MEAN.findall(words) + GAP.findall(words)]


def turned(gap):
    """The gap the other way round."""
    middle, low, high = re.findall(NUMBER, gap)
    return f"−{middle} [−{high}, −{low}]".replace("−−", "")


def test_a_wrong_number_is_found():
    rows = pd.DataFrame(
        {"variant": ["a", "a", "b", "b"], "seed": [0, 1, 0, 1], "test_accuracy": [0.9, 0.8, 0.7, 0.7]}
    )
    rows = rows.assign(
        corrupted_accuracy=np.nan, test_iou=np.nan, blocks="", informations="", method="", subject=""
    )
    said = set(said_by_rows(rows))
    right, wrong = "of 85.00 ± 7.07 %, by +2.6 points [1.0,\n4.3]", "of 86.00 ± 7.07 %"
    assert numbers_of(right) == ["85.00 ± 7.07", "2.6 [1.0, 4.3]"]
    assert numbers_of(right)[0] in said
    assert numbers_of(wrong)[0] not in said
    assert turned("0.30 [−0.41, 1.02]") == "−0.30 [−1.02, 0.41]"
