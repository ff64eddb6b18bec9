import os
import re
import shutil
import socket
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from infoplane import open_run
from infoplane.data import (
    DATASETS,
    Dataset,
    DatasetSpec,
    Split,
    balanced_probe,
    dataset_spec,
    gtsrb,
    load,
    load_dataset,
)
from infoplane.data import download as obtain
from infoplane.data.dataset import channel_statistics
from infoplane.data.probe import probe_from
from infoplane.errors import InfoplaneError
from infoplane.trainers.meter import measure_step
from infoplane.trainers.session import record
from infoplane.trainers.settings import TrainingSettings

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def offline(monkeypatch):
    """No test touches the network; gives the time-outs under which a download was tried."""
    timeouts: list[float | None] = []

    def refuse(name: str, root: Path, download: bool = False, original=obtain._open_torchvision):
        if download:
            timeouts.append(socket.getdefaulttimeout())
            (root / "half").write_text("a file that was cut off")
            raise OSError("<urlopen error [Errno -2] Name or service not known>")
        return original(name, root)

    monkeypatch.setattr(obtain, "_open_torchvision", refuse)
    return timeouts


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits", Path())


def test_specs_need_no_data():
    assert dataset_spec("cifar100").shape == (3, 32, 32)
    assert dataset_spec("cifar100").classes == 100
    assert dataset_spec("mnist", 32).shape == (1, 32, 32)
    assert dataset_spec("gtsrb") is DATASETS["gtsrb"]
    with pytest.raises(InfoplaneError, match="unknown data set 'cifar'; did you mean cifar10"):
        dataset_spec("cifar")
    with pytest.raises(InfoplaneError, match="'szt' holds no images"):
        dataset_spec("szt", 32)
    with pytest.raises(InfoplaneError, match="size of 0 is impossible"):
        dataset_spec("mnist", 0)


def test_digits_split_is_fixed_stratified_and_disjoint(digits):
    assert (len(digits.train), len(digits.test)) == (1197, 600)
    assert digits.train.inputs.shape == (1197, 1, 8, 8)
    assert digits.train.inputs.dtype == torch.uint8
    assert digits.train.labels.dtype == torch.int64
    assert set(digits.train.inputs.unique().tolist()) == set(range(0, 241, 15))
    torch.manual_seed(1)
    again = load_dataset("digits", Path())
    assert torch.equal(again.test.inputs, digits.test.inputs)
    counts = digits.test.labels.bincount()
    assert counts.min() >= 57
    assert counts.max() <= 62
    rows = [{row.numpy().tobytes() for row in split.inputs} for split in (digits.train, digits.test)]
    assert not rows[0] & rows[1]
    assert len(rows[0] | rows[1]) == 1797


def test_batches_are_normalised(digits):
    inputs, labels = digits.batch(digits.train, slice(None), "cpu")
    assert inputs.dtype == torch.float32
    assert abs(inputs.mean()) < 1e-5
    assert abs(inputs.std(correction=0) - 1) < 1e-5
    picked, some = digits.batch(digits.train, torch.tensor([5, 3]), "cpu")
    assert torch.equal(picked, inputs[[5, 3]])
    assert torch.equal(some, labels[[5, 3]])
    moved = digits.to("cpu")
    assert torch.equal(moved.batch(moved.train, slice(4), "cpu")[0], inputs[:4])


def test_statistics_are_those_of_the_pixels():
    images = torch.randint(0, 256, (7, 3, 5, 4), dtype=torch.uint8)
    mean, std = channel_statistics(images)
    pixels = images.double().transpose(0, 1).flatten(1) / 255
    torch.testing.assert_close(mean, pixels.mean(1).float())
    torch.testing.assert_close(std, pixels.std(1, correction=0).float())


def test_images_are_resized_and_measured_in_little_more_than_their_own_memory():
    pixels = torch.randint(256, (10_000, 3, 8, 8), dtype=torch.uint8)
    split = Split(pixels, torch.arange(10_000) % 10)
    loaded = []

    def load_both() -> None:
        loaded.append(load._of_images(DatasetSpec("made", (3, 16, 16), 10), split, split))

    peak = measure_step(load_both, "cpu").peak
    result = loaded[0].train.inputs.nbytes + loaded[0].test.inputs.nbytes
    assert result <= peak < 1.2 * result
    assert measure_step(lambda: channel_statistics(pixels), "cpu").peak < 0.1 * pixels.nbytes


