"""The verdict on the Markov information bottleneck of a set of runs, by three questions.

- **Structure** (`structure`): is the network a chain? Exact, by the swap test made when recording.
- **Triples** (`triples`): are the informations at the end ordered as in a chain?
- **Bottleneck** (`bottleneck`): does I(X;T) fall with depth while I(T;Y) is kept?

*Supported*: all three. *Mixed*: the triples and one other. *Contradicted*: the network is no chain, and more than 5
% of the triples are violated. *Not shown* otherwise. *Undecidable* where the data cannot answer: fewer than 5
seeds, 4 probe batches or 6 readable layers, an order α other than 1, at which the inequalities are no theorems, or
the nested kernel, under which they hold by construction. Runs recorded without the swap test have an unknown
structure, which is no chain that was shown.

Each question is put to all seeds together. The rules were fixed before any study was looked at; how often each errs
is measured in benchmarks/markov_rates.md. Rises of I(T;Y) along the chain are reported and not judged: under a
kernel they are what training does.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from infoplane.analysis.arrays import layer_cube, readable_layers, refuse_strangers
from infoplane.analysis.markov.bottleneck import KEPT_SHARE, BottleneckTest, bottleneck_test
from infoplane.analysis.markov.matrices import INPUT, informations
from infoplane.analysis.markov.structure import NO_CHAIN, UNKNOWN, StructureTest, structure_test
from infoplane.analysis.markov.triples import VIOLATED_SHARE, TripleTest, triple_test
from infoplane.analysis.plane import common_steps, refuse_mixture
from infoplane.analysis.verdict import Criterion, Verdict, json_value
from infoplane.errors import InfoplaneError
from infoplane.runfile.schema import CONSTANT, EXACT

CLAIM = "Markov information bottleneck"
SEEDS = 5
LAYERS = 6
BATCHES = 4
ALPHAS = (0.99, 1.01)
_NAMED = 3  # violated triples, or links, named in a sentence


def markov_verdict(estimates: pd.DataFrame, pairs: pd.DataFrame, links: pd.DataFrame) -> Verdict:
    """Judges whether the layers of several runs form a Markov information bottleneck.

    Args:
        estimates: Rényi estimates by probe batches, one row per run, snapshot, layer and batch, as
            `infoplane.analysis.gather.gather` gives them.
        pairs: Informations between pairs of the same runs, settings and batches, with the last snapshot, as
            `infoplane.analysis.gather.gather_pairs` gives them.
        links: δ of the links between layers, as `infoplane.analysis.markov.structure.gather_links` gives them.

    Returns:
        The verdict; its numbers hold `seeds`, `batches`, `step`, `layers`, `dropped` (with the reasons), and under
        `criteria` what each question found.

    Raises:
        InfoplaneError: The runs cannot be put side by side, or the tables are of different runs or settings.
    """
    refuse_mixture(estimates)
    refuse_strangers(estimates, pairs)
    estimates, pairs = common_steps(estimates), common_steps(pairs)
    step = int(estimates["step"].max())
    if step not in set(pairs["step"]):
        raise InfoplaneError(f"the pairs lack the last snapshot, step {step}; estimate them there too")
    layers, dropped = read_layers(estimates, pairs, [step])
    facts: dict[str, Any] = {
        "seeds": int(estimates["run"].nunique()),
        "batches": int(estimates["batch"].nunique()),
        "step": step,
        "layers": layers,
        "dropped": dropped,
    }
    left_out = [f"left out: {', '.join(f'{name} ({why})' for name, why in dropped.items())}"] if dropped else []
    last, trouble = _last_layer(estimates[estimates["step"] == step], dropped)
    limits = [*_limitations(estimates, pairs, facts), *trouble]
    if limits:
        return Verdict(CLAIM, "undecidable", (*limits, *left_out), facts)
    structure = structure_test(links)
    triples = triple_test(informations(pairs, [INPUT, *layers], step))
    i_xt, i_ty = layer_cube(estimates, ["I_XT_corrected", "I_TY_corrected"], step, layers).mean(axis=-1)
    depths = estimates.drop_duplicates("layer").set_index("layer")["depth"][layers]
    null = _null_of_last(estimates[estimates["step"] == step])
    bottleneck = bottleneck_test(i_xt.T, i_ty.T, depths, last, null)
    criteria = [
        _structure(structure),
        _triples(triples, layers),
        _bottleneck(bottleneck, layers),
    ]
    reasons = [criterion.reason for criterion in criteria]
    by_name = {criterion.name: {"holds": criterion.holds, **criterion.numbers} for criterion in criteria}
    numbers = {**facts, "criteria": by_name}
    return Verdict(CLAIM, outcome(structure, triples, bottleneck), (*reasons, *left_out), json_value(numbers))


def outcome(structure: StructureTest, triples: TripleTest, bottleneck: BottleneckTest) -> str:
    """The outcome that the answers to the three questions give."""
    if triples.holds and structure.holds and bottleneck.holds:
        return "supported"
    if triples.holds and (structure.holds or bottleneck.holds):
        return "mixed"
    broken = structure.state == NO_CHAIN and not triples.few
    return "contradicted" if broken else "not shown"


def _last_layer(estimates: pd.DataFrame, dropped: Mapping[str, str]) -> tuple[NDArray | None, list[str]]:
    """Null-corrected I(T;Y) of the network's last layer, where that is left out, or why it cannot be told.

    A constant layer knows nothing of Y.

    Args:
        estimates: One row per run, layer and batch, of the last snapshot.
        dropped: The layers that are left out, with the reasons.

    Returns:
        Values (R,), None for a layer that can be read; and a reason for no verdict, or none.
    """
    rows = estimates[estimates["depth"] == estimates["depth"].max()]
    name = str(rows["layer"].iloc[0])
    if name not in dropped:
        return None, []
    values = rows["I_TY_corrected"].where(rows["status"] != CONSTANT, 0.0)
    if values.isna().any() or dropped[name] != CONSTANT:
        return None, [f"the last layer, {name}, cannot be read ({dropped[name]}): what it keeps of Y is not known"]
    return values.groupby(rows["run"]).mean().to_numpy(), []


def _null_of_last(estimates: pd.DataFrame) -> tuple[NDArray, int] | None:
    """How far I(T;Y) of the network's last layer spreads over permuted pairings, (R,), and their number.

    None where it has no spread that is known, as a constant layer has none.
    """
    rows = estimates[estimates["depth"] == estimates["depth"].max()]
    # The batches share no sample, so that chance in them is independent.
    spreads = rows.groupby("run")["I_TY_null_std"].agg(lambda several: several.mean() / np.sqrt(len(several)))
    return (spreads.to_numpy(), int(rows["permutations"].iloc[0])) if np.isfinite(spreads).all() else None


def read_layers(
    estimates: pd.DataFrame, pairs: pd.DataFrame, steps: Sequence[int]
) -> tuple[list[str], dict[str, str]]:
    """Which layers can be read at some steps, in the order of their depth, and why the others cannot.

    Args:
        estimates: One row per run, snapshot, layer and batch.
        pairs: One row per run, batch, steps and pair.
        steps: The steps.

    Returns:
        As `infoplane.analysis.arrays.readable_layers`; layers that know no more of themselves than of other samples
        are left out too.
    """
    layers, dropped = readable_layers(estimates, steps)
    itself = np.stack([np.einsum("rbii->irb", informations(pairs, layers, step)) for step in steps], axis=-1)
    known = np.isfinite(itself).all(axis=(1, 2, 3))
    empty = "knows no more of itself than of other samples"
    dropped |= {name: empty for name, fine in zip(layers, known, strict=True) if not fine}
    return [name for name, fine in zip(layers, known, strict=True) if fine], dropped


def missing(layers: int, seeds: int, batches: int) -> list[str]:
    """Reasons in words why there are too few layers, seeds or batches for a verdict; needs no estimate.

    Args:
        layers: Number of layers that can be read.
        seeds: Number of runs.
        batches: Number of probe batches.
    """
    counts = (("seeds", seeds, SEEDS), ("probe batches", batches, BATCHES), ("readable layers", layers, LAYERS))
    return [f"too few {name}: {count}, of at least {least}" for name, count, least in counts if count < least]


def _limitations(estimates: pd.DataFrame, pairs: pd.DataFrame, facts: Mapping[str, Any]) -> list[str]:
    """Reasons why the data cannot answer; none where they can."""
    reasons = missing(len(facts["layers"]), facts["seeds"], facts["batches"])
    if not ALPHAS[0] <= estimates["alpha"].iloc[0] <= ALPHAS[1]:
        reasons.append(f"order α = {estimates['alpha'].iloc[0]:g}: the inequalities of a chain hold at 1 only")
    if estimates["kernel"].iloc[0] == "nested":
        reasons.append("under the nested kernel the inequalities of a chain hold by construction: it tests nothing")
    if estimates.loc[estimates["step"] == facts["step"], "I_XT_corrected"].isna().all():
        reasons.append("I(X;T) has no null here: estimate again")
    if np.isnan(informations(pairs, [INPUT], facts["step"])).any():
        reasons.append("X knows no more of itself than of other samples: the kernel tells all inputs apart")
    return reasons


def _structure(test: StructureTest) -> Criterion:
    links = len(test.worst)
    named = [f"{name} {delta:.2g}" for name, delta in test.broken.sort_values(ascending=False).items()]
    unknown = [str(name) for name in test.worst.index[test.worst.isna()]]
    if test.state == NO_CHAIN:
        text = f"no chain, {len(named)} of {links} links have δ above {EXACT:g}: {_some(named)}"
    elif test.state == UNKNOWN:
        where = f"{_some(test.runs_without)} recorded without it" if test.runs_without else _some(unknown)
        text = f"unknown, no swap test of {len(unknown)} of {links} links: {where}"
    else:
        size = f"at most {test.worst.max():.1g}" if test.worst.max() else "exactly 0"
        text = f"a chain, δ of all {links} links is {size} in all runs"
    return Criterion("structure", test.holds, f"structure: {text}", _structure_numbers(test))


def _structure_numbers(test: StructureTest) -> dict[str, Any]:
    return {
        "state": test.state,
        "links": list(test.worst.index),
        "delta": test.worst.to_numpy(),
        "runs_without": list(test.runs_without),
    }


def _triples(test: TripleTest, layers: Sequence[str]) -> Criterion:
    names, worst = [INPUT, *layers], _most_violated(test.violated)
    named = [" – ".join(names[place] for place in one) for one in worst]
    often = f"; most often {_some(named)}" if named else ""
    text = (
        f"triples {'hold' if test.holds else 'fail'}: {100 * test.share:.1f} % are violated (median over runs; "
        f"at most {100 * VIOLATED_SHARE:g} %), {'fewer than' if test.ordered else 'no fewer than'} in other "
        f"orders of the layers (p = {test.p:.2g}){often}"
    )
    numbers = {
        "share": test.share,
        "shares": test.shares,
        "p": test.p,
        "shuffled": float(np.median(test.orders)),
        "most_violated": [[names[place] for place in one] for one in worst],
    }
    return Criterion("triples", test.holds, text, numbers)


def _most_violated(violated: NDArray) -> list[tuple[int, ...]]:
    """The triples i < j < k that are violated in at least half of the runs, those of most runs first."""
    rates = violated.mean(axis=0)
    chosen = [one for one in itertools.combinations(range(len(rates)), 3) if rates[one] >= 0.5]
    return sorted(chosen, key=lambda one: -rates[one])


def _bottleneck(test: BottleneckTest, layers: Sequence[str]) -> Criterion:
    fall, best = test.fall, layers[test.best]
    known = f"the last layer has {100 * test.kept:.0f} % of the most, that of {best}"
    falls = f"I(X;T) {'falls' if fall.significant else 'does not fall'} with depth"
    p = (
        f"p over layers {fall.p_layers:.2g}, over seeds {fall.p_seeds:.2g}, over links {fall.p_links:.2g}, over "
        f"orders {fall.p_orders:.2g}"
    )
    text = (
        f"bottleneck {'holds' if test.holds else 'fails'}: {falls}: {fall.slope:+.3f} [{fall.low:+.3f}, "
        f"{fall.high:+.3f}] bit a layer ({p}); I(T;Y) is {'kept' if test.keeps else 'not kept'}: "
        f"{'no layer has any' if np.isnan(test.kept) else known} (at least {100 * KEPT_SHARE:g} %, and above 0, "
        f"p = {test.p_known:.2g}). It rises in {test.rises} of {len(layers) - 1} links, which is not judged"
    )
    numbers = {
        "slope": fall.slope,
        "slope_low": fall.low,
        "slope_high": fall.high,
        "p_layers": fall.p_layers,
        "p_seeds": fall.p_seeds,
        "p_links": fall.p_links,
        "p_orders": fall.p_orders,
        "falls": fall.significant,
        "kept_share": test.kept,
        "p_known": test.p_known,
        "best": best,
        "rises": test.rises,
    }
    return Criterion("bottleneck", test.holds, text, numbers)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
