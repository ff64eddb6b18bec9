"""What a layer knows of the input beyond the layer before it: the Markov residual.

r_l = I(X;T_{l+1}|T_l) / S(T_{l+1}|T_l): of what T_{l+1} adds to T_l, the share that is knowledge of X. In a network
without shortcuts T_{l+1} is a function of T_l and the residual is 0 in theory; under a kernel it is not, so it is
read against three things only: its value at initialisation, the null of permuted rows
(`infoplane.estimators.pairs`), and the contrast I(X;T_l|T_{l+1}) − I(X;T_{l+1}|T_l), what is lost less what is
added. Never "about 0". By the chain rule the contrast is I(X;T_l) − I(X;T_{l+1}) exactly, at any α: it asks that a
link of the X-chain falls, not only that it does not rise, and is no evidence apart from that chain.

The null is strict. Under Gaussian kernels an exact Markov chain that compresses little lies above it (T_{l+1}
sharpens the kernel where T_l and X do, which counts as knowledge of X), independent random features of X further
above; chains that compress strongly, or nearly discrete ones, lie below. Below the null is evidence for a Markov
chain, above it is none against.

Where the inputs' Gram matrix is the identity (S(X) = log2 n) the residual is 1 for any layer and for the null
alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from infoplane.analysis.arrays import pair_cube
from infoplane.analysis.inference import SIGNIFICANCE, Criterion, effect, holm, listed, number

HELD_SHARE = 0.75
# A conditional entropy below this, in bits, is rounding: T_{l+1} adds nothing of which there could be a share.
SMALLEST = 1e-6
QUANTITIES = ("residual", "null", "contrast")


def residuals(pairs: pd.DataFrame, step: int, layers: Sequence[str]) -> NDArray:
    """Residual, null and contrast of the links between neighbouring layers at one step.

    Args:
        pairs: One row per run, step, batch, quantity and pair.
        step: Step of the snapshot.
        layers: The layers in the order of their depth; where one between two was left out, the link is NaN.

    Returns:
        (3, links, runs, batches): r_l and its null (ratios), and the contrast (bits).
    """
    i = np.arange(len(layers) - 1)
    added, share, lost, null = (
        pair_cube(pairs, name, step, layers)[i, i + 1]
        for name in ("residual_information", "conditional_entropy", "backward_information", "null_residual")
    )
    ratio = np.divide(added, share, out=np.full_like(added, np.nan), where=share > SMALLEST)
    return np.stack([ratio, null, lost - added])


def residual_table(pairs: pd.DataFrame, layers: Sequence[str]) -> pd.DataFrame:
    """Residuals of every link at every step.

    Returns:
        One row per step and link: `step`, `link` (from 1), `layer_i`, `layer_j`, and with `_low` and `_high` (95 %
        hierarchical bootstrap over runs and batches) the means `residual`, `null` and `contrast`.
    """
    rows = []
    for step in sorted(pairs["step"].unique()):
        found = effect(residuals(pairs, step, layers))
        for link in range(len(layers) - 1):
            row = {"step": step, "link": link + 1, "layer_i": layers[link], "layer_j": layers[link + 1]}
            for place, name in enumerate(QUANTITIES):
                ends = (found.mean[place, link], found.low[place, link], found.high[place, link])
                row |= dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
            rows.append(row)
    return pd.DataFrame(rows)


def residuals_hold(pairs: pd.DataFrame, layers: Sequence[str], first: int, last: int) -> Criterion:
    """Criterion (c): the residuals are what a Markov chain that loses information would leave.

    A link holds where its residual at the end is below that at initialisation *and* below the null, *and* the
    contrast is above 0: the largest of the three p-values, corrected for the number of links by Holm's rule, is
    below 0.05, and the three intervals agree. The criterion holds where at least three quarters of the links do and
    no contrast is below 0 (Holm over links).
    """
    start, end = residuals(pairs, first, layers), residuals(pairs, last, layers)
    wanted = effect(np.stack([start[0] - end[0], end[1] - end[0], end[2]]))
    p = holm(wanted.p.max(axis=0))
    held = (p < SIGNIFICANCE) & (wanted.low > 0).all(axis=0)
    contrary = holm(effect(-end[2]).p) < SIGNIFICANCE
    links = [f"{a} → {b}" for a, b in pairwise(layers)]
    read = np.isfinite(p)
    r_start, r_end, null = (_mean(part) for part in (start[0], *end[:2]))
    failing = [name for name, ok, known in zip(links, held, read, strict=True) if known and not ok]
    return Criterion(
        "Markov residuals",
        bool(held.sum() >= HELD_SHARE * read.sum() > 0 and not contrary.any()),
        f"{held.sum()} of {read.sum()} links hold (Holm over links): mean residual {r_end:.3f} at the end, "
        f"{r_start:.3f} at initialisation, {null:.3f} under independent noise"
        + (f"; failing: {', '.join(failing)}" if failing else ""),
        {
            "links": links,
            "p": listed(p),
            "held": held.tolist(),
            "contrary": contrary.tolist(),
            "residual": number(r_end),
            "residual_start": number(r_start),
            "residual_null": number(null),
            "below_start": listed(wanted.mean[0]),
            "below_null": listed(wanted.mean[1]),
            "contrast": listed(wanted.mean[2]),
        },
    )


def _mean(values: NDArray) -> float:
    """Mean of what was measured; NaN where nothing was."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else np.nan