def test_decoded_signs_stand_in_memory_once(tmp_path):
    path = tmp_path / "sign.png"
    Image.new("RGB", (40, 30), (200, 100, 50)).save(path)
    decoded = [gtsrb._decode([path], 32, None)]
    tracemalloc.start()
    # What NumPy takes and what PyTorch takes; the images are among both.
    of_torch = measure_step(lambda: decoded.append(gtsrb._decode([path] * 500, 32, None)), "cpu").peak
    _, of_numpy = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    images = decoded[1]
    assert images.is_contiguous()
    assert images.float().mean((0, 2, 3)).tolist() == [200, 100, 50]
    assert images.nbytes <= of_numpy + of_torch - images.nbytes < 1.3 * images.nbytes


def test_grey_images_with_three_channels(digits):
    colour = digits.with_channels(3)
    assert colour.spec.shape == (3, 8, 8)
    inputs, _ = colour.batch(colour.test, torch.arange(4), "cpu")
    grey, _ = digits.batch(digits.test, torch.arange(4), "cpu")
    assert torch.equal(inputs, grey.expand(-1, 3, -1, -1))
    assert digits.with_channels(1) is digits
    with pytest.raises(InfoplaneError, match="3×8×8, not images of 4 channels"):
        colour.with_channels(4)


def test_resize(digits, monkeypatch):
    large = load_dataset("digits", Path(), image_size=32)
    assert large.spec.shape == (1, 32, 32)
    assert large.train.inputs.shape == (1197, 1, 32, 32)
    assert large.train.inputs.dtype == torch.uint8
    monkeypatch.setattr("infoplane.data.load.SOME", 2)
    flat = load._resize(torch.full((3, 1, 9, 9), 200, dtype=torch.uint8), 4)
    assert torch.equal(flat, torch.full((3, 1, 4, 4), 200, dtype=torch.uint8))
    # Halving with antialiasing keeps the mean: a chequerboard turns grey instead of one of its colours.
    board = (torch.arange(8)[:, None] + torch.arange(8)).remainder(2).mul(255).to(torch.uint8)
    inner = load._resize(board[None, None], 4)[0, 0, 1:3, 1:3].float()
    assert (inner - 127.5).abs().max() < 2


@pytest.mark.parametrize("folder", ["szt", "."])
def test_szt(tmp_path, folder):
    bits = (np.arange(4096)[:, None] >> np.arange(12)[::-1]) & 1
    (tmp_path / folder).mkdir(exist_ok=True)
    savemat(
        tmp_path / folder / "var_u.mat", {"F": bits.astype(np.uint8), "y": (bits.sum(1) > 6).astype(np.uint8)[None]}
    )
    data = load_dataset("szt", tmp_path)
    assert (len(data.train), len(data.test)) == (3481, 615)
    inputs, labels = data.batch(data.train, slice(None), "cpu")
    assert inputs.shape == (3481, 12)
    assert inputs.unique().tolist() == [-1, 1]
    assert torch.equal((inputs > 0).sum(1) > 6, labels == 1)


def test_szt_missing_or_damaged(tmp_path):
    with pytest.raises(InfoplaneError, match=r"data/var_u.mat from github.com/ravidziv/IDNNs.*szt/var_u.mat"):
        load_dataset("szt", tmp_path)
    (tmp_path / "var_u.mat").write_bytes(b"not a matrix" * 50)
    with pytest.raises(InfoplaneError, match=r"does not hold F \(4096, 12\)") as caught:
        load_dataset("szt", tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mnist", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte", "MNIST/raw"]),
        ("fashion-mnist", ["train-images-idx3-ubyte", "FashionMNIST/raw"]),
        ("cifar10", ["data_batch_1", "test_batch", "batches.meta", "cifar-10-batches-py"]),
        ("cifar100", ["train, test and meta", "cifar-100-python"]),
        ("gtsrb", ["GTSRB/Training", "GTSRB/Final_Test/Images", "GT-final_test.csv", "gtsrb"]),
    ],
)
def test_offline_error_names_the_files(tmp_path, offline, name, words):
    with pytest.raises(InfoplaneError) as caught:
        load_dataset(name, tmp_path / "data")
    message = str(caught.value)
    assert "\n" not in message
    assert "Name or service not known" in message
    assert str(tmp_path / "data") in message
    assert all(word in message for word in words)
    assert offline == [10.0]
    assert socket.getdefaulttimeout() is None
    assert list((tmp_path / "data").iterdir()) == []


