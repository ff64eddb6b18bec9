"""The information plane in motion, for talks: layers as points that move with training, with fading trails."""

from __future__ import annotations

from pathlib import Path
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
from infoplane.figures.parts.captions import measured
from infoplane.figures.parts.curves import curve_entries
from infoplane.figures.parts.labels import label_points
from infoplane.figures.parts.style import Layer, layers_of, style
from infoplane.files import MARK, refuse_foreign, whole
from infoplane.words import label

FORMATS = (".gif", ".mp4")
WIDTH, HEIGHT, DPI = 4.8, 2.9, 200
_FRAMES_PER_SECOND = 6
# The last frame stays for so long before the film starts again.
HOLD = 2 * _FRAMES_PER_SECOND
TRAIL = 8


@style()
def animated_plane(plane: Plane) -> FuncAnimation:
    """The way of all layers through the information plane, a frame a snapshot.

    Both axes are less their permuted nulls. A layer is a marker at where it is, hollow where it is uninformative,
    with a trail of its last snapshots that fades; the step stands above. Nothing is drawn between snapshots, where
    nothing was measured.

    Args:
        plane: The plane.

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
    columns = plane.corrected
    if table[[*columns]].isna().any(axis=1).all():
        raise InfoplaneError("nothing to draw: no layer was measured")
    runs = int(table["runs"].max())
    text = f"{measured(table)} {f'Mean over {runs} runs.' if runs > 1 else 'One run.'}"
    text += " Hollow: uninformative." if table["uninformative"].any() else ""
    figure, body = canvas(WIDTH, HEIGHT, text, handles=curve_entries(layers))
    axes = body.subplots()
    _frame(axes, table, columns)
    time = axes.set_title(_time(table, steps[0]), loc="left")
    moving = [_Moving(axes, layer, columns) for layer in layers]
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    names: list[Any] = []

    def draw(frame: int) -> list[Artist]:
        step = steps[min(frame, len(steps) - 1)]
        time.set_text(_time(table, step))
        artists = [artist for one in moving for artist in one.move(step)]
        while names:
            names.pop().remove()
        here = {layer.short: one.place for layer, one in zip(layers, moving, strict=True) if one.place}
        if here:
            places = np.array(list(here.values()))
            names.extend(label_points(axes, places, list(here), places))
        return [time, *artists, *names]

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
        animation.save(draft, writer=writer, dpi=DPI)
    return path


class _GifWriter(PillowWriter):
    """Writes a GIF that says who made it."""

    def finish(self) -> None:
        self._frames[0].info["comment"] = MARK.encode()  # type: ignore[attr-defined]
        super().finish()


def _frame(axes: Axes, table: pd.DataFrame, columns: tuple[str, str]) -> None:
    """Axes wide enough for all steps, so that they never move."""
    drawn = table[[*columns]].dropna().to_numpy()
    low, high = drawn.min(axis=0), drawn.max(axis=0)
    # Of values that are all alike, some room all the same.
    pad = np.maximum(0.08 * (high - low), 0.01)
    axes.set(xlim=(low[0] - pad[0], high[0] + pad[0]), ylim=(low[1] - pad[1], high[1] + pad[1]))
    axes.set(xlabel=label(columns[0], table), ylabel=label(columns[1], table))


def _time(table: pd.DataFrame, step: int) -> str:
    """Step and epoch, as text."""
    epoch = float(table.loc[table["step"] == step, "epoch"].mean())
    return f"step {step}" + (f", epoch {epoch:.2f}" if np.isfinite(epoch) else "")


class _Moving:
    """The artists of one layer."""

    def __init__(self, axes: Axes, layer: Layer, columns: tuple[str, str]) -> None:
        self.rows = layer.rows.set_index("step")[[*columns, "uninformative"]]
        self.colour = to_hex(layer.colour[:3])  # type: ignore[arg-type]
        self.place: tuple[float, float] | None = None
        self.trail = LineCollection([], linewidths=1.2, zorder=2, gid=f"trail:{layer.name}")
        axes.add_collection(self.trail, autolim=False)
        look: dict[str, Any] = {"marker": layer.marker, "color": layer.colour, "markersize": 6.5, "zorder": 4}
        (self.point,) = axes.plot([], [], linestyle="none", gid=f"point:{layer.name}", **look)

    def move(self, step: int) -> list[Artist]:
        """To one snapshot; what was not measured there is not shown."""
        until = self.rows.loc[:step]
        x, y, uninformative = until.iloc[-1] if step in self.rows.index else (np.nan, np.nan, False)
        shown = bool(np.isfinite(x) and np.isfinite(y))
        self.place = (float(x), float(y)) if shown else None
        self.point.set_data([x] if shown else [], [y] if shown else [])
        self.point.set_markerfacecolor("white" if uninformative else self.colour)
        way = until.iloc[:, :2].dropna().to_numpy(dtype=float)[-TRAIL - 1 :]
        self.trail.set_segments(list(np.stack([way[:-1], way[1:]], axis=1)) if len(way) > 1 else [])
        fading = np.linspace(0, 0.8, max(len(way), 1))[1:]
        self.trail.set_color([to_rgba(self.colour, alpha) for alpha in fading])
        return [self.trail, self.point]
