import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, pdist, squareform

import infoplane
from infoplane import Recorder, open_run
from infoplane.condensed import condense, samples
from infoplane.errors import InfoplaneError
from infoplane.kernels import (
    Bandwidth,
    accumulated_distances,
    constant_gram,
    distance_gram,
    exponent_gram,
    exponents,
    hamming_distances,
    label_gram,
    median_distance,
    multiply_kernel,
    square_gram,
    squared_distances,
)

OTHER = Path(__file__).parents[1].parent / "shared" / "reference" / "other_estimators.json"


DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")),
]


def draw(n=40, d=7, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def distances(x):
    return condense(squared_distances(torch.as_tensor(x)).sqrt().numpy())


def test_distances_agree_with_scipy():
    x = draw()
    np.testing.assert_allclose(distances(x), pdist(x), rtol=1e-12)
    np.testing.assert_array_equal(condense(squareform(pdist(x))), pdist(x))
    assert samples(pdist(x)) == 40


def test_distances_hold_under_a_large_offset():
    x = draw().astype(np.float32)
    shifted = (x + np.float32(1000)).astype(np.float32)
    # float32 rounds the shifted samples; the distances of those are what is asked for.
    np.testing.assert_allclose(distances(shifted), pdist(shifted.astype(np.float64)), rtol=1e-9)


def test_distances_do_not_depend_on_the_chunks(monkeypatch):
    x = torch.from_numpy(draw(20, 300))
    whole = squared_distances(x)
    monkeypatch.setattr("infoplane.kernels.CHUNK_BYTES", 8 * 20 * 7)
    torch.testing.assert_close(squared_distances(x), whole, rtol=1e-12, atol=0)


def test_repeated_samples_are_at_distance_zero():
    x = np.repeat(draw(10, 50) * 1e6 + 1e9, 3, axis=0)
    square = squareform(distances(x))
    same = np.repeat(np.arange(10), 3)
    assert (square[same[:, None] == same[None, :]] == 0).all()
    assert (square[same[:, None] != same[None, :]] > 0).all()


def outlier(x):
    x[7] = 1e9
    return x


def clusters(x):
    return x + 1e9 * (np.arange(len(x)) % 2)[:, None]


def three_scales(x):
    return x * (10.0 ** (6 * (np.arange(len(x)) % 3)))[:, None]


def nested(x):
    """Clusters of ever smaller width, each with a place of its own at 1000 times its width."""
    widths = 10.0 ** -np.arange(len(x)).repeat(8)[: len(x), None]
    return x * widths + 1000 * widths


def uneven_line(x):
    return np.linspace(0, 1, len(x))[:, None] ** 8


def repeats(x):
    return outlier(np.repeat(x, 3, axis=0))


GEOMETRIES = [outlier, clusters, three_scales, nested, uneven_line, repeats]


def assert_right(squared, x):
    """Every distance has seven digits, repeated samples are at exactly zero, and the matrix is symmetric."""
    right = pdist(x)
    found = condense(squared.sqrt().numpy())
    np.testing.assert_allclose(found, right, rtol=1e-7, atol=0)
    assert torch.equal(squared, squared.T)
    assert not squared.diagonal().any()


@pytest.mark.parametrize("shape", GEOMETRIES)
@pytest.mark.parametrize("gradient", [False, True])
def test_no_pair_is_lost_beside_far_samples(shape, gradient, monkeypatch):
    monkeypatch.setattr("infoplane.kernels.STRIPE_ROWS", 7)
    x = shape(draw(60, 4))
    squared = squared_distances(torch.from_numpy(x).requires_grad_(gradient))
    assert squared.requires_grad == gradient
    assert_right(squared.detach(), x)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 14), st.integers(1, 5), st.integers(1, 400))
def test_distances_are_right_at_any_mixture_of_scales(seed, decades, clusters, d):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, d)) * 10.0 ** rng.uniform(-decades, decades, (clusters, 1))
    x = centres[rng.integers(0, clusters, 40)]
    x = x + rng.standard_normal((40, d)) * 10.0 ** rng.uniform(-decades, 0, (40, 1))
    assert_right(squared_distances(torch.from_numpy(x)), x)


