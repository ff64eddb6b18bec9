"""The page of a figure: its size, its legend and its caption."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

from infoplane.figures.parts.style import SMALL

COLUMN = 3.25
DOUBLE_COLUMN = 6.75
_CAPTION_LINE, _LEGEND_LINE, _MARGIN = 0.118, 0.147, 0.06
# In letters: from handle to name, and from one entry to the next.
_PAD, _SPACE = 0.5, 1.2


def canvas(
    width: float,
    height: float,
    caption: str | None,
    default: Callable[[], str] = str,
    handles: Sequence[Line2D] = (),
) -> tuple[Figure, Figure | SubFigure]:
    """A figure with its legend and its caption underneath.

    Args:
        width: Width in inches.
        height: Height in inches, without legend and caption.
        caption: Text to wrap and print; "" prints none, None what `default` makes.
        default: Makes the caption from what is drawn.
        handles: The entries of the legend, with their labels; none for no legend.

    Returns:
        The figure, and the part of it above the caption, to draw in.
    """
    text = default() if caption is None else caption
    length = _length(handles)
    columns = _columns([str(handle.get_label()) for handle in handles], width, length)
    height += -(-len(handles) // columns) * _LEGEND_LINE
    figure, body = _captioned(width, height, text)
    if handles:
        spaces = {"handlelength": length, "handletextpad": _PAD, "columnspacing": _SPACE}
        body.legend(handles=list(handles), loc="outside lower center", ncols=columns, **spaces)
    return figure, body


def _captioned(width: float, height: float, caption: str) -> tuple[Figure, Figure | SubFigure]:
    if not caption:
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure
    text = wrap(caption, 72 * (width - 2 * _MARGIN), SMALL)
    foot = _CAPTION_LINE * (text.count("\n") + 1) + 2 * _MARGIN
    figure = Figure(figsize=(width, height + foot), layout="constrained")
    grid = figure.add_gridspec(2, 1, height_ratios=[height, foot])
    body, below = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    below.text(_MARGIN / width, 1, text, size=SMALL, va="top", linespacing=1.2, gid="caption")
    return figure, body


def _length(handles: Sequence[Line2D]) -> float:
    """The length of a legend's lines in letters: dashes need more of it than markers."""
    kinds = {str(handle.get_linestyle()) for handle in handles}
    return 2.4 if kinds - {"-", "None"} else 1.6 if "-" in kinds else 1.0


def _columns(names: Sequence[str], width: float, length: float) -> int:
    """How many entries of a legend stand side by side in a figure of some inches."""
    if not names:
        return 1
    widest = max(text_width(name, SMALL) for name in names) + SMALL * (length + _PAD + _SPACE)
    return max(1, min(len(names), int((72 * (width - 2 * _MARGIN) + SMALL * _SPACE) / widest)))


def figure_of(axes: Axes) -> Figure:
    """The whole figure that some axes are in, not a part of it."""
    figure = axes.figure
    while isinstance(figure, SubFigure):
        figure = figure.figure
    return figure


def wrap(text: str, width: float, size: float) -> str:
    """Breaks text into lines at most `width` points wide, as the font really sets it."""
    # Between two letters, so that the word's own side bearings and the space before it count.
    letters = text_width("aa", size)
    lines: list[list[str]] = [[]]
    used = 0.0
    for word in text.split():
        needed = text_width(f"a {word}a", size) - letters
        if lines[-1] and used + needed > width:
            lines.append([])
            used = 0.0
        lines[-1].append(word)
        used += needed
    return "\n".join(" ".join(words) for words in lines)


def clipped(text: str, most: int) -> str:
    """A text of at most so many letters; what is cut off is shown by dots."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def text_width(text: str, size: float) -> float:
    """The width of a line of text in points, for a font size in points."""
    # Without outlines of the letters: a caption is measured word by word.
    font = FontProperties(family="DejaVu Sans", size=size)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]
