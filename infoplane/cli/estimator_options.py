"""The settings of the estimators as options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from infoplane.estimators.base import EstimatorSettings
    from infoplane.estimators.batches import Batches

ESTIMATORS = "renyi, binning, kde, kde-lower, ksg, gaussian, hsic, nhsic, cka and kernel-cka"


def estimator_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the settings of the estimator to a verb."""
    rules = "median:C, knn:K, silverman:G, alignment:B or fixed:S"
    options = [
        click.option("--alpha", type=float, default=1.0, help="renyi: order of the entropy; 1 is von Neumann's."),
        click.option("--bandwidth", default="median:1", help=f"Kernel width of the layers: {rules}."),
        click.option(
            "--scope",
            type=click.Choice(["snapshot", "final", "shared"]),
            default="snapshot",
            help="renyi: the rule at each snapshot, frozen at the final one, or one multiple of the median "
            "distance shared by all layers.",
        ),
        click.option(
            "--input-bandwidth", default=None, show_default="as --bandwidth", help="Rule for the input X."
        ),
        click.option(
            "--target-bandwidth",
            default="median:1",
            help="Rule for a continuous target Y; classes need none.",
        ),
        click.option(
            "--kernel",
            type=click.Choice(["tensor", "multivariate", "nested"]),
            default="tensor",
            help="renyi: one Gaussian over a whole layer; one a channel, multiplied (needs kept activations); or "
            "those of a layer and of all after it, multiplied, under which no layer gains information.",
        ),
        click.option(
            "--dtype",
            type=click.Choice(["float64", "float32"]),
            default="float64",
            help="renyi: precision of exact computations; the other estimators take float64.",
        ),
        click.option(
            "--tolerance",
            type=float,
            default=0.0,
            metavar="BITS",
            show_default="exact",
            help="renyi: half-width of a 99 % interval within which each information is estimated, which is faster "
            "than exact for large probes; the other estimators are exact.",
        ),
        click.option(
            "--device",
            default="auto",
            help="renyi: auto (a GPU where there is one), cpu, cuda, cuda:1, ...; the others take the CPU.",
        ),
        click.option(
            "--bins",
            default="adaptive:30",
            help="binning: adaptive:B (equal population), uniform:B (layer's range), neuron:B (each neuron's), "
            "fixed:B (-1 to 1) or size:WIDTH.",
        ),
        click.option(
            "--noise", default="0.1", help="kde: variance of the added noise, or a rule for its σ (median:0.2)."
        ),
        click.option("--neighbours", type=int, default=3, help="ksg: number of nearest neighbours."),
        click.option("--permutations", type=int, default=10, help="Permuted pairings behind the nulls."),
        click.option(
            "--input-permutations",
            type=int,
            default=0,
            show_default="4, and 2 from 500 samples on",
            help="renyi: permuted pairings behind the null of I(X;T), each of which takes a joint entropy more.",
        ),
        click.option(
            "--batches",
            type=int,
            default=None,
            show_default="the whole probe at once",
            help="Estimate on so many batches of the probe, for means and standard errors.",
        ),
        click.option("--batch-size", type=int, default=128, help="Samples of each batch."),
        click.option(
            "--jobs",
            type=click.IntRange(1),
            default=None,
            show_default="one per core, fewer where memory is short",
            help="Parallel solves.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def estimator_settings(estimators: Sequence[str], **options: Any) -> list[EstimatorSettings]:
    """The settings of estimators from the options, each named once."""
    from infoplane.estimators.registry import named_settings

    return named_settings(estimators, **options)


def batches_of(options: dict[str, Any]) -> Batches | None:
    """The batches asked for, taken out of the options; None for the whole probe."""
    from infoplane.estimators.batches import Batches

    count, size = options.pop("batches"), options.pop("batch_size")
    return None if count is None else Batches(count, size)
