from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infoplane.data import Dataset, DatasetSpec, Split, hold_out, load_dataset, noisy_labels, permute_labels, subset
from infoplane.errors import InfoplaneError


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits", Path())


def numbered(labels: torch.Tensor, groups: torch.Tensor | None = None) -> Dataset:
    """Vectors that are the number of their sample."""
    boxes = torch.arange(len(labels))[:, None].expand(-1, 4).float()
    train = Split(torch.arange(len(labels)).float()[:, None], labels, boxes, groups)
    classes = int(labels.max()) + 1
    test = Split(-torch.ones(3, 1), torch.zeros(3, dtype=torch.int64))
    return Dataset(DatasetSpec("numbers", (1,), classes), train, test, torch.zeros(1), torch.ones(1))


def signs(tracks_per_class: list[int], frames: int = 5) -> Dataset:
    tracks = sum(tracks_per_class)
    classes = torch.arange(len(tracks_per_class)).repeat_interleave(torch.tensor(tracks_per_class))
    groups = torch.arange(tracks).repeat_interleave(frames)
    return numbered(classes[groups], groups * 7 + 3)


def members(split: Split) -> list[int]:
    return split.inputs.flatten().long().tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.floats(0.01, 0.99), st.integers(0, 2**31))
def test_validation_is_stratified_and_disjoint(counts, fraction, seed):
    data = numbered(torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)))
    if max(counts) == 1:
        with pytest.raises(InfoplaneError, match="one sample in each class"):
            hold_out(data, fraction, seed)
        return
    parted = hold_out(data, fraction, seed)
    torch.rand(1)
    again = hold_out(data, fraction, seed)
    assert members(parted.validation) == members(again.validation)
    assert sorted(members(parted.train) + members(parted.validation)) == list(range(sum(counts)))
    for label, count in enumerate(counts):
        held = int((parted.validation.labels == label).sum())
        assert held == 0 if count == 1 else 1 <= held <= count - 1
        assert abs(held - fraction * count) <= 0.5 or held in (0, 1, count - 1)
    for split in (parted.train, parted.validation):
        assert split.boxes[:, 2].long().tolist() == members(split)
    assert parted.test is data.test
    assert parted.split("validation") is parted.validation
    assert members(parted.split("all")) == members(parted.train) + members(parted.validation) + [-1] * 3


def test_validation_depends_on_the_seed(digits):
    first, second = hold_out(digits, 0.2, 0), hold_out(digits, 0.2, 1)
    assert len(first.validation) == len(second.validation) == pytest.approx(0.2 * 1197, abs=5)
    assert not torch.equal(first.validation.inputs, second.validation.inputs)


def test_tracks_are_not_torn_apart():
    data = signs([10, 4, 2, 1])
    for seed in range(20):
        parted = hold_out(data, 0.2, seed)
        held = parted.validation.groups.unique()
        assert not set(held.tolist()) & set(parted.train.groups.tolist())
        assert parted.validation.labels.bincount(minlength=4).tolist() == [2 * 5, 5, 5, 0]
    with pytest.raises(InfoplaneError, match="one group in each class"):
        hold_out(signs([1, 1]), 0.5)
    with pytest.raises(InfoplaneError, match="hold out before labels are permuted"):
        hold_out(permute_labels(data, 1.0), 0.2)


def test_statistics_are_of_the_training_split_in_use(digits):
    parted = hold_out(subset(digits, 300), 0.3)
    pixels = parted.train.inputs.double() / 255
    torch.testing.assert_close(parted.mean, pixels.mean().float()[None])
    torch.testing.assert_close(parted.std, pixels.std(correction=0).float()[None])
    assert not torch.equal(parted.mean, digits.mean)
    vectors = hold_out(numbered(torch.arange(2).repeat(10)), 0.3)
    assert vectors.mean.tolist() == [0]
    assert vectors.std.tolist() == [1]


def test_validation_follows_the_data_set(digits):
    data = hold_out(digits, 0.2).to("cpu").with_channels(3)
    inputs, labels = data.batch(data.validation, slice(4), "cpu")
    assert inputs.shape == (4, 3, 8, 8)
    assert torch.equal(labels, data.validation.labels[:4])


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_impossible_validation(digits, fraction):
    with pytest.raises(InfoplaneError, match=r"a validation fraction of .* is impossible"):
        hold_out(digits, fraction)


def test_one_validation_split(digits):
    with pytest.raises(InfoplaneError, match="has a validation split already"):
        hold_out(hold_out(digits, 0.1), 0.1)


