"""Models, estimates and checks as the command line shows them: plain text tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from infoplane.analysis.plane import average_batches
from infoplane.runfile.summary import plain_table, repeats_text
from infoplane.words import is_bits, settings_text, symbol, target_text

if TYPE_CHECKING:
    import pandas as pd

    from infoplane.verify import Check

# Columns of the printed estimates that are shown even where they are empty.
_ALWAYS = frozenset({"layer", "I_XT", "I_TY", "I_TY_null", "I_TY_corrected", "status"})


def model_layers(
    model: str, dataset: str, image_size: int | None, widths: tuple[int, ...] | None, activation: str
) -> str:
    """The hookable layers of a model with their shapes; the natural ones are marked."""
    import torch

    from infoplane.data import dataset_spec, load_dataset
    from infoplane.models import build_model, input_channels
    from infoplane.recording.layers import hookable_of, natural_of
    from infoplane.recording.trace import trace
    from infoplane.user_code import names_code

    if names_code(dataset):
        data = load_dataset(dataset, Path(), image_size)
        spec, example = data.spec, data.batch(data.train, slice(3), "cpu")[0]
    else:
        spec = dataset_spec(dataset, image_size)
        channels = spec.shape[:1] if len(spec.shape) == 1 else (input_channels(model, spec.shape[0]),)
        example = torch.randn(3, *channels, *spec.shape[1:], generator=torch.Generator().manual_seed(0))
    shape = tuple(example.shape[1:])
    network = build_model(model, shape, spec.classes, widths=widths, activation=activation, example=example)
    traced = trace(network, example)
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
            "note": layer.warning or "; ".join(filter(None, [layer.note, layer.ends and f"ends {layer.ends}"])),
        }
        for layer in sorted(layers.values(), key=lambda layer: order[layer.unit])
    ]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    heading = f"{model} on {dataset}: {parameters:,} parameters; * is recorded by default ({len(natural)} layers)"
    return heading + "\n" + plain_table(rows)


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
    if is_bits(last):
        of_y = "H(Y)" if first["classes"] else "S(Y)"
        limits = [f"{name} = {first[key]:.3f}" for name, key in (("S(X)", "S_X"), (of_y, "S_Y"))]
        unit = f"{', '.join(limits)} bits"
    else:
        unit = f"I_XT is {symbol('I_XT', last)} and I_TY is {symbol('I_TY', last)}: dependence measures, not bits"
    samples = f"n = {first['n']}{cut}{repeats_text(first.get('repeats', 0))}"
    heading = f"step {first['step']}, {samples}, {target_text(first)}, {settings_text(first)}; {unit}"
    return heading + "\n" + plain_table(last[shown].to_dict("records"))


def checks(comparisons: Sequence[Check]) -> str:
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
        for check in comparisons
    ]
    return plain_table(rows) if rows else ""
