"""The committed configurations of studies are those that the command takes."""

from pathlib import Path

import pytest

from infoplane.cli import cli
from infoplane.cli.compare import _variants
from infoplane.cli.options import tables_of

FOLDER = Path(__file__).parents[2] / "docs" / "studies"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_every_variant_of_a_study_is_possible(path):
    command = cli.commands["compare"]
    context = command.make_context("compare", ["--config", str(path)])
    known = {name: context.params[name] for name in context.params}
    for name in ("methods", "reference", "seeds", "tune_lr", "margin", "jobs", "output", "quiet", "verbose"):
        known.pop(name)
    variants = _variants(tables_of(context), known)
    assert next(iter(variants)) == "sgd"
    for settings in variants.values():
        resolved = settings.resolved()
        assert resolved.validation > 0
        assert resolved.batch_size == variants["sgd"].resolved().batch_size
