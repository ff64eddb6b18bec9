"""Binning: exact on discrete variables, equal to the published codes, saturated where it must be."""

import numpy as np
import pytest
from reference import T, Y, stored

from infoplane.entropy import class_entropy
from infoplane.errors import InfoplaneError
from infoplane.estimators.binning import cells, discrete_information, parse_bins

# Printed by the public codes idnns, ibsgd and exactib for the first two columns of T: H(T) and I(T;Y) in bits.
TWO_COLUMNS = {
    "fixed:5": (3.72641538901, 0.552811058734),
    "fixed:30": (7.28630731475, 2.99437921987),
    "size:0.07": (7.32875843973, 3.04683034484),
    "uniform:5": (4.38298567157, 0.907674139349),
    "neuron:5": (4.35854139081, 0.953729185931),
    "adaptive:5": (4.35023732839, 0.936748436049),
    "adaptive:30": (7.36008175226, 3.06815365738),
}
NAMES = {
    "idnns_bins=": "fixed:",
    "ibsgd_binsize=": "size:",
    "exactib_uniform_layer_bins=": "uniform:",
    "exactib_uniform_neuron_bins=": "neuron:",
    "exactib_adaptive_layer_bins=": "adaptive:",
}


def both(values, bins):
    found = cells(values, *parse_bins(bins))
    return class_entropy(found), discrete_information(found, Y)


@pytest.mark.parametrize("bins", TWO_COLUMNS)
def test_agrees_with_the_published_codes(bins):
    assert both(T[:, :2], bins) == pytest.approx(TWO_COLUMNS[bins], abs=1e-10)


@pytest.mark.parametrize(("columns", "key"), [(2, "T_first2cols"), (3, "T_first3cols"), (10, "T_full10")])
def test_agrees_with_the_whole_file(columns, key):
    for name, values in stored("binning")[key].items():
        prefix = next(prefix for prefix in NAMES if name.startswith(prefix))
        found = both(T[:, :columns], name.replace(prefix, NAMES[prefix]))
        assert found == pytest.approx(tuple(values.values()), abs=1e-10)


def test_exact_plug_in_on_discrete_variables():
    # Y decides the first column, the second is an independent fair bit: H(T) = 2 bits, I(T;Y) = 1 bit.
    labels = np.repeat([0, 1], 8)
    values = np.stack([np.where(labels == 1, 0.9, -0.9), np.tile([-0.5, 0.5], 8)], axis=1)
    for bins in ("fixed:5", "size:0.3", "uniform:2", "neuron:4", "adaptive:4"):
        found = cells(values, *parse_bins(bins))
        assert class_entropy(found) == pytest.approx(2, abs=1e-12)
        assert discrete_information(found, labels) == pytest.approx(1, abs=1e-12)


def test_saturates_for_any_labels_in_wide_layers():
    found = cells(T, *parse_bins("5"))
    assert class_entropy(found) == pytest.approx(np.log2(200))
    permuted = np.random.default_rng(0).permutation(Y)
    assert discrete_information(found, permuted) == pytest.approx(np.log2(10))


def test_invariances():
    t = T[:, :2]
    for bins in ("adaptive:6", "uniform:6", "neuron:6"):
        whole = cells(t, *parse_bins(bins))
        np.testing.assert_array_equal(whole, cells(2 * t + 1, *parse_bins(bins)))
        assert class_entropy(cells(t[:, ::-1], *parse_bins(bins))) == class_entropy(whole)
    np.testing.assert_array_equal(cells(t, "adaptive", 6), cells(np.exp(t), "adaptive", 6))
    np.testing.assert_array_equal(cells(np.array([[-0.0], [0.0]]), "size", 0.5), [0, 0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("adaptiv:3", "did you mean adaptive"),
        ("uniform:1", "at least 2"),
        ("neuron:2.5", "whole number"),
        ("fixed:nan", "whole number"),
        ("adaptive:1e9", "at most 1000000"),
        ("neuron:inf", "at most 1000000"),
        ("size", "needs a width"),
        ("fixed:x", "not a number"),
    ],
)
def test_bad_bins(text, words):
    with pytest.raises(InfoplaneError, match=words):
        parse_bins(text)
