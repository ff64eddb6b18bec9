"""infoplane analyze's engine on tiny recorded runs: the report, its numbers, and what it refuses."""

import json
import re

import pandas as pd
import pytest
import torch
from conftest import small_net
from torch.nn import functional

from infoplane import Recorder
from infoplane.analysis.analyze import analyze
from infoplane.analysis.runset import default_batches
from infoplane.analysis.verdict import Verdict, json_value
from infoplane.errors import InfoplaneError
from infoplane.estimators.batches import Batches
from infoplane.estimators.renyi import RenyiSettings
from infoplane.execution import Execution
from infoplane.reporting.report import as_json, write_report
from infoplane.trainers.session import TrainingSettings, record

QUICK = {"settings": RenyiSettings(permutations=2), "execution": Execution(jobs=1)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two seeds of a small CNN on digits, recorded by `infoplane record`."""
    folder = tmp_path_factory.mktemp("runs")
    paths = [folder / f"seed{seed}.h5" for seed in range(2)]
    for seed, path in enumerate(paths):
        record(TrainingSettings(epochs=1, snapshots="6", probe_size=80, eval_size=50, seed=seed), path)
    return paths


@pytest.fixture(scope="module")
def report(runs):
    return analyze(runs, {"the same again": runs}, **QUICK)


def own_run(path, seed=0, steps=6, size=30, breaks=None):
    """A run of a loop of one's own."""
    torch.manual_seed(seed)
    model, generator = small_net(), torch.Generator().manual_seed(seed)
    inputs, labels = torch.randn(size, 1, 8, 8, generator=generator), torch.arange(size) % 3
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(model, (inputs, labels), path) as recorder:
        for step in range(steps):
            if step == breaks:
                with torch.no_grad():
                    model[6].weight.fill_(float("nan"))
            recorder.snapshot(step=step)
            optimizer.zero_grad()
            functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
    return path


def flat(value):
    if isinstance(value, dict):
        return [number for item in value.values() for number in flat(item)]
    if isinstance(value, list):
        return [number for item in value for number in flat(item)]
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


def test_report_round_trip(report, tmp_path):
    text_path, json_path, areas_path = write_report(report, tmp_path / "new" / "report")
    text, numbers = text_path.read_text(encoding="utf-8"), json.loads(json_path.read_text(encoding="utf-8"))
    assert numbers.pop("note").startswith("Made by infoplane")
    assert numbers == json.loads(json.dumps(as_json(report)))
    assert numbers["verdicts"][0]["outcome"] == "undecidable"
    assert "### Bottom-up convergence: **undecidable**" in text
    assert "### Markov information bottleneck: **undecidable**" in text
    assert "runs of different seeds: 2, and at least 5 are needed" in text
    assert "learning-rate schedule: constant, the same in all runs" in text
    assert [order["quantity"] for order in numbers["convergence"]][1:] == ["cka"]
    assert numbers["about"]["batches"] == 4
    # What cannot be judged is not computed again under other choices.
    assert [(row["varied"], row["value"]) for row in numbers["variants"]] == [("runs", "the same again")]
    assert "It is not asked under other choices" in text
    areas = pd.read_csv(areas_path)
    assert list(areas) == ["run", "layer", "depth", "quantity", "area"]
    assert len(areas) == 2 * 2 * 6
    assert [row["layer"] for row in numbers["phases"]] == ["conv1", "conv2", "conv3", "conv4", "fc1", "logits"]
    assert list(tmp_path.rglob(".infoplane-*")) == []


def test_the_head_says_what_was_trained_on_which_data_and_how(runs, tmp_path):
    settings = {"permute_labels": 1.0, "method": "greedy-dib", "beta": (0.1,), "blocks": 2, "epochs": 1}
    shuffled = [tmp_path / f"seed{seed}.h5" for seed in range(2)]
    for seed, path in enumerate(shuffled):
        record(TrainingSettings(snapshots="3", probe_size=80, eval_size=50, seed=seed, **settings), path)
    own = [own_run(tmp_path / f"own{seed}.h5", seed) for seed in range(2)]
    heads = []
    for paths in (runs, shuffled, own):
        lines = write_report(analyze(paths, **QUICK), tmp_path / paths[0].stem)[0].read_text("utf-8").splitlines()
        heads.append((lines[0], next(line for line in lines if line.startswith("- training: "))))
    assert heads[0][0] == "# cnn on digits by sgd: 2 runs"
    assert heads[0][1].startswith("- training: method sgd, optimizer sgd, lr 0.05, momentum 0.9, weight decay")
    assert heads[1][0] == "# cnn on digits (100 % of labels permuted) by greedy-dib: 2 runs"
    assert ", beta 0.1, " in heads[1][1]
    assert ", blocks 2, " in heads[1][1]
    assert heads[2][0] == "# Own model on own data: 2 runs"
    assert heads[2][1] == "- training: a loop of your own, of which nothing is recorded"


def test_every_number_in_the_words_is_in_the_json(report, tmp_path):
    text_path, json_path, _ = write_report(report, tmp_path / "report")
    numbers = flat(json.loads(json_path.read_text(encoding="utf-8")))
    numbers += [100 * number for number in numbers] + [-number for number in numbers]
    known = {f"{number:{form}}" for number in numbers for form in ("g", ".0f", "z.2f", "z.3f", ".2g")}
    words = text_path.read_text(encoding="utf-8")
    verdicts = words[words.index("## Verdicts") : words.index("## What this does not say")]
    verdicts = re.sub(r"(knn|median):\S+|conv\d|fc\d|seed\d|95 % int|α = 1", " ", verdicts)
    found = re.findall(r"(?<![\w.])-?\d+\.?\d*(?:e-?\d+)?", verdicts)
    assert len(found) > 80
    stray = {number for number in found if number not in known and f"{float(number):g}" not in known}
    # Constants of the text, not results.
    assert stray <= {"0", "5", "6", "10", "80"}


def test_the_control_runs_are_analysed_alike(report):
    assert report.variants[-1].verdict == report.verdicts[0]


def test_only_what_infoplane_made_is_overwritten_without_force(report, tmp_path):
    write_report(report, tmp_path / "report")
    before = (tmp_path / "report.md").read_bytes()
    write_report(report, tmp_path / "report")
    assert (tmp_path / "report.md").read_bytes() == before
    (tmp_path / "report.json").write_text('{"of": "somebody else"}')
    (tmp_path / "report.md").unlink()
    with pytest.raises(InfoplaneError, match="force=True"):
        write_report(report, tmp_path / "report")
    assert not (tmp_path / "report.md").exists()
    write_report(report, tmp_path / "report", force=True)
    assert (tmp_path / "report.md").read_bytes() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(InfoplaneError, match="is no folder; give another place"):
        write_report(report, tmp_path / "file" / "report")


def test_mixtures_are_refused(runs, tmp_path):
    own = own_run(tmp_path / "own.h5", size=40)
    with pytest.raises(InfoplaneError, match="differs from"):
        analyze([runs[0], own], **QUICK)
    with pytest.raises(InfoplaneError, match="different probes"):
        analyze([own, own_run(tmp_path / "large.h5", seed=1, size=44)], **QUICK)
    with pytest.raises(InfoplaneError, match="end at different steps"):
        analyze([own, own_run(tmp_path / "short.h5", seed=1, size=40, steps=5)], **QUICK)
    with pytest.raises(InfoplaneError, match="given twice"):
        analyze([own, own], **QUICK)
    with pytest.raises(InfoplaneError, match="name run files"):
        analyze([], **QUICK)


@pytest.mark.parametrize(
    ("options", "limitation"),
    [
        ({"steps": 1}, "snapshots: 1, and at least 10 are needed"),
        ({"steps": 6}, "runs of different seeds: 1, and at least 5 are needed"),
        ({"steps": 6, "breaks": 4}, "layers: 0, and at least 6 are needed"),
    ],
)
def test_what_one_run_cannot_say(tmp_path, options, limitation, caplog):
    report = analyze([own_run(tmp_path / "own.h5", **options)], **QUICK)
    assert report.verdicts[0].outcome == "undecidable"
    assert re.search(limitation, " ".join(report.verdicts[0].reasons))
    assert "bottom-up convergence cannot be judged: layers: 3, and at least 6 are needed; runs of" in caplog.text
    text, *_ = write_report(report, tmp_path / "report")
    words = text.read_text(encoding="utf-8")
    assert "learning-rate schedule: not recorded" in words
    if "breaks" in options:
        assert "not finite at 2 of 6 snapshots" in words


def test_default_batches(runs, tmp_path):
    assert default_batches(runs[0]) == Batches(4, 20)
    assert default_batches(own_run(tmp_path / "tiny.h5", size=11, steps=1)) is None


def test_json_values():
    found = json_value({1: (float("nan"), float("inf"), 2.5), "a": torch.ones(2).numpy()})
    assert found == {"1": [None, None, 2.5], "a": [1.0, 1.0]}
    with pytest.raises(ValueError, match="none of"):
        Verdict("claim", "perhaps", (), {})
