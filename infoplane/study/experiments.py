"""The runs of a study, in groups: RUNS/GROUP/VARIANT/seedN.h5.

`training` shows how SGD converges, and each run its synchronous path: with a constant learning rate, with shuffled
labels, and with a learning rate that drops; `maps` are the first runs again, with the activations of a small probe,
and `residual` is a residual network. Every `comparison` puts methods side by side, each with the learning rate that
is best on the validation split out of as many trials. `sweep` varies β of GreedyDIB. `signs` is the traffic-sign
task with both heads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from infoplane.analysis.comparison.results import update_results
from infoplane.device import cores
from infoplane.errors import unknown
from infoplane.execution import QUIET, Execution
from infoplane.runfile import trainings
from infoplane.trainers.jobs import Job, plan, run_jobs, tuned, variant, variants_of
from infoplane.trainers.settings import TrainingSettings

SEEDS = 5
_RATES = (0.2, 1.0, 5.0)
METHODS = ("sgd", "greedy-ce", "greedy-dib", "predsim", "phsic", "hsic", "infopro", "forward-forward")
# Published rates of methods trained by Adam are for hundreds of epochs; short trainings begin the choice higher.
SHORT = dict.fromkeys(("predsim", "phsic", "hsic", "forward-forward"), 0.005)
_BETAS = (0.0, 0.001, 0.01, 0.1, 1.0)


@dataclass(frozen=True)
class Group:
    """Runs that belong together.

    Attributes:
        variants: Settings by name of variant.
        seeds: Number of seeds.
        rates: Multiples of each variant's own learning rate to choose from on the validation split; empty for none.
    """

    variants: Mapping[str, TrainingSettings]
    seeds: int = SEEDS
    rates: tuple[float, ...] = ()


def quick() -> dict[str, Group]:
    """A small CNN on the digits that come with scikit-learn: minutes on two cores."""
    base = TrainingSettings(dataset="digits", model="cnn", probe_size=600)
    # At the usual rate of 0.05 the networks of the control with shuffled labels collapse instead of memorising.
    training = dataclasses.replace(base, epochs=40, snapshots="32+8", lr=0.01, synchronous_path=True)
    compared = dataclasses.replace(
        base, epochs=15, snapshots="8", probe_size=300, batch_size=64, schedule="onecycle", validation=0.15
    )
    return {
        "training": _training(training, drop="fractions:0.5,0.75"),
        "comparison": _comparison(compared, SHORT),
        "sweep": _sweep(compared),
    }


def full(data_root: str = "data") -> dict[str, Group]:
    """VGG-11 and ResNet-18 on CIFAR-10 and CIFAR-100, and traffic signs: for a GPU."""
    base = TrainingSettings(
        dataset="cifar10", data_root=data_root, model="vgg11", probe_size=1280, probe_split="test", amp=True
    )
    training = dataclasses.replace(
        base, epochs=40, snapshots="32+8", batch_size=128, amp=False, synchronous_path=True
    )
    compared = dataclasses.replace(
        base,
        epochs=60,
        snapshots="15",
        batch_size=128,
        schedule="onecycle",
        validation=0.1,
        augment="shift:4,flip",
    )
    signs = dataclasses.replace(compared, dataset="gtsrb", task="classes+boxes", augment="shift:2")
    return {
        "training": _training(training, drop="step:20,30"),
        "residual": Group({"sgd": dataclasses.replace(training, model="resnet18")}),
        "comparison": _comparison(compared, {}),
        "comparison-cifar100": _comparison(dataclasses.replace(compared, dataset="cifar100"), {}),
        "sweep": _sweep(compared),
        "signs": _comparison(signs, {}),
    }


def groups_of(name: str, data_root: str = "data", device: str = "auto") -> dict[str, Group]:
    """The groups of a study by name, on a device.

    Raises:
        InfoplaneError: No such study.
    """
    if name not in ("quick", "full"):
        raise unknown("study", name, ("quick", "full"))
    groups = quick() if name == "quick" else full(data_root)
    return {
        key: dataclasses.replace(
            group,
            variants={v: dataclasses.replace(settings, device=device) for v, settings in group.variants.items()},
        )
        for key, group in groups.items()
    }


def side_by_side(execution: Execution, device: str) -> Execution:
    """The execution of trainings: without a number one a core, but one on a GPU, which they would only share."""
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    return dataclasses.replace(execution, jobs=execution.jobs or (1 if on_gpu else cores()))


def make_runs(groups: Mapping[str, Group], folder: Path, execution: Execution = QUIET) -> None:
    """Trains what is missing of a study, goes on with what is unfinished, and writes `GROUP/results.csv`.

    Args:
        groups: The groups.
        folder: Where they go.
        execution: How many trainings at once, one unless it says.

    Raises:
        InfoplaneError: A training failed.
        Stopped: Asked to stop; what is recorded is safe.
    """
    for name, group in groups.items():
        variants = dict(group.variants)
        if group.rates:
            variants = tuned(variants, group.rates, folder / name, execution)
        results = partial(_add_result, folder / name)
        run_jobs(plan(variants, range(group.seeds), folder / name), execution, results)


def _add_result(folder: Path, job: Job) -> None:
    update_results(folder, [job.path])


def runs_of(folder: Path, group: str, variant_name: str) -> list[Path]:
    """The run files of a variant, by seed; empty where there are none."""
    files = trainings((folder / group / variant_name).glob("seed*.h5"))
    return sorted(files, key=lambda path: (len(path.name), path.name))


def _training(base: TrainingSettings, drop: str) -> Group:
    # The modified information plane asks for the activations of the maps, which are large: few of them.
    maps = dataclasses.replace(base, keep="activations", probe_size=300, snapshots="9", synchronous_path=False)
    return Group(
        {
            "sgd": base,
            "maps": maps,
            "shuffled": dataclasses.replace(base, permute_labels=1.0),
            "drop": dataclasses.replace(base, schedule=drop),
        }
    )


def _comparison(base: TrainingSettings, rates: Mapping[str, float]) -> Group:
    """All methods; `rates` are learning rates to begin the choice from in the place of the published ones."""
    shared = {field.name: getattr(base, field.name) for field in dataclasses.fields(base)}
    own = {name: {"lr": rates[name]} if name in rates else {} for name in METHODS}
    return Group(variants_of(shared, own), rates=_RATES)


def _sweep(base: TrainingSettings) -> Group:
    shared = {field.name: getattr(base, field.name) for field in dataclasses.fields(base)}
    return Group(variant("greedy-dib", shared, {"beta": list(_BETAS)}))
