"""How far each layer is from its own final state: linear CKA, SVCCA, and the distance of its parameters.

None of the three estimates an information. CKA and SVCCA compare what the layer gives for the probe, and need its
distances only: the centred linear kernel is −½ J D² J with the squared distances D² and J = 1 − 1/n. Both are 1 for
equal representations and do not change under rotation, shift and scaling.
    linear CKA   ⟨K, L⟩ / (‖K‖ ‖L‖) with unbiased estimates of the inner products (HSIC: Song et al., 2012; for CKA:
                 Nguyen, Raghu and Kornblith, 2021), so that it is 0 on average for independent representations of
                 however many features. CKA itself: Kornblith et al., 2019.
    SVCCA        mean canonical correlation of the principal components that hold 99 % of the variance (Raghu et
                 al., 2017). It has no unbiased form: where the components of both are more than the samples, some
                 correlations are 1 for any representations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import eigh, svdvals
from scipy.spatial.distance import squareform
from threadpoolctl import threadpool_limits

from infoplane.estimators.batches import Batches, strata
from infoplane.estimators.gaussian import centred
from infoplane.estimators.nulls import OK
from infoplane.execution import QUIET, Execution
from infoplane.runfile import Run, Snapshot, open_runs, opened
from infoplane.runfile.schema import CONSTANT

_VARIANCE = 0.99
NOT_RECORDED = "not recorded"


def _u_centred(square: NDArray) -> NDArray:
    """The linear kernel centred so that ⟨K, L⟩ / (n (n−3)) is the unbiased estimate of HSIC.

    Args:
        square: Euclidean distances, (n, n), n ≥ 4.

    Returns:
        (n, n) with zero diagonal and rows that sum to 0 (U-centring: Székely and Rizzo, 2014).
    """
    n = len(square)
    kernel = -0.5 * np.square(square)
    rows = kernel.sum(axis=1) / (n - 2)
    kernel -= rows[:, None] + rows - rows.sum() / (n - 1)
    np.fill_diagonal(kernel, 0.0)
    return kernel


def linear_cka(a: NDArray, b: NDArray) -> float:
    """Linear CKA of two representations, of unbiased estimates of HSIC.

    Args:
        a: Euclidean distances of one representation, (n, n), n ≥ 4.
        b: Those of the other, for the same samples.

    Returns:
        Between −1 and 1, 1 if they are alike; NaN if one is constant.
    """
    return _cosine(_u_centred(a), _u_centred(b))


def principal(square: NDArray, variance: float = _VARIANCE) -> NDArray:
    """The principal components that hold so much of the variance.

    Args:
        square: Euclidean distances, (n, n).
        variance: Share of the variance, in (0, 1].

    Returns:
        Orthonormal columns, (n, r); r = 0 for a constant representation.
    """
    values, vectors = eigh(centred(-0.5 * np.square(square)), driver="evd")
    values = np.maximum(values[::-1], 0)
    total = values.sum()
    if total == 0:
        return np.empty((len(square), 0))
    kept = int(np.searchsorted(np.cumsum(values) / total, variance - 1e-12)) + 1
    return vectors[:, ::-1][:, :kept]


def svcca(a: NDArray, b: NDArray, variance: float = _VARIANCE) -> float:
    """SVCCA of two representations.

    Args:
        a: Euclidean distances of one representation, (n, n).
        b: Those of the other, for the same samples.
        variance: Share of the variance that is kept of each.

    Returns:
        Mean canonical correlation, between 0 and 1; NaN if one is constant.
    """
    return _correlation(principal(a, variance), principal(b, variance))


def representation_table(
    runs: Sequence[Path | Run], batches: Batches | None = None, *, execution: Execution = QUIET
) -> pd.DataFrame:
    """Linear CKA and SVCCA of every layer at every snapshot to the same layer at the last snapshot.

    Args:
        runs: Run files, or runs that are open.
        batches: Batches of the probe to take apart; None takes the whole probe at once.
        execution: How work is done.

    Returns:
        One row per run, snapshot, layer and batch: `run`, `step`, `epoch`, `layer`, `depth`, `batch`, `n`, `cka`
        and `svcca` (0 to 1), and `status`, "ok" or why there are no values.

    Raises:
        InfoplaneError: A run is given twice, cannot be read, or holds no snapshot.
    """
    rows: list[dict[str, Any]] = []
    with threadpool_limits(1):
        for name, run in _finished(runs):
            cuts = batches.draw(strata(run.probe.target)) if batches else [np.arange(run.samples)]
            for depth, layer in enumerate(execution.bar(run.layers, f"CKA of {name}"), start=1):
                about = {"run": name, "layer": layer.name, "depth": depth}
                rows += [about | row for row in _similarities(run, layer.name, cuts)]
    return pd.DataFrame(rows)


def parameter_table(runs: Sequence[Path | Run]) -> pd.DataFrame:
    """How each layer's parameters move to those at the last snapshot.

    A description, and no time of convergence: the distance to one's own last iterate shrinks at a constant rate by
    diffusion alone.

    Args:
        runs: Run files, or runs that are open.

    Returns:
        One row per run, snapshot and layer: `run`, `step`, `epoch`, `layer`, `depth`, `parameters` (the distance
        to the last snapshot, 1 at the first and 0 at the last), `rate` (the way from the snapshot before, relative
        to the distance that was left there: Chen, Yuille and Zhou, ICLR 2023; NaN at the first) and `status`:
        "ok", "not recorded" (files of older versions), "no parameters", "unmoved" or "not finite".

    Raises:
        InfoplaneError: A run is given twice, cannot be read, or holds no snapshot.
    """
    rows: list[dict[str, Any]] = []
    for name, run in _finished(runs):
        for depth, layer in enumerate(run.layers, start=1):
            distances, rates, status = _movement(run, layer.name)
            about = {"run": name, "layer": layer.name, "depth": depth, "status": status}
            rows += [
                about | {"step": snapshot.step, "epoch": snapshot.epoch, "parameters": distance, "rate": rate}
                for snapshot, distance, rate in zip(run.snapshots, distances, rates, strict=True)
            ]
    return pd.DataFrame(rows)


def layer_rates(parameters: pd.DataFrame) -> pd.DataFrame:
    """The mean rate of each layer's parameters over runs and snapshots, from a table of `parameter_table`.

    Returns:
        One row per layer, from input to output: `layer`, `depth` and `rate`; NaN where it has none.
    """
    # On the last way a layer goes all that is left.
    before = parameters[parameters["step"] < parameters.groupby("run")["step"].transform("max")]
    rates = before.groupby(["depth", "layer"])["rate"].mean()
    named = parameters[["layer", "depth"]].drop_duplicates().sort_values("depth", ignore_index=True)
    return named.merge(rates.reset_index(), how="left", on=["depth", "layer"])


def _finished(runs: Sequence[Path | Run]) -> Iterator[tuple[str, Run]]:
    """The names of the runs and the runs, each of which has a snapshot."""
    with open_runs(runs) as several:
        for name, run in several.items():
            run.require_snapshots()
            with opened(run):
                yield name, run


def _similarities(run: Run, layer: str, cuts: Sequence[NDArray]) -> Iterator[dict[str, Any]]:
    """One layer at every snapshot and batch, compared with itself at the last snapshot."""
    final = run.snapshots[-1]
    trouble_at_end = final.trouble(layer)
    finals = [] if trouble_at_end else _prepared(final, layer, cuts)
    for snapshot in run.snapshots:
        place = {"step": snapshot.step, "epoch": snapshot.epoch}
        trouble = snapshot.trouble(layer) or trouble_at_end
        states = [] if trouble else finals if snapshot is final else _prepared(snapshot, layer, cuts)
        for batch, members in enumerate(cuts):
            cka = correlation = math.nan
            if not trouble:
                (kernel, components), (last_kernel, last_components) = states[batch], finals[batch]
                cka = _cosine(kernel, last_kernel)
                correlation = _correlation(components, last_components)
            status = trouble or (OK if math.isfinite(cka) else CONSTANT)
            yield place | {"batch": batch, "n": len(members), "cka": cka, "svcca": correlation, "status": status}


def _prepared(snapshot: Snapshot, layer: str, cuts: Sequence[NDArray]) -> list[tuple[NDArray, NDArray]]:
    square = squareform(snapshot.distances(layer))
    parts = (square[np.ix_(members, members)] for members in cuts)
    return [(_u_centred(part), principal(part)) for part in parts]


def _cosine(a: NDArray, b: NDArray) -> float:
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.vdot(a, b) / norms) if norms > 0 else math.nan


def _correlation(a: NDArray, b: NDArray) -> float:
    if not (a.shape[1] and b.shape[1]):
        return math.nan
    return float(np.minimum(svdvals(a.T @ b), 1.0).mean())


def _movement(run: Run, layer: str) -> tuple[NDArray, NDArray, str]:
    """Distances to the end, and rates, of one layer's parameters, (snapshots,) each, and the status."""
    unknown = np.full((2, len(run.snapshots)), np.nan)
    vectors = [snapshot.parameters(layer) for snapshot in run.snapshots]
    known = [vector for vector in vectors if vector is not None]
    if len(known) < len(vectors):
        return *unknown, NOT_RECORDED
    states = np.asarray(known, dtype=np.float64)
    if not states.shape[1]:
        return *unknown, "no parameters"
    if not np.isfinite(states).all():
        return *unknown, "not finite"
    left = np.linalg.norm(states - states[-1], axis=1)
    if not left[0]:
        return *unknown, "unmoved"
    ways = np.linalg.norm(np.diff(states, axis=0), axis=1)
    rates = np.divide(ways, left[:-1], out=np.full(len(ways), np.nan), where=left[:-1] > 0)
    return left / left[0], np.append(np.nan, rates), OK
