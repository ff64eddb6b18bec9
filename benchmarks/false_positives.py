"""How often the verdict on bottom-up convergence is wrong where layers converge in no order, and its power.

    python benchmarks/false_positives.py
    python benchmarks/false_positives.py --draws 5000 --output benchmarks/false_positives.md

Every row of a table is so many simulated studies of several seeds, judged by the functions of the package itself.
The curves are where they say when they say: a noiseless one comes within 5 % of its range for good at the stated
time, whatever its shape.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import binomtest

from infoplane.analysis.convergence.order import (
    MIN_LAYERS,
    Measure,
    area,
    envelope_area,
    falls,
    log_half_time,
    rises,
    settled,
)
from infoplane.analysis.convergence.trajectories import (
    LEAST_RANGE,
    NOISE_SNAPSHOTS,
    before_the_end,
    last_snapshots,
    log_time_area,
    relative_distance,
    smooth,
    within_noise,
)
from infoplane.analysis.slope import slope_test
from infoplane.analysis.stats import SIGNIFICANCE
from infoplane.recording.schedule import snapshot_steps
from infoplane.reporting.tables import markdown

END = 5000
HUMPS = np.linspace(0, 1, 101)
CORRELATION = 0.5  # of the noise at neighbouring snapshots
MEMORY = 200  # steps over which the states of a layer that drifts are alike
Times = Callable[[np.random.Generator, int, int, int], NDArray]


def progress(time: NDArray, logistic: NDArray, hump: NDArray) -> NDArray:
    """How far a curve has come, 0 at first and 1 at last, for times relative to its own.

    Half of the curves are exponential, half logistic in ln(1 + time); a hump leads beyond the end and back.
    """
    slow = 1 / (1 + 19 ** (1 - np.log1p(time) / np.log(2)))
    return np.where(logistic, slow, -np.expm1(-3 * time)) + hump * time * np.exp(1 - 3 * time)


@functools.cache
def arrivals(half: bool) -> NDArray:
    """When a curve comes within 5 % of its range for good, or half of it, (2, humps): exponential, logistic."""
    time = np.concatenate([[0], np.geomspace(1e-3, 200, 20000)])
    logistic, humps = np.array([False, True])[:, None, None], HUMPS[:, None]
    curves = progress(time, logistic, humps)
    outside = np.abs(curves - 1) > (0.5 if half else 0.05) * np.ptp(curves, axis=-1, keepdims=True)
    return np.asarray(time[len(time) - outside[..., ::-1].argmax(axis=-1)])


@dataclass(frozen=True)
class Study:
    """One kind of study that is simulated.

    Attributes:
        times: Makes the times of convergence, (draws, seeds, layers).
        ranges: Ranges of I(X;T) at the lowest and the highest layer, in bits; None draws them for each layer.
        noise: Standard deviation of I(X;T) at the lowest and the highest layer, in bits; None draws 0.2 to 2 % of
            the range for each layer.
        early_noise: Noise at the first snapshot, as a multiple of that at the last.
        drift: How far the last states of the lowest and the highest layer are from each other, in 1 − CKA.
        shapes: "mixed" shapes and humps for each layer; "humps below" or "humps above": in that half of the layers
            only; "by depth": exponential below, logistic above, and times that are those of half of the way.
        layers: Number of layers.
        seeds: Number of seeds.
        snapshots: Snapshots, as `infoplane record --snapshots`.
    """

    times: Times
    ranges: tuple[float, float] | None = None
    noise: tuple[float, float] | None = None
    early_noise: float = 1.0
    drift: tuple[float, float] | None = None
    shapes: str = "mixed"
    layers: int = 8
    seeds: int = 5
    snapshots: str = "40"

    @property
    def steps(self) -> NDArray:
        """The steps of the snapshots."""
        return np.array(snapshot_steps(self.snapshots, END, 100))

    def along(self, ends: tuple[float, float]) -> NDArray:
        """Values that go from the lowest layer to the highest in equal ratios, (layers, 1)."""
        return np.geomspace(*ends, self.layers)[:, None]


def fresh(rng: np.random.Generator, draws: int, seeds: int, layers: int) -> NDArray:
    """Times drawn anew for each seed and layer, log-uniform."""
    return np.exp(rng.uniform(np.log(20), np.log(END / 2), (draws, seeds, layers)))


def shared(rng: np.random.Generator, draws: int, seeds: int, layers: int) -> NDArray:
    """One random order of the layers, the same in all seeds but for 10 %."""
    return fresh(rng, draws, 1, layers) * np.exp(rng.normal(0, 0.1, (draws, seeds, layers)))


def half_shared(rng: np.random.Generator, draws: int, seeds: int, layers: int) -> NDArray:
    """The geometric mean of both."""
    return np.sqrt(fresh(rng, draws, 1, layers) * fresh(rng, draws, seeds, layers))


def walk(rng: np.random.Generator, draws: int, seeds: int, layers: int) -> NDArray:
    """Times that differ from those of the layer below by chance, by .4 in ln τ, alike in all seeds but for 10 %."""
    common = np.cumsum(rng.normal(0, 0.4, (draws, 1, layers)), axis=-1)
    return 300 * np.exp(common + rng.normal(0, 0.1, (draws, seeds, layers)))


def slow(rng: np.random.Generator, draws: int, seeds: int, layers: int) -> NDArray:
    """Shared times of which many are beyond the end of training."""
    times = np.exp(rng.uniform(np.log(END / 20), np.log(4 * END), (draws, 1, layers)))
    return times * np.exp(rng.normal(0, 0.1, (draws, seeds, layers)))


def planted(factor: float, layer_deviation: float = 0.0, middle: float = 300) -> Times:
    """Times that rise with depth, with deviations in ln τ for each layer in a seed and in all seeds."""

    def times(rng: np.random.Generator, draws: int, seeds: int, layers: int) -> NDArray:
        logs = (np.arange(layers) - (layers - 1) / 2) * np.log(factor) + rng.normal(0, 0.4, (draws, seeds, layers))
        logs += rng.normal(0, layer_deviation, (draws, 1, layers)) if layer_deviation else 0.0
        return middle * np.exp(logs)

    return times


def noiseless(times: NDArray, study: Study, rng: np.random.Generator) -> NDArray:
    """Curves from 0 to 1 that have arrived at these times, (draws, seeds, layers, snapshots)."""
    draws, _, layers = times.shape
    upper = np.broadcast_to(np.arange(layers) >= layers / 2, (draws, layers))
    by_depth = study.shapes == "by depth"
    logistic = upper if by_depth else rng.random((draws, layers)) < 0.5
    humped = {
        "mixed": rng.random((draws, layers)) < 0.4,
        "by depth": np.zeros_like(upper),
        "humps below": ~upper,
        "humps above": upper,
    }[study.shapes]
    places = np.where(humped, rng.integers(30, len(HUMPS), (draws, layers)), 0)
    arrival = arrivals(by_depth)[logistic.astype(int), places]
    relative = study.steps / times[..., None] * arrival[:, None, :, None]
    return progress(relative, logistic[:, None, :, None], HUMPS[places][:, None, :, None])


def fluctuations(study: Study, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray:
    """Noise of training with a standard deviation of 1 at the end, correlated over snapshots."""
    white = rng.normal(0, np.sqrt(1 - CORRELATION**2), shape)
    return np.asarray(lfilter([1], [1, -CORRELATION], white) * np.linspace(study.early_noise, 1, shape[-1]))


def information(times: NDArray, study: Study, rng: np.random.Generator) -> NDArray:
    """Curves of I(X;T), means over batches, (draws, seeds, layers, snapshots)."""
    draws, _, layers = times.shape
    curves = noiseless(times, study, rng)
    if study.ranges is None:
        ranges = np.exp(rng.uniform(np.log(0.05), np.log(0.5), (draws, 1, layers, 1)))
    else:
        ranges = study.along(study.ranges)
        curves /= np.ptp(curves, axis=-1, keepdims=True)
    drawn = study.noise is None
    noise = (
        ranges * rng.uniform(0.002, 0.02, (draws, 1, layers, 1)) if drawn else study.along(study.noise or (0, 0))
    )
    signs = rng.choice([-1.0, 1.0], (draws, 1, layers, 1))
    return np.asarray(signs * ranges * curves + noise * fluctuations(study, rng, curves.shape))


def similarity(times: NDArray, study: Study, rng: np.random.Generator) -> NDArray:
    """Curves of CKA to the last snapshot, that one included, (draws, seeds, layers, snapshots).

    The representation moves along with the curve, and goes on drifting where it has arrived.
    """
    draws, _, layers = times.shape
    curves = np.abs(1 - noiseless(times, study, rng)) * rng.uniform(0.3, 0.9, (draws, 1, layers, 1))
    drawn = rng.uniform(0.002, 0.02, (draws, 1, layers, 1))
    drift = drawn if study.drift is None else study.along(study.drift)
    apart = -np.expm1((study.steps - END) / MEMORY)
    away = drift * apart * np.exp(0.2 * fluctuations(study, rng, curves.shape))
    curves[..., -1] = 0
    return np.asarray(1 - curves - away)


@dataclass(frozen=True)
class Answers:
    """What the rule says of one quantity in many studies, (draws,) each."""

    rises: NDArray
    falls: NDArray
    judged: NDArray
    slope: NDArray
    linked: NDArray


def answers(curves: NDArray, steps: NDArray, measure: Measure = area) -> Answers:
    """Judges each study as `infoplane.analysis.convergence.order.convergence_order` does, many at once."""
    times, distances = measure(curves, steps), relative_distance(curves, steps)
    kept = ~within_noise(curves, steps).any(axis=1)
    count, layers = kept.shape
    at_rest = settled(distances, steps)
    upward, downward, judged, linked = np.zeros((4, count), dtype=bool)
    slopes = np.full(count, np.nan)
    for pattern in np.unique(kept, axis=0):
        # Networks of fewer layers than the rule asks for show what it would be without that limit.
        if pattern.sum() < min(MIN_LAYERS, layers):
            continue
        here = np.flatnonzero((kept == pattern).all(axis=1))
        test = slope_test(times[here][..., pattern], np.flatnonzero(pattern))
        judged[here] = at_rest[here]
        upward[here], downward[here], slopes[here] = rises(test), falls(test), test.slope
        linked[here] = test.p_links < SIGNIFICANCE
    return Answers(upward & judged, downward & judged, judged, np.where(judged, slopes, np.nan), linked)


def rates(
    name: str, study: Study, draws: int, seed: int, measure: Measure = area, *, links: bool = False
) -> dict[str, object]:
    """One row: shares of the outcomes, in per cent, and the mean factor that was found for I(X;T).

    With `links` also how often both quantities show the order by p over links too.
    """
    rng = np.random.default_rng([seed, study.layers, study.seeds])
    times = study.times(rng, draws, study.seeds, study.layers)
    bits = answers(information(times, study, rng), study.steps, measure)
    before = before_the_end(study.steps)
    cka = answers(similarity(times, study, rng)[..., : len(before)], before, measure)
    judged = bits.judged & cka.judged
    counts = {
        "I(X;T) alone": bits.rises,
        "CKA alone": cka.rises,
        "supported": bits.rises & cka.rises,
        "mixed": judged & (bits.rises ^ cka.rises),
        "contradicted": bits.falls & cka.falls,
        "undecidable": ~judged,
    }
    if links:
        counts["supported, p over links < .05"] = bits.rises & cka.rises & bits.linked & cka.linked
    row: dict[str, object] = {"studies": name, "layers": study.layers, "seeds": study.seeds}
    row |= {key: f"{100 * hits.mean():.1f}" for key, hits in counts.items()}
    factor = np.exp(np.nanmean(bits.slope)) if judged.any() else np.nan
    return row | {"factor": f"{factor:.2f}" if judged.any() else "–"}


BITS = (0.012, 0.25)
EVEN = planted(1.0)
NULLS = {
    "equal times": Study(EVEN),
    "equal times, ranges .012 to .25 bit, noise .001": Study(EVEN, ranges=BITS, noise=(0.001, 0.001)),
    "equal times, ranges .25 to .012 bit, noise .001": Study(EVEN, ranges=BITS[::-1], noise=(0.001, 0.001)),
    "equal times, ranges .012 to .25 bit, noise .003": Study(EVEN, ranges=BITS, noise=(0.003, 0.003)),
    "equal times, ranges .25 to .012 bit, noise .003": Study(EVEN, ranges=BITS[::-1], noise=(0.003, 0.003)),
    "equal times, noise .0002 to .01 bit": Study(EVEN, ranges=(0.1, 0.1), noise=(0.0002, 0.01)),
    "equal times, noise .01 to .0002 bit": Study(EVEN, ranges=(0.1, 0.1), noise=(0.01, 0.0002)),
    "equal times, drift of CKA .002 to .1": Study(EVEN, drift=(0.002, 0.1)),
    "equal times, drift of CKA .1 to .002": Study(EVEN, drift=(0.1, 0.002)),
    "equal half times, other shapes above": Study(planted(1.0, middle=80), shapes="by depth"),
    "times new in each seed": Study(fresh),
    "times shared by seeds": Study(shared),
    "times half shared": Study(half_shared),
    "unsettled: equal times at twice the end": Study(planted(1.0, middle=2 * END)),
    "unsettled: shared times beyond the end": Study(slow),
}
SHAPES = {f"equal times, {shapes}": Study(EVEN, shapes=shapes) for shapes in ("humps below", "humps above")}
MEASURES = {"plain distance": area, "envelope": envelope_area, "t50": log_half_time}
COMPARED = {
    **{name: study for name, study in NULLS.items() if study.drift is None and "unsettled" not in name},
    **SHAPES,
    "factor 1.25": Study(planted(1.25)),
    "factor 1.5, layers ± .4": Study(planted(1.5, 0.4)),
}
LIMITS = SHAPES | {
    f"{way}, noise {noise:g} bit, {early:g} times that at first": Study(
        EVEN, ranges=ends, noise=(noise, noise), early_noise=early
    )
    for noise, early in ((0.001, 3.0), (0.003, 3.0))
    for way, ends in (("ranges .012 to .25", BITS), ("ranges .25 to .012", BITS[::-1]))
}


def false_positives(draws: int, seed: int) -> pd.DataFrame:
    """The nulls."""
    rows = [
        rates(name, replace(study, layers=layers), draws, seed)
        for name, study in NULLS.items()
        for layers in (6, 8, 12)
    ]
    rows += [
        rates(name, replace(NULLS[name], seeds=10), draws, seed) for name in list(NULLS) if name.startswith("times")
    ]
    return pd.DataFrame(rows)


def powers(draws: int, seed: int) -> pd.DataFrame:
    """Power over layers, seeds and factors."""
    return pd.DataFrame(
        [
            rates(f"factor {factor:g}", Study(planted(factor), layers=layers, seeds=seeds), draws, seed)
            for factor in (1.1, 1.25, 1.5, 2.0)
            for seeds in (5, 10)
            for layers in (5, 6, 8, 10, 12)
        ]
    )


def unequal_layers(draws: int, seed: int) -> pd.DataFrame:
    """Power where layers differ for other reasons than their depth, the same in all seeds."""
    return pd.DataFrame(
        [
            rates(f"factor 1.5, layers ± {deviation:g}", Study(planted(1.5, deviation), layers=layers), draws, seed)
            for deviation in (0.2, 0.4, 0.6)
            for layers in (6, 8, 10, 12)
        ]
    )


def dependent_layers(draws: int, seed: int) -> pd.DataFrame:
    """Times that add up from layer to layer, and what p over links says of them and of an order of depth."""
    kinds = {
        "random walk over layers, shared by seeds": walk,
        "times shared by seeds": shared,
        "factor 1.5, layers ± .2": planted(1.5, 0.2),
        "factor 1.5": planted(1.5),
    }
    return pd.DataFrame(
        [
            rates(name, Study(times, layers=layers), draws, seed, links=True)
            for name, times in kinds.items()
            for layers in (6, 8, 12)
        ]
    )


def schedules(draws: int, seed: int) -> pd.DataFrame:
    """Power and false positives by snapshots."""
    drift = "equal times, drift of CKA .002 to .1"
    kinds = {
        "equal times": Study(EVEN),
        drift: NULLS[drift],
        "times shared by seeds": Study(shared),
        "factor 1.5": Study(planted(1.5)),
    }
    return pd.DataFrame(
        [
            {"snapshots": snapshots} | rates(name, replace(study, snapshots=snapshots, layers=layers), draws, seed)
            for snapshots in ("15", "25", "40", "80", "32+8", "every:100")
            for name, study in kinds.items()
            for layers in (6, 8)
        ]
    )


def measures(draws: int, seed: int) -> pd.DataFrame:
    """The area, the area under the envelope, and t50, on the same studies."""
    return pd.DataFrame(
        [
            {"measure": label} | rates(name, study, draws, seed, measure)
            for name, study in COMPARED.items()
            for label, measure in MEASURES.items()
        ]
    )


def distance_and_noise(means: NDArray, steps: NDArray) -> tuple[NDArray, NDArray]:
    """The distance d, and the noise f as it was first meant to be: around the mean of the last five snapshots."""
    smoothed = smooth(means)
    last = smoothed[..., -NOISE_SNAPSHOTS:]
    noise = np.abs(last - last.mean(axis=-1, keepdims=True)).mean(axis=-1, keepdims=True)
    return np.abs(smoothed - smoothed[..., -last_snapshots(steps) :].mean(axis=-1, keepdims=True)), noise


def first_area(means: NDArray, steps: NDArray) -> NDArray:
    """The area as it was first meant to be: (d − f) over its own largest value."""
    beyond = np.maximum(np.subtract(*distance_and_noise(means, steps)), 0)
    return log_time_area(beyond / beyond.max(axis=-1, keepdims=True), steps)


def first_within_noise(means: NDArray, steps: NDArray) -> NDArray:
    """Which curves would be left out with that noise."""
    distance, noise = distance_and_noise(means, steps)
    return np.asarray(distance.max(axis=-1) <= LEAST_RANGE * noise[..., 0])


def changes(draws: int, seed: int) -> pd.DataFrame:
    """How often the rule as it was first meant to be errs, and how often it does now, in per cent of studies."""
    rows = []
    for name in list(NULLS)[1:5]:
        study, rng = NULLS[name], np.random.default_rng([seed, 8, 5])
        curves = information(study.times(rng, draws, 5, 8), study, rng)
        before, now = (answers(curves, study.steps, measure).rises for measure in (first_area, area))
        rows.append(("range less f → less 3 f: I(X;T) alone", name, before, now))
    for snapshots in ("15", "25"):
        study, rng = Study(planted(1.5, middle=900), snapshots=snapshots), np.random.default_rng([seed, 8, 5])
        curves = information(study.times(rng, draws, 5, 8), study, rng)
        rules = (first_within_noise, within_noise)
        before, now = (rule(curves, study.steps).any(axis=(1, 2)) for rule in rules)
        name = f"factor 1.5 around step 900, {snapshots} snapshots"
        rows.append(("noise around the mean → around a line: a layer is lost to noise", name, before, now))
    for snapshots in ("40", "32+8"):
        study = replace(NULLS["equal times, drift of CKA .002 to .1"], snapshots=snapshots)
        rng, inside = np.random.default_rng([seed, 8, 5]), before_the_end(study.steps)
        curves = similarity(study.times(rng, draws, 5, 8), study, rng)
        before, now = answers(curves, study.steps).rises, answers(curves[..., : len(inside)], inside).rises
        name = f"drift .002 to .1, {snapshots} snapshots"
        rows.append(("CKA with → without the last 5 %: CKA alone", name, before, now))
    study, rng = NULLS["times shared by seeds"], np.random.default_rng([seed, 8, 5])
    times = study.times(rng, draws, 5, 8)
    areas = [area(make(times, study, rng), study.steps) for make in (information, similarity)]
    tests = [slope_test(values) for values in areas]
    before, now = (np.logical_and(*hits) for hits in ([test.high < 0 for test in tests], [*map(falls, tests)]))
    rows.append(("contradicted: both intervals below 1 → both tests", "times shared by seeds", before, now))
    shares = [(*names, f"{100 * before.mean():.1f}", f"{100 * now.mean():.1f}") for *names, before, now in rows]
    return pd.DataFrame(shares, columns=["change: what is counted", "studies", "before", "now"])


def limits(draws: int, seed: int) -> pd.DataFrame:
    """Where the rule errs."""
    return pd.DataFrame([rates(name, study, draws, seed) for name, study in LIMITS.items()])


SECTIONS: dict[str, Callable[[int, int], pd.DataFrame]] = {
    "nulls": false_positives,
    "powers": powers,
    "unequal": unequal_layers,
    "dependent": dependent_layers,
    "schedules": schedules,
    "measures": measures,
    "changes": changes,
    "limits": limits,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the tables and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    given = parser.parse_args(arguments)
    tables = {}
    for name, make in SECTIONS.items():
        tables[name] = markdown(make(given.draws, given.seed))
        print(tables[name], flush=True)
    error = [100 * end for end in binomtest(given.draws // 20, given.draws).proportion_ci(method="wilson")]
    page = PAGE.format(**tables, draws=given.draws, low=error[0], high=error[1])
    given.output.write_text(page, encoding="utf-8")


PAGE = """# False positives and power of the verdict on bottom-up convergence