def test_download_appears_complete(tmp_path, monkeypatch):
    def fetch(name: str, root: Path, download: bool = False):
        if download:
            (root / "MNIST" / "raw").mkdir(parents=True)
            (root / "MNIST" / "raw" / "file").write_text("data")
            (root / "MNIST" / "raw" / "file.gz").write_text("archive")
            print("chatter")
        elif not (root / "MNIST" / "raw" / "file").exists():
            raise RuntimeError("Dataset not found")
        return name, root

    monkeypatch.setattr(obtain, "_open_torchvision", fetch)
    assert obtain.obtain("mnist", tmp_path) == ("mnist", tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["file"]


def test_mnist_files_are_read(tmp_path, offline):
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
    for prefix in ("train", "t10k"):
        header = np.array([0x0803, 6, 28, 28], dtype=">u4").tobytes()
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        header = np.array([0x0801, 6], dtype=">u4").tobytes()
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(header + bytes(range(6)))
    data = load_dataset("mnist", tmp_path)
    assert np.array_equal(data.train.inputs[:, 0].numpy(), pixels)
    assert data.test.labels.tolist() == list(range(6))
    assert offline == []


HEADER = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"


def write_signs(root: Path, scale: int = 1) -> Path:
    """Training: class 0 of two frames, class 1 of two tracks, the others of one track.

    Each sign is a grey rectangle on a coloured ground. The annotations are of images `scale` times as large as
    those that are written.
    """
    base = root / "gtsrb"
    rows: dict[Path, list[str]] = {}

    def write(path: Path, table: Path, size: tuple[int, int], box: tuple[int, ...], label: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", size, (label, 100, 200))
        image.paste((128, 128, 128), box)
        image.save(path)
        numbers = ";".join(str(scale * value) for value in (*size, *box))
        rows.setdefault(table, [HEADER]).append(f"{path.name};{numbers};{label}")

    others = [(label, 0, frame) for label in range(2, 43) for frame in range(2)]
    for label, track, frame in ((0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 7, 29), *others):
        folder = base / "GTSRB" / "Training" / f"{label:05d}"
        name = f"{track:05d}_{frame:05d}.ppm"
        size, box = ((20 + 4 * label, 40), (5, 8, 15, 36)) if label < 3 else ((8, 8), (2, 2, 6, 6))
        write(folder / name, folder / f"GT-{label:05d}.csv", size, box, label)
    for index, label in enumerate([2, 0]):
        path = base / "GTSRB" / "Final_Test" / "Images" / f"{index:05d}.ppm"
        write(path, base / "GT-final_test.csv", (50, 40), (10, 10, 30, 30), label)
    for table, lines in rows.items():
        table.write_text("\n".join(lines) + "\n")
    return base


def test_gtsrb_keeps_the_order_of_the_files(tmp_path, offline):
    write_signs(tmp_path)
    data = load_dataset("gtsrb", tmp_path, image_size=16)
    assert data.train.inputs.shape == (86, 3, 16, 16)
    classes = [label for label in range(43) for _ in range(2)]
    assert data.train.labels.tolist() == data.train.inputs[:, 0, 0, 0].tolist() == classes
    assert data.train.inputs[0, :, 0, 0].tolist() == [0, 100, 200]
    assert data.test.labels.tolist() == [2, 0]


@pytest.mark.parametrize("scale", [1, 3])
def test_gtsrb_boxes_and_tracks(tmp_path, offline, scale):
    write_signs(tmp_path, scale)
    data = load_dataset("gtsrb", tmp_path, image_size=16)
    expected = torch.tensor([[5 / 20, 8 / 40, 15 / 20, 36 / 40]] * 2 + [[5 / 24, 8 / 40, 15 / 24, 36 / 40]] * 2)
    torch.testing.assert_close(data.train.boxes[:4], expected)
    torch.testing.assert_close(data.test.boxes, torch.tensor([[0.2, 0.25, 0.6, 0.75]] * 2))
    first, same, other_class, other_track = data.train.groups[:4].tolist()
    assert first == same
    assert len({first, other_class, other_track}) == 3
    assert data.test.groups is None
    boxes = data.to("cpu").boxes(data.train, torch.tensor([3, 0]), "cpu")
    assert torch.equal(boxes, data.train.boxes[[3, 0]])
    some = data.train.take(torch.tensor([4, 1]))
    assert torch.equal(some.boxes, data.train.boxes[[4, 1]])
    assert torch.equal(some.groups, data.train.groups[[4, 1]])
    everything = data.split("all")
    assert torch.equal(everything.boxes[86:], data.test.boxes)
    assert everything.groups is None


@pytest.mark.parametrize("task", ["classes", "classes+boxes"])
def test_a_recording_keeps_the_boxes_of_its_probe(tmp_path, offline, task):
    write_signs(tmp_path)
    data = {"dataset": "gtsrb", "data_root": str(tmp_path), "image_size": 8, "probe_split": "all", "probe_size": 86}
    settings = TrainingSettings(**data, model="mlp", widths=(4,), epochs=1, snapshots="2", batch_size=20, task=task)
    record(settings, tmp_path / "run.h5")
    data = load_dataset("gtsrb", tmp_path, image_size=8)
    with open_run(tmp_path / "run.h5") as run:
        assert run.probe.target.discrete
        assert list(run.probe.others) == ["box"] * (task == "classes+boxes")
        for box in run.probe.others.values():
            assert box.kind == "regression"
            expected = data.split("all").boxes[run.probe.indices]
            np.testing.assert_array_equal(box.values, expected.double().numpy())


@pytest.mark.parametrize("scale", [1, 3])
def test_gtsrb_cropped_to_the_sign(tmp_path, offline, scale):
    write_signs(tmp_path, scale)
    data = load_dataset("gtsrb", tmp_path, image_size=8, region="sign")
    # Antialiasing may mix in pixels from beside the box at the border, never inside.
    assert data.train.inputs[..., 1:-1, 1:-1].unique().tolist() == [128]
    assert data.test.inputs[..., 1:-1, 1:-1].unique().tolist() == [128]
    assert data.train.groups is not None
    assert data.train.boxes is None
    with pytest.raises(InfoplaneError, match="without boxes; use gtsrb on whole images"):
        data.boxes(data.train, slice(2), "cpu")


def test_gtsrb_without_annotations(tmp_path, offline):
    base = write_signs(tmp_path)
    (base / "GTSRB" / "Training" / "00001" / "GT-00001.csv").unlink()
    data = load_dataset("gtsrb", tmp_path, image_size=8)
    assert data.train.boxes is None
    assert data.test.boxes is not None
    with pytest.raises(InfoplaneError, match=r"images without annotations.*put GT-00000.csv to GT-00042.csv"):
        load_dataset("gtsrb", tmp_path, region="sign")
    (base / "GT-final_test.csv").write_text("Filename;ClassId\n00000.ppm;2\n00001.ppm;0\n")
    assert load_dataset("gtsrb", tmp_path, image_size=8).test.boxes is None


@pytest.mark.parametrize(
    "numbers", ["20;40;5;8;25;36", "20;40;5;8;5;36", "0;40;5;8;15;36", "20;40;5;8;15;", "20;x"]
)
def test_gtsrb_damaged_annotations(tmp_path, offline, numbers):
    base = write_signs(tmp_path)
    table = base / "GTSRB" / "Training" / "00002" / "GT-00002.csv"
    table.write_text(f"{HEADER}\n00000_00000.ppm;{numbers};2\n")
    with pytest.raises(InfoplaneError, match=r"GT-00002.csv line 2 holds no box within its image") as caught:
        load_dataset("gtsrb", tmp_path)
    assert "\n" not in str(caught.value)


def _outside(base):
    Image.new("RGB", (20, 40)).save(base.parent / "secret.ppm")
    table = base / "GT-final_test.csv"
    table.write_text(table.read_text().replace("00001.ppm", "../../../../secret.ppm"))


def _absolute(base):
    Image.new("RGB", (20, 40)).save(base.parent / "secret.ppm")
    table = base / "GT-final_test.csv"
    table.write_text(table.read_text().replace("00001.ppm", str(base.parent / "secret.ppm")))


def _class(base):
    table = base / "GT-final_test.csv"
    table.write_text(re.sub(r";2\n", ";43\n", table.read_text()))


def _image(content):
    def write(base):
        path = base / "GTSRB" / "Training" / "00001" / "00007_00029.ppm"
        path.write_bytes(content(path.read_bytes()))

    return write


def _table(content):
    def write(base):
        table = base / "GT-final_test.csv"
        changed = content(table.read_text())
        table.write_bytes(changed if isinstance(changed, bytes) else changed.encode())

    return write


def _gone(name):
    def remove(base):
        path = base / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


def _copied(name, place):
    return lambda base: shutil.copy(base / "GTSRB" / "Training" / name, base / "GTSRB" / "Training" / place)


def _folder(base):
    path = base / "GTSRB" / "Final_Test" / "Images" / "00001.ppm"
    path.unlink()
    path.mkdir()


def _misnamed(base):
    folder = base / "GTSRB" / "Training" / "00001"
    (folder / "GT-00001.csv").unlink()
    (folder / "00007_00029.ppm").rename(folder / "x.ppm")


def _pipe(base):
    path = base / "GTSRB" / "Final_Test" / "Images" / "00001.ppm"
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_outside, r"GT-final_test.csv line 3 names .*secret\.ppm', no image in its folder"),
        (_absolute, r"GT-final_test.csv line 3 names .*secret\.ppm', no image in its folder"),
        (_class, r"GT-final_test.csv line 2 is of class 43, not 0 to 42"),
        (_gone("GTSRB/Training/00005"), r"Training/00005 holds no images \(.ppm\); take the data set anew"),
        (_gone("GTSRB/Training/00001/00007_00029.ppm"), r"00007_00029.ppm is not there, but in .*GT-00001.csv"),
        (_gone("GTSRB/Final_Test/Images/00000.ppm"), r"00000.ppm is not there, but in .*GT-final_test.csv"),
        (_gone("GT-final_test.csv"), r"GT-final_test.csv is not there\) and cannot be downloaded"),
        (_copied("00001/00007_00029.ppm", "00001/x.ppm"), r"x.ppm has no row in .*GT-00001.csv"),
        (_copied("../Final_Test/Images/00000.ppm", "../Final_Test/Images/00002.ppm"), r"00002.ppm has no row in"),
        (_copied("00001/GT-00001.csv", "00002/GT-00002.csv"), r"GT-00002.csv line 2 is of class 1, not 2, that of"),
        (_table(lambda text: ""), r"GT-final_test.csv does not begin with .*, Filename and ClassId among"),
        (_table(lambda text: text.replace(";", ",")), r"GT-final_test.csv does not begin with the names"),
        (_table(lambda text: text.replace("ClassId", "Class")), r"GT-final_test.csv does not begin with the names"),
        (_table(lambda text: text.replace("Filename", "Größe").encode("utf-16")), r"csv cannot be read: .*codec"),
        (_table(lambda text: text.partition("\n")[0]), r"00000.ppm has no row in .*GT-final_test.csv"),
        (_table(lambda text: text + text.splitlines()[1]), r"line 4 names '00000.ppm' again"),
        (_table(lambda text: text.replace(";2\n", f";{10**30}\n")), r"line 2 is of class 10+, not 0 to 42"),
        (_table(lambda text: text + f"x.ppm;1;40;0;1;{'9' * 400};2;2"), r"line 4 holds no box"),
        (_table(lambda text: text + ";50;40;10;10;30;30;2"), r"line 4 names '', no image in its folder"),
        (_folder, r"00001\.ppm is a folder"),
        (_misnamed, r"x.ppm does not tell its track, such as 00003_00012.ppm"),
        (_image(lambda whole: whole[:100]), r"00007_00029\.ppm cannot be read .*truncated"),
        (_image(lambda _: b"P6 30000 30000 255 "), r"00007_00029\.ppm cannot be read .*"),
        (
            _image(lambda _: b"P6 3000 3000 255 "),
            r"00007_00029\.ppm cannot be read .*3000 × 3000 pixels are too many",
        ),
        (_image(lambda _: b"%!PS-Adobe-3.0 EPSF-3.0\n"), r"00007_00029\.ppm cannot be read .*cannot identify"),
        (_image(lambda _: b""), r"00007_00029\.ppm cannot be read"),
        (_pipe, r"00001\.ppm is a pipe or a device"),
    ],
)
def test_gtsrb_of_strangers(tmp_path, offline, damage, message):
    damage(write_signs(tmp_path))
    with pytest.raises(InfoplaneError, match=message) as caught:
        load_dataset("gtsrb", tmp_path, image_size=8)
    assert "\n" not in str(caught.value)


