"""Run files, tables of estimates and configurations that earlier infoplanes wrote are read as before.

In tests/data/old, a folder for each, made by `infoplane record --config run.toml -o run.h5` and
`infoplane estimate run.h5` at the commit below; the run files are compressed by gzip, otherwise as written then.
"""

import gzip
import json
import shutil
from pathlib import Path

import click
import h5py
import numpy as np
import pandas as pd
import pytest

import infoplane as ip
from infoplane.cli import cli
from infoplane.trainers.settings import TrainingSettings

OLD = Path(__file__).parents[1] / "data" / "old"
# The schema of the run file by folder; the commits: 4df7e5e, the first version,
# 4ecbb2d, the last of schema 1, and fc1044c, the first of 2.
SCHEMAS = {"v01": 1, "schema1": 1, "schema2": 2}
KEYS = ["step", "layer"]
# Text, numbers of what was measured, and informations, whose definitions have not changed.
COMPARED = ["sigma_T", "sigma_X", "S_T", "S_X", "S_Y", "I_XT", "I_TY"]

each = pytest.mark.parametrize("folder", SCHEMAS)


def test_no_width_is_made_up_for_inputs_whose_number_of_features_was_not_stored(tmp_path):
    path = tmp_path / "run.h5"
    path.write_bytes(gzip.decompress((OLD / "v01" / "run.h5.gz").read_bytes()))
    with pytest.raises(ip.InfoplaneError, match=r"how many features an input has.*--input-bandwidth"):
        ip.estimate(path, bandwidth="silverman:1")
    assert (ip.estimate(path, bandwidth="silverman:1", input_bandwidth="median:1")["status"] != "error").all()


@pytest.fixture
def run_path(folder, tmp_path):
    """The old run, without the table that stood beside it."""
    path = tmp_path / "run.h5"
    path.write_bytes(gzip.decompress((OLD / folder / "run.h5.gz").read_bytes()))
    return path


def old_table(folder):
    return pd.read_csv(OLD / folder / "run.estimates.csv")


@each
def test_the_run_opens_with_its_layers_and_snapshots(folder, run_path):
    table = old_table(folder)
    with h5py.File(run_path) as file:
        assert file.attrs["schema_version"] == SCHEMAS[folder]
    with ip.open_run(run_path) as run:
        assert [layer.name for layer in run.layers] == list(table.sort_values("depth")["layer"].unique())
        assert [snapshot.step for snapshot in run.snapshots] == sorted(table["step"].unique())
        assert len(run.probe.indices) == table["n"].iloc[0] == 40
        assert run.probe.target.kind == "classes"
        assert all(np.isfinite(snapshot.metrics["train_loss"]) for snapshot in run.snapshots)


@each
def test_estimates_are_those_of_then(folder, run_path):
    then = old_table(folder).sort_values(KEYS).reset_index(drop=True)
    now = ip.estimate(run_path).sort_values(KEYS).reset_index(drop=True)
    pd.testing.assert_frame_equal(now[KEYS], then[KEYS])
    for column in COMPARED:
        np.testing.assert_allclose(now[column], then[column], rtol=0, atol=1e-9, err_msg=column)


@each
def test_an_old_table_beside_a_run_does_not_stand_in_the_way(folder, run_path):
    shutil.copy(OLD / folder / "run.estimates.csv", run_path.with_suffix(".estimates.csv"))
    table = ip.estimate(run_path)
    then = old_table(folder)
    assert len(table) == len(then)
    both = table.merge(then, on=KEYS, suffixes=("", "_then"))
    np.testing.assert_allclose(both["I_TY"], both["I_TY_then"], rtol=0, atol=1e-9)


@each
def test_a_configuration_gives_the_settings_that_the_run_keeps(folder, run_path):
    """Options that came later have their defaults."""
    arguments = ["--config", str(OLD / folder / "run.toml")]
    command = cli.commands["record"]
    with command.make_context("record", arguments) as context:
        assert isinstance(context, click.Context)
        names = TrainingSettings.__dataclass_fields__
        read = {name: value for name, value in context.params.items() if name in names}
    with h5py.File(run_path) as file:
        kept = json.loads(file.attrs["config"])
    assert set(kept) <= set(names)
    assert TrainingSettings(**read).resolved() == TrainingSettings.of(kept).resolved()
