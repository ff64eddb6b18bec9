import dataclasses
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform

from infoplane import open_run
from infoplane.errors import InfoplaneError, MissingData, RunFileError
from infoplane.runfile import LayerInfo, Probe, RunWriter, beside, refuse_existing, run_names
from infoplane.runfile.reader import Run
from infoplane.runfile.schema import Damaged
from infoplane.runfile.writer import MARGIN
from infoplane.targets import CLASSES, MULTILABEL, REGRESSION, Target

N = 20
LAYERS = [LayerInfo("features.0", (3, 2)), LayerInfo("logits", (4,))]
INPUTS = np.random.default_rng(0).standard_normal((N, 5))
PROBE = Probe(Target(CLASSES, np.arange(N) % 3), distances=pdist(INPUTS), indices=np.arange(N) + 100, shape=(5,))


def create(path, **options):
    return RunWriter.create(path, LAYERS, PROBE, config={"seed": 1}, provenance={"device": "cpu"}, **options)


def activations(step, layer):
    rng = np.random.default_rng([step, len(layer)])
    return rng.standard_normal((N, *next(i.shape for i in LAYERS if i.name == layer))).astype(np.float32)


def parameters(step):
    """Of the first layer a sketch of length 8, of the second its 3 parameters."""
    return [np.arange(8, dtype=np.float32) + step, np.full(3, step, np.float32)]


def take(writer, step):
    with writer.snapshot(step, step / 10, {"loss": 1.0 / (step + 1)}) as out:
        out.parameters(parameters(step), [1000, 3], 8)
        features = activations(step, "features.0")
        out.layer("features.0", "distances", pdist(features.reshape(N, -1)), nonfinite=0, constant=False)
        out.layer("logits", "activations", activations(step, "logits"), nonfinite=0, constant=False)


def assert_whole(run, last=0):
    for snapshot in run.snapshots[-last:]:
        expected = pdist(activations(snapshot.step, "features.0").reshape(N, -1).astype(np.float64))
        np.testing.assert_allclose(snapshot.distances("features.0"), expected, rtol=1e-6)
        np.testing.assert_array_equal(snapshot.activations("logits"), activations(snapshot.step, "logits"))
        for layer, values in zip(LAYERS, parameters(snapshot.step), strict=True):
            np.testing.assert_array_equal(snapshot.parameters(layer.name), values)


@pytest.fixture
def run_path(tmp_path):
    path = tmp_path / "run.h5"
    with create(path) as writer:
        for step in (0, 1, 5):
            take(writer, step)
    return path


def test_round_trip(run_path):
    with open_run(run_path) as run:
        assert [snapshot.step for snapshot in run.snapshots] == [0, 1, 5]
        assert run.layers == LAYERS
        assert run.layers[0].features == 6
        assert run.config == {"seed": 1}
        np.testing.assert_array_equal(run.probe.labels, PROBE.labels)
        np.testing.assert_array_equal(run.probe.distances, PROBE.distances)
        np.testing.assert_array_equal(run.probe.indices, PROBE.indices)
        assert run.snapshots[1].metrics == {"loss": 0.5}
        assert run.metrics["epoch"].tolist() == [0, 0.1, 0.5]
        assert_whole(run)
        np.testing.assert_allclose(
            run.snapshots[0].distances("logits"), pdist(activations(0, "logits").astype(np.float64)), rtol=1e-12
        )
        with pytest.raises(MissingData, match="keep='activations'"):
            run.snapshots[0].activations("features.0")
        with pytest.raises(InfoplaneError, match=r"did you mean features\.0"):
            run.snapshots[0].distances("features.1")


TARGETS = [
    Target(CLASSES, np.arange(N) % 3),
    Target(CLASSES, np.arange(N) % 3, ("ant", "bee", "Käfer")),
    Target(MULTILABEL, np.arange(N) % 4, ("none", "a", "b", "a+b")),
    Target(REGRESSION, np.random.default_rng(0).standard_normal((N, 1))),
    Target(REGRESSION, np.random.default_rng(1).standard_normal((N, 4)) * 1e-30),
]


def assert_same(found, expected):
    assert (found.kind, found.names, found.values.dtype) == (expected.kind, expected.names, expected.values.dtype)
    np.testing.assert_array_equal(found.values, expected.values)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.kind} {target.names}")
