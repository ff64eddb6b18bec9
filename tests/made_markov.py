"""Tables of runs as the Markov verdict takes them, of layers whose dependence is known, without any training."""

import itertools

import numpy as np
import pandas as pd

from infoplane.analysis.markov import controls
from infoplane.estimators.pairs import pair_informations
from infoplane.kernels import gram_matrix

BATCHES, SIZE, LAYERS, SEEDS = 4, 48, 6, 5
NAMES = [f"layer{place}" for place in range(1, LAYERS + 1)]
ABOUT = {
    "dataset": "control", "model": "control", "estimator": "renyi", "unit": "bits", "permutations": 10,
    "alpha": 1.0, "kernel": "tensor", "bandwidth": "median:1", "scope": "snapshot",
    "input_bandwidth": "median:1", "n": SIZE, "batches": BATCHES, "batch_size": SIZE, "classes": 4,
}  # fmt: skip
WIDTHS = (64,) * LAYERS


def chain(rng):
    """A random network without shortcuts."""
    return controls.network(controls.inputs(BATCHES * SIZE, rng), WIDTHS, rng)


def swapped(rng):
    """The same with two neighbours that changed places."""
    return controls.in_order(chain(rng), [1, 3, 2, 4, 5, 6])


def control_runs(make, seeds=SEEDS, steps=(0, 100), i_ty=1.0, fall=0.2):
    """Estimates, pairs and links of runs; the layers of all steps are those of `make`, which takes a generator.

    I(T;Y) is what is given, with a little noise. I(X;T) falls by `fall` a layer beyond what the pairs say.
    """
    estimates, pairs, links = [], [], []
    for seed, step in itertools.product(range(seeds), steps):
        rng = np.random.default_rng([seed, step])
        variables = make(rng)
        for batch in range(BATCHES):
            grams = [gram_matrix(part[batch * SIZE : (batch + 1) * SIZE]) for part in variables]
            place = {**ABOUT, "run": f"seed{seed}", "step": step, "epoch": step / 10, "batch": batch}
            values, nulls = pair_informations(grams, rng.permutation(SIZE))
            pairs += pair_rows({**place, "step_j": step}, values, nulls)
            estimates += estimate_rows(place, values, nulls, i_ty, fall, rng)
        if step != steps[-1]:
            rows = [one for one in pairs if one["run"] == f"seed{seed}" and one["step"] == step and one["i"]]
            pairs += [{**one, "step_j": steps[-1]} for one in rows]
        links += link_rows(f"seed{seed}", "first" if step == steps[0] else "last")
    return tuple(map(pd.DataFrame, (estimates, pairs, links)))


def pair_rows(place, values, nulls):
    """The rows of all pairs i ≤ j."""
    names = ["X", *NAMES]
    return [
        {**place, "i": i, "j": j, "name_i": names[i], "name_j": names[j]}
        | {"information": values[i, j], "information_null": nulls[i, j]}
        for i, j in itertools.combinations_with_replacement(range(len(names)), 2)
    ]


def estimate_rows(place, values, nulls, i_ty, fall, rng):
    """The rows of all layers, without saturation."""
    return [
        {**place, "layer": name, "depth": depth, "status": "ok", "S_T": 2.0, "S_X": 3.0, "S_Y": 2.0, "repeats": 0.0}
        | {"I_XT": values[0, depth], "I_XT_null": nulls[0, depth], "limit_XT": np.log2(SIZE), "limit_TY": 2.0}
        | {"I_XT_corrected": values[0, depth] - nulls[0, depth] - fall * depth}
        | {
            "I_TY_null": 0.1,
            "I_TY_null_std": 0.0,
            "I_TY": i_ty + 0.1,
            "I_TY_corrected": i_ty + 0.01 * rng.standard_normal(),
        }
        for depth, name in enumerate(NAMES, start=1)
    ]


def link_rows(run, when, delta=0.0):
    """The links of one run at one snapshot."""
    return [
        {"run": run, "when": when, "link": number, "layer_i": i, "layer_j": j, "delta": delta}
        for number, (i, j) in enumerate(itertools.pairwise(NAMES), start=1)
    ]
