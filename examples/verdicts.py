"""Bottom-up convergence and the Markov bottleneck
===============================================

Do layers converge from bottom to top, and is the network a Markov information bottleneck? ``analyze`` judges
five seeds by rules that were fixed in advance, and says so when a study cannot tell.
"""

import infoplane as ip

# %%
# Five seeds of a perceptron with six layers; fewer of either are refused.
settings = {"model": "mlp", "widths": (32,) * 5, "epochs": 4, "snapshots": "10", "probe_size": 60, "eval_size": 100}
runs = [f"judged{seed}.h5" for seed in range(5)]
for seed, path in enumerate(runs):
    ip.train(ip.TrainingSettings(**settings, seed=seed), path, force=True)

# %%
# Each verdict with its reasons. Trainings as short as these settle nothing about convergence.
report = ip.analyze(runs, permutations=5)
print(report)
