"""What all estimators have in common: settings, the layer they look at, the row they give.

An estimator is two small classes in a file of its own. Its *settings* say what decides the numbers and become
columns of the table; `prepare` binds them to a probe and gives a `LayerEstimator`, which keeps what all layers
share (entropies of X and Y, permuted pairings) and turns one layer at one snapshot into one row.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from infoplane.condensed import condense, input_numbers, samples, share_of_repeats
from infoplane.entropy import class_entropy
from infoplane.errors import InfoplaneError, unknown
from infoplane.estimators.nulls import MEASURED, OK, judged, pairings
from infoplane.estimators.registry import BANDWIDTHS, EstimatorOptions, default
from infoplane.kernels import Bandwidth, square_form
from infoplane.runfile import Probe, Run, Snapshot
from infoplane.runfile.schema import CONSTANT
from infoplane.settings import settings_of
from infoplane.targets import Target

# Columns that every row has, NaN where an estimator has no such quantity.
QUANTITIES = ("sigma_T", "sigma_X", "S_T", "S_X", "S_Y", "limit_XT", "limit_TY")
MAIN = "labels"  # name of the target that a run is trained for
BITS, DEPENDENCE = "bits", "dependence"
Item = tuple[int, str]
InOrder = Callable[[NDArray], float]  # of the order, (n,), in which the samples of X or Y are taken


@dataclass(frozen=True)
class WithNull:
    """An information, and what each permuted pairing gives in its place.

    Attributes:
        value: In the true order.
        nulls: In each of the permuted ones.
    """

    value: float
    nulls: Sequence[float]


class LayerView:
    """One layer at one snapshot, on the whole probe; what was read is kept for the other estimators, if `shared`.

    Attributes:
        step: Training step of the snapshot.
        layer: Name of the layer.
        features: Number of features d of the layer.
    """

    def __init__(self, run: Run, snapshot: Snapshot, layer: str, *, shared: bool = True) -> None:
        self.step, self.layer, self._shared = snapshot.step, layer, shared
        self.features, self._channels = run.layer(layer).features, run.layer(layer).channels
        self._run, self._snapshot = run, snapshot
        self._batches: dict[int, BatchView] = {}

    @functools.cached_property
    def trouble(self) -> str:
        """Why nothing can be estimated: "not finite", "constant" or "" where all is well."""
        return self._snapshot.trouble(self.layer)

    @functools.cached_property
    def activations(self) -> NDArray:
        """Activations, (n, …) float32; an `InfoplaneError` where only distances were kept."""
        return self._snapshot.activations(self.layer)

    @property
    def channels(self) -> NDArray:
        """Activations with the channels before all else, (n, channels, …); of flat layers each feature is one."""
        return self.activations.swapaxes(1, 1 + self._channels) if self.activations.ndim > 1 else self.activations

    @functools.cached_property
    def distances(self) -> NDArray:
        """Condensed Euclidean distances, (n (n−1) / 2,) float64."""
        return self._snapshot.distances(self.layer)

    @functools.cached_property
    def square(self) -> NDArray:
        """Euclidean distances, (n, n) float64."""
        return squareform(self.distances)

    def square_on(self, device: torch.device) -> torch.Tensor:
        """Euclidean distances, (n, n) float64 on a device, where they are computed; anew at each call."""
        if "distances" in vars(self):
            return square_form(torch.from_numpy(self.distances).to(device), samples(self.distances))
        return self._snapshot.square(self.layer, device)

    @functools.cached_property
    def deeper(self) -> list[LayerView]:
        """The layers after this one at the same snapshot, from the next to the last."""
        names = [layer.name for layer in self._run.layers]
        after = names[names.index(self.layer) + 1 :]
        return [LayerView(self._run, self._snapshot, name, shared=self._shared) for name in after]

    def spare(self) -> None:
        """Forgets the distances, half as large as a matrix, unless another estimator needs them."""
        if not self._shared:
            self.__dict__.pop("distances", None)

    def batch(self, number: int, members: NDArray | None) -> LayerView:
        """The same layer on a batch of the probe, the same view for all estimators; None is the whole probe."""
        if members is None:
            return self
        if number not in self._batches:
            self._batches[number] = BatchView(self, number, members)
        return self._batches[number]


class BatchView(LayerView):
    """One layer at one snapshot, on some members of the probe."""

    def __init__(self, whole: LayerView, number: int, members: NDArray) -> None:
        self.step, self.layer, self.features = whole.step, whole.layer, whole.features
        self._channels = whole._channels
        self._shared = True
        self._whole, self._number, self._members = whole, number, members

    @functools.cached_property
    def trouble(self) -> str:
        """Why nothing can be estimated here: a layer may be constant on these samples alone."""
        return self._whole.trouble or ("" if self.square.any() else CONSTANT)

    @functools.cached_property
    def activations(self) -> NDArray:
        """Activations of the members, (n, …) float32."""
        return self._whole.activations[self._members]

    @functools.cached_property
    def deeper(self) -> list[LayerView]:
        """The layers after this one, on the same members."""
        return [view.batch(self._number, self._members) for view in self._whole.deeper]

    @functools.cached_property
    def distances(self) -> NDArray:
        """Condensed distances between the members."""
        return condense(self.square)

    @functools.cached_property
    def square(self) -> NDArray:
        """Distances between the members, (n, n)."""
        return self._whole.square[np.ix_(self._members, self._members)]

    def square_on(self, device: torch.device) -> torch.Tensor:
        """Distances between the members, (n, n) float64 on a device."""
        return torch.tensor(self.square, device=device)


@dataclass(frozen=True)
class EstimatorSettings(ABC):
    """What decides the numbers of an estimator, kept beside each of them.

    Attributes:
        permutations: Number of permuted pairings behind the nulls, the same for all layers.
        target: Which target of the run Y is, by its name; "" is the one that it is trained for.
    """

    name: ClassVar[str]
    unit: ClassVar[str] = BITS
    takes_values: ClassVar[bool] = True  # whether Y may be continuous
    permutations: int = field(default=default("permutations"), kw_only=True)
    target: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        mine = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, declared in settings_of(EstimatorOptions).items():
            if name in mine and name in BANDWIDTHS:
                object.__setattr__(self, name, Bandwidth.of(mine[name]))
            elif name in mine:
                declared.check(name, mine[name])

    def columns(self, run: Run) -> dict[str, Any]:
        """The settings as columns of the estimates table.

        Raises:
            InfoplaneError: As for `chosen`.
        """
        self.chosen(run.probe, run.path)
        common = {"estimator": self.name, "unit": self.unit, "permutations": self.permutations}
        return common | {"target": self.target or MAIN} | self.options(run)

    def options(self, run: Run) -> dict[str, Any]:
        """The estimator's own settings as columns."""
        return {}

    def chosen(self, probe: Probe, source: Path) -> Target:
        """The target Y among those of a probe.

        Args:
            probe: The probe.
            source: The run file, for messages.

        Raises:
            InfoplaneError: The probe has no target of that name, or the estimator takes no continuous one.
        """
        name = self.target or MAIN
        if name != MAIN and name not in probe.others:
            raise unknown("target", name, [MAIN, *probe.others])
        target = probe.target if name == MAIN else probe.others[name]
        if not (target.discrete or self.takes_values):
            raise InfoplaneError(
                f"{source}: {self.name} needs classes, and the target '{name}' is continuous; "
                "take renyi, ksg or gaussian, or name one of classes by `target`"
            )
        return target

    def target_columns(self, run: Run, bandwidth: Bandwidth) -> dict[str, str]:
        """The bandwidth rule of Y as a column; none where Y has classes, which need no bandwidth."""
        return {} if self.chosen(run.probe, run.path).discrete else {"target_bandwidth": str(bandwidth)}

    def pairings_of_input(self, n: int) -> int:
        """Number of permuted pairings behind the null of I(X;T) for so many samples; 0 where they say nothing."""
        return self.permutations

    @abstractmethod
    def prepare(self, probe: Probe, source: Path) -> LayerEstimator:
        """The estimator for one probe, or one batch of it.

        Args:
            probe: The probe.
            source: The run file, for messages.
        """

    def survey_items(self, items: Sequence[Item], layers: Sequence[str], snapshots: int) -> Iterable[Item]:
        """The (snapshot, layer) pairs that must be surveyed before any of `items` is estimated; none, as a rule."""
        return ()

    def settle(self, found: dict[Item, Any], items: Sequence[Item]) -> dict[Item, Any]:
        """What `LayerEstimator.estimate` is told of each item, of what its `survey` found."""
        return {}


