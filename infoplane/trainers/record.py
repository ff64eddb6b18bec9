"""What `infoplane record` does: train a network and record it, or go on with a recording."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from infoplane.data import Dataset, balanced_probe, load_dataset
from infoplane.errors import InfoplaneError, RunFileError
from infoplane.models import build_model, input_channels
from infoplane.recorder import Recorder
from infoplane.runfile import beside, open_run, refuse_existing
from infoplane.schedule import snapshot_steps
from infoplane.trainers.loop import Interrupted, Loop, count_steps, evaluate
from infoplane.trainers.optim import build_optimizer, is_length_free, lr_factor
from infoplane.trainers.sgd import end_to_end

logger = logging.getLogger(__name__)

# Where a run computes and finds its data may change when it goes on, and how long it is; nothing else.
CHANGEABLE = {"epochs", "data_root", "device"}


@dataclass(frozen=True)
class RecordSettings:
    """The whole configuration of a recorded training run; its fields are the options of `infoplane record`."""

    dataset: str = "digits"
    data_root: str = "data"
    image_size: int | None = None
    model: str = "cnn"
    widths: tuple[int, ...] | None = None
    activation: str = "relu"
    layers: tuple[str, ...] | None = None
    probe_size: int = 500
    probe_split: str = "test"
    snapshots: str = "40"
    epochs: int = 30
    lr: float = 0.05
    schedule: str = "constant"
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 64
    eval_size: int = 2000
    seed: int = 0
    device: str = "auto"
    keep: str = "auto"

    @classmethod
    def of(cls, config: dict[str, Any]) -> RecordSettings:
        """The settings that a run file keeps.

        Raises:
            RunFileError: The run was not made by `infoplane record`.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if not names <= config.keys():
            raise RunFileError("the run was not made by `infoplane record`, so it cannot go on by itself")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in config.items()
            if name in names
        }
        return cls(**values)


def record(settings: RecordSettings, path: Path, *, force: bool = False, progress: bool = False) -> float:
    """Trains a network from initialisation and records it.

    Args:
        settings: The settings.
        path: The run file to make; the checkpoint stands beside it.
        force: Overwrite an existing run.
        progress: Show a progress bar.

    Returns:
        Accuracy on the whole test split at the end, between 0 and 1.

    Raises:
        InfoplaneError: Bad settings or data; a run file that exists or cannot be written.
        Interrupted: Asked to stop; the run can go on with `resume`.
    """
    # The writer asks too, but only after data and network are made.
    refuse_existing(path, force)
    return _Session(settings, path).train(progress, force=force)


def resume(path: Path, changes: Mapping[str, Any] | None = None, *, progress: bool = False) -> float:
    """Goes on with a recording after a kill, an interruption, or its end.

    Args:
        path: The run file.
        changes: Settings that differ from those of the run: more `epochs`, another `data_root` or `device`.
        progress: Show a progress bar.

    Returns:
        Accuracy on the whole test split at the end, between 0 and 1.

    Raises:
        InfoplaneError: The run cannot go on, or not with these changes.
        Interrupted: Asked to stop again.
    """
    with open_run(path) as run:
        settings = RecordSettings.of(run.config)
    changed = {name: value for name, value in (changes or {}).items() if value != getattr(settings, name)}
    refused = sorted(changed.keys() - CHANGEABLE)
    if refused:
        named = ", ".join("--" + name.replace("_", "-") for name in refused)
        raise InfoplaneError(f"{path} keeps its settings when it goes on; leave out {named}, or record a new run")
    epochs = changed.get("epochs", settings.epochs)
    if epochs < settings.epochs:
        raise InfoplaneError(f"{path} is planned for {settings.epochs} epochs, which is more than {epochs}")
    if epochs > settings.epochs and not is_length_free(settings.schedule):
        raise InfoplaneError(
            f"{path} has the schedule '{settings.schedule}', which depends on its {settings.epochs} epochs; "
            "record a new run, or use --schedule constant or step"
        )
    return _Session(dataclasses.replace(settings, **changed), path).train(progress, going_on=True)


