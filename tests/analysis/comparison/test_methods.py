"""Tables of a comparison: known answers, planted verdicts, refusals, and how people read them."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from infoplane.analysis.comparison.methods import comparison_table, paired_difference
from infoplane.analysis.comparison.results import MEASURES
from infoplane.errors import InfoplaneError
from infoplane.reporting.methods import show
from infoplane.reporting.tables import latex, markdown, plus_minus, save_table


def runs(**accuracies):
    """A table of runs with planted accuracies; all else is the same."""
    rows = [
        {**dict.fromkeys(MEASURES, 1.0), "variant": name, "method": name, "seed": seed, "batch_size": 64, "lr": 0.1,
         "test_accuracy": value}
        for name, values in accuracies.items()
        for seed, value in enumerate(values)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def verdicts(table):
    return dict(zip(table["variant"], table["verdict"], strict=True))


def test_paired_difference_by_hand():
    # Differences 0.10, 0.05, 0.10: mean 1/12, standard error 1/60, t = 5; with 2 degrees of freedom
    # p = 1 − t/√(t² + 2), and the 0.975 quantile is 4.302653.
    mean, low, high, p = paired_difference(np.array([0.9, 0.8, 0.7]), np.array([0.8, 0.75, 0.6]))
    assert mean == pytest.approx(1 / 12)
    assert p == pytest.approx(1 - 5 / 27**0.5)
    assert (low, high) == pytest.approx((1 / 12 - 4.302653 / 60, 1 / 12 + 4.302653 / 60), rel=1e-6)


def test_paired_difference_is_the_paired_t_test():
    left, right = np.random.default_rng(0).standard_normal((2, 8))
    assert paired_difference(left, right)[3] == pytest.approx(stats.ttest_rel(left, right).pvalue)


def test_only_shared_seeds_are_paired():
    left, right = np.array([0.9, np.nan, 0.7, 0.8, 0.5]), np.array([0.8, 0.1, np.nan, 0.6, 0.35])
    mean, low, high, _ = paired_difference(left, right)
    assert mean == pytest.approx(0.15)
    assert low < mean < high
    mean, *rest = paired_difference(left[:2], right[:2])
    assert mean == pytest.approx(0.1)
    assert np.isnan(rest).all()
    assert np.isnan(paired_difference(left[1:3], right[1:3])).all()


def test_equal_differences_are_certain():
    same = np.array([0.5, 0.25, 0.75])
    assert paired_difference(same, same) == (0, 0, 0, 1)
    assert paired_difference(same + 0.125, same) == (0.125, 0.125, 0.125, 2.0 ** (1 - len(same)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_numbers_of_right_samples_are_equal_differences(dtype):
    """Shares of 100 samples are no binary fractions, so that their differences differ by rounding."""
    right = np.array([88, 89, 91])
    left, other = ((right + more).astype(dtype) / dtype(100) for more in (0, 2))
    mean, low, high, p = paired_difference(left.astype(float), other.astype(float))
    assert (low, high, p) == (mean, mean, 0.25)
    made = runs(sgd=other.astype(float), behind=left.astype(float), near=other.astype(float) - 0.01)
    assert verdicts(comparison_table(made)) == {
        "sgd": "", "behind": "not shown to be comparable", "near": "comparable",
    }  # fmt: skip


def test_what_not_all_runs_have_has_no_mean():
    made = runs(sgd=np.array([0.9, 0.8, 0.7]), other=np.array([0.9, 0.8]))
    made["test_nll"] = [0.3, np.nan, 0.2, 0.3, 0.1]
    losses = [[0.5], [None], [0.2], [0.3], [0.1]]
    made["curves"] = [json.dumps({"step": [9], "test_loss": loss}) for loss in losses]
    table = comparison_table(made).set_index("variant")
    assert np.isnan(table.loc["sgd", ["test_nll", "test_nll_sd"]].astype(float)).all()
    assert table.loc["other", "test_nll"] == pytest.approx(0.2)
    assert table[["seeds", "pairs", "diverged"]].values.tolist() == [[3, 3, 1], [2, 2, 0]]
    assert show(table.reset_index(), 0.01)[0]["seeds"].tolist() == ["3, 1 diverged", "2"]


def test_planted_verdicts():
    base = np.array([0.90, 0.91, 0.92, 0.90, 0.91])
    wobble = np.array([1, -1, 0, 1, -1]) * 1e-3
    table = comparison_table(
        runs(
            sgd=base,
            better=base + 0.03 + wobble,
            near=base - 0.004 + wobble,
            worse=base - 0.05 + wobble,
            noisy=base + np.array([0.05, -0.06, 0.04, -0.05, 0.01]),
        )
    )
    assert verdicts(table) == {
        "sgd": "",
        "better": "better",
        "near": "comparable",
        "worse": "worse",
        "noisy": "not shown to be comparable",
    }
    assert table["variant"].iloc[0] == "sgd"
    assert np.isnan(table["gap"].iloc[0])


def test_the_margin_decides_what_is_comparable():
    base = np.array([0.90, 0.91, 0.92, 0.90])
    table = runs(sgd=base, other=base - 0.015 + np.array([1, -1, 1, -1]) * 1e-4)
    assert verdicts(comparison_table(table, margin=0.02))["other"] == "comparable"
    assert verdicts(comparison_table(table, margin=0.01))["other"] == "worse"
    for margin in (float("nan"), -0.01, 2):
        with pytest.raises(InfoplaneError, match="is no difference in accuracy"):
            comparison_table(table, margin=margin)


def test_p_values_are_corrected_over_all_variants():
    rng = np.random.default_rng(0)
    base = rng.random(6)
    others = {f"m{k}": base + 0.02 * k + 0.03 * rng.standard_normal(6) for k in range(4)}
    table = comparison_table(runs(sgd=base, **others), "sgd").set_index("variant")
    raw = np.sort([stats.ttest_rel(values, base).pvalue for values in others.values()])
    stepped = np.minimum(1, np.maximum.accumulate(raw * [4, 3, 2, 1]))
    np.testing.assert_allclose(np.sort(table["p_holm"].dropna()), stepped)


def test_a_variant_that_is_better_alone_may_not_be_among_many():
    base = np.array([0.5, 0.6, 0.55, 0.52])
    hint = base + 0.02 + np.array([1, -1, 0.5, -0.5]) * 0.011
    noise = {f"n{k}": base + np.roll([0.05, -0.05, 0.04, -0.04], k) for k in range(4)}
    assert verdicts(comparison_table(runs(sgd=base, hint=hint)))["hint"] == "better"
    assert verdicts(comparison_table(runs(sgd=base, hint=hint, **noise)))["hint"] != "better"
    # Nor one that is worse, by more than the margin, in the same way.
    hint = hint - 0.04
    assert verdicts(comparison_table(runs(sgd=base, hint=hint)))["hint"] == "worse"
    assert verdicts(comparison_table(runs(sgd=base, hint=hint, **noise)))["hint"] == "not shown to be comparable"


@pytest.mark.parametrize("seeds", [1, 2])
def test_under_three_seeds_there_is_no_verdict(seeds):
    table = comparison_table(runs(sgd=[0.9, 0.91, 0.92][:seeds], other=[0.5, 0.51, 0.52][:seeds]))
    assert verdicts(table)["other"] == ""
    assert table["gap"].iloc[1] == pytest.approx(-0.4)
    assert table[["gap_low", "p", "p_holm"]].isna().all(axis=None)
    assert verdicts(comparison_table(runs(sgd=[0.9, 0.91, 0.92], other=[0.5, 0.52, 0.51])))["other"] == "worse"


def test_refusals_of_the_table():
    with pytest.raises(InfoplaneError, match="no finished run of 'adam'"):
        comparison_table(runs(sgd=[0.9]), "adam")
    twice = runs(sgd=[0.9, 0.8]).assign(seed=0)
    with pytest.raises(InfoplaneError, match="a seed stands twice"):
        comparison_table(twice)


def test_the_table_for_people():
    base = np.array([0.90, 0.91, 0.92])
    table = comparison_table(runs(sgd=base, other=base - 0.05 + np.array([1e-3, -1e-3, 0])))
    shown, caption, note = show(table, 0.02)
    assert shown["test accuracy [%]"].tolist() == ["91.00 ± 1.00", "86.00 ± 0.95"]
    assert shown["gap to sgd [points]"].tolist()[0] == "–"
    assert shown["gap to sgd [points]"].tolist()[1].startswith("−5.00 [−5.25, −4.75]")
    assert shown["verdict"].tolist() == ["–", "worse"]
    assert "against sgd" in caption
    assert "−2 points" in note


def test_the_note_says_how_learning_rates_were_chosen():
    table = comparison_table(runs(sgd=[0.75] * 3, other=[0.5] * 3).assign(lr_trials=[3] * 6))
    assert "Learning rates: the best of 3 by validation accuracy." in show(table, 0.01)[2]
    table = comparison_table(runs(sgd=[0.75] * 3, other=[0.5] * 3).assign(lr_trials=[3] * 3 + [0] * 3))
    assert (
        "Learning rates: not tuned here (other); the best of 3 by validation accuracy (sgd)."
        in show(table, 0.01)[2]
    )


def test_columns_without_a_value_are_left_out():
    table = comparison_table(runs(sgd=[0.9, 0.8]).assign(test_iou=np.nan))
    assert "box IoU [%]" not in show(table, 0.01)[0]


def test_plus_minus():
    assert plus_minus(0.931, 0.0025, 100) == "93.10 ± 0.25"
    assert plus_minus(1.0, float("nan")) == "1.00"
    assert plus_minus(float("nan"), 1.0) == "–"


def test_latex_and_markdown_escape_what_they_must():
    table = pd.DataFrame({"method_a": [r"a&b_c%d#e$f{g}^h~i\j|k"], "acc [%]": ["1 ± 2"]})
    text = latex(table, "50 % of β_l & α", "−1")
    assert r"a\&b\_c\%d\#e\$f\{g\}\^{}h\~{}i\textbackslash{}j\textbar{}k & 1 $\pm$ 2 \\" in text
    assert r"\caption{50 \% of $\beta$\_l \& $\alpha$}" in text
    assert r"\raggedright $-$1" in text
    assert r"method\_a & acc [\%] \\" in text
    assert r"\begin{tabular}{lr}" in text
    assert r"j\|k |" in markdown(table)
    assert len(markdown(table).splitlines()) == 3


def test_tables_are_saved_three_ways_and_kept(tmp_path):
    numbers = pd.DataFrame({"x": [1 / 3]})
    paths = save_table(numbers, numbers.astype(str), tmp_path / "new" / "table.v1", "A caption.", "A note.")
    assert [path.name for path in paths] == ["table.v1.csv", "table.v1.md", "table.v1.tex"]
    assert float(paths[0].read_text().split()[1]) == 1 / 3
    assert paths[1].read_text().startswith("A caption.\n\n| x |")
    assert "|\n\nA note.\n" in paths[1].read_text()
    assert save_table(numbers, numbers.astype(str), tmp_path / "new" / "table.v1", "Again.") == paths
    paths[2].write_text("of somebody else")
    with pytest.raises(InfoplaneError, match="force=True"):
        save_table(numbers, numbers.astype(str), tmp_path / "new" / "table.v1", "Again.")
    save_table(numbers, numbers.astype(str), tmp_path / "new" / "table.v1", "Again.", force=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(InfoplaneError, match="is no folder; give another place"):
        save_table(numbers, numbers, tmp_path / "file" / "table", "")
