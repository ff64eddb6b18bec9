"""The benchmark for a GPU, tried on the CPU: it must run at once where a GPU is lent for minutes."""

import subprocess
import sys
from pathlib import Path

import pytest

GPU = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


@pytest.mark.parametrize(("part", "column"), [("Entropies", "six eigh"), ("Plane", "rows ok")])
def test_the_benchmark_for_a_gpu_runs(tmp_path, part, column):
    table = tmp_path / "gpu.md"
    asked = [sys.executable, str(GPU), "--device", "cpu", "--small", "--parts", part, "--output", str(table)]
    ran = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert f"## {part}" in table.read_text()
    assert column in table.read_text()


def test_the_benchmark_stops_when_its_time_is_over(tmp_path):
    table = tmp_path / "gpu.md"
    asked = [sys.executable, str(GPU), "--device", "cpu", "--small", "--minutes", "0", "--output", str(table)]
    ran = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert "the time is over" in ran.stdout
    assert "infoplane verify" in table.read_text()
    assert "## Training" not in table.read_text()
