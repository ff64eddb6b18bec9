"""The verdict on whole, poor and broken tables, and its outcomes by what the three questions answer."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made_markov import NAMES, chain, control_runs, swapped
from recorded import make_run

from infoplane.analysis.arrays import readable_layers
from infoplane.analysis.gather import gather, gather_pairs
from infoplane.analysis.markov.structure import gather_links
from infoplane.analysis.markov.verdict import markov_verdict, outcome
from infoplane.analysis.verdict import OUTCOMES
from infoplane.errors import InfoplaneError
from infoplane.estimators.batches import Batches
from infoplane.estimators.renyi import RenyiSettings


@pytest.fixture(scope="module")
def planted():
    return control_runs(chain)


def test_a_chain_that_is_a_bottleneck_is_supported(planted):
    verdict = markov_verdict(*planted)
    assert verdict.outcome == "supported", verdict.reasons
    assert [reason.split(":")[0] for reason in verdict.reasons] == ["structure", "triples hold", "bottleneck holds"]
    assert verdict.numbers["layers"] == NAMES
    assert verdict.numbers["criteria"]["triples"]["share"] == 0
    json.dumps(verdict.numbers, allow_nan=False)


def test_layers_in_another_order_are_contradicted_where_the_network_is_no_chain(planted):
    estimates, pairs, links = control_runs(swapped)
    broken = links.assign(delta=np.where(links["link"] == 2, 0.9, 0.0))
    verdict = markov_verdict(estimates, pairs, broken)
    assert verdict.outcome == "contradicted"
    assert verdict.reasons[0] == "structure: no chain, 1 of 5 links have δ above 1e-05: layer2 → layer3 0.9"
    assert verdict.reasons[1].startswith("triples fail")
    assert "layer2 – layer3 – layer4" in verdict.reasons[1]
    assert markov_verdict(estimates, pairs, links).outcome == "not shown"


def test_runs_without_the_swap_test_have_an_unknown_structure(planted):
    estimates, pairs, links = planted
    old = links.assign(delta=links["delta"].where(links["run"] != "seed3"))
    verdict = markov_verdict(estimates, pairs, old)
    assert verdict.outcome == "mixed"
    reason = "structure: unknown, no swap test of 5 of 5 links: seed3 recorded without it"
    assert verdict.reasons[0] == reason
    assert verdict.numbers["criteria"]["structure"]["state"] == "structure unknown"
    json.dumps(verdict.numbers, allow_nan=False)


def test_without_a_fall_or_without_labels_the_chain_is_mixed():
    tables = control_runs(chain, fall=0.0, i_ty=0.0)
    assert markov_verdict(*tables).outcome == "mixed"
    assert "I(T;Y) is not kept" in markov_verdict(*tables).reasons[2]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (("chain", True, True), "supported"),
        (("chain", True, False), "mixed"),
        (("no chain", True, True), "mixed"),
        (("structure unknown", True, True), "mixed"),
        (("no chain", True, False), "not shown"),
        (("structure unknown", True, False), "not shown"),
        (("chain", False, True), "not shown"),
        (("no chain", False, True), "contradicted"),
        (("no chain", False, False), "contradicted"),
        (("structure unknown", False, False), "not shown"),
    ],
)
def test_the_answers_give_the_outcome(answers, expected):
    state, triples, bottleneck = answers
    structure = SimpleNamespace(state=state, holds=state == "chain")
    found = outcome(structure, SimpleNamespace(holds=triples, few=triples), SimpleNamespace(holds=bottleneck))
    assert found == expected
    assert found in OUTCOMES


def test_few_violations_that_any_order_would_have_contradict_nothing():
    structure, bottleneck = SimpleNamespace(state="no chain", holds=False), SimpleNamespace(holds=True)
    assert outcome(structure, SimpleNamespace(holds=False, few=True), bottleneck) == "not shown"


@pytest.mark.parametrize(
    ("select", "limitation"),
    [
        ("run == 'seed0'", "too few seeds: 1, of at least 5"),
        ("run < 'seed4'", "too few seeds: 4, of at least 5"),
        ("batch < 3", "too few probe batches: 3, of at least 4"),
    ],
)
def test_poor_data_are_undecidable(planted, select, limitation):
    estimates, pairs, links = planted
    verdict = markov_verdict(estimates.query(select), pairs.query(select), links)
    assert verdict.outcome == "undecidable"
    assert limitation in verdict.reasons[0]


@pytest.mark.parametrize(
    ("name", "value", "limitation"),
    [
        ("alpha", 2.0, "order α = 2: the inequalities of a chain hold at 1 only"),
        ("kernel", "nested", "it tests nothing"),
        ("I_XT_corrected", np.nan, "I(X;T) has no null here"),
    ],
)
def test_settings_under_which_nothing_is_tested_are_undecidable(planted, name, value, limitation):
    pairs = planted[1].assign(**{name: value}) if name in planted[1] else planted[1]
    verdict = markov_verdict(planted[0].assign(**{name: value}), pairs, planted[2])
    assert verdict.outcome == "undecidable"
    assert limitation in verdict.reasons[0]


def test_few_layers_are_undecidable(planted):
    estimates, pairs, links = planted
    verdict = markov_verdict(estimates[estimates["depth"] <= 4], pairs, links)
    assert "too few readable layers: 4, of at least 6" in verdict.reasons[0]


def test_broken_and_saturated_layers_are_left_out(planted):
    table, pairs, links = planted[0].copy(), planted[1], planted[2]
    broken = (table["layer"] == "layer2") & (table["run"] == "seed1")
    table.loc[broken, ["I_XT", "I_TY", "I_TY_corrected", "S_T"]] = np.nan
    table.loc[broken, "status"] = "not finite"
    table.loc[(table["layer"] == "layer1") & (table["step"] == 100), "S_T"] = np.log2(48)
    assert readable_layers(table, [0, 100]) == (NAMES[2:], {"layer1": "saturated", "layer2": "not finite"})
    verdict = markov_verdict(table, pairs, links)
    assert verdict.outcome == "undecidable"
    assert verdict.reasons[-1] == "left out: layer1 (saturated), layer2 (not finite)"


def test_a_layer_that_knows_nothing_of_itself_is_left_out(planted):
    estimates, pairs, links = planted
    itself = (pairs["name_i"] == "layer4") & (pairs["name_j"] == "layer4")
    blind = pairs.assign(information_null=pairs["information_null"].mask(itself, pairs["information"]))
    verdict = markov_verdict(estimates, blind, links)
    assert verdict.reasons[-1] == "left out: layer4 (knows no more of itself than of other samples)"


@pytest.mark.parametrize(("runs", "saturated", "readable"), [(5, 2, True), (5, 3, False), (4, 2, False)])
def test_a_layer_is_unreadable_where_half_of_the_runs_are_saturated(planted, runs, saturated, readable):
    table = planted[0].query(f"run < 'seed{runs}'").copy()
    full = (table["layer"] == "layer3") & (table["step"] == 100) & (table["run"] < f"seed{saturated}")
    table.loc[full, "S_T"] = np.log2(48)
    assert ("layer3" in readable_layers(table, [0, 100])[0]) == readable


def test_tables_that_do_not_belong_together(planted):
    table, pairs, links = planted
    with pytest.raises(InfoplaneError, match="differ in alpha"):
        markov_verdict(table, pairs.assign(alpha=2.0), links)
    with pytest.raises(InfoplaneError, match="differ in run"):
        markov_verdict(table, pairs[pairs["run"] != "seed1"], links)
    with pytest.raises(InfoplaneError, match="lack the last snapshot, step 100"):
        markov_verdict(table, pairs[pairs["step"] == 0], links)
    with pytest.raises(InfoplaneError, match="lacks the column run"):
        markov_verdict(table, pairs.drop(columns="run"), links)
    with pytest.raises(InfoplaneError, match="differ in n"):
        markov_verdict(table.assign(n=np.where(table["run"] == "seed1", 50, 48)), pairs, links)


def test_recorded_runs_go_all_the_way(tmp_path, probe):
    paths = []
    for seed in range(5):
        torch.manual_seed(seed)
        paths.append(make_run(tmp_path / f"seed{seed}.h5", probe))
    batches = Batches(4, 7)
    table, _ = gather(paths, RenyiSettings(permutations=3), batches)
    pairs = gather_pairs(paths, RenyiSettings(), batches)
    assert set(pairs["run"]) == {f"seed{seed}" for seed in range(5)}
    verdict = markov_verdict(table, pairs, gather_links(paths))
    assert verdict.outcome == "undecidable"
    assert "too few readable layers: 3, of at least 6" in verdict.reasons[0]
    for gathered in itertools.chain([gather_pairs, gather_links]):
        with pytest.raises(InfoplaneError, match="given twice"):
            gathered([paths[0], paths[0]])


def _without_last(planted, runs, status):
    """The tables as they are where the last layer cannot be read in some runs."""
    table = planted[0].copy()
    rows = (table["layer"] == NAMES[-1]) & table["run"].isin(runs) & (table["step"] == 100)
    table.loc[rows, ["I_XT", "I_XT_corrected", "I_TY", "I_TY_corrected", "S_T"]] = np.nan
    table.loc[rows, "status"] = status
    return table, *planted[1:]


@pytest.mark.parametrize("runs", [["seed0"], [f"seed{seed}" for seed in range(5)]])
def test_a_last_layer_that_is_constant_keeps_nothing_of_the_labels(planted, runs, monkeypatch):
    monkeypatch.setattr("infoplane.analysis.markov.verdict.LAYERS", len(NAMES) - 1)
    verdict = markov_verdict(*_without_last(planted, runs, "constant"))
    assert verdict.outcome == "mixed", verdict.reasons
    assert "I(T;Y) is not kept" in verdict.reasons[2]
    assert verdict.numbers["criteria"]["bottleneck"]["kept_share"] == pytest.approx(1 - len(runs) / 5, abs=0.03)
    assert verdict.reasons[-1] == "left out: layer6 (constant)"


def test_a_last_layer_that_cannot_be_read_leaves_the_question_open(planted, monkeypatch):
    monkeypatch.setattr("infoplane.analysis.markov.verdict.LAYERS", len(NAMES) - 1)
    verdict = markov_verdict(*_without_last(planted, ["seed2"], "not finite"))
    assert verdict.outcome == "undecidable"
    reason = "the last layer, layer6, cannot be read (not finite): what it keeps of Y is not known"
    assert verdict.reasons[0] == reason
