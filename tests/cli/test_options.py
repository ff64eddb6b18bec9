import re
import sys

import click
import pytest

from infoplane.cli import cli
from infoplane.cli.options import CommaList, loading
from infoplane.data import DATASETS
from infoplane.estimators.registry import NAMES, EstimatorOptions
from infoplane.models import model_names
from infoplane.recording.recorder import Recorder
from infoplane.runfile import open_run
from infoplane.settings import settings_of
from infoplane.trainers.methods import METHODS
from infoplane.trainers.settings import ALIKE, TrainingSettings

OF_RECORD = {"output", "time_limit", "force", "go_on", "config", "quiet", "verbose"}
OF_COMPARE = {
    "methods",
    "time_limit",
    "reference",
    "seeds",
    "tune_lr",
    "margin",
    "as_published",
    "scheduler",
    "jobs",
    "merge",
    "output",
    "config",
    "quiet",
    "verbose",
}


def options(verb):
    return {param.name: param for param in cli.commands[verb].params if isinstance(param, click.Option)}


def headings(text):
    return re.findall(r"^(\S[^:\n]*):$", text, re.MULTILINE)


def test_the_options_of_a_training_are_its_settings():
    settings = settings_of(TrainingSettings)
    assert options("record").keys() == {*settings} | OF_RECORD
    assert options("compare").keys() == {*settings} - {"method", "seed"} | OF_COMPARE
    for name, declared in settings.items():
        option = options("record")[name]
        assert option.get_default(click.Context(cli.commands["record"])) == declared.default
        assert option.help == declared.help
        kind = option.type.kind if isinstance(option.type, CommaList) else option.type
        assert isinstance(kind, click.Choice) == bool(declared.choices)


@pytest.mark.parametrize("verb", ["estimate", "plot", "analyze"])
def test_the_options_of_an_estimate_are_those_of_the_estimators(verb):
    assert settings_of(EstimatorOptions).keys() <= options(verb).keys()


def test_help_has_its_options_under_headings(infoplane):
    expected = ["Data", "Model", "Recording", "Optimisation", "Layer-wise methods", "Output", "General"]
    assert headings(infoplane("record", "--help")[1]) == expected
    assert headings(infoplane("compare", "--help")[1]) == ["Comparison", *expected]
    for verb in cli.commands:
        shown = infoplane(verb, "--help")[1]
        assert headings(shown)[-1] == "General"
        assert all(option.opts[-1] in shown for option in options(verb).values())


def test_the_help_of_compare_says_what_all_methods_get(infoplane):
    shown = " ".join(infoplane("compare", "--help")[1].split())
    for name, value in ALIKE.items():
        line = shown[shown.index(f"--{name.replace('_', '-')} ") :]
        assert line[line.index("[default: ") :].startswith(f"[default: ({value}, for all methods)]")


def test_help_names_what_there_is_to_choose_from():
    record = options("record")
    for name in DATASETS:
        assert name in record["dataset"].help
    built_in = model_names()[: model_names().index("alexnet")]
    assert len(built_in) > 8
    for name in built_in:
        assert re.search(rf"\b{name}\b", record["model"].help), name
    for name in METHODS:
        assert name in record["method"].help
        assert name in options("compare")["methods"].help
    for name in NAMES:
        assert name in options("plot")["estimator"].help


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("probe-size = 0", "probe_size must be at least 1, got 0"),
        ('keep = "al"', "'al' is not one of"),
        ("widths = [16, 0.5]", "widths must be of type int"),
        ("lr = -1", "lr must be positive and finite, got -1.0"),
        ("lr = 1979-05-27T07:32:00Z", "'1979-05-27 07:32:00+00:00' is not a valid float"),
        ("lr = true", "'True' is not a valid float"),
        ("batch-size = 8\nbatch_size = 16", "'batch_size' is given twice"),
        ("epochs = 1.5", "'1.5' is not a valid integer"),
        ("batch_size = 1e300", "'1e+300' is not a valid integer"),
        ("batch_size = 99999999999999999999", "batch_size must be at most 2^53"),
        ("epochs = " + "[" * 3000 + "]" * 3000, "run.toml cannot be read"),
    ],
)
def test_a_configuration_is_checked_as_the_settings_say(infoplane, tmp_path, text, words):
    (tmp_path / "run.toml").write_text(text)
    code, _, complaint = infoplane("record", "--config", "run.toml", "-o", "run.h5")
    assert code != 0
    assert words in complaint
    assert not (tmp_path / "run.h5").exists()


def test_a_configuration_has_the_names_of_the_command_line(infoplane, tmp_path):
    (tmp_path / "run.toml").write_text('model = "mlp"\nwidths = [8]\nprobe-size = 30\nsnapshots = "4"\nepochs = 1')
    assert infoplane("record", "--config", "run.toml", "-o", "run.h5")[0] == 0
    (tmp_path / "on.toml").write_text('resume = true\nepochs = 2\noutput = "run.h5"')
    code, _, complaint = infoplane("record", "--config", "on.toml")
    assert code == 0, complaint
    with open_run(tmp_path / "run.h5") as run:
        assert run.config["epochs"] == 2
    (tmp_path / "on.toml").write_text("go_on = true")
    code, _, complaint = infoplane("record", "--config", "on.toml")
    assert code == 1
    assert "unknown key in on.toml: 'go_on'" in complaint
    assert "resume" in complaint


def test_what_stops_in_time_says_how_it_goes_on(infoplane):
    assert "--resume goes on." in " ".join(infoplane("record", "--help")[1].split())
    assert "the same command goes on." in " ".join(infoplane("compare", "--help")[1].split())


@pytest.mark.parametrize("name", ["lr-0.05-long", "v1.beta", "a.b.c"])
def test_a_variant_whose_name_has_a_dot_is_told_how_to_write_it(infoplane, tmp_path, name):
    (tmp_path / "comparison.toml").write_text(f"epochs = 1\n[{name}]\nmethod = 'sgd'\n")
    code, _, complaint = infoplane("compare", "--config", "comparison.toml", "-o", "comparison")
    assert code != 0
    assert f'write it in quotes, ["{name}"]' in complaint


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-8"])
def test_a_configuration_is_utf_8_with_a_mark_of_that_or_without(infoplane, tmp_path, codec):
    (tmp_path / "run.toml").write_text('data_root = "Größe"\r\nepochs = 0\r\n', encoding=codec)
    code, _, complaint = infoplane("record", "--config", "run.toml")
    assert code != 0
    assert "epochs must be at least 1, got 0" in complaint


def test_a_terminal_hears_that_libraries_are_loaded(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    with loading(quiet=False):
        assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with loading(quiet=True):
        assert capsys.readouterr().err == ""
    with loading(quiet=False):
        shown = capsys.readouterr().err
        assert shown == "loading PyTorch …\r"
    assert capsys.readouterr().err == " " * (len(shown) - 1) + "\r"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("estimate", "--batch-size", "30"), "--batch-size goes with a number of --batches"),
        (("plot", "--batch-size", "30"), "--batch-size goes with a number of --batches"),
        (("info", "--model", "vgg11"), "--model goes with --layers"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(infoplane, net, probe, arguments, words):
    with Recorder(net, probe, "run.h5") as recorder:
        recorder.snapshot(0)
    code, _, complaint = infoplane(*arguments, "run.h5")
    assert code != 0
    assert words in complaint
