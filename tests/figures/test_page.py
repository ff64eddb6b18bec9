import html.parser
import importlib
import json
import re
import sys

import numpy as np
import pytest
from browser import PHONE, opened
from figures_seen import STEPS, estimates, metrics

from infoplane.analysis.plane import Plane
from infoplane.errors import InfoplaneError

pytest.importorskip("plotly", reason="pages need the extra 'page'")

from infoplane.figures.page import Panel, save_page

NASTY = "</script><b>%{x}&"
VERDICT = {"claim": "bottom-up convergence", "outcome": "not shown", "reasons": ["a reason <i>"]}


def panel(name="sgd", **made):
    return Panel(name, Plane.of(estimates(**made)), {})


def with_metrics(name="sgd", **made):
    plane = Plane(Plane.of(estimates(runs=3, **made)).table, metrics())
    return Panel(name, plane, {"lr": "0.1", "weight_decay": ""})


@pytest.fixture
def two(tmp_path):
    """A page of two sets of runs, one of which has a layer more."""
    panels = [with_metrics("sgd", missing={(1, 1000)}), with_metrics("dib", layers=5, saturated={(2, 10)})]
    return save_page(panels, tmp_path / "page.html"), panels


def content(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="content">(.*?)</script>', text, re.DOTALL)[1])


def traces(figure, part, view="corrected"):
    return {
        t["meta"]["layer"]: t for t in figure["data"] if t["meta"]["part"] == part and t["meta"]["view"] == view
    }


def test_the_figures_hold_the_numbers_of_the_table(two):
    path, panels = two
    for place, own in enumerate(panels):
        figure = content(path)["figures"][place]
        assert (figure["id"], figure["kind"]) == (f"plane-{place}", "plane")
        for view, columns in (("corrected", own.plane.corrected), ("raw", ("I_XT", "I_TY"))):
            ways = traces(figure, "way", view)
            assert list(ways) == list(own.plane.layers)
            for layer, way in ways.items():
                rows = own.plane.table[own.plane.table["layer"] == layer].sort_values("step")
                for axis, column in zip("xy", columns, strict=True):
                    seen = np.array(way[axis], dtype=float)
                    np.testing.assert_allclose(seen, rows[column], atol=1e-5)
                bars = way["customdata"][0]["y"]
                assert bars["array"][0] == pytest.approx(
                    (rows[f"{columns[1]}_high"] - rows[columns[1]]).iloc[0], abs=1e-5
                )
                is_open = [symbol.endswith("-open") for symbol in way["marker"]["symbol"]]
                assert is_open == rows["uninformative"].tolist()


def test_axes_and_looks_are_shared(two):
    made = content(two[0])
    first, second = made["figures"][:2]
    for view in ("corrected", "raw"):
        assert first["views"][view] == second["views"][view]
        (low, high), values = first["views"][view]["xaxis"]["range"], []
        for figure in (first, second):
            values += [x for way in traces(figure, "way", view).values() for x in way["x"] if x is not None]
        assert low < min(values) < max(values) < high
    colours = [traces(figure, "way")["layer2"]["marker"]["color"] for figure in (first, second)]
    assert colours == [made["layers"]["layer2"]["colour"]] * 2
    assert len({look["colour"] for look in made["layers"].values()}) == 5


def test_the_slider_stops_at_every_step(two):
    made = content(two[0])
    assert [stop["step"] for stop in made["times"]] == list(STEPS)
    places = [stop["place"] for stop in made["times"]]
    assert places == sorted(places)
    assert (places[0], places[-1]) == (0, 1)
    curve = traces(made["figures"][2], "curve")["layer2"]
    assert curve["x"] == places


def test_hover_says_all_numbers(two):
    texts = content(two[0])["sets"][0]["layer2"]
    row = two[1][0].plane.table.query("layer == 'layer2' and step == 100").iloc[0]
    text = texts["texts"][texts["steps"].index(100)]
    for name in ("I_XT", "I_XT_null", "I_XT_corrected", "I_TY", "I_TY_null", "I_TY_corrected"):
        assert f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]" in text
    for words in ("step 100, epoch 1", "3 runs, status ok", "test loss 1.2", "train accuracy 0.9", "bits"):
        assert words in text
    missing = content(two[0])["sets"][0]["layer1"]["texts"][-1]
    assert "I(X;T) = –" in missing
    assert "status constant" in missing


def test_loss_and_accuracy_are_curves_over_time(two):
    figure = content(two[0])["figures"][2]
    lines = [trace for trace in figure["data"] if trace["meta"]["part"] == "metric"]
    assert len(lines) == 4
    assert {trace["line"]["dash"] for trace in lines} == {"solid", "dash"}
    assert [figure["layout"][f"yaxis{row}"]["title"]["text"] for row in (3, 4)] == ["loss", "accuracy"]


class Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.asked = [], []

    def handle_starttag(self, tag, attrs):
        here = dict(attrs)
        self.links += [here["href"]] if tag == "a" else []
        self.asked += [value for name, value in attrs if name in ("src", "href") and tag != "a"]


def test_the_page_is_one_file_that_asks_for_nothing(two):
    parser = Links()
    parser.feed(re.sub(r"<script>.*?</script>", "", two[0].read_text(encoding="utf-8"), flags=re.DOTALL))
    assert parser.asked == ["data:,"]
    assert len(parser.links) == 2
    assert all(link.startswith("data:text/csv;base64,") for link in parser.links)