@pytest.mark.parametrize("ratio", [1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 1e-6, 1e-7])
def test_distances_far_below_the_norms_keep_their_digits(ratio):
    # The product alone has them to about eps / ratio² of themselves.
    centres = np.repeat([[1.0], [-1.0]], 40, axis=0) * draw(1, 200)
    x = centres + ratio * draw(80, 200, seed=1)
    np.testing.assert_allclose(distances(x), pdist(x), rtol=3e-8, atol=0)


@pytest.mark.parametrize("shape", GEOMETRIES)
def test_gradients_are_not_lost_beside_far_samples(shape):
    values = shape(draw(30, 3))
    x = torch.from_numpy(values).requires_grad_()
    weights = np.exp(-(cdist(values, values) ** 2) / 2)
    (squared_distances(x) * torch.from_numpy(weights)).sum().backward()
    expected = 4 * (weights[:, :, None] * (values[:, None] - values)).sum(1)
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-7, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("shape", GEOMETRIES)
def test_chunks_are_asked_for_again_only_where_pairs_were_lost(shape):
    asked = []

    def chunks(x):
        asked.append(len(x))
        return torch.from_numpy(x).split(3, dim=1)

    x = shape(draw(60, 8))
    assert_right(accumulated_distances(lambda: chunks(x), len(x)), x)
    assert 2 <= len(asked) <= 10
    asked.clear()
    plain, dead = draw(60, 8), np.full((60, 8), 0.1)
    for x in (plain, dead):
        assert_right(accumulated_distances(lambda x=x: chunks(x), 60), x)
    assert len(asked) == 2


def test_a_run_of_activations_with_an_outlier(tmp_path, monkeypatch):
    monkeypatch.setattr("infoplane.runfile.reader.READ_BYTES", 4 * 60 * 3)
    x = outlier(draw(60, 8)).astype(np.float32)
    with Recorder(
        torch.nn.Sequential(torch.nn.Identity()),
        (torch.from_numpy(x), torch.arange(60) % 3),
        tmp_path / "run.h5",
        layers=["0"],
        keep="activations",
    ) as recorder:
        recorder.snapshot(step=0)
    with open_run(tmp_path / "run.h5") as run:
        np.testing.assert_allclose(run.snapshots[0].distances("0"), pdist(x.astype(np.float64)), rtol=1e-7)


def test_infinite_and_missing_values_end():
    for value in (math.inf, math.nan, 1e200):
        x = torch.from_numpy(draw(20, 3))
        x[3] = value
        assert squared_distances(x).shape == (20, 20)


@pytest.mark.parametrize("gradient", [False, True])
def test_a_complex_value_counts_as_two(gradient):
    parts = draw(20, 6).reshape(20, 3, 2)
    x = torch.view_as_complex(torch.from_numpy(parts))
    for values in (x, x.conj(), x.to(torch.complex64)):
        tensor = values.clone().requires_grad_(gradient)
        right = cdist(
            values.resolve_conj().numpy().view(values.real.numpy().dtype),
            torch.view_as_real(values.resolve_conj()).flatten(1).numpy(),
        )
        np.testing.assert_allclose(squared_distances(tensor).detach().sqrt().numpy(), right, rtol=1e-12, atol=1e-12)
        gram = infoplane.gram_matrix(tensor, sigma=2.0).detach().numpy()
        np.testing.assert_allclose(gram, np.exp(-(right**2) / 8) / 20, rtol=1e-12)
    np.testing.assert_array_equal(infoplane.gram_matrix(x.numpy(), 2.0), infoplane.gram_matrix(parts, 2.0))


def coded(ids, kept):
    """One-hot codes with masked positions zero, (n, positions · tokens)."""
    return ((ids[:, :, None] == np.unique(ids)) & kept[:, :, None]).reshape(len(ids), -1).astype(float)


