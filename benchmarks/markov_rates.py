"""How often the three tests behind the Markov verdict are right: structure (M1), triples (M2), bottleneck (M5).

    python benchmarks/markov_rates.py
    python benchmarks/markov_rates.py --only triples --draws 200 --bandwidth knn:10

Triples. A draw is one run: 6 layers and an input of 64 dimensions that fills 8 of them, 4 batches of 96 samples.
Five draws with the same widths, gains and orders of layers but their own weights are a set of five seeds. True
chains are networks of rectified linear units, without and with noise in their layers, and linear-Gaussian chains.
Not chains: a star of random features of the input; the input leaking into layer 4 with weights of 0.1, 0.3 and 1;
two neighbours that changed places; all layers in a random order; and layers 3 and 5 that also see the layer before
the one before them.

Bottleneck. Five seeds, profiles of null-corrected I(X;T) and I(T;Y) over the layers: deviations from a straight
line that all seeds have in common, and what each has of its own. Nulls have no slope, or nothing known of Y; the
power is that for a fall by so many standard deviations of the common part (1) a layer.

Conditional randomisation. One link of a network with noise in its layers, 128 samples, 39 layers drawn anew; the
input leaks into the second layer with some weight. Shares of p ≤ .05, .1 and .5, which are their probabilities in a
chain: 2, 4 and 20 of 40.

Structure. δ of the links of networks of several kinds, with random weights, as recorded.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from infoplane import Recorder, open_run
from infoplane.analysis.markov import controls
from infoplane.analysis.markov.bottleneck import KEPT_SHARE, bottleneck_test
from infoplane.analysis.markov.randomisation import randomisation_test
from infoplane.analysis.markov.structure import links_of, structure_test
from infoplane.analysis.markov.triples import TripleTest, triple_test
from infoplane.analysis.stats import SIGNIFICANCE
from infoplane.kernels import Bandwidth
from infoplane.models import build_model
from infoplane.runfile.schema import EXACT

LAYERS, SEEDS, BATCHES, SIZE = 6, 5, 4, 96
N = BATCHES * SIZE
EQUAL, WIDTHS = (64,) * LAYERS, (16, 32, 64, 128)
NOISE, GAINS = 0.3, (0.5, 1.0, 2.0)
Rng = np.random.Generator
# Variables of one run, of what its set of seeds has in common and of what it has of its own.
Draw = Callable[[Rng, Rng], list[NDArray]]


def unequal(shared: Rng) -> NDArray:
    """Widths of the layers of a set of seeds."""
    return shared.choice(WIDTHS, LAYERS)


def deterministic(shared: Rng, own: Rng) -> list[NDArray]:
    return controls.network(controls.inputs(N, own), unequal(shared), own)


def leak(weight: float) -> Draw:
    return lambda shared, own: controls.network(controls.inputs(N, own), unequal(shared), own, leak=weight)


def star(shared: Rng, own: Rng) -> list[NDArray]:
    return controls.features(controls.inputs(N, own), unequal(shared), shared.choice(GAINS, LAYERS), own)


def swapped(shared: Rng, own: Rng) -> list[NDArray]:
    order = np.arange(1, LAYERS + 1)
    place = shared.integers(LAYERS - 1)
    order[[place, place + 1]] = order[[place + 1, place]]
    return controls.in_order(deterministic(shared, own), order)


def shuffled(shared: Rng, own: Rng) -> list[NDArray]:
    order = shared.permutation(LAYERS) + 1
    return controls.in_order(deterministic(shared, own), order)


CHAINS: dict[str, Draw] = {
    "deterministic, equal widths": lambda shared, own: controls.network(controls.inputs(N, own), EQUAL, own),
    "deterministic, unequal widths": deterministic,
    "noisy, equal widths": lambda shared, own: controls.network(controls.inputs(N, own), EQUAL, own, noise=NOISE),
    "noisy, unequal widths": lambda shared, own: controls.network(
        controls.inputs(N, own), unequal(shared), own, noise=NOISE
    ),
    "linear-Gaussian, equal widths": lambda shared, own: controls.gaussian_chain(
        N, LAYERS, shared.uniform(0.6, 0.95), 16, own
    )[0],
    "linear-Gaussian, unequal widths": lambda shared, own: controls.linear_chain(
        own.standard_normal((N, 16)), unequal(shared), shared.uniform(0.6, 0.95), own
    ),
}
OTHERS: dict[str, Draw] = {
    "star": star,
    "leak of 0.1": leak(0.1),
    "leak of 0.3": leak(0.3),
    "leak of 1": leak(1.0),
    "neighbours swapped": swapped,
    "layers shuffled": shuffled,
    "skip connections": lambda shared, own: controls.network(
        controls.inputs(N, own), unequal(shared), own, skips=(3, 5)
    ),
}


def run_informations(draw: Draw, name: str, number: int, bandwidth: Bandwidth) -> NDArray:
    """Normalised informations of one run, (B, V, V)."""
    kind = [*CHAINS, *OTHERS].index(name)
    shared, own = (np.random.default_rng([kind, *seed]) for seed in ((number // SEEDS,), (number, 1)))
    return controls.batch_informations(draw(shared, own), BATCHES, own, bandwidth)


def triple_rates(draws: int, bandwidth: Bandwidth) -> Iterator[dict[str, object]]:
    """One row for each kind of data: how many triples are violated, and how often it passes as a chain."""
    for name, draw in {**CHAINS, **OTHERS}.items():
        matrices = np.stack([run_informations(draw, name, number, bandwidth) for number in range(draws)])
        single = [triple_test(one[None]) for one in matrices]
        sets = [triple_test(matrices[start : start + SEEDS]) for start in range(0, draws, SEEDS)]
        shares = np.array([one.share for one in single])
        yield {
            "data": name,
            "bandwidth": str(bandwidth),
            "draws": draws,
            "violated, mean": shares.mean(),
            "violated, 90 %": np.quantile(shares, 0.9),
            **_passes(single, "one run"),
            "sets": len(sets),
            **_passes(sets, "five seeds"),
        }


def _passes(tests: list[TripleTest], what: str) -> dict[str, float]:
    few, ordered, holds = (np.mean([getattr(one, name) for one in tests]) for name in ("few", "ordered", "holds"))
    return {f"{what}: few": few, f"{what}: p < .05": ordered, f"{what}: holds": holds}


def profiles(rng: Rng, draws: int, layers: int, shared: float, own: float, slope: float = 0.0) -> NDArray:
    """Profiles over layers with a slope, deviations that all seeds share, and own ones, (draws, SEEDS, layers)."""
    common = slope * np.arange(layers) + shared * rng.standard_normal((draws, 1, layers))
    return np.asarray(common + own * rng.standard_normal((draws, SEEDS, layers)))


def bottleneck_rates(draws: int) -> Iterator[dict[str, object]]:
    """One row for each kind of profiles: how often I(X;T) falls, I(T;Y) is kept, and both."""
    for layers in (6, 9, 12):
        rng = np.random.default_rng(layers)
        known = 1 + profiles(rng, draws, layers, 0.02, 0.02)
        falls = {fall: profiles(rng, draws, layers, 1.0, 0.3, -fall) for fall in FALLS}
        cases = {
            f"no fall, deviations {name}": (profiles(rng, draws, layers, *ends), known)
            for name, ends in DEVIATIONS.items()
        }
        walk = np.cumsum(profiles(rng, draws, layers, 1.0, 0.1), axis=-1)
        cases["no fall, a random walk over layers"] = (walk, known)
        cases["a rise by 1"] = (-falls[1.0], known)
        cases["fall by 2, nothing known of Y"] = (falls[2.0], profiles(rng, draws, layers, 0.0, 0.02))
        # Seeds on one probe share the chance in its labels; ten permuted pairings tell how large it is.
        lucky = falls[2.0], profiles(rng, draws, layers, 0.02, 0.005)
        cases |= {"fall by 2, nothing known, one probe": lucky, "the same by seeds alone": lucky}
        cases["fall by 2, last layer has 70 % of Y"] = (falls[2.0], known * np.linspace(1, 0.7, layers))
        cases |= {f"fall by {fall:g}, Y kept": (values, known) for fall, values in falls.items()}
        for name, (i_xt, i_ty) in cases.items():
            nulls = [None] * draws
            if name.endswith("one probe"):
                spreads = 0.02 * np.sqrt(rng.chisquare(PAIRINGS - 1, (draws, SEEDS)) / (PAIRINGS - 1))
                nulls = [(spread, PAIRINGS) for spread in spreads]
            tests = [
                bottleneck_test(bits, known, null=null) for bits, known, null in zip(i_xt, i_ty, nulls, strict=True)
            ]
            row = {"data": name, "layers": layers, "draws": draws}
            row |= {"I(X;T) falls": np.mean([bool(one.fall.significant) for one in tests])}
            row |= {"by links": np.mean([bool(one.fall.p_links < SIGNIFICANCE) for one in tests])}
            row |= {"90 % of the best": np.mean([one.kept >= KEPT_SHARE for one in tests])}
            row |= {"kept": np.mean([one.keeps for one in tests]), "holds": np.mean([one.holds for one in tests])}
            yield row


class Leaky(nn.Module):
    """Four layers, of which the third also sees the input."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.first, self.second, self.third, self.leak = (nn.Linear(64, 64) for _ in range(4))
        self.sum, self.logits, self.weight = nn.ReLU(), nn.Linear(64, 10), weight
        for layer in (self.first, self.second, self.third, self.leak):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.second(torch.relu(self.first(x))))
        return self.logits(self.sum(self.third(hidden) + self.weight * self.leak(x)))