def test_targets_of_every_kind(tmp_path, target):
    others = {"box": TARGETS[-1], "a/b": TARGETS[1]}
    probe = dataclasses.replace(PROBE, target=target, others=others, input_distance="hamming")
    with RunWriter.create(tmp_path / "run.h5", LAYERS, probe, config={}, provenance={}) as writer:
        take(writer, 0)
        # A copy holds the same.
        writer.set_config({"seed": 2})
    with open_run(tmp_path / "run.h5") as run:
        assert_same(run.probe.target, target)
        assert (run.probe.input_distance, len(run.probe), run.probe.others.keys()) == ("hamming", N, others.keys())
        for name, other in others.items():
            assert_same(run.probe.others[name], other)
        assert_whole(run)


def test_many_names_of_classes_fit(tmp_path):
    """An attribute of HDF5 may be no larger than 64 KiB, unless it is a string."""
    names = tuple(f"a long name of a class with the number {number}" for number in range(3000))
    probe = dataclasses.replace(PROBE, target=Target(CLASSES, np.arange(N) % 3, names))
    RunWriter.create(tmp_path / "run.h5", LAYERS, probe, config={}, provenance={}).close()
    with open_run(tmp_path / "run.h5") as run:
        assert run.probe.target.names == names


def test_notes_on_layers(tmp_path):
    layers = [LayerInfo("a", (3,), "mean over positions"), LayerInfo("b", (2, 2))]
    RunWriter.create(tmp_path / "run.h5", layers, PROBE, config={}, provenance={}).close()
    with open_run(tmp_path / "run.h5") as run:
        assert run.layers == layers


