import pytest
import torch
from torch.nn import functional

from infoplane.data import augmentation
from infoplane.errors import InfoplaneError


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=40, channels=3, height=6, width=7):
    return torch.randn(n, channels, height, width, generator=seeded(9))


@pytest.mark.parametrize("spec", ["none", "shift:0"])
def test_identity(spec):
    assert torch.equal(augmentation(spec)(images(), seeded()), images())


def test_every_shifted_image_is_a_crop():
    shifted = augmentation("shift:2")(images(400), seeded())
    assert shifted.shape == (400, 3, 6, 7)
    found = set()
    for before, after in zip(images(400), shifted, strict=True):
        padded = functional.pad(before, (2, 2, 2, 2))
        crops = {(y, x): padded[:, y : y + 6, x : x + 7] for y in range(5) for x in range(5)}
        places = [place for place, crop in crops.items() if torch.equal(crop, after)]
        assert len(places) == 1
        found.add(places[0])
    # All 25 places come up: that one of them does not has a chance of 25 · (24/25)^400 < 3e-6.
    assert len(found) == 25


def test_half_of_the_images_are_flipped():
    flipped = augmentation("flip")(images(2000), seeded())
    same = (flipped == images(2000)).flatten(1).all(1)
    mirrored = (flipped == images(2000).flip(-1)).flatten(1).all(1)
    assert torch.all(same ^ mirrored)
    assert mirrored.float().mean() == pytest.approx(0.5, abs=0.05)


def test_changes_follow_one_another():
    generator = seeded()
    step_by_step = augmentation("flip")(augmentation("shift:1")(images(), generator), generator)
    assert torch.equal(augmentation("shift:1, flip")(images(), seeded()), step_by_step)


@pytest.mark.parametrize("spec", ["none", "shift:3", "flip", "flip,shift:2"])
def test_boxes_move_with_their_images(spec):
    n, height, width = 60, 12, 20
    corners = torch.tensor([4, 3, 9, 8])
    pictures = torch.zeros(n, 1, height, width)
    pictures[:, :, 3:8, 4:9] = 1
    boxes = (corners / torch.tensor([width, height] * 2)).repeat(n, 1)
    augment = augmentation(spec)
    changed, moved = augment.with_boxes(pictures, boxes, seeded())
    assert torch.equal(changed, augment(pictures, seeded()))
    for picture, box in zip(changed[:, 0], moved, strict=True):
        x1, y1, x2, y2 = (box * torch.tensor([width, height] * 2)).round().int().tolist()
        expected = torch.zeros(height, width)
        expected[y1:y2, x1:x2] = 1
        assert torch.equal(picture, expected)


def test_boxes_are_cut_where_the_image_ends():
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(50, 1)
    moved = augmentation("shift:3").with_boxes(images(50), boxes, seeded())[1]
    assert moved.min() == 0
    assert moved.max() == 1
    assert (moved[:, 2:] - moved[:, :2]).min() == pytest.approx(3 / 6)


def test_randomness_comes_from_the_generator_alone():
    augment = augmentation("shift:2,flip")
    state = torch.get_rng_state()
    first = augment(images(), seeded(1))
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(1)
    assert torch.equal(augment(images(), seeded(1)), first)
    assert not torch.equal(augment(images(), seeded(2)), first)


@pytest.mark.parametrize("spec", ["shift:2", "flip", "shift:2,flip"])
def test_vectors_are_refused(spec):
    with pytest.raises(InfoplaneError, match=f"augmentation '{spec}' is for images, not for inputs of 12"):
        augmentation(spec)(torch.randn(3, 12), seeded())
    vectors = torch.randn(3, 12)
    assert augmentation("none")(vectors, seeded()) is vectors


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("shfit:2", "unknown augmentation 'shfit:2'; did you mean shift:4"),
        ("", "unknown augmentation ''"),
        ("none,flip", "unknown augmentation 'none'"),
        ("shift", "write 'shift:4'"),
        ("shift:-1", "write 'shift:4'"),
        ("flip:2", "write 'shift:4'"),
    ],
)
def test_bad_specifications(spec, message):
    with pytest.raises(InfoplaneError, match=message):
        augmentation(spec)


def test_shift_larger_than_the_image():
    with pytest.raises(InfoplaneError, match="leaves nothing of 6×7 images"):
        augmentation("shift:6")(images(), seeded())