def test_hamming_distances_of_known_tokens():
    ids = torch.tensor([[5, 7, 9], [5, 8, 9], [5, 7, 9], [1, 2, 3]])
    assert torch.equal(hamming_distances(ids)[0] ** 2, torch.tensor([0, 2, 0, 6]).double().sqrt() ** 2)
    kept = torch.tensor([[True, True, True], [True, True, False], [False, False, False], [True, False, True]])
    expected = torch.tensor([0, 2 + 1, 3, 2 + 1 + 2]).double()
    torch.testing.assert_close(hamming_distances(ids, kept)[0] ** 2, expected)
    assert hamming_distances(ids, torch.zeros_like(kept)).eq(0).all()


tokens = st.tuples(st.integers(1, 12), st.integers(1, 9), st.integers(1, 6), st.integers(0, 10**6))


@settings(max_examples=40, deadline=None)
@given(tokens)
def test_hamming_distances_are_those_of_one_hot_codes_however_tokens_are_numbered_and_padded(case):
    n, positions, kinds, seed = case
    rng = np.random.default_rng(seed)
    ids, kept = rng.integers(0, kinds, (n, positions)), rng.random((n, positions)) < 0.7
    found = hamming_distances(torch.from_numpy(ids), torch.from_numpy(kept))
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, cdist(coded(ids, kept), coded(ids, kept)), rtol=1e-14, atol=0)
    renamed = 3 * rng.permutation(kinds)[ids] - 5
    assert torch.equal(hamming_distances(torch.from_numpy(renamed), torch.from_numpy(kept)), found)
    padded = torch.from_numpy(np.hstack([ids, rng.integers(0, kinds, (n, 4))]))
    mask = torch.from_numpy(np.hstack([kept, np.zeros((n, 4), bool)]))
    assert torch.equal(hamming_distances(padded, mask), found)
    whole = hamming_distances(torch.from_numpy(ids))
    np.testing.assert_allclose(whole, cdist(coded(ids, kept | True), coded(ids, kept | True)), rtol=1e-14)


def test_hamming_distances_in_stripes_and_of_several_axes(monkeypatch):
    rng = np.random.default_rng(0)
    ids, kept = torch.from_numpy(rng.integers(0, 4, (30, 5, 2))), torch.from_numpy(rng.random((30, 5)) < 0.6)
    whole = hamming_distances(ids, kept)
    monkeypatch.setattr("infoplane.kernels.CHUNK_BYTES", 30 * 10 * 4)
    assert torch.equal(hamming_distances(ids, kept), whole)
    flat = ids.flatten(1), kept[:, :, None].expand(-1, -1, 2).flatten(1)
    assert torch.equal(hamming_distances(*flat), whole)


@pytest.mark.parametrize(
    ("ids", "kept", "message"),
    [
        (torch.zeros(3, 2), None, "integer tokens"),
        (torch.zeros(3, dtype=torch.int64), None, "integer tokens"),
        (torch.zeros(3, 2, dtype=torch.int64), torch.ones(3, 2), "bool mask"),
        (torch.zeros(3, 2, dtype=torch.int64), torch.ones(3, 1, dtype=torch.bool), "bool mask"),
    ],
)
def test_hamming_distances_refuse(ids, kept, message):
    with pytest.raises(ValueError, match=message):
        hamming_distances(ids, kept)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_distances_and_bandwidths_do_not_depend_on_order_axes_or_names(seed, scale):
    rng = np.random.default_rng(seed)
    x, labels, order = draw(24, 5, seed), rng.integers(0, 3, 24), rng.permutation(24)
    rotation = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    square = squared_distances(torch.from_numpy(x)).numpy()
    moved = squared_distances(torch.from_numpy(scale * (x @ rotation + 4))[order]).numpy()
    np.testing.assert_allclose(moved, scale**2 * square[order][:, order], rtol=1e-9)
    names = rng.permutation(50)[labels] - 25
    for rule in ("median:0.5", "knn:3", "silverman", "alignment"):
        one = Bandwidth.parse(rule).sigma(np.sqrt(condense(square)), 5, labels)
        other = Bandwidth.parse(rule).sigma(np.sqrt(condense(moved)), 5, names[order])
        assert other == pytest.approx(scale * one, rel=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 30), st.integers(1, 10), st.floats(0.05, 20), st.integers(0, 10**6))
