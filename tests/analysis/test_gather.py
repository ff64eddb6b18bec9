"""Runs that are put side by side are repetitions of each other, and each a further one."""

import pytest
import torch
from recorded import make_run
from torch import nn

from infoplane.analysis.gather import gather, refuse_other_training
from infoplane.errors import InfoplaneError
from infoplane.estimators.renyi import RenyiSettings
from infoplane.recording.recorder import Recorder
from infoplane.runfile import open_runs


def made(path, probe, seed, config=None):
    torch.manual_seed(seed)
    return make_run(path, probe, config=config)


def test_the_same_training_is_no_further_run(tmp_path, probe):
    one, same, other = (
        made(tmp_path / f"{name}.h5", probe, seed) for name, seed in (("one", 0), ("same", 0), ("other", 1))
    )
    with pytest.raises(InfoplaneError, match=r"same\.h5 end with the weights of .*one\.h5"):
        gather([one, other, same], RenyiSettings())
    assert gather([one, other], RenyiSettings())[0]["run"].nunique() == 2


def test_a_seed_stands_once(tmp_path, probe):
    paths = [made(tmp_path / f"{k}.h5", probe, k, {"seed": seed}) for k, seed in enumerate((3, 4, 3))]
    with open_runs(paths[:2]) as runs:
        refuse_other_training([*runs.values()])
    with (
        open_runs(paths) as runs,
        pytest.raises(InfoplaneError, match=r"2\.h5 has seed 3, as .*0\.h5 has"),
    ):
        refuse_other_training([*runs.values()])


def wide_and_narrow(path, probe, width, distance="auto"):
    torch.manual_seed(width)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Tanh(), nn.Linear(width, 3))
    with Recorder(net, probe, path, input_distance=distance) as recorder:
        recorder.snapshot(0)
    return path


@pytest.mark.parametrize(
    ("widths", "distances", "what"),
    [
        ((2, 8), ("auto", "auto"), "the layers and their shapes"),
        ((8, 8), ("auto", "1"), "the distance between inputs"),
    ],
)
def test_loops_that_told_nothing_of_their_settings_are_told_apart_by_what_was_recorded(
    tmp_path, probe, widths, distances, what
):
    kinds = zip(widths, distances, strict=True)
    paths = [wide_and_narrow(tmp_path / f"{k}.h5", probe, *kind) for k, kind in enumerate(kinds)]
    with pytest.raises(InfoplaneError, match=f"1.h5 differs from .*0.h5 in {what}; only seeds are averaged"):
        gather(paths, RenyiSettings())


def test_runs_that_begin_alike_are_warned_of_once(tmp_path, probe, caplog):
    paths = []
    for seed in (0, 1):
        torch.manual_seed(5)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 3))
        with Recorder(net, probe, tmp_path / f"{seed}.h5") as recorder:
            recorder.snapshot(0)
            torch.manual_seed(seed)
            with torch.no_grad():
                net[1].weight.add_(torch.randn(4, 64))
            recorder.snapshot(1)
        paths.append(recorder.path)
    for _ in range(2):
        gather(paths, RenyiSettings())
    assert caplog.text.count("1.h5 begin with the weights of") == 1
