"""Holm's correction: a worked example, and its guarantee on simulated null data."""

import numpy as np

from infoplane.analysis.multiple import holm


def test_worked_example():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.5, 0.9]), [1.0, 1.0])
    assert holm([0.2]) == [0.2]


def test_what_was_not_tested_counts_for_nothing():
    np.testing.assert_allclose(holm([np.nan, 0.01, 0.04]), [np.nan, 0.02, 0.04])
    assert np.isnan(holm([np.nan])).all()


def test_rarely_rejects_anything_under_the_null():
    draws = np.random.default_rng(0).random((2000, 5))
    assert np.mean([holm(draw).min() < 0.05 for draw in draws]) < 0.065
