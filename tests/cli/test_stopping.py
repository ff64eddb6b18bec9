"""What is asked to stop keeps what is done, under every verb."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from planted import planted_run
from processes import assert_stops

from infoplane import open_run
from infoplane.estimators.renyi import Renyi
from infoplane.trainers import session
from infoplane.trainers.unit import Unit

TINY = ["--model", "mlp", "--widths", "8", "--snapshots", "2", "--probe-size", "20", "--batch-size", "100"]
TINY += ["--train-size", "200", "--eval-size", "50", "--quiet"]


def kill_at(monkeypatch, where, name, calls, number):
    """Sends a signal to this process when a method is called for the so-manieth time."""
    original, count, lock = getattr(where, name), [0], threading.Lock()

    def counted(*arguments, **options):
        with lock:
            count[0] += 1
            ours = count[0] == calls
        if ours:
            time.sleep(0.5)  # so that what was made before is handed on, also on a busy machine
            os.kill(os.getpid(), number)
        return original(*arguments, **options)

    monkeypatch.setattr(where, name, counted)


@pytest.mark.parametrize("verb", ["estimate", "analyze", "plot"])
def test_estimates_that_are_done_are_kept(infoplane, tmp_path, monkeypatch, verb):
    path = planted_run(tmp_path / "sgd" / "seed0.h5", curve=[0.1, 0.5, 0.9])
    with monkeypatch.context() as patch:
        kill_at(patch, Renyi, "estimate", 6, signal.SIGTERM)
        code, _, complaint = infoplane(verb, path, "--jobs", "1", "--quiet")
    assert code == 128 + signal.SIGTERM
    assert complaint.splitlines()[-1] == ("stopped by SIGTERM; what was finished is safe; the same command goes on")
    kept = pd.read_csv(path.with_suffix("").with_suffix(".estimates.csv"))
    assert 1 <= len(kept)
    assert not list(tmp_path.rglob("*.png"))
    assert infoplane(verb, path, "--jobs", "1", "--quiet")[0] == 0
    again = pd.read_csv(path.with_suffix("").with_suffix(".estimates.csv"))
    pd.testing.assert_frame_equal(again.iloc[: len(kept)][list(kept)], kept, check_dtype=False)


@pytest.mark.usefixtures("hang_up")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_comparison_goes_on(infoplane, tmp_path, monkeypatch, number):
    command = ["compare", "--methods", "sgd", "--seeds", "1", "--epochs", "2", *TINY, "-o", "c"]
    with monkeypatch.context() as patch:
        kill_at(patch, Unit, "forward", 3, number)
        code, _, complaint = infoplane(*command)
    assert code == 128 + number
    assert f"stopped by {number.name}" in complaint
    with open_run(tmp_path / "c" / "sgd" / "seed0.h5") as run:
        assert not run.results
    code, _, complaint = infoplane(*command)
    assert code == 0, complaint
    assert (tmp_path / "c" / "comparison.csv").exists()


def test_a_time_limit_is_an_interruption(infoplane, tmp_path, monkeypatch):
    alarms = []

    def set_timer(_kind, seconds, _again=0.0):
        alarms.append(seconds)
        return (0.0, 0.0)

    monkeypatch.setattr(signal, "setitimer", set_timer)
    (tmp_path / "stopped_net.py").write_text(
        "from infoplane.models import build_model\n\n\ndef net():\n"
        "    return build_model('mlp', (1, 8, 8), 10, widths=(8,))\n"
    )
    with monkeypatch.context() as patch:
        kill_at(patch, Unit, "forward", 3, signal.SIGALRM)
        code, _, complaint = infoplane(
            "record",
            "--time-limit",
            "8m",
            *TINY[4:],
            "--model",
            "stopped_net:net",
            "--epochs",
            "2",
            "-o",
            "a run.h5",
        )
    assert alarms == [450.0, 0.0]
    assert code == 128 + signal.SIGALRM
    assert complaint == (
        "stopped by the time limit; every finished snapshot is safe; go on with: "
        "infoplane record --resume -o 'a run.h5' --model stopped_net:net\n"
    )
    assert infoplane("record", "--resume", "-o", "a run.h5", "--model", "stopped_net:net", "--quiet")[0] == 0


def test_a_run_that_was_to_be_overwritten_is_not_gone_on_with(infoplane, tmp_path, monkeypatch):
    assert infoplane("record", "--epochs", "1", *TINY, "-o", "run.h5")[0] == 0
    before = (tmp_path / "run.h5").read_bytes()
    with monkeypatch.context() as patch:
        kill_at(patch, session, "_load", 1, signal.SIGTERM)
        code, _, complaint = infoplane("record", "--force", "--epochs", "7", *TINY, "-o", "run.h5")
    assert code == 128 + signal.SIGTERM
    assert "--resume" not in complaint
    assert (tmp_path / "run.h5").read_bytes() == before


@pytest.mark.parametrize("verb", ["record", "compare", "figures"])
def test_times_are_written_as_people_write_them(infoplane, verb):
    for text in ("8 minutes", "0", "-3", "1m2h", "..m", ""):
        code, _, complaint = infoplane(verb, "--time-limit", text)
        assert code == 2
        assert f"'{text}' is no time such as 90s, 8m or 1h30m" in complaint


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["first", "all"])
def test_the_processes_of_a_comparison_stop_with_it(tmp_path, send):
    """A queue sends its signal to the first process alone, `timeout` to all."""
    command = [sys.executable, "-m", "infoplane", "compare", "--methods", "sgd", "--seeds", "4", "--jobs", "2"]
    command += ["--lr", "0.1", "--epochs", "100000", *TINY, "-o", str(tmp_path)]
    assert_stops(command, lambda: len(list(tmp_path.glob("sgd/*.ckpt"))) >= 2, seconds=200, send=send)
    for seed in (0, 1):
        with open_run(Path(tmp_path) / "sgd" / f"seed{seed}.h5") as run:
            assert not run.left_open
    # What waited behind them is not begun.
    assert len(list(tmp_path.glob("sgd/*.h5"))) == 2


def test_a_run_that_was_not_begun_is_not_spoken_of(infoplane, monkeypatch):
    monkeypatch.setattr(
        "infoplane.trainers.session._load", lambda *_: os.kill(os.getpid(), signal.SIGTERM) or time.sleep(5)
    )
    code, _, complaint = infoplane("record", "--model", "mlp", *TINY[2:], "-o", "run.h5")
    assert code == 128 + signal.SIGTERM
    assert complaint.splitlines()[-1] == "stopped by SIGTERM; what was finished is safe; the same command goes on"
    assert not Path("run.h5").exists()