def write_version_1(path):
    """A run of one snapshot as schema version 1 had it, written without infoplane."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.attrs.update(format="infoplane run", schema_version=1, run_id="0" * 32, config="{}", provenance="{}")
        file.attrs["layers"] = json.dumps([["conv", [3, 2]], ["fc", [4]]])
        probe = file.create_group("probe")
        probe.attrs["shape"] = "[5]"
        for name, values in (("labels", np.arange(N) % 3), ("distances", pdist(INPUTS)), ("indices", np.arange(N))):
            probe.create_dataset(name, data=values, fletcher32=True, chunks=values.shape)
        file.create_group("writer").attrs["open"] = False
        slot = file.create_group("snapshots/000000")
        about = {"nonfinite": 0, "constant": False}
        slot.create_dataset("conv", data=pdist(rng.random((N, 6))), dtype="f4").attrs.update(
            kind="distances", **about
        )
        slot.create_dataset("fc", data=rng.random((N, 4)), dtype="f4").attrs.update(kind="activations", **about)
        slot.attrs.update(step=3, epoch=0.5, metrics="{}", complete=True)
        file.create_group("snapshots/000001")


def test_files_of_version_1_are_read_and_gone_on_with(tmp_path):
    path = tmp_path / "run.h5"
    write_version_1(path)
    for steps in ([3], [3, 4]):
        with open_run(path) as run:
            assert run.layers == [LayerInfo("conv", (3, 2)), LayerInfo("fc", (4,))]
            assert_same(run.probe.target, Target(CLASSES, np.arange(N) % 3))
            assert (run.probe.input_distance, run.probe.others, run.probe.shape) == ("euclidean", {}, (5,))
            assert [snapshot.step for snapshot in run.snapshots] == steps
            assert run.snapshots[0].activations("fc").shape == (N, 4)
            assert len(run.snapshots[-1].distances("conv")) == N * (N - 1) // 2
        if steps == [3]:
            with RunWriter.resume(path) as writer, writer.snapshot(4, 0.6, {}) as out:
                out.layer("conv", "distances", pdist(INPUTS), nonfinite=0, constant=False)
                out.layer("fc", "activations", INPUTS[:, :4], nonfinite=0, constant=False)


@pytest.mark.parametrize("size", [7, 3000])
def test_values_keep_the_precision_that_they_are_given_in(tmp_path, size):
    values = 1e9 + np.random.default_rng(0).standard_normal((N, size))
    layers = [LayerInfo("wide", (size,)), LayerInfo("single", (size,)), LayerInfo("far", (size,))]
    with (
        RunWriter.create(tmp_path / "run.h5", layers, PROBE, config={}, provenance={}) as writer,
        writer.snapshot(0, 0.0, {}) as out,
    ):
        out.layer("wide", "activations", values, nonfinite=0, constant=False)
        out.layer("single", "activations", values.astype(np.float32), nonfinite=0, constant=False)
        out.layer("far", "distances", pdist(values), nonfinite=0, constant=False)
    with open_run(tmp_path / "run.h5") as run:
        (snapshot,) = run.snapshots
        np.testing.assert_array_equal(snapshot.activations("wide"), values)
        assert [snapshot.activations(name).dtype for name in ("wide", "single")] == [np.float64, np.float32]
        np.testing.assert_allclose(snapshot.distances("wide"), pdist(values), rtol=1e-6)
        np.testing.assert_allclose(snapshot.distances("far"), pdist(values), rtol=1e-6)
    with h5py.File(tmp_path / "run.h5") as file:
        assert [file[f"snapshots/000000/{name}"].dtype for name in ("single", "far")] == [np.float32, np.float64]


@pytest.mark.parametrize(
    ("place", "attributes", "values", "message"),
    [
        ("probe", {"kind": "ranks"}, None, "unknown kind 'ranks'"),
        ("probe", {}, np.zeros(N - 1, int), rf"/probe/labels has the shape \({N - 1},\), where {N} is due"),
        ("probe", {}, np.zeros(N), "/probe/labels holds float64"),
        ("probe", {"names": '["a", "b"]'}, None, "classes without a name"),
        ("probe/targets/box", {}, np.full((N, 4), np.nan), "NaN or infinite"),
        ("probe/targets/box", {}, np.ones(N), f"where {N} × any is due"),
    ],
)
def test_damaged_targets_are_refused(tmp_path, place, attributes, values, message):
    path = tmp_path / "run.h5"
    probe = dataclasses.replace(PROBE, others={"box": TARGETS[-1]})
    RunWriter.create(path, LAYERS, probe, config={}, provenance={}).close()
    with h5py.File(path, "r+") as file:
        file[place].attrs.update(attributes)
        if values is not None:
            name = "labels" if place == "probe" else "values"
            del file[place][name]
            file[place][name] = values
    with pytest.raises(RunFileError, match=message), open_run(path) as run:
        _ = run.probe


@pytest.mark.parametrize("place", ["probe/targets", "probe/targets/box", "probe/targets/box/values"])
def test_targets_are_not_followed_out_of_the_file(tmp_path, place):
    path = tmp_path / "run.h5"
    probe = dataclasses.replace(PROBE, others={"box": TARGETS[-1]})
    RunWriter.create(path, LAYERS, probe, config={}, provenance={}).close()
    shutil.copy(path, tmp_path / "secret.h5")
    with h5py.File(path, "r+") as file:
        del file[place]
        file[place] = h5py.ExternalLink(str(tmp_path / "secret.h5"), place)
    with pytest.raises(RunFileError, match="link"):
        open_run(path)


def test_new_settings_come_whole_or_not_at_all(run_path, monkeypatch):
    with RunWriter.resume(run_path) as writer:
        before = run_path.stat().st_ino
        writer.set_config({"seed": 1})
        assert run_path.stat().st_ino == before
        writer.set_config({"seed": 2})
        take(writer, 9)
    with open_run(run_path) as run:
        assert run.config == {"seed": 2}
        assert [snapshot.step for snapshot in run.snapshots] == [0, 1, 5, 9]
        assert_whole(run)

    def broken(self, target):
        raise OSError(28, "No space left on device")

    with RunWriter.resume(run_path) as writer:
        monkeypatch.setattr(Path, "replace", broken)
        with pytest.raises(RunFileError, match="No space left on device"):
            writer.set_config({"seed": 3})
    monkeypatch.undo()
    with open_run(run_path) as run:
        assert run.config == {"seed": 2}
        assert_whole(run)
    assert not list(run_path.parent.glob(".infoplane-*"))


def test_old_files_have_no_parameters_and_are_copied_as_they_are(run_path):
    with h5py.File(run_path, "r+") as file:
        del file["snapshots/000000/parameters"]
    with RunWriter.resume(run_path) as writer:
        writer.set_config({"seed": 2})
        take(writer, 9)
    with open_run(run_path) as run:
        assert [len(run.snapshots), run.snapshots[0].parameters("logits")] == [4, None]
        run.snapshots[0].activations("logits")
        assert_whole(run, last=3)


def test_layer_names_with_slashes(tmp_path):
    layers = [LayerInfo("a/x", (2,)), LayerInfo("a", (2,)), LayerInfo("x", (2,))]
    path = tmp_path / "run.h5"
    with RunWriter.create(path, layers, PROBE, config={}, provenance={}) as writer:
        with writer.snapshot(0, 0.0, {}) as out:
            for value, layer in enumerate(layers):
                out.layer(layer.name, "activations", np.full((N, 2), value), nonfinite=0, constant=True)
        writer.set_config({"copied": True})
    with open_run(path) as run:
        assert [run.snapshots[0].activations(layer.name)[0, 0] for layer in layers] == [0, 1, 2]


@pytest.mark.parametrize(
    ("run", "there"),
    [("run.h5", "run.ckpt"), ("lr0.1", "lr0.1.ckpt"), ("a.hdf5", "a.ckpt"), ("run.ckpt", "run.ckpt.ckpt")],
)
def test_what_stands_beside_a_run_has_a_name_of_its_own(run, there):
    assert beside(Path("x") / run, ".ckpt") == Path("x") / there


def test_plain_h5py_reads_it(run_path):
    with h5py.File(run_path) as file:
        done = [slot for slot in file["snapshots"].values() if slot.attrs.get("complete")]
        assert [slot.attrs["step"] for slot in done] == [0, 1, 5]
        data = done[0]["logits"]
        assert (data.shuffle, data.fletcher32, data.compression) == (True, True, "gzip")
        assert data.shape == (N, 4)


def test_more_snapshots_than_slots(tmp_path, monkeypatch):
    monkeypatch.setattr("infoplane.runfile.writer.SLOTS", 4)
    with create(tmp_path / "run.h5", snapshots=1) as writer:
        for step in range(11):
            take(writer, step)
    with open_run(tmp_path / "run.h5") as run:
        assert len(run.snapshots) == 11
        assert_whole(run)


def test_never_overwritten_without_force(run_path):
    before = run_path.read_bytes()
    with pytest.raises(RunFileError, match="force=True"):
        create(run_path)
    assert run_path.read_bytes() == before
    create(run_path, force=True).close()
    with open_run(run_path) as run:
        assert run.snapshots == []


def test_one_writer_at_a_time_and_readers_meanwhile(tmp_path):
    path = tmp_path / "run.h5"
    with create(path) as writer:
        take(writer, 0)
        with pytest.raises(RunFileError, match="being written"):
            RunWriter.resume(path)
        with pytest.raises(RunFileError, match="being written"):
            create(path, force=True)
        code = (
            "import h5py, sys; slots = h5py.File(sys.argv[1])['snapshots'].values(); "
            "print(sum('complete' in slot.attrs for slot in slots))"
        )
        seen = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
        assert seen.stdout.strip() == "1"
        take(writer, 1)
    assert {entry.name for entry in tmp_path.iterdir()} == {"run.h5", ".run.h5.lock"}


def test_a_step_is_recorded_once(run_path):
    with RunWriter.resume(run_path) as writer:
        with pytest.raises(RunFileError, match="step 5 is recorded already"):
            take(writer, 5)
        take(writer, 6)
    with open_run(run_path) as run:
        assert [snapshot.step for snapshot in run.snapshots] == [0, 1, 5, 6]


def test_an_unfinished_snapshot_does_not_count(run_path):
    def broken(writer):
        with writer.snapshot(7, 0.7, {}) as out:
            out.layer("logits", "activations", activations(7, "logits"), nonfinite=0, constant=False)
            raise KeyError("the network broke")

    with RunWriter.resume(run_path) as writer:
        with pytest.raises(KeyError):
            broken(writer)
        take(writer, 7)
    with open_run(run_path) as run:
        assert [snapshot.step for snapshot in run.snapshots] == [0, 1, 5, 7]
        assert_whole(run)


def test_missing(tmp_path):
    with pytest.raises(RunFileError, match="does not exist"):
        open_run(tmp_path / "nothing.h5")


def test_a_folder(tmp_path):
    with pytest.raises(RunFileError, match="is a folder"):
        open_run(tmp_path)


def test_what_is_no_file_is_not_overwritten_either(tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")
    (tmp_path / "folder.h5").mkdir()
    for name, what in (("pipe.h5", "a pipe or a device"), ("folder.h5", "a folder")):
        with pytest.raises(InfoplaneError, match=f"{name} is {what}; give the name of a file"):
            refuse_existing(tmp_path / name, force=True)


def test_foreign(tmp_path):
    text, other = tmp_path / "text.h5", tmp_path / "other.h5"
    text.write_text("not HDF5")
    with pytest.raises(RunFileError, match="not an HDF5 file"):
        open_run(text)
    with h5py.File(other, "w") as file:
        file["x"] = 1
    with pytest.raises(RunFileError, match="not an infoplane run file"):
        open_run(other)


def test_newer_schema(run_path):
    with h5py.File(run_path, "r+") as file:
        file.attrs["schema_version"] = 99
    with pytest.raises(RunFileError, match="upgrade infoplane"):
        open_run(run_path)


@pytest.mark.parametrize("left", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_truncated(run_path, left):
    whole = run_path.read_bytes()
    run_path.write_bytes(whole[: int(len(whole) * left)])
    with pytest.raises(RunFileError, match="truncated or damaged"):
        open_run(run_path)


def test_a_flipped_bit_is_noticed(run_path):
    with h5py.File(run_path) as file:
        data = file["snapshots/000001/logits"]
        offset = data.id.get_chunk_info(0).byte_offset
    raw = bytearray(run_path.read_bytes())
    raw[offset + 5] ^= 1
    run_path.write_bytes(raw)
    with open_run(run_path) as run:
        run.snapshots[0].activations("logits")
        with pytest.raises(RunFileError, match="layer 'logits' at step 1 is damaged"):
            run.snapshots[1].activations("logits")


def test_links_out_of_the_file_are_refused(run_path, tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = np.zeros((N, 4), np.float32)
    with h5py.File(run_path, "r+") as file:
        file.move("snapshots/000000/logits", "aside")
        file["snapshots/000000/logits"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "x")
    with pytest.raises(RunFileError, match="link"):
        open_run(run_path)
    with h5py.File(run_path, "r+") as file:
        del file["snapshots/000000/logits"]
        file.move("aside", "snapshots/000000/logits")
        del file["probe/labels"]
        layout = h5py.VirtualLayout((N,), np.int64)
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "x", (N,))
        file["probe"].create_virtual_dataset("labels", layout)
    with pytest.raises(RunFileError, match="points to another file"):
        open_run(run_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunFileError, match="Permission denied"):
        create(tmp_path / "run.h5")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFileError, match="file is no folder; give another place"):
        create(tmp_path / "file" / "run.h5")


def test_disk_full_is_foreseen(run_path, monkeypatch):
    with RunWriter.resume(run_path) as writer:
        monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 1000))
        with pytest.raises(RunFileError, match=r"disk full.*3 snapshots are safe.*resume=True"):
            take(writer, 6)
    with open_run(run_path) as run:
        assert_whole(run)


def _forked(work):
    """Runs work in a forked child, which needs no new imports."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


