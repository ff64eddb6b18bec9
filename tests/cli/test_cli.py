import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from infoplane import __version__, open_run
from infoplane.cli import cli

RECORD = ["--model", "mlp", "--widths", "16,8", "--epochs", "1", "--snapshots", "4", "--probe-size", "40"]


@pytest.fixture
def recorded(infoplane):
    assert infoplane("record", *RECORD, "-o", "run.h5")[0] == 0
    return infoplane


def assert_one_line(result, *words, code=1):
    """A failed call says what is wrong in one line, without a traceback."""
    got, _, complaint = result
    assert got == code, complaint
    assert "Traceback" not in complaint
    lines = [line for line in complaint.splitlines() if line.startswith(("error:", "Error:"))]
    assert len(lines) == 1, complaint
    for word in words:
        assert word in lines[0]


def test_record_plot_estimate_info(recorded, tmp_path):
    code, out, _ = recorded("plot", "run.h5", "-o", "figures")
    assert code == 0
    made = {path.name for path in (tmp_path / "figures").iterdir()}
    assert made == {f"run-{kind}.{end}" for kind in ("plane", "time") for end in ("png", "pdf", "csv")}
    assert all(name in out for name in made)
    table = pd.read_csv(tmp_path / "figures" / "run-plane.csv")
    assert list(table["layer"].unique()) == ["fc1", "fc2", "logits"]
    code, out, _ = recorded("estimate", "run.h5", "--alpha", "2", "--bandwidth", "knn:5")
    assert code == 0
    assert "α = 2" in out
    assert "knn:5" in out
    assert "run.estimates.csv" in out
    code, out, _ = recorded("info", "run.h5")
    assert code == 0
    for word in ("40 samples of 10 classes, 4 each", "mlp on digits", "snapshots  4", "fc2", "logits"):
        assert word in out


def test_plot_for_a_paper(recorded, tmp_path):
    options = ["--caption", "file", "--format", "svg", "--style", "classic", "--panel", "raw", "--layers", "fc*"]
    code, out, _ = recorded("plot", "run.h5", "-q", *options, "--xlim", "0,6", "--width", "3.3", "--name", "paper")
    assert code == 0
    assert out.split() == [f"paper-{kind}.{end}" for kind in ("plane", "time") for end in ("svg", "csv", "txt")]
    assert pd.read_csv(tmp_path / "paper-plane.csv")["layer"].unique().tolist() == ["fc1", "fc2"]
    assert "n = 40 probe samples" in (tmp_path / "paper-plane.txt").read_text()
    assert "probe samples" not in (tmp_path / "paper-plane.svg").read_text()
    assert_one_line(recorded("plot", "run.h5", "-q", "--layers", "conv*"), "unknown layer 'conv*'")
    assert_one_line(recorded("plot", "run.h5", "-q", "--width", "0"), "--width", "inches")
    assert_one_line(recorded("plot", ".", "-q", "--style", "classic"), "--style: for the figures of runs")


def test_plot_animates_the_plane(recorded, tmp_path, monkeypatch):
    code, out, _ = recorded("plot", "run.h5", "--animate", "gif", "-o", "films")
    assert code == 0
    assert "run-plane.gif" in out
    assert (tmp_path / "films" / "run-plane.gif").read_bytes()[:4] == b"GIF8"
    monkeypatch.setenv("PATH", "")
    assert_one_line(recorded("plot", "run.h5", "--animate", "mp4", "-o", "other"), "ffmpeg")
    assert not (tmp_path / "other").exists()
    (tmp_path / "folder").mkdir()
    assert_one_line(recorded("plot", "folder", "--animate", "gif"), "--animate is for the plane of runs")


def test_plot_of_several_runs(recorded, tmp_path):
    recorded("record", *RECORD, "--seed", "1", "-o", "other.h5")
    code, _, _ = recorded("plot", "run.h5", "other.h5", "--name", "both")
    assert code == 0
    table = pd.read_csv(tmp_path / "both-plane.csv")
    assert (table["runs"] == 2).all()
    assert table["I_XT_sd"].notna().all()


