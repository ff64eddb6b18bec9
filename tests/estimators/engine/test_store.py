"""A table of estimates that was cut, changed or written twice: what is not sound is made again."""

import re

import pandas as pd
import pytest
from recorded import make_run

from infoplane.errors import InfoplaneError
from infoplane.estimators.base import LayerEstimator
from infoplane.estimators.batches import Batches
from infoplane.estimators.engine.estimate import estimate_run, estimates_path
from infoplane.estimators.pairs import estimate_pairs, pairs_path
from infoplane.estimators.registry import make_settings


@pytest.fixture
def run_path(tmp_path, probe):
    return make_run(tmp_path / "run.h5", probe, steps=(0, 1))


@pytest.fixture
def made(monkeypatch):
    """What is estimated, in order."""
    calls = []
    plain = LayerEstimator.estimate

    def estimate(self, view, told=None):
        calls.append((view.step, view.layer))
        return plain(self, view, told)

    monkeypatch.setattr(LayerEstimator, "estimate", estimate)
    return calls


def cell(row, column, text):
    """A change of one cell; rows count from 0 below the header."""

    def change(lines):
        header = lines[0].split(",")
        cells = lines[1 + row].split(",")
        cells[header.index(column)] = text
        return [*lines[: 1 + row], ",".join(cells), *lines[2 + row :]]

    return change


# Each change of a table of two rows for each of (step, layer), and which of these six are made again.
CHANGES = {
    "cut inside the last row": (lambda lines: [*lines[:-1], lines[-1][:-60]], [5]),
    "cut inside the last cell": (lambda lines: [*lines[:-1], lines[-1][:-1]], [5]),
    "a row twice": (lambda lines: [*lines, lines[2]], [1]),
    "a row twice with another value": (lambda lines: [*lines, cell(1, "I_XT", "1.5")(lines)[2]], [1]),
    "a row too short": (lambda lines: [*lines[:3], lines[3].rpartition(",")[0], *lines[4:]], [2]),
    "a row too long": (lambda lines: [*lines[:3], lines[3] + ",7", *lines[4:]], [2]),
    "a quote that is never closed": (lambda lines: [*lines[:4], '"' + lines[4], *lines[5:]], [3, 4, 5]),
    "no status": (cell(0, "status", ""), [0]),
    "no value": (cell(2, "I_XT", ""), [2]),
    "no entropy": (cell(2, "S_T", ""), [2]),
    "an infinite value": (cell(2, "I_TY", "inf"), [2]),
    "values where there is no estimate": (cell(2, "status", "constant"), [2]),
    "a value that is no number": (cell(3, "S_X", "4.x"), [3]),
    "a step that is no whole number": (cell(3, "step", "1.5"), [3]),
    "a step beyond whole numbers": (cell(3, "step", "9" * 30), [3]),
    "another share of repeats": (cell(3, "repeats", "-3"), [3]),
    "another epoch": (cell(3, "epoch", "7.5"), [3]),
    "no epochs": (lambda lines: [lines[0].replace("epoch,", "age,"), *lines[1:]], [*range(6)]),
    "no entropies of the target": (lambda lines: [lines[0].replace("S_Y,", ","), *lines[1:]], [*range(6)]),
    "no layers": (lambda lines: [lines[0].replace(",layer,", ",player,"), *lines[1:]], [*range(6)]),
    "an unknown step": (cell(3, "step", "7"), [3]),
    "an unknown layer": (cell(4, "layer", "9"), [4]),
    "another depth": (cell(4, "depth", "3"), [4]),
    "another number of features": (cell(4, "features", "3"), [4]),
    "another number of samples": (cell(4, "n", "29"), [4]),
    "no settings": (cell(1, "alpha", ""), [1]),
    "a column without its name": (lambda lines: [lines[0].replace("I_TY,", "I_TX,"), *lines[1:]], [*range(6)]),
    "bytes of no text": (lambda lines: [*lines[:2], lines[2].replace("renyi", "re\udcffnyi"), *lines[3:]], [1]),
    "nothing": (lambda _: [], [*range(6)]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_rows_that_are_not_sound_are_made_again(run_path, made, name):
    change, again = CHANGES[name]
    path = estimates_path(run_path)
    before = estimate_run(run_path, make_settings("renyi"))
    header, *rows = path.read_text().splitlines()
    place = [header.split(",").index(name) for name in ("step", "depth")]
    lines = change([header, *sorted(rows, key=lambda row: [int(row.split(",")[k]) for k in place])])
    # Only a cut leaves a last line without its end.
    path.write_text("\n".join(lines) + "\n" * ("cut" not in name), encoding="utf-8", errors="surrogateescape")
    made.clear()
    after = estimate_run(run_path, make_settings("renyi"))
    assert sorted(made) == sorted((before["step"][row], before["layer"][row]) for row in again)
    pd.testing.assert_frame_equal(after, before)
    stored = pd.read_csv(path, dtype={"layer": str})
    assert (
        stored[stored["alpha"].notna()].sort_values(["step", "depth"])["I_XT"].tolist() == before["I_XT"].tolist()
    )
    made.clear()
    estimate_run(run_path, make_settings("renyi"))
    assert not made


def test_a_batch_that_is_lost_is_made_again_with_the_others_of_its_layer(run_path, made):
    batches = Batches(3, 9)
    before = estimate_run(run_path, make_settings("cka"), batches)
    path = estimates_path(run_path)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    made.clear()
    pd.testing.assert_frame_equal(estimate_run(run_path, make_settings("cka"), batches), before)
    assert len(made) == 3
    assert len(pd.read_csv(path)) == len(before)


@pytest.mark.parametrize("estimator", ["renyi", "binning", "kde", "ksg", "gaussian", "hsic"])
def test_whole_tables_are_never_made_again(tmp_path, probe, made, estimator):
    """Also where a layer has no estimate."""
    path = make_run(tmp_path / "run.h5", probe, wreck=lambda net: net[6].weight.zero_())
    before = estimate_run(path, make_settings(estimator))
    assert "constant" in set(before["status"])
    made.clear()
    pd.testing.assert_frame_equal(estimate_run(path, make_settings(estimator)), before, check_dtype=False)
    assert not made


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "run_id,version,run_id\n1,2,3\n"], ids=["a folder", "another table", "a name twice"]
)
def test_what_is_no_table_is_named(run_path, text):
    path = estimates_path(run_path)
    path.write_text(text) if text else path.mkdir()
    with pytest.raises(
        InfoplaneError, match=rf"{re.escape(str(path))} is (no .* and estimate again|a folder; give)"
    ):
        estimate_run(run_path, make_settings("renyi"))


