"""How often the verdict on bottom-up convergence is wrong where layers converge in no order, and its power.

    python benchmarks/false_positives.py
    python benchmarks/false_positives.py --draws 1000 --output benchmarks/false_positives.md

Curves of I(X;T) and of three controls, in batches, over 40 log-spaced snapshots: rising, falling, or rising and
then falling to a plateau, with noise of training (autocorrelated, the same in all batches) and of batches. All
quantities of a layer converge at the same time, the worst case for a rule that asks for two of them to agree. Null
data are of three kinds: times drawn anew in each seed; one random order of the layers shared by all seeds (with a
jitter of 10 %); and half of each. The planted times rise with depth by a factor from layer to layer, beside a
jitter of each seed and layer of a factor of 1.5 (one standard deviation).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import binomtest

from infoplane.analysis.convergence.order import DepthOrder, depth_order
from infoplane.analysis.convergence.times import Curves
from infoplane.analysis.convergence.verdict import MIN_RHO, bottom_up_verdict
from infoplane.analysis.inference import SIGNIFICANCE
from infoplane.recording.schedule import log_spaced

END = 5000
STEPS = np.array(log_spaced(END, 40))
QUANTITIES = {"I_XT": 0.1, "cka": 0.01, "svcca": 0.01, "parameters": 0.01}
SEEDS, BATCHES = 5, 3
Times = Callable[[np.random.Generator, int, int], NDArray]


def fresh(rng: np.random.Generator, seeds: int, layers: int) -> NDArray:
    """Times drawn anew for each seed and layer, log-uniform."""
    return np.exp(rng.uniform(np.log(20), np.log(END / 2), (seeds, layers)))


def shared(rng: np.random.Generator, seeds: int, layers: int) -> NDArray:
    """One random order of layers, the same in all seeds."""
    return fresh(rng, 1, layers) * np.exp(rng.normal(0, 0.1, (seeds, layers)))


def half(rng: np.random.Generator, seeds: int, layers: int) -> NDArray:
    """The geometric mean of both."""
    return np.sqrt(fresh(rng, 1, layers) * fresh(rng, seeds, layers))


def planted(factor: float) -> Times:
    """Times that rise with depth."""

    def times(rng: np.random.Generator, seeds: int, layers: int) -> NDArray:
        depth = np.arange(layers) - (layers - 1) / 2
        return 300 * factor**depth * np.exp(rng.normal(0, np.log(1.5), (seeds, layers)))

    return times


def simulated(times: NDArray, quantity: str, rng: np.random.Generator) -> Curves:
    """Curves that come within 5 % of their range at these times, (seeds, layers)."""
    seeds, layers = times.shape
    relative = STEPS / times[..., None]
    progress = np.where(
        rng.random((layers, 1)) < 0.5,
        1 - np.exp(-3 * relative),
        1 / (1 + (19 ** (1 - np.log1p(relative) / np.log(2)))),
    )
    hump = np.where(rng.random((layers, 1)) < 0.4, rng.uniform(0.3, 1, (layers, 1)), 0)
    shape = progress + hump * relative * np.exp(1 - 3 * relative)
    size = rng.uniform(0.3, 3, (layers, 1)) * rng.choice([-1, 1], (layers, 1)) * QUANTITIES[quantity] / 0.1
    training = lfilter([1], [1, -0.5], rng.normal(0, 1, (seeds, layers, len(STEPS))))
    training *= rng.uniform(0.002, 0.02, (layers, 1))
    batches = rng.normal(0, 0.3, (seeds, BATCHES, layers, 1)) + rng.normal(
        0, 0.01, (seeds, BATCHES, layers, len(STEPS))
    )
    values = size * (shape + training)[:, None] + QUANTITIES[quantity] / 0.1 * batches
    names = tuple(map(str, range(layers)))
    trouble = np.full((seeds, layers), "", dtype=object)
    return Curves(quantity, tuple(map(str, range(seeds))), names, STEPS, values, trouble, QUANTITIES[quantity])


def without_layers(order: DepthOrder) -> bool:
    """The rule that looks at seeds only."""
    return order.median >= MIN_RHO and order.low > 0


def rates(name: str, times: Times, layers: int, draws: int, seed: int) -> dict[str, object]:
    """Shares of verdicts over so many data sets."""
    rng = np.random.default_rng([seed, layers])
    only_seeds, outcomes = [], []
    for _ in range(draws):
        when = times(rng, SEEDS, layers)
        orders = [
            depth_order(simulated(when, quantity, rng), resamples=1000, draws=50, seed=int(rng.integers(2**31)))
            for quantity in QUANTITIES
        ]
        only_seeds.append(without_layers(orders[0]) and any(map(without_layers, orders[1:])))
        outcomes.append(bottom_up_verdict(orders[0], orders[1:]).outcome)
    found = pd.Series(outcomes).value_counts()
    return {
        "times": name,
        "layers": layers,
        "draws": draws,
        "seeds only": sum(only_seeds),
        "supported": found.get("supported", 0),
        "mixed": found.get("mixed", 0),
    }


def as_shares(counts: pd.DataFrame) -> pd.DataFrame:
    """Counts as per cent, with the 95 % interval (Wilson) of "supported" and "mixed" together."""
    shares = counts.copy()
    for name in ("seeds only", "supported", "mixed"):
        shares[name] = 100 * counts[name] / counts["draws"]
    either = zip(counts["supported"] + counts["mixed"], counts["draws"], strict=True)
    intervals = [binomtest(int(hits), int(draws)).proportion_ci(method="wilson") for hits, draws in either]
    shares["either"] = [f"{100 * one.low:.1f} to {100 * one.high:.1f}" for one in intervals]
    return shares


def main() -> None:
    """Prints the tables and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--layers", type=int, nargs="+", default=[5, 6, 8])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    given = parser.parse_args()
    nulls = {"null: new in each seed": fresh, "null: shared by seeds": shared, "null: half shared": half}
    null = pd.DataFrame(
        [rates(*kind, layers, given.draws, given.seed) for kind in nulls.items() for layers in given.layers]
    )
    everything = null.sum(numeric_only=True).to_dict() | {"times": "null: all", "layers": ""}
    power = pd.DataFrame(
        [
            rates(f"planted: ×{factor:g} a layer", planted(factor), layers, given.draws // 4, given.seed)
            for factor in (1.25, 1.5, 2.0)
            for layers in given.layers
        ]
    )
    shares = as_shares(pd.concat([null, pd.DataFrame([everything]), power], ignore_index=True))
    table = shares.to_string(index=False, float_format="%.1f")
    print(table)
    page = PAGE.format(table=table, level=100 * SIGNIFICANCE, seeds=SEEDS, batches=BATCHES)
    given.output.write_text(page, encoding="utf-8")


PAGE = """# False positives and power of the verdict on bottom-up convergence

`python benchmarks/false_positives.py`, {seeds} seeds, {batches} probe batches, I(X;T) and 3 controls:

```text
{table}
```

- **What is simulated.** Curves that rise, fall, or rise and fall to a plateau, over 40 log-spaced snapshots, with
  autocorrelated noise of training and noise of batches. The *null* rows have no order over depth: times are drawn
  anew in each seed, or one random order of the layers is shared by all seeds, or half of each. The *planted* rows
  have convergence times that grow by the factor from layer to layer, with a jitter of a factor of 1.5 for each seed
  and layer. All four quantities have the same times, the worst case for a rule that asks two of them to agree.
- **seeds only** is the rule without the test over layer orders: median ρ ≥ 0.5 and the 95 % interval over seeds and
  batches above 0, for I(X;T) and one control. It holds its level (2.5 %, one-sided) where each seed has an order of
  its own, but not where seeds share one: seeds repeat the network, not its layers, and of few layers a random order
  is often near that of depth. More seeds do not help.
- **supported** and **mixed** are the verdicts of `infoplane analyze`, in per cent: they ask beside that for less
  than {level:g} % chance over orders of the layers (corrected for the choice of the control and for asking twice).
  Their nominal level, for either of them, is {level:g} %; the last column is the 95 % interval (Wilson) of the rate
  of either.
- **The price** is power for networks of few layers: of 5 layers only the perfect order and its nearest neighbours
  are below {level:g} %. With 3 or 4 layers nothing can be, and where the order looks right the verdict is
  "undecidable".
"""

if __name__ == "__main__":
    main()