def test_tables_settings_and_verdicts(tmp_path):
    estimates_file = tmp_path / "runs" / "seed 0.estimates.csv"
    plane = Plane.of(estimates(saturated={(1, 3)}))
    made = Panel("sgd", plane, {"weight_decay": "0.1", "beta": ""}, [VERDICT], [estimates_file])
    text = save_page([made], tmp_path / "pages" / "page.html").read_text(encoding="utf-8")
    parser = Links()
    parser.feed(re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL))
    assert "../runs/seed%200.estimates.csv" in parser.links
    assert "weight decay" in text
    assert "beta" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert "Bottom-up convergence: <span class='outcome'>not shown</span>" in text
    assert "a reason &lt;i&gt;" in text
    assert f"{plane.final['I_XT'].iloc[0]:.3f}" in text
    assert "at step 3" in text  # what is hollow is named
    assert "mlp on mnist, one run, n = 512" in text


def test_a_name_cannot_become_a_part_of_the_page(tmp_path):
    table = estimates().replace({"layer": {"layer1": NASTY}}).assign(model=NASTY)
    path = save_page([Panel(NASTY, Plane.of(table), {NASTY: NASTY})], tmp_path / "page.html")
    assert NASTY not in path.read_text(encoding="utf-8")
    assert NASTY in content(path)["layers"]


def test_what_cannot_be_shown(tmp_path):
    path = tmp_path / "page.html"
    small = Plane.of(estimates().assign(n=100))
    with pytest.raises(InfoplaneError, match="probes of 100 and 512 samples"):
        save_page([panel(), Panel("small", small, {})], path)
    other = Plane.of(estimates().assign(unit="dependence", estimator="cka"))
    with pytest.raises(InfoplaneError, match="different units"):
        save_page([Panel("bits", Plane.of(estimates().assign(unit="bits")), {}), Panel("cka", other, {})], path)
    nothing = {(depth, step) for depth in range(1, 5) for step in STEPS}
    with pytest.raises(InfoplaneError, match="no layer was measured"):
        save_page([panel(missing=nothing)], path)
    with pytest.raises(InfoplaneError, match="name runs"):
        save_page([], path)
    path.write_text("my own page")
    with pytest.raises(InfoplaneError, match="infoplane did not make it"):
        save_page([panel()], path)
    assert path.read_text() == "my own page"
    save_page([panel()], path, force=True)
    save_page([panel("again")], path)


def test_without_plotly_the_error_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "plotly"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.delitem(sys.modules, "infoplane.figures.interactive")
    with pytest.raises(InfoplaneError, match=r'pip install "infoplane\[page\]"'):
        importlib.import_module("infoplane.figures.interactive")


def points(page, layer):
    """Where the large markers of a plane are, by the names of their layers."""
    return page.evaluate(
        f"""document.getElementById("plane-0").data
            .filter((trace) => trace.meta.part === "now" && trace.meta.layer === "{layer}")
            .map((trace) => [trace.x[0], trace.y[0]])"""
    )


def test_in_a_browser_the_slider_moves_the_points(two):
    path, panels = two
    table = panels[0].plane.table.query("layer == 'layer2'").set_index("step")
    with opened(path) as (page, complaints):
        for stop, step in ((7, 1000), (2, 3), (0, 0)):
            page.locator("#slider").fill(str(stop))
            page.wait_for_function(f"document.getElementById('time').textContent.startsWith('step {step},')")
            [(x, y)] = points(page, "layer2")
            assert (x, y) == pytest.approx(table.loc[step, ["I_XT_corrected", "I_TY_corrected"]].tolist(), abs=1e-5)
        page.locator("input[value=raw]").check()
        page.wait_for_function("document.getElementById('plane-0').layout.xaxis.title.text === 'I(X;T) (bits)'")
        [(x, _)] = points(page, "layer2")
        assert x == pytest.approx(table.loc[0, "I_XT"], abs=1e-5)
        page.locator("#layers input").nth(1).uncheck()
        page.wait_for_function(
            "!document.getElementById('plane-0').data.some((trace) => trace.meta.layer === 'layer2')"
        )
        assert len(points(page, "layer3")) == 1
        page.locator("#play").click()
        page.wait_for_function("Number(document.getElementById('slider').value) > 1")
        page.locator("#play").click()
        assert complaints == []


def test_in_a_browser_the_mouse_shows_the_numbers(two):
    with opened(two[0]) as (page, complaints):
        box = page.locator("#plane-0 .scatterlayer .trace .points path").last.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.wait_for_selector("#plane-0 .hovertext")
        text = page.locator("#plane-0 .hovertext").first.text_content()
        assert "step 1000, epoch 10" in text
        assert "null" in text
        assert complaints == []


def test_on_a_phone_nothing_is_wider_than_the_screen(two):
    with opened(two[0], PHONE, touch=True) as (page, complaints):
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        for plot in page.locator(".js-plotly-plot").all():
            assert plot.bounding_box()["width"] > 300
        sizes = page.evaluate(
            "[...document.querySelectorAll('p, td, label, output, text.xtitle, text.ytitle')]"
            ".map((place) => parseFloat(getComputedStyle(place).fontSize))"
        )
        assert min(sizes) >= 12
        assert complaints == []


def test_a_step_has_an_epoch_where_the_sets_agree_on_it():
    from infoplane.figures.interactive import times

    made = estimates()
    others = made.assign(epoch=made["step"] / 40)
    alike, unlike = (times([Plane.of(made), Plane.of(other)]) for other in (made, others))
    assert [stop["epoch"] for stop in alike] == [step / 100 for step in STEPS]
    assert [stop["epoch"] for stop in unlike] == [0.0, *[None] * (len(STEPS) - 1)]
