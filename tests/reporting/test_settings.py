import json

import pytest
from recorded import make_run

from infoplane import open_run
from infoplane.errors import InfoplaneError
from infoplane.provenance import versions
from infoplane.reporting.report import verdicts_of
from infoplane.reporting.settings import sets_by_training
from infoplane.runfile import RunWriter, open_runs


@pytest.fixture
def runs(tmp_path, probe):
    """Makes runs of some settings, by name."""

    def make(**configs):
        paths = []
        for name, config in configs.items():
            (tmp_path / f"{name}.h5").unlink(missing_ok=True)
            paths.append(make_run(tmp_path / f"{name}.h5", probe, keep="distances"))
            with RunWriter.resume(paths[-1]) as writer:
                writer.set_config(config)
        return paths

    return make


def sets_of(paths):
    """The sets that runs are put into: the stems of their files by the name of the set."""
    with open_runs(paths) as several:
        return {name: [run.path.stem for run in runs] for name, runs in sets_by_training(several).items()}


def test_runs_are_put_together_by_what_differs(runs):
    sgd, dib = {"method": "sgd", "lr": 0.1}, {"method": "greedy-dib", "lr": 0.2, "beta": [0.01]}
    made = runs(a=sgd | {"seed": 0}, b=dib, c=sgd | {"seed": 1})
    assert sets_of(made) == {"sgd": ["a", "c"], "greedy-dib": ["b"]}
    made = runs(a=sgd, b=sgd | {"lr": 0.5}, c=dib)
    assert sets_of(made) == {
        "sgd, lr 0.1": ["a"],
        "sgd, lr 0.5": ["b"],
        "greedy-dib, lr 0.2": ["c"],
    }


def test_repetitions_and_strangers(runs):
    assert sets_of(runs(a={"seed": 0}, b={"seed": 1})) == {"": ["a", "b"]}
    assert sets_of(runs(a={"batch": [1, 2]}, b={})) == {"batch 1, 2": ["a"], "batch none": ["b"]}
    [path] = runs(a={})
    with pytest.raises(InfoplaneError, match="given twice"):
        sets_of([path, path])


def test_verdicts_are_those_of_a_report_of_the_same_runs(runs, tmp_path):
    paths, report = runs(a={}, b={"seed": 1}), tmp_path / "report.json"
    assert verdicts_of(report, paths, "linear CKA") == []
    judged = []
    for path in paths:
        with open_run(path) as run:
            judged.append({"run_id": run.run_id, "last_step": run.snapshots[-1].step})
    about = {"runs": judged, "estimator": "linear CKA", "infoplane": versions()["infoplane"]}
    verdict = {"claim": "a claim", "outcome": "not shown", "reasons": ["why"], "numbers": {}}

    def found(several=paths, estimator="linear CKA", **other):
        report.write_text(json.dumps({"about": about | other, "verdicts": [verdict]}))
        return verdicts_of(report, several, estimator)

    assert found() == [{"claim": "a claim", "outcome": "not shown", "reasons": ["why"]}]
    assert found(paths[:1]) == []
    # Of another estimator, of another version, and of runs that went on since.
    assert found(estimator="HSIC") == []
    assert found(infoplane="0.0.1") == []
    assert found(runs=[judged[0], judged[1] | {"last_step": judged[1]["last_step"] - 1}]) == []
    report.write_text('{"about": []}')
    assert verdicts_of(report, paths, "linear CKA") == []