def test_gram_matrix_is_normalised_symmetric_and_positive(n, d, sigma, seed):
    gram = infoplane.gram_matrix(draw(n, d, seed), sigma=sigma)
    assert gram.shape == (n, n)
    assert gram.dtype == np.float64
    assert np.trace(gram) == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(np.diag(gram), 1 / n)
    np.testing.assert_allclose(gram, gram.T, atol=1e-15)
    assert np.linalg.eigvalsh(gram).min() > -1e-14


def test_gram_matrix_follows_the_convention():
    x = np.array([[0.0], [3.0]])
    gram = infoplane.gram_matrix(x, sigma=2.0)
    assert gram[0, 1] == pytest.approx(math.exp(-9 / 8) / 2, rel=1e-14)


def test_gram_matrix_keeps_the_kind_and_flattens():
    x = draw(6, 12)
    array = infoplane.gram_matrix(x, sigma=1.0)
    tensor = infoplane.gram_matrix(torch.from_numpy(x).reshape(6, 3, 4), sigma=1.0)
    assert isinstance(array, np.ndarray)
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(array, tensor.numpy())
    np.testing.assert_allclose(distance_gram(pdist(x), 1.0), array, atol=1e-15)


@pytest.mark.parametrize("scale", [1e-300, 1e-100, 1e100, 1e300])
def test_gram_matrix_at_extreme_scales(scale):
    x = draw()
    np.testing.assert_allclose(
        infoplane.gram_matrix(x * scale, sigma=scale), infoplane.gram_matrix(x, sigma=1.0), atol=1e-14
    )


def test_gram_matrix_takes_the_median_by_default():
    x = draw()
    expected = infoplane.gram_matrix(x, sigma=float(np.median(pdist(x))))
    np.testing.assert_allclose(infoplane.gram_matrix(x), expected, atol=1e-14)


@pytest.mark.parametrize(
    ("x", "sigma", "message"),
    [
        (np.array([[1.0], [np.nan]]), 1.0, "NaN"),
        (np.ones((3, 2)), 0.0, "positive"),
        (np.ones((3, 2)), float("inf"), "finite"),
        (np.ones((3, 2)), None, "median"),
        (np.float64(3.0), 1.0, "shape"),
        (np.empty((0, 2)), 1.0, "shape"),
        (np.ones((1, 2)), None, "one sample has no pairwise distances"),
        (pd.DataFrame({"a": [1.0, 2.0]}), None, "samples as a NumPy array or a tensor of numbers, got DataFrame"),
        (np.array(["a", "b"]), None, "got an array of <U1"),
    ],
)
def test_gram_matrix_refuses(x, sigma, message):
    with pytest.raises(ValueError, match=message):
        infoplane.gram_matrix(x, sigma=sigma)


def test_label_gram_is_the_delta_kernel():
    gram = label_gram(np.array([3, 1, 3]))
    np.testing.assert_array_equal(gram, np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]]) / 3)
    assert isinstance(label_gram(torch.tensor([0, 1])), torch.Tensor)


@pytest.mark.parametrize("rule", ["median", "median:0.3", "knn:5", "silverman", "silverman:2", "alignment"])
def test_bandwidth_rules_scale_with_the_layer(rule):
    x, labels = draw(), np.arange(40) % 4
    one = Bandwidth.parse(rule).sigma(pdist(x), 7, labels)
    ten = Bandwidth.parse(rule).sigma(pdist(10 * x + 5), 7, labels)
    assert ten == pytest.approx(10 * one, rel=1e-5)


def test_median_and_fixed():
    x = draw()
    assert Bandwidth.parse("median:0.5").sigma(pdist(x)) == pytest.approx(np.median(pdist(x)) / 2)
    assert Bandwidth.parse("fixed:3").sigma(pdist(x)) == 3


