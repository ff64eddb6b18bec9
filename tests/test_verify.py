import json
from pathlib import Path

import pytest

from infoplane import verify

SHARED = Path(__file__).parents[1].parent / "shared" / "reference" / "renyi.json"


@pytest.mark.parametrize("device", verify.devices())
def test_every_check_holds_here(device):
    checks = list(verify.checks(device))
    assert len(checks) > 35
    assert [check for check in checks if not check.ok] == []


def test_a_wrong_value_is_a_miss():
    assert not verify.Check("S", "cpu", 1.0, 1.0 + 2e-9).ok
    assert not verify.Check("S", "cpu", 1.0, float("nan")).ok


@pytest.mark.skipif(not SHARED.exists(), reason="the reference values beside the project are missing")
def test_stored_values_are_the_printed_ones():
    names = {"S(X)": "H_X", "S(T)": "H_T", "S(Y)": "H_Y", "S(X,T)": "H_XT", "S(T,Y)": "H_TY"}
    names |= {"I(X;T)": "I_XT", "I(T;Y)": "I_TY"}
    results = json.loads(SHARED.read_text())["results"]
    for alpha, stored in verify.REFERENCE.items():
        printed = results[f"alpha={alpha:g}"]
        assert stored == {name: printed[key] for name, key in names.items()}
