"""The whole configuration of a recorded training run, its defaults, and what is refused of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from infoplane.errors import InfoplaneError, RunFileError, unknown
from infoplane.trainers.methods import Method, method

TASKS = ("classes", "classes+boxes")
ORDERS = ("simultaneous", "sequential")
GROUPS = ("even", "memory")
PENALTIES = ("mi_xt", "entropy_t", "mi_prev_t")
BETA_SCHEDULES = ("constant", "rising", "warmup")
# What only local methods have, and what only GreedyDIB has, with the values they get where the user gives none.
LOCAL = {"order": "simultaneous", "cache_mib": 1024}
AUXILIARY = {"aux": "conv:1"}
DIB = {
    "beta": (0.01,),
    "beta_schedule": "constant",
    "penalty": "mi_xt",
    "loss_alpha": 1.01,
    "loss_bandwidth": "knn:10",
    "loss_every": 1,
}
BLOCKWISE = ("blocks", "group")


@dataclass(frozen=True)
class TrainingSettings:
    """The settings of a run; its fields are the options of `infoplane record`.

    None stands for the method's own value, which `resolved` fills in; where a method has no such setting it stays.

    Example:
        >>> settings = ip.TrainingSettings(method="greedy-dib", beta=(0.01,), epochs=5)
        >>> settings.resolved().loss_bandwidth
        'knn:10'
    """

    dataset: str = "digits"
    data_root: str = "data"
    image_size: int | None = None
    region: str = "whole"
    train_size: int | None = None
    validation: float = 0.0
    permute_labels: float = 0.0
    task: str = "classes"
    model: str = "cnn"
    widths: tuple[int, ...] | None = None
    activation: str = "relu"
    layers: tuple[str, ...] | None = None
    probe_size: int = 500
    probe_split: str = "test"
    snapshots: str = "40"
    synchronous_path: bool = False
    method: str = "sgd"
    order: str | None = None
    blocks: int | None = None
    group: str | None = None
    aux: str | None = None
    beta: tuple[float, ...] | None = None
    beta_schedule: str | None = None
    penalty: str | None = None
    loss_alpha: float | None = None
    loss_bandwidth: str | None = None
    loss_every: int | None = None
    option: tuple[str, ...] = ()
    epochs: int = 30
    lr: float | None = None
    schedule: str | None = None
    optimizer: str | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    batch_size: int | None = None
    micro_batches: int | None = None
    augment: str = "none"
    amp: bool = False
    cache_mib: int | None = None
    eval_size: int = 2000
    seed: int = 0
    device: str = "auto"
    keep: str = "auto"

    @classmethod
    def of(cls, config: dict[str, Any]) -> TrainingSettings:
        """The settings that a run file keeps; those that an older infoplane did not know have their defaults.

        Raises:
            RunFileError: The run was not made by `infoplane record`.
        """
        if not {"dataset", "model", "epochs", "lr", "optimizer", "snapshots"} <= config.keys():
            raise RunFileError("the run was not made by `infoplane record`, so it cannot go on by itself")
        names = {field.name for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in config.items()
            if name in names
        }
        return cls(**values)

    @classmethod
    def refuse_unknown(cls, names: Iterable[str], whose: str = "setting") -> None:
        """Lets no name pass that is no setting of a training.

        Args:
            names: The names.
            whose: What they are called in the error.

        Raises:
            InfoplaneError: One of them is none, with the nearest names.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in names:
            if name not in known:
                raise unknown(whose, name, known)

    @property
    def how(self) -> Method:
        """The method."""
        return method(self.method)

    def resolved(self) -> TrainingSettings:
        """These settings with every None that the method has a value for filled in.

        Raises:
            InfoplaneError: A setting is impossible, or does not belong to the method.
        """
        how = self.how
        own: dict[str, Any] = {"micro_batches": 4 if self.method == "sgd-accumulate" else 1}
        own |= LOCAL if how.local else {}
        own |= AUXILIARY if how.auxiliary else {}
        own |= DIB if self.method == "greedy-dib" else {}
        own |= how.defaults
        if how.local or self.method == "sgd-checkpoint":
            own |= {"group": "even"} if self.blocks else {}
        else:
            self._refuse(BLOCKWISE, "trains the whole network at once")
        if not how.local:
            self._refuse(LOCAL, "has no local losses")
        if not how.auxiliary:
            self._refuse(AUXILIARY, "has no auxiliary classifiers")
        if self.method != "greedy-dib":
            self._refuse(DIB, "has no information term; it is greedy-dib's")
        filled = dataclasses.replace(self, **{k: v for k, v in own.items() if getattr(self, k) is None})
        _check(filled)
        return filled

    def _refuse(self, names: Any, why: str) -> None:
        given = [name for name in names if getattr(self, name) is not None]
        if given:
            raise InfoplaneError(f"method '{self.method}' {why}; leave out `{given[0]}`")

    def options(self) -> dict[str, float]:
        """The numbers given by `option`, as NAME=VALUE each.

        Raises:
            InfoplaneError: One is not of this form.
        """
        found = {}
        for text in self.option:
            name, _, value = text.partition("=")
            try:
                found[name.strip()] = float(value)
            except ValueError:
                raise InfoplaneError(f"option '{text}': write NAME=NUMBER, such as similarity_weight=0.9") from None
        return found


