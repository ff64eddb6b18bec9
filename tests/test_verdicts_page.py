"""The python block of docs/verdicts.md gives the numbers and the verdict of the package from the exported table."""

import re
from pathlib import Path

import pandas as pd
import pytest
from made_curves import UP, made

from infoplane.analysis.analyze import Report
from infoplane.analysis.convergence.order import convergence_order
from infoplane.analysis.convergence.verdict import bottom_up_verdict

PAGE = Path(__file__).parents[1] / "docs" / "verdicts.md"
BLOCK = re.search(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[1]


@pytest.mark.parametrize(("second", "outcome"), [(UP, "supported"), ((150,) * 8, "mixed")])
def test_the_page_recomputes_the_verdict(second, outcome, tmp_path, monkeypatch, capsys):
    information, similarity = made(UP, jitter=0.3), made(second, "cka", jitter=0.3, seed=1)
    similarity.trouble[2, 3] = "constant at 1 of 40 snapshots"
    orders = convergence_order(information), convergence_order(similarity)
    report = Report({}, (), (), orders, pd.DataFrame(), pd.DataFrame())
    report.areas.to_csv(tmp_path / "report-areas.csv", index=False)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(BLOCK, PAGE.name, "exec"), names)
    assert names["verdict"] == outcome == bottom_up_verdict(*orders).outcome
    expected = [
        f"{order.quantity}: ×{order.factor:.2f} [{order.low:.2f}, {order.high:.2f}], "
        f"p {order.test.p_layers:.2g}, {order.test.p_seeds:.2g}"
        for order in orders
    ]
    assert capsys.readouterr().out.splitlines() == expected