def test_regions_are_for_signs():
    with pytest.raises(InfoplaneError, match="data set 'digits' has no signs to crop to"):
        load_dataset("digits", Path(), region="sign")
    with pytest.raises(InfoplaneError, match="unknown region 'sgn'; did you mean sign"):
        load_dataset("gtsrb", Path(), region="sgn")


@pytest.mark.skipif(not (SHARED / "szt" / "var_u.mat").exists(), reason="no copy of var_u.mat at hand")
def test_szt_as_published():
    data = load_dataset("szt", SHARED)
    counts = data.train.labels.bincount() + data.test.labels.bincount()
    assert counts.tolist() == [1978, 2118]


def test_cifar_layout():
    arrays = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    split = load._from_arrays(type("Set", (), {"data": arrays, "targets": [1, 2, 3, 4]}))
    assert torch.equal(split.inputs[2, 1], torch.from_numpy(arrays[2, :, :, 1]))
    assert split.inputs.is_contiguous()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=8), st.integers(0, 2**31), st.data())
def test_probe_is_balanced_and_repeatable(counts, seed, draw):
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    assume(len(labels) >= 2 * len(counts))
    size = draw.draw(st.integers(2 * len(counts), len(labels)))
    probe = balanced_probe(labels, size, seed)
    torch.rand(1)
    assert torch.equal(probe, balanced_probe(labels, size, seed))
    assert probe.dtype == torch.int64
    assert len(probe.unique()) == size
    taken = labels[probe].bincount(minlength=len(counts))
    available = torch.tensor(counts)
    assert taken.sum() == size
    # A class with fewer than the fullest, less one, has nothing left to give.
    assert torch.all((taken >= taken.max() - 1) | (taken == available))


