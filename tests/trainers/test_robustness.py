"""Scores on changed test images, and few labels, through a whole training."""

import math

import pytest

from infoplane import open_run
from infoplane.analysis.comparison.results import runs_table
from infoplane.errors import InfoplaneError
from infoplane.trainers.session import _load, record
from infoplane.trainers.settings import TrainingSettings

TINY = {
    "model": "cnn",
    "epochs": 4,
    "snapshots": "2",
    "probe_size": 20,
    "batch_size": 50,
    "eval_size": 50,
    "lr": 0.05,
}


def test_a_trained_network_is_scored_on_changed_images(tmp_path):
    path = tmp_path / "sgd" / "seed0.h5"
    path.parent.mkdir()
    accuracy = record(TrainingSettings(**TINY, robustness=True), path)
    with open_run(path) as run:
        results = run.results
    assert list(results["corruptions"]) == [f"{k}:{s}" for k in ("noise", "blur", "brightness") for s in (1, 2, 3)]
    assert results["corruptions"]["noise:1"] == pytest.approx(accuracy, abs=0.05)
    assert results["corruptions"]["blur:3"] < accuracy
    mean = sum(results["corruptions"].values()) / 9
    assert results["corrupted_accuracy"] == pytest.approx(mean)
    assert set(results["outsiders"]) == {"uniform", "patches"}
    # A network that knows digits is surer of digits.
    assert all(0.6 < area <= 1 for area in results["outsiders"].values())
    row = runs_table([path]).iloc[0]
    assert row["ood_auroc"] == pytest.approx(sum(results["outsiders"].values()) / 2)
    assert '"noise:1"' in row["corruptions"]


def test_a_network_that_diverged_tells_nothing_apart(tmp_path):
    record(TrainingSettings(**TINY | {"lr": 1e30, "epochs": 1}, robustness=True), tmp_path / "run.h5")
    with open_run(tmp_path / "run.h5") as run:
        areas = [*run.results["outsiders"].values(), run.results["ood_auroc"]]
    assert all(map(math.isnan, areas))


def test_what_holds_no_images_is_refused_first(tmp_path, monkeypatch):
    from infoplane.trainers import session

    original = session._load

    def vectors(*given):
        data = original(*given)
        return data._map(lambda split: type(split)(split.inputs.flatten(1).float(), split.labels))

    monkeypatch.setattr(session, "_load", vectors)
    with pytest.raises(InfoplaneError, match="holds no images to corrupt; leave out `robustness`"):
        record(TrainingSettings(**{**TINY, "model": "mlp"}, robustness=True), tmp_path / "run.h5")
    assert not (tmp_path / "run.h5").exists()


def test_few_labels():
    whole, few = (_load(TrainingSettings(validation=0.1, label_fraction=f), False) for f in (None, 0.1))
    assert len(few.train) == round(0.1 * len(whole.train))
    assert few.train.labels.bincount().tolist() == pytest.approx([len(few.train) / 10] * 10, abs=1)
    # What choices are made on is the same; each seed has another part.
    assert few.validation.inputs.equal(whole.validation.inputs)
    other = _load(TrainingSettings(validation=0.1, label_fraction=0.1, seed=1), False)
    assert not other.train.inputs.equal(few.train.inputs)
    # One of each class at least.
    assert len(_load(TrainingSettings(label_fraction=0.001), False).train) == 10
