"""Tests over links and orders: known values."""

from __future__ import annotations

import math

import numpy as np

from infoplane.analysis.inference import holm, layer_orders


def test_orders_are_exact_for_few_layers():
    orders = layer_orders(4)
    assert len(np.unique(orders, axis=0)) == math.factorial(4)
    assert orders[0].tolist() == [0, 1, 2, 3]
    many = layer_orders(12)
    assert many[0].tolist() == [*range(12)]
    assert (np.sort(many, axis=1) == np.arange(12)).all()
    assert len(np.unique(many, axis=0)) > 19000


def test_holm_by_hand():
    corrected = holm(np.array([0.01, 0.04, np.nan, 0.03, 0.005, 0.9]))
    np.testing.assert_allclose(corrected, [0.04, 0.09, np.nan, 0.09, 0.025, 0.9])
    # The second largest of these times 2 is more than the largest, which cannot be the more certain one.
    np.testing.assert_allclose(holm(np.array([0.04, 0.03, 0.8])), [0.09, 0.09, 0.8])
    np.testing.assert_allclose(holm(np.array([0.045, 0.04])), [0.08, 0.08])
    np.testing.assert_allclose(holm(np.array([0.9, 0.8])), [1, 1])
