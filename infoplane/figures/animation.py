"""The information plane in motion, for talks: layers as points that move with training, with fading trails."""

from __future__ import annotations

from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.animation import AbstractMovieWriter, FFMpegWriter, FuncAnimation, PillowWriter
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex, to_rgba

from infoplane.analysis.plane import Plane
from infoplane.errors import InfoplaneError
from infoplane.figures.parts.canvas import canvas
from infoplane.figures.parts.captions import measured_text
from infoplane.figures.parts.curves import curve_entries
from infoplane.figures.parts.labels import label_points
from infoplane.figures.parts.layers import extent, limit_lines
from infoplane.figures.parts.style import GREY, SMALL, TEXT, Layer, layers_of, panels_of, style
from infoplane.figures.parts.time_axis import time_axis
from infoplane.figures.plane import axes_of
from infoplane.figures.time import draw_metrics, metric_lines
from infoplane.files import MARK, refuse_foreign, whole
from infoplane.words import label

FORMATS = (".gif", ".mp4")
WIDTH, HEIGHT, DPI = 6.4, 2.2, 200
# Of loss and accuracy over time, and of an axis of time alone.
_STRIPS = {True: 1.1, False: 0.8}
_FRAMES_PER_SECOND = 6
# The last frame stays for so long before the film starts again.
HOLD = 2 * _FRAMES_PER_SECOND
TRAIL = 8


@style()
def animated_plane(plane: Plane) -> FuncAnimation:
    """The way of all layers through the information plane, a frame a snapshot, with the limits and a clock.

    As in the plane that stands still, informations less their permuted nulls are on the left, where 0 is the null,
    and raw ones on the right, with log2 n and H(Y), and with the null of each layer as a cross. A layer is a
    marker at where it is, hollow where it is uninformative, with a trail of its last snapshots that fades. Below, a
    line goes over loss and accuracy with time, with the step and the epoch above. Nothing is drawn between
    snapshots, where nothing was measured.

    Args:
        plane: The plane; without metrics, the line goes over an empty axis.

    Returns:
        The animation; `save_animation` writes it.

    Raises:
        InfoplaneError: If the table is empty, nothing in it was measured, or it holds a single snapshot.
    """
    table = plane.table
    layers = layers_of(table)
    steps = sorted(table["step"].unique())
    if len(steps) < 2:
        raise InfoplaneError("nothing moves: an animation needs at least 2 snapshots")
    shown = [axes_of(table, name) for name in panels_of(table, ("I_TY_corrected", "I_TY"))]
    if all(table[[*columns]].isna().any(axis=1).all() for columns in shown):
        raise InfoplaneError("nothing to draw: no layer was measured")
    strip = _STRIPS[bool(metric_lines(plane.metrics))]
    figure, body = canvas(WIDTH, HEIGHT + strip, _caption(table), handles=curve_entries(layers))
    parts: Any = body.subfigures(2, 1, height_ratios=[HEIGHT, strip])
    above, below = parts
    panels: list[Axes] = list(np.atleast_1d(above.subplots(1, len(shown))))
    clock = _Clock(below.subplots(), plane)
    for axes, columns in zip(panels, shown, strict=True):
        _frame(axes, table, columns)
    # Later layers are smaller, so that those below are seen where they coincide.
    sizes = np.linspace(8.5, 6.5, len(layers))
    moving = [
        [_Moving(axes, layer, columns, size) for layer, size in zip(layers, sizes, strict=True)]
        for axes, columns in zip(panels, shown, strict=True)
    ]
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    names: list[Any] = []

    def draw(frame: int) -> list[Artist]:
        step = steps[min(frame, len(steps) - 1)]
        artists = [*clock.move(step), *(artist for panel in moving for one in panel for artist in one.move(step))]
        while names:
            names.pop().remove()
        for axes, panel in zip(panels, moving, strict=True):
            here = {layer.short: one.place for layer, one in zip(layers, panel, strict=True) if one.place}
            if here:
                places = np.array(list(here.values()))
                names.extend(label_points(axes, places, list(here), places))
        return [*artists, *names]

    return FuncAnimation(
        figure, draw, frames=len(steps) + HOLD, interval=1000 / _FRAMES_PER_SECOND, init_func=lambda: []
    )


def film_writer(path: Path, force: bool = False) -> AbstractMovieWriter:
    """What writes an animation to a file; to be asked before anything is computed.

    Args:
        path: The file, by its ending GIF or MP4.
        force: Overwrite a file that infoplane did not make, too.

    Raises:
        InfoplaneError: The ending is none of `FORMATS`, ffmpeg is missing for MP4, or the file is not of infoplane
            (and not `force`).
    """
    if path.suffix not in FORMATS:
        raise InfoplaneError(f"{path.name}: an animation is written as {' or '.join(FORMATS)}")
    refuse_foreign(path, force=force)
    if path.suffix == ".gif":
        return _GifWriter(fps=_FRAMES_PER_SECOND)
    if not FFMpegWriter.isAvailable():
        raise InfoplaneError("MP4 needs the program ffmpeg, which was not found; install it or take GIF")
    return FFMpegWriter(fps=_FRAMES_PER_SECOND, metadata={"comment": MARK})


