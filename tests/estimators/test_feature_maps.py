"""Modified information plane and total correlation: definitions, known cases, sampling, refusals."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from recorded import make_run
from torch import nn

from infoplane import Recorder, gram_matrix, joint_entropy, mutual_information, open_run, renyi_entropy
from infoplane.errors import InfoplaneError
from infoplane.estimators.batches import Batches
from infoplane.estimators.engine.estimate import estimate_run
from infoplane.estimators.feature_maps import interaction_table, map_interaction, sampled_pairs, sampling_error
from infoplane.estimators.renyi import RenyiSettings
from infoplane.kernels import Bandwidth

MEDIAN = Bandwidth("median", 1.0)
SHARP = Bandwidth("fixed", 0.05)


def naive(x, maps, alpha=1.0):
    """The definitions, with I(X;{A,B}) from the joint Gram matrix of A and B."""
    n, grams = len(x), [gram_matrix(maps[:, c]) for c in range(maps.shape[1])]
    trades, fresh = [], []
    for a, b in itertools.combinations(grams, 2):
        both = mutual_information(x, n * a * b, alpha)
        alone = mutual_information(x, a, alpha) + mutual_information(x, b, alpha)
        trades.append(alone - both)
        fresh.append(2 * both - alone)
    total = sum(renyi_entropy(gram, alpha) for gram in grams) - joint_entropy(*grams, alpha=alpha)
    return np.mean(trades), np.mean(fresh), total


@pytest.mark.parametrize("alpha", [1.0, 1.5])
def test_against_the_definitions(alpha):
    rng = np.random.default_rng(0)
    x = gram_matrix(rng.standard_normal((25, 4)))
    maps = rng.standard_normal((25, 4, 3, 3))
    found = map_interaction(x, maps, MEDIAN, alpha=alpha)
    expected = naive(x, maps, alpha)
    names = ("redundancy_synergy", "weighted_nonredundant", "total_correlation")
    assert [found[name] for name in names] == pytest.approx(expected, abs=1e-9)
    assert (found["maps"], found["pairs"], found["redundancy_synergy_se"]) == (4, 6, 0)
    grams = [gram_matrix(maps[:, c]) for c in range(4)]
    whole = renyi_entropy(x, alpha) + found["S_maps"] - joint_entropy(x, *grams, alpha=alpha)
    assert found["I_X_maps"] == pytest.approx(whole)


def test_copies_are_redundant_and_parity_is_synergy():
    # All combinations of two bits, equally often: under sharp kernels entropies are Shannon's.
    a, b = (np.repeat(part, 8) for part in np.array([*itertools.product((0, 1), repeat=2)]).T)
    bit, parity = (gram_matrix(part.astype(float)[:, None], 0.05) for part in (a, a ^ b))
    copies = map_interaction(bit, np.stack([a, a], axis=1)[..., None].astype(np.float32), SHARP)
    assert copies["redundancy_synergy"] == pytest.approx(1)
    assert copies["weighted_nonredundant"] == pytest.approx(0, abs=1e-9)
    assert copies["total_correlation"] == pytest.approx(1)
    bits = np.stack([a, b], axis=1)[..., None].astype(np.float32)
    synergy = map_interaction(parity, bits, SHARP)
    assert synergy["redundancy_synergy"] == pytest.approx(-1)
    assert synergy["weighted_nonredundant"] == pytest.approx(2)
    assert synergy["total_correlation"] == pytest.approx(0, abs=1e-9)
    unique = map_interaction(bit, bits, SHARP)
    assert unique["redundancy_synergy"] == pytest.approx(0, abs=1e-9)
    assert unique["weighted_nonredundant"] == pytest.approx(1)


def test_dead_maps_are_left_out():
    rng = np.random.default_rng(1)
    x, maps = gram_matrix(rng.standard_normal((20, 2))), rng.standard_normal((20, 4, 2, 2))
    maps[:, 1] = 3.0
    found = map_interaction(x, maps, MEDIAN)
    assert found == map_interaction(x, maps[:, [0, 2, 3]], MEDIAN)
    assert found["maps"] == 3
    lonely = map_interaction(x, maps[:, :2], MEDIAN)
    assert lonely["maps"] == 1
    assert np.isnan(lonely["total_correlation"])


def test_pairs_are_sampled_with_their_error():
    i, j = sampled_pairs(20, 30)
    assert len({*zip(i.tolist(), j.tolist(), strict=True)}) == 30
    assert (i < j).all()
    assert [part.tolist() for part in sampled_pairs(20, 30)] == [i.tolist(), j.tolist()]
    assert len(sampled_pairs(5, 30)[0]) == 10
    population = np.random.default_rng(2).gamma(1, 1, 100)
    means, errors = [], []
    for seed in range(400):
        sample = np.random.default_rng(seed).choice(population, 40, replace=False)
        means.append(sample.mean())
        errors.append(sampling_error(sample, 100))
    assert np.std(means) == pytest.approx(np.mean(errors), rel=0.1)


def test_a_sample_of_pairs_is_near_the_whole():
    rng = np.random.default_rng(3)
    x, maps = gram_matrix(rng.standard_normal((20, 3))), rng.standard_normal((20, 12, 2))
    part, whole = (map_interaction(x, maps, MEDIAN, pairs=pairs) for pairs in (30, 66))
    error = part["redundancy_synergy_se"]
    assert 0 < error < 0.1
    assert abs(part["redundancy_synergy"] - whole["redundancy_synergy"]) < 4 * error
    assert part["total_correlation"] == whole["total_correlation"]


def test_the_table_of_a_run(tmp_path, probe):
    path = make_run(tmp_path / "run.h5", probe)
    rows = interaction_table(path, batches=Batches(2, 12), steps=[0, 2])
    assert rows[["step", "layer", "batch"]].to_numpy().tolist() == [
        [0, "3", 0],
        [0, "3", 1],
        [2, "3", 0],
        [2, "3", 1],
    ]
    whole = interaction_table(path, ["3"], RenyiSettings(alpha=2.0), steps=[0])
    with open_run(path) as run:
        maps = run.snapshots[0].activations("3")
    expected = naive(gram_matrix(probe[0].numpy()), maps, alpha=2.0)
    assert whole["redundancy_synergy"].iloc[0] == pytest.approx(expected[0], abs=1e-6)
    assert whole["total_correlation"].iloc[0] == pytest.approx(expected[2], abs=1e-6)


def test_refusals(tmp_path, probe):
    path = make_run(tmp_path / "run.h5", probe)
    with pytest.raises(InfoplaneError, match="layer '7' has no feature maps"):
        interaction_table(path, ["7"])
    with pytest.raises(InfoplaneError, match="no snapshot at step 9"):
        interaction_table(path, steps=[9])
    with pytest.raises(InfoplaneError, match="at least 2 pairs"):
        interaction_table(path, pairs=1)
    lean = make_run(tmp_path / "lean.h5", probe, keep="distances")
    with pytest.raises(InfoplaneError, match="keep='activations'"):
        interaction_table(lean)


def test_positions_of_a_sequence_are_no_maps_and_features_are_its_channels(tmp_path):
    torch.manual_seed(0)
    x, y = torch.randn(40, 5, 6), torch.arange(40) % 2
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
    net = nn.Sequential(nn.TransformerEncoder(layer, 1), Last(), nn.Linear(6, 2))
    with Recorder(net, (x, y), tmp_path / "encoder.h5", ["0", "2"], keep="activations") as recorder:
        recorder.snapshot(0)
    with pytest.raises(InfoplaneError, match="no layer has several feature maps"):
        interaction_table(tmp_path / "encoder.h5")
    with open_run(tmp_path / "encoder.h5") as run:
        layer = run.layer("0")
        assert (layer.shape, layer.positions, layer.channels) == ((5, 6), 0, 1)
        values = run.snapshots[0].activations("0")
        found = estimate_run(run, RenyiSettings(kernel="multivariate")).set_index("layer")
    gram = np.prod([gram_matrix(values[:, :, k]) * 40 for k in range(6)], axis=0) / 40
    assert found.loc["0", "S_T"] == pytest.approx(renyi_entropy(gram, 1.0), abs=1e-6)
    # Of a convolution over positions the channels come first.
    conv = nn.Sequential(nn.Conv1d(5, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2))
    with Recorder(conv, (x, y), tmp_path / "conv.h5", keep="activations") as recorder:
        recorder.snapshot(0)
    table = interaction_table(tmp_path / "conv.h5")
    assert (table["layer"].tolist(), table["channels"].tolist()) == (["1"], [4])


class Last(nn.Module):
    def forward(self, outputs):
        return outputs[:, -1]
