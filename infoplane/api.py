"""The front door: from run files to estimates, planes, figures and verdicts, each in one call.

`import infoplane` has all of these; the verbs of the command line call them too. Runs are given as paths, as open
runs, or as several of either; several are repetitions of one training, which differ in their seeds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

import pandas as pd

from infoplane.analysis.analyze import analyze as judge_runs
from infoplane.analysis.comparison.information import add_informations
from infoplane.analysis.comparison.methods import comparison_table, first_reference, refuse_margin
from infoplane.analysis.comparison.results import (
    NAME,
    compared_runs,
    merge_results,
    read_results,
    refuse_mixture,
    refuse_unlike,
    runs_table,
    save_results,
    update_results,
)
from infoplane.analysis.gather import gather
from infoplane.analysis.plane import Plane
from infoplane.errors import InfoplaneError, unknown
from infoplane.estimators.base import EstimatorSettings
from infoplane.estimators.batches import Batches
from infoplane.estimators.engine.estimate import estimate_runs, estimates_path
from infoplane.estimators.registry import EstimatorOptions, named_settings, refuse_foreign
from infoplane.execution import Execution
from infoplane.reporting.report import ReadableReport, as_json, verdicts_of
from infoplane.reporting.settings import sets_by_training, settings_table
from infoplane.runfile import Run, beside, open_runs, run_names
from infoplane.trainers.jobs import alike, plan, run_jobs, tuned, variants_of, warn_of_untuned
from infoplane.trainers.session import record
from infoplane.trainers.session import resume as go_on
from infoplane.trainers.settings import TrainingSettings
from infoplane.words import settings_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from infoplane.figures.page import Panel
    from infoplane.figures.parts.view import ViewOptions

RunLike: TypeAlias = str | os.PathLike[str] | Run
Runs: TypeAlias = RunLike | Iterable[RunLike]
Estimator: TypeAlias = str | EstimatorSettings


def estimate(
    runs: Runs,
    estimator: Estimator | Sequence[Estimator] = "renyi",
    *,
    batches: Batches | int | None = None,
    batch_size: int | None = None,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: bool = False,
    **options: Unpack[EstimatorOptions],
) -> pd.DataFrame:
    """Estimates how much every layer knows of input and target at every snapshot; nothing is computed twice.

    Args:
        runs: One run or several.
        estimator: Names of estimators ("renyi", "kde", "ksg", …), or their settings.
        batches: Number of batches of the probe to estimate apart; None takes the whole probe at once.
        batch_size: Samples of each batch; None takes 100.
        jobs: Number of parallel solves; None takes one per core.
        scheduler: Address of the scheduler of a Dask cluster to work in place of this machine.
        progress: Show progress bars.
        options: Settings of the estimators, see `infoplane.estimators.registry.EstimatorOptions`.

    Returns:
        One row per run, estimator, snapshot, layer and batch: `run`, `step`, `layer`, in bits `I_XT`, `I_TY`,
        `I_TY_null` and `I_TY_corrected`, `status`, the settings, and the other columns of docs/run-file.md.

    Raises:
        InfoplaneError: A run that cannot be read or holds no snapshot, or a setting that no estimator has.

    Example:
        >>> table = ip.estimate("own.h5", bandwidth="knn:10", alpha=1.01)
        >>> table[["run", "step", "layer", "status"]].tail(2)
             run  step   layer status
        ...  own    20  hidden     ok
        ...  own    20  logits     ok
    """
    paths = _paths(runs)
    names = run_names(paths)
    settings = _settings([estimator] if isinstance(estimator, Estimator) else estimator, options)
    execution = Execution(jobs, scheduler, progress)
    tables = estimate_runs(paths, settings, Batches.of(batches, batch_size), execution=execution)
    return pd.concat([table.assign(run=name) for table, name in zip(tables, names, strict=True)], ignore_index=True)


def information_plane(
    runs: Runs,
    estimator: Estimator = "renyi",
    *,
    batches: Batches | int | None = None,
    batch_size: int | None = None,
    jobs: int | None = None,
    progress: bool = False,
    **options: Unpack[EstimatorOptions],
) -> Plane:
    """The information plane of one run, or of several as means with 95 % intervals; estimates what is missing.

    Args:
        runs: One run, or several that differ in their seeds alone.
        estimator: Name of an estimator, or its settings.
        batches: Number of batches of the probe to estimate apart; None takes the whole probe at once.
        batch_size: Samples of each batch; None takes 100.
        jobs: Number of parallel solves; None takes one per core.
        progress: Show progress bars.
        options: Settings of the estimator, see `infoplane.estimators.registry.EstimatorOptions`.

    Returns:
        Table, metrics, layers, limits, names and settings; `plot_plane` and `plot_over_time` draw it.

    Raises:
        InfoplaneError: As for `estimate`; or the runs differ in more than their seeds.

    Example:
        >>> plane = ip.information_plane(["seed0.h5", "seed1.h5"], bandwidth="knn:10")
        >>> plane.layers
        ('hidden', 'logits')
        >>> plane.table[["layer", "step", "I_TY", "I_TY_low", "I_TY_high", "runs"]].shape
        (26, 6)
    """
    [settings] = _settings([estimator], options)
    execution = Execution(jobs, progress=progress)
    return Plane.of(*gather(_paths(runs), settings, Batches.of(batches, batch_size), execution=execution))


def plot_plane(
    plane: Plane,
    *,
    ax: Axes | None = None,
    quantity: str = "I_TY_corrected",
    caption: bool | str = False,
    **view: Unpack[ViewOptions],
) -> Figure:
    """Draws the information plane: the way of each layer, coloured by training time.

    Args:
        plane: One of `information_plane`.
        ax: Axes to draw one plane into, whose figure is given back; None makes a figure of the raw and the
            null-corrected plane.
        quantity: What `ax` shows: "I_TY_corrected" against corrected I_XT, or "I_TY" against raw I_XT.
        caption: True prints what was measured and how underneath, a text that text; not into `ax`.
        view: `width` and `height` in inches, `panel` ("corrected", "raw", "both"), `xlim`, `ylim`, and `style`
            ("classic" joins the layers of a snapshot), see `infoplane.figures.parts.view.View`.

    Returns:
        The figure; `figure.savefig("plane.pdf")` writes it.

    Raises:
        InfoplaneError: The plane is empty, or has no such quantity.

    Example:
        >>> figure = ip.plot_plane(ip.information_plane("own.h5"), caption=True)
        >>> figure.savefig("plane.png")
        >>> axes = plt.figure().subplots()
        >>> ip.plot_plane(ip.information_plane("own.h5"), ax=axes) is axes.figure
        True
    """
    from infoplane.figures.parts.view import View
    from infoplane.figures.plane import information_plane as draw

    _refuse_quantity(plane, quantity)
    return draw(plane, _caption(caption), ax=ax, quantity=quantity, view=View(**view))


def plot_over_time(
    plane: Plane,
    *,
    ax: Axes | None = None,
    quantity: str = "I_XT_corrected",
    caption: bool | str = False,
    **view: Unpack[ViewOptions],
) -> Figure:
    """Draws both informations, loss and accuracy over training steps.

    Args:
        plane: One of `information_plane`.
        ax: Axes to draw one quantity into, whose figure is given back; None makes a figure of all.
        quantity: What `ax` shows: "I_XT" or "I_TY", or less their nulls "I_XT_corrected" or "I_TY_corrected".
        caption: True prints what was measured and how underneath, a text that text; not into `ax`.
        view: `width` and `height` in inches, and `panel`, as of `plot_plane`.

    Returns:
        The figure.

    Raises:
        InfoplaneError: The plane is empty, or has no such quantity.

    Example:
        >>> figure = ip.plot_over_time(ip.information_plane("own.h5"))
        >>> [axes.get_ylabel() for axes in figure.axes[:2]]
        ['I(X;T) − null (bits)', 'I(T;Y) − null (bits)']
    """
    from infoplane.figures.parts.view import View
    from infoplane.figures.time import information_over_time as draw

    _refuse_quantity(plane, quantity)
    return draw(plane, _caption(caption), ax=ax, quantity=quantity, view=View(**view))


def analyze(
    runs: Runs,
    controls: Mapping[str, Runs] | None = None,
    estimator: Estimator = "renyi",
    *,
    batches: Batches | int | None = None,
    batch_size: int | None = None,
    jobs: int | None = None,
    progress: bool = False,
    **options: Unpack[EstimatorOptions],
) -> ReadableReport:
    """Judges runs of several seeds by rules fixed in advance: bottom-up convergence, the Markov bottleneck.

    Args:
        runs: Runs that differ in their seeds alone.
        controls: Other sets of runs by name, such as "shuffled labels"; judged beside the others.
        estimator: Name of the estimator of I(X;T), or its settings.
        batches: Number of batches of the probe; None takes up to 10 disjoint ones of 128 samples.
        batch_size: Samples of each batch; None takes 100.
        jobs: Number of parallel solves; None takes one per core.
        progress: Show progress bars.
        options: Settings of the estimator, see `infoplane.estimators.registry.EstimatorOptions`.

    Returns:
        `verdicts`, and how that on convergence changes with measure, quantity and bandwidth; a notebook shows the
        whole report, and `save` writes it. It takes 5 runs and 6 layers to judge anything.

    Raises:
        InfoplaneError: The runs cannot stand side by side.

    Example:
        >>> report = ip.analyze(["seed0.h5", "seed1.h5"])
        >>> [verdict.claim for verdict in report.verdicts][:2]
        ['bottom-up convergence', 'Markov information bottleneck']
    """
    [settings] = _settings([estimator], options)
    others = {name: _paths(control) for name, control in (controls or {}).items()}
    how: dict[str, Any] = {"settings": settings, "batches": Batches.of(batches, batch_size)}
    report = judge_runs(_paths(runs), others, **how, execution=Execution(jobs, progress=progress))
    return ReadableReport(**vars(report))


def write_page(
    runs: Runs | Mapping[str, Runs],
    path: str | os.PathLike[str] = "page.html",
    estimator: Estimator = "renyi",
    *,
    judge: bool = False,
    force: bool = False,
    batches: Batches | int | None = None,
    batch_size: int | None = None,
    jobs: int | None = None,
    progress: bool = False,
    **options: Unpack[EstimatorOptions],
) -> Path:
    """Writes one HTML file that needs no network: the plane under a slider, curves, verdicts, settings.

    Args:
        runs: Runs; those that differ in their seeds alone are shown as their mean, others side by side on the same
            axes. With names, each set is as it is named.
        path: The HTML file to make.
        estimator: Name of an estimator, or its settings.
        judge: Judge each set as `analyze` does, which may take minutes; otherwise the report of `infoplane analyze`
            beside the first run is shown, where there is one of these runs.
        force: Overwrite a file that infoplane did not make, too.
        batches: Number of batches of the probe to estimate apart; None takes the whole probe at once.
        batch_size: Samples of each batch; None takes 100.
        jobs: Number of parallel solves; None takes one per core.
        progress: Show progress bars.
        options: Settings of the estimator, see `infoplane.estimators.registry.EstimatorOptions`.

    Returns:
        The file.

    Raises:
        InfoplaneError: As for `information_plane`; or Plotly is missing, the runs have probes of different sizes,
            or the file cannot be written.

    Example:
        >>> ip.write_page(["seed0.h5", "seed1.h5"], "page.html", bandwidth="knn:10").stat().st_size > 2**20
        True
    """
    from infoplane.figures.page import page_path, save_page

    target = page_path(Path(path), force)
    [settings] = _settings([estimator], options)
    execution, cut = Execution(jobs, progress=progress), Batches.of(batches, batch_size)
    with contextlib.ExitStack() as stack:

        def opened(several: Runs) -> dict[str, Run]:
            return stack.enter_context(open_runs(_paths(several)))

        if isinstance(runs, Mapping):
            sets = {name: tuple(opened(several).values()) for name, several in runs.items()}
        else:
            sets = sets_by_training(opened(runs))
        panels = [_panel(name, repetitions, settings, cut, judge, execution) for name, repetitions in sets.items()]
    return save_page(panels, target, force)


def _panel(
    name: str,
    runs: Sequence[Run],
    settings: EstimatorSettings,
    batches: Batches | None,
    judge: bool,
    execution: Execution,
) -> Panel:
    """One set of runs of a page."""
    from infoplane.figures.page import Panel

    estimates, metrics = gather(runs, settings, batches, execution=execution)
    report = beside(runs[0].path, "-report.json")
    how: dict[str, Any] = {"settings": settings, "batches": batches, "execution": execution}
    verdicts = as_json(judge_runs(runs, **how))["verdicts"] if judge else None
    tables = [estimates_path(run.path) for run in runs]
    if verdicts is None and (verdicts := verdicts_of(report, runs, settings_text(estimates.iloc[0]))):
        tables.append(report.with_suffix(".md"))
    [row] = settings_table({name: runs}, {name: estimates}).drop(columns="runs").to_dict("records")
    words = {str(key): str(value) for key, value in row.items()}
    return Panel(name, Plane.of(estimates, metrics), words, verdicts or (), tables)


def train(
    settings: TrainingSettings, path: str | os.PathLike[str], *, force: bool = False, progress: bool = False
) -> float:
    """Trains a network from initialisation, end to end or layer by layer, and records it.

    Args:
        settings: Data, model, method and all else.
        path: The run file to make; a checkpoint stands beside it.
        force: Overwrite an existing run.
        progress: Show a progress bar.

    Returns:
        Accuracy on the whole test split at the end, between 0 and 1.

    Raises:
        InfoplaneError: Bad settings or data; a run file that exists or cannot be written.
        infoplane.trainers.loop.Interrupted: Asked to stop; the run can go on with `resume`.

    Example:
        >>> settings = ip.TrainingSettings(method="greedy-dib", model="mlp", widths=(16,), epochs=1, train_size=200)
        >>> accuracy = ip.train(settings, "dib.h5")
        >>> 0 <= accuracy <= 1
        True
    """
    return record(settings, Path(path), force=force, execution=Execution(progress=progress))


def resume(path: str | os.PathLike[str], *, progress: bool = False, **changes: Any) -> float:
    """Goes on with a training of `train` after a kill, an interruption or its end.

    Args:
        path: The run file.
        progress: Show a progress bar.
        changes: Settings that differ from those of the run: more `epochs`, another `data_root` or `device`.

    Returns:
        Accuracy on the whole test split at the end, between 0 and 1.

    Raises:
        InfoplaneError: The run cannot go on, or not with these changes.
        infoplane.trainers.loop.Interrupted: Asked to stop again.

    Example:
        >>> settings = ip.TrainingSettings(model="mlp", widths=(16,), epochs=1, train_size=200, snapshots="2")
        >>> _ = ip.train(settings, "longer.h5")
        >>> 0 <= ip.resume("longer.h5", epochs=2) <= 1
        True
    """
    return go_on(Path(path), changes, execution=Execution(progress=progress))


def compare(
    variants: Mapping[str, TrainingSettings] | Sequence[str],
    folder: str | os.PathLike[str],
    *,
    seeds: int | Iterable[int] = 5,
    reference: str | None = None,
    margin: float = 0.01,
    tune_lr: Sequence[float] = (),
    as_published: bool = False,
    jobs: int = 1,
    scheduler: str | None = None,
    progress: bool = False,
    **settings: Any,
) -> pd.DataFrame:
    """Trains variants on the same seeds, what is missing only, and tabulates accuracy, paired gap, memory and time.

    Args:
        variants: Settings by name, or names of methods.
        folder: Where the runs go: `VARIANT/seedN.h5`.
        seeds: Their number, or the seeds.
        reference: The variant that others are compared with; None takes the first.
        margin: How far below the reference an accuracy may be to count as comparable.
        tune_lr: Multiples of each variant's learning rate to try on a validation split; none for no tuning.
        as_published: Take batch size and schedule that are not given from each method's publication; else they are
            the same for all, 128 and one-cycle.
        jobs: Trainings at once; times are then no good.
        scheduler: Address of the scheduler of a Dask cluster whose workers train in place of this machine; they see
            the folder by the same path.
        progress: Show a progress bar.
        settings: Settings that all methods share, as in `TrainingSettings`, where methods are given by name.

    Returns:
        One row per variant, as `infoplane.analysis.comparison.methods.comparison_table` gives it.

    Raises:
        InfoplaneError: A variant or setting that is unknown or impossible, variants that cannot be compared, as
            they differ in their data, or a training that failed.

    Example:
        >>> small = dict(model="mlp", widths=(16,), epochs=1, train_size=200, snapshots="2")
        >>> table = ip.compare(["sgd", "greedy-ce"], "comparison", seeds=2, **small)
        >>> table["variant"].tolist(), table["seeds"].tolist()
        (['sgd', 'greedy-ce'], [2, 2])
    """
    wanted = _variants(variants, settings)
    wanted = wanted if as_published else alike(wanted)
    if not wanted:
        raise InfoplaneError("name at least one variant")
    refuse_margin(margin)
    if reference and reference not in wanted:
        raise unknown("variant", reference, wanted)
    execution, place = Execution(jobs, scheduler, progress), Path(folder)
    numbers = range(seeds) if isinstance(seeds, int) else list(seeds)
    if not numbers:
        raise InfoplaneError("name at least one seed")
    trainings = plan(wanted, numbers, place)
    refuse_unlike({job.path: dataclasses.asdict(job.settings) for job in trainings})
    if not tune_lr:
        warn_of_untuned(wanted)
    else:
        wanted = tuned(wanted, tune_lr, place, execution)
        trainings = plan(wanted, numbers, place)
    # The learning rates of finished runs were tuned, so these are looked at now.
    recorded = runs_table(compared_runs(place))
    refuse_unlike({job.path: dataclasses.asdict(job.settings) for job in trainings}, place, recorded)
    save_results(recorded, place)
    run_jobs(trainings, execution, lambda job: update_results(place, [job.path]))
    table = read_results(place)
    refuse_mixture({str(place): table})
    table = add_informations(table, place, execution=Execution(None, scheduler, progress))
    return comparison_table(table, reference or next(iter(wanted)), margin)


def merge(
    results: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    reference: str | None = None,
    margin: float = 0.01,
) -> pd.DataFrame:
    """Brings the results of comparisons on several machines together, and tabulates them; no run file is needed.

    Args:
        results: Files `results.csv` of `compare`, or their folders.
        folder: Where the `results.csv` of all goes; what it has already is kept.
        reference: The variant that others are compared with; None takes the first that trains the whole network.
        margin: How far below the reference an accuracy may be to count as comparable.

    Returns:
        As of `compare`.

    Raises:
        InfoplaneError: A file is no table of results, or settings differ that must not, with both values.
    """
    paths, place = [Path(path) for path in results], Path(folder)
    if not paths:
        raise InfoplaneError("name the results.csv of at least one comparison")
    tables = {str(path): read_results(path) for path in dict.fromkeys(paths)}
    if compared_runs(place) or (place / NAME).exists():
        tables = {str(place): update_results(place)} | tables
    table = save_results(merge_results(tables), place)
    return comparison_table(table, reference or first_reference(table), margin)


def _variants(
    variants: Mapping[str, TrainingSettings] | Sequence[str], settings: Mapping[str, Any]
) -> dict[str, TrainingSettings]:
    """The settings of each variant; those of methods that are named, with what all of them share."""
    if isinstance(variants, Mapping):
        if settings:
            raise InfoplaneError(f"the variants have settings of their own; put {', '.join(settings)} into them")
        return dict(variants)
    TrainingSettings.refuse_unknown(settings)
    return variants_of(settings, {name: {} for name in variants})


def _paths(runs: Runs) -> list[Path]:
    """The files of one run or several."""
    several = [runs] if isinstance(runs, str | os.PathLike | Run) else list(runs)
    if not several:
        raise InfoplaneError("name at least one run")
    return [run.path if isinstance(run, Run) else Path(run) for run in several]


def _settings(estimators: Sequence[Estimator], options: EstimatorOptions) -> list[EstimatorSettings]:
    """The settings of estimators, by name with options, or as they are."""
    names = [name for name in estimators if isinstance(name, str)]
    if not estimators:
        raise InfoplaneError("name an estimator")
    refuse_foreign(names, options)
    given = [settings for settings in estimators if not isinstance(settings, str)]
    return [*named_settings(names, **options), *given]


def _caption(caption: bool | str) -> str | None:
    """The caption as the figures take it: None for their own, "" for none."""
    if isinstance(caption, str):
        return caption
    return None if caption else ""


def _refuse_quantity(plane: Plane, quantity: str) -> None:
    known = ("I_XT", "I_XT_corrected", "I_TY", "I_TY_corrected")
    if quantity not in known or quantity not in plane.table:
        raise unknown("quantity", quantity, known)