class LayerEstimator(ABC):
    """Estimates the layers of one run on one probe; what all layers share is computed once.

    Args:
        probe: The probe, or a batch of it.
        settings: The settings.
        source: The run file, for messages.

    Attributes:
        n: Number of samples.
        target: Y.
        labels: Its classes, (n,) int64; None where it is continuous.
        orders: Permuted pairings, shared by all layers and snapshots: (n,) each, sample i is paired with the Y of
            order[i]. Where inputs repeat they may name samples several times (`is_permutation`).
        input_orders: The same for X in the place of Y; other ones only where copies of an input differ in Y. There
            may be fewer, and are none where permuted pairings say nothing of I(X;T).
        entropy_y: Shannon entropy of the classes, or of which distinct value one has, in bits.
    """

    def __init__(self, probe: Probe, settings: EstimatorSettings, source: Path) -> None:
        self.n = len(probe)
        self.target = settings.chosen(probe, source)
        self.labels = self.target.classes if self.target.discrete else None
        self.entropy_y = (
            input_entropy(self.target_distances()) if self.labels is None else class_entropy(self.labels)
        )
        self.orders = pairings(probe.distances, settings.permutations, self.target.values)
        self.input_orders = pairings(probe.distances, settings.pairings_of_input(self.n))
        self.repeats = share_of_repeats(probe.distances)

    def target_distances(self, order: NDArray | None = None) -> NDArray:
        """Condensed Euclidean distances of a continuous Y in a given order of samples, (n (n−1) / 2,) float64.

        They are in units of `target_unit`, as squares of 1e±200 are out of range.
        """
        values = self.target.values / self.target_unit
        return np.asarray(pdist(values if order is None else values[order]))

    @property
    def target_unit(self) -> float:
        """The size of a continuous Y, a power of 2: dividing by it changes no digit."""
        return math.ldexp(1.0, math.frexp(float(np.abs(self.target.values).max()))[1] - 1)

    def target_sigma(self, distances: NDArray, bandwidth: Bandwidth, source: Path) -> float:
        """Bandwidth of a continuous Y.

        Args:
            distances: Those of Y, condensed, as `target_distances` gives them.
            bandwidth: The rule.
            source: The run file, for messages.

        Returns:
            σ in units of `target_unit`.

        Raises:
            InfoplaneError: The rule finds none.
        """
        if not distances.any():
            return 1.0  # a batch in which Y does not vary: any will do
        sigma = bandwidth.sigma(distances, self.target.values.shape[1])
        if bandwidth.rule == "fixed":
            sigma /= self.target_unit
        if not sigma > 0:
            raise InfoplaneError(
                f"{source}: '{bandwidth}' finds no bandwidth for the continuous target (more than half of its "
                "pairs of values are equal); give one with `target_bandwidth='fixed:NUMBER'`"
            )
        return sigma

    def survey(self, view: LayerView) -> Any:
        """What `EstimatorSettings.settle` must know of one layer at one snapshot."""
        return None

    def estimate(self, view: LayerView, told: Any = None) -> dict[str, Any]:
        """Estimates one layer at one snapshot.

        Args:
            view: The layer.
            told: What `settle` gave for it; None without a survey.

        Returns:
            Columns of the estimates table; NaN with the reason in `status` where nothing can be estimated.
        """
        if view.trouble:
            return self.row(view.trouble)
        row = self.measure(view, told)
        status = judged(row) if row["status"] == OK else row["status"]
        if status not in MEASURED:
            row |= {name: math.nan for name in row if name.startswith("I_")}
        return {**row, "status": status}

    @abstractmethod
    def measure(self, view: LayerView, told: Any) -> dict[str, Any]:
        """Estimates one layer whose activations are finite and not constant."""

    def shared(self) -> dict[str, float]:
        """Columns that are the same for all layers; bits."""
        return {"S_Y": self.entropy_y}

    def row(
        self,
        status: str = OK,
        *,
        i_xt: InOrder | WithNull | float = math.nan,
        i_ty: InOrder | WithNull | float = math.nan,
        **columns: float,
    ) -> dict[str, Any]:
        """One row of the table.

        Args:
            status: "ok", or why there are no values; `estimate` looks further where it is "ok".
            i_xt: Information (or dependence) between layer and input as a function of the order of the inputs,
                called for the true order and for each permuted pairing; or what these calls would give; a number
                where permuted pairings say nothing.
            i_ty: The same between the layer and the target.
            columns: Other columns: S_T, sigma_T, …
        """
        value, null, null_std = self._with_null(i_ty, self.orders)
        value_xt, null_xt, null_xt_std = self._with_null(i_xt, self.input_orders)
        empty = dict.fromkeys(QUANTITIES, math.nan)
        return {
            "repeats": self.repeats,
            **empty,
            **self.shared(),
            **columns,
            "I_XT": value_xt,
            "I_XT_null": null_xt,
            "I_XT_null_std": null_xt_std,
            "I_XT_corrected": value_xt - null_xt,
            "I_TY": value,
            "I_TY_null": null,
            "I_TY_null_std": null_std,
            "I_TY_corrected": value - null,
            "status": status,
        }

    def _with_null(
        self, quantity: InOrder | WithNull | float, orders: Sequence[NDArray]
    ) -> tuple[float, float, float]:
        """A value, and mean and standard deviation of what permuted pairings give; NaN without."""
        if callable(quantity):
            nulls = [quantity(order) for order in orders]
            quantity = WithNull(quantity(np.arange(self.n)), nulls)
        if not isinstance(quantity, WithNull):
            return quantity, math.nan, math.nan
        if not quantity.nulls:
            return quantity.value, math.nan, math.nan
        with np.errstate(invalid="ignore"):  # of infinite ones, of which `judged` hears
            return quantity.value, float(np.mean(quantity.nulls)), float(np.std(quantity.nulls, ddof=1))


def one_hot(labels: NDArray) -> tuple[NDArray, NDArray]:
    """Labels as an indicator matrix, (n, C) float64, and the class of each sample as 0 … C−1, (n,)."""
    _, classes = np.unique(labels, return_inverse=True)
    return np.eye(classes.max() + 1)[classes], classes


def input_entropy(distances: NDArray, alpha: float = 1.0) -> float:
    """Entropy of which distinct sample one has, in bits: log2 n where no sample repeats.

    Args:
        distances: Condensed distances, (n (n−1) / 2,); repeated samples stand at distance 0.
        alpha: Order of the Rényi entropy; 1 is Shannon's.
    """
    return class_entropy(input_numbers(distances), alpha)
