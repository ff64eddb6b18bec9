"""What is printed, on consoles and streams of all kinds."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted import planted_run
from scipy.spatial.distance import pdist

from infoplane.runfile import LayerInfo, Probe, RunWriter
from infoplane.targets import Target

NAME = "\x1b]0;owned\x07=cmd|' /C calc'!A0\u202e"
SAMPLES = np.random.default_rng(0).standard_normal((40, 5))


@pytest.fixture
def evil(tmp_path):
    """A run whose layer, metric, model and command hold what steers a terminal or starts a spreadsheet."""
    probe = Probe(
        Target("classes", np.arange(40) % 4, ("a\x1b[2J", "b", "c", "d")),
        distances=pdist(SAMPLES),
        indices=np.arange(40),
        shape=(5,),
    )
    config = {"model": NAME, "dataset": NAME, "seed": 0}
    path = tmp_path / "evil.h5"
    layers = [LayerInfo(name, (5,), NAME) for name in (NAME, "plain")]
    with RunWriter.create(path, layers, probe, config=config, provenance={"command": NAME}) as writer:
        for step in (0, 1):
            with writer.snapshot(step, float(step), {NAME: 1.0}) as out:
                for layer in layers:
                    out.layer(layer.name, "activations", SAMPLES + step, nonfinite=0, constant=False)
    return path


@pytest.mark.parametrize("verb", ["info", "estimate", "plot", "analyze"])
def test_no_name_steers_the_terminal(infoplane, evil, verb):
    code, out, complaint = infoplane(verb, evil)
    assert code == 0, complaint
    assert not [c for c in out + complaint if c not in "\n\t" and not c.isprintable()]
    if verb in ("info", "estimate"):
        assert "\\x1b]0;owned\\x07" in out


def test_no_file_name_steers_the_terminal(infoplane, tmp_path):
    code, _, complaint = infoplane("info", tmp_path / "\x1b[2Jrun.h5")
    assert code == 1
    assert complaint.startswith("error: ")
    assert "\\x1b[2Jrun.h5 does not exist" in complaint
    code, _, complaint = infoplane("verify", "\x1b[2J")
    assert code == 2
    assert "\x1b" not in complaint


def test_no_name_is_a_formula_and_the_table_reads_back(infoplane, tmp_path, evil):
    evil_name = "=" + NAME
    assert infoplane("estimate", evil, "--jobs", "1")[0] == 0
    before = (tmp_path / "evil.estimates.csv").read_bytes()
    assert infoplane("estimate", evil, "--jobs", "1")[0] == 0
    assert (tmp_path / "evil.estimates.csv").read_bytes() == before, "nothing was estimated again"
    assert evil_name not in before.decode()
    assert infoplane("plot", evil)[0] == 0
    for table in tmp_path.glob("*.csv"):
        words = pd.read_csv(table, dtype=str)
        cells = [*words, *words.to_numpy().ravel()]
        numbers = pd.to_numeric(pd.Series(cells), errors="coerce").notna()
        assert not [c for c, number in zip(cells, numbers, strict=True) if not number and str(c)[0] in "=+-@\t\r"]


def shell(line, folder, **environment):
    """A command line as bash runs it, with `infoplane` in it."""
    line = line.replace("infoplane", f"{sys.executable} -m infoplane")
    process = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
        timeout=250,
    )
    return process.returncode, process.stdout, process.stderr


@pytest.mark.parametrize(
    ("line", "code", "complaint"),
    [
        ("infoplane info seed0.h5 > /dev/full", 1, "error: cannot print the results: No space left on device\n"),
        ("infoplane info nothing.h5 2> /dev/full", 1, ""),
        ("infoplane info seed0.h5 >&- 2>&- <&-", 0, ""),
        ("infoplane info seed0.h5 | true; exit ${PIPESTATUS[0]}", 1, ""),
        ("infoplane estimate seed0.h5 --jobs 1 >&- 2>&-", 0, ""),
    ],
)
def test_streams_that_take_nothing(tmp_path, line, code, complaint):
    planted_run(tmp_path / "seed0.h5", method="sgd")
    got, _, said = shell(line, tmp_path)
    assert (got, said.decode()) == (code, complaint)


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_consoles_that_lack_letters(tmp_path, encoding):
    planted_run(tmp_path / "seed0.h5", method="sgd")
    code, out, complaint = shell("infoplane estimate seed0.h5 --jobs 1", tmp_path, PYTHONIOENCODING=encoding)
    assert code == 0, complaint
    assert "R\u00e9nyi" in out.decode(encoding)
    assert "? = 1," in out.decode(encoding)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root")
def test_no_home_and_no_entry_among_the_users():
    # The rights to read and write everything stay, as Python itself may be in somebody's home.
    user = "setpriv --reuid 54321 --clear-groups --inh-caps=+dac_override --ambient-caps=+dac_override"
    line = f"env -u HOME -u USER -u LOGNAME -u XDG_CACHE_HOME {user} infoplane plot seed0.h5 --jobs 1"
    with tempfile.TemporaryDirectory() as name:
        planted_run(Path(name) / "seed0.h5", method="sgd").chmod(0o644)
        Path(name).chmod(0o777)
        code, out, complaint = shell(line, name)
    assert code == 0, complaint
    assert b"seed0-plane.png" in out
