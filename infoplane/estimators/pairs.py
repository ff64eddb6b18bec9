"""Information between all pairs of X, T_1 … T_L and Y, and what each layer adds to the one before; in bits.

Matrix-based Rényi entropies as in `infoplane.estimators.renyi`, labels under the delta kernel by class blocks, a
continuous Y by its Gram matrix.
`RUN.pairs.csv` stands beside `RUN.h5` in long format: settings, step, batch, quantity, i, j, value. Places count
0 = X, 1 … L = the layers, L + 1 = Y. The quantities:

- `entropy`, i = j: S(i).
- `information`, i ≤ j: I(i;j). I(i;i) = 2 S(i) − S(i,i) is not S(i), since K∘K is another kernel than K.
- for each link, j = i + 1 between layers: `residual_information` I(X;T_j|T_i), what T_j knows of X beyond T_i;
  `conditional_entropy` S(T_j|T_i); `backward_information` I(X;T_i|T_j), what of X is lost on the way; and
  `null_residual`, the mean over draws of I(X;T*|T_i) / S(T*|T_i), with `null_residual_sd` its standard deviation.

**The null of the residual.** T* is T_j with its rows permuted: independent of X and of T_i, with the same
spectrum, entropy and bandwidth. The chain X → T_i → T* is Markov by construction, and yet its residual is far from
0, as the kernel takes what tells samples apart for knowledge of X: so a residual is read against this null and
never against 0. The permutations are the same for all links, so that links stay comparable, and keep copies of an
input together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from infoplane.entropy import class_entropy, class_joint_entropy, joint_entropy
from infoplane.entropy.exact import hadamard
from infoplane.errors import InfoplaneError
from infoplane.estimators.base import MAIN, Item, LayerView
from infoplane.estimators.batches import Batches
from infoplane.estimators.engine.pool import Part, batch_columns, parallel, parts_of, solving, survey
from infoplane.estimators.engine.store import StoredTable, matching
from infoplane.estimators.nulls import PERMUTATION_SEED
from infoplane.estimators.renyi import Renyi, RenyiSettings
from infoplane.execution import QUIET, Execution
from infoplane.provenance import versions
from infoplane.runfile import Run, beside, open_run

DRAWS = 5
WORDS = frozenset(
    {
        *("run_id", "version", "target", "kernel", "bandwidth", "scope", "input_bandwidth", "target_bandwidth"),
        *("dtype", "quantity", "name_i", "name_j"),
    }
)
INTEGERS = frozenset({"draws", "batches", "batch_size", "batch", "n", "classes", "step", "i", "j"})
KEYS = INTEGERS | WORDS | {"alpha", "tolerance"}


def pairs_path(run: Path) -> Path:
    """Where the pairwise quantities of a run file stand."""
    return beside(run, ".pairs.csv")


def estimate_pairs(
    path: Path,
    settings: RenyiSettings | None = None,
    batches: Batches | None = None,
    *,
    steps: Sequence[int] | None = None,
    draws: int = DRAWS,
    execution: Execution = QUIET,
) -> pd.DataFrame:
    """Estimates all pairwise quantities at chosen snapshots, reusing what is there already.

    Args:
        path: The run file.
        settings: Order, kernel and bandwidths; None takes the defaults. Permutations of Y play no part.
        batches: Batches of the probe to estimate apart; None takes the whole probe at once.
        steps: Steps of the snapshots; None takes the first, the middle and the last.
        draws: Number of permutations behind the null of the residual.
        execution: How work is done.

    Returns:
        The rows of these settings and steps, ordered by step, batch, quantity and places: run_id, version, the
        settings, batch, n, classes, step, epoch, quantity, i, j, name_i, name_j, value. The value is NaN where a
        layer is constant, not finite or without a bandwidth.

    Raises:
        InfoplaneError: No snapshot, or none at a step; no draws; a tolerance, as ratios of small differences need
            exact entropies; the table cannot be read or written; activations
            are needed where distances were kept.
    """
    settings = settings or RenyiSettings()
    if draws < 2:
        raise InfoplaneError(f"the null of the residual needs at least 2 draws, got {draws}")
    if settings.tolerance:
        raise InfoplaneError("informations between pairs of layers are computed exactly; leave out the tolerance")
    with open_run(path) as run:
        chosen = _snapshots(run, steps)
        version = versions().get("infoplane", "")
        identity = {"run_id": run.run_id, "version": version, "target": settings.target or MAIN}
        columns = {**identity, **settings.options(run), "draws": draws, **batch_columns(batches)}
        stored = StoredTable(pairs_path(path), run.run_id, version, WORDS, INTEGERS, KEYS, {"target": MAIN})
        table = stored.load()
        done = matching(table, columns)
        have = set(done["step"]) if len(done) else set()
        missing = [index for index in chosen if run.snapshots[index].step not in have]
        if missing:
            items = [(index, layer.name) for index in missing for layer in run.layers]
            table = _compute(run, parts_of(run, settings, columns, items, batches), missing, stored, execution)
        rows = matching(table, columns)
        rows = rows[rows["step"].isin({run.snapshots[index].step for index in chosen})]
    return rows.sort_values(["step", "batch", "quantity", "i", "j"], ignore_index=True)


def _snapshots(run: Run, steps: Sequence[int] | None) -> list[int]:
    """Numbers of the snapshots at these steps."""
    if not run.snapshots:
        raise InfoplaneError(f"{run.path} holds no finished snapshot yet")
    last = len(run.snapshots) - 1
    if steps is None:
        return sorted({0, last // 2, last})
    numbers = {snapshot.step: index for index, snapshot in enumerate(run.snapshots)}
    absent = [step for step in steps if step not in numbers]
    if absent:
        raise InfoplaneError(
            f"{run.path} has no snapshot at step {absent[0]}; it has {', '.join(map(str, sorted(numbers)))}"
        )
    return sorted({numbers[step] for step in steps})


def _compute(
    run: Run, parts: list[Part], missing: list[int], stored: StoredTable, execution: Execution
) -> pd.DataFrame:
    """Computes the missing snapshots one after another, and keeps each as soon as it is done."""
    table = pd.DataFrame()
    with solving(len(run.probe), execution) as pool:
        survey(run, parts, pool, execution)
        for index in missing:
            table = stored.store(pd.DataFrame([*_rows(run, parts, index, pool, execution)]))
    return table


def _rows(
    run: Run, parts: list[Part], index: int, pool: ThreadPoolExecutor, execution: Execution
) -> Iterator[dict[str, Any]]:
    """All rows of one snapshot; each layer is read once for all batches."""
    snapshot = run.snapshots[index]
    names = ["X", *(layer.name for layer in run.layers), "Y"]

    def grams(item: Item) -> list[torch.Tensor | None]:
        whole = LayerView(run, snapshot, item[1])
        return [_gram(part, whole.batch(part.batch, part.members), part.told.get(item)) for part in parts]

    found = dict(parallel(pool, [(index, name) for name in names[1:-1]], grams, "layers", execution))

    def quantities(number: int) -> list[dict[str, Any]]:
        estimator, columns = _renyi(parts[number]), parts[number].columns
        layers = [found[index, name][number] for name in names[1:-1]]
        settings, draws = estimator.settings, int(columns["draws"])
        with estimator.solver.turn():
            grams, orders = [estimator.input_gram(), *layers], estimator.permuted_pairings(draws)
            target = estimator.target_gram() if estimator.labels is None else estimator.labels
            return [*pair_quantities(grams, target, settings.alpha, orders, dtype=settings.dtype)]

    for number, rows in parallel(pool, range(len(parts)), quantities, f"pairs at step {snapshot.step}", execution):
        place = {**parts[number].columns, **parts[number].about(), "step": snapshot.step, "epoch": snapshot.epoch}
        yield from ({**place, **row, "name_i": names[row["i"]], "name_j": names[row["j"]]} for row in rows)


def _renyi(part: Part) -> Renyi:
    assert isinstance(part.estimator, Renyi)
    return part.estimator


def _gram(part: Part, view: LayerView, told: Any) -> torch.Tensor | None:
    """Gram matrix of a layer, None where there is nothing to estimate."""
    found = None if view.trouble else _renyi(part).layer_gram(view, told)
    return None if found is None else found[0]


class _Entropies:
    """Joint entropies of any of X, T_1 … T_L (Gram matrices) and Y (labels), each computed once.

    Args:
        grams: Normalised Gram matrices of X, T_1 … T_L, each (n, n); None where there is none.
        target: Class labels, (n,), or the normalised Gram matrix of a continuous Y, (n, n).
        alpha: Order α > 0.
        dtype: "float64" or "float32".
    """

    def __init__(
        self, grams: Sequence[torch.Tensor | None], target: NDArray | torch.Tensor, alpha: float, dtype: str
    ) -> None:
        self.alpha, self.dtype, self.last = alpha, dtype, len(grams)
        self.labels = np.asarray(target) if target.ndim == 1 else None
        self.grams = [*grams] if target.ndim == 1 else [*grams, torch.as_tensor(target)]
        self._known: dict[tuple[int, ...], float] = {}

    def __call__(self, *places: int) -> float:
        """S of the variables at these places, in bits; NaN where one has no Gram matrix."""
        key = tuple(sorted(places))
        if key not in self._known:
            self._known[key] = self._solve(key)
        return self._known[key]

    def _solve(self, key: tuple[int, ...]) -> float:
        grams = [self.grams[place] for place in key if place < len(self.grams)]
        present = [gram for gram in grams if gram is not None]
        if len(present) < len(grams):
            return math.nan
        if self.labels is None or self.last not in key:
            return self.joint(*present)
        # The delta kernel is its own square, so Y counts once however often it is named.
        if not present:
            return class_entropy(self.labels, self.alpha)
        return class_joint_entropy(hadamard(present), self.labels, self.alpha, self.dtype)

    def joint(self, *grams: torch.Tensor) -> float:
        """S of the variables of any Gram matrices, in bits."""
        return float(joint_entropy(*grams, alpha=self.alpha, dtype=self.dtype))


def pair_quantities(
    grams: Sequence[NDArray | torch.Tensor | None],
    target: NDArray | torch.Tensor,
    alpha: float = 1.0,
    draws: int | Sequence[NDArray] = DRAWS,
    links: Sequence[tuple[int, int]] | None = None,
    dtype: str = "float64",
) -> Iterator[dict[str, Any]]:
    """The quantities of this module for one set of samples.

    Args:
        grams: Normalised Gram matrices of X, T_1 … T_L with constant diagonals, each (n, n); None for a layer
            that has none.
        target: Class labels, (n,), or the normalised Gram matrix of a continuous Y, (n, n).
        alpha: Order α > 0.
        draws: Number of permutations behind the null of the residual, or the permutations themselves, (n,) each.
        links: Pairs of places for which to find what the second adds to the first; None takes the neighbours.
        dtype: "float64" or "float32", the precision of the computation.

    Yields:
        quantity, i, j and value (bits; `null_residual` and its deviation are ratios).
    """
    tensors = [None if gram is None else torch.as_tensor(gram) for gram in grams]
    entropy = _Entropies(tensors, target, alpha, dtype)
    last = len(grams)
    for i in range(last + 1):
        yield {"quantity": "entropy", "i": i, "j": i, "value": entropy(i)}
        for j in range(i, last + 1):
            yield {"quantity": "information", "i": i, "j": j, "value": entropy(i) + entropy(j) - entropy(i, j)}
    null = _null_residuals(entropy, _orders(draws, len(target)))
    for i, j in [(place, place + 1) for place in range(1, last - 1)] if links is None else links:
        for quantity, value in {**_link(entropy, i, j), **null(i, j)}.items():
            yield {"quantity": quantity, "i": i, "j": j, "value": value}


def _link(entropy: _Entropies, i: int, j: int) -> dict[str, float]:
    """What layer j adds to layer i, and what it loses."""
    joint = entropy(0, i, j)
    return {
        "residual_information": entropy(0, i) + entropy(i, j) - entropy(i) - joint,
        "conditional_entropy": entropy(i, j) - entropy(i),
        "backward_information": entropy(0, j) + entropy(i, j) - entropy(j) - joint,
    }


def _orders(draws: int | Sequence[NDArray], n: int) -> list[torch.Tensor]:
    """The permutations, (n,) each."""
    if isinstance(draws, int):
        rng = np.random.default_rng(PERMUTATION_SEED)
        draws = [rng.permutation(n) for _ in range(draws)]
    return [torch.from_numpy(order) for order in draws]


def _null_residuals(entropy: _Entropies, orders: Sequence[torch.Tensor]) -> Callable[[int, int], dict[str, float]]:
    """The residual of a layer j with permuted rows after a layer i, as a function of i and j."""

    def one(i: int, j: int, order: torch.Tensor) -> float:
        inputs, before, after = (entropy.grams[place] for place in (0, i, j))
        if inputs is None or before is None or after is None:
            return math.nan
        noise = after[order[:, None], order[None, :]]
        both, joint = entropy.joint(noise, before), entropy.joint(inputs, noise, before)
        added = both - entropy(i)
        return (entropy(0, i) + added - joint) / added if added > 0 else math.nan

    def null(i: int, j: int) -> dict[str, float]:
        values = [one(i, j, order) for order in orders]
        return {"null_residual": float(np.mean(values)), "null_residual_sd": float(np.std(values, ddof=1))}

    return null
