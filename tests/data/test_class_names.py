"""The names of classes: one for each, those that their data sets carry, and those of the user's own."""

import pytest
from torchvision.datasets import FashionMNIST

from infoplane.data import DATASETS
from infoplane.data.class_names import CLASS_NAMES


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_each_class_has_a_name_of_its_own(name):
    names = DATASETS[name].class_names
    assert len({*names}) == len(names) == DATASETS[name].classes
    assert all(one == one.strip() != "" for one in names)


def test_names_are_those_of_the_numbers():
    assert DATASETS["fashion-mnist"].class_names == tuple(FashionMNIST.classes)
    # The classes of CIFAR-100 are numbered by the alphabet.
    assert list(DATASETS["cifar100"].class_names) == sorted(DATASETS["cifar100"].class_names)
    signs = DATASETS["gtsrb"].class_names
    assert [signs[number] for number in (0, 13, 14, 42)] == [
        *("Speed limit (20km/h)", "Yield", "Stop", "End of no passing by vehicles over 3.5 metric tons"),
    ]


def test_digits_are_their_own_names():
    assert all(DATASETS[name].class_names == () for name in ("digits", "mnist"))
