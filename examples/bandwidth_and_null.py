"""Choosing a bandwidth, and why the null matters
==============================================

Under a Gaussian kernel independent samples have information too: a pedestal that depends on the bandwidth and
on the layer. Raw planes under two usual rules contradict each other; less their permuted nulls they agree.
"""

import matplotlib.pyplot as plt

import infoplane as ip

# %%
# One convolutional network on digits.
settings = ip.TrainingSettings(model="cnn", epochs=6, snapshots="12", probe_size=300)
ip.train(settings, "cnn.h5", force=True)

# %%
# Above raw, below less the null; on the left the median distance as bandwidth, on the right the mean distance to
# the ten nearest neighbours.
figure, axes = plt.subplots(2, 2, figsize=(9, 7), layout="constrained")
for column, bandwidth in zip(axes.T, ("median:1", "knn:10"), strict=True):
    plane = ip.information_plane("cnn.h5", bandwidth=bandwidth)
    for ax, quantity in zip(column, ("I_TY", "I_TY_corrected"), strict=True):
        ip.plot_plane(plane, ax=ax, quantity=quantity)
    column[0].set_title(bandwidth)

# %%
# At the end of training, from the first layer to the last one: raw I(X;T) falls under one rule and rises under
# the other.
for bandwidth in ("median:1", "knn:10"):
    table = ip.information_plane("cnn.h5", bandwidth=bandwidth).table
    last = table[table["step"] == table["step"].max()]
    raw, corrected = (last[name].round(2).tolist() for name in ("I_XT", "I_XT_corrected"))
    print(f"{bandwidth}: raw {raw}, less the null {corrected}")
