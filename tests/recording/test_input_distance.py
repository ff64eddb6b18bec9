import copy

import numpy as np
import pytest
import torch
from networks import classes
from scipy.spatial.distance import pdist, squareform
from torch import Tensor, nn

from infoplane import Recorder, open_run
from infoplane.errors import InfoplaneError


class Words(nn.Module):
    def __init__(self, padding: int | None = None) -> None:
        super().__init__()
        self.words, self.hidden, self.out = nn.Embedding(50, 8, padding), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(torch.tanh(self.hidden(self.words(ids))).mean(1))


class WordsAndNumbers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(50, 8), nn.Linear(12, 3)

    def forward(self, ids: Tensor, numbers: Tensor, mask: Tensor) -> Tensor:
        h = self.words(ids) * mask[..., None]
        return self.out(torch.cat([h.sum(1), numbers], 1))


@pytest.fixture
def ids():
    return torch.randint(1, 50, (40, 7), generator=torch.Generator().manual_seed(0))


def probe_of(model, inputs, tmp_path, how="auto", n=40):
    path = tmp_path / "run.h5"
    with Recorder(model, (inputs, classes(n)), path, input_distance=how, force=True):
        pass
    with open_run(path) as run:
        return run.probe


def differing(ids: Tensor) -> np.ndarray:
    """Number of positions in which two sequences differ."""
    return pdist(ids.numpy(), "hamming") * ids.shape[1]


def test_renaming_the_vocabulary_changes_nothing(ids, tmp_path):
    model, order = Words(), torch.randperm(50)
    renamed = copy.deepcopy(model)
    renamed.words.weight.data[order] = model.words.weight.data.clone()
    plain, other = probe_of(model, ids, tmp_path), probe_of(renamed, order[ids], tmp_path)
    assert plain.input_distance == "hamming"
    np.testing.assert_array_equal(plain.distances, other.distances)
    np.testing.assert_allclose(plain.distances**2, 2 * differing(ids))


def test_the_number_of_padding_positions_changes_nothing(ids, tmp_path):
    lengths = 3 + torch.arange(40) % 5
    padded = torch.where(torch.arange(7) < lengths[:, None], ids, 0)
    more = torch.cat([padded, torch.zeros(40, 4, dtype=torch.int64)], 1)
    plain, other = (probe_of(Words(padding=0), given, tmp_path) for given in (padded, more))
    np.testing.assert_array_equal(plain.distances, other.distances)


def test_whole_numbers_that_are_no_names_are_numbers(ids, tmp_path):
    class Pixels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(7, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(x.float() / 50)

    found = probe_of(Pixels(), ids, tmp_path)
    assert found.input_distance == "euclidean"
    np.testing.assert_allclose(found.distances, pdist(ids.double().numpy()))
    assert probe_of(Pixels(), ids, tmp_path, "hamming").input_distance == "hamming"


def test_unlike_parts_count_by_their_medians_and_masks_not_at_all(ids, tmp_path):
    numbers = torch.randn(40, 4)
    mask = (torch.arange(7) < 3 + torch.arange(40)[:, None] % 5).float()
    found = probe_of(WordsAndNumbers(), (ids, numbers, mask.long()), tmp_path)
    scaled = probe_of(WordsAndNumbers(), (ids, 100 * numbers, mask.long()), tmp_path)
    assert found.input_distance == "hamming and euclidean"
    np.testing.assert_allclose(found.distances, scaled.distances, rtol=1e-6)
    tokens, values = 2 * differing(ids), pdist(numbers.double().numpy()) ** 2
    np.testing.assert_allclose(
        found.distances, np.sqrt(tokens / np.median(tokens) + values / np.median(values)), rtol=1e-6
    )


def test_a_layer_or_a_function_may_measure(ids, tmp_path):
    model = Words()
    found = probe_of(model, ids, tmp_path, "words")
    assert found.input_distance == "layer words"
    np.testing.assert_allclose(found.distances, pdist(model.words(ids).flatten(1).detach().numpy()), rtol=1e-5)

    def by_sets(given: Tensor) -> np.ndarray:
        sets = torch.zeros(len(given), 50).scatter(1, given, 1.0)
        return squareform(pdist(sets.numpy(), "cityblock"))

    found = probe_of(model, ids, tmp_path, by_sets)
    assert found.input_distance == "by_sets"
    np.testing.assert_allclose(squareform(found.distances), by_sets(ids))
    found = probe_of(model, ids, tmp_path, lambda given: torch.cdist(given.float(), given.float()))
    np.testing.assert_allclose(found.distances, pdist(ids.double().numpy()), rtol=1e-3)
    condensed = probe_of(model, ids, tmp_path, lambda given: torch.from_numpy(differing(given)))
    np.testing.assert_allclose(condensed.distances, differing(ids))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("euclid", "unknown layer 'euclid'"),
        (lambda ids: torch.ones(3, 3), r"must give distances \(40, 40\) or \(780,\), got \(3, 3\)"),
        (lambda ids: torch.rand(40, 40), "not symmetric"),
        (lambda ids: -torch.ones(780), "negative, NaN or infinite"),
    ],
)
def test_what_gives_no_distances_is_refused(ids, tmp_path, how, message):
    with pytest.raises(InfoplaneError, match=message):
        probe_of(Words(), ids, tmp_path, how)
    assert not list(tmp_path.glob("*.h5"))


def test_hamming_asks_for_whole_numbers(tmp_path):
    with pytest.raises(InfoplaneError, match="compares whole numbers, and the inputs hold none"):
        probe_of(nn.Sequential(nn.Linear(4, 3)), torch.randn(40, 4), tmp_path, "hamming")


def test_a_run_goes_on_only_with_the_same_measure(ids, tmp_path):
    model = Words()
    probe_of(model, ids, tmp_path)
    with pytest.raises(InfoplaneError, match="other distances between inputs"):
        Recorder(model, (ids, classes(40)), tmp_path / "run.h5", input_distance="euclidean", resume=True)
    Recorder(model, (ids, classes(40)), tmp_path / "run.h5", resume=True).close()


def test_several_numeric_inputs_and_complex_ones_are_measured_together(tmp_path):
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(4, 3), nn.Linear(2, 3, dtype=torch.complex64)

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return self.left(left) + self.right(right).abs()

    left, right = torch.randn(40, 4), torch.randn(40, 2, dtype=torch.complex64)
    found = probe_of(Two(), (left, right), tmp_path)
    together = torch.cat([left, torch.view_as_real(right).flatten(1)], 1)
    np.testing.assert_allclose(found.distances, pdist(together.double().numpy()), rtol=1e-12)


def by_products(x: Tensor) -> Tensor:
    x = 10 + x.float()
    return torch.cdist(x, x, compute_mode="use_mm_for_euclid_dist")


@pytest.mark.parametrize("how", ["0", by_products])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_copies_are_copies_whatever_measures_them(tmp_path, how, dtype):
    inputs = torch.randn(8, 20, generator=torch.Generator().manual_seed(0)).repeat_interleave(5, dim=0).to(dtype)
    net = nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 3)).to(dtype)
    found = squareform(probe_of(net, inputs, tmp_path, how).distances)
    same = np.repeat(np.arange(8), 5)[:, None] == np.repeat(np.arange(8), 5)
    assert (found[same] == 0).all()
    assert (found[~same] > 0).all()
