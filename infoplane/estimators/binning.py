"""I(X;T) and I(T;Y) of a binned layer, by counting (Shwartz-Ziv and Tishby, 2017), in bits.

The network is deterministic, so the binned layer T̂ is a function of the input: I(X;T̂) = H(T̂), and
I(T̂;Y) = H(T̂) − Σ_y p(y) H(T̂|y), with the plug-in (counting) entropy. Where inputs of the probe repeat, H(X) is
that of the distinct ones.

**No null of I(X;T).** It is the entropy of the layer, by determinism: no pairing of inputs and activations enters,
so that a permuted one gives the same value, and there is nothing to hold it against (`I_XT_null` is empty). I(T;Y)
has its permuted null.

**Saturation.** With d neurons there are bins^d cells: as soon as every sample sits in a cell of its own, both
values are at their limits log2 n (H(X)) and H(Y) whatever the network does and whatever the labels are. At
n = 200 samples five bins do that to ten tanh neurons. Only layers of very few neurons escape.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infoplane.entropy import class_entropy
from infoplane.errors import InfoplaneError, unknown
from infoplane.estimators.base import EstimatorSettings, LayerEstimator, LayerView, input_entropy
from infoplane.estimators.registry import default
from infoplane.runfile import Probe, Run

MOST_BINS = 10**6
RULES = ("adaptive", "uniform", "neuron", "fixed", "size")


@dataclass(frozen=True)
class BinningSettings(EstimatorSettings):
    """Settings of the binning estimator.

    Attributes:
        bins: `adaptive:B`, B bins of equal population over all activations of the layer (Shwartz-Ziv and
            Tishby's idea for unbounded activations; Chelombiev et al., 2019). `uniform:B`, B bins of equal width
            over the layer's range. `neuron:B`, over each neuron's own range (Lorenzen et al., 2022, for these
            three). `fixed:B`, edges at `linspace(-1, 1, B)`, for tanh (Shwartz-Ziv and Tishby's code idnns).
            `size:W`, bins of width W wherever the activations are (Saxe et al., 2018; code ibsgd).
    """

    name = "binning"
    takes_values = False
    bins: str = default("bins")

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_bins(self.bins)

    def options(self, run: Run) -> dict[str, Any]:
        """The bins."""
        return {"bins": self.bins}

    def pairings_of_input(self, n: int) -> int:
        """None: no pairing of inputs and activations enters."""
        return 0

    def prepare(self, probe: Probe, source: Path) -> LayerEstimator:
        """The estimator for one probe."""
        return Binning(probe, self, source)


class Binning(LayerEstimator):
    """Counts the occupied cells of a layer."""

    def __init__(self, probe: Probe, settings: BinningSettings, source: Path) -> None:
        super().__init__(probe, settings, source)
        self.rule, self.number = parse_bins(settings.bins)
        self.entropy_x = input_entropy(probe.distances)

    def shared(self) -> dict[str, float]:
        """H(X) and H(Y) are also the limits of the two informations."""
        limits = {"limit_XT": self.entropy_x, "limit_TY": self.entropy_y}
        return {"S_X": self.entropy_x, "S_Y": self.entropy_y, **limits}

    def measure(self, view: LayerView, told: Any) -> dict[str, Any]:
        """One layer; needs its activations."""
        values = view.activations.reshape(self.n, -1).astype(np.float64)
        found, labels = cells(values, self.rule, self.number), self.target.classes
        entropy = class_entropy(found)
        return self.row(i_xt=entropy, S_T=entropy, i_ty=lambda order: discrete_information(found, labels[order]))


def parse_bins(text: str) -> tuple[str, float]:
    """Reads "adaptive:30", "uniform:30", "neuron:30", "fixed:30", "size:0.07", or "30" for "adaptive:30".

    Raises:
        InfoplaneError: An unknown rule, or a number that does not fit it.
    """
    rule, number = ("adaptive", text) if re.fullmatch(r"\d+", text) else text.partition(":")[::2]
    if rule not in RULES:
        raise unknown("binning", rule, RULES)
    try:
        value = float(number or 30)
    except ValueError:
        raise InfoplaneError(f"bins '{text}': '{number}' is not a number") from None
    if rule == "size" and not (number and 0 < value < np.inf):
        raise InfoplaneError(f"bins '{text}' needs a width, such as 'size:0.07'")
    if rule != "size" and not (2 <= value <= MOST_BINS and value.is_integer()):
        raise InfoplaneError(f"bins '{text}': give a whole number of bins, at least 2 and at most {MOST_BINS}")
    return rule, value


def cells(values: NDArray, rule: str, number: float) -> NDArray:
    """Which cell of the binned layer each sample is in.

    Args:
        values: Activations, (n, d) float64.
        rule: One of `RULES`.
        number: Number of bins, or their width under "size".

    Returns:
        A number for each sample, (n,) int64, equal exactly where all d neurons are in the same bins.
    """
    codes = _codes(values, rule, number)
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(row.tobytes(), len(seen)) for row in codes])


def _codes(values: NDArray, rule: str, number: float) -> NDArray:
    """The bin of each neuron, (n, d)."""
    if rule == "size":
        # Adding 0 turns −0 into 0: as bytes they would differ.
        return np.floor(values / number) + 0.0
    count = int(number)
    if rule == "fixed":
        return np.digitize(values, np.linspace(-1, 1, count))
    if rule == "adaptive":
        # Edges at samples, as the published code cuts the sorted values; parts differ by one value at most.
        large, parts = values.size % count, np.arange(1, count)
        starts = parts * (values.size // count) + np.minimum(parts, large)
        return np.digitize(values, np.sort(values, axis=None)[np.minimum(starts, values.size - 1)])
    if rule == "uniform":
        return np.digitize(values, np.linspace(values.min(), values.max(), count + 1)[1:-1])
    low, high = values.min(axis=0), values.max(axis=0)
    columns = (
        np.digitize(v, np.linspace(a, b, count + 1)[1:-1]) for v, a, b in zip(values.T, low, high, strict=True)
    )
    return np.ascontiguousarray(np.stack(list(columns), axis=1))


def discrete_information(codes: NDArray, labels: NDArray) -> float:
    """Plug-in mutual information of two discrete variables, in bits.

    Args:
        codes: (n,) whole numbers.
        labels: (n,) whole numbers.
    """
    pairs = np.unique(np.stack([codes, labels]), axis=1, return_inverse=True)[1].ravel()
    return class_entropy(codes) + class_entropy(labels) - class_entropy(pairs)
