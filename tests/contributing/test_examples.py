"""The diffs of CONTRIBUTING.md apply to the package as it is, pass the checks of style, and their tests pass."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
DIFFS = re.findall(r"^```diff\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
REGISTERED = """
from infoplane.estimators.registry import NAMES
from infoplane.study.figures import _FIGURES
from infoplane.trainers.methods import METHODS


def test_registered():
    assert "dcor" in NAMES
    assert "greedy-sparse" in METHODS
    assert "F15-final" in _FIGURES
"""


def apply(diff, root):
    """Apply a unified diff by what its hunks say, wherever in the file that stands; give the files it names."""
    files = re.findall(r"^--- (\S+)\n\+\+\+ b/(\S+)\n(.*?)(?=^--- |\Z)", diff, re.MULTILINE | re.DOTALL)
    for old_name, name, hunks in files:
        path = root / name
        text = "" if old_name == "/dev/null" else path.read_text(encoding="utf-8")
        for hunk in re.split(r"^@@.*\n", hunks, flags=re.MULTILINE)[1:]:
            lines = hunk.splitlines(keepends=True)
            old = "".join(line[1:] for line in lines if line[0] in " -")
            assert not old or text.count(old) == 1, f"{name} does not hold once:\n{old}"
            new = "".join(line[1:] for line in lines if line[0] in " +")
            text = text.replace(old, new) if old else new
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return [name for _, name, _ in files]


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """A copy of package and test helpers with all diffs applied, and the names of the files that they touch."""
    copy = tmp_path_factory.mktemp("contributing")
    shutil.copytree(ROOT / "infoplane", copy / "infoplane", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    (copy / "tests").mkdir()
    for helper in (ROOT / "tests").glob("*.py"):
        if not helper.name.startswith("test_"):
            shutil.copy(helper, copy / "tests")
    return copy, [name for diff in DIFFS for name in apply(diff, copy)]


def run(copy, *arguments):
    """Run a Python module in the copy, which stands before any installed infoplane."""
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tests_of_the_examples_pass(changed):
    copy, names = changed
    (copy / "tests" / "test_registered.py").write_text(REGISTERED)
    tests = [name for name in names if Path(name).name.startswith("test_")]
    assert len(tests) == len(DIFFS) == 3
    run(copy, "pytest", "-p", "no:cacheprovider", "tests/test_registered.py", *tests)


def test_the_examples_keep_the_style(changed):
    pytest.importorskip("ruff")
    copy, names = changed
    run(copy, "ruff", "check", "--no-cache", *names)
    run(copy, "ruff", "format", "--no-cache", "--check", *names)


def test_the_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / target).exists(), target


def test_the_commands_of_make_are_there():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {*re.findall(r"(?:^\$ |`)make (\w+)", TEXT, re.MULTILINE)} <= {*targets}