def test_a_caller_may_go_on_after_a_full_disk(run_path, monkeypatch):
    with RunWriter.resume(run_path) as writer:
        with monkeypatch.context() as patch:
            patch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 2**20 + 100))
            with pytest.raises(
                RunFileError, match=r"disk full, 1\.[1-9] MiB are needed, 1\.0 are free; its 3 snap"
            ):
                take(writer, 6)
        take(writer, 7)
        take(writer, 8)
    with open_run(run_path) as run:
        assert [snapshot.step for snapshot in run.snapshots] == [0, 1, 5, 7, 8]
        assert_whole(run)


def _write_under(limit, path):
    """Snapshots into a file that may grow to so many bytes, by a child; gives what it says in the end."""
    says = path.with_name("says")

    def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            with RunWriter.resume(path) as writer:
                for step in range(10, 1000):
                    take(writer, step)
        except RunFileError as error:
            says.write_text(str(error))

    os.waitpid(_forked(work), 0)
    return says.read_text()


def test_a_limit_is_foreseen(run_path):
    said = _write_under(run_path.stat().st_size + MARGIN + 100_000, run_path)
    safe = int(
        re.match(
            r"cannot write .*: File too large; its (\d+) snapshots are safe; .*\(ulimit -f\), then go on", said
        )[1]
    )
    with RunWriter.resume(run_path) as writer:
        assert len(writer.steps) == safe > 3
        take(writer, 2000)
    with open_run(run_path) as run:
        assert_whole(run)


