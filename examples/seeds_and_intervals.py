"""Seeds and intervals
===================

One run is one run. Several runs that differ in their seeds alone give a mean and an interval: Student's t over
runs, from three runs on.
"""

import infoplane as ip

# %%
# Three small networks on the digits that come with scikit-learn.
settings = {"model": "mlp", "widths": (64, 32), "epochs": 6, "snapshots": "12", "probe_size": 200}
runs = [f"seed{seed}.h5" for seed in range(3)]
for seed, path in enumerate(runs):
    ip.train(ip.TrainingSettings(**settings, seed=seed), path, force=True)

# %%
# Bars are 95 % intervals of the mean over seeds.
plane = ip.information_plane(runs)
ip.plot_plane(plane)

# %%
# Every number with its interval.
plane.table[["layer", "step", "I_TY_corrected", "I_TY_corrected_low", "I_TY_corrected_high", "runs"]].tail(3)
