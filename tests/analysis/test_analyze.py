"""Other choices and synchronous paths beside the verdict, on planted times."""

from dataclasses import dataclass

import pytest
from made_curves import UP, made
from recorded import make_run

from infoplane.analysis.analyze import _measures, _path
from infoplane.analysis.runset import RunSet
from infoplane.errors import InfoplaneError
from infoplane.estimators.kde import KdeSettings
from infoplane.estimators.renyi import RenyiSettings
from infoplane.kernels import Bandwidth
from infoplane.runfile import Snapshot, open_run, synchronous_path_of

EVEN = (150,) * 8


@dataclass
class Planted(RunSet):
    """Runs whose layers converge in these times, and on their synchronous path in those."""

    times: tuple = UP
    path: tuple | None = None

    information, shortage = "I_XT_corrected", ()

    def trajectories(self, quantity):
        return made(self.times, quantity, jitter=0.2)

    @property
    def synchronous(self):
        return self.path and planted(self.path)


def planted(times, path=None):
    return Planted((), KdeSettings(), None, times=times, path=path)


def test_other_measures_and_quantities_judge_the_same_curves():
    rows = _measures(planted(UP))
    assert [(row.varied, row.value) for row in rows] == [
        *(("distance", "its envelope"), ("time", "t50"), ("similarity", "SVCCA"), ("information", "raw I(X;T)")),
    ]
    assert {row.verdict.outcome for row in rows} == {"supported"}
    assert [list(row.verdict.numbers["quantities"]) for row in rows[2:]] == [
        ["I_XT_corrected", "svcca"],
        ["I_XT", "cka"],
    ]


def test_an_order_that_the_synchronous_path_has_too_is_not_learned():
    structure, learned = (_path(planted(UP, path)) for path in (UP, EVEN))
    assert [row.value for row in structure] == ["synchronous path", "training beyond that path"]
    assert [row.verdict.outcome for row in structure] == ["supported", "not shown"]
    assert [row.verdict.outcome for row in learned] == ["not shown", "supported"]
    factor = learned[1].verdict.numbers["quantities"]["cka"]["factor"]
    assert factor == pytest.approx(1.5, rel=0.05)
    assert _path(planted(UP)) == []


def test_synchronous_paths_are_found_where_each_run_has_one(tmp_path):
    runs = [tmp_path / f"seed{seed}.h5" for seed in range(2)]
    study = RunSet(tuple(runs), KdeSettings(), None)
    synchronous_path_of(runs[0]).touch()
    assert study.synchronous is None
    synchronous_path_of(runs[1]).touch()
    again = RunSet(tuple(runs), KdeSettings(), None)
    assert again.synchronous.runs == tuple(tmp_path / f"seed{seed}.synchronous.h5" for seed in range(2))


def test_other_settings_are_estimated_at_once_and_each_layer_is_read_once(tmp_path, probe, monkeypatch):
    paths = tuple(make_run(tmp_path / f"seed{seed}.h5", probe) for seed in range(2))
    study = RunSet(paths, RenyiSettings(), None)
    wide, knn = RenyiSettings(bandwidth=Bandwidth("median", 2.0)), RenyiSettings(bandwidth=Bandwidth("knn", 5.0))
    read = []
    real = Snapshot.distances
    monkeypatch.setattr(Snapshot, "distances", lambda self, layer: read.append(layer) or real(self, layer))
    study.estimate_under([wide, knn])
    with open_run(paths[0]) as run:
        assert len(read) == 2 * len(run.snapshots) * len(run.layers)
    read.clear()
    tables = [study.estimates, study.under(wide).estimates, study.under(knn).estimates]
    assert not read
    assert [set(table["bandwidth"]) for table in tables] == [{"median:1"}, {"median:2"}, {"knn:5"}]
    assert study.under(wide) is study.under(wide)
    assert study.under(RenyiSettings()) is study


def test_settings_that_find_no_bandwidth_fail_where_they_are_asked_for(tmp_path, probe):
    study = RunSet((make_run(tmp_path / "run.h5", probe),), RenyiSettings(), None)
    far = RenyiSettings(bandwidth=Bandwidth("knn", 1e6), input_bandwidth=Bandwidth("knn", 1e6))
    study.estimate_under([far])
    assert len(study.estimates)
    with pytest.raises(InfoplaneError, match="more than"):
        _ = study.under(far).estimates
