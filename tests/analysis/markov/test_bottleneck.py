from __future__ import annotations

import numpy as np
import pytest

from infoplane.analysis.markov.bottleneck import bottleneck_test


def profiles(means, noise=0.02, seeds=5, seed=0):
    """Means over layers with noise of each seed, (R, L)."""
    return np.array(means) + noise * np.random.default_rng(seed).standard_normal((seeds, len(means)))


FALLS, RISES, FLAT = (3, 2.5, 2.1, 1.4, 1.1, 0.6), (0.6, 1.1, 1.4, 2.1, 2.5, 3), (2, 2, 2, 2, 2, 2)
KEPT = (0.5, 0.8, 0.9, 1, 1, 1)


@pytest.mark.parametrize(
    ("i_xt", "i_ty", "holds"),
    [
        (FALLS, KEPT, True),
        (FALLS, (1, 1, 1, 1, 1, 0.95), True),
        (FALLS, (1, 1, 1, 1, 1, 0.8), False),
        (RISES, KEPT, False),
        (FLAT, KEPT, False),
        (FALLS, (0, 0, 0, 0, 0, 0), False),
    ],
)
def test_both_are_asked(i_xt, i_ty, holds):
    assert bottleneck_test(profiles(i_xt), profiles(i_ty, seed=1)).holds == holds


def test_the_share_is_that_of_the_means_over_seeds():
    i_ty = profiles(KEPT)
    found = bottleneck_test(profiles(FALLS), i_ty)
    means = i_ty.mean(axis=0)
    assert found.kept == pytest.approx(means[-1] / means.max())
    assert found.best == means.argmax()


def test_layers_that_know_nothing_of_the_labels_have_nothing_to_keep():
    found = bottleneck_test(profiles(FALLS), np.full((5, 6), -0.1))
    assert np.isnan(found.kept)
    assert found.p_known == 1
    assert not found.holds


def test_labels_that_are_known_without_any_spread_are_known():
    assert bottleneck_test(profiles(FALLS), np.ones((5, 6))).holds


def test_what_is_kept_is_judged_at_the_networks_own_last_layer():
    dead = np.zeros(5)
    assert not bottleneck_test(profiles(FALLS), profiles(KEPT), last=dead).keeps
    assert bottleneck_test(profiles(FALLS), profiles(KEPT), last=dead).kept == 0
    one = np.array([0.0, 1, 1, 1, 1])
    found = bottleneck_test(profiles(FALLS), profiles(KEPT), last=one)
    assert found.kept == pytest.approx(0.8, abs=0.05)
    assert not found.keeps


def test_chance_that_all_seeds_share_is_no_knowledge():
    # Five seeds on one probe whose labels happen to fit: each is as far above its null as the others.
    lucky = profiles([0.03] * 6, noise=0.001)
    assert bottleneck_test(profiles(FALLS), lucky).keeps
    assert not bottleneck_test(profiles(FALLS), lucky, null=(np.full(5, 0.02), 10)).keeps
    assert bottleneck_test(profiles(FALLS), profiles(KEPT), null=(np.full(5, 0.02), 10)).keeps
    rng = np.random.default_rng(0)
    found = [
        bottleneck_test(profiles(FALLS), np.full((5, 6), chance), null=(np.full(5, rng_std), 10)).p_known < 0.05
        for chance, rng_std in zip(rng.normal(0, 1, 2000), np.sqrt(rng.chisquare(9, 2000) / 9), strict=True)
    ]
    # Of permuted pairings that are drawn apart it is a little less.
    assert np.mean(found) == pytest.approx(0.045, abs=0.015)
