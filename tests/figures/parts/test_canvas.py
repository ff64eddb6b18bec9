import pytest
from matplotlib.lines import Line2D

from infoplane.figures.parts.canvas import COLUMN, DOUBLE_COLUMN, canvas
from infoplane.figures.parts.style import style


def entries(names, look):
    return [Line2D([], [], label=name, **look) for name in names]


def captions_of(figure):
    return [text.get_text() for text in figure.findobj(lambda artist: artist.get_gid() == "caption")]


@pytest.mark.parametrize(
    ("caption", "printed"), [(None, ["made from the data"]), ("", []), ("of one's own", ["of one's own"])]
)
def test_a_caption_is_made_given_or_left_out(caption, printed):
    figure, _ = canvas(COLUMN, 2.0, caption, lambda: "made from the data")
    assert captions_of(figure) == printed
    assert (figure.get_figheight() > 2) == bool(printed)


@pytest.mark.parametrize("width", [COLUMN, DOUBLE_COLUMN])
@pytest.mark.parametrize("look", [{"linestyle": "--"}, {"marker": "o"}, {"marker": "o", "linestyle": "none"}])
@pytest.mark.parametrize("names", [["a", "b"], [f"T{k} features.{k}.conv" for k in range(13)], ["long " * 9] * 2])
def test_a_legend_of_any_size_is_on_the_page_and_takes_nothing_from_the_axes(width, look, names):
    with style():
        bare, body = canvas(width, 2.0, "")
        free = body.subplots()
        bare.draw_without_rendering()
        figure, body = canvas(width, 2.0, "", handles=entries(names, look))
        axes = body.subplots()
        figure.draw_without_rendering()
        box = figure.legends[0].get_window_extent()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    height, without = (one.get_window_extent().height for one in (axes, free))
    assert height == pytest.approx(without, rel=0.12)