def test_disk_full_in_the_middle_of_a_write(run_path, monkeypatch):
    monkeypatch.setattr("infoplane.runfile.writer._try_to_grow", lambda *_: None)
    said = _write_under(run_path.stat().st_size + 3000, run_path)
    assert "File too large" in said
    assert "snapshots are safe" in said
    with open_run(run_path) as run:
        assert {0, 1, 5} <= {snapshot.step for snapshot in run.snapshots}
        assert_whole(run)
    with RunWriter.resume(run_path) as writer:
        take(writer, 100)
    with open_run(run_path) as run:
        assert run.snapshots[-1].step == 100
        assert_whole(run)


def test_a_reader_tries_again_where_a_writer_came_meanwhile(run_path, monkeypatch):
    """A closed file that a writer takes up while it is looked at shows a mixture of before and after."""
    looks, finished = [], Run._finished

    def taken_up(run, count):
        looks.append(run.left_open)
        if len(looks) == 1:
            # HDF5 does not let the process that reads a file write it too.
            os.utime(run_path)
            raise Damaged("slot 000000 cannot be read")
        return finished(run, count)

    monkeypatch.setattr(Run, "_finished", taken_up)
    with open_run(run_path) as run:
        assert [snapshot.step for snapshot in run.snapshots] == [0, 1, 5]
    assert looks == [False, False]


