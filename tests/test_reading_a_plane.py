"""The script behind the page on reading a plane draws and prints what stands in the runs."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from recorded import make_runs

from infoplane.estimators.batches import Batches

SCRIPT = Path(__file__).parents[1] / "docs" / "reading_a_plane.py"


@pytest.fixture
def page(tmp_path, probe, monkeypatch):
    """The script with three small runs in the place of the studies."""
    spec = importlib.util.spec_from_file_location("reading_a_plane", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    make_runs(tmp_path, probe, 3)
    monkeypatch.setattr(module, "BATCHES", Batches(2, 12))
    return module


def test_slopes_and_curves_are_those_of_the_layers(page, tmp_path):
    table = page.last_snapshots(tmp_path)
    planes = page.means(table)
    found = page.slopes(table).set_index("bandwidth")
    for rule, plane in planes.items():
        assert set(plane["step"]) == {2}
        expected = np.polyfit(plane["depth"], plane["I_XT"], 1)[0]
        assert float(found.loc[rule, "I(X;T), raw"].split()[0].replace("−", "-")) == pytest.approx(
            expected, abs=6e-4
        )
    figure = page.draw({"small": planes})
    curves = [line for axes in figure.findobj(type(figure.axes[0])) for line in axes.lines]
    drawn = [line.get_ydata().tolist() for line in curves]
    assert drawn == [planes[rule][column].tolist() for column in page.COLUMNS for rule in page.RULES]
    assert page.layers(planes)["layer"].tolist() == planes["knn:10"]["layer"].tolist()
