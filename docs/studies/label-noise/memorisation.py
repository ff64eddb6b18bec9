"""Draws what layers know of wrong labels while they are learned, and prints it for the end of training.

    python docs/studies/label-noise/memorisation.py RUNS/memorisation     # memorisation.png and .csv beside it

RUNS/memorisation is the folder that `infoplane compare --config memorisation.toml` made. What is estimated of its
runs is kept beside them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from infoplane.analysis.gather import gather
from infoplane.analysis.plane import metrics_table, plane_table
from infoplane.estimators.batches import Batches
from infoplane.estimators.registry import named_settings
from infoplane.figures.parts.canvas import DOUBLE_COLUMN, canvas
from infoplane.figures.parts.style import BLUE, TEXT, VERMILION, style
from infoplane.reporting.tables import markdown

PICTURE = Path(__file__).with_suffix(".png")
VARIANTS = {
    "sgd": "SGD",
    "sgd-generalised": "SGD, generalised\ncross-entropy",
    "greedy-ce": "greedy-ce",
    "information-scale": "greedy-dib, information,\nbandwidth by scale",
}
TARGETS = {"labels": "given labels, 36 % of them wrong", "true": "right labels"}
COLOURS = {"labels": VERMILION, "true": BLUE}
SCORES = {"train_accuracy": "labels", "test_accuracy": "true"}
LAYERS = ("conv4", "logits")
BATCHES = Batches(4, 100)


def planes(folder: Path) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """The plane of the runs of a folder for each target, one row per layer and step; and their scores by step."""
    paths = sorted(folder.glob("seed?.h5"))
    tables = {}
    for target in TARGETS:
        [settings] = named_settings(["renyi"], target=target)
        estimates, metrics = gather(paths, settings, BATCHES)
        tables[target] = plane_table(estimates)
    return tables, metrics_table(metrics)


@style()
def draw(variants: dict[str, tuple[dict[str, pd.DataFrame], pd.DataFrame]]) -> Figure:
    """A column for each variant: accuracy, and below it I(T;Y) less its null of two layers, for both labels.

    Bands: accuracies ± standard deviation over seeds, informations with the intervals of their means.
    """
    handles = [Line2D([], [], color=COLOURS[target], label=name) for target, name in TARGETS.items()]
    figure, body = canvas(DOUBLE_COLUMN, 4.2, "", handles=handles)
    grid = body.subplots(1 + len(LAYERS), len(variants), sharex=True, sharey="row", squeeze=False)
    for panels, (name, (tables, metrics)) in zip(grid.T, variants.items(), strict=True):
        panels[0].set_title(VARIANTS[name], size=TEXT)
        for column, target in SCORES.items():
            mean, deviation = 100 * metrics[column], 100 * metrics[f"{column}_sd"]
            curve(panels[0], metrics["epoch"], mean, (mean - deviation, mean + deviation), COLOURS[target])
        for axes, layer in zip(panels[1:], LAYERS, strict=True):
            for target, table in tables.items():
                rows = table[table["layer"] == layer]
                ends = (rows["I_TY_corrected_low"], rows["I_TY_corrected_high"])
                curve(axes, rows["epoch"], rows["I_TY_corrected"], ends, COLOURS[target])
        panels[-1].set_xlabel("epoch")
    quantities = ["accuracy (%)", *(f"I(T;Y) − null\n{layer} (bits)" for layer in LAYERS)]
    for axes, quantity in zip(grid[:, 0], quantities, strict=True):
        axes.set_ylabel(quantity)
        axes.set_ylim(bottom=0)
    return figure


def curve(axes: Axes, epochs: pd.Series, values: pd.Series, ends: tuple[pd.Series, pd.Series], colour: str) -> None:
    """Values against epochs with a band between two ends."""
    axes.fill_between(epochs, *ends, color=colour, alpha=0.2, linewidth=0)
    axes.plot(epochs, values, color=colour)


def at_the_end(variants: dict[str, tuple[dict[str, pd.DataFrame], pd.DataFrame]]) -> pd.DataFrame:
    """Bits with their 95 % intervals at the last snapshot, a row for each variant and layer."""
    rows = []
    for name, (tables, _) in variants.items():
        for layer in LAYERS:
            row = {"variant": name, "layer": layer}
            for target, table in tables.items():
                last = table[table["layer"] == layer].iloc[-1]
                low, high = last["I_TY_corrected_low"], last["I_TY_corrected_high"]
                row[TARGETS[target]] = f"{last['I_TY_corrected']:.3f} [{low:.3f}, {high:.3f}]"
            rows.append(row)
    return pd.DataFrame(rows)


def informations(variants: dict[str, tuple[dict[str, pd.DataFrame], pd.DataFrame]]) -> pd.DataFrame:
    """I(T;Y) less its null in bits of every layer, a row for each variant, target, snapshot and layer."""
    columns = ["step", "epoch", "layer", "runs", *(f"I_TY_corrected{end}" for end in ("", "_low", "_high"))]
    tables = [
        table[columns].assign(variant=name, target=target)
        for name, (of_targets, _) in variants.items()
        for target, table in of_targets.items()
    ]
    return pd.concat(tables)[["variant", "target", *columns]]


def main() -> None:
    """Draws the picture and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder of the comparison")
    folder = parser.parse_args().runs
    variants = {name: planes(folder / name) for name in VARIANTS}
    print(markdown(at_the_end(variants)))
    informations(variants).to_csv(PICTURE.with_suffix(".csv"), index=False, float_format="%.4f")
    draw(variants).savefig(PICTURE, dpi=200)


if __name__ == "__main__":
    main()
