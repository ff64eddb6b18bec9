"""`infoplane figures`: a tiny study from its runs to its page."""

import dataclasses
import json

import pytest

from infoplane import open_run
from infoplane.errors import InfoplaneError
from infoplane.execution import Execution
from infoplane.runfile import synchronous_path_of
from infoplane.study import experiments as runs
from infoplane.study.experiments import Group, groups_of, make_runs, runs_of
from infoplane.trainers.settings import TrainingSettings

TINY = TrainingSettings(
    model="cnn", epochs=1, snapshots="5", probe_size=40, batch_size=300, eval_size=50, train_size=600, lr=0.05
)


def tiny(seeds=2):
    compared = dataclasses.replace(TINY, validation=0.2, snapshots="2")
    return {
        "training": Group(
            {
                "sgd": dataclasses.replace(TINY, synchronous_path=True),
                "shuffled": dataclasses.replace(TINY, permute_labels=1.0, seed=0),
            },
            seeds=seeds,
        ),
        "comparison": Group(
            {
                "sgd": compared,
                "greedy-dib": dataclasses.replace(compared, method="greedy-dib", aux="linear", blocks=2),
            },
            seeds=seeds,
            rates=(0.5, 1.0),
        ),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("study") / "runs"
    make_runs(tiny(), found)
    return found


def test_runs_are_made_once_and_tuned_on_validation(folder):
    trials = sorted(path.name for path in (folder / "comparison" / "tuning" / "trials").glob("*.h5"))
    assert trials == [f"{name}-lr{rate}.h5" for name in ("greedy-dib", "sgd") for rate in ("0.025", "0.05")]
    assert [path.name for path in runs_of(folder, "training", "sgd")] == ["seed0.h5", "seed1.h5"]
    assert synchronous_path_of(folder / "training" / "sgd" / "seed1.h5").exists()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.h5")}
    make_runs(tiny(), folder)
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*.h5")}
    with open_run(runs_of(folder, "comparison", "greedy-dib")[0]) as run:
        assert run.config["lr"] in (0.025, 0.05)
        assert run.config["seed"] == 0


def test_every_figure_and_table_is_made_or_named_as_missing(infoplane, folder, tmp_path):
    code, _, complaint = infoplane("figures", "--out", tmp_path / "out", "--runs", folder, "--jobs", 1, "-q")
    assert code == 0, complaint
    names = {path.stem for path in (tmp_path / "out" / "figures").glob("*.png")}
    assert names >= {"F1-plane", "F3-time", "F4-profile", "F5-order", "F6-matrices", "F7-decay", "F8-triples"}
    assert names >= {"F9-links", "F10-accuracy", "F10-costs", "F11-depth", "F13-sensitivity"}
    assert {path.stem for path in (tmp_path / "out" / "figures").glob("*.csv")} == names
    for name in ("F2-modified-plane", "F12", "F14", "T2-signs"):
        assert any(line.startswith(f"missing: {name}: ") for line in complaint.splitlines()), name
        assert not [one for one in names if one.startswith(name)]
    made = {path.name for path in (tmp_path / "out" / "tables").iterdir()}
    assert made == {
        f"T{k}{end}"
        for k in ("1-accuracy", "3-costs", "4-convergence", "5-markov", "6-settings")
        for end in (".csv", ".md", ".tex")
    }
    page = (tmp_path / "out" / "index.md").read_text()
    assert all(f"figures/{name}.png" in page for name in names)
    assert "- F14: " in page
    verdicts = json.loads((tmp_path / "out" / "report.json").read_text())["verdicts"]
    assert [one["outcome"] for one in verdicts] == ["undecidable"] * 2
    (tmp_path / "out" / "index.md").write_text("a page of somebody else")
    again, _, complaint = infoplane("figures", "--out", tmp_path / "out", "--runs", folder)
    assert again == 1
    assert "use --force" in complaint


def test_a_folder_without_runs_is_named(infoplane, tmp_path):
    code, _, complaint = infoplane("figures", "--out", tmp_path / "out")
    assert code == 1
    assert "make the runs first: infoplane figures --run quick" in complaint
    (tmp_path / "file").write_text("")
    code, _, complaint = infoplane("figures", "--runs", tmp_path / "file", "--out", tmp_path / "out")
    assert code == 1
    assert "file is no folder of runs; give the folder" in complaint


@pytest.mark.parametrize("name", ["quick", "full"])
def test_the_settings_of_the_studies_are_possible(name):
    for group in groups_of(name, device="cpu").values():
        assert group.seeds >= 5
        for settings in group.variants.values():
            assert settings.resolved().device == "cpu"
            assert settings.validation or not group.rates
    with pytest.raises(InfoplaneError, match="did you mean quick"):
        groups_of("quik")


def test_trainings_at_once():
    assert runs.side_by_side(Execution(3), "cuda").jobs == 3
    assert runs.side_by_side(Execution(), "cuda:0").jobs == 1
    assert runs.side_by_side(Execution(2), "cpu").jobs == 2
