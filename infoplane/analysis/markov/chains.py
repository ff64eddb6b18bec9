"""The data-processing chains I(X;T_1) ≥ … ≥ I(X;T_L) and I(T_1;Y) ≥ … ≥ I(T_L;Y), and the bottleneck.

With a bandwidth for each layer neither inequality is a theorem of the estimator; how often they fail, beside how
often they would fail in another order of the same layers, is a finding about network and estimator together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm, t

from infoplane.analysis.arrays import layer_cube
from infoplane.analysis.bootstrap import LEVEL, hierarchical_bootstrap
from infoplane.analysis.inference import (
    SIGNIFICANCE,
    Criterion,
    Fall,
    effect,
    layer_orders,
    listed,
    number,
    order_p,
    spearman,
)

COLUMNS = ("I_XT", "I_TY", "I_TY_corrected")
# The label chain: raw and null-corrected, since either alone misleads.
CHAINS = {"X": "I(X;T)", "Y": "I(T;Y) raw and null-corrected"}
ERRORS = 2.0  # an excess of this many standard errors violates a link, with many batches
VIOLATED_SHARE = 0.05
KEPT_SHARE = 0.9
ROUNDING = 1e-9


def link_table(estimates: pd.DataFrame, layers: Sequence[str]) -> pd.DataFrame:
    """Every link of the chains at every step of every run.

    Args:
        estimates: One row per run, snapshot, layer and batch (two batches or more).
        layers: The layers in the order of their depth.

    Returns:
        One row per step, quantity, link and run: `step`, `quantity` (I_XT, I_TY, I_TY_corrected), `link` (from 1),
        `layer_i`, `layer_j`, `run`, `excess` (value of layer j minus that of layer i, mean over batches, bits),
        `excess_se` (its standard error, paired over batches) and `violated`, of this quantity alone.
    """
    runs = np.unique(estimates["run"])
    rows = []
    for step in sorted(estimates["step"].unique()):
        excess, error, violated = _excess(layer_cube(estimates, COLUMNS, int(step), layers))
        for place, quantity in enumerate(COLUMNS):
            for i in range(len(layers) - 1):
                link = {"step": step, "quantity": quantity, "link": i + 1}
                link |= {"layer_i": layers[i], "layer_j": layers[i + 1]}
                found = (part[place, i, i + 1] for part in (excess, error, violated))
                rows += [
                    {**link, "run": run, "excess": own, "excess_se": se, "violated": bool(over)}
                    for run, own, se, over in zip(runs, *found, strict=True)
                ]
    return pd.DataFrame(rows)


def share_table(estimates: pd.DataFrame, layers: Sequence[str]) -> pd.DataFrame:
    """How many links of each chain are violated over training, beside the same layers in shuffled orders.

    Args:
        estimates: One row per run, snapshot, layer and batch (two batches or more).
        layers: The layers in the order of their depth.

    Returns:
        One row per step and quantity (I_XT, I_TY, I_TY_corrected, and I_TY_both, where both of these rise: the
        label chain of the verdict): `share` of violated links over links and runs, with `share_low` and
        `share_high` (95 % bootstrap over runs); `shuffled`, the mean of it over orders of the layers (one order for
        all runs), with `shuffled_low` and `shuffled_high`, between which 95 % of the orders are; and `p`, that of
        the permutation test for fewer violations than in shuffled orders.
    """
    orders = layer_orders(len(layers))
    rows = []
    for step in sorted(estimates["step"].unique()):
        _, _, violated = _excess(layer_cube(estimates, COLUMNS, int(step), layers))
        chains = {**dict(zip(COLUMNS, violated, strict=True)), "I_TY_both": violated[1] & violated[2]}
        rows += [{"step": step, "quantity": name, **_shares(chain, orders)} for name, chain in chains.items()]
    return pd.DataFrame(rows)


def _shares(violated: NDArray, orders: NDArray) -> dict[str, float]:
    """Share of violated links of one chain, (i, j, runs), and in all orders of its layers."""

    def shares(of: NDArray) -> NDArray:
        return np.asarray(violated[of[:, :-1], of[:, 1:]].mean(axis=(1, 2)))

    in_runs = violated[orders[0, :-1], orders[0, 1:]].mean(axis=0)
    (own_low,), (own_high,) = np.clip(hierarchical_bootstrap(in_runs[None, :, None]), 0, 1)
    shuffled = shares(orders)
    low, high = np.quantile(shuffled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    own = {"share": float(in_runs.mean()), "share_low": own_low, "share_high": own_high}
    ends = {"shuffled": float(shuffled.mean()), "shuffled_low": low, "shuffled_high": high}
    return {**own, **ends, "p": order_p(shares, len(orders[0]))}


def _excess(values: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """How much more any layer j has than layer i, its standard error paired over batches, and if it is too much.

    Too much is what 2 standard errors are with many batches, 2.3 % on one side; with few, where the standard error
    itself is uncertain, the quantile of Student's t at that level takes the place of 2 (2.4 with 8 batches).

    Args:
        values: (quantities, layers, runs, batches).

    Returns:
        (quantities, i, j, runs) each.
    """
    differences = values[:, None] - values[:, :, None]
    batches = differences.shape[-1]
    excess = differences.mean(axis=-1)
    error = differences.std(axis=-1, ddof=1) / np.sqrt(batches)
    return excess, error, excess > t.isf(norm.sf(ERRORS), batches - 1) * error + ROUNDING


def chains_hold(estimates: pd.DataFrame, layers: Sequence[str], step: int) -> Criterion:
    """Criterion (a): the chains hold at one step.

    At most 5 % of the links (over links and runs) are violated in each chain, and in both together fewer than in
    shuffled orders of the layers (permutation test, p < 0.05; one order for all runs). The chains are tested
    together because a label chain that is kept perfectly has no violations in any order.

    A label link is violated where the raw I(T;Y) *and* the null-corrected one rise. The null falls with S(T), so
    that the corrected value rises in a chain that only compresses; the raw value rises with a bias that grows.
    """
    _, _, (inputs, raw, corrected) = _excess(layer_cube(estimates, COLUMNS, step, layers))
    violated = np.stack([inputs, raw & corrected])
    links = np.arange(len(layers) - 1)

    def share(of: NDArray) -> float:
        return float(of[links, links + 1].mean())

    def p_of(*chains: NDArray) -> float:
        count = sum(chain.sum(axis=-1, dtype=float) for chain in chains)
        return order_p(lambda orders: count[orders[:, :-1], orders[:, 1:]].sum(axis=1), len(layers))

    shares = {name: share(chain) for name, chain in zip(CHAINS, violated, strict=True)}
    alone = {name: p_of(chain) for name, chain in zip(CHAINS, violated, strict=True)}
    p = p_of(*violated)
    text = ", ".join(f"{100 * shares[name]:.0f} % of {CHAINS[name]} (p = {alone[name]:.3f})" for name in CHAINS)
    return Criterion(
        "data-processing chains",
        bool(max(shares.values()) <= VIOLATED_SHARE and p < SIGNIFICANCE),
        f"violated links: {text}; together fewer than in shuffled layer orders with p = {p:.3f}",
        {"shares": shares, "raw": share(raw), "corrected": share(corrected), "p": p, "p_alone": alone},
    )


def bottleneck_holds(estimates: pd.DataFrame, layers: Sequence[str], step: int) -> Criterion:
    """Criterion (d): I(X;T) falls with depth while the null-corrected I(T;Y) is kept.

    Falls: Spearman's ρ of depth and I(X;T) is below 0 over the runs (test and interval), and lower than in
    shuffled orders of the layers (p < 0.05). Kept: the last layer has at least 90 % of the null-corrected I(T;Y)
    of each layer before it (test and interval for each; all must hold, which needs no correction).
    """
    i_xt, i_ty = layer_cube(estimates, ["I_XT", "I_TY_corrected"], step, layers)
    depth, profile = np.arange(len(layers)), i_xt.mean(axis=(1, 2))
    fall = Fall(
        effect(-spearman(depth, np.moveaxis(i_xt, 0, -1))),
        order_p(lambda orders: spearman(depth, profile[orders]), len(layers)),
    )
    margin = effect(i_ty[-1] - KEPT_SHARE * i_ty[:-1])
    kept, least = bool(margin.positive().all()), int(np.argmin(margin.low))
    share = float(i_ty[-1].mean() / i_ty.mean(axis=(1, 2)).max())
    return Criterion(
        "bottleneck",
        kept and fall.holds(),
        f"I(X;T) {'falls' if fall.holds() else 'does not fall'} with depth, ρ = {fall.text()}; null-corrected "
        f"I(T;Y) is {'kept' if kept else 'not kept'}: the last layer has {100 * share:.0f} % of the most, its "
        f"margin over 90 % of {layers[least]} is {margin.mean[least]:.3f} [{margin.low[least]:.3f}, "
        f"{margin.high[least]:.3f}] bits",
        {
            **fall.numbers(),
            "kept": kept,
            "kept_share": number(share),
            "margin_low": listed(margin.low),
            "margin_p": listed(margin.p),
        },
    )
