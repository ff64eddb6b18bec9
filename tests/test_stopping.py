import os
import signal
import threading
import time

import pytest

from infoplane import InfoplaneError
from infoplane.stopping import Stopped, stop_requests, stoppable, time_limit


def ask(number):
    os.kill(os.getpid(), number)
    time.sleep(0.01)


@pytest.mark.usefixtures("hang_up")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_work_and_is_as_before_afterwards(number):
    before = signal.getsignal(number)
    with pytest.raises(Stopped, match=number.name) as stop, stoppable():
        ask(number)
    assert stop.value.signal == number
    assert signal.getsignal(number) == before


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            ask(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_waits_and_a_second_one_does_not(number):
    with stoppable(), stop_requests() as requests:
        ask(number)
        assert requests == [number]
        with pytest.raises(KeyboardInterrupt):
            ask(number)


def test_the_time_limit_stops_a_tenth_earlier_and_waits_where_requests_do():
    start = time.monotonic()
    with pytest.raises(Stopped, match="the time limit"), time_limit(0.2):
        time.sleep(60)
    assert time.monotonic() - start < 30
    with time_limit(0.05), stop_requests() as requests:
        deadline = time.monotonic() + 60
        while not requests and time.monotonic() < deadline:
            time.sleep(0.01)
    assert requests == [signal.SIGALRM]
    with time_limit(1000):
        assert 960 < signal.getitimer(signal.ITIMER_REAL)[0] <= 970
    assert signal.getsignal(signal.SIGALRM) is not None


def test_alarms_of_others_are_left_to_them():
    before = signal.getsignal(signal.SIGALRM)
    with stop_requests():
        assert signal.getsignal(signal.SIGALRM) == before


def test_a_thread_has_no_alarm():
    complaints = []

    def work():
        try:
            with time_limit(1):
                pass
        except InfoplaneError as error:
            complaints.append(str(error))
        with stoppable(), stop_requests() as requests:
            complaints.append(len(requests))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert complaints == ["a time limit needs the alarms of POSIX, in the main thread; leave out `time_limit`", 0]