def test_probe_depends_on_the_seed_only():
    labels = torch.arange(10).repeat(100)
    state = torch.get_rng_state()
    first, second = balanced_probe(labels, 200, 0), balanced_probe(labels, 200, 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first.sort().values, second.sort().values)
    assert labels[first].bincount().tolist() == [20] * 10


def test_probe_errors():
    labels = torch.arange(10).repeat(60)
    expected = (
        r"probe of 5000 samples is larger than the test split \(600 samples\); choose `probe_size=600` or less"
    )
    with pytest.raises(InfoplaneError, match=expected):
        balanced_probe(labels, 5000, 0, "test")
    with pytest.raises(InfoplaneError, match="choose `probe_size=20` or more"):
        balanced_probe(labels, 19, 0)
    with pytest.raises(InfoplaneError, match="0 by definition"):
        balanced_probe(torch.zeros(50, dtype=torch.int64), 10, 0)


class Counting(torch.utils.data.Dataset):
    """Ninety samples, whose labels are at hand; it counts the items that it is asked for."""

    def __init__(self, **attributes):
        self.asked = []
        self.__dict__.update(attributes)

    def __len__(self):
        return 90

    def __getitem__(self, place):
        self.asked.append(place)
        return torch.tensor([float(place), 1.0]), place % 3


