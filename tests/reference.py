"""What the public codes of other estimators print, and the data they printed it for.

X = default_rng(0).standard_normal((200, 20)), W = default_rng(1).standard_normal((20, 10)) / √20, T = tanh(X W)
and y = arange(200) mod 10. The few numbers in the tests are copied from the file; where it is
at hand, all are compared.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from infoplane.verify import reference_data

FILE = Path(__file__).parents[1].parent / "shared" / "reference" / "other_estimators.json"
X, T, Y = (part.numpy() for part in reference_data())


def stored(method):
    """The stored values of a method; skips the test where the file is not at hand."""
    if not FILE.exists():
        pytest.skip("the file of reference values is not at hand")
    return json.loads(FILE.read_text())[method]["values"]


def gaussians(n, rho, d=1, seed=0):
    """Samples of two d-dimensional Gaussians whose paired components correlate, and their information in bits."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    t = rho * x + np.sqrt(1 - rho**2) * rng.standard_normal((n, d))
    return x, t, -d * np.log2(1 - rho**2) / 2
