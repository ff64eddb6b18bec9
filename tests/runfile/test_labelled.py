"""Runs for other programs: the named axes of the file itself, xarray, netCDF, CSV."""

import sys

import h5py
import numpy as np
import pandas as pd
import pytest
from recorded import make_run
from scipy.spatial.distance import squareform
from written import continuous, made

from infoplane import open_run
from infoplane.errors import InfoplaneError
from infoplane.runfile import LayerInfo, Probe, RunWriter, export_csv, export_netcdf, export_paths
from infoplane.targets import CLASSES, Target

xarray = pytest.importorskip("xarray", reason="labelled data sets need the extra 'xarray'")
pytest.importorskip("h5netcdf", reason="labelled data sets need the extra 'xarray'")


@pytest.fixture
def path(tmp_path, probe):
    return make_run(tmp_path / "run.h5", probe, steps=(0, 1, 5), keep="auto")


def groups(path):
    """The file as xarray opens it, without knowing of infoplane."""
    with xarray.open_datatree(path, engine="h5netcdf") as tree:
        return tree.load()


def assert_named(path):
    """Every finished snapshot and the probe open with names on their axes, and hold what infoplane reads."""
    tree = groups(path)
    with open_run(path) as run:
        for snapshot in run.snapshots:
            slot = tree[snapshot.place]
            assert slot.attrs["step"] == snapshot.step
            for layer in run.layers:
                values = slot[layer.name]
                if snapshot.kind(layer.name) == "distances":
                    assert values.dims == ("pair",)
                    np.testing.assert_array_equal(values, snapshot.distances(layer.name).astype(np.float32))
                else:
                    assert values.dims == ("sample", *(f"{layer.name}_axis{a}" for a in range(1, values.ndim)))
                    np.testing.assert_array_equal(values, snapshot.activations(layer.name))
        np.testing.assert_array_equal(tree["probe"]["labels"], run.probe.labels)
        assert tree["probe"]["distances"].dims == ("pair",)
        return tree


def test_xarray_opens_a_run_file(path):
    assert_named(path)


def test_copies_keep_the_names(path):
    with RunWriter.resume(path) as writer:
        arrays = {"predictions": np.arange(7), "labels": np.arange(7), "confusion": np.eye(3, dtype=int)}
        writer.set_results({"test_accuracy": 1.0}, arrays)
        writer.set_config({"lr": 1})
        writer.set_results({"test_accuracy": 0.5}, arrays)
    tree = assert_named(path)
    assert tree["results"]["confusion"].dims == ("true_class", "predicted_class")
    assert tree["results"]["predictions"].dims == ("test_sample",)
    with open_run(path) as run:
        np.testing.assert_array_equal(run.result("confusion"), np.eye(3))


def test_files_without_names_are_read_and_gone_on_with(path):
    with h5py.File(path, "r+") as file:
        for group in ("probe", *(f"snapshots/{slot:06d}" for slot in range(3))):
            for name in [name for name in file[group] if file[group][name].is_scale]:
                del file[group][name]
            for data in file[group].values():
                for attribute in ("DIMENSION_LIST", "DIMENSION_LABELS"):
                    data.attrs.pop(attribute, None)
    with RunWriter.resume(path) as writer:
        writer.set_config({"lr": 1})
    with open_run(path) as run:
        assert len(run.snapshots) == 3
        assert run.to_xarray().sizes["step"] == 3


@pytest.mark.parametrize("labels", [True, "sample", ["a/b"], [""], ["a", "b", "c"], 3.0])
def test_names_of_axes_that_are_something_else_are_named(path, labels):
    """HDF5 crashes where it reads them."""
    with open_run(path) as run:
        place = f"{run.snapshots[0].place}/{run.layers[0].name}"
    with h5py.File(path, "r+") as file:
        del file[place].attrs["DIMENSION_LABELS"]
        file[place].attrs["DIMENSION_LABELS"] = labels
    damaged = pytest.raises(InfoplaneError, match=r"is damaged: the names of the axes of .* are .*; it is as it")
    with damaged, RunWriter.resume(path) as writer:
        writer.set_config({"lr": 1})
    with open_run(path) as run:
        assert len(run.snapshots) == 3


@pytest.mark.parametrize("kind", ["no labels", "link"])
def test_axes_that_lost_their_names_or_are_links_are_named(path, kind):
    with h5py.File(path, "r+") as file:
        slot = file["snapshots/000000"]
        if kind == "link":
            scale = next(name for name in slot if slot[name].is_scale)
            del slot[scale]
            slot[scale] = h5py.SoftLink("/nowhere")
        else:
            layer = next(name for name in slot if "DIMENSION_LABELS" in slot[name].attrs)
            del slot[layer].attrs["DIMENSION_LABELS"]
    damaged = pytest.raises(InfoplaneError, match=r"is damaged: .* (is a link|are 'missing')")
    with damaged, RunWriter.resume(path) as writer:
        writer.set_config({"lr": 1})
    with open_run(path) as run:
        assert len(run.snapshots) == 3