def test_a_damaged_file_that_nobody_writes_is_refused_at_once(run_path, monkeypatch):
    def damaged(run, count):
        raise Damaged("slot 000000 cannot be read")

    monkeypatch.setattr(Run, "_finished", damaged)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("waited"))
    with pytest.raises(RunFileError, match="slot 000000"):
        open_run(run_path)


def test_survives_kill_at_any_moment(tmp_path):
    """A process that does nothing but write is killed 12 times; every snapshot it had announced is there."""
    path, told = tmp_path / "run.h5", tmp_path / "told"
    clock = random.Random(0)
    create(path, snapshots=10).close()

    def work():
        with RunWriter.resume(path) as writer, told.open("w") as log:
            first = len(writer.steps)
            for step in range(first, first + 25):
                take(writer, step)
                log.write(f"{step}\n")
                log.flush()
            signal.pause()

    finished = 0
    for attempt in range(12):
        told.write_text("")
        child = _forked(work)
        deadline = time.monotonic() + 30
        # Every fourth kill may fall into the opening of the file, the others into the writing.
        while attempt % 4 and not told.read_text() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(clock.uniform(0, 0.06))
        with open_run(path) as run:
            assert len(run.snapshots) >= finished
            assert_whole(run, last=20)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        announced = told.read_text().split()
        with open_run(path) as run:
            steps = [snapshot.step for snapshot in run.snapshots]
            assert_whole(run, last=20)
        assert steps == list(range(len(steps)))
        assert len(steps) >= finished
        if announced:
            assert len(steps) > int(announced[-1])
        finished = len(steps)
    assert finished >= 9
    with open_run(path) as run:
        assert_whole(run)


