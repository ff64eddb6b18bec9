"""Batches of a probe: their sizes, that they share no sample, and that classes stand in each as in the probe."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from infoplane.errors import InfoplaneError
from infoplane.estimators.batches import Batches, stratified_order, sub_probe
from infoplane.runfile import Probe
from infoplane.targets import Target


@pytest.mark.parametrize(
    ("count", "size", "message"), [(1, 4, "at least 2 batches, got 1"), (2, 3, "at least 4 samples, got 3")]
)
def test_too_few(count, size, message):
    with pytest.raises(InfoplaneError, match=message):
        Batches(count, size)
    assert Batches(2, 4).draw(np.zeros(8))[0].shape == (4,)


def test_a_probe_too_small_for_batches_that_share_no_sample_is_refused():
    with pytest.raises(InfoplaneError, match=r"2 batches of 8 need 16 samples, and the probe has 15; .* to 7"):
        Batches(2, 8).draw(np.zeros(15))
    with pytest.raises(InfoplaneError, match="need 1280 samples, and the probe has 39; lower `batches`"):
        Batches(10, 128).draw(np.zeros(39))


@pytest.mark.parametrize("n", [12, 13, 40])
def test_batches_are_disjoint(n):
    labels = np.arange(n) % 2
    batches = Batches(3, 4).draw(labels)
    assert all((np.diff(batch) > 0).all() for batch in batches)
    shared = [np.intersect1d(a, b).size for a, b in itertools.combinations(batches, 2)]
    assert not any(shared)
    assert all(np.array_equal(a, b) for a, b in zip(batches, Batches(3, 4).draw(labels), strict=True))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(0, 2**31))
def test_every_stretch_holds_the_classes_in_their_proportions(counts, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    order = stratified_order(labels, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(labels)))
    for label, count in enumerate(counts):
        # So many of the class as of all samples before each place, to within one sample of each class.
        seen = np.cumsum(labels[order] == label)
        expected = np.arange(1, len(labels) + 1) * count / len(labels)
        assert np.abs(seen - expected).max() <= len(counts)


def test_a_batch_of_the_probe_keeps_all_that_belongs_to_its_samples():
    inputs = np.random.default_rng(0).standard_normal((9, 2))
    labels, numbers = np.arange(9) % 3, np.arange(9.0)
    others = {"number": Target("regression", numbers[:, None])}
    probe = Probe(Target("classes", labels), pdist(inputs), 10 * np.arange(9), (2,), others=others)
    members = np.array([1, 2, 5, 8])
    part = sub_probe(probe, members)
    np.testing.assert_allclose(part.distances, pdist(inputs[members]))
    assert part.labels.tolist() == [1, 2, 2, 2]
    assert part.indices.tolist() == [10, 20, 50, 80]
    assert part.others["number"].values.ravel().tolist() == [1, 2, 5, 8]
    assert (part.shape, part.input_distance) == ((2,), "euclidean")
    assert sub_probe(probe, None) is probe
