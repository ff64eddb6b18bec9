"""The figures of the Markov structure: that they draw their tables and nothing else, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from figures_seen import assert_on_the_page, found
from made_markov import chain, control_runs
from matplotlib.axes import Axes
from matplotlib.legend import Legend

from infoplane.analysis.markov.tables import markov_tables
from infoplane.analysis.stats import student_interval
from infoplane.errors import InfoplaneError
from infoplane.figures.markov.decay import decay_caption, information_decay
from infoplane.figures.markov.matrices import NORM, information_matrices, matrices_caption
from infoplane.figures.markov.structure import link_structure, links_caption
from infoplane.figures.markov.triples import triples_caption, violated_triples

ABOUT = {
    "dataset": "digits", "model": "cnn", "n": 128, "classes": 10, "estimator": "renyi", "alpha": 1.0,
    "kernel": "tensor", "bandwidth": "median:1", "scope": "snapshot", "input_bandwidth": "median:1",
    "permutations": 10, "batches": 4, "batch_size": 128, "runs": 5, "left_out": "conv9 (saturated)",
}  # fmt: skip


@pytest.fixture(scope="module")
def tables():
    return markov_tables(*control_runs(chain))


def made_up(layers, steps=(0, 7, 300), to_end=True, runs=5):
    """Tables of any size: matrices, shares, middles, decay, links."""
    rng = np.random.default_rng(0)
    names = ["X", *(f"l{k}" for k in range(1, layers + 1))]
    pairs = [(step, step, 0) for step in steps] + [(step, steps[-1], 1) for step in steps[:-1] if to_end]
    matrices = [
        {"step": step, "step_j": step_j, "i": i, "j": j, "name_i": names[i], "name_j": names[j], "depth_i": i}
        | {"depth_j": j, **ends("information", 1 - 0.6 * abs(i - j) / layers)}
        for step, step_j, first in pairs for i in range(first, layers + 1) for j in range(first, layers + 1)
    ]  # fmt: skip
    test = {"share": 0.1, "least": 0.05, "most": 0.2, "p": 0.012, **ends("shuffled", 0.5)}
    shares = [{"step": step, **test} for step in steps]
    middles = [
        {"step": step, "layer": names[k], "depth": k, "share": rng.random()}
        for step in steps for k in range(1, layers)
    ]  # fmt: skip
    decay = [
        {"step": step, "distance": d, "run": f"r{run}", "information": rng.random(), "gain": rng.random()}
        for step in steps for d in range(1, layers) for run in range(runs)
    ]  # fmt: skip
    links = [
        {"run": f"r{run}", "when": when, "link": k, "layer_i": names[k], "layer_j": names[k + 1], "depth_i": k}
        | {"depth_j": k + 1, "delta": 10.0 ** -rng.integers(1, 9)}
        for run in range(runs) for when in ("first", "last") for k in range(1, layers)
    ]  # fmt: skip
    return [pd.DataFrame(rows).assign(**ABOUT) for rows in (matrices, shares, middles, decay, links)]


def ends(name, value):
    return {name: value, f"{name}_low": value - 0.02, f"{name}_high": value + 0.02}


def drawn(parts):
    matrices, shares, middles, decay, links = parts
    return [
        information_matrices(matrices, shares),
        information_decay(decay),
        violated_triples(shares, middles),
        link_structure(links),
    ]


def test_matrices_at_one_time_and_with_the_end(tables):
    figure = information_matrices(tables.matrices, tables.shares)
    for step, step_j in ((0, 0), (100, 100), (0, 100)):
        gid = f"matrix:{step}:{step_j}"
        (image,) = [one for one in found(figure, gid) if one.get_gid() == gid]
        rows = tables.matrices.query("step == @step and step_j == @step_j")
        wide = rows.pivot(index="i", columns="j", values="information")
        np.testing.assert_allclose(image.get_array(), wide.to_numpy())
    titles = [axes.get_title() for axes in figure.findobj(Axes)]
    assert titles[:2] == ["initialisation", "step 100 (end)"]
    labels = [text.get_text() for text in figure.findobj(Axes)[0].get_xticklabels()]
    assert labels == ["X", "T1", "T2", "T3", "T4", "T5", "T6"]
    assert figure.findobj(Axes)[-1].get_ylabel() == NORM


def test_under_each_matrix_stands_the_test_of_its_triples():
    matrices, shares, *_ = made_up(4)
    figure = information_matrices(matrices, shares)
    assert [text.get_text() for text in found(figure, "triples:")] == ["violated 10 %, p = 0.012"] * 3


def test_each_layer_against_itself_at_the_end(tables):
    figure = information_matrices(tables.matrices, tables.shares)
    lines = found(figure, "diagonal:")
    assert len(lines) == 6
    own = tables.matrices.query("name_i == name_j and step_j == 100 and depth_i == 4").sort_values("step")
    assert lines[3].get_ydata().tolist() == own["information"].tolist()
    assert lines[3].get_xdata().tolist() == [0, 100]
    assert own["information"].iloc[-1] == pytest.approx(1)


def test_decay_draws_means_bands_and_runs(tables):
    figure = information_decay(tables.decay)
    for quantity, steps in (("information", (0, 100)), ("gain", (100,))):
        lines = found(figure, f"line:{quantity}:")
        assert [line.get_gid() for line in lines] == [f"line:{quantity}:{step}" for step in steps]
        for line, step in zip(lines, steps, strict=True):
            rows = tables.decay[tables.decay["step"] == step]
            means = [student_interval(group[quantity])[0] for _, group in rows.groupby("distance")]
            assert line.get_ydata().tolist() == pytest.approx(means)
            assert len(found(figure, f"run:{quantity}:{step}:")) == 5
    one = found(figure, "run:gain:100:seed2")[0]
    rows = tables.decay.query("step == 100 and run == 'seed2'")
    assert one.get_ydata().tolist() == rows["gain"].tolist()


def test_triples_are_drawn_by_time_and_by_the_layer_in_the_middle():
    _, shares, middles, *_ = made_up(5)
    figure = violated_triples(shares, middles)
    (image,) = found(figure, "middles")
    wide = middles.pivot(index="depth", columns="step", values="share")
    np.testing.assert_array_equal(image.get_array(), wide.to_numpy())
    for name in ("share", "shuffled"):
        (line,) = found(figure, name)
        assert line.get_ydata().tolist() == shares[name].tolist()


def test_links_are_drawn_at_both_ends_of_training():
    *_, links = made_up(4)
    links.loc[links["link"] == 2, "delta"] = 0.0
    figure = link_structure(links)
    for when in ("first", "last"):
        (points,) = found(figure, f"delta:{when}")
        expected = links[links["when"] == when]["delta"]
        assert points.get_ydata().tolist() == expected.where(expected > 1e-8, 0).tolist()
        assert len(points.get_xdata()) == 15
    entries = [text.get_text() for text in figure.findobj(Legend)[0].get_texts()]
    assert entries == ["first snapshot", "end of recording"]


@pytest.mark.parametrize(("layers", "steps"), [(2, (0, 9)), (6, (5, 10, 20, 40, 80)), (20, (0, 7, 300))])
def test_everything_is_on_the_page(layers, steps):
    for figure in drawn(made_up(layers, steps)):
        assert_on_the_page(figure)


def test_captions_say_what_was_measured():
    matrices, shares, middles, decay, links = made_up(4)
    captions = [matrices_caption(matrices), decay_caption(decay), triples_caption(shares, middles)]
    for caption in captions:
        for part in ("n = 128", "α = 1", "tensor kernel", "bandwidth median:1"):
            assert part in caption
        assert "Left out: conv9 (saturated)." in caption
    for caption in (*captions, links_caption(links)):
        assert "cnn on digits" in caption
        assert "5 runs" in caption
    for caption in captions:
        assert "4 batches" in caption
    assert captions[0].endswith("T1 l1, T2 l2, T3 l3, T4 l4.")
    assert "Student's t" in captions[0]
    assert "other orders" in captions[2]
    unknown = links.assign(delta=links["delta"].where(links["link"] != 2))
    assert "Not measured in some run: 1 of 3 links." in links_caption(unknown)


def test_empty_and_unmeasured_tables_are_refused():
    parts = made_up(3)
    with pytest.raises(InfoplaneError, match="nothing to draw: the table has no rows"):
        drawn([part.iloc[:0] for part in parts])
    with pytest.raises(InfoplaneError, match="no information is finite"):
        information_matrices(parts[0].assign(information=np.nan), parts[1])
    with pytest.raises(InfoplaneError, match="no delta is finite"):
        link_structure(parts[4].assign(delta=np.nan))


def test_one_snapshot_and_one_run():
    matrices, shares, middles, decay, links = made_up(3, steps=(0,), to_end=False, runs=1)
    with pytest.raises(InfoplaneError, match="one snapshot only"):
        information_decay(decay)
    figures = [information_matrices(matrices, shares), violated_triples(shares, middles), link_structure(links)]
    for figure in figures:
        assert_on_the_page(figure)
        assert not found(figure, "diagonal:")