def _check_types(settings: TrainingSettings) -> None:
    """Configuration files give whatever type they hold."""
    kinds: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
    for field in dataclasses.fields(settings):
        kind, value = str(field.type).split(" | ")[0], getattr(settings, field.name)
        wrong = not isinstance(value, kinds.get(kind, (object,))) or (kind != "bool" and isinstance(value, bool))
        if value is not None and wrong:
            raise InfoplaneError(f"{field.name} must be of type {kind}, got {value!r}")


def _check(settings: TrainingSettings) -> None:
    _check_types(settings)
    for name in ("probe_size", "batch_size", "epochs", "eval_size", "micro_batches"):
        if getattr(settings, name) < 1:
            raise InfoplaneError(f"{name} must be at least 1, got {getattr(settings, name)}")
    for name in ("blocks", "loss_every", "train_size"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise InfoplaneError(f"{name} must be at least 1, got {value}")
    if not 0 < float(settings.lr or 0) < math.inf:
        raise InfoplaneError(f"lr must be positive and finite, got {settings.lr}")
    if not 0 <= float(settings.momentum or 0) < 1:
        raise InfoplaneError(f"momentum must be from 0 to below 1, got {settings.momentum}")
    if not 0 <= float(settings.weight_decay or 0) < math.inf:
        raise InfoplaneError(f"weight_decay must be 0 or more, got {settings.weight_decay}")
    if not 0 <= settings.seed < 2**40:
        raise InfoplaneError(f"seed must be from 0 to below 2^40, got {settings.seed}")
    choices = {
        "task": TASKS,
        "order": ORDERS,
        "group": GROUPS,
        "penalty": PENALTIES,
        "beta_schedule": BETA_SCHEDULES,
    }
    for name, allowed in choices.items():
        value = getattr(settings, name)
        if value is not None and value not in allowed:
            raise unknown(name, value, allowed)
    for beta in settings.beta or ():
        if not 0 <= beta < math.inf:
            raise InfoplaneError(f"beta must be 0 or more, got {beta}")
    if settings.loss_alpha is not None and not 0 < settings.loss_alpha < math.inf:
        raise InfoplaneError(f"loss_alpha must be positive and finite, got {settings.loss_alpha}")
    if settings.how.local and int(settings.batch_size or 0) < 2:
        raise InfoplaneError(f"method '{settings.method}' needs `batch_size=2` or more")
    if settings.how.expand and (settings.micro_batches or 1) > 1:
        raise InfoplaneError(f"method '{settings.method}' learns from whole batches; leave out `micro_batches`")
    if settings.group and not settings.blocks:
        raise InfoplaneError("`group` says how units are merged into so many `blocks`; give both or neither")