def test_page_of_runs_side_by_side(recorded, tmp_path):
    pytest.importorskip("plotly", reason="pages need the extra 'page'")
    assert recorded("record", *RECORD, "--lr", "0.5", "-o", "fast.h5")[0] == 0
    assert recorded("record", *RECORD, "--seed", "1", "-o", "seed1.h5")[0] == 0
    code, out, _ = recorded("page", "run.h5", "seed1.h5", "fast.h5", "-q")
    assert (code, out) == (0, "page.html\n")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    for words in ("<h3>lr 0.5</h3>", "mean of 2 runs", "one run", "run.estimates.csv", "Not judged"):
        assert words in text
    (tmp_path / "page.html").write_text("my own")
    assert_one_line(recorded("page", "run.h5"), "--force")
    code, out, _ = recorded("page", "run.h5", "seed1.h5", "--each", "--judge", "-q", "-o", "judged.html")
    text = (tmp_path / "judged.html").read_text(encoding="utf-8")
    assert "<h3>seed1</h3>" in text
    assert "<span class='outcome'>undecidable</span>" in text
    assert recorded("analyze", "run.h5", "-q")[0] == 0
    assert recorded("page", "run.h5", "-q", "-o", "reported.html")[0] == 0
    text = (tmp_path / "reported.html").read_text(encoding="utf-8")
    assert "<span class='outcome'>undecidable</span>" in text
    assert "run-report.md" in text


def test_saturated_points_are_named(recorded):
    code, _, complaint = recorded("plot", "run.h5", "--bandwidth", "median:0.01")
    assert code == 0
    assert "carries no information: " in complaint
    assert "saturated" in complaint


def test_runs_of_other_probe_sizes_are_not_compared(recorded):
    recorded("record", *RECORD[:-1], "50", "-o", "other.h5")
    assert_one_line(recorded("plot", "run.h5", "other.h5"), "probe")


def test_verify(infoplane, monkeypatch):
    code, out, _ = infoplane("verify")
    assert code == 0
    assert "S(X,T), α=1.01" in out
    assert "checks agree to 1e-9 bits on cpu" in out
    monkeypatch.setitem(__import__("infoplane.verify").verify.REFERENCE[2.0], "S(T)", 2.16003223)
    code, out, _ = infoplane("verify", "--quiet")
    assert code == 1
    assert out.count("MISS") == 1


def test_config_file_and_command_line(infoplane, tmp_path):
    Path("run.toml").write_text(
        'model = "mlp"\nwidths = [12]\nepochs = 2\nprobe-size = 30\nsnapshots = "3"\nlayers = ["fc*"]\n'
    )
    code, _, complaint = infoplane("record", "--config", "run.toml", "--epochs", "1", "-o", "run.h5")
    assert code == 0, complaint
    with open_run(tmp_path / "run.h5") as run:
        assert run.config["widths"] == [12]
        assert run.config["epochs"] == 1
        assert run.config["probe_size"] == 30
        assert run.config["lr"] == 0.05
        assert [layer.name for layer in run.layers] == ["fc1"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch = 3", ["epoch", "did you mean epochs"]),
        ("epochs =", ["cannot be read"]),
        ('epochs = "many"', ["epochs", "many"]),
        ("epochs = [1, 2]", ["'epochs' takes one value"]),
        ("[record]\nepochs = 3", ["record"]),
    ],
)
def test_bad_config_files(infoplane, text, words):
    Path("run.toml").write_text(text)
    result = infoplane("record", "--config", "run.toml")
    assert_one_line(result, *words, code=result[0])
    assert result[0] != 0
    assert_one_line(infoplane("record", "--config", "none.toml"), "does not exist")


@pytest.mark.parametrize(
    "args",
    [("info",), ("plot",), ("record", "-o"), ("record", "--config"), ("compare", "-o"), ("figures", "--out")],
    ids=" ".join,
)
def test_a_path_that_the_system_refuses_is_named(infoplane, args):
    result = infoplane(*args, "n" * 300)
    assert_one_line(result, "nnn", "cannot be used: File name too long; give a shorter name")
    assert not [*Path().iterdir()]


def test_every_verb_has_examples_that_parse(infoplane):
    for name, command in cli.commands.items():
        code, out, _ = infoplane(name, "--help")
        assert code == 0
        assert "Examples:" in out
        assert command.epilog.count(f"infoplane {name}") >= 2


