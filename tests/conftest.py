import logging
import os
import signal
import sys

# One thread for each process, as several run side by side: threads that wait for each other on busy cores cost more
# than they give. Set before the libraries are loaded, and so for the processes that tests start too.
for _library in ("OMP", "MKL", "OPENBLAS"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"

import pytest
import torch
from torch import nn

from infoplane.cli import main

# Tests in the background of a shell ignore SIGINT, and so do the processes that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def small_net(dropout=0.0):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(64, 16),
        nn.ReLU(),
        nn.Linear(16, 3),
    )


@pytest.fixture
def net():
    return small_net()


@pytest.fixture
def probe():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(30, 1, 8, 8, generator=generator), torch.arange(30) % 3


@pytest.fixture
def hang_up():
    """SIGHUP as in a terminal, also where the tests themselves run under nohup, which has it ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def infoplane(capsys, monkeypatch, tmp_path):
    """Runs the command in a fresh folder; gives exit code, what it printed, and its complaints."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["infoplane", *map(str, arguments)])
        logging.getLogger().handlers.clear()
        level = logging.getLogger("infoplane").level
        with pytest.raises(SystemExit) as stop:
            main()
        # What --quiet keeps back is heard again by other tests.
        logging.getLogger("infoplane").setLevel(level)
        seen = capsys.readouterr()
        return stop.value.code or 0, seen.out, seen.err

    return run
