"""The front door: the names of `import infoplane`, their examples, and that they take and give what they say."""

import doctest
import subprocess
import sys
from collections import OrderedDict

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import infoplane as ip
from infoplane.estimators.batches import Batches
from infoplane.estimators.renyi import RenyiSettings


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with three small runs of a loop of one's own."""
    folder = tmp_path_factory.mktemp("api")
    x, y = data()
    for name, seed in (("own", 0), ("seed0", 1), ("seed1", 2)):
        torch.manual_seed(seed)
        layers = {"hidden": nn.Sequential(nn.Linear(20, 8), nn.Tanh()), "logits": nn.Linear(8, 2)}
        model = nn.Sequential(OrderedDict(layers))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        with ip.Recorder(model, (x, y), folder / f"{name}.h5") as recorder:
            for _ in range(20):
                loss = nn.functional.cross_entropy(model(x), y)
                recorder.step(loss=loss)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return folder


def data():
    x = torch.randn(64, 20, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] > 0).long()


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("name", ["infoplane", *ip.__all__])
def test_every_name_has_an_example_that_runs(name, folder, tmp_path, monkeypatch):
    for run in folder.glob("*.h5"):
        (tmp_path / run.name).symlink_to(run)
    monkeypatch.chdir(tmp_path)
    if name == "write_page":
        pytest.importorskip("plotly", reason="pages need the extra 'page'")
    thing = ip if name == "infoplane" else getattr(ip, name)
    x, y = data()
    names = {"ip": ip, "np": np, "torch": torch, "nn": nn, "plt": plt, "x": x, "y": y, "OrderedDict": OrderedDict}
    [test] = doctest.DocTestFinder(recurse=False).find(thing, name, module=False, globs=names)
    assert test.examples
    said = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert runner.run(test, out=said.append).failed == 0, "".join(said)
    plt.close("all")


def test_the_names_are_those_of_dir_and_the_rooms_are_reached_without_an_import():
    code = (
        "import sys, infoplane as ip; names = dir(ip); assert set(ip.__all__) < set(names); "
        "assert 'torch' not in sys.modules; "
        "assert {'figures', 'estimators', 'analysis', 'trainers'} < set(names); "
        "ip.figures.__path__; ip.estimators.__path__; assert all(hasattr(ip, name) for name in names)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    with pytest.raises(AttributeError, match="no attribute 'plain'"):
        _ = ip.plain


def test_help_loads_no_torch():
    code = (
        "from infoplane.cli import cli; cli(['--help'], standalone_mode=False);"
        " import sys; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "False"


def test_estimate_takes_a_path_a_run_or_several(here):
    by_name = ip.estimate("own.h5", permutations=3)
    with ip.open_run("own.h5") as run:
        pd.testing.assert_frame_equal(ip.estimate(run, permutations=3), by_name)
    pd.testing.assert_frame_equal(ip.estimate(here / "own.h5", RenyiSettings(permutations=3)), by_name)
    assert set(by_name["run"]) == {"own"}
    several = ip.estimate([here / "seed0.h5", "seed1.h5"], ["renyi", "gaussian"], permutations=3)
    assert several.groupby(["run", "estimator"]).size().tolist() == [26] * 4
    rows = ip.estimate("own.h5", bandwidth="knn:10", alpha=1.01, permutations=3, batches=2, batch_size=32)
    assert set(rows["bandwidth"]) == set(rows["input_bandwidth"]) == {"knn:10"}
    assert set(rows["batch"]) == {0, 1}
    pd.testing.assert_frame_equal(
        ip.estimate("own.h5", bandwidth="knn:10", alpha=1.01, permutations=3, batches=Batches(2, 32)), rows
    )


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (["own.h5"], {"alfa": 2}, "unknown setting of renyi: 'alfa'; did you mean alpha?"),
        (["own.h5", "kde"], {"alpha": 2}, "`alpha` is for renyi and not for kde; leave it out"),
        (["own.h5", "reny"], {}, "unknown estimator 'reny'; did you mean renyi?"),
        (["own.h5"], {"bandwidth": "knn:0"}, "out of range for knn"),
        (["own.h5", []], {}, "name an estimator"),
        (["own.h5"], {"bandwidth": 0.5}, "a bandwidth is a rule such as 'median:1' or 'fixed:0.5', got 0.5"),
        (["own.h5", RenyiSettings()], {"alpha": 2}, "`alpha` has no place beside the settings of an estimator"),
        (["own.h5"], {"batches": 2.0}, "`batches` must be a whole number, got 2.0"),
        (["own.h5"], {"batch_size": 20}, "`batch_size` goes with a number of `batches`"),
        (["own.h5"], {"batches": Batches(2, 20), "batch_size": 20}, "`batch_size` goes with a number of `batches`"),
        (["own.h5"], {"jobs": 0}, "`jobs` must be a whole number of at least 1, got 0"),
        ([[]], {}, "name at least one run"),
        (["none.h5"], {}, "none.h5 does not exist"),
        ([["own.h5", "own.h5"]], {}, "a run is given twice"),
    ],
)
def test_errors_in_one_line(here, arguments, options, words):
    with pytest.raises(ip.InfoplaneError, match=words.replace("?", r"\?")) as error:
        ip.estimate(*arguments, **options)
    assert "\n" not in str(error.value)
    assert "--" not in str(error.value)


