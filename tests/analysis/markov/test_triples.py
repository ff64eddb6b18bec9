"""Triples by hand, and against loops over all of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import norm, t

from infoplane.analysis.markov.triples import normalised, triple_excess, triple_test
from infoplane.errors import InfoplaneError


def chain_like(layers, runs=5, batches=4, noise=0.0, seed=0):
    """Informations that fall with the distance along a chain, (R, B, V, V)."""
    place = np.arange(layers + 1)
    exact = 0.8 ** np.abs(place[:, None] - place)
    errors = noise * np.random.default_rng(seed).standard_normal((runs, batches, layers + 1, layers + 1))
    return exact + errors + errors.swapaxes(-1, -2)


def random_symmetric(shape, seed=0):
    values = np.random.default_rng(seed).random(shape)
    return values + values.swapaxes(-1, -2)


def test_normalised_informations_are_less_their_null_and_1_on_the_diagonal():
    information, null = random_symmetric((4, 4)) + 4 * np.eye(4), 0.1 * random_symmetric((4, 4), 1)
    found = normalised(information, null)
    assert np.diag(found) == pytest.approx(1)
    c = information - null
    assert found[1, 3] == pytest.approx(c[1, 3] / np.sqrt(c[1, 1] * c[3, 3]))


def test_a_variable_that_knows_nothing_of_itself_has_no_normalised_information():
    information, null = np.ones((3, 3)), np.zeros((3, 3))
    null[1, 1] = 1.0
    found = normalised(information, null)
    assert np.isnan(found[1]).all()
    assert np.isnan(found[:, 1]).all()
    assert found[0, 2] == 1


def test_excess_and_error_by_a_loop():
    matrices = random_symmetric((2, 4, 5, 5))
    excess, error, violated = triple_excess(matrices)
    quantile = t.isf(norm.sf(2), 3)
    for run, (i, j, k) in itertools.product(range(2), itertools.permutations(range(5), 3)):
        compared = [matrices[run, :, i, k] - matrices[run, :, one, other] for one, other in ((i, j), (j, k))]
        bounds = [values.mean() - quantile * values.std(ddof=1) / 2 for values in compared]
        clearer = compared[int(np.argmax(bounds))]
        assert excess[run, i, j, k] == pytest.approx(clearer.mean())
        assert error[run, i, j, k] == pytest.approx(clearer.std(ddof=1) / 2)
        assert violated[run, i, j, k] == (max(bounds) > 0)


def test_shares_and_p_by_a_loop_over_orders():
    matrices = random_symmetric((3, 4, 5, 5), seed=3)
    found = triple_test(matrices)
    medians = []
    for order in itertools.permutations(range(1, 5)):
        places = (0, *order)
        triples = [*itertools.combinations(places, 3)]
        medians.append(np.median([np.mean([violated[one] for one in triples]) for violated in found.violated]))
    assert found.share == medians[0]
    assert found.p == pytest.approx(np.mean(np.array(medians) <= medians[0]))
    assert found.shares == pytest.approx(
        [np.mean([violated[one] for one in itertools.combinations(range(5), 3)]) for violated in found.violated]
    )


def test_a_chain_passes_and_its_layers_in_another_order_do_not():
    matrices = chain_like(6, noise=0.002)
    found = triple_test(matrices)
    assert found.holds
    assert found.share == 0
    assert found.p == pytest.approx(1 / 720)
    swapped = [0, 1, 3, 2, 4, 5, 6]
    assert not triple_test(matrices[:, :, swapped][:, :, :, swapped]).holds


def test_few_violations_are_no_evidence_where_any_order_has_few():
    found = triple_test(np.ones((5, 4, 7, 7)))
    assert found.share == 0
    assert found.p == 1
    assert not found.holds


def test_orders_are_sampled_where_there_are_many_layers():
    found = triple_test(chain_like(10, runs=2, noise=0.002))
    assert found.holds
    assert found.p == pytest.approx(1 / 20000)


def test_refusals():
    with pytest.raises(InfoplaneError, match="at least 2 batches"):
        triple_test(chain_like(6, batches=1))
    missing = chain_like(6)
    missing[0, 0, 1, 2] = np.nan
    with pytest.raises(InfoplaneError, match="missing"):
        triple_test(missing)
