"""The python blocks of docs/run-file.md run as they stand, and its tables name what the files hold."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.spatial.distance import squareform

from infoplane import open_run
from infoplane.analysis.gather import gather
from infoplane.estimators.renyi import RenyiSettings
from infoplane.trainers.session import record
from infoplane.trainers.settings import TrainingSettings

PAGE = Path(__file__).parents[1] / "docs" / "run-file.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
NAMED = set(re.findall(r"^\| `([^`]+)`", TEXT, re.MULTILINE))

RUN = TrainingSettings(
    model="mlp", widths=(32, 8), epochs=1, snapshots="3", probe_size=40, eval_size=100, layers=("fc?", "logits")
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a small run, its checkpoint and its estimates."""
    folder = tmp_path_factory.mktemp("docs")
    record(RUN, folder / "run.h5")
    gather([folder / "run.h5"], RenyiSettings(permutations=2))
    return folder


def run_block(index):
    names = {}
    exec(compile(BLOCKS[index], PAGE.name, "exec"), names)
    return names


@pytest.mark.parametrize("index", range(len(BLOCKS)))
def test_block_runs(index, folder, monkeypatch):
    monkeypatch.chdir(folder)
    run_block(index)


def test_the_reading_example_sees_what_infoplane_sees(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    names = run_block(0)
    with open_run("run.h5") as run:
        expected = squareform(run.snapshots[-1].distances(run.layers[0].name))
        printed = [int(line.split()[0]) for line in capsys.readouterr().out.splitlines()]
        assert printed == [snapshot.step for snapshot in run.snapshots]
    np.testing.assert_allclose(names["distances"], expected, rtol=1e-6)


def test_every_attribute_and_dataset_is_explained(folder):
    found = set()
    with h5py.File(folder / "run.h5") as file:
        found |= set(file.attrs) | {f"/probe/{name}" for name in file["probe"]} | {f"/{name}" for name in file}
        slot = file["snapshots/000000"]
        found |= set(slot.attrs) | {name for data in slot.values() for name in data.attrs}
        slot_names = set(slot)
        kinds = {data.attrs["kind"] for data in slot.values() if not data.is_scale}
        assert set(file["writer"].attrs) == {"open", "finished"}
    assert "parameters" in slot_names
    assert found - {"/probe", "/snapshots"} <= NAMED
    assert kinds == {"activations", "distances", "parameters"}


def test_every_column_of_the_estimates_is_explained(folder):
    estimates, _ = gather([folder / "run.h5"], RenyiSettings(permutations=2))
    assert set(estimates.columns) <= NAMED
    for status in ("ok", "at null", "constant", "not finite", "infinite", "outlier", "no value", "no bandwidth"):
        assert status in NAMED


def test_every_test_that_the_page_of_what_is_supported_names_is_there():
    page = (PAGE.parent / "supported.md").read_text()
    named = re.findall(r"`([\w/]*test_\w+\.py)::(test_\w+)`", page)
    assert len(named) > 30
    for file, test in named:
        assert f"\ndef {test}(" in (Path(__file__).parent / file).read_text(), f"{file}::{test}"


@pytest.mark.parametrize("page", sorted(PAGE.parent.glob("*.md")), ids=lambda page: page.name)
def test_the_links_of_every_page_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_every_page_is_in_the_index():
    index = (PAGE.parent / "README.md").read_text(encoding="utf-8")
    for page in PAGE.parent.glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in index, page.name