def mixing() -> nn.Module:
    """A network whose layer mixes the samples of a batch by their statistics."""
    norm = nn.BatchNorm1d(32, track_running_stats=False)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), norm, nn.Linear(32, 10))


IMAGE, INSIDE = (3, 16, 16), ["layer1.0", "layer1.1.residual", "layer1.1", "logits"]
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], list[str] | None]] = {
    "mlp": (lambda: build_model("mlp", (64,), 10, widths=(64,) * 6), (64,), None),
    "cnn": (lambda: build_model("cnn", IMAGE, 10), IMAGE, None),
    "vgg11": (lambda: build_model("vgg11", (3, 32, 32), 10), (3, 32, 32), None),
    "resnet20, after the additions": (lambda: build_model("resnet20", IMAGE, 10), IMAGE, None),
    "resnet20, inside a block": (lambda: build_model("resnet20", IMAGE, 10), IMAGE, INSIDE),
    "leak of 0.1": (lambda: Leaky(0.1), (64,), ["first", "second", "sum", "logits"]),
    "leak of 0.3": (lambda: Leaky(0.3), (64,), ["first", "second", "sum", "logits"]),
    "leak of 1": (lambda: Leaky(1.0), (64,), ["first", "second", "sum", "logits"]),
    "statistics of the batch": (mixing, (64,), ["1", "2", "3"]),
}