`python benchmarks/false_positives.py`: {draws} simulated studies a row, judged by the functions that `infoplane
analyze` uses; all rates in per cent. A true rate of 5 % shows as {low:.1f} to {high:.1f} in 95 % of rows.

## What is simulated

- **I(X;T)**: each layer has a curve of its own shape, exponential in time or logistic in its logarithm, in 40 % of
  the layers with a hump that leads beyond the end and back, rising or falling, with a range between .05 and .5 bit
  and a noise of training of .2 to 2 % of it, correlated by .5 from snapshot to snapshot, unless the row says
  otherwise. Values are means over batches.
- **CKA to the end** has the same times, the worst case for a rule that asks for two quantities to agree. A
  representation moves along with such a curve, and then drifts, forgetting its state within 200 steps, so
  that CKA does not come near 1 before the last snapshot: by .002 to .02 unless the row says otherwise.
- **Times** say when the noiseless curve comes within 5 % of its range for good. In a null row they are equal but
  for 40 % (a standard deviation of .4 in ln τ) in each seed and layer, or random between 20 and 2,500 of 5,000
  steps.
- **I(X;T) alone**, **CKA alone**: how often that quantity shows the order. **Supported**, **mixed**,
  **contradicted** and **undecidable** are outcomes of the verdict. *factor*: e to the mean slope of I(X;T).

