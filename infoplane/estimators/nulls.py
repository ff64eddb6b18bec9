"""What an estimate is held against: permuted pairings, and the rule that says when it is no better than they are.

A permutation pairs each sample with the target (or the input) of another. **Repeated samples** stay together:
copies of one input have one activation, so that labels dealt out one by one would part what is never apart in the
data, and the null would come out too low. So each distinct input takes the labels of another distinct input,
however often they stand. Where it stands more often than that one, the rest of its copies get the same label as far
as copies in the data agree: always, where the label is a function of the input. An order of the samples then names
some several times and others never, and Y has other class frequencies in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from infoplane.condensed import input_numbers

_PERMUTATION_SEED = 0
NULL_DEVIATIONS = 2.0
_CHANCE = 0.05
_FEW, _FEWER, _MANY_SAMPLES = 4, 2, 500
ROUNDING = 1e-9
OK, AT_NULL = "ok", "at null"
MEASURED = (OK, AT_NULL)
_NO_VALUE, _INFINITE = "no value", "infinite"
Values = TypeVar("Values", float, pd.Series)


def at_null(
    value: Values, null: Values, deviation: Values, deviations: float | pd.Series = NULL_DEVIATIONS
) -> Values:
    """Whether a value is no better than its permuted null: at most some standard deviations above its mean.

    Args:
        value: I(T;Y) or I(X;T), a number or a column.
        null: Mean over permutations; where there was none (NaN), or it is infinite, the answer is no.
        deviation: Its standard deviation; where there is none (NaN), the mean alone counts.
        deviations: How many; two are for 10 permutations, `chance_deviations` has them for any number.
    """
    bound: Any = null + deviations * np.where(np.isnan(deviation), 0.0, deviation) + ROUNDING
    found: Any = np.isfinite(bound) & (value <= bound)
    return found


def chance_deviations(permutations: Any) -> Any:
    """How many standard deviations above the mean of so many permutations one more comes in 5 of 100 cases.

    This is the one-sided bound of Student's t for a further value: 7.7 for 2 permutations, 2.6 for 4, 1.9 for 10.

    Args:
        permutations: A number or a column; below 2, the answer is NaN.
    """
    return stdtrit(permutations - 1, 1 - _CHANCE) * np.sqrt(1 + 1 / permutations)


def few_pairings(n: int) -> int:
    """How many permuted pairings of n samples suffice where each takes the entropy of a whole Gram matrix: 4 or 2.

    The more samples there are, the less pairings differ (benchmarks/nulls.md).
    """
    return _FEW if n < _MANY_SAMPLES else _FEWER


def input_pairings(rows: pd.DataFrame) -> pd.Series:
    """Number of permuted pairings behind the null of I(X;T) in each row of a table of estimates.

    Args:
        rows: `n`, `permutations` and, of estimators that take fewer of inputs, `input_permutations` (0: as many as
            `few_pairings` says).
    """
    if "input_permutations" not in rows:
        return rows["permutations"]
    asked = rows["input_permutations"].fillna(rows["permutations"])
    return asked.where(asked > 0, rows["n"].map(few_pairings))


def judged(row: Mapping[str, Any]) -> str:
    """The status of a measured row: whether it has values at all, and whether these are better than their null.

    Args:
        row: I_XT, I_TY, their nulls and deviations. I_XT may be without a null (NaN), as for some estimators
            permuted pairings say nothing of it; all others must be finite.
    """
    target = [row[name] for name in ("I_TY", "I_TY_null", "I_TY_null_std")]
    inputs = [row[name] for name in ("I_XT", "I_XT_null", "I_XT_null_std")]
    # The deviation of infinite nulls is NaN.
    if np.isinf([*inputs, *target]).any():
        return _INFINITE
    if np.isnan([inputs[0], *target]).any():
        return _NO_VALUE
    return AT_NULL if at_null(*target) else OK


def measured(statuses: pd.Series) -> pd.Series:
    """Where there are values: the status is "ok" or "at null"; any other says why there are none."""
    return statuses.isin(MEASURED)


def pairings(
    distances: NDArray, count: int, values: NDArray | None = None, seed: int = _PERMUTATION_SEED
) -> list[NDArray]:
    """Permutations of which sample is paired with which target; copies of an input stay together.

    Args:
        distances: Condensed distances between the inputs, (n (n−1) / 2,).
        count: Number of permutations.
        values: The target, (n,) or (n, k); None stands for the inputs themselves, which copies share.
        seed: Seed.

    Returns:
        `count` orders, (n,) int64 each: sample i gets the target of sample order[i]. Where some inputs repeat more
        often than others, an order need not name each sample once: see `is_permutation`.
    """
    rng = np.random.default_rng(seed)
    numbers = input_numbers(distances)
    copies = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
    if len(copies) == len(numbers):
        return [rng.permutation(len(numbers)) for _ in range(count)]
    share = 1.0 if values is None else agreement(values, copies)
    return [_dealt(copies, share, rng) for _ in range(count)]


def is_permutation(order: NDArray) -> bool:
    """Whether an order (n,) names each sample once, so that what does not depend on the order is kept."""
    return bool(np.bincount(order, minlength=len(order)).max() == 1)


def agreement(values: NDArray, copies: Sequence[NDArray]) -> float:
    """How far copies of an input agree in their target: from 0, no more than others do, to 1, entirely.

    This is the intraclass correlation: 1 less the mean squared distance of two copies in units of that of samples
    of two inputs. All classes are equally far from each other.

    Args:
        values: Classes, (n,), or continuous values, (n, k).
        copies: The samples of each distinct input, of which some stand several times.
    """
    if values.ndim == 1:
        codes = np.unique(values, return_inverse=True)[1]
        points = np.eye(codes.max() + 1)[codes]
    else:
        points = values / (np.abs(values).max() or 1.0)
    points = points - points.mean(axis=0)
    blocks = [points[block] for block in copies if len(block) > 1]
    within, beside = sum(map(_squares, blocks)), sum(len(block) * (len(block) - 1) for block in blocks)
    across, pairs = _squares(points) - within, len(points) * (len(points) - 1) - beside
    return float(np.clip(1 - within / beside / (across / pairs), 0, 1)) if pairs and across > 0 else 1.0


def _squares(points: NDArray) -> float:
    """Sum of the squared distances of all ordered pairs of points, (m, k); exactly 0 where all are alike."""
    if (points == points[0]).all():
        return 0.0
    return float(2 * len(points) * np.square(points - points.mean(axis=0)).sum())


def _dealt(copies: Sequence[NDArray], share: float, rng: np.random.Generator) -> NDArray:
    """An order in which the copies of each input get what those of another have, (n,).

    Where these are fewer, the rest agree with them and among each other as far as copies do: each takes a value
    that all of them have in common, or that of any sample.
    """
    n, keeps = sum(map(len, copies)), np.sqrt(share)
    order = np.empty(n, dtype=np.int64)
    for block, giver in zip(copies, rng.permutation(len(copies)), strict=True):
        given = rng.permutation(copies[giver])[: len(block)]
        common = given[0] if rng.random() < keeps else rng.integers(n)
        missing = len(block) - len(given)
        rest = np.where(rng.random(missing) < keeps, common, rng.integers(n, size=missing))
        order[block] = [*given, *rest]
    return order
