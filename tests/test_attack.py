"""A short attack with damaged files and kills; the long one is benchmarks/attack.md."""

import subprocess
import sys
from pathlib import Path

import pytest

ATTACK = Path(__file__).parents[1] / "benchmarks" / "attack.py"


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_damaged_files_and_kills_do_no_harm():
    numbers = {"jobs": 2, "mutants": 4, "structural": 8, "kills": 2, "minutes": 30, "seed": 3}
    given = ["--quick", *(text for name, number in numbers.items() for text in (f"--{name}", str(number)))]
    ended = subprocess.run([sys.executable, str(ATTACK), *given], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "4 + 8 mutants and 2 kills" in ended.stdout
