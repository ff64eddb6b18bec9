"""Processes of the command line that tests start, wait for and stop."""

import signal
import subprocess
import time


def wait_for(true, seconds=120):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def assert_stops(command, begun, seconds=120):
    """Sends SIGTERM to a command once it has begun; it ends in good order, and says so in its last line."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(begun, seconds)
        process.terminate()
        _, complaint = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGTERM
    assert complaint.splitlines()[-1].startswith("stopped by SIGTERM")
