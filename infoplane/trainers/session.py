"""The work of `infoplane record`: trains a network and records it, or goes on with a recording."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from infoplane.data import (
    Dataset,
    Split,
    augmentation,
    balanced_probe,
    hold_out,
    load_dataset,
    noisy_labels,
    permute_labels,
    subset,
)
from infoplane.data.streams import random_stream, stream_seed
from infoplane.device import device_of
from infoplane.errors import InfoplaneError, RunFileError, is_of_memory, with_type
from infoplane.execution import QUIET, Counter, Execution
from infoplane.files import load_tensors, save_tensors
from infoplane.models import input_channels
from infoplane.recording.recorder import Recorder
from infoplane.recording.schedule import snapshot_steps
from infoplane.runfile import beside, open_run, refuse_existing
from infoplane.targets import REGRESSION, as_target
from infoplane.text import printable
from infoplane.trainers.build import build_units
from infoplane.trainers.distributed import barrier, process_group, rank
from infoplane.trainers.evaluate import predict, scores
from infoplane.trainers.loop import Interrupted, Loop, Recipe, count_steps, stages
from infoplane.trainers.meter import forget_peak_rss
from infoplane.trainers.optim import build_optimizer, is_length_free, lr_factor
from infoplane.trainers.results import results_of
from infoplane.trainers.robustness import refuse_no_images, robustness
from infoplane.trainers.settings import CHANGEABLE, OWN, TrainingSettings, window_of
from infoplane.trainers.task import Task
from infoplane.user_code import names_code

logger = logging.getLogger(__name__)


def record(settings: TrainingSettings, path: Path, *, force: bool = False, execution: Execution = QUIET) -> float:
    """Trains a network from initialisation and records it.

    Args:
        settings: The settings.
        path: The run file to make; the checkpoint stands beside it.
        force: Overwrite an existing run.
        execution: Whether a progress bar is shown.

    Returns:
        Accuracy on the whole test split at the end, between 0 and 1.

    Raises:
        InfoplaneError: Bad settings or data; a run file that exists or cannot be written.
        Interrupted: Asked to stop; the run can go on with `resume`.
    """
    # The writer asks too, but only after data and network are made.
    refuse_existing(path, force)
    with process_group(settings.device) as device:
        resolved = settings.resolved()
        return _Session(resolved, path, device, execution).train(force=force)


def resume(path: Path, changes: Mapping[str, Any] | None = None, *, execution: Execution = QUIET) -> float:
    """Goes on with a recording after a kill, an interruption, or its end.

    Args:
        path: The run file.
        changes: Settings that differ from those of the run: more `epochs`, another `data_root` or `device`, or
            `synchronous_path`. A `model` or `dataset` of the user's own must be named again, as the file may be a
            stranger's; and data are downloaded only into a `data_root` that is given.
        execution: Whether a progress bar is shown.

    Returns:
        Accuracy on the whole test split at the end, between 0 and 1.

    Raises:
        InfoplaneError: The run cannot go on, or not with these changes.
        Interrupted: Asked to stop again.
    """
    with open_run(path) as run:
        if "trajectory" in run.config:
            raise InfoplaneError(
                f"{path} is the {run.config['trajectory']} of a training; go on with its own run file"
            )
        settings = TrainingSettings.of(run.config)
    _refuse_unasked_code(path, settings, changes or {})
    changed = {name: value for name, value in (changes or {}).items() if value != getattr(settings, name)}
    refused = sorted(changed.keys() - CHANGEABLE)
    if refused:
        named = ", ".join(f"`{name}`" for name in refused)
        raise InfoplaneError(f"{path} keeps its settings when it goes on; leave out {named}, or record a new run")
    _refuse_length(path, settings, changed.get("epochs", settings.epochs))
    settings = dataclasses.replace(settings, **changed).resolved()
    with process_group(settings.device) as device:
        session = _Session(settings, path, device, execution, download="data_root" in (changes or {}))
        return session.train(going_on=True)


def _refuse_unasked_code(path: Path, settings: TrainingSettings, given: Mapping[str, Any]) -> None:
    """A file may be from a stranger: the code that it names runs only where the user names it too."""
    for name in OWN:
        value = str(getattr(settings, name))
        if names_code(value) and given.get(name) != value:
            raise InfoplaneError(
                f"{path} wants to run code for its {name}, '{value}'; if you trust it, give `{name}='{value}'`"
            )


def _refuse_length(path: Path, settings: TrainingSettings, epochs: int) -> None:
    """A run may become longer, where what it did so far does not depend on its length."""
    if epochs < settings.epochs:
        raise InfoplaneError(f"{path} is planned for {settings.epochs} epochs, which is more than {epochs}")
    if epochs == settings.epochs:
        return
    for name, value, better in (
        ("schedule", settings.schedule, "use `schedule='constant'` or step"),
        ("order", settings.order, "use `order='simultaneous'`"),
        ("beta_schedule", settings.beta_schedule, "use `beta_schedule='constant'` or rising"),
    ):
        if name == "order":
            free = value is None or window_of(value) is None
        else:
            free = is_length_free(str(value)) if name == "schedule" else value != "warmup"
        if not free:
            raise InfoplaneError(
                f"{path} has the {name.replace('_', ' ')} '{value}', which depends on its {settings.epochs} "
                f"epochs; record a new run, or {better}"
            )


@contextlib.contextmanager
def _naming_code(model: str) -> Iterator[None]:
    """Names the user's own model where its code fails while it is trained, as it may in any way."""
    try:
        yield
    except (InfoplaneError, Interrupted, OSError, MemoryError):
        raise
    except Exception as error:
        if not names_code(model) or is_of_memory(error):
            raise
        raise InfoplaneError(f"training '{model}' raised {with_type(error)}; correct the model") from error


