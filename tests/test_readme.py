"""What the README and the first pages of the documentation show runs as it stands."""

import re
from pathlib import Path

import pytest

import infoplane as ip
from infoplane.cli import cli

ROOT = Path(__file__).parents[1]
README, START, VERBS = (
    (ROOT / name).read_text(encoding="utf-8")
    for name in ("README.md", "docs/getting-started.md", "docs/command-line.md")
)


def blocks(text):
    """The python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_readme_is_short_and_shows_what_the_first_page_does():
    words = re.sub(r"```.*?```", "", README, flags=re.DOTALL).split()
    assert len(words) < 450
    loop, drawn = blocks(README)
    assert loop == blocks(START)[0]
    assert drawn in blocks(START)[1]


def test_the_recorder_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(blocks(START)[0], names)
    with ip.open_run("own.h5") as run:
        assert [snapshot.step for snapshot in run.snapshots][:9] == [0, 1, 2, 3, 4, 5, 6, 8, 9]
        assert len(run.snapshots) == 20
        assert run.snapshots[-1].step == 100
        assert [layer.name for layer in run.layers] == ["hidden1", "hidden2", "logits"]
        # It learns something, so that there is a plane to look at.
        losses = run.metrics["loss"].dropna()
        assert losses.iloc[-1] < 0.3 * losses.iloc[0]
    exec(blocks(START)[1], names)
    assert set(names["table"]["bandwidth"]) == {"knn:10"}
    assert Path("plane.png").exists()
    table = names["plane"].table
    last = table[table["step"] == table["step"].max()]
    assert (last["status"] == "ok").all()
    assert (last["I_TY_corrected"] > table.loc[table["step"] == 0, "I_TY_corrected"].max()).all()


def test_the_estimator_example_runs(capsys):
    exec(blocks(START)[2], {})
    value, unit = capsys.readouterr().out.split()
    assert 0 < float(value) < 9
    assert unit == "bits"


@pytest.mark.parametrize("line", re.findall(r"infoplane [a-z]+ [^\n`;|]*--[^\n`;|]*", README + START + VERBS))
def test_every_command_shown_parses(line):
    words = line.replace("$s", "0").replace("'", "").split("  #")[0].split()
    command = cli.commands[words[1]]
    arguments = [word for word in words[2:] if word != "…"]
    command.make_context(words[1], arguments, resilient_parsing=False)


def test_the_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target
