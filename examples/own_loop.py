"""A plane of your own loop
========================

Three lines around an ordinary training loop record it; two more draw its information plane.
"""

from collections import OrderedDict

import torch
from torch import nn

import infoplane as ip

# %%
# The task: do two of twenty inputs have the same sign? The network: two named hidden layers.
torch.manual_seed(0)
x = torch.randn(400, 20)
y = (x[:, :2].prod(1) > 0).long()
hidden1, hidden2 = (nn.Sequential(nn.Linear(width, 64), nn.ReLU()) for width in (20, 64))
model = nn.Sequential(OrderedDict(hidden1=hidden1, hidden2=hidden2, logits=nn.Linear(64, 2)))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

# %%
# The probe, here half of the data, is what the layers are looked at with. ``step`` counts, and takes a snapshot
# when one is due: often at first, then more rarely.
with ip.Recorder(model, (x[:200], y[:200]), "own.h5", snapshots=20, force=True) as recorder:
    for _ in range(100):
        loss = nn.functional.cross_entropy(model(x), y)
        recorder.step(loss=loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

# %%
# Each layer goes from dark to bright. On the left both informations less what permuted samples give, on the right
# raw.
plane = ip.information_plane("own.h5")
ip.plot_plane(plane)

# %%
# The same over training steps, with loss.
ip.plot_over_time(plane)

# %%
# And as a table, one row a layer and snapshot.
plane.table[["layer", "step", "I_XT_corrected", "I_TY_corrected", "status"]].tail(3)
