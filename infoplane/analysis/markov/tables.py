"""All tables behind the figures of the Markov structure, made together so that they speak of the same layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from infoplane.analysis.arrays import refuse_strangers
from infoplane.analysis.markov.matrices import INPUT, decay_table, informations, matrix_table
from infoplane.analysis.markov.triples import triple_excess, triple_test
from infoplane.analysis.markov.verdict import read_layers
from infoplane.analysis.plane import SHARED, common_steps, refuse_mixture
from infoplane.analysis.stats import LEVEL
from infoplane.errors import InfoplaneError

_LEAST_LAYERS = 2


@dataclass(frozen=True)
class MarkovTables:
    """Tables of one set of runs; each also holds data set, model, n, settings, `runs`, `batches` and `left_out`.

    Attributes:
        matrices: A table of `matrices.matrix_table`, with `depth_i` and `depth_j`.
        shares: A table of `share_table`.
        middles: A table of `middle_table`, with `depth`.
        decay: A table of `matrices.decay_table`.
        links: A table of `structure.gather_links`, of all recorded layers, with `depth_i` and `depth_j`.
    """

    matrices: pd.DataFrame
    shares: pd.DataFrame
    middles: pd.DataFrame
    decay: pd.DataFrame
    links: pd.DataFrame


def markov_tables(estimates: pd.DataFrame, pairs: pd.DataFrame, links: pd.DataFrame) -> MarkovTables:
    """Makes the tables of the figures from what was estimated of the same runs.

    Args:
        estimates: Rényi estimates by probe batches, as `infoplane.analysis.gather.gather` gives them.
        pairs: As `infoplane.analysis.gather.gather_pairs` gives them, with the last snapshot.
        links: As `infoplane.analysis.markov.structure.gather_links` gives them.

    Returns:
        The tables, over the layers that can be read at all steps of the pairs; the others are named in `left_out`.

    Raises:
        InfoplaneError: The runs cannot be put side by side, were estimated without batches, or have fewer than two
            readable layers.
    """
    refuse_mixture(estimates)
    refuse_strangers(estimates, pairs)
    estimates, pairs = common_steps(estimates), common_steps(pairs)
    if estimates["batch"].nunique() < 2:
        raise InfoplaneError("no standard errors to call a triple violated by: estimate by probe batches")
    layers, dropped = read_layers(estimates, pairs, sorted(pairs["step"].unique()))
    left_out = ", ".join(f"{name} ({why})" for name, why in dropped.items())
    if len(layers) < _LEAST_LAYERS:
        raise InfoplaneError(f"{len(layers)} readable layers, so there is nothing to compare; left out: {left_out}")
    depth = dict(zip(estimates["layer"], estimates["depth"], strict=True)) | {INPUT: 0}
    matrices, middles = matrix_table(pairs, layers), middle_table(pairs, layers)
    for end in "ij":
        matrices[f"depth_{end}"] = matrices[f"name_{end}"].map(depth)
        links = links.assign(**{f"depth_{end}": links[f"layer_{end}"].map(depth)})
    middles["depth"] = middles["layer"].map(depth)
    tables = (matrices, share_table(pairs, layers), middles, decay_table(pairs, layers), links)
    shared = {name: estimates[name].iloc[0] for name in SHARED if name in estimates}
    shared |= {"runs": estimates["run"].nunique(), "batches": estimates["batch"].nunique(), "left_out": left_out}
    return MarkovTables(*(table.assign(**shared) for table in tables))


def share_table(pairs: pd.DataFrame, layers: Sequence[str]) -> pd.DataFrame:
    """How many triples are violated at each step, beside the same layers in other orders.

    Args:
        pairs: One row per run, batch, steps and pair.
        layers: The layers in the order of their depth.

    Returns:
        One row per `step`: the `share` of violated triples, median over runs, with the `least` and the `most` of
        them; `shuffled`, the median of it over orders of the layers, with `shuffled_low` and `shuffled_high`,
        between which 95 % of the orders are; and `p`.
    """
    rows = []
    for step in sorted(pairs["step"].unique()):
        test = triple_test(informations(pairs, [INPUT, *layers], step))
        low, middle, high = np.quantile(test.orders, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])
        row = {"step": step, "share": test.share, "least": test.shares.min(), "most": test.shares.max()}
        rows.append(row | {"shuffled": middle, "shuffled_low": low, "shuffled_high": high, "p": test.p})
    return pd.DataFrame(rows)


def middle_table(pairs: pd.DataFrame, layers: Sequence[str]) -> pd.DataFrame:
    """In which layers information seems to go past: the violated triples by the layer in their middle.

    Args:
        pairs: One row per run, batch, steps and pair.
        layers: The layers in the order of their depth.

    Returns:
        One row per `step` and `layer` but the last: the `share` of violated triples with it in the middle, over
        triples and runs.
    """
    rows = []
    for step in sorted(pairs["step"].unique()):
        violated = triple_excess(informations(pairs, [INPUT, *layers], step))[2]
        shares = (violated[:, :place, place, place + 1 :].mean() for place in range(1, len(layers)))
        rows += [
            {"step": step, "layer": layer, "share": share} for layer, share in zip(layers, shares, strict=False)
        ]
    return pd.DataFrame(rows)
