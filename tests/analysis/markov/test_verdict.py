"""The criteria of the Markov verdict by hand-made tables, and the verdict on whole, poor and broken ones."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from recorded import make_run

from infoplane.analysis.arrays import pair_cube, readable_layers
from infoplane.analysis.gather import gather, gather_pairs
from infoplane.analysis.inference import Criterion
from infoplane.analysis.markov.chains import bottleneck_holds, chains_hold, link_table
from infoplane.analysis.markov.controls import control_tables, planted_bottleneck
from infoplane.analysis.markov.decay import NORMS, decay_holds, decay_table, normalised
from infoplane.analysis.markov.residuals import residual_table, residuals, residuals_hold
from infoplane.analysis.markov.verdict import markov_verdict, outcome
from infoplane.analysis.verdict import OUTCOMES
from infoplane.errors import InfoplaneError
from infoplane.estimators.batches import Batches
from infoplane.estimators.renyi import RenyiSettings

LAYERS = [f"layer{place}" for place in range(1, 6)]


@pytest.fixture(scope="module")
def planted():
    return control_tables(planted_bottleneck(5, batches=2, n=96), LAYERS, draws=3)


def estimates(i_xt, i_ty, corrected=None, runs=5, noise=0.001):
    """Estimates at one step with the given profiles over layers, and a little noise."""
    rng = np.random.default_rng(0)
    rows = []
    for run in range(runs):
        for batch in range(3):
            for depth, values in enumerate(zip(i_xt, i_ty, corrected or i_ty, strict=True), start=1):
                place = {"run": f"r{run}", "step": 0, "batch": batch, "layer": f"layer{depth}", "depth": depth}
                noisy = np.array(values) + noise * rng.standard_normal(3)
                rows.append({**place, **dict(zip(("I_XT", "I_TY", "I_TY_corrected"), noisy, strict=True))})
    return pd.DataFrame(rows)


def test_links_by_hand():
    table = estimates([3, 2, 2.5], [1, 1, 1], noise=0.0)
    table.loc[(table["layer"] == "layer3") & (table["batch"] == 0), "I_XT"] += 0.3
    links = link_table(table, LAYERS[:3])
    one = links[(links["run"] == "r0") & (links["quantity"] == "I_XT")]
    assert one["excess"].tolist() == pytest.approx([-1, 0.6])
    assert one["excess_se"].tolist() == pytest.approx([0, np.std([0.8, 0.5, 0.5], ddof=1) / np.sqrt(3)])
    assert one["violated"].tolist() == [False, True]
    assert not links[links["quantity"] == "I_TY"]["violated"].any()


def test_chains_that_fall_hold():
    criterion = chains_hold(estimates([5, 4, 3, 2, 1], [1, 1, 1, 1, 1]), LAYERS, 0)
    assert criterion.holds, criterion.reason
    assert criterion.numbers["p"] == 1 / 120


def test_a_flat_chain_is_no_evidence():
    criterion = chains_hold(estimates([3] * 5, [1] * 5, noise=0.0), LAYERS, 0)
    assert not criterion.holds
    assert criterion.numbers["p"] == 1


def test_one_rise_breaks_the_chain():
    criterion = chains_hold(estimates([5, 4, 4.5, 2, 1], [1, 1, 1, 1, 1]), LAYERS, 0)
    assert not criterion.holds
    assert criterion.numbers["shares"]["X"] == 0.25


def test_a_label_link_is_violated_where_raw_and_corrected_rise():
    falls = [5, 4, 3, 2, 1]
    rise, flat = [0.5, 0.6, 0.7, 0.8, 0.9], [1.0] * 5
    # The null falls in a chain that compresses, so that only the corrected value rises.
    assert chains_hold(estimates(falls, flat, rise), LAYERS, 0).holds
    assert chains_hold(estimates(falls, rise, flat), LAYERS, 0).holds
    both = chains_hold(estimates(falls, rise, rise), LAYERS, 0)
    assert not both.holds
    assert both.numbers["shares"] == {"X": 0, "Y": 1}


@pytest.mark.parametrize("columns", [["I_XT"], ["I_TY", "I_TY_corrected"]])
@pytest.mark.parametrize(("runs", "holds"), [(1, True), (2, False)])
def test_one_link_in_twenty_may_rise_in_each_chain(columns, runs, holds):
    table = estimates([5, 4, 3, 2, 1], [5, 4, 3, 2, 1])
    rising = (table["layer"] == "layer3") & table["run"].isin(["r0", "r1"][:runs])
    table.loc[rising, columns] += 1.1
    criterion = chains_hold(table, LAYERS, 0)
    assert sorted(criterion.numbers["shares"].values()) == [0, runs / 20]
    assert criterion.numbers["p"] < 0.05
    assert criterion.holds == holds


@pytest.mark.parametrize(
    ("i_xt", "kept", "holds"),
    [
        ([5, 4, 3, 2, 1], [1, 1, 1, 1, 0.95], True),
        ([5, 4, 3, 2, 1], [1, 1, 1, 1, 0.91], True),
        ([5, 4, 3, 2, 1], [1, 1, 1, 1, 0.89], False),
        ([5, 4, 3, 2, 1], [1, 1, 1, 1, 0.8], False),
        ([5, 4, 3, 2, 1], [0, 0, 0, 0, 0], False),
        ([1, 2, 3, 4, 5], [1, 1, 1, 1, 1], False),
        ([3, 3, 3, 3, 3], [1, 1, 1, 1, 1], False),
    ],
)
def test_the_bottleneck(i_xt, kept, holds):
    assert bottleneck_holds(estimates(i_xt, kept), LAYERS, 0).holds == holds


@pytest.mark.parametrize("norm", NORMS)
def test_normalised_matrices(planted, norm):
    matrix = normalised(planted[1], 1, LAYERS, norm)
    np.testing.assert_allclose(matrix, matrix.swapaxes(0, 1))
    information = pair_cube(planted[1], "information", 1, LAYERS)
    entropy = pair_cube(planted[1], "entropy", 1, LAYERS)
    own = (
        np.sqrt(information[0, 0] * information[2, 2])
        if norm == "diagonal"
        else np.maximum(entropy[0, 0], entropy[2, 2])
    )
    np.testing.assert_allclose(matrix[0, 2], information[0, 2] / own)
    if norm == "diagonal":
        np.testing.assert_allclose(matrix[range(5), range(5)], 1)


def test_decay_is_trained_minus_initialisation(planted):
    table = decay_table(planted[1], LAYERS)
    assert table["pairs"].tolist() == [4, 3, 2, 1] * 2
    np.testing.assert_allclose(table.query("step == 0")["gain"], 0)
    assert table.query("step == 1")["gain"].is_monotonic_decreasing
    assert decay_holds(planted[1], LAYERS, 0, 1).holds
    assert not decay_holds(planted[1], LAYERS, 1, 0).holds
    assert not decay_holds(planted[1], LAYERS, 1, 1).holds


def test_residuals_by_hand(planted):
    rows = planted[1].query("run == 'seed2' and batch == 1 and step == 1 and i == 3 and j == 4")
    value = rows.set_index("quantity")["value"]
    residual, null, contrast = residuals(planted[1], 1, LAYERS)[:, 2, 2, 1]
    assert residual == value["residual_information"] / value["conditional_entropy"]
    assert null == value["null_residual"]
    assert contrast == value["backward_information"] - value["residual_information"]
    table = residual_table(planted[1], LAYERS).query("step == 1")
    assert (table["residual"] < table["null"]).all()
    assert (table["residual_low"] < table["residual"]).all()


def test_residuals_must_fall_below_initialisation(planted):
    assert residuals_hold(planted[1], LAYERS, 0, 1).holds
    same = residuals_hold(planted[1], LAYERS, 1, 1)
    assert not same.holds
    assert "0 of 4 links" in same.reason


# Deviations of five runs that leave a mean of 1 with p = 0.03 in a one-sided t-test.
UNCERTAIN = 0.54 * np.array([-2, -1, 0, 1, 2])


def links(**changes):
    """Pairs of five layers whose four links all hold; `changes` maps a quantity to numbers (links, runs, batches).

    The conditional entropies are 1 bit, so that residuals are informations.
    """
    values = {"start": 5.0, "end": 1.0, "null": 3.0, "contrast": 2.0} | changes
    start, end, null, contrast = (np.broadcast_to(values[name], (4, 5, 2)) for name in values)
    rows = []
    for link, run, batch in np.ndindex(4, 5, 2):
        place = {"run": f"r{run}", "batch": batch, "name_i": LAYERS[link], "name_j": LAYERS[link + 1]}
        here = (link, run, batch)
        for step, residual in enumerate((start[here], end[here])):
            found = {"residual_information": residual, "backward_information": residual + contrast[here]}
            found |= {"conditional_entropy": 1.0, "null_residual": null[here]}
            rows += [{**place, "step": step, "quantity": name, "value": value} for name, value in found.items()]
    return pd.DataFrame(rows)


def of_links(count, bad, good):
    """One number for the first links and another for the rest, (4, 1, 1)."""
    return np.where(np.arange(4) < count, bad, good)[:, None, None]


@pytest.mark.parametrize("bad", [{"start": (1.0, 5.0)}, {"null": (1.0, 3.0)}, {"contrast": (0.0, 2.0)}])
@pytest.mark.parametrize(("count", "holds"), [(0, True), (1, True), (2, False)])
def test_three_quarters_of_the_links_must_hold_in_all_three_ways(bad, count, holds):
    pairs = links(**{name: of_links(count, *ends) for name, ends in bad.items()})
    criterion = residuals_hold(pairs, LAYERS, 0, 1)
    assert criterion.numbers["held"] == [place >= count for place in range(4)]
    assert criterion.holds == holds


def test_one_link_that_gains_information_is_enough_against_it():
    criterion = residuals_hold(links(contrast=of_links(1, -1.0, 2.0)), LAYERS, 0, 1)
    assert criterion.numbers["held"] == [False, True, True, True]
    assert criterion.numbers["contrary"] == [True, False, False, False]
    assert not criterion.holds
    # What one link of four shows with p = 0.03 is no more than chance.
    uncertain = np.where(np.arange(4)[:, None] < 1, -1 + UNCERTAIN, 2.0)[..., None]
    criterion = residuals_hold(links(contrast=uncertain), LAYERS, 0, 1)
    assert not any(criterion.numbers["contrary"])
    assert criterion.holds


def test_links_are_corrected_for_their_number():
    criterion = residuals_hold(links(start=2 + UNCERTAIN[:, None]), LAYERS, 0, 1)
    assert criterion.numbers["p"] == pytest.approx([4 * 0.02943] * 4, rel=1e-3)
    assert not any(criterion.numbers["held"])


def test_batches_that_disagree_decide_nothing():
    """The means of the runs agree, so that their test alone would be certain; the interval is not."""
    criterion = residuals_hold(links(start=5 + np.array([-20, 20])), LAYERS, 0, 1)
    assert criterion.numbers["p"] == [0] * 4
    assert not any(criterion.numbers["held"])


def test_links_that_add_nothing_are_not_read(planted):
    exact = planted[1].copy()
    exact.loc[exact["quantity"] == "conditional_entropy", "value"] = 1e-12
    criterion = residuals_hold(exact, LAYERS, 0, 1)
    assert not criterion.holds
    assert "0 of 0 links" in criterion.reason
    json.dumps(criterion.numbers, allow_nan=False)


def test_the_verdict_explains_itself(planted):
    verdict = markov_verdict(*planted)
    assert verdict.outcome == "supported"
    assert len(verdict.reasons) == 4
    assert verdict.numbers["layers"] == LAYERS
    assert verdict.numbers["criteria"]["bottleneck"]["rho"] == pytest.approx(-1)
    json.dumps(dict(verdict.numbers), allow_nan=False)


@pytest.mark.parametrize(
    ("held", "expected"),
    [(0, "not supported"), (1, "not supported"), (2, "mixed"), (3, "mixed"), (4, "supported")],
)
def test_so_many_criteria_give_the_outcome(held, expected):
    assert outcome([Criterion("", place < held, "", {}) for place in range(4)]) == expected


@pytest.mark.parametrize(("runs", "saturated", "readable"), [(5, 2, True), (5, 3, False), (4, 2, False)])
def test_a_layer_is_unreadable_where_half_of_the_runs_are_saturated(planted, runs, saturated, readable):
    table = planted[0].query(f"run < 'seed{runs}'").copy()
    full = (table["layer"] == "layer3") & (table["step"] == 1) & (table["run"] < f"seed{saturated}")
    table.loc[full, "S_T"] = np.log2(96)
    assert ("layer3" in readable_layers(table, [0, 1])[0]) == readable


def test_training_backwards_is_not_supported(planted):
    backwards = [table.assign(step=1 - table["step"]) for table in planted]
    verdict = markov_verdict(*backwards)
    assert verdict.outcome == "not supported"


@pytest.mark.parametrize(
    ("select", "limitation"),
    [
        ("run == 'seed0'", "1 seed only"),
        ("run < 'seed4'", "4 seeds only"),
        ("batch == 0", "no standard errors"),
        ("step == 1", "one snapshot only"),
    ],
)
def test_poor_data_are_undecidable(planted, select, limitation):
    verdict = markov_verdict(*(table.query(select) for table in planted))
    assert verdict.outcome == "undecidable"
    assert limitation in verdict.reasons[0]


def test_few_layers_and_no_start_are_undecidable(planted):
    few, pairs = planted[0][planted[0]["depth"] <= 2], planted[1]
    assert "2 readable layers only" in markov_verdict(few, pairs).reasons[0]
    late = [table.assign(step=table["step"] + 5) for table in planted]
    assert "no snapshot at initialisation: the first is at step 5" in markov_verdict(*late).reasons


def test_broken_and_saturated_layers_are_left_out(planted):
    table = planted[0].copy()
    broken = (table["layer"] == "layer2") & (table["run"] == "seed1")
    table.loc[broken, ["I_XT", "I_TY", "I_TY_corrected", "S_T"]] = np.nan
    table.loc[broken, "status"] = "not finite"
    table.loc[(table["layer"] == "layer1") & (table["step"] == 0), "S_T"] = np.log2(96)
    assert readable_layers(table, [0, 1]) == (LAYERS[2:], {"layer1": "saturated", "layer2": "not finite"})
    verdict = markov_verdict(table, planted[1])
    assert verdict.outcome == "undecidable"
    assert verdict.reasons[-1] == "left out: layer1 (saturated), layer2 (not finite)"


def test_saturated_inputs_are_undecidable(planted):
    verdict = markov_verdict(planted[0].assign(S_X=np.log2(96)), planted[1])
    assert verdict.outcome == "undecidable"
    assert "every residual is 1" in verdict.reasons[0]


def test_tables_that_do_not_belong_together(planted):
    table, pairs = planted
    with pytest.raises(InfoplaneError, match="differ in alpha"):
        markov_verdict(table, pairs.assign(alpha=2.0))
    with pytest.raises(InfoplaneError, match="differ in run"):
        markov_verdict(table, pairs[pairs["run"] != "seed1"])
    with pytest.raises(InfoplaneError, match="lack the last snapshot, step 1"):
        markov_verdict(table, pairs[pairs["step"] == 0])
    with pytest.raises(InfoplaneError, match="lacks the column run"):
        markov_verdict(table, pairs.drop(columns="run"))
    with pytest.raises(InfoplaneError, match="differ in n"):
        markov_verdict(table.assign(n=np.where(table["run"] == "seed1", 50, 96)), pairs)


def test_recorded_runs_go_all_the_way(tmp_path, probe):
    paths = []
    for seed in range(5):
        torch.manual_seed(seed)
        paths.append(make_run(tmp_path / f"seed{seed}.h5", probe))
    batches = Batches(2, 12)
    table, _ = gather(paths, RenyiSettings(permutations=3), batches)
    pairs = gather_pairs(paths, RenyiSettings(), batches, draws=2)
    assert set(pairs["run"]) == {f"seed{seed}" for seed in range(5)}
    verdict = markov_verdict(table, pairs)
    assert verdict.outcome in OUTCOMES
    assert "3 readable layers only" in verdict.reasons[0]
    with pytest.raises(InfoplaneError, match="given twice"):
        gather_pairs([paths[0], paths[0]])
