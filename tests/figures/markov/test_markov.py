"""The figures of the Markov structure: their tables, that they draw these and nothing else, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from figures_seen import assert_on_the_page, found
from matplotlib.axes import Axes
from matplotlib.legend import Legend

from infoplane.analysis.markov.chains import COLUMNS, chains_hold, share_table
from infoplane.analysis.markov.controls import control_tables, planted_bottleneck
from infoplane.analysis.markov.decay import matrix_table, normalised
from infoplane.analysis.markov.tables import markov_tables
from infoplane.analysis.markov.verdict import markov_verdict
from infoplane.errors import InfoplaneError
from infoplane.figures.markov.decay import decay_caption, information_decay
from infoplane.figures.markov.matrices import NORMS, information_matrices, matrices_caption
from infoplane.figures.markov.residuals import markov_residuals, residuals_caption
from infoplane.figures.markov.violations import CHAINS, chain_violations, violations_caption

LAYERS = [f"layer{place}" for place in range(1, 6)]
ABOUT = {
    "dataset": "digits", "model": "cnn", "n": 128, "classes": 10, "estimator": "renyi", "alpha": 1.0,
    "kernel": "tensor", "bandwidth": "median:1", "scope": "snapshot", "input_bandwidth": "median:1",
    "permutations": 10, "batches": 4, "batch_size": 128, "runs": 5, "left_out": "conv9 (saturated)",
}  # fmt: skip


@pytest.fixture(scope="module")
def control():
    return control_tables(planted_bottleneck(5, batches=2, n=64), LAYERS, draws=2)


@pytest.fixture(scope="module")
def tables(control):
    return markov_tables(*control)


def made_up(layers, steps=(0, 7, 300)):
    """Tables of any size: matrices, decay, runs, links, shares, residuals."""
    rng = np.random.default_rng(0)
    last = layers + 1
    names = ["X", *(f"l{k}" for k in range(1, last)), "Y"]
    matrices = [
        {"step": step, "i": i, "j": j, "name_i": names[i], "name_j": names[j], "depth_i": i, "depth_j": j}
        | {"norm": "diagonal", **ends("information", 1 - 0.6 * abs(i - j) / last)}
        for step in steps for i in range(last + 1) for j in range(last + 1)
    ]  # fmt: skip
    decay = [
        {"step": step, "distance": d, **ends("information", 1 - d / last), **ends("gain", -0.1)}
        for step in steps for d in range(1, layers)
    ]  # fmt: skip
    seeds = [
        {"step": step, "distance": d, "run": f"r{run}", "information": rng.random(), "gain": rng.random()}
        for step in steps for d in range(1, layers) for run in range(5)
    ]  # fmt: skip
    link = [
        {"step": step, "link": k, "depth_i": k, "depth_j": k + 1, "layer_i": f"l{k}", "layer_j": f"l{k + 1}"}
        for step in steps for k in range(1, layers)
    ]  # fmt: skip
    links = [{**one, "quantity": name, "violated": rng.random(), "excess": 0.1} for name in COLUMNS for one in link]
    shares = [
        {"step": step, "quantity": name, "p": 0.1, **ends("share", rng.random()), **ends("shuffled", 0.5)}
        for step in steps for name in (*COLUMNS, "I_TY_both")
    ]  # fmt: skip
    residuals = [{**one, **ends("residual", 0.4), **ends("null", 0.3), **ends("contrast", 0.1)} for one in link]
    parts = (matrices, decay, seeds, links, shares, residuals)
    return [pd.DataFrame(rows).assign(**ABOUT) for rows in parts]


def exactly(figure, gid):
    return [artist for artist in found(figure, gid) if artist.get_gid() == gid]


def ends(name, value):
    return {name: value, f"{name}_low": value - 0.02, f"{name}_high": value + 0.02}


def drawn(parts):
    matrices, decay, seeds, links, shares, residuals = parts
    return [
        information_matrices(matrices),
        information_decay(decay, seeds),
        chain_violations(links, shares),
        markov_residuals(residuals),
    ]


def test_the_shares_are_those_of_the_verdict(control, tables):
    estimates, _ = control
    last = tables.shares[tables.shares["step"] == 1].set_index("quantity")
    numbers = chains_hold(estimates, LAYERS, 1).numbers
    assert last.loc["I_XT", "share"] == numbers["shares"]["X"]
    assert last.loc["I_TY_both", "share"] == numbers["shares"]["Y"]
    assert last.loc["I_XT", "p"] == numbers["p_alone"]["X"]
    assert last.loc["I_TY", "share"] == numbers["raw"]


def test_shares_of_shuffled_orders_by_hand():
    rows = []
    for run in range(2):
        for batch in range(3):
            for depth, value in enumerate([3.0, 2.0, 1.0], start=1):
                place = {"run": f"r{run}", "step": 0, "batch": batch, "layer": f"layer{depth}", "depth": depth}
                rows.append({**place, "I_XT": value, "I_TY": -value, "I_TY_corrected": 1.0})
    shares = share_table(pd.DataFrame(rows), LAYERS[:3]).set_index("quantity")
    # Of the six orders one has no rise, four have one of two, and one has both.
    assert shares.loc["I_XT", ["share", "shuffled", "p"]].tolist() == pytest.approx([0, 0.5, 1 / 6])
    assert shares.loc["I_TY", ["share", "shuffled", "p"]].tolist() == pytest.approx([1, 0.5, 1])
    assert shares.loc["I_TY_both", ["share", "shuffled", "p"]].tolist() == pytest.approx([0, 0, 1])


def test_the_matrix_table_is_the_mean_over_runs_and_batches(control, tables):
    _, pairs = control
    names = ["X", *LAYERS, "Y"]
    for norm in NORMS:
        table = matrix_table(pairs, names, norm)
        wide = table[table["step"] == 1].pivot(index="i", columns="j", values="information").to_numpy()
        np.testing.assert_allclose(wide, normalised(pairs, 1, names, norm).mean(axis=(2, 3)))
        np.testing.assert_allclose(wide, wide.T)
    assert tables.matrices.drop_duplicates("i")["depth_i"].tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_runs_average_to_the_decay(tables):
    means = tables.seeds.groupby(["step", "distance"])[["information", "gain"]].mean().reset_index()
    for name in ("information", "gain"):
        np.testing.assert_allclose(means[name], tables.decay[name], atol=1e-12)


def test_all_tables_are_of_the_layers_of_the_verdict(control):
    estimates, pairs = control
    saturated = estimates.assign(S_T=estimates["S_T"].where(estimates["layer"] != "layer2", np.log2(64)))
    tables, verdict = markov_tables(saturated, pairs), markov_verdict(saturated, pairs)
    assert tables.links.drop_duplicates("layer_i")["layer_i"].tolist() == verdict.numbers["layers"][:-1]
    assert tables.matrices["left_out"].unique().tolist() == ["layer2 (saturated)"]
    for caption in (matrices_caption(tables.matrices), decay_caption(tables.decay)):
        assert "Left out: layer2 (saturated)." in caption
    # A link over the gap was not estimated; it is left blank, and depths stay those of the network.
    gap = tables.residuals[tables.residuals["layer_i"] == "layer1"]
    assert gap["residual"].isna().all()
    assert gap["depth_j"].unique().tolist() == [3]
    assert_on_the_page(markov_residuals(tables.residuals))


def test_matrices_are_drawn_as_they_are(tables):
    figure = information_matrices(tables.matrices)
    for step in (0, 1):
        (image,) = found(figure, f"matrix:{step}")
        wide = tables.matrices[tables.matrices["step"] == step].pivot(index="i", columns="j", values="information")
        np.testing.assert_allclose(image.get_array(), wide.to_numpy())
    titles = [axes.get_title() for axes in figure.findobj(Axes)]
    assert titles[:2] == ["initialisation", "step 1 (end)"]
    labels = [text.get_text() for text in figure.findobj(Axes)[0].get_xticklabels()]
    assert labels == ["X", "T1", "T2", "T3", "T4", "T5", "Y"]
    assert figure.findobj(Axes)[-1].get_ylabel() == NORMS["diagonal"]


def test_decay_draws_means_bands_and_runs(tables):
    figure = information_decay(tables.decay, tables.seeds)
    for quantity, steps in (("information", (0, 1)), ("gain", (1,))):
        lines = found(figure, f"line:{quantity}:")
        assert [line.get_gid() for line in lines] == [f"line:{quantity}:{step}" for step in steps]
        for line, step in zip(lines, steps, strict=True):
            rows = tables.decay[tables.decay["step"] == step]
            assert line.get_ydata().tolist() == rows[quantity].tolist()
            assert len(found(figure, f"run:{quantity}:{step}:")) == 5
    one = found(figure, "run:gain:1:seed2")[0]
    rows = tables.seeds.query("step == 1 and run == 'seed2'")
    assert one.get_ydata().tolist() == rows["gain"].tolist()


def test_violations_are_drawn_by_link_and_by_time(tables):
    figure = chain_violations(tables.links, tables.shares)
    for quantity in CHAINS:
        (image,) = exactly(figure, f"links:{quantity}")
        rows = tables.links[tables.links["quantity"] == quantity]
        wide = rows.pivot(index="link", columns="step", values="violated").to_numpy(dtype=float)
        np.testing.assert_array_equal(image.get_array(), wide)
        shares = tables.shares[tables.shares["quantity"] == quantity]
        for kind, column in (("share", "share"), ("shuffled", "shuffled")):
            (line,) = exactly(figure, f"{kind}:{quantity}")
            assert line.get_ydata().tolist() == shares[column].tolist()
    both = tables.shares[tables.shares["quantity"] == "I_TY_both"]["share"].tolist()
    assert [line.get_ydata().tolist() for line in found(figure, "share:I_TY_both")] == [both, both]
    assert not found(figure, "share:I_TY_both:I_XT")


def test_residuals_are_drawn_with_noise_and_start(tables):
    figure = markov_residuals(tables.residuals)
    start, end = (tables.residuals[tables.residuals["step"] == step] for step in (0, 1))
    for gid, rows in {"null:null": end, "residual:end": end, "residual:start": start, "contrast:end": end}.items():
        (points,) = found(figure, gid)
        assert points.get_ydata().tolist() == rows[gid.partition(":")[0]].tolist()
    labels = [axes.get_ylabel() for axes in figure.findobj(Axes)]
    assert labels == ["residual r (ratio)", "contrast (bits)"]
    entries = [text.get_text() for text in figure.findobj(Legend)[0].get_texts()]
    assert entries == ["initialisation", "step 1 (end)", "independent noise"]


@pytest.mark.parametrize(("layers", "steps"), [(2, (0, 9)), (6, (5, 10, 20, 40, 80)), (20, (0, 7, 300))])
def test_everything_is_on_the_page(layers, steps):
    for figure in drawn(made_up(layers, steps)):
        assert_on_the_page(figure)


def test_captions_say_what_was_measured():
    matrices, decay, _, links, _, residuals = made_up(4)
    captions = [matrices_caption(matrices), decay_caption(decay), violations_caption(links)]
    for caption in (*captions, residuals_caption(residuals)):
        for part in ("cnn on digits", "n = 128", "α = 1", "tensor kernel", "bandwidth median:1", "4 batches"):
            assert part in caption
        assert "5 runs" in caption
        assert "95 %" in caption
        assert "Left out: conv9 (saturated)." in caption
    for caption in (captions[0], captions[1]):
        assert "√(I(i;i) I(j;j))" in caption
    assert "shuffled orders" in captions[2]


def test_empty_and_unmeasured_tables_are_refused():
    parts = made_up(3)
    with pytest.raises(InfoplaneError, match="nothing to draw: the table has no rows"):
        drawn([part.iloc[:0] for part in parts])
    with pytest.raises(InfoplaneError, match="no information is finite"):
        information_matrices(parts[0].assign(information=np.nan))
    with pytest.raises(InfoplaneError, match="no residual or contrast is finite"):
        markov_residuals(parts[5].assign(residual=np.nan, contrast=np.nan))


def test_one_snapshot():
    matrices, decay, seeds, links, shares, residuals = made_up(3, steps=(0,))
    with pytest.raises(InfoplaneError, match="one snapshot only"):
        information_decay(decay, seeds)
    assert not found(markov_residuals(residuals), "residual:start")
    for figure in (information_matrices(matrices), chain_violations(links, shares)):
        assert_on_the_page(figure)


def test_tables_need_batches_and_links(control):
    estimates, pairs = control
    one = [table[table["batch"] == 0] for table in control]
    with pytest.raises(InfoplaneError, match="estimate by probe batches"):
        markov_tables(*one)
    broken = estimates.assign(status=estimates["status"].where(estimates["layer"] == "layer1", "constant"))
    with pytest.raises(InfoplaneError, match=r"1 readable layers, .* layer2 \(constant\)"):
        markov_tables(broken, pairs)