def wide_run(path, samples, shape, values, chunks=None):
    """A run of one wide layer kept as activations; with `chunks`, laid out in the file otherwise."""
    probe = Probe(
        Target(CLASSES, np.arange(samples) % 3), np.ones(samples * (samples - 1) // 2), np.arange(samples), (5,)
    )
    layers = [LayerInfo("wide", shape)]
    with (
        RunWriter.create(path, layers, probe, config={}, provenance={}) as writer,
        writer.snapshot(0, 0.0, {}) as out,
    ):
        out.layer("wide", "activations", values, nonfinite=0, constant=False)
    if chunks:
        with h5py.File(path, "r+") as file:
            slot = file["snapshots/000000"]
            about = dict(slot["wide"].attrs)
            del slot["wide"]
            slot.create_dataset("wide", data=values, chunks=chunks, fletcher32=True).attrs.update(about)
    return path


@pytest.mark.parametrize("chunks", [None, (4, 6, 9, 5), (30, 4, 2, 5)])
@pytest.mark.parametrize("read", [30 * 4, 30 * 4 * 7, 30 * 4 * 60, 10**6])
def test_distances_of_a_wide_layer_are_read_in_chunks_of_features(tmp_path, monkeypatch, chunks, read):
    monkeypatch.setattr("infoplane.runfile.reader.READ_BYTES", read)
    monkeypatch.setattr("infoplane.runfile.chunks.CHUNK_BYTES", 4000)
    values = np.repeat(np.random.default_rng(0).standard_normal((15, 6, 9, 5)) + 1000, 2, axis=0).astype(np.float32)
    with open_run(wide_run(tmp_path / "run.h5", 30, (6, 9, 5), values, chunks)) as run:
        found = run.snapshots[0].distances("wide")
        square = run.snapshots[0].square("wide", torch.device("cpu"))
        np.testing.assert_allclose(square, squareform(found), rtol=1e-14, atol=0)
        np.testing.assert_array_equal(run.snapshots[0].activations("wide"), values)
    expected = pdist(values.reshape(30, -1).astype(np.float64))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=0)


def test_a_flipped_bit_is_noticed_in_the_middle_of_a_layer(tmp_path, monkeypatch):
    monkeypatch.setattr("infoplane.runfile.reader.READ_BYTES", 30 * 4 * 50)
    monkeypatch.setattr("infoplane.runfile.chunks.CHUNK_BYTES", 4000)
    values = np.random.default_rng(0).standard_normal((30, 600)).astype(np.float32)
    path = wide_run(tmp_path / "run.h5", 30, (600,), values)
    with h5py.File(path) as file:
        data = file["snapshots/000000/wide"]
        assert data.chunks[0] == 30
        offset = data.id.get_chunk_info(data.id.get_num_chunks() // 2).byte_offset
    raw = bytearray(path.read_bytes())
    raw[offset + 5] ^= 1
    path.write_bytes(raw)
    with open_run(path) as run, pytest.raises(RunFileError, match="layer 'wide' at step 0 is damaged"):
        run.snapshots[0].distances("wide")


PEAK = """
import resource, sys
from infoplane import kernels, open_run
from infoplane.runfile import reader

reader.READ_BYTES = kernels.CHUNK_BYTES = 2**20
with open_run(sys.argv[1]) as run:
    run.snapshots[0].distances("narrow")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run.snapshots[0].distances("wide")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_distances_of_a_wide_layer_take_little_memory(tmp_path):
    layers, n = [LayerInfo("narrow", (4,)), LayerInfo("wide", (100, 16, 16))], 300
    probe = Probe(Target(CLASSES, np.arange(n) % 3), np.ones(n * (n - 1) // 2), np.arange(n), (5,))
    path = tmp_path / "run.h5"
    with (
        RunWriter.create(path, layers, probe, config={}, provenance={}) as writer,
        writer.snapshot(0, 0.0, {}) as out,
    ):
        for layer in layers:
            values = np.arange(n, dtype=np.float32)[:, None] % np.arange(7, 7 + layer.features)
            values = values.reshape(n, *layer.shape).astype(np.float32)
            out.layer(layer.name, "activations", values, nonfinite=0, constant=False)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, tmp_path / "run.h5"], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) * 1024 < values.nbytes / 3


def test_runs_side_by_side_have_names_of_their_own():
    def names(*paths):
        return run_names([Path(path) for path in paths])

    assert names("a/x.h5", "b/y.h5") == ["x", "y"]
    assert names("a/x.h5", "b/x.h5") == ["a/x", "b/x"]
    assert names("a/lr0.1", "b/lr0.1", "a/lr0.2", "b/lr0.2") == ["a/lr0.1", "b/lr0.1", "a/lr0.2", "b/lr0.2"]
    assert names("a/x.h5", "a/x.hdf5") == ["a/x.h5", "a/x.hdf5"]
