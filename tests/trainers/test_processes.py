"""Processes side by side: what is said of one that dies, and who goes on."""

import logging
import os
import signal
import warnings

import pytest

from infoplane import InfoplaneError
from infoplane.stopping import Stopped
from infoplane.trainers.processes import side_by_side


def work(task):
    if task == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "exit":
        os._exit(3)
    if task == "log":
        logging.getLogger("infoplane.deep").info("is not said")
        logging.getLogger("infoplane.deep").warning("%d %% of `jobs` are said", 100)
        warnings.warn("of a library", stacklevel=1)
    if task == "stop":
        raise Stopped(signal.SIGHUP)
    return f"{task} by {os.getpid()}"


def test_another_process_takes_the_place_of_one_that_died():
    answers = dict(side_by_side(work, ["kill", "exit", "a", "b"], 1))
    assert answers["kill"].startswith(
        "its process was killed by SIGKILL; if there was not enough memory, use fewer `"
    )
    assert answers["exit"].startswith("its process ended with exit code 3; ")
    assert answers["a"].removeprefix("a") == answers["b"].removeprefix("b") != f" by {os.getpid()}"


def test_what_a_process_logs_is_logged_here(caplog):
    answers = dict(side_by_side(work, ["a", "log", "b"], 2))
    assert answers.keys() == {"a", "log", "b"}
    assert [(record.name, record.levelname, record.getMessage()) for record in caplog.records] == [
        ("infoplane.deep", "WARNING", "100 % of `jobs` are said"),
        ("py.warnings", "WARNING", caplog.messages[1]),
    ]
    assert "UserWarning: of a library" in caplog.messages[1]


def test_all_stop_with_the_first_that_was_asked_to():
    with pytest.raises(Stopped, match="SIGHUP"):
        list(side_by_side(work, ["stop", "kill"], 2))


def test_where_no_process_can_be_started_is_said(monkeypatch):
    def fail(_process):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.context.SpawnProcess.start", fail)
    with pytest.raises(
        InfoplaneError, match=r"no process can be started \(Resource temporarily unavailable\); use fewer"
    ):
        list(side_by_side(work, ["a"], 1))