def structure_rates(draws: int) -> Iterator[dict[str, object]]:
    """One row for each kind of network: how often it is called a chain, and its largest δ."""
    for name, (make, shape, layers) in NETWORKS.items():
        worst = []
        for draw in range(draws):
            torch.manual_seed(draw)
            probe = (torch.randn(64, *shape), torch.arange(64) % 10)
            with TemporaryDirectory() as folder:
                with Recorder(make(), probe, Path(folder) / "run.h5", layers=layers) as recorder:
                    recorder.snapshot(step=0)
                with open_run(Path(folder) / "run.h5") as run:
                    test = structure_test(links_of(run).assign(run="run"))
            worst.append(test.worst.max())
        row = {"network": name, "draws": draws, "chain": np.mean(np.array(worst) <= EXACT)}
        yield {**row, "least δ": np.min(worst), "median δ": np.median(worst), "largest δ": np.max(worst)}


def randomisation_rates(draws: int) -> Iterator[dict[str, object]]:
    """One row for each amount of noise and leak: how often a link is found to be none of a chain."""
    for noise in (0.1, 0.3, 1.0):
        for leak in (0.0, 0.1, 0.3, 1.0):
            row = {"noise": noise, "leak": leak, "draws": draws}
            tests = []
            for draw in range(draws):
                rng = np.random.default_rng([int(10 * noise), int(10 * leak), draw])
                tests.append(randomisation_test(*controls.noisy_link(128, 32, noise, leak, rng), rng))
            row["I(X;T'|T), bits"] = np.mean([one.information for one in tests])
            row["of layers drawn anew"] = np.mean([one.redrawn.mean() for one in tests])
            p = np.array([one.p for one in tests])
            yield {**row, **{f"p <= {level:g}": np.mean(p <= level) for level in (0.05, 0.1, 0.5)}}


# Deviations from a straight line that seeds share, and that each has of its own.
DEVIATIONS = {"of each seed": (0.0, 1.0), "shared by all seeds": (1.0, 0.1), "half shared": (0.7, 0.7)}
FALLS = (0.25, 0.5, 1.0, 2.0)
PAIRINGS = 10


TABLES = ("structure", "triples", "bottleneck", "randomisation")


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000, help="draws of each kind, for all tables but the first")
    parser.add_argument("--networks", type=int, default=20, help="networks of each kind, for the structure")
    parser.add_argument("--bandwidth", default="median:1", help="bandwidth rule, for the triples")
    parser.add_argument("--only", choices=TABLES, help="make one table alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tables = {
        "structure": lambda: structure_rates(options.networks),
        "triples": lambda: triple_rates(options.draws, Bandwidth.parse(options.bandwidth)),
        "bottleneck": lambda: bottleneck_rates(options.draws),
        "randomisation": lambda: randomisation_rates(options.draws),
    }
    for name, rows in tables.items():
        if options.only in (None, name):
            table = pd.DataFrame(rows())
            print(f"{name}\n{table.to_string(index=False, float_format='{:.3g}'.format)}\n", flush=True)


if __name__ == "__main__":
    main()
