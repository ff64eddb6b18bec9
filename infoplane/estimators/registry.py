"""The estimators by name; each is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, TypedDict

from infoplane.errors import InfoplaneError, unknown
from infoplane.estimators.base import EstimatorSettings
from infoplane.kernels import Bandwidth

_HOMES = {
    "renyi": "renyi:RenyiSettings",
    "binning": "binning:BinningSettings",
    "kde": "kde:KdeSettings",
    "kde-lower": "kde:KdeLowerSettings",
    "ksg": "ksg:KsgSettings",
    "gaussian": "gaussian:GaussianSettings",
    "hsic": "dependence:HsicSettings",
    "nhsic": "dependence:NhsicSettings",
    "cka": "dependence:CkaSettings",
    "kernel-cka": "dependence:KernelCkaSettings",
}
NAMES = tuple(_HOMES)
_RULES = ("bandwidth", "input_bandwidth", "target_bandwidth")


class EstimatorOptions(TypedDict, total=False):
    """The settings of all estimators; each takes those that it has, and the others keep their defaults.

    The rule of a bandwidth is text, "median:1", "knn:10", "silverman:1", "alignment:0.5" or "fixed:3", or a
    `Bandwidth`.

    Attributes:
        target: Name of another target of the run than the one that it is trained for.
        permutations: Number of permuted pairings behind the nulls, 10.
        alpha: renyi: order of the entropies, 1; 1 is von Neumann's.
        kernel: renyi: "tensor", one Gaussian over a whole layer; "multivariate", one a channel, multiplied; or
            "nested", those of a layer and of all after it, multiplied.
        bandwidth: Rule for the layers, and for the input where it has none of its own.
        scope: renyi: the rule at each "snapshot", frozen at the "final" one, or "shared" by all layers.
        input_bandwidth: Rule for the input X.
        target_bandwidth: Rule for a continuous target Y.
        dtype: renyi: precision of exact computations, "float64" or "float32".
        tolerance: renyi: half-width in bits of a 99 % interval; 0 is exact.
        input_permutations: renyi: permuted pairings behind the null of I(X;T); 0 takes 4, or 2 from 500 samples on.
        device: renyi: "auto", "cpu", "cuda", …
        bins: binning: "adaptive:30", "uniform:B", "neuron:B", "fixed:B" or "size:WIDTH".
        noise: kde: variance of the added noise, or a rule for its σ, "median:0.2".
        neighbours: ksg: number of nearest neighbours, 3.
    """

    target: str
    permutations: int
    alpha: float
    kernel: str
    bandwidth: str | Bandwidth
    scope: str
    input_bandwidth: str | Bandwidth
    target_bandwidth: str | Bandwidth
    dtype: str
    tolerance: float
    input_permutations: int
    device: str
    bins: str
    noise: str
    neighbours: int


def make_settings(name: str, **options: Any) -> EstimatorSettings:
    """The settings of an estimator.

    Args:
        name: One of `NAMES`.
        options: Settings of any estimators; those that this one has not are left out.

    Raises:
        InfoplaneError: An unknown name, with the nearest ones, or a setting out of range.
    """
    settings = _kind(name)
    return settings(**{field.name: options[field.name] for field in fields(settings) if field.name in options})


def named_settings(names: Sequence[str], **options: Any) -> list[EstimatorSettings]:
    """The settings of several estimators, each once; bandwidths are rules as text, or read already.

    Args:
        names: Of `NAMES`.
        options: Settings of any estimators, as in `EstimatorOptions`; None is left out.

    Raises:
        InfoplaneError: As for `make_settings`; or a tolerance for estimators that compute exactly.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if given.get("tolerance") and "renyi" not in names:
        raise InfoplaneError(f"`tolerance` is for renyi; {', '.join(names)} computes exactly: leave it out")
    rules = {name: given[name] for name in _RULES if name in given}
    given |= {name: rule if isinstance(rule, Bandwidth) else Bandwidth.parse(rule) for name, rule in rules.items()}
    if "bandwidth" in given:
        given.setdefault("input_bandwidth", given["bandwidth"])
    return [make_settings(name, **given) for name in dict.fromkeys(names)]


def refuse_foreign(names: Iterable[str], options: Iterable[str]) -> None:
    """Settings that none of some estimators has are refused.

    Args:
        names: The estimators.
        options: Names of the settings that were given.

    Raises:
        InfoplaneError: The name of an estimator or of a setting is unknown.
    """
    known = {field.name for name in names for field in fields(_kind(name))}
    for option in options:
        if option not in known:
            raise unknown(f"setting of {', '.join(names)}:", option, sorted(known))


def _kind(name: str) -> type[EstimatorSettings]:
    """The class of the settings of an estimator."""
    if name not in _HOMES:
        raise unknown("estimator", name, NAMES)
    module, _, kind = _HOMES[name].partition(":")
    found: type[EstimatorSettings] = getattr(importlib.import_module(f"infoplane.estimators.{module}"), kind)
    return found
