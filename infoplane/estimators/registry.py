"""The estimators by name; each is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypedDict

from infoplane.errors import InfoplaneError, unknown
from infoplane.settings import Range, Setting, at_least, between, settings_of

if TYPE_CHECKING:
    from infoplane.estimators.base import EstimatorSettings
    from infoplane.kernels import Bandwidth

    Rule: TypeAlias = str | Bandwidth
else:
    Rule = str  # a configuration file and the command line give text

ESTIMATOR = "Estimator"
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
BATCH_SIZE = 100
_MOST = 10_000  # permuted pairings; all of them stand in memory
BANDWIDTHS = ("bandwidth", "input_bandwidth", "target_bandwidth")


class EstimatorOptions(TypedDict, total=False):
    """The settings of all estimators; each takes those that it has, and the others keep their defaults.

    The rule of a bandwidth is text, "median:1", "knn:10", "silverman:1", "alignment:0.5" or "fixed:3", or a
    `Bandwidth`. `infoplane estimate --help` says what each setting means.
    """

    target: str
    alpha: Annotated[float, Setting("renyi: order of the entropy; 1 is von Neumann's.", ESTIMATOR, 1.0)]
    bandwidth: Annotated[
        Rule,
        Setting(
            "Kernel width of the layers: median:C, knn:K, silverman:G, alignment:B or fixed:S.",
            ESTIMATOR,
            "median:1",
        ),
    ]
    scope: Annotated[
        str,
        Setting(
            "renyi: the rule at each snapshot, frozen at the final one, or one multiple of the median distance "
            "shared by all layers.",
            ESTIMATOR,
            "snapshot",
            choices=("snapshot", "final", "shared"),
        ),
    ]
    input_bandwidth: Annotated[Rule, Setting("Rule for the input X.", ESTIMATOR, unset="as --bandwidth")]
    target_bandwidth: Annotated[
        Rule, Setting("Rule for a continuous target Y; classes need none.", ESTIMATOR, "median:1")
    ]
    kernel: Annotated[
        str,
        Setting(
            "renyi: one Gaussian over a whole layer; one a channel, multiplied (needs kept activations); or those "
            "of a layer and of all after it, multiplied, under which no layer gains information.",
            ESTIMATOR,
            "tensor",
            choices=("tensor", "multivariate", "nested"),
        ),
    ]
    dtype: Annotated[
        str,
        Setting(
            "renyi: precision of exact computations; the other estimators take float64.",
            ESTIMATOR,
            "float64",
            choices=("float64", "float32"),
        ),
    ]
    tolerance: Annotated[
        float,
        Setting(
            "renyi: half-width of a 99 % interval within which each information is estimated, which is faster than "
            "exact for large probes; the other estimators are exact.",
            ESTIMATOR,
            0.0,
            unset="exact",
            form="BITS",
        ),
    ]
    input_permutations: Annotated[
        int,
        Setting(
            "renyi: permuted pairings behind the null of I(X;T), each of which takes a joint entropy more.",
            ESTIMATOR,
            0,
            unset="4, and 2 from 500 samples on",
            range=Range(f"0, or at least 2 and at most {_MOST}", lambda value: value == 0 or 2 <= value <= _MOST),
        ),
    ]
    device: Annotated[
        str,
        Setting(
            "renyi: auto (a GPU where there is one), cpu, cuda, cuda:1, ...; the others take the CPU.",
            ESTIMATOR,
            "auto",
        ),
    ]
    bins: Annotated[
        str,
        Setting(
            "binning: adaptive:B (equal population), uniform:B (layer's range), neuron:B (each neuron's), fixed:B "
            "(-1 to 1) or size:WIDTH.",
            ESTIMATOR,
            "adaptive:30",
        ),
    ]
    noise: Annotated[
        str,
        Setting("kde: variance of the added noise, or a rule for its σ (median:0.2).", ESTIMATOR, "0.1"),
    ]
    neighbours: Annotated[int, Setting("ksg: number of nearest neighbours.", ESTIMATOR, 3, range=at_least(1))]
    permutations: Annotated[
        int, Setting("Permuted pairings behind the nulls.", ESTIMATOR, 10, range=between(2, _MOST))
    ]


def default(name: str) -> Any:
    """The default of a setting of the estimators.

    Args:
        name: A key of `EstimatorOptions`.
    """
    return settings_of(EstimatorOptions)[name].default


def make_settings(name: str, **options: Any) -> EstimatorSettings:
    """The settings of an estimator.

    Args:
        name: One of `NAMES`.
        options: Settings of any estimators; those that this one has not are left out.

    Raises:
        InfoplaneError: An unknown name, with the nearest ones, or a setting out of range.
    """
    return _kind(name)(**{option: options[option] for option in _own(name) & options.keys()})


def named_settings(names: Sequence[str], **options: Any) -> list[EstimatorSettings]:
    """The settings of several estimators, each once; bandwidths are rules as text, or read already.

    Args:
        names: Of `NAMES`.
        options: Settings of any estimators, as in `EstimatorOptions`; None is left out.

    Raises:
        InfoplaneError: As for `make_settings`.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if "bandwidth" in given:
        given.setdefault("input_bandwidth", given["bandwidth"])
    return [make_settings(name, **given) for name in dict.fromkeys(names)]


def refuse_foreign(names: Iterable[str], options: Iterable[str]) -> None:
    """Settings that none of some estimators has are refused.

    Args:
        names: The estimators.
        options: Names of the settings that were given.

    Raises:
        InfoplaneError: The name of an estimator or of a setting is unknown, or a setting is one of others.
    """
    names = list(names)
    known = set().union(*map(_own, names))
    for option in options:
        if option in known:
            continue
        if not names:
            raise InfoplaneError(f"`{option}` has no place beside the settings of an estimator; put it into them")
        if option in EstimatorOptions.__annotations__:
            has = [name for name in NAMES if option in _own(name)]
            raise InfoplaneError(f"`{option}` is for {', '.join(has)} and not for {', '.join(names)}; leave it out")
        raise unknown(f"setting of {', '.join(names)}:", option, sorted(known))


def _own(name: str) -> set[str]:
    """The names of the settings that an estimator has."""
    return {field.name for field in fields(_kind(name))}


def _kind(name: str) -> type[EstimatorSettings]:
    """The class of the settings of an estimator."""
    if name not in _HOMES:
        raise unknown("estimator", name, NAMES)
    module, _, kind = _HOMES[name].partition(":")
    settings: type[EstimatorSettings] = getattr(importlib.import_module(f"infoplane.estimators.{module}"), kind)
    return settings
