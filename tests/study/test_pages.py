"""What the pages of the studies say is what the rows beside them give."""

import contextlib
import io
import itertools
import re
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from infoplane.analysis.comparison.methods import paired_difference
from infoplane.analysis.comparison.results import read_results

FOLDER = Path(__file__).parents[2] / "docs" / "studies"
SCORES = ("test_accuracy", "corrupted_accuracy", "test_iou")
MEAN = re.compile(r"\d+\.\d+ ± \d+\.\d+")
GAP = re.compile(r"[+−]\d+\.\d+ \[[+−]\d+\.\d+, [+−]\d+\.\d+\]")
# In a sentence: 2.6 points [1.0, 4.3].
IN_WORDS = re.compile(r"(?<![+−\d.])\d+\.\d (?:points )?\[−?\d+\.\d, \d+\.\d\]")
PAGES = [page for page in sorted(FOLDER.glob("*/index.md")) if any(page.parent.rglob("results.csv"))]
# Lengths of training that each seed chose are no rows.
CHOSEN = FOLDER / "label-noise" / "tables.py"


def said_by_rows(rows):
    """Every mean ± standard deviation of a variant, and every paired difference of two, in % and points."""
    for score in SCORES:
        values = 100 * rows.pivot(index="seed", columns="variant", values=score).dropna(axis=1, how="all")
        for digits in (1, 2):
            for mean, deviation in zip(values.mean(), values.std(ddof=1), strict=True):
                yield f"{mean:.{digits}f} ± {deviation:.{digits}f}"
            for left, right in itertools.permutations(values.columns, 2):
                gap, low, high, _ = paired_difference(values[left].to_numpy(), values[right].to_numpy())
                yield f"{gap:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]".replace("-", "−")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_means_and_gaps_of_a_page_are_those_of_the_rows(page):
    known = set()
    for path in page.parent.rglob("results.csv"):
        known.update(said_by_rows(read_results(path)))
    texts = [path.read_text("utf-8") for path in page.parent.rglob("measures*.md")]
    if CHOSEN.parent == page.parent:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            runpy.run_path(str(CHOSEN), run_name="__main__")
        texts.append(printed.getvalue())
    for text in texts:
        known.update(MEAN.findall(text), GAP.findall(text), map(with_one_digit, MEAN.findall(text)))
    said = " ".join(page.read_text("utf-8").split())
    known.update([gap.replace("+", "") for gap in known if gap.startswith("+")])
    numbers = (
        MEAN.findall(said) + GAP.findall(said) + [gap.replace("points ", "") for gap in IN_WORDS.findall(said)]
    )
    assert len(numbers) > 10
    assert not [number for number in numbers if number not in known]


def with_one_digit(text):
    return re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.1f}", text)


def test_a_wrong_number_is_found():
    rows = pd.DataFrame(
        {"variant": ["a", "a", "b", "b"], "seed": [0, 1, 0, 1], "test_accuracy": [0.9, 0.8, 0.7, 0.7]}
    )
    rows = rows.assign(corrupted_accuracy=np.nan, test_iou=np.nan)
    said = set(said_by_rows(rows))
    assert "85.00 ± 7.07" in said
    assert "86.00 ± 7.07" not in said
