"""Whether the layers are a bottleneck: what they know of X falls with depth, what they know of Y is kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from infoplane.analysis.slope import SlopeTest, slope_test
from infoplane.analysis.stats import SIGNIFICANCE

KEPT_SHARE = 0.9


@dataclass(frozen=True)
class BottleneckTest:
    """Tests on what the layers of several runs know of X and of Y.

    Attributes:
        fall: The slope of null-corrected I(X;T) over depth, bits a layer, and whether it is below 0.
        kept: Null-corrected I(T;Y) of the network's last layer as a share of the best layer's, both means over
            seeds; NaN where no layer has any.
        best: Place of the best layer, from 0.
        p_known: One-sided p that the last layer knows anything of Y: the larger one of the t-test over seeds and,
            where the spread of permuted pairings is known, of the t-test of a further value against those.
        rises: In how many links mean I(T;Y) is higher in the next layer; reported, not judged.
    """

    fall: SlopeTest
    kept: float
    best: int
    p_known: float
    rises: int

    @property
    def keeps(self) -> bool:
        """Whether what is known of Y is kept, where there is anything to keep."""
        return bool(self.kept >= KEPT_SHARE and self.p_known < SIGNIFICANCE)

    @property
    def holds(self) -> bool:
        """Whether I(X;T) falls and I(T;Y) is kept."""
        return bool(self.fall.significant) and self.keeps


def bottleneck_test(
    i_xt: NDArray,
    i_ty: NDArray,
    depths: ArrayLike | None = None,
    last: NDArray | None = None,
    null: tuple[NDArray, int] | None = None,
) -> BottleneckTest:
    """Tests whether I(X;T) falls with depth while I(T;Y) is kept.

    Args:
        i_xt: Null-corrected I(X;T) of each seed and layer in bits, (R, L), means over batches.
        i_ty: Null-corrected I(T;Y), (R, L).
        depths: Numbers of the layers, (L,), where some are left out; None takes 0 … L − 1.
        last: Null-corrected I(T;Y) of the network's last layer, (R,), where that is left out; None takes that of
            the last of these.
        null: Standard deviation of the last layer's I(T;Y) over permuted pairings, (R,), and their number. Seeds
            that share a probe share the chance in its labels, which no number of seeds makes up for.
    """
    means, last = i_ty.mean(axis=0), i_ty[:, -1] if last is None else last
    best = int(np.argmax(means))
    kept = float(last.mean() / means[best]) if means[best] > 0 else np.nan
    return BottleneckTest(
        fall=slope_test(i_xt, depths, falling=True),
        kept=kept,
        best=best,
        p_known=max(_p_above(last), _p_above_chance(last, *null) if null else 0.0),
        rises=int((np.diff(means) > 0).sum()),
    )


def _p_above(values: NDArray) -> float:
    """One-sided p of the t-test for a mean above 0; certain where there is no spread."""
    if np.ptp(values) == 0:
        return 0.0 if values[0] > 0 else 1.0
    return float(stats.ttest_1samp(values, 0.0, alternative="greater").pvalue)


def _p_above_chance(values: NDArray, deviations: NDArray, permutations: int) -> float:
    """One-sided p of Student's t that a mean over seeds is one more of the permuted ones, which all seeds share.

    The chance in the labels of a shared probe is the same in all seeds at worst, and then the mean over seeds
    varies as much as that of one.
    """
    spread = float(np.mean(deviations)) * np.sqrt(1 + 1 / permutations)
    if spread == 0:
        return 0.0 if values.mean() > 0 else 1.0
    return float(stats.t.sf(values.mean() / spread, permutations - 1))
