"""`infoplane plot`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from infoplane.cli.options import (
    OUTPUT,
    RUN_FILE,
    CommaList,
    batches_of,
    estimation_options,
    estimators_of,
    examples,
    force_option,
    given,
    loading,
    option,
    repetitions,
    talkative,
    target_option,
    verb,
)
from infoplane.cli.output import in_options, say
from infoplane.errors import InfoplaneError, MissingData
from infoplane.estimators.registry import ESTIMATOR, NAMES

if TYPE_CHECKING:
    from infoplane.estimators.base import EstimatorSettings
    from infoplane.estimators.batches import Batches
    from infoplane.execution import Execution


_FIGURE = "Figure of runs"


@dataclass(frozen=True)
class _Paper:
    """How the figures of runs are drawn and written, as the options say."""

    view: dict[str, Any]
    caption: str
    formats: Sequence[str]
    dpi: float
    layers: Sequence[str]
    steps: Sequence[int]


@verb(
    short_help="Draw the information plane of runs, or a comparison.",
    epilog=examples(
        "infoplane plot run.h5",
        "infoplane plot seed0.h5 seed1.h5 seed2.h5 -o figures",
        "infoplane plot run.h5 --alpha 2 --bandwidth knn:10 --name run-knn",
        "infoplane plot run.h5 --estimator kde --noise median:0.2",
        "infoplane plot run.h5 --animate gif",
        "infoplane plot run.h5 --style classic --panel raw --caption file --width 3.3   # for a paper",
        "infoplane plot signs.h5 --target box",
        "infoplane plot comparison   # a folder of infoplane compare",
        "infoplane plot signs --data-root data -o figures",
    ),
)
@click.argument("runs", nargs=-1, required=True, type=RUN_FILE, callback=repetitions)
@option("--estimator", default="renyi", help=f"What to draw, of {', '.join(NAMES)}.", heading=ESTIMATOR)
@target_option
@estimation_options
@option(
    "--data-root",
    type=RUN_FILE,
    default=None,
    show_default="no pictures",
    help="Folder of the data sets; with it, a comparison shows pictures of the hardest classes.",
    heading=OUTPUT,
)
@option(
    "-o",
    "--output",
    type=RUN_FILE,
    default=None,
    show_default="beside the run",
    help="Folder of the figures.",
    heading=OUTPUT,
)
@option("--name", default=None, show_default="the run's", help="First part of the figures' names.", heading=OUTPUT)
@option(
    "--caption",
    type=click.Choice(["none", "below", "file"]),
    default="below",
    help="Say what was measured and how: below the figure, or in a text file beside it, for a paper.",
    heading=_FIGURE,
)
@option(
    "--format",
    "formats",
    type=CommaList(str, "NAME,..."),
    default="png,pdf",
    help="File formats, of png, pdf, svg.",
    heading=_FIGURE,
)
@option("--dpi", type=click.FloatRange(10, 2400), default=300, help="Dots per inch of PNG.", heading=_FIGURE)
@option(
    "--width",
    type=float,
    default=None,
    show_default="6.75, of one panel 4, over time 6.75 or 3.25",
    help="Width in inches.",
    heading=_FIGURE,
)
@option(
    "--height",
    type=float,
    default=None,
    show_default="by what is shown",
    help="Height in inches, without legend and caption.",
    heading=_FIGURE,
)
@option(
    "--panel",
    type=click.Choice(["both", "corrected", "raw"]),
    default="both",
    help="Show informations with their nulls subtracted, raw ones, or both.",
    heading=_FIGURE,
)
@option(
    "--style",
    "look",
    type=click.Choice(["layers", "classic"]),
    default="layers",
    help="The plane: join the snapshots of a layer, or the layers of a snapshot as Shwartz-Ziv and Tishby did.",
    heading=_FIGURE,
)
@option(
    "--xlim",
    type=CommaList(float, "LOW,HIGH"),
    default=None,
    show_default="by the data",
    help="Limits of I(X;T) in the plane.",
    heading=_FIGURE,
)
@option(
    "--ylim",
    type=CommaList(float, "LOW,HIGH"),
    default=None,
    show_default="by the data",
    help="Limits of I(T;Y) in the plane.",
    heading=_FIGURE,
)
@option(
    "--layers",
    type=CommaList(str, "NAME,..."),
    default=None,
    show_default="all",
    help="Only these layers; patterns such as 'conv*' too.",
    heading=_FIGURE,
)
@option(
    "--steps",
    type=CommaList(int, "STEP,..."),
    default=None,
    show_default="all",
    help="Only these training steps.",
    heading=_FIGURE,
)
@option(
    "--animate",
    type=click.Choice(["gif", "mp4"]),
    default=None,
    show_default="not",
    help="Make an animation of the plane, too.",
    heading=OUTPUT,
)
@force_option
@talkative
@click.pass_context
def plot(
    ctx: click.Context,
    runs: Sequence[Path],
    estimator: str,
    data_root: Path | None,
    output: Path | None,
    name: str | None,
    animate: str | None,
    caption: str,
    formats: Sequence[str],
    dpi: float,
    layers: Sequence[str] | None,
    steps: Sequence[int] | None,
    force: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Draw the information plane and the informations against training time.

    Estimates what is missing first. Several runs (seeds) and --batches give means with 95 % intervals. Hollow
    points carry no information: they are saturated, or no better than the permuted labels.

    Of a folder that `infoplane compare` made, draws accuracy against epochs and against depth, memory and time, the
    β sweep, the hardest classes and confusion matrices, and says what cannot be drawn and why.
    """
    from infoplane.execution import Execution

    view: dict[str, Any] = {"style": options.pop("look")}
    view |= {name: options.pop(name) for name in ("width", "height", "panel", "xlim", "ylim")}
    paper = _Paper(view, caption, formats, dpi, layers or (), steps or ())
    jobs, batches = options.pop("jobs"), batches_of(options)
    with loading(quiet):
        [settings] = estimators_of(ctx, [estimator], options)
    execution = Execution(jobs, progress=not quiet)
    if not any(run.is_dir() for run in runs):
        if data_root is not None:
            raise InfoplaneError(
                "--data-root is for the pictures of a comparison; name the folder of one, or leave --data-root out"
            )
        _plot_runs(runs, settings, output, _stem(runs, settings, name), animate, paper, force, batches, execution)
    elif chosen := [param.opts[0] for param in ctx.command.params if _is_chosen(ctx, param)]:
        raise InfoplaneError(f"{', '.join(chosen)}: for the figures of runs, not of a comparison; leave it out")
    elif animate:
        raise InfoplaneError("--animate is for the plane of runs; name run files")
    elif len(runs) > 1:
        raise InfoplaneError("only one comparison can be drawn at a time: name one folder, or run files")
    else:
        _plot_comparison(
            runs[0], settings, data_root, output or runs[0], f"{name}-" if name else "", force, batches, execution
        )


