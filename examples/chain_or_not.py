"""Is the network a chain at all?
==============================

A Markov chain of layers asks that each layer follow from the one below it alone. The recorder tests it, by
swapping what a layer receives between samples: δ is 0 where the layers above follow along, and positive where
something goes past.
"""

import numpy as np
import torch
from torch import nn

import infoplane as ip


class Beside(nn.Module):
    """Puts its inputs side by side."""

    def forward(self, *parts: torch.Tensor) -> torch.Tensor:
        """The parts, joined."""
        return torch.cat(parts, 1)


class Skip(nn.Module):
    """A perceptron whose output also sees its input."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(10, 16), nn.Tanh())
        self.second = nn.Sequential(nn.Linear(16, 16), nn.Tanh())
        self.beside, self.logits = Beside(), nn.Linear(26, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The logits."""
        return self.logits(self.beside(self.second(self.first(x)), x))


# %%
# The same sizes without and with a connection that skips the hidden layers.
torch.manual_seed(0)
x = torch.randn(100, 10)
y = (x[:, 0] > 0).long()
plain = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 2))
for name, model in (("plain", plain), ("skip", Skip())):
    with ip.Recorder(model, (x, y), f"{name}.h5", force=True) as recorder:
        recorder.snapshot(0)
    with ip.open_run(f"{name}.h5") as run:
        deltas = run.links["first"]
    print(f"{name}: δ of the links between layers {np.round(deltas, 3)}")
