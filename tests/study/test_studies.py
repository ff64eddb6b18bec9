"""The committed configurations of studies are those that the command takes."""

import dataclasses
from pathlib import Path

import pytest

from infoplane.cli import cli
from infoplane.cli.options import tables_of
from infoplane.trainers import jobs

FOLDER = Path(__file__).parents[2] / "docs" / "studies"


def variants_of(path):
    """The resolved settings of the variants that a configuration asks for, and the options that are no settings."""
    context = cli.commands["compare"].make_context("compare", ["--config", str(path)])
    names = ("results", "methods", "reference", "seeds", "tune_lr", "as_published", "margin", "jobs", "merge")
    names += ("scheduler",)
    names += ("output", "quiet", "verbose")
    others = {name: context.params.pop(name) for name in names}
    variants = jobs.variants_of(context.params, tables_of(context))
    return {name: settings.resolved() for name, settings in variants.items()}, others


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.toml")), ids=lambda path: f"{path.parent.stem}-{path.stem}")
def test_every_configuration_is_one_of_the_command(path):
    variants, others = variants_of(path)
    assert variants
    assert others["seeds"] >= 1
    # The head of the file says how it is called, so that its numbers can be had again.
    head = path.read_text("utf-8").splitlines()[0]
    places = (path.relative_to(FOLDER.parents[1]), path.name)
    assert head.startswith(tuple(f"# infoplane compare --config {place} " for place in places))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_every_variant_of_a_study_is_possible(path):
    variants, _ = variants_of(path)
    assert next(iter(variants)) == "sgd"
    for settings in variants.values():
        assert settings.validation > 0
        assert settings.batch_size == variants["sgd"].batch_size


@pytest.mark.parametrize("path", sorted((FOLDER / "verdicts").glob("*.toml")), ids=lambda path: path.stem)
def test_the_controls_of_a_verdict_differ_from_the_chain_in_what_they_are_for(path):
    variants, others = variants_of(path)
    chain = variants["chain"]
    untrained = variants.pop("untrained")
    greedy = {name: variants.pop(name) for name in ("greedy-ce", "greedy-dib") if name in variants}
    assert variants.keys() == {"chain", "usual", "shuffled", "drop"}
    for name, settings in greedy.items():
        assert (settings.method, settings.model, settings.epochs, settings.lr) == (
            name,
            "chain",
            chain.epochs,
            chain.lr,
        )
    assert untrained.lr < 1e-6
    assert (untrained.model, untrained.layers) == (chain.model, chain.layers)
    shuffled = variants["shuffled"]
    length = {name: getattr(shuffled, name) for name in ("train_size", "epochs", "lr")}
    assert shuffled == dataclasses.replace(chain, permute_labels=1.0, **length)
    assert variants["drop"] == dataclasses.replace(chain, schedule=variants["drop"].schedule)
    assert (chain.schedule, chain.permute_labels, variants["usual"].schedule) == ("constant", 0, "constant")
    assert all(settings.synchronous_path and settings.probe_size == 400 for settings in variants.values())
    assert others["seeds"] >= 5


@pytest.mark.parametrize("path", sorted((FOLDER / "gpu").glob("*.toml")), ids=lambda path: path.stem)
def test_every_slice_for_a_gpu_is_possible(path):
    variants, others = variants_of(path)
    assert others["seeds"] * len(variants) >= 10
    assert len({settings.batch_size for settings in variants.values()}) == 1
    assert len({settings.epochs for settings in variants.values()}) == 1
