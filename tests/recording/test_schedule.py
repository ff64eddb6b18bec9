import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infoplane.errors import InfoplaneError
from infoplane.recording.schedule import endless, log_spaced, snapshot_steps


@settings(deadline=None)
@given(st.integers(1, 10**6), st.integers(2, 200))
def test_log_spaced_steps(total, count):
    steps = log_spaced(total, count)
    assert steps == sorted(set(steps))
    assert steps[0] == 0
    assert steps[-1] == total
    assert len(steps) <= count or len(steps) <= 1.2 * count
    assert len(steps) >= min(count, total + 1)


def test_gaps_grow():
    steps = log_spaced(10_000, 30)
    late = steps[12:]
    ratios = [b / a for a, b in itertools.pairwise(late)]
    assert max(ratios) / min(ratios) < 1.2
    # Evenly in the logarithm: half of the snapshots are before the square root of the number of steps.
    assert min(ratios) > 1.2
    assert steps[14] < 100 < steps[15]


@settings(deadline=None)
@given(st.integers(2, 200))
def test_endless_steps_rise_by_one_factor_and_as_many_as_asked_for_fall_into_the_first_10_000(count):
    steps = list(itertools.islice(endless(count), count + 20))
    assert steps == sorted(set(steps))
    assert steps[: len(log_spaced(10_000, count))] == log_spaced(10_000, count)
    late = [b / a for a, b in itertools.pairwise(steps) if a >= 10_000]
    assert max(late) / min(late) < 1.001


def test_endless_steps_as_documented():
    steps = list(itertools.islice(endless(40), 60))
    assert steps[:12] == [0, 1, 2, 3, 4, 5, 6, 8, 9, 12, 15, 19]
    assert [sum(step <= last for step in steps) for last in (100, 1000, 10_000, 100_000)] == [19, 29, 40, 50]


@pytest.mark.parametrize("count", [1, "40", 2.5])
def test_a_number_of_snapshots_that_is_none_is_refused_at_once(count):
    with pytest.raises(InfoplaneError, match=f"whole number of at least 2, got {count!r}"):
        endless(count)


def test_snapshot_steps():
    assert snapshot_steps("2", 50, 10) == [0, 50]
    assert snapshot_steps("epochs", 30, 10) == [0, 10, 20, 30]
    assert snapshot_steps("every:20", 50, 10) == [0, 20, 40, 50]
    assert snapshot_steps("4+2", 1000, 10) == [0, 1, 30, 900, 950, 1000]
    assert snapshot_steps("4+2", 1, 1) == [0, 1]


@settings(deadline=None)
@given(st.integers(100, 10**5))
def test_the_last_tenth_can_have_more(total):
    steps = snapshot_steps("32+8", total, 1)
    assert len(steps) == 40
    assert (steps[0], steps[-1]) == (0, total)
    late = [step for step in steps if step > round(0.9 * total)]
    gaps = np.diff(late)
    assert len(late) == 8
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("spec", ["1", "0", "1+8", "32+0", "+8", "8+", "every:0", "every:x", "often", ""])
def test_refused(spec):
    with pytest.raises(InfoplaneError, match="give a count"):
        snapshot_steps(spec, 50, 10)


@pytest.mark.parametrize("spec", ["100001", "99999+2", "every:1", "epochs", "9" * 300])
def test_more_snapshots_than_a_file_holds_are_refused(spec):
    with pytest.raises(InfoplaneError, match="100000 at most"):
        snapshot_steps(spec, 10**12, 10)
