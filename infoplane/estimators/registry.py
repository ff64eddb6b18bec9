"""The estimators by name; each is imported when it is asked for."""

from __future__ import annotations

import importlib
from dataclasses import fields
from typing import Any

from infoplane.errors import unknown
from infoplane.estimators.base import EstimatorSettings

_HOMES = {
    "renyi": "renyi:Settings",
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


def make_settings(name: str, **options: Any) -> EstimatorSettings:
    """The settings of an estimator.

    Args:
        name: One of `NAMES`.
        options: Settings of any estimators; those that this one has not are left out.

    Raises:
        InfoplaneError: An unknown name, with the nearest ones, or a setting out of range.
    """
    if name not in _HOMES:
        raise unknown("estimator", name, NAMES)
    module, _, kind = _HOMES[name].partition(":")
    settings = getattr(importlib.import_module(f"infoplane.estimators.{module}"), kind)
    return settings(**{field.name: options[field.name] for field in fields(settings) if field.name in options})