def save_animation(animation: FuncAnimation, path: Path, force: bool = False) -> Path:
    """Write an animation as GIF or MP4; the file appears at once or not at all.

    Args:
        animation: One of `animated_plane`.
        path: The file; its folder is made if needed.
        force: Overwrite a file that infoplane did not make, too.

    Raises:
        InfoplaneError: As `film_writer`, or the file cannot be written.
    """
    writer = film_writer(path, force)
    with whole(path) as [draft], style():
        try:
            animation.save(draft, writer=writer, dpi=DPI)
        except CalledProcessError as error:
            said = (error.stderr or "").strip().splitlines()
            raise OSError(f"ffmpeg ended with {said[-1] if said else error.returncode}") from error
    return path


class _GifWriter(PillowWriter):
    """Writes a GIF that says who made it."""

    def finish(self) -> None:
        self._frames[0].info["comment"] = MARK.encode()  # type: ignore[attr-defined]
        super().finish()


def _caption(table: pd.DataFrame) -> str:
    """What was measured, and what the signs mean."""
    runs = int(table["runs"].max())
    several = f"Mean over {runs} runs." if runs > 1 else "One run."
    hollow = " Hollow: uninformative." if table["uninformative"].any() else ""
    crosses = " Crosses: permuted nulls." if _nulls(table, ("I_XT", "I_TY")) else ""
    return f"{measured_text(table)} {several}{crosses}{hollow}"


def _nulls(table: pd.DataFrame, columns: tuple[str, str]) -> list[str]:
    """The columns of the nulls on both axes, where both axes are raw and their nulls were measured."""
    names = [f"{name}_null" for name in columns]
    return names if all(name in table and table[name].notna().any() for name in names) else []


def _frame(axes: Axes, table: pd.DataFrame, columns: tuple[str, str]) -> None:
    """Axes wide enough for all steps and their nulls, so that they never move, with the limits."""
    axes.update_datalim(extent(table, columns))
    if nulls := _nulls(table, columns):
        axes.update_datalim(table[nulls].dropna().to_numpy())
    axes.margins(x=0.08, y=0.1)
    axes.set(xlabel=label(columns[0], table), ylabel=label(columns[1], table))
    limit_lines(axes, table, columns)
    if "corrected" in columns[1]:
        note: dict[str, Any] = {"size": SMALL, "color": GREY, "textcoords": "offset points"}
        axes.annotate("null", (1, 0), (0, 1), xycoords=axes.get_yaxis_transform(), ha="right", va="bottom", **note)
    if "corrected" in columns[0]:
        axes.annotate("null", (0, 1), (2, 0), xycoords=axes.get_xaxis_transform(), ha="left", va="top", **note)
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())


class _Clock:
    """A line that goes over loss and accuracy with training time, and step and epoch as text."""

    def __init__(self, axes: Axes, plane: Plane) -> None:
        self.epochs = plane.table.groupby("step")["epoch"].mean()
        names = metric_lines(plane.metrics)
        if names and plane.metrics is not None:
            draw_metrics(axes, plane.metrics, names)
        else:
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
        time_axis(axes, plane.table["step"])
        self.line = axes.axvline(0, color="black", linewidth=1.0, zorder=5, gid="now")
        self.text = axes.set_title("step 0", loc="left", size=TEXT, weight="bold", gid="clock")

    def move(self, step: int) -> list[Artist]:
        """To one snapshot."""
        epoch = float(self.epochs[step])
        self.text.set_text(f"step {step}" + (f", epoch {epoch:.2f}" if np.isfinite(epoch) else ""))
        self.line.set_xdata([step, step])
        return [self.text, self.line]


class _Moving:
    """The artists of one layer in one plane."""

    def __init__(self, axes: Axes, layer: Layer, columns: tuple[str, str], size: float) -> None:
        self.nulls = _nulls(layer.rows, columns)
        self.rows = layer.rows.set_index("step")[[*columns, "uninformative", *self.nulls]]
        self.colour = to_hex(layer.colour[:3])  # type: ignore[arg-type]
        self.place: tuple[float, float] | None = None
        self.trail = LineCollection([], linewidths=1.2, zorder=2, gid=f"trail:{layer.name}")
        axes.add_collection(self.trail, autolim=False)
        cross: dict[str, Any] = {"marker": "x", "markersize": 3.5, "markeredgewidth": 0.8, "zorder": 3}
        (self.null,) = axes.plot([], [], color=layer.colour, linestyle="none", gid=f"null:{layer.name}", **cross)
        look: dict[str, Any] = {"marker": layer.marker, "markersize": size, "markeredgewidth": 0.6, "zorder": 4}
        (self.point,) = axes.plot([], [], linestyle="none", gid=f"point:{layer.name}", **look)

    def move(self, step: int) -> list[Artist]:
        """To one snapshot; what was not measured there is not shown."""
        until = self.rows.loc[:step]
        now: Any = self.rows.loc[step] if step in self.rows.index else None
        self.place = None if now is None or now.iloc[:2].isna().any() else (float(now.iloc[0]), float(now.iloc[1]))
        self.point.set_data(*([[value] for value in self.place] if self.place else [[], []]))
        hollow = now is not None and bool(now["uninformative"])
        self.point.set(mfc="white" if hollow else self.colour, mec=self.colour if hollow else "white")
        self.null.set_data(*([[now[name]] for name in self.nulls] if self.nulls and self.place else [[], []]))
        way = until.iloc[:, :2].dropna().to_numpy(dtype=float)[-TRAIL - 1 :]
        self.trail.set_segments(list(np.stack([way[:-1], way[1:]], axis=1)) if len(way) > 1 else [])
        fading = np.linspace(0, 0.8, max(len(way), 1))[1:]
        self.trail.set_color([to_rgba(self.colour, alpha) for alpha in fading])
        return [self.trail, self.null, self.point]
