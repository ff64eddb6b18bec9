"""Colours that can be seen on white paper, however many there are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from figures_seen import estimates
from matplotlib.colors import to_rgb

from infoplane.analysis.plane import plane_table
from infoplane.figures.parts.layers import time_norm
from infoplane.figures.parts.links import snapshot_looks
from infoplane.figures.parts.style import BLUE, GREY, LINES, PALE, VERMILION, layers_of, shades
from infoplane.figures.parts.variants import looks_of


def contrast_to_white(colour):
    """The contrast ratio of WCAG 2.2, with the relative luminance of sRGB (IEC 61966-2-1)."""
    values = np.array(to_rgb(colour))
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05)


def test_contrasts_as_published():
    # From WCAG's own examples: black is 21, pure red 4.0, grey #767676 just passes 4.5 for text.
    assert contrast_to_white("black") == pytest.approx(21)
    assert contrast_to_white("red") == pytest.approx(4.0, abs=0.01)
    assert contrast_to_white("#767676") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("count", range(2, 21))
def test_lines_and_marks_can_be_seen_on_white(count):
    layers = [layer.colour for layer in layers_of(plane_table(estimates(layers=count, steps=(0, 1))))]
    variants = [look.colour for look in looks_of(pd.DataFrame({"variant": [f"v{k}" for k in range(count)]}))]
    snapshots = [look["color"] for look in snapshot_looks(range(count)).values()]
    times = list(LINES(time_norm(range(count))(np.arange(count))))
    for colours in (layers, variants, snapshots, times, shades(count)):
        contrasts = [contrast_to_white(colour) for colour in colours]
        assert min(contrasts) >= 3
        # Greyscale keeps their order.
        assert (np.diff(contrasts) < 0).all()


def test_other_lines_can_be_seen_on_white():
    assert min(contrast_to_white(colour) for colour in (BLUE, VERMILION, GREY, PALE)) >= 3
