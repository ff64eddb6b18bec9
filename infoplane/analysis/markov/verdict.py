"""The verdict on the Markov information-bottleneck structure of a set of runs.

The rule was fixed before any result was looked at, but for one quantile: "over 2 standard errors" became that of
Student's t at the same tail, after a flat control with 3 batches showed 15 % of its links as violated. There are
four criteria, each a function with its own rule:

(a) the data-processing chains hold at the end (`chains.chains_hold`);
(b) training makes the information between layers fall with their distance (`decay.decay_holds`);
(c) the Markov residuals are below initialisation and noise, and information is lost (`residuals.residuals_hold`);
(d) I(X;T) falls with depth while the null-corrected I(T;Y) is kept (`chains.bottleneck_holds`).

*Supported*: all four. *Mixed*: two or three. *Not supported*: one or none. *Undecidable*: fewer than 5 seeds, fewer
than 2 probe batches, fewer than 5 readable layers (with fewer no order of layers has p < 0.05), one snapshot only
or none at initialisation, or S(X) at log2 n (then every residual is 1).

Each criterion is tested at 5 %. Over seeds: a one-sided t-test of the seeds' means *and* the 95 % interval of the
hierarchical bootstrap over seeds and batches. Over links: Holm's rule in (c); shares or all links in (a) and (d).
Over criteria no correction is needed for "supported", where all must hold. benchmarks/markov_nulls.md shows how
often each holds where there is nothing, and that (c) is strict: a chain that is Markov but compresses little fails
it under Gaussian kernels. "Not supported" is therefore no evidence against a Markov chain.

Batches that overlap (`Batches` on a probe that is too small for them) have errors
that are too small, and links seem violated more often than they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from infoplane.analysis.arrays import readable_layers, refuse_strangers
from infoplane.analysis.inference import Criterion
from infoplane.analysis.markov.chains import bottleneck_holds, chains_hold
from infoplane.analysis.markov.decay import decay_holds
from infoplane.analysis.markov.residuals import residuals_hold
from infoplane.analysis.plane import SATURATION, common_steps, refuse_mixture
from infoplane.analysis.verdict import Verdict
from infoplane.errors import InfoplaneError

CLAIM = "Markov information bottleneck"
SEEDS = 5
LAYERS = 5
SOME = 2  # criteria from which a verdict is mixed


def markov_verdict(estimates: pd.DataFrame, pairs: pd.DataFrame) -> Verdict:
    """Judges whether the layers of several runs form a Markov information bottleneck.

    Args:
        estimates: Rényi estimates by probe batches, one row per run, snapshot, layer and batch, as
            `infoplane.analysis.gather.gather` gives them.
        pairs: Pairwise quantities of the same runs, settings and batches at two or more snapshots, as
            `infoplane.analysis.gather.gather_pairs` gives them; the first and the last that all runs have are
            compared.

    Returns:
        The verdict; its numbers hold `seeds`, `batches`, `steps`, `layers`, `dropped` (with the reasons), and under
        `criteria` what each criterion found.

    Raises:
        InfoplaneError: The runs cannot be put side by side, or the two tables are of different runs or settings.
    """
    refuse_mixture(estimates)
    refuse_strangers(estimates, pairs)
    estimates, pairs = common_steps(estimates), common_steps(pairs)
    steps = _steps(estimates, pairs)
    layers, dropped = readable_layers(estimates, steps[:1] + steps[-1:])
    about: dict[str, Any] = {
        "seeds": int(estimates["run"].nunique()),
        "batches": int(estimates["batch"].nunique()),
        "steps": steps,
        "layers": layers,
        "dropped": dropped,
    }
    left_out = [f"left out: {', '.join(f'{name} ({why})' for name, why in dropped.items())}"] if dropped else []
    limitations = _limitations(estimates, about)
    if limitations:
        return Verdict(CLAIM, "undecidable", (*limitations, *left_out), about)
    criteria = [
        chains_hold(estimates, layers, steps[-1]),
        decay_holds(pairs, layers, steps[0], steps[-1]),
        residuals_hold(pairs, layers, steps[0], steps[-1]),
        bottleneck_holds(estimates, layers, steps[-1]),
    ]
    reasons = (f"{one.name} {'hold' if one.holds else 'fail'}: {one.reason}" for one in criteria)
    found = {one.name: {"holds": one.holds, **one.numbers} for one in criteria}
    return Verdict(CLAIM, outcome(criteria), (*reasons, *left_out), {**about, "criteria": found})


def _steps(estimates: pd.DataFrame, pairs: pd.DataFrame) -> list[int]:
    """The steps that both tables have, of which the last must be the end."""
    end = int(estimates["step"].max())
    steps = sorted({*map(int, estimates["step"].unique())} & {*map(int, pairs["step"].unique())})
    if end not in steps:
        raise InfoplaneError(f"the pairs lack the last snapshot, step {end}; estimate them there too")
    return steps


def outcome(criteria: list[Criterion]) -> str:
    """The outcome that so many criteria give."""
    held = sum(one.holds for one in criteria)
    if held == len(criteria):
        return "supported"
    return "mixed" if held >= SOME else "not supported"


def _limitations(estimates: pd.DataFrame, about: dict[str, Any]) -> list[str]:
    """Why the data cannot answer, if they cannot."""
    steps, seeds, batches = about["steps"], about["seeds"], about["batches"]
    found = []
    if seeds < SEEDS:
        found.append(f"{seeds} seed{'s' if seeds > 1 else ''} only: at least {SEEDS} are needed")
    if batches < 2:
        found.append("no standard errors: estimate by probe batches")
    if len(steps) < 2:
        found.append("one snapshot only: nothing to compare with initialisation")
    elif steps[0] != 0:
        found.append(f"no snapshot at initialisation: the first is at step {steps[0]}")
    if len(about["layers"]) < LAYERS:
        found.append(
            f"{len(about['layers'])} readable layers only: with fewer than {LAYERS} no order of them is significant"
        )
    if (estimates["S_X"] >= (1 - SATURATION) * np.log2(estimates["n"])).any():
        found.append("S(X) is at log2 n: the kernel tells every input from every other, and every residual is 1")
    return found
