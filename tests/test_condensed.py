import numpy as np
from scipy.spatial.distance import pdist, squareform

from infoplane.condensed import condense, input_numbers, samples, share_of_repeats

POINTS = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0], [1.0, 1.0], [3.0, 4.0]])


def test_condensed_distances_are_in_the_order_of_pdist():
    distances = pdist(POINTS)
    np.testing.assert_array_equal(condense(squareform(distances)), distances)
    assert [samples(pdist(np.arange(float(n))[:, None])) for n in (1, 2, 3, 50)] == [1, 2, 3, 50]


def test_repeated_samples_have_the_number_of_the_first():
    assert input_numbers(pdist(POINTS)).tolist() == [0, 1, 0, 3, 1]
    assert share_of_repeats(pdist(POINTS)) == 0.4
    assert share_of_repeats(pdist(POINTS[[0, 1, 3]])) == 0
