"""Small recorded runs."""

import torch
from conftest import small_net

from infoplane import Recorder


def make_run(path, probe, steps=(0, 1, 2), keep="activations", wreck=None, config=None):
    net = small_net()
    with Recorder(net, probe, path, keep=keep, config=config) as recorder:
        for step in steps:
            with torch.no_grad():
                for parameter in net.parameters():
                    parameter.add_(0.2 * torch.randn_like(parameter))
                if wreck is not None and step == steps[-1]:
                    wreck(net)
            recorder.snapshot(step=step, epoch=step / 2, loss=1.0)
    return path


def make_runs(folder, probe, seeds=2):
    """Runs `seedN.h5` that differ in their weights."""
    runs = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        runs.append(make_run(folder / f"seed{seed}.h5", probe))
    return runs