@pytest.mark.parametrize(
    "data",
    [
        (torch.arange(90.0)[:, None], [place % 3 for place in range(90)]),
        {"ids": np.arange(90)[:, None], "labels": np.array(list("abc") * 30)},
        Counting(),
        torch.utils.data.DataLoader(Counting(), batch_size=40),
    ],
    ids=lambda data: type(data).__name__,
)
def test_a_probe_of_anything_is_balanced(data):
    probe, again = probe_from(data, 32, seed=4), probe_from(data, 32, seed=4)
    assert torch.equal(probe.indices, balanced_probe(torch.arange(90) % 3, 32, 4))
    assert torch.equal(again.indices, probe.indices)
    (part,) = probe.inputs.parts.values()
    assert part[:, 0].tolist() == probe.indices.tolist()
    kinds = np.array(list("abc") if isinstance(data, dict) else [0, 1, 2])
    assert list(probe.labels) == kinds[probe.indices % 3].tolist()
    assert not torch.equal(probe_from(data, 32, seed=5).indices, probe.indices)


@pytest.mark.parametrize("name", ["targets", "labels"])
def test_labels_at_hand_spare_the_inputs(name):
    data = Counting(**{name: torch.arange(90) % 3})
    probe = probe_from(data, 9)
    assert data.asked == probe.indices.tolist()
    part = torch.utils.data.Subset(data, range(30, 90))
    assert (probe_from(part, 9).inputs.parts["0"][:, 0] >= 30).all()
    assert len(data.asked) == 18