## False positives

{nulls}

- *Supported* and *contradicted* stay at or below 5 % in all nulls, also where all seeds share one random order of
  the layers, which no number of seeds can tell from one of depth: the test over layers is there for it.
- *Mixed* asks for one of two quantities, so that chance alone brings it about in up to one of ten studies. Read it
  as
  that.
- Many layers whose range is near the noise are left out, and a network of six is then undecidable.

## Power

{powers}

Rows of 5 layers show what the rule would give: the verdict is undecidable below 6.

Where layers differ for reasons other than depth, alike in all seeds, by this deviation in ln τ:

{unequal}

Recommended: 8 layers or more of equal width, 5 seeds.

## Snapshots

{schedules}

## The distance itself, its envelope, and t50

The envelope takes the largest distance from each snapshot on, so that a curve that leaves its end and comes back
does not count as converged before. It also takes the largest of the noise: layers of a small range come out late,
and late layers at the top are bottom-up order.

{measures}

So the verdict is on the plain distance, and the envelope and t50 stand beside it. A hump, with which a curve passes
its end and comes back late, makes a layer earlier by any of them than its time to 5 % says.

## What was changed after measuring

The rule was fixed before, and changed in four places by these rates, before any study was judged by it.

{changes}

## Where the rule errs

{limits}

- Where only the lower layers have humps, or only the upper ones, "the same time" is a matter of definition: half of
  the way, or 95 % of it.
- Noise that is larger at first than at the end makes layers of a small range early. The two quantities do not share
  it, so that it gives *mixed*, not *supported*.

Where the time of a layer is that of the layer below and a chance of its own, alike in all seeds:

{dependent}

- Tests over layers and over orders of the layers take deviations for independent: such a walk is called an order of
  depth in 10 to 17 % of studies, from top to bottom as often as from bottom to top. The test over links, which is
  printed beside them and is no part of the rule, does not, and finds less.
"""

if __name__ == "__main__":
    main()
