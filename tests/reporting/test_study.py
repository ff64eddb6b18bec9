"""The tables of a study: the numbers are those of the verdicts, runs and comparisons, and read well."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from made_markov import chain, control_runs
from recorded import make_run

from infoplane.analysis.analyze import Report, Variant
from infoplane.analysis.comparison.methods import comparison_table
from infoplane.analysis.comparison.results import MEASURES
from infoplane.analysis.markov.verdict import markov_verdict
from infoplane.analysis.verdict import Verdict
from infoplane.errors import InfoplaneError
from infoplane.reporting.methods import show, show_accuracy, show_costs
from infoplane.reporting.settings import settings_table
from infoplane.reporting.study import show_classes, show_convergence, show_markov, show_settings
from infoplane.reporting.tables import latex, markdown, save_table
from infoplane.reporting.verdicts import BASE, convergence_verdicts, markov_verdicts
from infoplane.runfile import data_text
from infoplane.trainers.session import TrainingSettings, record


def order(factor, **others):
    numbers = {"factor": factor, "low": factor - 0.1, "high": factor + 0.1, "p_layers": 0.0004, "p_seeds": 0.03}
    numbers |= {"p_orders": 0.002, "detectable_factor": 1.3}
    return {**numbers, "seeds": 5, "layers": 6, "shows": True, "limitation": "", **others}


UNJUDGED = dict.fromkeys(("factor", "low", "high", "p_layers", "p_seeds", "p_orders", "detectable_factor", "shows"))


def verdict(outcome="supported", **quantities):
    return Verdict("bottom-up convergence", outcome, ("A reason.",), {"quantities": quantities})


def report(first, variants=(), further=()):
    return Report({}, (first, *further), tuple(variants), (), pd.DataFrame(), pd.DataFrame())


@pytest.fixture
def reports():
    broken = {**order(1.0, limitation="too few layers"), **UNJUDGED}
    first = verdict(I_XT_corrected=order(1.9), cka=order(1.0, shows=False))
    second = verdict("undecidable", I_XT_corrected=order(1.5, shows=None), cka=broken)
    variants = [Variant("bandwidth", "knn:10", second), Variant("similarity", "SVCCA", None, "no distances")]
    return {"digits": report(first, variants), "fashion": report(second)}


def test_convergence_has_a_row_for_each_quantity_and_variation(reports):
    table = convergence_verdicts(reports)
    assert table.groupby("runs", sort=False).size().to_dict() == {"digits": 5, "fashion": 2}
    first = table.iloc[0]
    assert first[["varied", "outcome", "quantity", "factor", "low", "p_layers"]].tolist() == [
        *(BASE, "supported", "I(X;T) − null", 1.9, pytest.approx(1.8), 0.0004),
    ]
    assert table.iloc[4][["outcome", "limitation"]].tolist() == ["not possible", "no distances"]
    assert np.isnan(table.iloc[3]["factor"])


def test_convergence_in_words(reports):
    shown, _, note = show_convergence(convergence_verdicts(reports))
    assert shown.iloc[0].tolist() == [
        *("digits", "the rule", "supported", "I(X;T) − null", "5", "6"),
        *("1.90 [1.80, 2.00]", "< 0.001", "0.030", "0.002", "1.30", "yes"),
    ]
    # What stands above is not said twice.
    assert shown.iloc[1][["runs", "varied", "verdict", "factor a layer [95 %]"]].tolist() == [
        *("", "", "", "1.00 [0.90, 1.10]")
    ]
    assert shown.iloc[2]["varied"] == "bandwidth knn:10"
    assert shown.iloc[3]["factor a layer [95 %]"] == shown.iloc[3]["bottom-up"] == "–"
    assert shown.iloc[5]["runs"] == "fashion"
    assert "linear CKA to the end: too few layers" in note
    assert "no distances" in note


def test_markov_numbers_are_those_of_the_verdict():
    found = markov_verdict(*control_runs(chain))
    undecided = Verdict(found.claim, "undecidable", ("2 seeds only", "one snapshot only"), {"seeds": 2})
    table = markov_verdicts(
        {"planted": report(verdict(), further=[found]), "few": report(verdict(), [], [undecided])}
    )
    criteria = found.numbers["criteria"]
    held = table.dropna(subset=["holds"]).groupby("criterion")["holds"].first().to_dict()
    assert held == {name: one["holds"] for name, one in criteria.items()}
    values, bottleneck = table.set_index("measure"), criteria["bottleneck"]
    row = values.loc["slope of I(X;T) a layer"]
    ends = [bottleneck[name] for name in ("slope", "slope_low", "slope_high")]
    assert row[["value", "low", "high"]].tolist() == ends
    assert row["p"] == max(bottleneck["p_layers"], bottleneck["p_seeds"])
    assert values.loc["I(T;Y) kept by the last layer", "value"] == bottleneck["kept_share"]
    assert values.loc["violated triples", ["value", "p"]].tolist() == [0, pytest.approx(1 / 720)]
    assert values.loc["largest δ of a link", "note"] == "chain; 5 of 5 links known"
    shown, _, note = show_markov(table)
    assert shown.iloc[0][["criterion", "holds", "measure", "value [95 %]"]].tolist() == [
        *("structure", "yes", "largest δ of a link", "0")
    ]
    assert shown.iloc[1][["measure", "value [95 %]", "p"]].tolist() == ["violated triples", "0 %", "0.001"]
    assert shown.iloc[-1][["runs", "verdict", "seeds", "criterion"]].tolist() == ["few", "undecidable", "2", "–"]
    assert "few is undecidable: 2 seeds only; one snapshot only." in note


def test_without_verdicts_there_is_no_table(reports):
    with pytest.raises(InfoplaneError, match="no verdicts"):
        convergence_verdicts({})
    with pytest.raises(InfoplaneError, match="no verdicts"):
        markov_verdicts(reports)
    with pytest.raises(InfoplaneError, match="nothing to show"):
        show_convergence(convergence_verdicts(reports).iloc[:0])


def test_settings_of_recorded_runs(tmp_path, probe):
    common = {"epochs": 1, "snapshots": "2", "probe_size": 20, "eval_size": 20}
    paths = [tmp_path / f"seed{seed}.h5" for seed in range(3)]
    for seed, path in enumerate(paths):
        record(TrainingSettings(**common, seed=seed, permute_labels=1.0), path)
    own = make_run(tmp_path / "own.h5", probe)
    estimated = pd.DataFrame([{
        "estimator": "renyi", "alpha": 1.0, "kernel": "tensor", "bandwidth": "median:1", "scope": "snapshot",
        "input_bandwidth": "median:1", "permutations": 10, "n": 10, "batches": 2,
    }])  # fmt: skip
    table = settings_table({"digits": paths, "own": [own]}, {"digits": estimated}).set_index("runs")
    assert table.loc["digits", ["data", "network", "seeds", "epochs", "samples"]].tolist() == [
        *("digits (100 % of labels permuted)", "cnn", "0–2", "1", "2 batches of 10"),
    ]
    assert table.loc["own", ["data", "network", "estimator"]].tolist() == ["own data", "own model", ""]
    shown, _, note = show_settings(table.reset_index())
    assert "torch: " in note
    assert "learning rate" in shown
    assert "torch" not in shown
    with pytest.raises(InfoplaneError, match="name run files"):
        settings_table({"none": []})


def test_data_in_words():
    assert data_text({}) == "own data"
    assert data_text({"dataset": "digits", "permute_labels": 0.0, "augment": "none"}) == "digits"
    assert data_text({"dataset": "gtsrb", "image_size": 16, "train_size": 1500, "permute_labels": 0.5}) == (
        "gtsrb (16×16, 1,500 training samples, 50 % of labels permuted)"
    )
    # An own loop may call anything so.
    assert data_text({"dataset": "own", "train_size": "a tenth", "validation": [0.1]}) == (
        "own (a tenth training samples, [0.1] held out)"
    )


def comparison():
    runs = [
        dict.fromkeys(MEASURES, np.nan)
        | {"variant": name, "method": name, "seed": seed, "subject": "vgg6 on gtsrb", "device": "cpu", "lr": 0.1}
        | {
            "batch_size": 64,
            "test_accuracy": score + 0.001 * ((seed + k) % 3),
            "test_iou": 0.7,
            "peak_bytes": 2**20 * (1 + k),
        }
        | {"seconds": 10.0 * (1 + k), "flops": 1e12, "epochs": 3.0, "parameters": 1e4, "auxiliary_parameters": 0.0}
        for k, (name, score) in enumerate({"sgd": 0.9, "greedy-dib": 0.8}.items())
        for seed in range(3)
    ]
    return comparison_table(pd.DataFrame(runs))


def test_a_comparison_in_two_tables_that_make_up_the_one():
    table = comparison()
    scores, caption, note = show_accuracy(table, 0.01)
    costs, cost_caption, _ = show_costs(table)
    whole, _, whole_note = show(table, 0.01)
    assert list(whole) == [*scores, *(name for name in costs if name != "method")]
    assert scores.iloc[1][["method", "test accuracy [%]", "verdict"]].tolist() == [
        *("greedy-dib", "80.10 ± 0.10", "worse"),
    ]
    assert costs["peak memory [MiB]"].tolist() == ["1.0", "2.0"]
    assert "saved for backward [MiB]" not in costs
    assert "vgg6 on gtsrb against sgd" in caption
    assert "vgg6 on gtsrb on cpu" in cost_caption
    assert note in whole_note


def test_hardest_classes_of_each_method():
    rows = [
        {"variant": name, "subject": "vgg6 on gtsrb", "class": k, "support": 10, "accuracy": 0.5 + k / 20}
        | {"accuracy_sd": 0.01, "iou": 0.7, "iou_sd": 0.02, "name": f"{k} sign"}
        | {"taken_for_name": f"{1 - k} sign" if k < 2 else "", "taken_for_share": 0.25, "seeds": 3}
        for name in ("sgd", "greedy-dib") for k in range(9)
    ]  # fmt: skip
    classes = pd.DataFrame(rows)
    shown, caption, note = show_classes(classes, comparison(), worst=2)
    assert shown["class"].tolist() == ["all", "0 sign", "1 sign"] * 2
    assert shown["method"].tolist() == ["sgd", "", "", "greedy-dib", "", ""]
    assert shown.iloc[0].tolist()[2:] == ["90", "90.10 ± 0.10", "70.00 ± 0.00", "–"]
    assert shown.iloc[1].tolist()[2:] == ["10", "50.00 ± 1.00", "70.00 ± 2.00", "1 sign (25 %)"]
    assert "vgg6 on gtsrb" in caption
    assert "3 seeds" in note
    with pytest.raises(InfoplaneError, match="no greedy-dib"):
        show_classes(classes, comparison().iloc[:1])


def test_saved_three_ways(reports, tmp_path):
    table = convergence_verdicts(reports)
    shown, caption, note = show_convergence(table)
    csv, text, tex = save_table(table, shown, tmp_path / "T4", caption, note)
    assert pd.read_csv(csv)["factor"].tolist() == pytest.approx(table["factor"].tolist(), nan_ok=True)
    assert markdown(shown) in text.read_text(encoding="utf-8")
    assert r"factor a layer [95 \%]" in tex.read_text(encoding="utf-8")
    assert json.loads(table.to_json(orient="records"))[0]["factor"] == 1.9


def test_words_stand_on_the_left_and_numbers_on_the_right():
    table = pd.DataFrame({"name": ["a", ""], "ρ": ["−0.51 [−0.56, −0.43]", "–"], "p": ["< 0.001", "0.047"]})
    text = latex(table, "c")
    assert r"\begin{tabular}{lrr}" in text
    assert r"a & $-$0.51 [$-$0.56, $-$0.43] & $<$ 0.001 \\" in text
    assert markdown(pd.DataFrame({"|i−j|": ["1"]})).startswith(r"| \|i−j\| |")
