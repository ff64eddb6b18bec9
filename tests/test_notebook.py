"""The notebook that goes from a model to its plane runs as it is, and shows what it promises."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed; it comes with nbclient")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install -e '.[dev]'")
pytest.importorskip("ipykernel", reason="ipykernel is not installed: pip install -e '.[dev]'")

NOTEBOOK = Path(__file__).parents[1] / "examples" / "first_plane.ipynb"


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The cells of code after a run in a folder of their own, with this Python."""
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        # A kernel of this interpreter, whatever kernels the user has, and none of the user's settings of IPython.
        patch.setenv("JUPYTER_DATA_DIR", str(folder / "jupyter"))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.delenv("MPLBACKEND", raising=False)  # figures are drawn as in any notebook: inline
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        nbclient.NotebookClient(
            notebook, timeout=200, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        ).execute()
    assert (folder / "first.h5").exists()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell, kind):
    """What a cell shows of one MIME type."""
    return [output["data"][kind] for output in cell.outputs if kind in output.get("data", {})]


def test_the_committed_notebook_holds_no_outputs():
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_only_the_front_door_is_used():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert "import infoplane as ip" in code
    assert "from infoplane" not in code
    assert "import infoplane." not in code


def test_the_run_and_the_plane_show_themselves(cells):
    for cell in (cells[1], cells[3]):
        [html] = shown(cell, "text/html")
        [text] = shown(cell, "text/plain")
        assert all(layer in html and layer in text for layer in ("hidden1", "hidden2", "logits"))
    assert "<table" in shown(cells[3], "text/html")[0]


def test_the_table_is_of_a_network_that_learned(cells):
    [html] = shown(cells[2], "text/html")
    assert html.count("<td>ok</td>") == 3
    assert "I_TY_corrected" in html


def test_the_plane_is_drawn_inline_and_once(cells):
    [image] = shown(cells[-1], "image/png")
    assert len(image) > 10_000
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
