"""When to take a snapshot."""

from __future__ import annotations

import numpy as np

from infoplane.errors import InfoplaneError


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


def snapshot_steps(spec: str, total_steps: int, steps_per_epoch: int) -> list[int]:
    """The steps after which a snapshot is taken.

    Args:
        spec: "40" (that many, log-spaced), "epochs" (after every epoch) or "every:100" (every 100 steps);
            initialisation and the end are always among them.
        total_steps: Number of optimiser steps of the run.
        steps_per_epoch: Number of optimiser steps of one epoch.

    Returns:
        Rising steps without repeats.

    Raises:
        InfoplaneError: The specification is none of these.
    """
    if spec.isdecimal() and int(spec) >= 2:
        return log_spaced(total_steps, int(spec))
    every = steps_per_epoch if spec == "epochs" else 0
    if spec.startswith("every:") and spec[6:].isdecimal():
        every = int(spec[6:])
    if every < 1:
        raise InfoplaneError(f"snapshots '{spec}': give a count from 2, 'epochs', or 'every:100' (steps)")
    return sorted({*range(0, total_steps, every), total_steps})