def _is_chosen(ctx: click.Context, param: click.Parameter) -> bool:
    """Whether an option that only figures of runs have was given."""
    return getattr(param, "heading", "") == _FIGURE and bool(given(ctx, [str(param.name)]))


def _stem(runs: Sequence[Path], settings: EstimatorSettings, name: str | None) -> str:
    """First part of the figures' names; by default made from the runs, and from estimator and target if unusual."""
    from infoplane.estimators.base import MAIN
    from infoplane.runfile import beside

    first = beside(runs[0], "").name
    stem = name or (first if len(runs) == 1 else f"{first}-and-{len(runs) - 1}-more")
    parts = [settings.name, settings.target]
    return stem if name else "-".join([stem, *(part for part in parts if part not in ("renyi", "", MAIN))])


def _plot_runs(
    runs: Sequence[Path],
    settings: EstimatorSettings,
    output: Path | None,
    stem: str,
    film: str | None,
    paper: _Paper,
    force: bool,
    batches: Batches | None,
    execution: Execution,
) -> None:
    """The plane, the informations over time, and the plane in motion where it is asked for."""
    from infoplane.analysis.gather import gather
    from infoplane.analysis.plane import Plane, saturation_summary
    from infoplane.api import plot_over_time, plot_plane
    from infoplane.figures import animation as animate
    from infoplane.figures.parts import captions, style
    from infoplane.figures.parts.view import View
    from infoplane.figures.time import SHOWN

    View(**paper.view)  # refuses what cannot be, before anything is computed
    stems = {kind: (output or runs[0].parent) / f"{stem}-{kind}" for kind in ("plane", "time")}
    for target in stems.values():
        style.writable(target, force, paper.formats, paper.caption == "file")
    target = (output or runs[0].parent) / f"{stem}-plane.{film}"
    if film:
        animate.film_writer(target, force)
    plane = Plane.of(*gather(runs, settings, batches, execution=execution)).only(paper.layers, paper.steps)
    draw, printed = {"plane": plot_plane, "time": plot_over_time}, paper.caption == "below"
    figures = {kind: make(plane, caption=printed, **paper.view) for kind, make in draw.items()}
    shown = View(panel=paper.view["panel"]).quantities(plane.table, SHOWN)
    texts = {
        "plane": captions.plane_caption(plane.table),
        "time": captions.time_caption(plane.table, columns=shown),
    }
    tables = {"plane": plane.table, "time": plane.with_metrics}
    for sentence in saturation_summary(plane.table):
        say(f"carries no information: {sentence}", err=True)
    for kind, figure in figures.items():
        text = texts[kind] if paper.caption == "file" else ""
        how: dict[str, Any] = {"formats": paper.formats, "dpi": paper.dpi, "caption": text}
        for path in style.save(figure, stems[kind], tables[kind], force, **how):
            say(path)
    if film:
        say(animate.save_animation(animate.animated_plane(plane), target, force))


def _plot_comparison(
    folder: Path,
    settings: EstimatorSettings,
    data_root: Path | None,
    output: Path,
    prefix: str,
    force: bool,
    batches: Batches | None,
    execution: Execution,
) -> None:
    """All figures of a comparison that its runs allow."""
    from infoplane.analysis.comparison.pictures import hard_pictures
    from infoplane.figures.parts import style
    from infoplane.study import comparison as gallery

    runs = gallery.finished_runs(folder)
    material = gallery.Material(runs, folder, settings, batches=batches, execution=execution)
    if data_root is not None:
        # Where no class is hard, the gallery says so.
        with contextlib.suppress(MissingData):
            material = replace(material, pictures=hard_pictures(folder, runs, data_root))
    for drawing in gallery.comparison_drawings(material):
        if drawing.missing:
            say(in_options(f"not drawn: {drawing.name}: {drawing.missing}"), err=True)
            continue
        target = output / f"{prefix}{drawing.name}"
        style.writable(target, force)
        for path in style.save(drawing.draw(), target, drawing.table, force):
            say(path)
