"""A run file in words: what `infoplane info` prints, and what Python shows of an open run."""

from __future__ import annotations

import html
import math
import numbers
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from infoplane.runfile.schema import EXACT
from infoplane.settings import is_number, setting_text, setting_words
from infoplane.targets import MULTILABEL, Target
from infoplane.text import printable

if TYPE_CHECKING:
    from infoplane.runfile.reader import Run

# Settings that decide what is trained, by the names they have in a configuration.
TRAINING = (
    *("method", "optimizer", "lr", "momentum", "weight_decay", "schedule", "epochs", "batch_size", "micro_batches"),
    *("fit", "fit_weight", "fit_bandwidth", "fit_projection", "beta", "beta_schedule", "target_bits"),
    *("penalty", "correction", "loss_alpha", "loss_bandwidth", "loss_bandwidth_gradient", "loss_every"),
    *("order", "aux", "blocks"),
    *("group", "per_class", "classifier_loss", "option", "activation", "widths", "amp"),
)


def run_text(run: Run) -> str:
    """A run in plain text, readable at a glance.

    Args:
        run: An open run.
    """
    layers = ["", plain_table(_layers(run))] if run.snapshots else ["no finished snapshot yet"]
    return printable("\n".join([*_about(run), *layers]))


def run_html(run: Run) -> str:
    """A run as HTML, for a notebook: the same words, and the layers as a table.

    Args:
        run: An open run.
    """
    import pandas as pd  # takes longer to load than all that `infoplane info` does

    lines = html.escape("\n".join(_about(run)))
    layers = "<p>no finished snapshot yet</p>"
    if run.snapshots:
        layers = pd.DataFrame(_layers(run)).to_html(index=False)
    return f'<pre style="white-space: pre-wrap">{lines}</pre>\n{layers}'


def data_text(config: Mapping[str, Any]) -> str:
    """The data of a run in words, such as "gtsrb (16×16, 100 % of labels permuted)".

    Args:
        config: The configuration that a run file keeps.
    """
    size, count, augment = config.get("image_size"), config.get("train_size"), config.get("augment", "none")
    permuted, held_out = config.get("permute_labels", 0), config.get("validation", 0)
    noise = config.get("label_noise") or 0
    details = [
        f"{size}×{size}" if size else "",
        "cut to the sign" if config.get("region") == "sign" else "",
        f"{_formatted(count, ',')} training samples" if count else "",
        f"{_percent(held_out)} held out" if held_out else "",
        f"{_percent(config['label_fraction'])} of the training split" if config.get("label_fraction") else "",
        f"{_percent(permuted)} of labels permuted" if permuted else "",
        f"{_percent(noise)} label noise, {config.get('label_noise_kind') or 'permuted'}" if noise else "",
        "with boxes" if config.get("task") == "classes+boxes" else "",
        f"augmentation {augment}" if augment != "none" else "",
    ]
    known = ", ".join(filter(None, details))
    return f"{config.get('dataset', 'own data')}" + (f" ({known})" if known else "")


def training_words(config: Mapping[str, Any]) -> dict[str, str]:
    """The settings that decide the training of a run, in words by their names; what is not set is left out.

    Args:
        config: The configuration that a run file keeps.
    """
    words = {name: setting_words(config.get(name)) for name in TRAINING}
    return {name: text for name, text in words.items() if text}


def _formatted(value: Any, form: str) -> str:
    """A number in a format; whatever else an own loop calls so, as text."""
    return format(value, form) if is_number(value) else setting_text(value)


def _percent(share: Any) -> str:
    return f"{100 * share:g} %" if is_number(share) else setting_text(share)


