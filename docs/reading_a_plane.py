"""Draws and prints what reading-a-plane.md shows: I(X;T) over depth under three bandwidths, raw and corrected.

    python docs/reading_a_plane.py RUNS     # docs/images/reading-a-plane.png, and the numbers, printed

RUNS holds the runs of `infoplane compare` with docs/studies/verdicts/digits.toml and signs.toml, which are
digits/chain/seed?.h5 and signs/usual/seed?.h5. What is estimated of them is kept beside them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from infoplane.analysis.gather import gather
from infoplane.analysis.plane import average_batches, plane_table
from infoplane.analysis.slope import slope_test
from infoplane.estimators.batches import Batches
from infoplane.estimators.registry import named_settings
from infoplane.figures.parts.canvas import DOUBLE_COLUMN, canvas
from infoplane.figures.parts.style import BLUE, TEXT, VERMILION, style
from infoplane.reporting.tables import markdown

PICTURE = Path(__file__).parent / "images" / "reading-a-plane.png"
STUDIES = {"digits, ten equal layers": "digits/chain", "traffic signs, vgg9": "signs/usual"}
RULES = {"median:1": BLUE, "median:0.5": "#56B4E9", "knn:10": VERMILION}
COLUMNS = {"I_XT": "I(X;T), raw", "I_XT_null": "its permuted null", "I_XT_corrected": "corrected"}
SLOPES = COLUMNS | {"I_TY": "I(T;Y), raw", "I_TY_corrected": "I(T;Y), corrected"}
BATCHES = Batches(4, 100)


def last_snapshots(folder: Path) -> pd.DataFrame:
    """Estimates at the end of training of the runs of a folder, one row per rule, run, layer and batch."""
    paths = sorted(folder.glob("seed?.h5"))
    settings = [named_settings(["renyi"], bandwidth=rule)[0] for rule in RULES]
    tables = [gather(paths, one, BATCHES, last=True)[0] for one in settings]
    return pd.concat(tables, ignore_index=True)


def means(estimates: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The plane at the end of training under each rule, one row per layer."""
    return {rule: plane_table(estimates[estimates["bandwidth"] == rule]) for rule in RULES}


def slopes(estimates: pd.DataFrame) -> pd.DataFrame:
    """Bit a layer, with the 95 % interval over seeds, of each column under each rule."""
    rows = []
    for rule in RULES:
        runs = average_batches(estimates[estimates["bandwidth"] == rule])
        row = {"bandwidth": rule}
        for column, name in SLOPES.items():
            test = slope_test(runs.pivot(index="run", columns="depth", values=column).to_numpy())
            row[name] = f"{test.slope:+.3f} [{test.low:+.3f}, {test.high:+.3f}]".replace("-", "−")
        rows.append(row)
    return pd.DataFrame(rows)


def layers(planes: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Bits of each layer under each rule: raw, null, corrected, and the entropy of the layer."""
    names = COLUMNS | {"S_T": "S(T)"}
    columns = {"layer": next(iter(planes.values()))["layer"]}
    for rule, plane in planes.items():
        columns |= {f"{name}, {rule}": plane[column].map("{:.2f}".format) for column, name in names.items()}
    return pd.DataFrame(columns)


def apart(planes: dict[str, pd.DataFrame]) -> str:
    """The largest difference between the rules over the layers, in words."""
    most = {
        name: np.ptp([plane[column].to_numpy() for plane in planes.values()], axis=0).max()
        for column, name in (("I_XT", "raw"), ("I_XT_corrected", "corrected"))
    }
    return " and ".join(f"{difference:.2f} bits {name}" for name, difference in most.items())


def pedestal(planes: dict[str, pd.DataFrame]) -> tuple[float, float]:
    """The smallest and the largest share of the null in raw I(X;T), over layers and rules."""
    shares = np.concatenate([(plane["I_XT_null"] / plane["I_XT"]).to_numpy() for plane in planes.values()])
    return float(shares.min()), float(shares.max())


@style()
def draw(studies: dict[str, dict[str, pd.DataFrame]]) -> Figure:
    """A row of panels for each study, a panel for each column, a curve for each rule."""
    look = {"marker": "o", "markersize": 3}
    handles = [Line2D([], [], color=colour, label=rule, **look) for rule, colour in RULES.items()]
    figure, body = canvas(DOUBLE_COLUMN, 3.6, "", handles=handles)
    grid = body.subplots(len(studies), len(COLUMNS), squeeze=False)
    for panels, (name, planes) in zip(grid, studies.items(), strict=True):
        for axes, column in zip(panels, COLUMNS, strict=True):
            for rule, plane in planes.items():
                curve(axes, plane, column, RULES[rule])
            axes.set_ylim(0, None if column == "I_XT_corrected" else np.log2(plane["n"].iloc[0]))
            axes.set_xticks(range(1, len(plane) + 1, 2))
        panels[0].set_ylabel(f"{name}\nbits")
    for axes, title in zip(grid[0], COLUMNS.values(), strict=True):
        axes.set_title(title, size=TEXT)
    for axes in grid[-1]:
        axes.set_xlabel("number of the layer")
    return figure


def curve(axes: Axes, plane: pd.DataFrame, column: str, colour: str) -> None:
    """One column over depth with the intervals of its means."""
    low, high = plane[f"{column}_low"], plane[f"{column}_high"]
    axes.fill_between(plane["depth"], low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(plane["depth"], plane[column], color=colour, marker="o", markersize=3)


def main() -> None:
    """Draws the picture and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder of the runs")
    folder = parser.parse_args().runs
    estimates = {name: last_snapshots(folder / place) for name, place in STUDIES.items()}
    studies = {name: means(table) for name, table in estimates.items()}
    for name, table in estimates.items():
        print(f"{name}: bit a layer at the end of training [95 %]\n\n{markdown(slopes(table))}")
        print(f"Between the rules a layer differs by at most {apart(studies[name])}.")
        print("The null is {:.0%} to {:.0%} of raw I(X;T).\n".format(*pedestal(studies[name])))
        print(f"{markdown(layers(studies[name]))}\n")
    draw(studies).savefig(PICTURE, dpi=200)


if __name__ == "__main__":
    main()
