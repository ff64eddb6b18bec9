"""Information between all pairs of X and the layers T_1 … T_L at a few snapshots, with its permuted null; in bits.

Matrix-based Rényi entropies as in `infoplane.estimators.renyi`. `RUN.pairs.csv` stands beside `RUN.h5`: one row per
settings, snapshot, batch and pair. Places count 0 = X, 1 … L = the layers. Each row says of a variable V_i at
`step` and a variable V_j at `step_j`:

- `information`, I(V_i;V_j). At one step, i ≤ j; I(i;i) = 2 S(i) − S(i,i) is not S(i), since K∘K is another kernel
  than K. Where `step_j` is that of the last snapshot, and `step` is not, the layers at that time are compared with
  the layers at the end: all i and j from 1 on.
- `information_null`, the same with the samples of V_i in another order: under a Gaussian kernel independent
variables
  have information too. The order is the first of those behind `I_XT_null`, so it is the same for all pairs and
  snapshots, and it keeps copies of an input together.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from infoplane.entropy import gram_entropies
from infoplane.errors import InfoplaneError
from infoplane.estimators.base import MAIN, LayerView
from infoplane.estimators.batches import Batches
from infoplane.estimators.engine.pool import Part, Threads, batch_columns, parts_of, solving, survey
from infoplane.estimators.engine.store import StoredTable, matching
from infoplane.estimators.nulls import is_permutation
from infoplane.estimators.renyi import Renyi, RenyiSettings
from infoplane.execution import QUIET, Execution
from infoplane.provenance import versions
from infoplane.runfile import Run, beside, opened

_SNAPSHOTS = 5  # so many by default, from the first to the last
STACKED_BYTES = 2**26  # products of Gram matrices that are solved in one call
WORDS = frozenset(
    {
        *("run_id", "version", "target", "kernel", "bandwidth", "scope", "input_bandwidth", "target_bandwidth"),
        *("dtype", "name_i", "name_j"),
    }
)
INTEGERS = frozenset({"batches", "batch_size", "batch", "n", "classes", "step", "step_j", "i", "j"})
# What every row has, be it empty.
DUE = INTEGERS | {"epoch", "name_i", "name_j", "information", "information_null"}
# What tells one row from another; the rest is known of the run, or by i and j.
KEYS = (INTEGERS | WORDS | {"alpha", "tolerance", "input_permutations"}) - {"n", "classes", "name_i", "name_j"}
Grams = Sequence[torch.Tensor | None]


def pairs_path(run: Path) -> Path:
    """Where the informations between pairs of a run file stand."""
    return beside(run, ".pairs.csv")


def estimate_pairs(
    run: Path | Run,
    settings: RenyiSettings | None = None,
    batches: Batches | None = None,
    *,
    steps: Sequence[int] | None = None,
    to_end: bool = False,
    execution: Execution = QUIET,
) -> pd.DataFrame:
    """Estimates the informations between all pairs at chosen snapshots, reusing what is there already.

    Args:
        run: The run file, or the open run.
        settings: Order, kernel and bandwidths; None takes the defaults.
        batches: Batches of the probe to estimate apart; None takes the whole probe at once.
        steps: Steps of the snapshots; None takes the first, the last and three between them.
        to_end: Compare the layers at each of them with those at the last snapshot too.
        execution: How work is done.

    Returns:
        The rows of these settings and steps, ordered by step, step_j, batch and places: run_id, version, the
        settings, batch, n, classes, step, epoch, step_j, i, j, name_i, name_j, information, information_null
        (bits). They are NaN where a layer is constant, not finite or without a bandwidth.

    Raises:
        InfoplaneError: No snapshot, or none at a step; a tolerance, as small differences need exact entropies; the
            table cannot be read or written; activations are needed where distances were kept.
    """
    settings = settings or RenyiSettings()
    if settings.tolerance:
        raise InfoplaneError("informations between pairs of layers are computed exactly; leave out the tolerance")
    with opened(run) as run:
        chosen = _snapshots(run, steps)
        last = run.snapshots[-1].step
        version = versions().get("infoplane", "")
        identity = {"run_id": run.run_id, "version": version, "target": settings.target or MAIN}
        columns = {**identity, **settings.options(run), **batch_columns(batches)}
        sound = partial(sound_rows, run)
        stored = StoredTable(
            pairs_path(run.path), run.run_id, version, WORDS, INTEGERS, DUE, KEYS, sound, {"target": MAIN}
        )
        table = stored.load()
        done = matching(table, columns)
        wanted = [(index, run.snapshots[index].step) for index in chosen]
        wanted += [(index, last) for index in chosen if to_end and run.snapshots[index].step != last]
        missing = _missing(run, done, wanted, batches)
        if missing:
            needed = {index for index, _ in missing} | ({len(run.snapshots) - 1} if to_end else set())
            items = [(index, layer.name) for index in sorted(needed) for layer in run.layers]
            table = _compute(run, parts_of(run, settings, columns, items, batches), missing, stored, execution)
        else:
            stored.sweep(table)
        rows = matching(table, columns)
        asked = {(run.snapshots[index].step, step_j) for index, step_j in wanted}
        rows = rows[[pair in asked for pair in zip(rows["step"], rows["step_j"], strict=True)]]
    return rows.sort_values(["step", "step_j", "batch", "i", "j"], ignore_index=True)


def _missing(
    run: Run, done: pd.DataFrame, wanted: Iterable[tuple[int, int]], batches: Batches | None
) -> list[tuple[int, int]]:
    """Those of the (snapshot, step_j) that lack a row."""
    have = done.groupby(["step", "step_j"]).size().to_dict() if len(done) else {}
    layers = len(run.layers)

    def due(step: int, step_j: int) -> int:
        pairs = (layers + 1) * (layers + 2) // 2 if step == step_j else layers**2
        return pairs * (batches.count if batches else 1)

    asked = {(index, step_j): (run.snapshots[index].step, step_j) for index, step_j in wanted}
    return [pair for pair, steps in asked.items() if have.get(steps, 0) < due(*steps)]


def sound_rows(run: Run, table: pd.DataFrame) -> pd.Series:
    """Which rows of a table of pairs say what the run can have.

    Args:
        run: The run.
        table: Rows of its table.

    Returns:
        (rows,) of truth values.
    """
    names = dict(enumerate(["X", *(layer.name for layer in run.layers)]))
    places = (table["i"].map(names) == table["name_i"]) & (table["j"].map(names) == table["name_j"])
    sizes = table["batch_size"].where(table["batches"] > 0, run.samples)
    # Another process may see more of a run that is being written.
    steps = {snapshot.step for snapshot in run.snapshots} | (set(table["step"]) if run.left_open else set())
    return places & table["step"].isin(steps) & table["step_j"].isin(steps) & (table["n"] == sizes)


def _snapshots(run: Run, steps: Sequence[int] | None) -> list[int]:
    """Numbers of the snapshots at these steps."""
    run.require_snapshots()
    if steps is None:
        return sorted({*np.linspace(0, len(run.snapshots) - 1, _SNAPSHOTS).round().astype(int).tolist()})
    numbers = {snapshot.step: index for index, snapshot in enumerate(run.snapshots)}
    absent = [step for step in steps if step not in numbers]
    if absent:
        raise InfoplaneError(
            f"{run.path} has no snapshot at step {absent[0]}; it has {', '.join(map(str, sorted(numbers)))}"
        )
    return sorted({numbers[step] for step in steps})


def _compute(
    run: Run,
    parts: list[Part],
    missing: list[tuple[int, int]],
    stored: StoredTable,
    execution: Execution,
) -> pd.DataFrame:
    """Computes the missing rows, (snapshot, step_j); on an interruption what is done is kept."""
    last = len(run.snapshots) - 1

    def portions() -> Generator[list[dict[str, Any]], None, None]:
        with solving(run.samples, execution) as pool:
            survey(run, parts, pool)
            compared = any(run.snapshots[index].step != step_j for index, step_j in missing)
            end = _grams(run, parts, last, pool) if compared else None
            for index, of_snapshot in itertools.groupby(sorted(missing), key=lambda pair: pair[0]):
                grams = end if end and index == last else _grams(run, parts, index, pool)
                for _, step_j in of_snapshot:
                    others = None if run.snapshots[index].step == step_j else end
                    yield [*_rows(run, parts, index, grams, others, pool)]

    return stored.fill(portions())


def _grams(run: Run, parts: list[Part], index: int, pool: Threads) -> list[Grams]:
    """Gram matrices of X and the layers at one snapshot, for each part; each layer is read once for all of them."""
    snapshot, names = run.snapshots[index], [layer.name for layer in run.layers]

    def layer(name: str) -> Grams:
        whole = LayerView(run, snapshot, name)
        return [_gram(part, whole.batch(part.batch, part.members), part.told.get((index, name))) for part in parts]

    made = dict(pool.parallel(names, layer, "layers"))
    return [
        [_renyi(part).input_gram(), *(made[name][number] for name in names)] for number, part in enumerate(parts)
    ]


def _gram(part: Part, view: LayerView, told: Any) -> torch.Tensor | None:
    """Gram matrix of a layer, None where there is nothing to estimate."""
    made = None if view.trouble else _renyi(part).layer_gram(view, told)
    return None if made is None else made[0]


def _renyi(part: Part) -> Renyi:
    assert isinstance(part.estimator, Renyi)
    return part.estimator


def _rows(
    run: Run,
    parts: list[Part],
    index: int,
    grams: list[Grams],
    end: list[Grams] | None,
    pool: Threads,
) -> Iterator[dict[str, Any]]:
    """All rows of one snapshot: of its variables with each other, or of its layers with those at the `end`."""
    snapshot = run.snapshots[index]
    names = ["X", *(layer.name for layer in run.layers)]
    first, step_j = (0, snapshot.step) if end is None else (1, run.snapshots[-1].step)

    def informations(number: int) -> tuple[NDArray, NDArray]:
        estimator = _renyi(parts[number])
        others = None if end is None else end[number][first:]
        alpha, dtype = estimator.settings.alpha, estimator.settings.dtype
        with estimator.solver.turn():
            return pair_informations(grams[number][first:], estimator.input_orders[0], others, alpha, dtype)

    label = f"pairs at step {snapshot.step}"
    for number, (values, nulls) in pool.parallel(range(len(parts)), informations, label):
        about = {**parts[number].columns, **parts[number].about(), "step": snapshot.step, "epoch": snapshot.epoch}
        for i, j in np.ndindex(values.shape):
            if end is not None or i <= j:
                pair = {"step_j": step_j, "i": i + first, "j": j + first}
                pair |= {"name_i": names[i + first], "name_j": names[j + first]}
                yield {**about, **pair, "information": values[i, j], "information_null": nulls[i, j]}


def pair_informations(
    variables: Sequence[NDArray | torch.Tensor | None],
    order: NDArray,
    others: Sequence[NDArray | torch.Tensor | None] | None = None,
    alpha: float = 1.0,
    dtype: str = "float64",
) -> tuple[NDArray, NDArray]:
    """I(V_i;W_j) of all pairs, and what it is with the samples of V_i in another order.

    Args:
        variables: Normalised Gram matrices of V_0, V_1, …, each (n, n); None for one that has none.
        order: The order, (n,), in which V_i of sample k is that of sample order[k]; it need not name each once.
        others: Those of W; None takes V, of which the pairs i ≤ j are computed and mirrored.
        alpha: Order α > 0.
        dtype: "float64" or "float32", the precision of the computation.

    Returns:
        The informations and their nulls in bits, (V, W) each; NaN where a variable has no Gram matrix.
    """
    left = [None if gram is None else torch.as_tensor(gram) for gram in variables]
    right = left if others is None else [None if gram is None else torch.as_tensor(gram) for gram in others]
    pairs = [(i, j) for i in range(len(left)) for j in range(len(right)) if others is not None or i <= j]
    places = torch.from_numpy(np.asarray(order))
    mixed = [None if gram is None else gram[places[:, None], places[None, :]] for gram in left]
    s_left = _entropies(left, alpha, dtype)
    s_mixed = s_left if is_permutation(order) else _entropies(mixed, alpha, dtype)
    s_right = s_left if others is None else _entropies(right, alpha, dtype)

    def informations(grams: Grams, entropies: NDArray) -> NDArray:
        joint = np.full((len(left), len(right)), np.nan)
        joint[tuple(np.transpose(pairs))] = _entropies(
            (_product(grams[i], right[j]) for i, j in pairs), alpha, dtype
        )
        values = entropies[:, None] + s_right - joint
        return values if others is not None else np.where(np.isnan(values), values.T, values)

    return informations(left, s_left), informations(mixed, s_mixed)


def _product(one: torch.Tensor | None, other: torch.Tensor | None) -> torch.Tensor | None:
    return None if one is None or other is None else one * other


def _entropies(grams: Iterable[torch.Tensor | None], alpha: float, dtype: str) -> NDArray:
    """S in bits of Gram matrices of any trace, some in one call; NaN for those that are None."""
    values, matrices = list[float](), iter(grams)
    for matrix in matrices:
        size = STACKED_BYTES // matrix.nbytes if matrix is not None else 1
        part = [matrix, *itertools.islice(matrices, size)]
        present = [gram for gram in part if gram is not None]
        solved = iter(gram_entropies(torch.stack(present), alpha, dtype).tolist() if present else ())
        values += [math.nan if gram is None else next(solved) for gram in part]
    return np.array(values)