def _about(opened: Run) -> list[str]:
    """Where the run is from and what was recorded, a line each."""
    config, provenance, snapshots = opened.config, opened.provenance, opened.snapshots
    made = provenance.get("versions", {})
    probe = opened.probe
    samples = f"{len(probe)} samples{repeats_text(probe.repeats)}"
    lines = [
        f"{opened.path}: {opened.path.stat().st_size / 2**20:.1f} MiB",
        f"recorded   {provenance.get('created', '?')} on {provenance.get('device', '?')}, "
        f"infoplane {made.get('infoplane', '?')}, torch {made.get('torch', '?')}",
        f"command    {provenance.get('command', '?')}",
        f"probe      {samples} {_target(probe.target)}",
        *(f"target     {name}: {len(target)} samples {_target(target)}" for name, target in probe.others.items()),
    ]
    if "trajectory" in config:
        origin = config.get("trajectory_of", "?")
        lines.append(f"path       {config['trajectory']} of run {origin}, no training of its own")
    if {"model", "dataset", "epochs", "optimizer", "lr", "schedule", "batch_size", "seed"} <= config.keys():
        lines.append(
            f"training   {config['model']} on {data_text(config)} by {config.get('method', 'sgd')}, "
            f"{config['epochs']} epochs, "
            f"{config['optimizer']}, lr {_formatted(config['lr'], 'g')} ({config['schedule']}), "
            f"batch {config['batch_size']}, seed {config['seed']}"
        )
    if snapshots:
        first, last = snapshots[0], snapshots[-1]
        epoch = f" (epoch {last.epoch:g})" if math.isfinite(last.epoch) else ""
        lines.append(f"snapshots  {len(snapshots)}, step {first.step} to {last.step}{epoch}")
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in last.metrics.items())
        lines.append(f"last       {metrics or 'no metrics'}")
    if opened.links:
        lines.append(f"chain      {_chain(opened)}")
    if opened.results:
        lines.append(f"results    {_results(opened.results)}")
    return lines


def _target(target: Target) -> str:
    """What the samples are asked for: "of 10 classes, 50 each"."""
    if not target.discrete:
        return f"with {target.values.shape[1]} continuous values each"
    counts = Counter(target.classes.tolist()).values()
    balance = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    what = "sets of labels" if target.kind == MULTILABEL else "classes"
    return f"of {len(counts)} {what}, {balance} each"


def _chain(opened: Run) -> str:
    """What the swap test says of the links between layers: exact, or which are none of a chain."""
    names = [layer.name for layer in opened.layers]
    worst = np.fmax.reduce([*opened.links.values()])
    times = " and ".join({"first": "at the first snapshot", "last": "at the end"}[when] for when in opened.links)
    leaks = [
        f"{before} → {after} {delta:.2g}"
        for before, after, delta in zip(names, names[1:], worst, strict=False)
        if delta > EXACT
    ]
    unknown = int(np.isnan(worst).sum())
    parts = [f"leaks (δ): {', '.join(leaks)}"] if leaks else ["exact"] if unknown < len(worst) else []
    parts += [f"{unknown} of {len(worst)} links unknown"] if unknown else []
    return f"{'; '.join(parts)} ({times})"


def _results(results: Mapping[str, Any]) -> str:
    """Test accuracy and cost of a finished training."""
    known = {name: value for name, value in results.items() if is_number(value)}
    peak, seconds = known.get("peak_bytes"), known.get("seconds")
    parts = [
        f"test accuracy {known['test_accuracy']:.2%}" if "test_accuracy" in known else "",
        f"{seconds:.1f} s of training" if seconds else "",
        f"a step takes {peak / 2**20:.1f} MiB" if peak else "",
    ]
    return ", ".join(filter(None, parts))


def _layers(opened: Run) -> list[dict[str, object]]:
    """One row per recorded layer, from the input to the output."""
    rows: list[dict[str, object]] = []
    for depth, layer in enumerate(opened.layers, start=1):
        marks = Counter(filter(None, (snapshot.trouble(layer.name) for snapshot in opened.snapshots)))
        rows.append(
            {
                "": f"T{depth}",
                "layer": layer.name,
                "shape": "×".join(map(str, layer.shape)) or "1",
                "features": layer.features,
                "kept": opened.snapshots[-1].kind(layer.name),
                "note": "; ".join(filter(None, [layer.note, *(f"{m} at {k} snapshots" for m, k in marks.items())])),
            }
        )
    return rows


def repeats_text(share: float) -> str:
    """How many of the samples repeat others, to stand behind their number; "" where none does."""
    return f" ({100 * share:.2g} % repeat others)" if share > 0 else ""


def plain_table(rows: Sequence[Mapping[Any, object]]) -> str:
    """A table in plain text: words to the left, numbers to the right, fractions with four decimals.

    Args:
        rows: One mapping from names of columns to cells per row, the same names in each.
    """
    columns = [_column(name, [row[name] for row in rows]) for name in rows[0]]
    return "\n".join(map(" ".join, zip(*columns, strict=True)))


def _column(name: str, values: Sequence[object]) -> list[str]:
    """The cells of a column under its name, all of one width."""
    side = ">" if all(isinstance(value, numbers.Number) for value in values) else "<"
    cells = [name, *(_fraction(value) if isinstance(value, float) else str(value) for value in values)]
    width = max(map(len, cells))
    return [f"{cell:{side}{width}}" for cell in cells]


def _fraction(value: float) -> str:
    return "NaN" if math.isnan(value) else f"{value:.4f}"
