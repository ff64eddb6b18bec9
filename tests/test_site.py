"""The documentation site builds without a warning, and the scripts of its gallery are listed and run."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import infoplane as ip

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))


def test_the_site_builds_without_warnings(tmp_path):
    for name in ("sphinx", "myst_parser", "furo", "sphinx_gallery"):
        pytest.importorskip(name)
    # Its gallery is made beside the pages.
    copy = tmp_path / "copy"
    for folder in ("docs", "benchmarks", "examples", "infoplane"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "gallery"))
    for path in [*ROOT.glob("*.md"), ROOT / "CITATION.cff", ROOT / "pyproject.toml"]:
        shutil.copy(path, copy)
    (copy / "tests").symlink_to(ROOT / "tests")
    quick = ["-D", "sphinx_gallery_conf.plot_gallery=0"]
    asked = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-c", "docs", *quick]
    built = subprocess.run([*asked, ".", tmp_path / "site"], cwd=copy, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "site" / "docs" / "api.html").read_text(encoding="utf-8")
    for name in ip.__all__:
        assert f'id="infoplane.{name}"' in page
    assert "Raises" in page
    gallery = (tmp_path / "site" / "docs" / "gallery" / "index.html").read_text(encoding="utf-8")
    for script in SCRIPTS:
        assert f"{script.stem}.html" in gallery


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_scripts_of_the_gallery_run(tmp_path, script):
    ran = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert not re.search("warning", ran.stderr, re.IGNORECASE), ran.stderr