class _Session:
    """One process's share of a run: builds everything from the settings, trains, records, saves."""

    def __init__(self, settings: RecordSettings, path: Path) -> None:
        self.settings = settings
        self.path = path
        self.checkpoint = beside(path, ".ckpt")
        _check(settings)
        device = _device(settings.device)
        self.dataset = _load(settings).to(device)
        torch.manual_seed(settings.seed)
        spec = self.dataset.spec
        self.model = build_model(
            settings.model,
            spec.shape,
            spec.classes,
            widths=settings.widths,
            activation=settings.activation,
        ).to(device)
        per_epoch = count_steps(len(self.dataset.train), settings.batch_size)
        self.total_steps = settings.epochs * per_epoch
        self.plan = set(snapshot_steps(settings.snapshots, self.total_steps, per_epoch))
        self.loop = Loop(
            model=self.model,
            objective=end_to_end,
            optimizer=build_optimizer(
                settings.optimizer,
                self.model.parameters(),
                settings.lr,
                settings.momentum,
                settings.weight_decay,
            ),
            lr=settings.lr,
            lr_factor=lr_factor(settings.schedule, self.total_steps, per_epoch),
            dataset=self.dataset,
            batch_size=settings.batch_size,
            seed=settings.seed,
        )
        self.eval_sets = {
            name: (split, _sample(len(split), settings.eval_size))
            for name, split in (("train", self.dataset.train), ("test", self.dataset.test))
        }

    def train(self, progress: bool, *, force: bool = False, going_on: bool = False) -> float:
        """Trains to the end and gives the test accuracy; a start that fails before any snapshot leaves no file."""
        with self._recorder(force, going_on) as recorder:
            try:
                self._train_recorded(recorder, progress, going_on)
            except Exception:
                if not going_on and not recorder.steps:
                    self.path.unlink(missing_ok=True)
                    self.checkpoint.unlink(missing_ok=True)
                raise
        everything = torch.arange(len(self.dataset.test))
        return evaluate(self.model, self.dataset, self.dataset.test, everything)[1]

    def _train_recorded(self, recorder: Recorder, progress: bool, going_on: bool) -> None:
        if going_on:
            self._restore(recorder)
            recorder.set_config(dataclasses.asdict(self.settings))
        else:
            self.checkpoint.unlink(missing_ok=True)
        with tqdm(
            total=self.total_steps,
            initial=self.loop.step,
            desc="training",
            unit="step",
            disable=None if progress else True,
        ) as bar:
            self._train(recorder, bar)

    def _train(self, recorder: Recorder, bar: tqdm) -> None:
        def after_step() -> None:
            bar.update()
            planned = self.loop.step in self.plan
            if planned:
                self._snapshot(recorder)
            if planned or self.loop.step % self.loop.steps_per_epoch == 0:
                self._save(recorder)

        try:
            # A run that stopped between a step and its snapshot has that one still to take.
            if self.loop.step in self.plan:
                self._snapshot(recorder)
            self.loop.run(self.total_steps, after_step)
        except (Interrupted, InfoplaneError):
            # Both leave the loop between two steps.
            self._save(recorder)
            raise

    def _recorder(self, force: bool, going_on: bool) -> Recorder:
        settings = self.settings
        split = self.dataset.split(settings.probe_split)
        indices = balanced_probe(split.labels, settings.probe_size, settings.seed, settings.probe_split)
        return Recorder(
            self.model,
            self.dataset.batch(split, indices, torch.device("cpu")),
            self.path,
            settings.layers,
            keep=settings.keep,
            indices=indices,
            config=dataclasses.asdict(settings),
            snapshots=len(self.plan),
            force=force,
            resume=going_on,
        )

    def _snapshot(self, recorder: Recorder) -> None:
        """Records the current step, unless a stopped process did so already."""
        if self.loop.step in recorder.steps:
            return
        metrics: dict[str, float] = {}
        for name, (split, indices) in self.eval_sets.items():
            loss, accuracy = evaluate(self.model, self.dataset, split, indices)
            metrics |= {f"{name}_loss": loss, f"{name}_accuracy": accuracy}
        recorder.snapshot(self.loop.step, self.loop.epoch, **metrics)

    def _save(self, recorder: Recorder) -> None:
        """Writes the checkpoint at once, so that a kill leaves the old one or the new one."""
        draft = self.checkpoint.with_name(self.checkpoint.name + ".part")
        try:
            torch.save({"run_id": recorder.run_id, "loop": self.loop.state_dict()}, draft)
            draft.replace(self.checkpoint)
        except (OSError, RuntimeError) as error:
            draft.unlink(missing_ok=True)
            reason = (error.strerror if isinstance(error, OSError) else None) or "disk full?"
            logger.warning("cannot write the checkpoint %s (%s)", self.checkpoint, reason)

    def _restore(self, recorder: Recorder) -> None:
        """Goes back to the checkpoint; without one of this run, to initialisation."""
        if not self.checkpoint.exists():
            logger.warning("%s is not there; training again from initialisation", self.checkpoint)
            return
        try:
            state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        except Exception as error:
            raise RunFileError(f"{self.checkpoint} is damaged; delete it to train again from the start") from error
        if state.get("run_id") != recorder.run_id:
            raise RunFileError(f"{self.checkpoint} belongs to another run; delete it to train again from the start")
        self.loop.load_state_dict(state["loop"])


def _check(settings: RecordSettings) -> None:
    for name in ("probe_size", "batch_size", "epochs", "eval_size"):
        if getattr(settings, name) < 1:
            raise InfoplaneError(f"{name} must be at least 1, got {getattr(settings, name)}")
    if not 0 < settings.lr < math.inf:
        raise InfoplaneError(f"lr must be positive and finite, got {settings.lr}")
    if not 0 <= settings.momentum < 1:
        raise InfoplaneError(f"momentum must be from 0 to below 1, got {settings.momentum}")
    if not 0 <= settings.weight_decay < math.inf:
        raise InfoplaneError(f"weight_decay must be 0 or more, got {settings.weight_decay}")
    if not 0 <= settings.seed < 2**40:
        raise InfoplaneError(f"seed must be from 0 to below 2^40, got {settings.seed}")


def _load(settings: RecordSettings) -> Dataset:
    dataset = load_dataset(settings.dataset, Path(settings.data_root), settings.image_size)
    channels = dataset.spec.shape[0]
    wanted = input_channels(settings.model, channels)
    return dataset if wanted == channels else dataset.with_channels(wanted)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InfoplaneError(f"device '{name}' is not available here; use --device auto or cpu") from error
    return device


def _sample(size: int, count: int) -> Tensor:
    """A fixed random part of a split, to measure loss and accuracy on."""
    if count >= size:
        return torch.arange(size)
    return torch.randperm(size, generator=torch.Generator().manual_seed(0))[:count].sort().values
