"""Permuted pairings: copies of an input stay together, and noise is as seldom "ok" as without copies."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from infoplane.condensed import share_of_repeats
from infoplane.estimators.binning import discrete_information
from infoplane.estimators.nulls import (
    NULL_DEVIATIONS,
    agreement,
    at_null,
    chance_deviations,
    is_permutation,
    judged,
    pairings,
)

ZIPF = [60, 30, 20, 15, 12, 10, 8, 7, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 1, 1]


def numbered(sizes, seed=0):
    """Which input each sample has, shuffled, and the distances between the samples."""
    numbers = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    return numbers, pdist(numbers[:, None].astype(float))


def copies_of(numbers):
    return [np.flatnonzero(numbers == number) for number in np.unique(numbers)]


def test_without_repeats_the_permutations_are_plain_ones():
    rng = np.random.default_rng(0)
    distances = pdist(np.random.default_rng(5).standard_normal((40, 3)))
    labels = np.arange(40) % 3
    for values in (None, labels, labels[:, None] + 0.5):
        rng = np.random.default_rng(0)
        for order in pairings(distances, 4, values):
            np.testing.assert_array_equal(labels[order], rng.permutation(labels))
    assert share_of_repeats(distances) == 0


@pytest.mark.parametrize(
    "sizes", [[3] * 20, [1] * 30 + [2] * 10 + [5] * 4, [1] * 30 + [3], [2] * 12 + [3], [9, 4, 2], ZIPF]
)
def test_all_copies_get_the_label_of_another_input(sizes):
    numbers, distances = numbered(sizes)
    labels = (numbers * 7) % 5
    for values in (None, labels, labels[:, None] + 0.5):
        orders = pairings(distances, 6, values)
        for order in orders:
            came = [np.unique(numbers[order[numbers == number]]) for number in range(len(sizes))]
            assert all(len(one) == 1 for one in came)
            assert sorted(one[0] for one in came) == list(range(len(sizes)))
            assert is_permutation(order) or len(set(sizes)) > 1
        assert np.mean([(numbers[order] != numbers).mean() for order in orders]) > 0.2
    assert share_of_repeats(distances) == pytest.approx(1 - len(sizes) / sum(sizes))


@pytest.mark.parametrize("sizes", [[3] * 30, [4] * 10 + [2] * 20])
def test_copies_with_labels_of_their_own_exchange_them_as_a_block(sizes):
    numbers, distances = numbered(sizes)
    labels = np.random.default_rng(0).integers(0, 3, len(numbers))
    for order in pairings(distances, 4, labels):
        for number, size in enumerate(sizes):
            givers = np.bincount(numbers[order[numbers == number]], minlength=len(sizes))
            assert givers.max() >= min(size, min(sizes))
        assert is_permutation(order) or len(set(sizes)) > 1


def test_how_far_copies_agree():
    rng = np.random.default_rng(0)
    numbers = np.repeat(np.arange(400), 5)
    copies = copies_of(numbers)
    shared = rng.standard_normal((400, 2))[numbers]
    noise = rng.standard_normal((2000, 2))
    assert agreement(1e300 * shared, copies) == 1
    assert agreement(noise, copies) == pytest.approx(0, abs=0.05)
    # Half of the variance is shared.
    assert agreement(1e-200 * (shared + noise), copies) == pytest.approx(0.5, abs=0.05)
    # Each of two classes is kept with probability 0.8 + 0.1: two copies have a correlation of 0.8².
    labels = rng.integers(0, 2, 400)[numbers]
    drawn = np.where(rng.random(2000) < 0.8, labels, rng.integers(0, 2, 2000))
    assert agreement(drawn, copies) == pytest.approx(0.64, abs=0.05)
    assert agreement(np.zeros(4), [np.arange(4)]) == 1


def ok_share(sizes, flipped, draws=200):
    """How often labels at random, of each input and then flipped for some samples, count as known."""
    rng = np.random.default_rng(1)
    numbers, distances = np.repeat(np.arange(len(sizes)), sizes), None
    distances = pdist(numbers[:, None].astype(float))
    found = 0
    for _ in range(draws):
        layer = rng.integers(0, 4, len(sizes))[numbers]
        labels = rng.integers(0, 2, len(sizes))[numbers] ^ (rng.random(len(numbers)) < flipped)
        nulls = [discrete_information(layer, labels[order]) for order in pairings(distances, 10, labels)]
        found += not at_null(discrete_information(layer, labels), np.mean(nulls), np.std(nulls, ddof=1))
    return found / draws


@pytest.mark.parametrize("flipped", [0.0, 0.2])
@pytest.mark.parametrize(
    "sizes", [[1] * 200, [40] + [1] * 160, [50] + [2] * 70, ZIPF, [2] * 100], ids=lambda s: f"{s[0]},{s[1]}…"
)
def test_noise_is_as_seldom_ok_as_without_repeats(sizes, flipped):
    # Of 300 draws without repeats 9 % are: ten permutations of a skewed statistic.
    assert ok_share(sizes, flipped) < 0.14


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({}, "ok"),
        ({"I_TY": 0.3}, "at null"),
        ({"I_TY": np.inf}, "infinite"),
        ({"I_TY_null": np.inf, "I_TY_null_std": np.nan}, "infinite"),
        ({"I_XT": np.inf, "I_XT_null": 1.0, "I_XT_null_std": 0.1}, "infinite"),
        ({"I_TY": np.nan}, "no value"),
        ({"I_XT": np.nan}, "no value"),
        ({"I_TY_null": np.nan}, "no value"),
    ],
)
def test_only_finite_values_are_ok(values, status):
    row = {"I_XT": 2.0, "I_XT_null": np.nan, "I_XT_null_std": np.nan}
    row |= {"I_TY": 1.0, "I_TY_null": 0.2, "I_TY_null_std": 0.05}
    assert judged(row | values) == status


def test_chance_stays_below_the_bound_in_95_of_100_cases():
    rng = np.random.default_rng(0)
    for permutations in (2, 4, 10, 50):
        nulls, values = rng.standard_normal((4000, permutations)), rng.standard_normal(4000)
        deviations = chance_deviations(permutations)
        below = [
            at_null(value, np.mean(row), np.std(row, ddof=1), deviations)
            for value, row in zip(values, nulls, strict=True)
        ]
        assert np.mean(below) == pytest.approx(0.95, abs=0.01)
    assert chance_deviations(10) == pytest.approx(NULL_DEVIATIONS, abs=0.1)
