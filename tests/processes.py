"""Processes of the command line that tests start, wait for and stop."""

import os
import signal
import subprocess
import time
from contextlib import contextmanager


def wait_for(true, seconds=120):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@contextmanager
def leader(command):
    """A command that leads a group, in which the processes are that it starts; none of them outlives the block."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        yield process
    finally:
        if not is_gone(process):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()


def is_gone(process):
    """Whether no process of the group of a leader is left."""
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return True
    return False


def assert_stops(command, begun, seconds=120, send=os.kill):
    """Sends SIGTERM to a command once it has begun, or to its group; it ends in good order, and says only so."""
    with leader(command) as process:
        wait_for(begun, seconds)
        send(process.pid, signal.SIGTERM)
        _, complaint = process.communicate(timeout=100)
        wait_for(lambda: is_gone(process))
    assert process.returncode == 128 + signal.SIGTERM
    [line] = complaint.strip().splitlines()
    assert line.startswith("stopped by SIGTERM")