def test_labels_at_hand_are_passed_over_where_items_have_others():
    data = Counting(targets=[0, 1] * 45, target_transform=lambda label: label)
    assert torch.tensor(probe_from(data, 9).labels).bincount().tolist() == [3, 3, 3]
    assert len(data.asked) == 99


def test_a_probe_of_continuous_values_and_of_sets():
    values = np.random.default_rng(0).standard_normal((90, 2))
    probe = probe_from((values, values), 40, target="regression")
    assert len(probe.indices.unique()) == 40
    np.testing.assert_array_equal(probe.labels, values[probe.indices])
    hot = (values > 0).astype(int)
    drawn = probe_from((values, hot), 40, target="multilabel").labels
    assert np.unique(drawn, axis=0, return_counts=True)[1].tolist() == [10] * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"probe of 500 samples is larger than the data \(90 samples\); choose `n=90` or less"),
        ({"n": 91, "target": "regression"}, "choose `n=90` or less"),
        ({"n": 5}, "under two for each of 3 classes; choose `n=6` or more"),
        ({"n": -1}, "too small"),
        ({"n": 30.0}, "n of a probe must be a whole number, got 30.0"),
        ({"n": 30, "seed": None}, "seed of a probe must be a whole number, got None"),
        ({"target": "clases"}, "did you mean classes"),
    ],
)
def test_probes_of_anything_speak_python(options, message):
    with pytest.raises(InfoplaneError, match=message) as caught:
        probe_from(Counting(), **options)
    assert "--" not in str(caught.value)


def test_every_torchvision_name_exists():
    assert all(hasattr(torchvision.datasets, entry[0]) for entry in obtain.TORCHVISION.values())
    assert {"digits", "szt", *obtain.TORCHVISION} == set(DATASETS)


def test_splits_by_name(tmp_path):
    digits = load_dataset("digits", tmp_path)
    assert digits.split("train") is digits.train
    assert digits.split("test") is digits.test
    everything = digits.split("all")
    assert len(everything) == 1797
    assert torch.equal(everything.inputs[1197:], digits.test.inputs)
    with pytest.raises(InfoplaneError, match="did you mean train"):
        digits.split("trian")
    with pytest.raises(InfoplaneError, match="data set 'digits' has no validation split; hold a part"):
        digits.split("validation")
