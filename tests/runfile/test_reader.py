"""Nothing of a run file is believed that does not fit the rest of it."""

import re
import shutil

import h5py
import numpy as np
import pytest
from damaged import OF_FILE, OF_LAYER, OF_PROBE, N, attribute, edited, inside, json_value, whole_run
from scipy.spatial.distance import pdist

from infoplane import open_run
from infoplane.errors import InfoplaneError, RunFileError
from infoplane.runfile import RunWriter, reader
from infoplane.runfile.checks import stored_snapshot


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return whole_run(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def path(whole, tmp_path):
    return shutil.copy(whole, tmp_path / "run.h5")


@pytest.mark.parametrize("fault", OF_FILE, ids=str)
def test_what_does_not_fit_is_refused_on_opening(path, fault):
    fault.make(path)
    with pytest.raises(InfoplaneError, match=re.escape(fault.message)):
        open_run(path)


@pytest.mark.parametrize("fault", OF_PROBE, ids=str)
def test_values_of_the_probe_are_checked_when_they_are_read(path, fault):
    fault.make(path)
    with open_run(path) as run, pytest.raises(RunFileError, match=re.escape(fault.message)):
        _ = run.probe


@pytest.mark.parametrize("fault", OF_LAYER, ids=str)
def test_values_of_a_layer_are_checked_when_they_are_read(path, fault):
    fault.make(path)
    with open_run(path) as run:
        for read in (run.snapshots[1].activations, run.snapshots[1].distances):
            with pytest.raises(RunFileError, match="layer 'fc1' at step .* " + fault.message):
                read("fc1")
        run.snapshots[0].activations("fc1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d * np.nan, "negative, NaN or infinite"),
        (lambda d: -d, "negative, NaN or infinite"),
        (lambda d: d * np.inf, "negative, NaN or infinite"),
    ],
)
def test_distances_of_a_layer_are_checked_when_they_are_read(path, change, message):
    def as_distances(file):
        slot = file["snapshots/000002"]
        values, about = pdist(slot["fc1"][()]), dict(slot["fc1"].attrs)
        del slot["fc1"]
        slot.create_dataset("fc1", data=values, dtype="f4").attrs.update(about | {"kind": "distances"})

    inside(as_distances)(path)
    with open_run(path) as run:
        assert (run.snapshots[2].distances("fc1") > 0).any()
    edited("snapshots/000002/fc1", change)(path)
    with open_run(path) as run, pytest.raises(RunFileError, match=message):
        run.snapshots[2].distances("fc1")
    attribute("snapshots/000002/fc1", "nonfinite", 3)(path)
    with open_run(path) as run:
        assert len(run.snapshots[2].distances("fc1")) == N * (N - 1) // 2


def test_a_constant_layer_is_constant(path):
    attribute("snapshots/000001/fc1", "constant", True)(path)
    with open_run(path) as run, pytest.raises(RunFileError, match="constant by its attributes, and is not"):
        run.snapshots[1].distances("fc1")
    edited("snapshots/000001/fc1", lambda values: values * 0 + 3)(path)
    with open_run(path) as run:
        assert not run.snapshots[1].distances("fc1").any()


def test_parameters_that_are_not_finite_are_named(path, caplog):
    edited("snapshots/000001/parameters", lambda values: values * np.nan)(path)
    with open_run(path) as run:
        assert np.isnan(run.snapshots[1].parameters("fc1")).all()
    assert "parameters of layer 'fc1' at step" in caplog.text


def flip(path, address):
    raw = bytearray(path.read_bytes())
    raw[address] ^= 0xFF
    path.write_bytes(raw)


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("slot", ["000000", "000001", "000003"])
def test_one_damaged_byte_in_a_finished_snapshot_is_named(path, slot, is_open):
    """Whether the file was closed, or its writer killed."""
    with h5py.File(path, "r+") as file:
        file["writer"].attrs.modify("open", is_open)
        address = h5py.h5o.get_info(file[f"snapshots/{slot}"].id).addr
    flip(path, address)
    before = path.read_bytes()
    for read in (open_run, RunWriter.resume):
        with pytest.raises(RunFileError, match=f"slot {slot}: /snapshots/{slot} cannot be read"):
            read(path)
    assert path.read_bytes() == before


def test_a_configuration_of_an_own_loop_is_shown_whatever_it_holds(path):
    for name, value in {"train_size": "a tenth", "lr": [1, 2], "label_noise": {"kind": "own"}}.items():
        json_value("/", "config", name, value)(path)
    json_value("results", "numbers", "test_accuracy", "high")(path)
    with open_run(path) as run:
        assert "mlp on digits (a tenth training samples, " in repr(run)
        assert "lr [1, 2]" in repr(run)


def test_any_snapshot_that_lost_its_attributes_is_missed(path):
    for slot in ("000003", "000000"):

        def forget(file, slot=slot):
            for name in [*file[f"snapshots/{slot}"].attrs]:
                del file[f"snapshots/{slot}"].attrs[name]

        inside(forget)(path)
        with pytest.raises(RunFileError, match="of 4 finished snapshots can be read"):
            open_run(path)


def as_before(file):
    """A file of an infoplane that did not count its snapshots."""
    del file["writer"].attrs["finished"]


def test_files_of_before_are_read_and_keep_what_stands_without_a_mark(path, caplog):
    inside(as_before)(path)
    with h5py.File(path, "r+") as file:
        del file["snapshots/000001"].attrs["complete"]
    with open_run(path) as run:
        assert len(run.snapshots) == 3
    assert "slots without the mark of a finished snapshot: 000001; they are left out" in caplog.text
    with RunWriter.resume(path) as writer:
        assert len(writer.steps) == 3
    with h5py.File(path, "r+") as file:
        assert file["writer"].attrs["finished"] == 3
        file["snapshots/000001"].attrs["complete"] = True
    with open_run(path) as run:
        assert [snapshot.step for snapshot in run.snapshots] == sorted([*writer.steps, run.snapshots[1].step])
        run.snapshots[1].activations("fc1")


def test_a_killed_writer_leaves_only_its_last_slot_unfinished(path):
    inside(as_before)(path)
    with h5py.File(path, "r+") as file:
        file["writer"].attrs.modify("open", True)
        file["snapshots/000004"].attrs["step"] = 99
    with open_run(path) as run:
        assert (len(run.snapshots), len(run.slots)) == (4, 4)
    with RunWriter.resume(path) as writer:
        assert len(writer.steps) == 4
    with h5py.File(path) as file:
        assert not len(file["snapshots/000004"].attrs)


def test_a_file_that_changed_a_moment_ago_is_looked_at_each_time(path, monkeypatch):
    looks = []
    monkeypatch.setattr(reader, "stored_snapshot", lambda *given: looks.append(given) or stored_snapshot(*given))
    for _ in range(2):
        with open_run(path) as run:
            snapshots = len(run.snapshots)
    assert len(looks) == 2 * snapshots
