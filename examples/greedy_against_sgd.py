"""GreedyDIB against SGD
=====================

Greedy layer-wise training gives each block an auxiliary classifier and a loss of its own, and no gradient
crosses a block. Here on digits, with few epochs and seeds; a study needs more of both.
"""

import infoplane as ip

# %%
# The same seeds, batches and epochs for all; greedy-ce is GreedyDIB without the information term.
shared = {
    "model": "cnn",
    "epochs": 3,
    "batch_size": 64,
    "schedule": "onecycle",
    "probe_size": 200,
    "snapshots": "6",
    "eval_size": 200,
}
methods = {
    "sgd": ip.TrainingSettings(**shared),
    "greedy-ce": ip.TrainingSettings(**shared, method="greedy-ce", blocks=3),
    "greedy-dib": ip.TrainingSettings(**shared, method="greedy-dib", blocks=3, beta=(0.01,)),
}
table = ip.compare(methods, "comparison", seeds=3)
table[["variant", "test_accuracy", "test_accuracy_sd", "gap", "gap_low", "gap_high", "peak_bytes"]].round(3)

# %%
# The planes of both, side by side.
for name in ("sgd", "greedy-dib"):
    ip.plot_plane(ip.information_plane([f"comparison/{name}/seed{seed}.h5" for seed in range(3)]))
