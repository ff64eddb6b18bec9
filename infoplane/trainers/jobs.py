"""The trainings of `infoplane compare`: variants of a method × seeds, only missing ones, several at once."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
import platform
import signal
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infoplane.errors import InfoplaneError, is_of_memory, of_memory, unknown, with_type
from infoplane.execution import QUIET, Execution
from infoplane.files import make_folder, unwritten, write_text
from infoplane.runfile import GO_ON, TUNING, open_run, trial_path, trial_score
from infoplane.settings import settings_of
from infoplane.stopping import Stopped, ask_to_stop
from infoplane.trainers.loop import Interrupted
from infoplane.trainers.methods import method
from infoplane.trainers.processes import side_by_side
from infoplane.trainers.session import record, resume
from infoplane.trainers.settings import ALIKE, OWN, TrainingSettings, foreign_groups

logger = logging.getLogger(__name__)

# Tried before the seeds that are compared, and none of them.
TUNING_SEED = 1_000_000


@dataclass(frozen=True)
class Job:
    """One training of a comparison.

    Attributes:
        variant: Name of the method with its settings, and of the folder.
        path: The run file.
        settings: Resolved settings.
    """

    variant: str
    path: Path
    settings: TrainingSettings


def plan(variants: Mapping[str, TrainingSettings], seeds: Iterable[int], folder: Path) -> list[Job]:
    """The trainings of a comparison, seed by seed, so that an interrupted one is balanced.

    Args:
        variants: Settings by name of variant.
        seeds: Seeds, the same for all, so that differences are paired.
        folder: Where the runs go: `VARIANT/seedN.h5`.

    Raises:
        InfoplaneError: A setting is impossible, or a variant's name is no name of a folder.
    """
    for name in variants:
        # Hidden folders are not looked into, and that of the tuning has another use.
        if Path(name).name != name or not name or name.startswith(".") or "\0" in name or name == TUNING:
            raise InfoplaneError(
                f"variant '{name}' cannot be the name of a folder; rename it, without slashes and no dot in front"
            )
    resolved = {name: settings.resolved() for name, settings in variants.items()}
    return [
        Job(name, folder / name / f"seed{seed}.h5", dataclasses.replace(settings, seed=seed))
        for seed in seeds
        for name, settings in resolved.items()
    ]


def variants_of(shared: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]]) -> dict[str, TrainingSettings]:
    """The settings of several variants.

    Args:
        shared: Settings of all variants, as of `variant`.
        tables: Those of each alone, by its name.

    Raises:
        InfoplaneError: As for `variant`, or a shared option of a method that none of these methods has.
    """
    given = [_option_name(text) for text in shared.get("option") or ()]
    methods = [method(str(own.get("method", name))) for name, own in tables.items()]
    known = sorted(frozenset[str]().union(*(one.options for one in methods)))
    for name in given:
        if not known:
            raise InfoplaneError(f"none of the methods has an option '{name}'; leave out `option`")
        if name not in known:
            raise unknown("option", name, known)
    variants: dict[str, TrainingSettings] = {}
    for name, own in tables.items():
        variants |= variant(name, shared, own)
    return variants


def _option_name(text: str) -> str:
    return text.partition("=")[0].strip()


def variant(name: str, shared: Mapping[str, Any], particular: Mapping[str, Any]) -> dict[str, TrainingSettings]:
    """The settings of one variant, or of one for each β where several are given.

    Args:
        name: Name of the variant, and of its method if `particular` names none.
        shared: Settings of all variants; those that this one's method does not have are left out.
        particular: Settings of this one alone.

    Raises:
        InfoplaneError: No such method or setting, or a seed for this one alone.
    """
    TrainingSettings.refuse_unknown(particular, f"setting of '{name}':")
    if "seed" in particular:
        raise InfoplaneError(f"variant '{name}' has the seeds of all others; leave out its seed, and give `seeds`")
    chosen = method(str(particular.get("method", name)))
    groups = foreign_groups(chosen)
    declared = settings_of(TrainingSettings).items()
    lacking = {"seed", *(name for name, one in declared if one.group in groups)}
    values = {key: value for key, value in shared.items() if key not in lacking}
    if options := values.get("option"):
        values["option"] = tuple(text for text in options if _option_name(text) in chosen.options)
    values |= {key: tuple(value) if isinstance(value, list) else value for key, value in particular.items()}
    beta = values.get("beta")
    betas = beta if isinstance(beta, tuple) else None if beta is None else (beta,)
    settings = TrainingSettings(**{**values, "method": chosen.name, "beta": betas})
    if betas is None or len(betas) < 2:
        return {name: settings}
    return {f"{name}-beta{beta:g}": dataclasses.replace(settings, beta=(beta,)) for beta in betas}


def alike(variants: Mapping[str, TrainingSettings]) -> dict[str, TrainingSettings]:
    """Variants with a batch size of 128 and the one-cycle schedule where they have none: published ones differ.

    Args:
        variants: Settings by name of variant.
    """

    def completed(settings: TrainingSettings) -> TrainingSettings:
        missing = {name: value for name, value in ALIKE.items() if getattr(settings, name) is None}
        return dataclasses.replace(settings, **missing)

    return {name: completed(settings) for name, settings in variants.items()}


def warn_of_untuned(variants: Mapping[str, TrainingSettings]) -> None:
    """Warns where methods are compared at learning rates that nobody chose for these data.

    Args:
        variants: Settings by name of variant.
    """
    untuned = [name for name, settings in variants.items() if settings.lr is None]
    if untuned and len(variants) > 1:
        logger.warning(
            "the learning rates of %s are the published ones, not tuned: differences may be theirs; tune all alike "
            "with `tune_lr=0.2,1,5` and `validation=0.1`",
            ", ".join(untuned),
        )


def run_jobs(
    trainings: Sequence[Job], execution: Execution = QUIET, finished: Callable[[Job], object] | None = None
) -> None:
    """Trains what is missing and goes on with what is unfinished.

    Args:
        trainings: The trainings.
        execution: How many at once, one unless it says, each with its share of the cores; or a cluster.
        finished: Called after each training that ended well; None for nothing.

    Raises:
        InfoplaneError: A training failed; the others are finished first. Or a folder cannot be made.
        Stopped: Asked to stop; what is recorded is safe.
    """
    missing = [job for job in trainings if not _is_finished(job)]
    if not missing:
        return
    if execution.progress:
        logger.info("%d of %d runs are to be trained", len(missing), len(trainings))
    for folder in {job.path.parent for job in missing}:
        try:
            make_folder(folder)
        except OSError as refused:
            raise unwritten(folder, refused) from refused
    failed: list[str] = []
    with execution.counter(len(missing), "runs", "run") as counter:
        for job, error in _results(missing, execution):
            counter.update()
            counter.note(f"{job.variant}, seed {job.settings.seed}")
            counter.line()
            if error:
                failed.append(f"{job.path}: {error}")
            elif finished:
                finished(job)
    if failed:
        raise InfoplaneError(f"{len(failed)} of {len(missing)} runs failed; the first: {failed[0]}")


def tuned(
    variants: Mapping[str, TrainingSettings],
    factors: Sequence[float],
    folder: Path,
    execution: Execution = QUIET,
) -> dict[str, TrainingSettings]:
    """Each variant with the learning rate that is best on the validation split, from as many trials as the others.

    Args:
        variants: Settings by name of variant, with a validation split.
        factors: Multiples of each variant's own learning rate.
        folder: Where the trials go: `tuning/trials/VARIANT-lrX.h5`, with a seed that is not compared.
        execution: How many at once, one unless it says.

    Raises:
        InfoplaneError: A factor is impossible, a variant has no validation split, or a trial failed.
    """
    for factor in factors:
        if not 0 < factor < math.inf:
            raise InfoplaneError(f"a learning rate cannot be {factor:g} times another; give factors above 0")
    trials: dict[str, list[Job]] = {}
    for name, settings in variants.items():
        resolved = settings.resolved()
        if not resolved.validation:
            raise InfoplaneError("tuning needs a validation split, never the test split; give `validation=0.1`")
        rates = [float(resolved.lr or 0) * factor for factor in dict.fromkeys(factors)]
        trials[name] = [
            Job(
                name,
                trial_path(folder, name, rate),
                dataclasses.replace(resolved, lr=rate, seed=TUNING_SEED, snapshots="2"),
            )
            for rate in rates
        ]
    run_jobs(list(itertools.chain.from_iterable(trials.values())), execution)
    best = {name: max(several, key=lambda job: trial_score(job.path)) for name, several in trials.items()}
    for name, job in best.items():
        logger.info("%s: learning rate %g by validation accuracy", name, job.settings.lr)
    return {name: dataclasses.replace(variants[name], lr=job.settings.lr) for name, job in best.items()}


def _is_finished(job: Job) -> bool:
    """Whether a run is there and finished with these settings.

    Raises:
        InfoplaneError: It was made with other settings.
    """
    if not job.path.exists():
        return False
    with open_run(job.path) as run:
        stored = TrainingSettings.of(run.config)
        # What does not change the training: where data and device are, and what is recorded beside it.
        unlike = dataclasses.replace(stored, **_free(job.settings))
        names = [
            field.name
            for field in dataclasses.fields(unlike)
            if getattr(unlike, field.name) != getattr(job.settings, field.name)
        ]
        if names:
            raise InfoplaneError(
                f"{job.path} was recorded with another {names[0]} ({getattr(unlike, names[0])}, now "
                f"{getattr(job.settings, names[0])}); choose another folder, or delete it and its row in "
                "results.csv"
            )
        return bool(run.results) and stored.synchronous_path >= job.settings.synchronous_path


def _free(settings: TrainingSettings) -> dict[str, Any]:
    """The settings with which a recorded training may go on under another value."""
    return {name: getattr(settings, name) for name in ("data_root", "device", "synchronous_path")}


def _results(trainings: Sequence[Job], execution: Execution) -> Iterable[tuple[Job, str]]:
    """Each job with what went wrong ("" for nothing), as they end."""
    if execution.scheduler:
        yield from _on_cluster(trainings, execution.scheduler)
        return
    processes = execution.jobs or 1
    if processes == 1:
        for job in trainings:
            yield job, _train(job)
        return
    yield from side_by_side(_train, trainings, processes)


def _on_cluster(trainings: Sequence[Job], scheduler: str) -> Iterator[tuple[Job, str]]:
    """Trains jobs by the workers of a Dask cluster, of which each trains one run at a time.

    A run whose worker dies goes on with another one from its checkpoint.
    """
    from infoplane.estimators.engine.dask import connected

    token = f".shared-{uuid.uuid4().hex}"
    absolute = [_absolute(job) for job in trainings]
    folders = {job.path.parent for job in absolute}
    try:
        for folder in folders:
            write_text(folder / token, "Shows workers of a cluster that this is the folder that is meant.\n")
        with connected(scheduler) as cluster:
            calls = {place: (job, token) for place, job in enumerate(absolute)}
            results = cluster.map(train_here, calls, lambda place: str(absolute[place].path), key="train")
            try:
                for place, error in results:
                    yield trainings[place], error
            except BaseException:
                results.close()
                cluster.everywhere(_stop_here, [job.path for job in absolute])
                raise
    finally:
        for folder in folders:
            (folder / token).unlink(missing_ok=True)


def _absolute(job: Job) -> Job:
    """A job that means the same to a process in another folder."""
    root = str(Path(job.settings.data_root).absolute())
    return dataclasses.replace(
        job, path=job.path.absolute(), settings=dataclasses.replace(job.settings, data_root=root)
    )


_training = threading.Lock()


def train_here(job: Job, token: str) -> str:
    """One training, on a worker of a cluster.

    Args:
        job: The training.
        token: Name of a file that stands beside the run file, where this machine sees the folder that is meant.

    Returns:
        What went wrong; "" for nothing.
    """
    if not (job.path.parent / token).exists():
        return (
            f"a worker on {platform.node()} does not see {job.path.parent}; run files must lie on a file system "
            "that all workers share"
        )
    # Random numbers are those of the process, so that two threads would draw each other's.
    with _training:
        _here.append(job.path)
        try:
            return "" if _is_finished(job) else _train(job)
        except (InfoplaneError, Stopped) as error:
            return str(error)
        finally:
            _here.remove(job.path)


_here: list[Path] = []


def _stop_here(paths: Sequence[Path]) -> None:
    """Asks the training of one of some runs to stop, if this worker has it.

    Args:
        paths: The run files.
    """
    if set(paths) & set(_here):
        ask_to_stop(signal.SIGTERM)


def _train(job: Job) -> str:
    """Trains one run to its end; gives what is wrong with it."""
    try:
        if job.path.exists():
            # The settings are those of the file, so the code in them is what the user named.
            resume(job.path, _free(job.settings) | {name: getattr(job.settings, name) for name in OWN})
        else:
            record(job.settings, job.path)
    except InfoplaneError as error:
        return error.text({GO_ON: "give the same command again, which goes on"})
    except Interrupted as request:
        raise Stopped(request.signal) from None
    except (Exception, SystemExit) as error:  # a network or a device may fail in any way; the others go on
        logger.debug("%s failed", job.path, exc_info=True)
        if is_of_memory(error):
            return str(of_memory(error))
        return with_type(error)
    return ""