class _Session:
    """One process's share of a run: builds everything from the settings, trains, records, saves."""

    def __init__(
        self, settings: TrainingSettings, path: Path, device: str, execution: Execution, *, download: bool = True
    ) -> None:
        self.settings = settings
        self.path = path
        self.execution = execution
        self.checkpoint = beside(path, ".ckpt")
        self.dataset = _load(settings, download).to(device_of(device))
        if settings.robustness:
            refuse_no_images(self.dataset)
        boxes = settings.task == "classes+boxes"
        self.task = Task(self.dataset.spec.classes, boxes, classifier_loss=settings.classifier_loss)
        if self.task.boxes and self.dataset.train.boxes is None:
            raise InfoplaneError(f"data set '{settings.dataset}' has no boxes; leave out `task='classes+boxes'`")
        torch.manual_seed(settings.seed)
        example = self.dataset.batch(self.dataset.train, slice(2), "cpu")[0]
        # What cannot be augmented is refused before anything is recorded.
        augmentation(settings.augment)(example, torch.Generator())
        self.model, units = build_units(settings, self.task, example)
        self.model.to(device_of(device))
        self.loop = self._loop([unit.to(device_of(device)) for unit in units])
        per_epoch = self.loop.steps_per_epoch
        self.plan = set(snapshot_steps(settings.snapshots, self.loop.total_steps, per_epoch))
        self.held_out = "validation" if self.dataset.validation else "test"
        splits = {name: self.dataset.split(name) for name in ("train", self.held_out)}
        self.eval_sets = {name: (split, _sample(len(split), settings.eval_size)) for name, split in splits.items()}

    def _loop(self, units: list[Any]) -> Loop:
        settings, how = self.settings, self.settings.how
        per_epoch = count_steps(len(self.dataset.train), int(settings.batch_size or 1))
        steps = settings.epochs * per_epoch
        lr, momentum, decay = (float(v or 0) for v in (settings.lr, settings.momentum, settings.weight_decay))
        expand = how.expand
        recipe = Recipe(
            optimizer=lambda parameters: build_optimizer(str(settings.optimizer), parameters, lr, momentum, decay),
            lr=lr,
            lr_factor=lr_factor(str(settings.schedule), steps, per_epoch),
            batch_size=int(settings.batch_size or 1),
            seed=settings.seed,
            augment=None if settings.augment == "none" else augmentation(settings.augment),
            expand=expand and (lambda inputs, targets, generator: expand(inputs, targets, self.task, generator)),
            per_class=settings.per_class or 1,
            loss_every=settings.loss_every or 1,
            micro_batches=settings.micro_batches or 1,
            autocast=torch.bfloat16 if settings.amp else None,
            cache_bytes=(settings.cache_mib or 0) * 2**20,
        )
        # Fails on a bad name before anything is trained.
        recipe.optimizer([torch.nn.Parameter(torch.zeros(1))])
        return Loop(units, stages(settings.order or "simultaneous", len(units), steps), recipe, self.dataset)

    def train(self, *, force: bool = False, going_on: bool = False) -> float:
        """Trains to the end and gives the test accuracy; a start that fails before any snapshot leaves no file."""
        forget_peak_rss()
        with _naming_code(self.settings.model), self._recorder(force, going_on) as recorder:
            try:
                self._train_recorded(recorder, going_on)
            except Exception:
                if recorder and not going_on and not recorder.steps:
                    self.path.unlink(missing_ok=True)
                    self.checkpoint.unlink(missing_ok=True)
                raise
            everything = torch.arange(len(self.dataset.test))
            outputs, targets = predict(self.loop.units, self.dataset, self.dataset.test, everything)
            test_scores = scores(self.task, outputs, targets)
            if recorder:
                numbers, arrays = results_of(self.loop, self.task, outputs, targets, test_scores)
                if self.settings.robustness and outputs[-1] is not None:
                    numbers |= robustness(self.loop.units, self.dataset, self.task, outputs[-1])
                # Before the results, by which a run counts as finished.
                recorder.finish()
                recorder.set_results(numbers, arrays)
            barrier()
        return test_scores[-1].accuracy

    def _train_recorded(self, recorder: Recorder | None, going_on: bool) -> None:
        if going_on:
            self._restore(recorder)
        if recorder and going_on:
            recorder.set_config(dataclasses.asdict(self.settings))
        elif recorder:
            self.checkpoint.unlink(missing_ok=True)
        shown = self.execution if recorder else QUIET
        with shown.counter(self.loop.total_steps, "training", "step", self.loop.step) as counter:
            counter.announce(self._about())
            self._train(recorder, counter)

    def _about(self) -> str:
        """What is trained, and for how long, in words."""
        settings, begun = self.settings, self.loop.step // self.loop.steps_per_epoch
        epochs = f"{settings.epochs} epoch" + "s" * (settings.epochs != 1)
        return printable(
            f"{settings.model} on {settings.dataset} by {settings.method} for {epochs} of "
            f"{self.loop.steps_per_epoch:,} steps" + f", of which {begun} are done" * (begun > 0)
        )

    def _train(self, recorder: Recorder | None, counter: Counter) -> None:
        def at_pause() -> None:
            if recorder and self.loop.step in self.plan:
                self._snapshot(recorder, counter)
            if recorder:
                self._save(recorder)
            if self.loop.step % per_epoch == 0:
                counter.line(f"epoch {self.loop.step // per_epoch} of {self.loop.total_steps // per_epoch}")

        per_epoch = self.loop.steps_per_epoch
        try:
            # A run that stopped between a step and its snapshot has that one still to take.
            if recorder and self.loop.step in self.plan:
                self._snapshot(recorder, counter)
            self.loop.run(lambda step: step in self.plan or step % per_epoch == 0, at_pause, counter.update)
        except (Interrupted, InfoplaneError):
            # Both leave the loop between two steps.
            if recorder:
                self._save(recorder)
            raise

    def _probe(self, split: Split) -> Tensor:
        """Positions of the probe in its split."""
        settings = self.settings
        # Of the training split the seed itself would draw the first samples that are trained on.
        seed = stream_seed("probe", settings.seed) if settings.probe_split == "train" else settings.seed
        return balanced_probe(split.labels, settings.probe_size, seed, settings.probe_split)

    def _recorder(self, force: bool, going_on: bool) -> contextlib.AbstractContextManager[Recorder | None]:
        """The recorder of the process that records; None in the others."""
        if rank() > 0:
            return contextlib.nullcontext()
        settings = self.settings
        split = self.dataset.split(settings.probe_split)
        indices = self._probe(split) if not going_on else _recorded_probe(self.path)
        others = {}
        if self.task.boxes:
            others["box"] = as_target(self.dataset.boxes(split, indices, "cpu"), REGRESSION)
        if split.true_labels is not None:
            others["true"] = as_target(split.true_labels[indices.to(split.true_labels.device)])
        inputs, labels = self.dataset.batch(split, indices, torch.device("cpu"))
        return Recorder(
            self.model,
            (inputs, self._named(labels)),
            self.path,
            settings.layers,
            others=others,
            keep=settings.keep,
            indices=indices,
            config=dataclasses.asdict(settings),
            snapshots=len(self.plan),
            synchronous_path=settings.synchronous_path,
            force=force,
            resume=going_on,
        )

    def _named(self, labels: Tensor) -> Any:
        """Labels (n,) with the names of their classes, where these have some."""
        import pandas as pd

        names = self.dataset.spec.class_names
        return pd.Categorical.from_codes(labels.numpy(), pd.Index(names)) if names else labels

    def _snapshot(self, recorder: Recorder, counter: Counter) -> None:
        """Records the current step, unless a stopped process did so already."""
        if self.loop.step in recorder.steps:
            return
        units = self.loop.units[: self.loop.trained]
        metrics = {"stage": float(self.loop.stage)}
        for name, (split, indices) in self.eval_sets.items():
            by_classifier = scores(self.task, *predict(units, self.dataset, split, indices))
            metrics |= {f"{name}_loss": by_classifier[-1].loss, f"{name}_accuracy": by_classifier[-1].accuracy}
            if self.task.boxes:
                metrics[f"{name}_iou"] = by_classifier[-1].iou
            if name == self.held_out:
                hidden = zip(self.loop.units[:-1], by_classifier, strict=False)
                metrics |= {f"{name}_accuracy@{unit.name}": score.accuracy for unit, score in hidden}
        for unit in units:
            metrics |= {f"{name}@{unit.name}": value for name, value in unit.objective.state().items()}
        recorder.snapshot(self.loop.step, self.loop.epoch, **metrics)
        loss, accuracy = metrics["train_loss"], metrics[f"{self.held_out}_accuracy"]
        counter.note(
            f"train loss {loss:.3g}, {self.held_out} accuracy {accuracy:.1%} at epoch {self.loop.epoch:.3g}",
            f"loss {loss:.3g}, {self.held_out} {accuracy:.1%}",
        )

    def _save(self, recorder: Recorder) -> None:
        """Writes the checkpoint; training goes on without it where that fails."""
        state = {"run_id": recorder.run_id, "model": self.model.state_dict(), "loop": self.loop.state_dict()}
        state["labels"] = _digest(self.dataset.train.labels)
        try:
            save_tensors(state, self.checkpoint)
        except InfoplaneError as error:
            logger.warning("no checkpoint: %s", error)

    def _restore(self, recorder: Recorder | None) -> None:
        """Goes back to the checkpoint; without one of this run, to initialisation."""
        if not self.checkpoint.exists():
            logger.warning("%s is not there; training again from initialisation", self.checkpoint)
            return
        try:
            state = load_tensors(self.checkpoint)
            run_id = state.get("run_id")
        except Exception as error:
            raise RunFileError(f"{self.checkpoint} is damaged; delete it to train again from the start") from error
        if recorder and run_id != recorder.run_id:
            raise RunFileError(f"{self.checkpoint} belongs to another run; delete it to train again from the start")
        self._refuse_other_labels(state.get("labels"))
        try:
            self.loop.load_state_dict(state["loop"])
        except Exception as error:  # of PyTorch, any
            raise RunFileError(
                f"{self.checkpoint} is damaged or of another infoplane version; "
                "delete it to train again from the start"
            ) from error

    def _refuse_other_labels(self, digest: str | None) -> None:
        """A run that learned some labels does not go on with others, such as those of another draw."""
        settings = self.settings
        # Checkpoints were without it while wrong labels were drawn otherwise.
        drawn = bool(settings.label_noise or settings.permute_labels)
        if drawn if digest is None else digest != _digest(self.dataset.train.labels):
            raise RunFileError(
                f"{self.path} has learned other labels than those it would go on with (the data have changed, or "
                "an earlier infoplane drew the wrong ones otherwise); record a new run"
            )


