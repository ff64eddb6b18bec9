"""What the command line says of run files, models, estimates and checks: plain text tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from infoplane.analysis.gather import data_text
from infoplane.analysis.plane import average_batches, quantity_names, settings_text, target_text
from infoplane.estimators.nulls import share_of_repeats
from infoplane.recording.swap_test import EXACT
from infoplane.runfile import Run, open_run
from infoplane.targets import MULTILABEL, Target

if TYPE_CHECKING:
    from infoplane.verify import Check

# Columns of the printed estimates that are shown even where they are empty.
_ALWAYS = frozenset({"layer", "I_XT", "I_TY", "I_TY_null", "I_TY_corrected", "status"})


def run(path: Path) -> str:
    """What a run file holds, readable at a glance."""
    with open_run(path) as opened:
        lines = [f"{path}: {path.stat().st_size / 2**20:.1f} MiB", *_about(opened)]
        if not opened.snapshots:
            return "\n".join([*lines, "no finished snapshot yet"])
        return "\n".join([*lines, "", _layers(opened)])


def _about(opened: Run) -> list[str]:
    config, provenance, snapshots = opened.config, opened.provenance, opened.snapshots
    made = provenance.get("versions", {})
    probe = opened.probe
    samples = f"{len(probe)} samples{repeats_text(share_of_repeats(probe.distances))}"
    lines = [
        f"recorded   {provenance.get('created', '?')} on {provenance.get('device', '?')}, "
        f"infoplane {made.get('infoplane', '?')}, torch {made.get('torch', '?')}",
        f"command    {provenance.get('command', '?')}",
        f"probe      {samples} {_target(probe.target)}",
        *(f"target     {name}: {len(target)} samples {_target(target)}" for name, target in probe.others.items()),
    ]
    if {"model", "dataset", "epochs", "optimizer", "lr", "schedule", "batch_size", "seed"} <= config.keys():
        lines.append(
            f"training   {config['model']} on {data_text(config)} by {config.get('method', 'sgd')}, "
            f"{config['epochs']} epochs, "
            f"{config['optimizer']}, lr {config['lr']:g} ({config['schedule']}), batch {config['batch_size']}, "
            f"seed {config['seed']}"
        )
    if snapshots:
        first, last = snapshots[0], snapshots[-1]
        lines.append(f"snapshots  {len(snapshots)}, step {first.step} to {last.step} (epoch {last.epoch:g})")
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
    peak, seconds = results.get("peak_bytes"), results.get("seconds")
    parts = [
        f"test accuracy {results['test_accuracy']:.2%}" if "test_accuracy" in results else "",
        f"{seconds:.1f} s of training" if seconds else "",
        f"a step takes {peak / 2**20:.1f} MiB" if peak else "",
    ]
    return ", ".join(filter(None, parts))


def _layers(opened: Run) -> str:
    rows = []
    for depth, layer in enumerate(opened.layers, start=1):
        marks = Counter(
            "not finite" if snapshot.nonfinite(layer.name) else "constant"
            for snapshot in opened.snapshots
            if snapshot.nonfinite(layer.name) or snapshot.constant(layer.name)
        )
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
    return _text(pd.DataFrame(rows))


def model_layers(
    model: str, dataset: str, image_size: int | None, widths: tuple[int, ...] | None, activation: str
) -> str:
    """The hookable layers of a model with their shapes; the natural ones are marked."""
    import torch

    from infoplane.data import dataset_spec
    from infoplane.models import build_model, input_channels
    from infoplane.recording.layers import hookable_of, natural_of
    from infoplane.recording.trace import trace

    spec = dataset_spec(dataset, image_size)
    shape = spec.shape if len(spec.shape) == 1 else (input_channels(model, spec.shape[0]), *spec.shape[1:])
    network = build_model(model, shape, spec.classes, widths=widths, activation=activation)
    traced = trace(network, torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)))
    natural = {layer.name: layer for layer in natural_of(traced)}
    # A row for each module, and for each call of one that is recorded by itself.
    layers = {layer.name: layer for layer in hookable_of(traced)} | natural
    order = {(call.name, call.number): place for place, call in enumerate(traced.calls())}
    rows = [
        {
            "": "*" if layer.name in natural else "",
            "layer": layer.name,
            "shape": "×".join(map(str, layer.shape)),
            "module": layer.kind,
            "note": layer.warning or layer.note,
        }
        for layer in sorted(layers.values(), key=lambda layer: order[layer.unit])
    ]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    about = f"{model} on {dataset}: {parameters:,} parameters; * is recorded by default ({len(natural)} layers)"
    return about + "\n" + _text(pd.DataFrame(rows))


def final_estimates(table: pd.DataFrame) -> str:
    """The estimates of one estimator at the last snapshot; means and standard errors over batches, if any."""
    last = average_batches(table[table["step"] == table["step"].max()])
    first = last.iloc[0]
    columns = [
        *("layer", "I_XT", "I_XT_se", "I_XT_null", "I_XT_corrected", "I_TY", "I_TY_se", "I_TY_null"),
        *("I_TY_corrected", "I_TY_corrected_se", "S_T", "sigma_T", "status"),
    ]
    shown = [name for name in columns if name in last and (name in _ALWAYS or last[name].notna().any())]
    cut = f", means over {first['batches']} batches" if first["batches"] else ""
    if first["unit"] == "bits":
        of_y = "H(Y)" if first["classes"] else "S(Y)"
        limits = [f"{name} = {first[key]:.3f}" for name, key in (("S(X)", "S_X"), (of_y, "S_Y"))]
        unit = f"{', '.join(limits)} bits"
    else:
        names = quantity_names(last)
        unit = f"I_XT is {names['I_XT']} and I_TY is {names['I_TY']}: dependence measures, not bits"
    samples = f"n = {first['n']}{cut}{repeats_text(first.get('repeats', 0))}"
    about = f"step {first['step']}, {samples}, {target_text(first)}, {settings_text(first)}; {unit}"
    return about + "\n" + _text(last[shown])


def repeats_text(share: float) -> str:
    """How many of the samples repeat others, to stand behind their number; "" where none does."""
    return f" ({100 * share:.2g} % repeat others)" if share > 0 else ""


def checks(found: Sequence[Check]) -> str:
    """The comparisons of `infoplane verify` as a table."""
    rows = [
        {
            "": "ok" if check.ok else "MISS",
            "device": check.device,
            "check": check.name,
            "expected": f"{check.expected:.12f}",
            "got": f"{check.got:.12f}",
            "error": f"{abs(check.got - check.expected):.1e}",
        }
        for check in found
    ]
    return _text(pd.DataFrame(rows)) if rows else ""


def _text(table: pd.DataFrame) -> str:
    """A table in plain text: words to the left, numbers to the right."""
    words = {name: _padder(table[name]) for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])}
    return table.to_string(index=False, formatters=words, float_format="{:.4f}".format, justify="left")


def _padder(column: pd.Series) -> Callable[[object], str]:
    width = int(column.astype(str).str.len().max())
    return lambda value: f"{value!s:<{width}}"
