"""The data-processing chains I(X;T_1) ≥ … ≥ I(X;T_L) and I(T_1;Y) ≥ … ≥ I(T_L;Y), and the bottleneck.

With a bandwidth for each layer neither inequality is a theorem of the estimator; how often they fail, beside how
often they would fail in another order of the same layers, is a finding about network and estimator together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from infoplane.analysis.cubes import layer_cube
from infoplane.analysis.inference import SIGNIFICANCE, Criterion, effect, listed, order_p, spearman

CHAINS = {"I_XT": "I(X;T)", "I_TY": "I(T;Y)", "I_TY_corrected": "null-corrected I(T;Y)"}
ERRORS = 2.0  # an excess of this many standard errors violates a link
VIOLATED_SHARE = 0.05
KEPT_SHARE = 0.9
ROUNDING = 1e-9


def link_table(estimates: pd.DataFrame, layers: Sequence[str]) -> pd.DataFrame:
    """Every link of the chains at every step of every run.

    Args:
        estimates: One row per run, snapshot, layer and batch (two batches or more).
        layers: The layers in the order of their depth.

    Returns:
        One row per step, chain, link and run: `step`, `chain` (a column of the estimates), `link` (from 1),
        `layer_i`, `layer_j`, `run`, `excess` (value of layer j minus that of layer i, mean over batches, bits),
        `excess_se` (its standard error, paired over batches) and `violated`.
    """
    runs = np.unique(estimates["run"])
    rows = []
    for step in sorted(estimates["step"].unique()):
        excess, error = _excess(layer_cube(estimates, list(CHAINS), int(step), layers))
        for c, chain in enumerate(CHAINS):
            for i in range(len(layers) - 1):
                ends = {"link": i + 1, "layer_i": layers[i], "layer_j": layers[i + 1]}
                rows += [
                    {"step": step, "chain": chain, **ends, "run": run, "excess": e, "excess_se": se}
                    for run, e, se in zip(runs, excess[c, i, i + 1], error[c, i, i + 1], strict=True)
                ]
    table = pd.DataFrame(rows)
    return table.assign(violated=_violated(table["excess"].to_numpy(), table["excess_se"].to_numpy()))


def _excess(values: NDArray) -> tuple[NDArray, NDArray]:
    """How much more any layer j has than layer i, and the standard error paired over batches.

    Args:
        values: (chains, layers, runs, batches).

    Returns:
        (chains, i, j, runs) each.
    """
    differences = values[:, None] - values[:, :, None]
    batches = differences.shape[-1]
    return differences.mean(axis=-1), differences.std(axis=-1, ddof=1) / np.sqrt(batches)


def _violated(excess: NDArray, error: NDArray) -> NDArray:
    return excess > ERRORS * error + ROUNDING


def chains_hold(estimates: pd.DataFrame, layers: Sequence[str], step: int) -> Criterion:
    """Criterion (a): the chains hold at one step.

    At most 5 % of the links are violated in each of the three chains (over links and runs), and in all chains
    together fewer than in shuffled orders of the layers (permutation test, p < 0.05; one order for all runs). The
    chains are tested together because a label chain that is kept perfectly has no violations in any order.
    """
    excess, error = _excess(layer_cube(estimates, list(CHAINS), step, layers))
    violated = _violated(excess, error)
    links = np.arange(len(layers) - 1)
    shares = violated[:, links, links + 1].mean(axis=(1, 2))
    counts = violated.sum(axis=-1).astype(float)

    def p_of(count: NDArray) -> float:
        return order_p(lambda orders: count[orders[:, :-1], orders[:, 1:]].sum(axis=1), len(layers))

    p = p_of(counts.sum(axis=0))
    alone = {name: p_of(count) for name, count in zip(CHAINS, counts, strict=True)}
    listed = ", ".join(
        f"{100 * share:.0f} % of {CHAINS[name]} (p = {alone[name]:.3f})"
        for name, share in zip(CHAINS, shares, strict=True)
    )
    holds = bool((shares <= VIOLATED_SHARE).all() and p < SIGNIFICANCE)
    return Criterion(
        "data-processing chains",
        holds,
        f"violated links: {listed}; fewer than in shuffled layer orders with p = {p:.3f}",
        {"shares": dict(zip(CHAINS, shares.tolist(), strict=True)), "p": p, "p_alone": alone},
    )


def bottleneck_holds(estimates: pd.DataFrame, layers: Sequence[str], step: int) -> Criterion:
    """Criterion (d): I(X;T) falls with depth while the null-corrected I(T;Y) is kept.

    Falls: Spearman's ρ of depth and I(X;T) is below 0 over the runs (test and interval), and lower than in
    shuffled orders of the layers (p < 0.05). Kept: the last layer has at least 90 % of the null-corrected I(T;Y)
    of each layer before it (test and interval for each; all must hold, which needs no correction).
    """
    i_xt, i_ty = layer_cube(estimates, ["I_XT", "I_TY_corrected"], step, layers)
    depth = np.arange(len(layers))
    fall = effect(-spearman(depth, np.moveaxis(i_xt, 0, -1)))
    profile = i_xt.mean(axis=(1, 2))
    p = order_p(lambda orders: spearman(depth, profile[orders]), len(layers))
    margin = effect(i_ty[-1] - KEPT_SHARE * i_ty[:-1])
    least = int(np.argmin(margin.low))
    kept, falls = bool(margin.positive().all()), bool(fall.positive() and p < SIGNIFICANCE)
    share = float(i_ty[-1].mean() / i_ty.mean(axis=(1, 2)).max())
    return Criterion(
        "bottleneck",
        kept and falls,
        f"I(X;T) {'falls' if falls else 'does not fall'} with depth (ρ = {-fall.mean:.2f} "
        f"[{-fall.high:.2f}, {-fall.low:.2f}], p over seeds {fall.p:.3f}, over orders {p:.3f}); null-corrected "
        f"I(T;Y) is {'kept' if kept else 'not kept'}: the last layer has {100 * share:.0f} % of the most, its "
        f"margin over 90 % of {layers[least]} is {margin.mean[least]:.3f} [{margin.low[least]:.3f}, "
        f"{margin.high[least]:.3f}] bits",
        {
            "rho": -float(fall.mean),
            "rho_low": -float(fall.high),
            "rho_high": -float(fall.low),
            "rho_p": float(fall.p),
            "order_p": p,
            "kept_share": share,
            "margin_low": listed(margin.low),
            "margin_p": listed(margin.p),
        },
    )