def test_version_and_completion(infoplane):
    assert infoplane("--version")[1] == f"infoplane, version {__version__}\n"
    for shell in ("bash", "zsh", "fish"):
        assert "_INFOPLANE_COMPLETE" in infoplane("completion", shell)[1]


def test_help_loads_no_torch():
    code = (
        "import sys, infoplane.cli; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_info_of_a_run_loads_what_it_needs(recorded):
    code = (
        "import sys; from infoplane.cli import cli; cli(['info', 'run.h5'], standalone_mode=False); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'scipy', 'pandas', 'matplotlib')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "mlp on digits" in done.stdout


def test_info_layers_of_a_model(infoplane):
    code, out, _ = infoplane("info", "--layers", "--model", "vgg11", "--dataset", "cifar10")
    assert code == 0
    starred = [line.split()[1] for line in out.splitlines() if line.startswith("*")]
    assert starred == [*(f"conv{number}" for number in range(1, 9)), "logits"]
    assert "512×1×1" in out


def test_a_batch_job_has_a_line_an_epoch(infoplane):
    shown = infoplane("record", *RECORD, "--epochs", "3", "-o", "run.h5")[2].splitlines()
    assert shown[0] == "training: mlp on digits by sgd for 3 epochs of 19 steps"
    assert [line.split(";")[0] for line in shown[1:]] == [f"training: epoch {number} of 3" for number in (1, 2, 3)]
    assert re.search(r"; train loss [\d.]+, test accuracy [\d.]+% at epoch 3; done$", shown[-1])
    assert infoplane("compare", *RECORD, "--methods", "sgd", "--seeds", "2", "-o", "made")[2].count("runs: ") == 2


def test_quiet_and_verbose(infoplane):
    assert infoplane("record", *RECORD, "-q", "-o", "run.h5")[2] == ""
    code, _, complaint = infoplane("info", "nothing.h5", "--verbose")
    assert code == 1
    assert "Traceback" in complaint


def test_missing_run(infoplane):
    for verb in ("info", "estimate", "plot"):
        assert_one_line(infoplane(verb, "nothing.h5"), "nothing.h5 does not exist", "infoplane record")
        assert_one_line(infoplane(verb, "seed?.h5"), "no file is called seed?.h5", "infoplane record --seed 0")
    assert_one_line(infoplane("record", "--resume", "-o", "nothing.h5"), "does not exist")


def test_damaged_foreign_and_newer_runs(recorded):
    whole = Path("run.h5").read_bytes()
    Path("cut.h5").write_bytes(whole[: len(whole) // 2])
    Path("text.h5").write_text("hello")
    with h5py.File("other.h5", "w") as file:
        file["data"] = np.zeros(3)
    Path("new.h5").write_bytes(whole)
    with h5py.File("new.h5", "r+") as file:
        file.attrs["schema_version"] = 99
    for verb in ("info", "estimate", "plot"):
        assert_one_line(recorded(verb, "cut.h5"), "cut.h5 is truncated or damaged")
        assert_one_line(recorded(verb, "text.h5"), "not an HDF5 file")
        assert_one_line(recorded(verb, "other.h5"), "not an infoplane run file")
        assert_one_line(recorded(verb, "new.h5"), "upgrade infoplane")
        assert_one_line(recorded(verb, "."), "is a folder")


def test_names_with_their_nearest(infoplane):
    assert_one_line(infoplane("record", "--model", "resnet8"), "unknown model 'resnet8'", "did you mean")
    assert_one_line(infoplane("record", "--dataset", "cifar"), "unknown data set 'cifar'", "cifar10")
    assert_one_line(infoplane("record", "--layers", "conv11"), "unknown layer", "conv1")
    assert_one_line(infoplane("info", "--layers", "--model", "vgg12"), "did you mean")
    assert_one_line(infoplane("record", "--model", "nowhere.net:make"), "nowhere")
    assert not Path("run.h5").exists()


def test_probe_larger_than_the_data(infoplane):
    assert_one_line(infoplane("record", "--probe-size", "601"), "larger than the test split (600 samples)")


def test_output_is_never_overwritten_without_force(recorded):
    before = Path("run.h5").read_bytes()
    assert_one_line(recorded("record", *RECORD, "-o", "run.h5"), "exists", "--force", "--resume")
    assert Path("run.h5").read_bytes() == before
    assert recorded("record", *RECORD, "--seed", "3", "--force", "-o", "run.h5")[0] == 0
    assert recorded("plot", "run.h5")[0] == 0
    assert recorded("plot", "run.h5")[0] == 0
    Path("run-time.png").write_bytes(b"a picture of somebody else")
    assert_one_line(recorded("plot", "run.h5"), "exists", "--force")
    assert recorded("plot", "run.h5", "--force")[0] == 0


def test_unwritable_places(recorded):
    Path("file").write_text("")
    assert_one_line(recorded("record", *RECORD, "-o", "file/run.h5"), "file is no folder; give another place")
    assert_one_line(recorded("plot", "run.h5", "-o", "file/figures"), "file is no folder; give another place")


def test_estimates_that_cannot_be_written(recorded, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    assert_one_line(recorded("estimate", "run.h5"), "No space left on device")
    assert not list(Path().glob(".infoplane-*"))


def test_data_that_are_not_there(infoplane, monkeypatch):
    monkeypatch.setattr(
        "infoplane.data.download._download", lambda name, root: (_ for _ in ()).throw(OSError("no network"))
    )
    assert_one_line(infoplane("record", "--dataset", "cifar10"), "cifar-10-batches-py")
    assert_one_line(infoplane("record", "--dataset", "szt", "--model", "mlp"), "var_u.mat")


def test_resume_keeps_the_settings(recorded):
    assert_one_line(recorded("record", "--resume", "--lr", "3", "-o", "run.h5"), "--lr")
    assert recorded("record", *RECORD, "--resume", "-o", "run.h5")[0] == 0
    assert_one_line(recorded("record", "--resume", "--force", "-o", "run.h5"), "--force", code=2)
    assert recorded("record", "--resume", "--epochs", "2", "-o", "run.h5")[0] == 0
    with open_run("run.h5") as run:
        assert run.snapshots[-1].epoch == 2


def test_bad_estimator_options(recorded):
    assert_one_line(recorded("estimate", "run.h5", "--alpha", "-1"), "alpha")
    assert_one_line(recorded("estimate", "run.h5", "--bandwidth", "medain"), "did you mean median")
    assert_one_line(recorded("estimate", "run.h5", "--bandwidth", "knn:50"), "more than 50 samples")
    assert_one_line(recorded("estimate", "run.h5", "--permutations", "1"), "at least 2")
    assert_one_line(recorded("estimate", "run.h5", "--input-permutations", "99999999999"), "at most 10000")
    assert_one_line(recorded("plot", "run.h5", "run.h5"), "given twice")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 745. GiB"),
        RuntimeError("CUDA out of memory. Tried to allocate 745. GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 745. GiB"),
    ],
)
def test_memory_that_runs_out_is_named_with_what_helps(recorded, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("infoplane.runfile.open_run", fail)
    assert_one_line(recorded("info", "run.h5"), "there is not enough memory for this")


def test_other_estimators(recorded, tmp_path):
    names = "binning,kde,ksg,gaussian,hsic,cka"
    recorded("record", *RECORD, "--keep", "activations", "-o", "whole.h5")
    code, out, complaint = recorded("estimate", "whole.h5", "--estimator", names, "--neighbours", "2")
    assert code == 0, complaint
    for words in ("bins adaptive:30", "noise 0.1", "2 neighbours", "Ledoit", "dependence measures, not bits"):
        assert words in out
    code, out, complaint = recorded(
        "plot", "whole.h5", "--estimator", "cka", "--batches", "3", "--batch-size", "12"
    )
    assert code == 0, complaint
    assert "whole-cka-plane.png" in out
    table = pd.read_csv(tmp_path / "whole-cka-plane.csv")
    assert table["I_XT_low"].notna().all()
    assert table["I_XT_se"].notna().all()
    assert_one_line(recorded("estimate", "whole.h5", "--estimator", "renyi,kda"), "unknown estimator", "kde")
    assert_one_line(recorded("plot", "whole.h5", "--estimator", "hsci"), "did you mean", "hsic")
    assert_one_line(recorded("estimate", "whole.h5", "--batches", "3"), "3 batches of 100 need 300 samples")
    assert_one_line(recorded("estimate", "whole.h5", "--estimator", "kde", "--noise", "0"), "noise variance")


def test_an_unexpected_error_is_one_line_too(infoplane, monkeypatch):
    monkeypatch.setattr("infoplane.runfile.open_run", lambda path: 1 / 0)
    assert_one_line(infoplane("info", "run.h5"), "ZeroDivisionError", "--verbose")


def test_interrupted_estimation(recorded, monkeypatch):
    def stop(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr("infoplane.estimators.renyi.Renyi.estimate", stop)
    code, _, complaint = recorded("estimate", "run.h5")
    assert code == 130
    assert "interrupted" in complaint


def test_a_write_that_fails_ends_in_one_line(infoplane):
    """The command itself, since HDF5 crashes at the end of a process whose last write failed."""
    settings = f"{' '.join(RECORD)} --keep distances"
    longer = f"{settings} --snapshots every:1"
    for limit, command, advice in (
        (150, f"record {settings} -o run.h5", "or choose another place"),
        (1000, f"record {longer} -o run.h5", "then try again"),
        (1400, f"record {longer} -o run.h5", "then go on with --resume"),
        (1400, f"compare --methods sgd --seeds 1 {longer} -o both", "then give the same command again"),
        (1400, f"compare --methods sgd --seeds 2 --jobs 2 {longer} -o two", "then give the same command again"),
    ):
        line = f"ulimit -f {limit}; exec {sys.executable} -m infoplane {command} --quiet"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
        assert_one_line((done.returncode, done.stdout, done.stderr), "File too large", "ulimit -f", advice)
        assert len(done.stderr.splitlines()) == 1
        assert not list(Path().glob(".infoplane-*"))


def test_a_folder_that_may_not_be_written_to(recorded, monkeypatch):
    def refused(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    assert "run.estimates.csv" in recorded("estimate", "run.h5")[1]
    monkeypatch.setattr("filelock.FileLock.acquire", refused)
    code, out, complaint = recorded("estimate", "run.h5", "--alpha", "2")
    assert code == 0
    assert "not kept" in complaint
    assert "logits" in out
    assert "run.estimates.csv" not in out


def test_only_seeds_are_averaged(recorded):
    recorded("record", *RECORD, "--lr", "0.2", "-o", "other.h5")
    assert_one_line(recorded("plot", "run.h5", "other.h5"), "differs from run.h5 in lr")
    Path("copy.h5").write_bytes(Path("run.h5").read_bytes())
    assert_one_line(recorded("plot", "run.h5", "copy.h5"), "is a copy")
    recorded("record", *RECORD, "-o", "again.h5")
    for verb in ("plot", "analyze"):
        assert_one_line(recorded(verb, "run.h5", "again.h5"), "again.h5 has seed 0, as run.h5 has", "another seed")


def test_data_and_network_of_the_users_own_as_the_page_shows_it(infoplane, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "recording.md").read_text(encoding="utf-8")
    first, *_, data = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "mine.py").write_text(first + data)
    for line in re.findall(r"^\$ infoplane (.*mine.*)", page, re.MULTILINE):
        code, out, complaint = infoplane(*line.split())
        assert code == 0, complaint
        assert "WARNING" not in complaint
    assert "mine-plane.png" in out
    assert_one_line(infoplane("record", "--resume", "-o", "mine.h5", "--epochs", 31), "--dataset mine:data")
    assert_one_line(
        infoplane("record", "--resume", "-o", "mine.h5", "--dataset", "mine:data"), "--model mine:network"
    )
    both = ["--dataset", "mine:data", "--model", "mine:network"]
    assert infoplane("record", "--resume", "-o", "mine.h5", "--epochs", 31, *both)[0] == 0
    assert_one_line(infoplane("record", *both, "--augment", "flip", "-o", "new.h5"), "is for images")
    assert not (tmp_path / "new.h5").exists()