def layers_for_medians():
    """Samples whose distances have a sample of them astray: ties, few values, clusters of unlike size."""
    x = draw(200, 3)
    yield from (draw(2), draw(3), draw(4), draw(129, 1), draw(500), np.round(x), x > 0, (x > 2.0) * 1.0)
    yield np.concatenate([x[:120] * 1e-6, x[120:] + 100])
    yield np.sort(draw(400, 1) ** 3, axis=0)


@pytest.mark.parametrize("device", DEVICES)
def test_the_median_is_exact(device):
    for x in layers_for_medians():
        condensed = pdist(np.asarray(x, dtype=float))
        square = torch.from_numpy(squareform(condensed)).to(device)
        assert median_distance(condensed) == median_distance(square) == np.median(condensed)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rule", ["median", "knn:5", "knn:39", "silverman", "alignment", "fixed:2"])
def test_rules_take_the_distances_of_all_pairs(rule, device):
    x, labels = draw(), np.arange(40) % 4
    x[3:6] = x[0]  # repeated samples are near, as others
    square, bandwidth = torch.from_numpy(squareform(pdist(x))).to(device), Bandwidth.parse(rule)
    sigma = bandwidth.sigma(pdist(x), 7, labels)
    assert bandwidth.sigma(square, 7, labels) == pytest.approx(sigma, rel=1e-12)
    np.testing.assert_array_equal(square.cpu(), squareform(pdist(x)))
    np.testing.assert_allclose(square_gram(square, sigma).cpu(), distance_gram(pdist(x), sigma), rtol=1e-12)
    with pytest.raises(InfoplaneError, match="more than 40 samples"):
        Bandwidth.parse("knn:40").sigma(square)


def test_knn_takes_the_nearest_other_samples():
    x = np.array([[0.0], [1.0], [3.0], [7.0]])
    # Nearest two others of each: (1, 3), (1, 2), (2, 3), (4, 6).
    assert Bandwidth.parse("knn:2").sigma(pdist(x)) == pytest.approx((1 + 3 + 1 + 2 + 2 + 3 + 4 + 6) / 8)
    with pytest.raises(InfoplaneError, match="more than 4 samples"):
        Bandwidth.parse("knn:4").sigma(pdist(x))


def test_silverman_on_unit_rms_features():
    x = draw(50, 6)
    x = (x - x.mean(0)) / x.std(0)
    assert Bandwidth.parse("silverman:1.5").sigma(pdist(x), 6) == pytest.approx(1.5 * 6**0.5 * 50 ** (-1 / 10))


def test_alignment_is_a_maximum():
    labels = np.arange(60) % 3
    x = draw(60, 4) + 3 * np.eye(3, 4)[labels]
    best = Bandwidth.parse("alignment").sigma(pdist(x), labels=labels)

    def alignment(sigma):
        kernel, delta = 60 * distance_gram(pdist(x), sigma), 60 * label_gram(labels)
        return (kernel * delta).sum() / np.linalg.norm(kernel) / np.linalg.norm(delta)

    assert alignment(best) > max(alignment(best * factor) for factor in (0.3, 0.7, 0.97, 1.03, 1.5, 4))


def test_alignment_reaches_widths_far_above_the_median():
    # One wide gap beside one large class: the best width is several medians, which a shorter grid ends before.
    x = draw(60, 2)
    x[50:] += 40
    labels = np.arange(60) // 50
    median = np.median(pdist(x))
    best = Bandwidth.parse("alignment").sigma(pdist(x), labels=labels)
    assert 4.5 * median < best < 9 * median
    # A single class: the wider the better, to the end of the grid.
    assert Bandwidth.parse("alignment").sigma(pdist(x), labels=0 * labels) > 10 * median