def test_what_exists_is_refused_in_python_and_by_the_command_line(infoplane, net, probe):
    ip.Recorder(net, probe, "run.h5").close()
    with pytest.raises(ip.InfoplaneError, match="use `force=True` to overwrite it or `resume=True` to go on"):
        ip.Recorder(net, probe, "run.h5")
    code, _, complaint = infoplane("record", "-o", "run.h5")
    assert code == 1
    assert complaint == "error: run.h5 exists; use --force to overwrite it or --resume to go on with it\n"


def test_a_plane_says_what_it_is(here):
    plane = ip.information_plane(["seed0.h5", "seed1.h5"])
    assert plane.layers == ("hidden", "logits")
    assert plane.names == {"I_XT": "I(X;T)", "I_TY": "I(T;Y)"}
    assert plane.limits == pytest.approx({"I_XT": 6, "I_TY": 1}, abs=0.02)
    assert plane.settings.startswith("matrix-based Rényi estimator, α = 1")
    assert plane.metrics["loss"].dropna().is_monotonic_decreasing
    assert "2 layers at 13 steps, n = 64, 2 classes, 2 runs" in repr(plane)
    assert repr(plane).splitlines()[-1].startswith("logits")
    assert "<table" in plane._repr_html_()


def test_figures_stand_alone_or_in_axes_of_ones_own(here):
    plane = ip.information_plane("own.h5")
    alone, captioned, worded = (ip.plot_plane(plane, caption=caption) for caption in (False, True, "Mine."))
    texts = [[text.get_text() for text in figure.findobj(plt.Text)] for figure in (alone, captioned, worded)]
    assert not any("Rényi" in text for text in texts[0])
    assert any("Rényi" in text for text in texts[1])
    assert "Mine." in texts[2]
    figure, (left, right) = plt.subplots(1, 2)
    assert ip.plot_plane(plane, ax=left, quantity="I_TY_corrected") is figure
    assert ip.plot_over_time(plane, ax=right, quantity="I_TY") is figure
    assert left.get_ylabel() == "I(T;Y) − null (bits)"
    assert right.get_ylabel() == "I(T;Y) (bits)"
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["T1 hidden", "T2 logits"]
    assert len(figure.axes) == 2
    plt.close(figure)
    with pytest.raises(ip.InfoplaneError, match="unknown quantity 'I_YT'"):
        ip.plot_plane(plane, quantity="I_YT")


def test_an_open_run_shows_what_info_prints(here, infoplane, folder):
    path = folder / "own.h5"
    with ip.open_run(path) as run:
        shown, page = repr(run), run._repr_html_()
    assert infoplane("info", path)[1] == shown + "\n"
    assert "snapshots  13, step 0 to 20" in shown
    assert "<table" in page
    assert "probe      64 samples of 2 classes" in page
    assert repr(run) == f"{path}: closed"
    assert "closed" in run._repr_html_()


def test_a_report_reads_as_markdown(here, tmp_path):
    report = ip.analyze(["seed0.h5", "seed1.h5"], {"other": "own.h5"}, permutations=3)
    assert report._repr_markdown_().startswith("# ")
    assert repr(report).startswith(f"{report.verdicts[0].claim}: {report.verdicts[0].outcome}\n  ")
    assert [one.value for one in report.variants if one.varied == "runs"] == ["other"]
    assert [path.suffix for path in report.save(tmp_path / "report")] == [".md", ".json", ".csv"]
    report.save(tmp_path / "report")
    (tmp_path / "report.md").write_text("notes of somebody else")
    with pytest.raises(ip.InfoplaneError, match="`force=True`"):
        report.save(tmp_path / "report")


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ([["sgd"]], {"epoch": 1}, "unknown setting 'epoch'; did you mean epochs"),
        ([["sgdd"]], {}, "unknown method 'sgdd'"),
        ([[]], {}, "at least one variant"),
        ([{"wide": ip.TrainingSettings()}], {"epochs": 1}, "put epochs into them"),
        ([["sgd"]], {"reference": "adam"}, "unknown variant 'adam'"),
    ],
)
def test_what_cannot_be_compared(tmp_path, arguments, options, words):
    with pytest.raises(ip.InfoplaneError, match=words):
        ip.compare(*arguments, tmp_path, **options)


def test_entropies_give_the_kind_that_they_take():
    array, tensor = np.eye(4) / 4, torch.eye(4) / 4
    assert isinstance(ip.mutual_information(array, array), np.float64)
    assert isinstance(ip.mutual_information(tensor, tensor), torch.Tensor)


def test_settings_take_rules_as_text(here):
    settings = RenyiSettings(bandwidth="knn:10", input_bandwidth="knn:10")
    table = ip.estimate("own.h5", settings)
    pd.testing.assert_frame_equal(table, ip.estimate("own.h5", bandwidth="knn:10"))
