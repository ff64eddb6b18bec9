import pytest
import torch
from torch import nn


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def small_net(dropout=0.0):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(64, 16),
        nn.ReLU(),
        nn.Linear(16, 3),
    )


@pytest.fixture
def net():
    return small_net()


@pytest.fixture
def probe():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(30, 1, 8, 8, generator=generator), torch.arange(30) % 3
