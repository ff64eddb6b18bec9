"""The null of I(X;T): permuted pairings of layer and input, under the same matrix-based entropies."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from written import classes, made

import infoplane as ip
from infoplane.estimators.nulls import pairings

N = 90
SINGLE = 1e-5  # bits: the null is computed in single precision, where the order allows it


def kernel(values, sigma):
    return np.exp(-(squareform(pdist(values)) ** 2) / (2 * sigma**2))


def entropy(gram, alpha):
    spectrum = np.linalg.eigvalsh(gram / len(gram))
    spectrum = spectrum[spectrum > 1e-12]
    if alpha == 1:
        return float(-(spectrum * np.log2(spectrum)).sum())
    return float(np.log2((spectrum**alpha).sum()) / (1 - alpha))


def information(x, t, alpha, order):
    """I(T; X in this order) under median bandwidths, those of X in its own order; by NumPy alone."""
    gram_x = kernel(x, np.median(pdist(x)))[np.ix_(order, order)]
    gram_t = kernel(t, np.median(pdist(t)))
    return entropy(gram_x, alpha) + entropy(gram_t, alpha) - entropy(gram_x * gram_t, alpha)


@pytest.fixture
def noise():
    rng = np.random.default_rng(0)
    return rng.standard_normal((N, 5)), rng.standard_normal((N, 3)).astype(np.float32)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.01, 2.0, 4.0])
@pytest.mark.parametrize("copies", [1, 3])
def test_the_null_is_what_permuted_pairings_give(tmp_path, noise, alpha, copies):
    x, t = (np.repeat(values[: N // copies], copies, axis=0) for values in noise)
    path = made(tmp_path / "run.h5", x, t, classes(np.arange(N) % 3))
    row = ip.estimate(path, alpha=alpha).iloc[0]
    expected = [information(x, t.astype(float), alpha, order) for order in pairings(pdist(x), 4)]
    rounding = 1e-9 if alpha < 1 else SINGLE
    assert row["I_XT_null"] == pytest.approx(np.mean(expected), abs=rounding)
    assert row["I_XT_null_std"] == pytest.approx(np.std(expected, ddof=1), abs=rounding)
    assert row["I_XT"] == pytest.approx(information(x, t.astype(float), alpha, np.arange(N)), abs=1e-9)
    assert row["I_XT_corrected"] == pytest.approx(row["I_XT"] - row["I_XT_null"])


def test_copies_that_stand_unequally_often(tmp_path, noise):
    times = np.r_[np.full(10, 5), np.full(40, 1)]
    x, t = (np.repeat(values[:50], times, axis=0) for values in noise)
    row = ip.estimate(made(tmp_path / "run.h5", x, t, classes(np.arange(N) % 3))).iloc[0]
    expected = [information(x, t.astype(float), 1, order) for order in pairings(pdist(x), 4)]
    assert row["I_XT_null"] == pytest.approx(np.mean(expected), abs=SINGLE)
    # Parted copies would give a null that no dependence is needed to exceed.
    parted = [information(x, t.astype(float), 1, np.random.default_rng(seed).permutation(N)) for seed in range(4)]
    assert row["I_XT_null"] > np.mean(parted) + 0.1


def test_noise_has_no_information_and_a_copy_of_the_input_has(tmp_path, noise):
    x, t = noise
    layers = np.stack([t, x[:, :3].astype(np.float32)], axis=2)
    table = ip.estimate(made(tmp_path / "run.h5", x, layers, classes(np.arange(N) % 3)), input_permutations=20)
    independent, dependent = table["I_XT_corrected"]
    assert independent == pytest.approx(0, abs=3 * table["I_XT_null_std"][0])
    assert dependent > 20 * table["I_XT_null_std"][1]
    # The pedestal: the raw value of noise is no small one.
    assert table["I_XT"][0] > 0.4


def test_all_layers_and_snapshots_have_the_same_pairings(tmp_path, noise):
    x, t = noise
    layers = np.stack([t, t], axis=2)
    table = ip.estimate(made(tmp_path / "run.h5", x, layers, classes(np.arange(N) % 3)))
    assert table["I_XT_null"].nunique() == 1


def test_the_number_of_pairings(tmp_path, noise):
    x, t = noise
    path = made(tmp_path / "run.h5", x, t, classes(np.arange(N) % 3))
    few, many = (ip.estimate(path, input_permutations=count).iloc[0] for count in (2, 40))
    expected = [information(x, t.astype(float), 1, order) for order in pairings(pdist(x), 40)]
    assert few["I_XT_null"] == pytest.approx(np.mean(expected[:2]), abs=SINGLE)
    assert many["I_XT_null"] == pytest.approx(np.mean(expected), abs=SINGLE)
    with pytest.raises(ip.InfoplaneError, match="at least 2"):
        ip.estimate(path, input_permutations=1)


def test_single_precision_and_a_tolerance_stay_near(tmp_path, noise):
    x, t = noise
    path = made(tmp_path / "run.h5", x, t, classes(np.arange(N) % 3))
    exact, single, rough = (
        ip.estimate(path, **how).iloc[0] for how in ({}, {"dtype": "float32"}, {"tolerance": 0.1})
    )
    for name in ("I_XT_null", "I_XT_corrected"):
        assert single[name] == pytest.approx(exact[name], abs=1e-4)
        assert rough[name] == pytest.approx(exact[name], abs=0.2)
