"""Made-up tables for figures, and what is seen in a figure."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd

from infoplane.analysis.plane import metrics_table

STEPS = (0, 1, 3, 10, 30, 100, 300, 1000)
# What permuted pairings give in the place of I(X;T).
PEDESTAL = 1.5


def estimates(layers=4, steps=STEPS, runs=1, saturated=(), missing=(), spread=1.0, null=0.2):
    """Made-up runs: I(X;T) falls with depth and I(T;Y) rises in training.

    `saturated` and `missing` name (depth, step) pairs; a small `spread` puts the layers on top of each other.
    """
    rng = np.random.default_rng(0)
    rows = []
    for run in range(runs):
        for depth in range(1, layers + 1):
            for step in steps:
                bad = (depth, step) in missing
                i_xt = 9.0 if (depth, step) in saturated else 7 - 4 * spread * depth / layers + rng.normal(0, 0.02)
                i_ty = 0.5 + 0.3 * np.log10(1 + step) + 0.3 * spread * depth / layers
                values = {
                    "I_XT": i_xt,
                    "I_TY": i_ty,
                    "I_TY_null": null,
                    "I_TY_corrected": i_ty - null,
                    "S_T": i_xt,
                    "I_XT_null": PEDESTAL,
                    "I_XT_corrected": i_xt - PEDESTAL,
                }
                values = {name: np.nan if bad else value for name, value in values.items()}
                rows.append({
                    "run": f"run{run}", "seed": run, "estimator": "renyi", "alpha": 1.0, "kernel": "gaussian",
                    "bandwidth": "median", "scope": "snapshot", "input_bandwidth": "median", "permutations": 10,
                    "dataset": "mnist", "model": "mlp", "n": 512, "classes": 10, "snapshot": step, "step": step,
                    "epoch": step / 100, "layer": f"layer{depth}", "depth": depth, "S_Y": np.log2(10),
                    "I_TY_null_std": 0.01, "I_XT_null_std": 0.01,
                    "input_permutations": 0.0, "status": "constant" if bad else "ok", **values,
                })  # fmt: skip
    return pd.DataFrame(rows)


def metrics(steps=STEPS, **columns):
    """Made-up metrics of one run."""
    columns = columns or {"train_loss": 1.0, "test_loss": 1.2, "train_accuracy": 0.9, "test_accuracy": 0.8}
    table = pd.DataFrame({"run": "run0", "snapshot": steps, "step": steps, "epoch": np.array(steps) / 100})
    return metrics_table(table.assign(**columns))


def found(figure, prefix):
    """The artists whose gid starts with a prefix."""
    return [artist for artist in figure.findobj() if str(artist.get_gid() or "").startswith(prefix)]


def hollow(points):
    return (points.get_facecolors() == 1).all(axis=1)


def assert_on_the_page(figure):
    """Every visible text lies inside the figure."""
    figure.draw_without_rendering()
    page = figure.bbox
    for text in figure.findobj(matplotlib.text.Text):
        if text.get_visible() and text.get_text() and text.get_gid() == "caption":
            box = text.get_window_extent()
            assert page.x0 <= box.x0
            assert box.x1 <= page.x1
            assert page.y0 <= box.y0
            assert box.y1 <= page.y1
    tight, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(tight.x0, tight.y0) >= -0.01
    assert tight.x1 <= width + 0.01
    assert tight.y1 <= height + 0.01
