"""Runs that are put side by side are repetitions of each other, and each a further one."""

import pytest
import torch
from recorded import make_run

from infoplane.analysis.gather import gather, refuse_other_training
from infoplane.errors import InfoplaneError
from infoplane.estimators.renyi import RenyiSettings
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
