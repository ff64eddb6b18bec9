"""How often the Markov verdict and each of its criteria hold where there is no structure, and where there is.

    python benchmarks/markov_nulls.py
    python benchmarks/markov_nulls.py --draws 100 --csv nulls.csv

Null data. A pool of simulated runs holds five or six layers each, at two steps; a draw takes five runs of it and
puts the layers in an order that means nothing:

- features, own orders: each layer is a random feature map of X of its own width and gain, none a function of
  another. Every run and step has an order of its own.
- features, one order: the same order in all runs at both steps, so that what distinguishes the layers is the same
  in every seed. No number of seeds can tell this from an effect of depth; only the order of layers can.
- features, trained: one order at the first step and another at the last, the same in all runs: training changes
  every layer, alike in all seeds, with no regard to depth.
- noise: layers independent of X, of the labels and of each other, in an order of each run's own.
- bottleneck, shuffled: the layers of the planted bottleneck below in one meaningless order for all runs, so that
  all but their order is there.

Planted data: the chain of `infoplane.analysis.markov.controls.planted_bottleneck`, which is all that the verdict
asks; and a linear-Gaussian chain whose layers were independent of each other at the first step: it is Markov, but
knows nothing of labels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from infoplane.analysis.markov.controls import Sample, control_tables, gaussian_chain, planted_bottleneck
from infoplane.analysis.markov.verdict import SEEDS, markov_verdict
from infoplane.kernels import gram_matrix

Tables = tuple[pd.DataFrame, pd.DataFrame]
Pool = dict[tuple[str, int], Tables]
TYPES = ((4, 0.5), (4, 2.0), (8, 0.5), (8, 2.0), (16, 0.5), (16, 2.0))  # width and gain of a feature map
LAYERS = [f"layer{info}" for info in range(1, len(TYPES) + 1)]
N, DIMENSION, CLASSES, BATCHES, DRAWS = 48, 8, 3, 3, 2
ORDERS = {
    "own orders": (SEEDS, 2),
    "one order": (1, 1),
    "trained": (1, 2),
}  # how many different ones, runs by steps
CRITERIA = ("data-processing chains", "decay with distance", "Markov residuals", "bottleneck")


def features(x: NDArray, rng: np.random.Generator) -> list[NDArray]:
    """One random feature map of X for each type, no function of each other."""
    return [np.tanh(gain * x @ rng.standard_normal((x.shape[1], width)) / 2) for width, gain in TYPES]


def noise(x: NDArray, rng: np.random.Generator) -> list[NDArray]:
    """Layers that know nothing of X."""
    return [rng.standard_normal((len(x), width)) for width, _ in TYPES]


def pool(make: Callable[[NDArray, np.random.Generator], list[NDArray]], runs: int) -> Iterator[Sample]:
    """Runs at two steps, whose networks are drawn anew at each."""
    for run in range(runs):
        for step in (0, 1):
            for batch in range(BATCHES):
                rng = np.random.default_rng([run, batch])
                labels = np.arange(N) % CLASSES
                x = rng.standard_normal((N, DIMENSION)) + 2 * np.eye(CLASSES, DIMENSION)[labels]
                # The weights are those of a run and step; noise is drawn anew for each batch.
                drawn = [run, step] if make is features else [run, step, batch]
                layers = make(x, np.random.default_rng(drawn))
                yield Sample(f"run{run}", step, batch, [gram_matrix(part) for part in (x, *layers)], labels)


def pooled(samples: Iterable[Sample], layers: list[str]) -> Pool:
    """The tables of a pool by run and step, with the links between any two layers."""
    places = range(1, len(layers) + 1)
    links = [(i, j) for i in places for j in places if i != j]
    estimates, pairs = control_tables(samples, layers, draws=DRAWS, links=links)
    parts = dict([*pairs.groupby(["run", "step"])])
    return {key: (rows, parts[key]) for key, rows in estimates.groupby(["run", "step"])}


def ordered(tables: Tables, order: NDArray) -> Tables:
    """The same layers with other names: the layer that was at info order[k] stands at info k."""
    estimates, pairs = tables
    layers = [f"layer{info}" for info in range(1, len(order) + 1)]
    places = {layers[kind]: info for info, kind in enumerate(order)}
    i, j = (pairs[end].map(places) for end in ("name_i", "name_j"))
    pairs = pairs[pairs["quantity"].isin(("information", "entropy")) | (j == i + 1)]
    names = {layer: layers[info] for layer, info in places.items()}
    renamed = pairs.assign(**{end: pairs[end].map(names).fillna(pairs[end]) for end in ("name_i", "name_j")})
    depth = estimates["layer"].map(places) + 1
    return estimates.assign(layer=estimates["layer"].map(names), depth=depth), renamed


def null_draw(runs: Pool, kind: str, rng: np.random.Generator) -> Tables:
    """Five runs of a pool, their layers in orders of a kind."""
    names = sorted({run for run, _ in runs})
    layers = next(iter(runs.values()))[0]["layer"].nunique()
    chosen = rng.choice(names, SEEDS, replace=False)
    orders = np.broadcast_to(shuffled(ORDERS[kind], layers, rng), (SEEDS, 2, layers))
    parts = [ordered(runs[run, step], orders[info, step]) for info, run in enumerate(chosen) for step in (0, 1)]
    estimates, pairs = (pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True))
    return estimates, pairs


def shuffled(shape: tuple[int, int], layers: int, rng: np.random.Generator) -> NDArray:
    """Independent orders of the layers, (*shape, layers)."""
    return rng.permuted(np.tile(np.arange(layers), (*shape, 1)), axis=-1)


def planted_draw(seed: int) -> Tables:
    """One planted bottleneck of five runs."""
    return control_tables(planted_bottleneck(SEEDS, batches=BATCHES, n=2 * N, seed=seed), LAYERS[:5], draws=DRAWS)


def gaussian_draw(seed: int) -> Tables:
    """Five runs of a linear-Gaussian chain."""
    samples = []
    for run in range(SEEDS):
        for batch in range(BATCHES):
            rng = np.random.default_rng([seed, run, batch])
            chain, _ = gaussian_chain(N, len(LAYERS), 0.7, 3, rng)
            start = [chain[0], *rng.standard_normal((len(LAYERS), N, 3))]
            for step, variables in enumerate((start, chain)):
                grams = [gram_matrix(part) for part in variables]
                samples.append(Sample(f"run{run}", step, batch, grams, np.arange(N) % CLASSES))
    return control_tables(samples, LAYERS, draws=DRAWS)


def judged(tables: Tables) -> dict[str, bool]:
    """What the verdict says of one draw, and what parts of the rule would say alone."""
    verdict = markov_verdict(*tables)
    found = verdict.numbers["criteria"]
    row = {name: found[name]["holds"] for name in CRITERIA}
    for name in ("decay with distance", "bottleneck"):
        numbers = found[name]
        row[f"{name}: interval"] = numbers["rho_high"] < 0
        row[f"{name}: t-test"] = numbers["rho_p"] < 0.05
        row[f"{name}: order"] = numbers["order_p"] < 0.05
    return {**row, "supported": verdict.outcome == "supported", "mixed": verdict.outcome == "mixed"}


def simulate(draws: int, runs: int, planted: int) -> pd.DataFrame:
    """One row for each kind of data: the share of draws for which each criterion holds."""
    rng = np.random.default_rng(0)

    def nulls(tables: Pool, orders: str) -> Iterator[Tables]:
        return (null_draw(tables, orders, rng) for _ in range(draws))

    mapped, silent = pooled(pool(features, runs), LAYERS), pooled(pool(noise, runs), LAYERS)
    chains = pooled(planted_bottleneck(runs, batches=BATCHES, n=2 * N), LAYERS[:5])
    cases = {f"null: features, {name}": nulls(mapped, name) for name in ORDERS}
    cases |= {"null: noise": nulls(silent, "own orders"), "null: bottleneck, shuffled": nulls(chains, "one order")}
    cases["planted: bottleneck"] = (planted_draw(seed) for seed in range(planted))
    cases["planted: Gaussian chain"] = (gaussian_draw(seed) for seed in range(planted))
    rows = []
    for name, tables in cases.items():
        found = pd.DataFrame([judged(one) for one in tables])
        rows.append({"data": name, "draws": len(found), **found.mean()})
    return pd.DataFrame(rows)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=150, help="draws of each kind of null data")
    parser.add_argument("--runs", type=int, default=20, help="runs in a pool")
    parser.add_argument("--planted", type=int, default=8, help="draws of each kind of planted data")
    parser.add_argument("--csv", help="where to write the table")
    options = parser.parse_args()
    table = simulate(options.draws, options.runs, options.planted).set_index("data")
    if options.csv:
        table.to_csv(options.csv)
    parts = [name for name in table if ":" in name]
    for columns in ([name for name in table if name not in parts], parts):
        print(table[columns].to_string(float_format="{:.3f}".format), end="\n\n")


if __name__ == "__main__":
    main()