def test_no_axis_has_the_name_of_a_layer(tmp_path):
    layers = [LayerInfo(name, (2,)) for name in ("sample", "pair", "sample_axis1", "metrics", "step")]
    probe = Probe(Target(CLASSES, np.arange(6) % 2), np.ones(15), np.arange(6), (1,))
    with (
        RunWriter.create(tmp_path / "run.h5", layers, probe, config={}, provenance={}) as writer,
        writer.snapshot(0, 0.0, {}) as out,
    ):
        for layer in layers:
            out.layer(layer.name, "activations", np.random.rand(6, 2), nonfinite=0, constant=False)  # noqa: NPY002
    slot = groups(tmp_path / "run.h5")["/snapshots/000000"]
    assert {*slot.data_vars} == {layer.name for layer in layers}
    with open_run(tmp_path / "run.h5") as run:
        data = run.to_xarray()
        np.testing.assert_array_equal(data["sample_"][0], run.snapshots[0].activations("sample"))
        assert {"pair_", "metrics_", "step_"} < {*data.data_vars}
        export_netcdf(run, tmp_path / "run.nc")


def test_the_labelled_data_set_holds_what_the_run_does(path, probe):
    with open_run(path) as run:
        data, names = run.to_xarray(), [layer.name for layer in run.layers]
        assert data["step"].values.tolist() == [0, 1, 5]
        assert data["epoch"].values.tolist() == [0, 0.5, 2.5]
        assert data["metrics"].sel(metric="loss", step=5) == 1.0
        assert data.attrs["layers"] == names
        for snapshot in run.snapshots:
            for name in names:
                values = data[name].sel(step=snapshot.step)
                if values.dims == ("pair",):
                    np.testing.assert_array_equal(values, snapshot.distances(name))
                else:
                    np.testing.assert_array_equal(values, snapshot.activations(name))
        assert {data[name].dims[1] for name in names} == {"pair", "sample"}
        square = squareform(run.probe.distances)
        pairs = square[data["pair_i"], data["pair_j"]]
        np.testing.assert_array_equal(pairs, data["input_distances"])
        np.testing.assert_array_equal(data["labels"], probe[1])
        assert [*run.to_xarray(names[:1]).data_vars] == ["metrics", "input_distances", names[0]]
        with pytest.raises(InfoplaneError, match="unknown layer"):
            run.to_xarray(["logit"])


def test_continuous_targets_are_values(tmp_path):
    rng = np.random.default_rng(0)
    path = made(tmp_path / "run.h5", rng.standard_normal((8, 2)), rng.standard_normal((8, 3)), continuous(range(8)))
    with open_run(path) as run:
        data = run.to_xarray()
        np.testing.assert_array_equal(data["values"][:, 0], range(8))
        export_netcdf(run, tmp_path / "run.nc")
    with xarray.open_dataset(tmp_path / "run.nc") as read:
        assert read["values"].dims == ("sample", "value")


def test_export(infoplane, path, tmp_path):
    assert infoplane("export", path, "--csv", "--netcdf")[:2] == (
        0,
        f"{tmp_path}/run-metrics.csv\n{tmp_path}/run.nc\n",
    )
    table = pd.read_csv(tmp_path / "run-metrics.csv")
    assert table[["step", "epoch", "loss"]].to_numpy().tolist() == [[0, 0, 1], [1, 0.5, 1], [5, 2.5, 1]]
    with open_run(path) as run, xarray.open_dataset(tmp_path / "run.nc") as read:
        assert read.drop_attrs().equals(run.to_xarray().drop_attrs())
        assert read.attrs["run_id"] == run.run_id
    assert infoplane("export", path, "--netcdf", "--csv")[0] == 0  # what infoplane made is made again
    (tmp_path / "run.nc").write_text("my own")
    code, _, complaint = infoplane("export", path, "--netcdf")
    assert (code, "infoplane did not make it" in complaint) == (1, True)
    assert (tmp_path / "run.nc").read_text() == "my own"
    assert infoplane("export", path, "--netcdf", "--layers", "8", "-o", tmp_path / "small")[0] == 0
    with xarray.open_dataset(tmp_path / "small.nc") as read:
        assert {*read.data_vars} == {"metrics", "input_distances", "8"}
    assert infoplane("export", path)[0] == 2
    assert "--layers is of --netcdf" in infoplane("export", path, "--csv", "--layers", "8")[2]
    assert infoplane("export", path, path, "--csv", "-o", "both")[0] == 2


def test_what_is_missing_is_named(path, tmp_path, probe, monkeypatch):
    with open_run(path) as run:
        monkeypatch.setitem(sys.modules, "h5netcdf", None)
        with pytest.raises(InfoplaneError, match=r'needs h5netcdf; install it: pip install "infoplane\[xarray\]"'):
            export_netcdf(run, tmp_path / "run.nc")
        monkeypatch.setitem(sys.modules, "xarray", None)
        with pytest.raises(InfoplaneError, match="needs xarray"):
            run.to_xarray()
        assert export_csv(run, export_paths(path, ["csv"])["csv"]).exists()
