"""Places and steps for the tests of local objectives."""

import torch
from torch import nn

from infoplane.trainers.objectives.base import BlockInfo, Pass
from infoplane.trainers.task import Targets, Task

IMAGE = (1, 8, 8)
MAP = (6, 4, 4)
VECTOR = (12,)


def info(shape=MAP, *, index=0, count=3, boxes=False, classes=3, image=IMAGE):
    task = Task(classes, boxes)
    hidden = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(shape[0], 8, 3, padding=1), nn.MaxPool2d(2))
    if len(shape) != 3:
        hidden = nn.Sequential(nn.ReLU(), nn.Linear(shape[-1], 8))
    following = [hidden, nn.Sequential(nn.LazyLinear(task.outputs))]
    return BlockInfo(index, count, image, image, shape, following[-(count - 1 - index) :], task)


def step(output, *, boxes=False, classes=3, image=IMAGE, seed=5, **others):
    """A step with a given output, other tensors at random."""
    n = len(output)
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, *image, generator=generator)
    targets = Targets(torch.arange(n) % classes, torch.rand(n, 4, generator=generator) if boxes else None)
    values = {"inputs": inputs, "below": inputs, "targets": targets} | others
    return Pass(output=output, **values)
