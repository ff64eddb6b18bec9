from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from recorded import make_run

from infoplane import open_run
from infoplane.analysis.markov.structure import links_of, structure_test


def links(deltas):
    """Links of runs with these δ by run and snapshot."""
    rows = [
        {
            "run": run,
            "when": when,
            "link": number,
            "layer_i": f"t{number}",
            "layer_j": f"t{number + 1}",
            "delta": one,
        }
        for run, snapshots in deltas.items()
        for when, values in snapshots.items()
        for number, one in enumerate(values, start=1)
    ]
    return pd.DataFrame(rows)


NAN = np.nan


@pytest.mark.parametrize(
    ("deltas", "state"),
    [
        ({"a": {"first": [0, 0], "last": [1e-7, 0]}, "b": {"first": [0, 0], "last": [0, 0]}}, "chain"),
        ({"a": {"first": [0, 0], "last": [0, 0]}, "b": {"first": [0, 0], "last": [0, 0.04]}}, "no chain"),
        ({"a": {"first": [0, 0], "last": [NAN, NAN]}}, "chain"),
        ({"a": {"first": [0, NAN], "last": [0, NAN]}}, "structure unknown"),
        ({"a": {"first": [0, NAN], "last": [0.5, NAN]}}, "no chain"),
        (
            {"a": {"first": [0, 0], "last": [0, 0]}, "b": {"first": [NAN] * 2, "last": [NAN] * 2}},
            "structure unknown",
        ),
    ],
)
def test_the_state(deltas, state):
    found = structure_test(links(deltas))
    assert found.state == state
    assert found.holds == (state == "chain")


def test_the_links_that_are_none_and_the_runs_without():
    found = structure_test(links({"a": {"last": [0, 0.5]}, "b": {"last": [NAN, NAN]}, "c": {"last": [0, 0.7]}}))
    assert found.broken.to_dict() == {"t2 → t3": 0.7}
    assert np.isnan(found.worst["t1 → t2"])
    assert found.runs_without == ("b",)


def test_the_links_of_a_recorded_run(tmp_path, probe):
    torch.manual_seed(0)
    with open_run(make_run(tmp_path / "run.h5", probe)) as run:
        table = links_of(run)
        assert table["when"].unique().tolist() == ["first", "last"]
        assert table[table["when"] == "first"]["layer_j"].tolist() == [layer.name for layer in run.layers[1:]]
        assert table["delta"].to_numpy() == pytest.approx(np.concatenate([run.links["first"], run.links["last"]]))
    assert structure_test(table.assign(run="run")).state == "chain"
