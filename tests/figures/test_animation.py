"""The plane in motion: where the points are at each snapshot, and what is written."""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest
from figures_seen import PEDESTAL, STEPS, assert_on_the_page, estimates, found, metrics
from matplotlib.axes import Axes
from matplotlib.text import Text
from PIL import Image

from infoplane.analysis.plane import Plane, plane_table
from infoplane.errors import InfoplaneError
from infoplane.figures import animation as animate
from infoplane.figures.animation import TRAIL, animated_plane, film_writer, save_animation

CORRECTED, RAW = ["I_XT_corrected", "I_TY_corrected"], ["I_XT", "I_TY"]


def clock(figure):
    """What the clock says."""
    return found(figure, "clock")[0].get_text()


def frame(animation, place):
    """The figure at one snapshot."""
    animation._func(place)
    return animation._fig


@pytest.fixture
def still():
    """Frames are drawn by hand: no complaint that the animation was never shown."""
    made = []

    def make(*arguments, **options):
        made.append(animated_plane(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one._draw_was_started = True


def test_points_stand_where_the_table_says_with_trails_behind(still):
    table = plane_table(estimates())
    animation = still(Plane(table))
    columns = {"I(X;T) − null (bits)": CORRECTED, "I(X;T) (bits)": RAW}
    for place, step in enumerate(STEPS):
        figure = frame(animation, place)
        assert clock(figure).startswith(f"step {step}, epoch")
        for point in found(figure, "point:"):
            rows = table[table["layer"] == point.get_gid().removeprefix("point:")].sort_values("step")
            row = rows.iloc[place][columns[point.axes.get_xlabel()]]
            assert (point.get_xdata()[0], point.get_ydata()[0]) == tuple(row)
        for trail in found(figure, "trail:"):
            rows = table[table["layer"] == trail.get_gid().removeprefix("trail:")].sort_values("step")
            way = rows[columns[trail.axes.get_xlabel()]].to_numpy()[max(0, place - TRAIL) : place + 1]
            drawn = trail.get_segments()
            assert len(drawn) == place
            for segment, ends in zip(drawn, itertools.pairwise(way), strict=True):
                np.testing.assert_allclose(segment, ends)
            alphas = trail.get_colors()[:, 3] if place else []
            assert (np.diff(alphas) > 0).all()


def test_all_is_on_the_page_and_the_last_frame_is_held(still):
    animation = still(Plane.of(estimates(layers=12, spread=0.1)))
    assert animation._save_count == len(STEPS) + animate.HOLD
    for place in (0, len(STEPS) + 3):
        assert_on_the_page(frame(animation, place))
    assert clock(animation._fig).startswith("step 1000")


def test_limits_nulls_and_loss_are_shown_and_the_clock_goes_on(still):
    plane = Plane(plane_table(estimates(saturated={(1, 10)})), metrics())
    animation = still(plane)
    figure = frame(animation, STEPS.index(30))
    notes = [text.get_text() for text in figure.findobj(Text)]
    assert {"H(Y) = 3.32 bits ↑", "log₂ n = 9.00 bits", "null"} <= {*notes}
    corrected, raw, *below = figure.findobj(Axes)
    for axes, zero in ((corrected, True), (raw, False)):
        assert (0.0 in [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata())]) == zero
    nulls = [cross for cross in found(figure, "null:") if len(cross.get_xdata())]
    assert {cross.axes for cross in nulls} == {raw}
    assert [(cross.get_xdata()[0], cross.get_ydata()[0]) for cross in nulls] == [(PEDESTAL, 0.2)] * 4
    assert {axes.get_ylabel() for axes in below} == {"loss", "accuracy"}
    [now] = found(figure, "now")
    assert list(now.get_xdata()) == [30, 30]
    assert_on_the_page(figure)
    bare = frame(still(Plane(plane.table)), 0)
    assert not {"loss", "accuracy"} & {axes.get_ylabel() for axes in bare.findobj(Axes)}
    assert_on_the_page(bare)
    [alone, _] = frame(still(Plane.of(estimates(null=np.nan))), 0).findobj(Axes)
    assert alone.get_xlabel() == "I(X;T) (bits)"


def test_of_layers_that_coincide_each_is_seen(still):
    points = found(frame(still(Plane.of(estimates(spread=0))), 0), "point:")
    sizes = [point.get_markersize() for point in points if point.axes is points[0].axes]
    assert (np.diff(sizes) < 0).all()
    assert {point.get_markeredgecolor() for point in points} == {"white"}


def test_hollow_where_uninformative_and_absent_where_unmeasured(still):
    table = plane_table(estimates(saturated={(1, 10)}, missing={(2, 10)}))
    animation = still(Plane(table))
    faces = {}
    for place in (STEPS.index(10), STEPS.index(30)):
        points = found(frame(animation, place), "point:")
        faces[place] = [point.get_markerfacecolor() for point in points]
        empty = [len(point.get_xdata()) == 0 for point in points]
        assert empty == [False, place == STEPS.index(10), False, False] * 2
    assert (faces[3][0], faces[3][2] == "white", faces[4][0] == "white") == ("white", False, False)


def test_nothing_to_move_is_refused():
    with pytest.raises(InfoplaneError, match="at least 2 snapshots"):
        animated_plane(Plane.of(estimates(steps=(5,))))
    with pytest.raises(InfoplaneError, match="no layer was measured"):
        animated_plane(Plane.of(estimates(missing={(d, s) for d in range(1, 5) for s in STEPS})))
    with pytest.raises(InfoplaneError, match="no rows"):
        animated_plane(Plane(plane_table(estimates()).iloc[:0]))


def test_a_gif_is_written_and_may_be_again(tmp_path):
    table = plane_table(estimates(layers=2, steps=(0, 1, 3)))
    path = save_animation(animated_plane(Plane(table)), tmp_path / "new" / "plane.gif")
    with Image.open(path) as film:
        assert film.n_frames == 3
        durations = []
        for place in range(3):
            film.seek(place)
            durations.append(film.info["duration"])
    # Frames that are alike are one long one: the last is held.
    assert durations[2] > 2000 > durations[0]
    assert [one.name for one in path.parent.iterdir()] == ["plane.gif"]
    film_writer(path)  # it may be made again
    path.write_bytes(b"GIF89a of somebody else")
    with pytest.raises(InfoplaneError, match="use `force=True`"):
        film_writer(path)


@pytest.mark.skipif(os.name != "posix", reason="the program is a script of a shell")
@pytest.mark.parametrize(
    ("says", "seen"), [("echo 'av_write: No space left' >&2", "av_write: No space left"), ("", "3")]
)
def test_why_ffmpeg_fails_is_said(tmp_path, monkeypatch, still, says, seen):
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\ncat > /dev/null\n{says}\nexit 3\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    film = still(Plane.of(estimates(layers=2, runs=1)))
    with pytest.raises(
        InfoplaneError, match=rf"cannot write .*plane\.mp4: ffmpeg ended with {seen}; mend that, or"
    ):
        save_animation(film, tmp_path / "plane.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["ffmpeg"]


def test_other_formats_and_a_missing_ffmpeg_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InfoplaneError, match=r"\.gif or \.mp4"):
        film_writer(tmp_path / "plane.avi")
    monkeypatch.setattr(animate.FFMpegWriter, "isAvailable", lambda: False)
    with pytest.raises(InfoplaneError, match="ffmpeg"):
        film_writer(tmp_path / "plane.mp4")
    monkeypatch.setattr(animate.FFMpegWriter, "isAvailable", lambda: True)
    assert isinstance(film_writer(tmp_path / "plane.mp4"), animate.FFMpegWriter)


def test_a_folder_that_cannot_be_made(tmp_path, still):
    (tmp_path / "file").write_text("")
    with pytest.raises(InfoplaneError, match="is no folder; give another place"):
        save_animation(still(Plane.of(estimates(steps=(0, 1)))), tmp_path / "file" / "plane.gif")
