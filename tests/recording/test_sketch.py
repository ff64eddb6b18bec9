"""Sketches of parameters: exact when short, otherwise unbiased with the variance that theory gives."""

import numpy as np
import pytest
import torch

from infoplane.recording.sketch import SKETCH_SIZE, sketch


def squared(values):
    return float(np.square(values.astype(np.float64)).sum())


def test_few_parameters_are_kept_as_they_are():
    parts = [torch.randn(10, 20), torch.randn(824)]
    values, count = sketch(parts)
    assert count == SKETCH_SIZE
    np.testing.assert_array_equal(values, torch.cat([part.flatten() for part in parts]).numpy())
    assert sketch([])[1] == 0


@pytest.mark.parametrize("kind", ["dense", "one large entry"])
def test_squared_distances_are_unbiased_with_the_known_variance(kind):
    difference = torch.randn(3000, generator=torch.Generator().manual_seed(1)).double()
    if kind == "one large entry":
        difference[7] = 100.0
    truth, fourth = float(difference.square().sum()), float(difference.pow(4).sum())
    size, draws = 64, 800
    found = np.array([squared(sketch([difference], size, seed)[0]) for seed in range(draws)])
    # A count-sketch has the variance 2/k (‖v‖⁴ − Σ v_i⁴).
    deviation = np.sqrt(2 / size * (truth**2 - fourth))
    assert found.mean() == pytest.approx(truth, abs=4 * deviation / np.sqrt(draws))
    assert found.std() == pytest.approx(deviation, rel=0.12)


def test_linear_and_indifferent_to_how_the_parameters_are_cut(monkeypatch):
    a, b = torch.randn(2, 5000)
    difference = sketch([a])[0] - sketch([b])[0]
    np.testing.assert_allclose(difference, sketch([a - b])[0], atol=1e-4)
    monkeypatch.setattr("infoplane.recording.sketch.CHUNK", 7)
    np.testing.assert_allclose(sketch([a[:1234].reshape(2, -1), a[1234:]])[0], sketch([a])[0], atol=1e-4)


def test_the_hash_stays_what_it_is():
    # A resumed run must go on with the sketch it began with, whatever the versions of the packages.
    values, _ = sketch([torch.arange(2000.0)], size=8)
    assert values.tolist() == [5691.0, 9170.0, 14465.0, 5939.0, 9502.0, 53006.0, 874.0, -4815.0]


def test_complex_and_half_precision():
    half = torch.randn(3000).to(torch.float16)
    np.testing.assert_array_equal(sketch([half])[0], sketch([half.double()])[0])
    numbers = torch.randn(700, dtype=torch.complex64)
    assert sketch([numbers])[1] == 1400
    assert sketch([torch.full((2000,), float("nan"))])[0].shape == (SKETCH_SIZE,)