# A comparison trains many networks on one data set, each after the other in one process. Data of the user's own
# are made anew for each, as their code, or what it reads, may be another by then.
_kept = lru_cache(maxsize=1)(load_dataset)


def _load(settings: TrainingSettings, download: bool) -> Dataset:
    root = Path(settings.data_root).absolute()
    loaded = load_dataset if names_code(settings.dataset) else _kept
    dataset = loaded(settings.dataset, root, settings.image_size, settings.region, download=download)
    if settings.train_size is not None:
        dataset = subset(dataset, settings.train_size)
    if settings.validation:
        dataset = hold_out(dataset, settings.validation)
    if settings.label_fraction is not None:
        size = max(round(settings.label_fraction * len(dataset.train)), dataset.spec.classes)
        dataset = subset(dataset, size, settings.seed)
    if settings.permute_labels:
        dataset = permute_labels(dataset, settings.permute_labels, settings.seed)
    if settings.label_noise is not None:
        dataset = noisy_labels(
            dataset, settings.label_noise, settings.label_noise_kind or "permuted", settings.seed
        )
    channels = dataset.spec.shape[0]
    wanted = input_channels(settings.model, channels)
    return dataset if wanted == channels else dataset.with_channels(wanted)


def _digest(labels: Tensor) -> str:
    """What tells labels (n,) from others."""
    return hashlib.sha256(labels.cpu().numpy().tobytes()).hexdigest()


def _sample(size: int, count: int) -> Tensor:
    """A fixed random part of a split, to measure loss and accuracy on."""
    if count >= size:
        return torch.arange(size)
    return torch.randperm(size, generator=random_stream("scored samples", 0))[:count].sort().values


def _recorded_probe(path: Path) -> Tensor:
    """Positions of the probe of a run that goes on; an older version may have drawn others."""
    with open_run(path) as run:
        return torch.from_numpy(run.probe.indices)
