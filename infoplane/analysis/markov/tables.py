"""All tables behind the figures of the Markov structure, made together so that they speak of the same layers."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from infoplane.analysis.arrays import readable_layers, refuse_strangers
from infoplane.analysis.markov.chains import link_table, share_table
from infoplane.analysis.markov.decay import decay_table, matrix_table, seed_table
from infoplane.analysis.markov.residuals import residual_table
from infoplane.analysis.plane import SHARED, common_steps, refuse_mixture
from infoplane.errors import InfoplaneError

LEAST_LAYERS = 2


@dataclass(frozen=True)
class MarkovTables:
    """Tables of one set of runs; each also holds data set, model, n, settings, `runs` and `left_out`.

    Attributes:
        matrices: A table of `decay.matrix_table` over X, the layers and Y, with `depth_i` and `depth_j`.
        decay: A table of `decay.decay_table`.
        seeds: A table of `decay.seed_table`.
        links: `chains.link_table` averaged over runs: per step, quantity and link the share of runs in which it is
            `violated` and the mean `excess` (bits), with `depth_i` and `depth_j`.
        shares: A table of `chains.share_table`.
        residuals: A table of `residuals.residual_table`, with `depth_i` and `depth_j`.
    """

    matrices: pd.DataFrame
    decay: pd.DataFrame
    seeds: pd.DataFrame
    links: pd.DataFrame
    shares: pd.DataFrame
    residuals: pd.DataFrame


def markov_tables(estimates: pd.DataFrame, pairs: pd.DataFrame) -> MarkovTables:
    """Makes the tables of the figures from estimates and pairwise quantities of the same runs.

    Args:
        estimates: Rényi estimates by probe batches, as `infoplane.analysis.gather.gather` gives them.
        pairs: As `infoplane.analysis.gather.gather_pairs` gives them; the first snapshot is that to compare with.

    Returns:
        The tables, over the layers that the verdict can read; the others are named in `left_out`.

    Raises:
        InfoplaneError: The runs cannot be put side by side, were estimated without batches, or have fewer than two
            readable layers.
    """
    refuse_mixture(estimates)
    refuse_strangers(estimates, pairs)
    estimates, pairs = common_steps(estimates), common_steps(pairs)
    if estimates["batch"].nunique() < 2:
        raise InfoplaneError("no standard errors to call a link violated by: estimate by probe batches")
    steps = sorted(pairs["step"].unique())
    layers, dropped = readable_layers(estimates, [steps[0], steps[-1]])
    if len(layers) < LEAST_LAYERS:
        found = ", ".join(f"{name} ({why})" for name, why in dropped.items())
        raise InfoplaneError(f"{len(layers)} readable layers, so there is no link to draw; left out: {found}")
    names = ["X", *layers, "Y"]
    depth = dict(zip(estimates["layer"], estimates["depth"], strict=True)) | {"X": 0}
    shared = {name: estimates[name].iloc[0] for name in SHARED if name in estimates}
    shared |= {"runs": estimates["run"].nunique(), "batches": estimates["batch"].nunique()}
    shared["left_out"] = ", ".join(f"{name} ({why})" for name, why in dropped.items())
    matrices, residuals = matrix_table(pairs, names), residual_table(pairs, layers)
    links = _averaged(link_table(estimates, layers))
    last = estimates["depth"].max() + 1
    for table, kind in ((matrices, "name"), (links, "layer"), (residuals, "layer")):
        for end in "ij":
            table[f"depth_{end}"] = table[f"{kind}_{end}"].map(depth | {"Y": last})
    decay, seeds, shares = decay_table(pairs, layers), seed_table(pairs, layers), share_table(estimates, layers)
    tables = (matrices, decay, seeds, links, shares, residuals)
    return MarkovTables(*(table.assign(**shared) for table in tables))


def _averaged(links: pd.DataFrame) -> pd.DataFrame:
    """Links over runs."""
    keys = ["step", "quantity", "link", "layer_i", "layer_j"]
    return links.groupby(keys, sort=False)[["violated", "excess"]].mean().reset_index()