def test_subset_is_balanced_and_nested():
    labels = torch.arange(3).repeat_interleave(torch.tensor([50, 20, 4]))
    data = numbered(labels, torch.arange(74) // 2)
    some, more = subset(data, 30, seed=3), subset(data, 40, seed=3)
    assert some.train.labels.bincount().tolist() == [13, 13, 4]
    assert set(members(some.train)) < set(members(more.train))
    assert members(some.train) == sorted(members(some.train))
    assert some.train.groups.tolist() == [number // 2 for number in members(some.train)]
    assert members(subset(data, 74).train) == list(range(74))
    assert members(subset(data, 30, seed=4).train) != members(some.train)
    assert some.test is data.test


def test_impossible_subsets(digits):
    with pytest.raises(InfoplaneError, match=r"a subset of 1198 samples is larger than .*; choose 1197 or less"):
        subset(digits, 1198)
    with pytest.raises(InfoplaneError, match="under one for each of 10 classes"):
        subset(digits, 9)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_permuted_labels(digits, fraction):
    data = hold_out(digits, 0.2)
    permuted = permute_labels(data, fraction, seed=5)
    changed = (permuted.train.labels != data.train.labels).float().mean()
    # With ten balanced classes a tenth of the permuted labels falls on its own class.
    assert changed == pytest.approx(0.9 * fraction, abs=0.04)
    assert torch.equal(permuted.train.labels.bincount(), data.train.labels.bincount())
    assert torch.equal(permute_labels(data, fraction, seed=5).train.labels, permuted.train.labels)
    assert permuted.train.inputs is data.train.inputs
    assert permuted.validation is data.validation
    assert permuted.test is data.test


def test_permuting_leaves_the_original(digits):
    before = digits.train.labels.clone()
    permute_labels(digits, 1.0)
    assert torch.equal(digits.train.labels, before)
    with pytest.raises(InfoplaneError, match="choose one from 0 to 1"):
        permute_labels(replace(digits), 1.5)


@pytest.mark.parametrize("rate", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("kind", ["permuted", "class-dependent"])
def test_noisy_labels(digits, rate, kind):
    data = hold_out(digits, 0.2)
    noisy = noisy_labels(data, rate, kind, seed=5)
    for name, wrong in (("train", rate), ("validation", rate), ("test", 0.0)):
        before, after = data.split(name), noisy.split(name)
        changed = (after.labels != before.labels).double().mean().item()
        assert torch.equal(after.true_labels, before.labels)
        assert after.inputs is before.inputs
        if kind == "permuted":
            assert changed == pytest.approx(0.9 * wrong, abs=0.08)
            assert torch.equal(after.labels.bincount(), before.labels.bincount())
        else:
            assert changed == pytest.approx(wrong, abs=1e-2)
            moved = after.labels != before.labels
            assert torch.equal(after.labels[moved], (before.labels[moved] + 1) % 10)
    again = noisy_labels(data, rate, kind, seed=5)
    assert torch.equal(again.train.labels, noisy.train.labels)
    other = noisy_labels(data, rate, kind, seed=6)
    assert torch.equal(other.train.labels, noisy.train.labels) == (
        rate == 0 or (rate, kind) == (1, "class-dependent")
    )
    assert noisy_labels(digits, rate, kind).validation is None


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("kind", ["permuted", "class-dependent"])
def test_wrong_labels_are_no_other_draw_of_the_seed(digits, kind, seed):
    # Of seed 0 the first of such an order are those of the first epoch and of a probe; wrong ones would come first.
    first = torch.randperm(len(digits.train.labels), generator=torch.Generator().manual_seed(seed))[:400]
    noisy = noisy_labels(digits, 0.4, kind, seed=seed).train.labels
    permuted = permute_labels(digits, 0.4, seed=seed).train.labels
    for labels in (noisy, permuted):
        assert 0.25 < (labels != digits.train.labels)[first].double().mean() < 0.5
    assert not torch.equal(noisy, permuted)


def test_true_labels_go_with_their_samples(digits):
    noisy = noisy_labels(digits, 0.4)
    indices = torch.tensor([5, 2, 900])
    assert torch.equal(noisy.train.take(indices).true_labels, digits.train.labels[indices])
    assert digits.train.true_labels is None


def test_impossible_noise(digits):
    with pytest.raises(InfoplaneError, match=r"label noise of 1.5 is impossible"):
        noisy_labels(digits, 1.5)
    with pytest.raises(InfoplaneError, match="unknown kind of label noise 'permute'; did you mean permuted"):
        noisy_labels(digits, 0.4, "permute")
