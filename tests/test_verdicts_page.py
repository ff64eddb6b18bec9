"""The Python of docs/verdicts.md gives the numbers and verdicts of the package from the exported tables."""

import doctest
import re
from pathlib import Path

import pandas as pd
import pytest
from made_curves import UP, made
from made_markov import NAMES, chain, control_runs, swapped

from infoplane.analysis.analyze import Report
from infoplane.analysis.convergence.order import convergence_order
from infoplane.analysis.convergence.verdict import bottom_up_verdict
from infoplane.analysis.markov.matrices import informations
from infoplane.analysis.markov.triples import triple_test

PAGE = Path(__file__).parents[1] / "docs" / "verdicts.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
CONVERGENCE, TRIPLES = BLOCKS


@pytest.mark.parametrize(("second", "outcome"), [(UP, "supported"), ((150,) * 8, "mixed")])
def test_the_page_recomputes_the_verdict(second, outcome, tmp_path, monkeypatch, capsys):
    information, similarity = made(UP, jitter=0.3), made(second, "cka", jitter=0.3, seed=1)
    similarity.trouble[2, 3] = "constant at 1 of 40 snapshots"
    orders = convergence_order(information), convergence_order(similarity)
    report = Report({}, (), (), orders, pd.DataFrame(), pd.DataFrame())
    report.areas.to_csv(tmp_path / "report-areas.csv", index=False)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(CONVERGENCE, PAGE.name, "exec"), names)
    assert names["verdict"] == outcome == bottom_up_verdict(*orders).outcome
    expected = [
        f"{order.quantity}: ×{order.factor:.2f} [{order.low:.2f}, {order.high:.2f}], "
        f"p {order.test.p_layers:.2g}, {order.test.p_seeds:.2g}"
        for order in orders
    ]
    assert capsys.readouterr().out.splitlines() == expected


@pytest.mark.parametrize(("make", "holds"), [(chain, True), (swapped, False)])
def test_the_page_recomputes_the_triples(make, holds, tmp_path, monkeypatch, capsys):
    pairs = control_runs(make)[1]
    for run, rows in pairs.groupby("run"):
        # Tables beside runs hold other settings too.
        other = rows.assign(bandwidth="knn:10", information=0.0)
        pd.concat([rows, other]).to_csv(tmp_path / f"{run}.pairs.csv", index=False)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(TRIPLES, PAGE.name, "exec"), names)
    test = triple_test(informations(pairs, ["X", *NAMES], 100))
    assert (names["share"], names["p"]) == (test.share, test.p)
    word = "holds" if holds else "fails"
    assert test.holds == holds
    assert capsys.readouterr().out == f"{100 * test.share:.1f} % violated, p = {test.p:.2g}: {word}\n"


def test_the_page_tests_a_link_by_randomisation():
    [block] = re.findall(r"^```pycon\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    example = doctest.DocTestParser().get_doctest(block, {}, PAGE.name, PAGE.name, 0)
    assert doctest.DocTestRunner().run(example) == (0, len(example.examples))
