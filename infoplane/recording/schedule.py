"""When to take a snapshot."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from numbers import Integral

import numpy as np

from infoplane.errors import InfoplaneError

# Where the part of a training begins that shows whether it has settled.
_LATE = 0.9
# A training of unknown length has the number of snapshots that is asked for when it comes to this step.
_HORIZON = 10_000
# A run file has a place for each snapshot from its beginning.
_MOST = 100_000


def log_spaced(total_steps: int, count: int) -> list[int]:
    """Steps spaced evenly in the logarithm, from initialisation (0) to the end.

    Early training moves fast, so most snapshots fall there.

    Args:
        total_steps: Number of optimiser steps of the run.
        count: Number of snapshots wanted, at least 2.

    Returns:
        Rising steps without repeats, 0 and total_steps included; fewer than count only where there are fewer
        steps than that.
    """
    if total_steps < 1:
        return [0]
    wanted = min(count, total_steps + 1)
    # Rounding merges early points; a denser grid makes up for them.
    for points in range(wanted - 1, 50 * wanted):
        steps = np.unique(np.rint(np.geomspace(total_steps, 1, points)).astype(int))
        if len(steps) >= wanted - 1:
            break
    return [0, *steps.tolist()]


def endless(count: int) -> Iterator[int]:
    """The steps of the snapshots of a training whose length is not known: ever further apart, by a constant factor.

    They are those of `log_spaced` for 10,000 steps, and go on from there by the same factor: whatever the length,
    the early part is as dense, and a training ten times as long has a few more. 40 give 0, 1, 2, 3, 4, 5, 6, 8,
    9, 12, 15, 19, …: 19 up to step 100, 29 up to 1,000, 40 up to 10,000 and 50 up to 100,000.

    Args:
        count: Number of snapshots up to step 10,000, at least 2.

    Returns:
        Rising steps without repeats, from 0 on, one after the other.

    Raises:
        InfoplaneError: The count is no whole number, or below 2.
    """
    if not isinstance(count, Integral) or count < 2:
        raise InfoplaneError(f"snapshots must be a whole number of at least 2, got {count!r}")
    steps = log_spaced(_HORIZON, int(count))
    factor = _HORIZON / max(steps[-2], 1)
    return itertools.chain(steps, (round(_HORIZON * factor**power) for power in itertools.count(1)))


def snapshot_steps(spec: str, total_steps: int, steps_per_epoch: int) -> list[int]:
    """The steps after which a snapshot is taken.

    Args:
        spec: "40" (that many, log-spaced), "32+8" (32 log-spaced in the first nine tenths and 8 evenly spaced in
            the last one, which shows whether the training has settled), "epochs" (after every epoch) or "every:100"
            (every 100 steps); initialisation and the end are always among them.
        total_steps: Number of optimiser steps of the run.
        steps_per_epoch: Number of optimiser steps of one epoch.

    Returns:
        Rising steps without repeats.

    Raises:
        InfoplaneError: The specification is none of these.
    """
    if spec.isdecimal() and 2 <= int(spec) <= _MOST:
        return log_spaced(total_steps, int(spec))
    if counts := re.fullmatch(r"(\d+)\+(\d+)", spec):
        early, late = map(int, counts.groups())
        begin = round(_LATE * total_steps)
        if early >= 2 and late >= 1 and early + late <= _MOST:
            evenly = np.linspace(begin, total_steps, late + 1).round().astype(int)
            return sorted({*log_spaced(begin, early), *evenly.tolist()})
    every = steps_per_epoch if spec == "epochs" else 0
    if spec.startswith("every:") and spec[6:].isdecimal():
        every = int(spec[6:])
    if every < 1 or total_steps / every > _MOST:
        raise InfoplaneError(
            f"snapshots '{spec}': give a count from 2, '32+8', 'epochs', or 'every:100' (steps); {_MOST} at most"
        )
    return sorted({*range(0, total_steps, every), total_steps})
