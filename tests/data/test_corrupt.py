"""Changed test images: what they keep, what they lose, and that all methods meet the same ones."""

import pytest
import torch

from infoplane.data.corrupt import changed, corruptions, outsiders
from infoplane.data.dataset import Split

IMAGES = torch.randint(60, 180, (40, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
SPLIT = Split(IMAGES, torch.arange(40) % 4)
EVERY = {**corruptions(), **outsiders()}


@pytest.mark.parametrize("name", EVERY)
def test_the_same_images_every_time(name):
    once, again = (changed(SPLIT, EVERY[name]).inputs for _ in range(2))
    assert torch.equal(once, again)
    assert (once.dtype, once.shape) == (torch.uint8, IMAGES.shape)
    assert not torch.equal(once, IMAGES)


@pytest.mark.parametrize("kind", ["noise", "blur", "brightness"])
def test_a_stronger_corruption_changes_more(kind):
    differences = [
        (changed(SPLIT, EVERY[f"{kind}:{strength}"]).inputs.float() - IMAGES.float()).abs().mean().item()
        for strength in (1, 2, 3)
    ]
    assert differences == sorted(differences)
    assert differences[0] > 0


def test_noise_and_brightness_have_their_strength():
    noisy = changed(SPLIT, EVERY["noise:3"]).inputs.float() - IMAGES.float()
    assert noisy.std().item() == pytest.approx(0.1 * 255, rel=0.02)
    brighter = changed(SPLIT, EVERY["brightness:1"]).inputs.float() - IMAGES.float()
    assert brighter.mean().item() == pytest.approx(0.05 * 255, rel=0.05)


def test_a_blurred_edge_by_hand():
    edge = torch.zeros(1, 1, 8, 8)
    edge[..., 4:] = 1
    # The share of a Gaussian filter of deviation 1, cut to 5 pixels, that lies right of the edge.
    weights = torch.tensor([-2.0, -1, 0, 1, 2]).square().div(-2).exp()
    row = EVERY["blur:3"](edge, torch.Generator())[0, 0, 3]
    assert row[3].item() == pytest.approx(((weights[3] + weights[4]) / weights.sum()).item(), rel=1e-4)


def test_patches_keep_their_pixels_and_lose_their_places():
    mixed = changed(SPLIT, EVERY["patches"]).inputs
    assert torch.equal(mixed.flatten(2).sort().values, IMAGES.flatten(2).sort().values)
    # A patch goes as a whole, in all channels.
    first = IMAGES[0, :, :4, :4]
    places = [(y, x) for y in range(0, 16, 4) for x in range(0, 16, 4)]
    assert sum(torch.equal(mixed[0, :, y : y + 4, x : x + 4], first) for y, x in places) == 1
    # What is left over stays.
    odd = IMAGES[:, :, :, :15].float() / 255
    assert torch.equal(EVERY["patches"](odd, torch.Generator())[..., 12:], odd[..., 12:])