SURPLUS = {
    "a row with a cell too many": lambda lines: [*lines, lines[2][:-1] + ",7\n"],
    "a row of another run": lambda lines: [*lines, "0" * 32 + lines[2][32:]],
    "a row that is cut": lambda lines: [*lines, lines[2][:40]],
}


@pytest.mark.parametrize("name", SURPLUS)
@pytest.mark.parametrize(
    ("estimates", "table"),
    [(lambda path: estimate_run(path, make_settings("cka")), estimates_path), (estimate_pairs, pairs_path)],
    ids=["layers", "pairs"],
)
def test_what_is_no_row_does_not_stay(run_path, estimates, table, name):
    before = estimates(run_path)
    path = table(run_path)
    whole = path.read_text()
    path.write_text("".join(SURPLUS[name](whole.splitlines(keepends=True))))
    assert path.read_text() != whole
    pd.testing.assert_frame_equal(estimates(run_path), before)
    assert path.read_text() == whole


@pytest.mark.parametrize("again", ["cut", "twice", "missing", "renamed"])
def test_pairs_that_are_not_sound_are_made_again(run_path, again):
    before = estimate_pairs(run_path)
    path = pairs_path(run_path)
    lines = path.read_text().splitlines(keepends=True)
    itself = next(number for number, line in enumerate(lines) if "X,X" in line)
    changed = {
        "cut": [*lines[:-1], lines[-1][:-4]],
        "twice": [*lines, lines[1]],
        "missing": [*lines[:5], *lines[6:]],
        "renamed": [*lines[:itself], lines[itself].replace("X,X", "X,Y"), *lines[itself + 1 :]],
    }[again]
    assert changed != lines
    path.write_text("".join(changed))
    pd.testing.assert_frame_equal(estimate_pairs(run_path), before)
    stored = pd.read_csv(path)
    assert len(stored) == len(before)
    assert sorted(stored["information"]) == sorted(before["information"])