def test_alignment_agrees_with_the_published_code():
    # σ_T printed by the public code of Wickstrøm et al. for the data of `verify.reference_data`, found on a
    # grid of spacing 0.0863 there; their kernel is exp(−d²/σ²), so their σ is √2 times ours.
    from infoplane.verify import reference_data

    _, t, y = reference_data()
    ours = Bandwidth.parse("alignment").sigma(distances(t), labels=y.numpy()) * math.sqrt(2)
    assert abs(ours - 5.289247035980225) < 0.0863 / 2
    if OTHER.exists():
        printed = json.loads(OTHER.read_text())["wickstrom_alignment"]
        assert printed["sigma_T"] == 5.289247035980225


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("medain", "did you mean median"),
        ("median:-1", "out of range"),
        ("median:x", "not a number"),
        ("knn:2.5", "out of range"),
        ("alignment:1", "out of range"),
        ("fixed", "needs a number"),
        ("median:inf", "out of range"),
    ],
)
def test_bandwidth_parse_refuses(text, message):
    with pytest.raises(InfoplaneError, match=message):
        Bandwidth.parse(text)


def test_bandwidth_parse_round_trip():
    for text in ("median:1", "median:0.25", "knn:10", "silverman:1", "alignment:0.5", "fixed:3"):
        assert str(Bandwidth.parse(text)) == text
        assert Bandwidth.parse(str(Bandwidth.parse(text))) == Bandwidth.parse(text)


@pytest.mark.parametrize("product_rows", [16, 10**9])
def test_distances_of_chunks_are_those_of_the_whole(monkeypatch, product_rows):
    monkeypatch.setattr("infoplane.kernels.PRODUCT_ROWS", product_rows)
    monkeypatch.setattr("infoplane.kernels.STRIPE_ROWS", 12)
    x = torch.from_numpy(np.repeat(draw(25, 90) * 1e3 + 1e6, 2, axis=0))
    found = accumulated_distances(lambda: x[:, torch.randperm(90)].split(7, dim=1), 50)
    np.testing.assert_allclose(condense(found.sqrt().numpy()), pdist(x.numpy()), rtol=1e-10, atol=0)
    assert torch.equal(found, found.T)


@pytest.mark.parametrize("n", [1, 2, 12, 50])
def test_kernels_multiply_to_the_joint_gram_matrix(monkeypatch, n):
    monkeypatch.setattr("infoplane.kernels.STRIPE_ROWS", 12)
    x, y = draw(n, 4), draw(n, 3, seed=1)
    gram = constant_gram(n)
    multiply_kernel(gram, pdist(x), 2.0)
    np.testing.assert_allclose(gram, np.exp(-(squareform(pdist(x)) ** 2) / 8) / n, rtol=1e-13)
    multiply_kernel(gram, pdist(y), 1.0)
    both = np.hstack([x / 2, y])
    np.testing.assert_allclose(gram, np.exp(-(squareform(pdist(both)) ** 2) / 2) / n, rtol=1e-12)


@pytest.mark.parametrize("repeated", [False, True])
def test_a_kernel_of_samples_in_another_order(repeated):
    rng = np.random.default_rng(0)
    n = 300  # more than a stripe
    x = rng.standard_normal((n, 3))
    order = rng.integers(0, n, n) if repeated else rng.permutation(n)
    gram = constant_gram(n)
    multiply_kernel(gram, pdist(x), 2.0, order)
    np.testing.assert_allclose(gram, infoplane.gram_matrix(x[order], 2.0), atol=1e-15)


@pytest.mark.parametrize(("dtype", "error"), [("float64", 1e-15), ("float32", 1e-9)])
def test_exponents_add_up_to_those_of_the_joint_gram_matrix(dtype, error):
    rng = np.random.default_rng(0)
    n = 300  # more than a stripe
    x, t, order = rng.standard_normal((n, 3)), rng.standard_normal((n, 4)), rng.integers(0, n, n)
    both = exponents(pdist(t), 1.5, dtype=dtype) + exponents(pdist(x), 2.0, order, dtype)
    gram = exponent_gram(both)
    expected = infoplane.gram_matrix(np.hstack([x[order] / 2, t / 1.5]), 1.0)
    assert str(gram.dtype) == f"torch.{dtype}"
    np.testing.assert_allclose(gram, expected, atol=error)
