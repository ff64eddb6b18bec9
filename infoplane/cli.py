"""The `infoplane` command: parses, calls one function a verb, and prints.

What computes is imported inside the verb that needs it, so that `--help` answers at once.
"""

from __future__ import annotations

import logging
import os
import sys
import tomllib
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from infoplane import __version__
from infoplane.errors import InfoplaneError, WriteFailed, unknown

if TYPE_CHECKING:
    from infoplane.estimators.base import EstimatorSettings
    from infoplane.estimators.batches import Batches

RUN_FILE = click.Path(path_type=Path)
CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100}
EXIT_INTERRUPTED = 130
ESTIMATORS = "renyi, binning, kde, kde-lower, ksg, gaussian, hsic, nhsic, cka and kernel-cka"


class CommaList(click.ParamType):
    """Comma-separated values; a list in a configuration file is one too."""

    name = "list"

    def __init__(self, kind: Callable[[str], Any], metavar: str) -> None:
        self.kind = kind
        self.name = metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """The values as a tuple."""
        parts = value if isinstance(value, (list, tuple)) else [part for part in str(value).split(",") if part]
        try:
            return tuple(self.kind(part) for part in parts)
        except ValueError:
            self.fail(f"'{value}' is not a comma-separated list of {self.name}", param, ctx)


def examples(*lines: str) -> str:
    """The epilog of a verb's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def talkative(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --quiet and --verbose to a verb."""
    command = click.option("-v", "--verbose", is_flag=True, help="Say more; show the traceback of an error.")(
        command
    )
    return click.option("-q", "--quiet", is_flag=True, help="Print results and errors only.")(command)


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
            "--kernel",
            type=click.Choice(["tensor", "multivariate"]),
            default="tensor",
            help="renyi: one Gaussian over a whole layer, or one a channel, multiplied (needs kept activations).",
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
        click.option("--permutations", type=int, default=10, help="Label permutations behind the null of I(T;Y)."),
        click.option(
            "--batches",
            type=int,
            default=None,
            show_default="the whole probe at once",
            help="Estimate on so many batches of the probe, for means and standard errors.",
        ),
        click.option("--batch-size", type=int, default=128, help="Samples of each batch."),
        click.option(
            "--jobs", type=click.IntRange(1), default=None, show_default="one per core", help="Parallel solves."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def read_config(ctx: click.Context, _param: click.Parameter, path: Path | None) -> None:
    """Takes defaults from a TOML file; what the command line says wins."""
    if path is None:
        return
    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise InfoplaneError(f"configuration file {path} does not exist") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InfoplaneError(f"configuration file {path} cannot be read: {error}") from None
    known = {param.name: param for param in ctx.command.params if param.name not in (None, "config", "help")}
    given = {name.replace("-", "_"): value for name, value in values.items()}
    for name, value in given.items():
        if name not in known:
            raise unknown(f"key in {path}:", name, sorted(filter(None, known)))
        if isinstance(value, (list, dict)) and not isinstance(known[name].type, CommaList):
            raise InfoplaneError(f"{path}: '{name}' takes one value, got {value}")
    ctx.default_map = given


@click.group(context_settings=CONTEXT, epilog=examples("infoplane record", "infoplane plot run.h5"))
@click.version_option(__version__, prog_name="infoplane")
def cli() -> None:
    """Information planes of deep networks: record, estimate, show."""


@cli.command(
    short_help="Train a network and record its layers.",
    context_settings=CONTEXT,
    epilog=examples(
        "infoplane record                                  # a small CNN on digits, about a minute",
        "infoplane record --dataset cifar10 --model vgg11 --epochs 20 -o vgg.h5",
        "infoplane record --dataset szt --model mlp --widths 10,7,5,4,3 --activation tanh",
        "infoplane record --model mynets.resnet:small --layers 'stage*,head'",
        "infoplane record --resume -o run.h5 --epochs 60   # go on with a run",
    ),
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=read_config,
    help="TOML file with these options; the command line wins.",
)
@click.option("--dataset", default="digits", help="digits, szt, mnist, fashion-mnist, cifar10, cifar100 or gtsrb.")
@click.option("--data-root", default="data", help="Folder of the data sets; missing ones are downloaded into it.")
@click.option(
    "--image-size",
    type=click.IntRange(4),
    default=None,
    show_default="as published, gtsrb 32",
    help="Resize images to this height and width.",
)
@click.option(
    "--model",
    default="cnn",
    help="mlp, cnn, lenet5, vgg11, vgg16, resnet18, resnet20, resnet32, any "
    "classification model of torchvision, or your own as package.module:function.",
)
@click.option(
    "--widths",
    type=CommaList(int, "N,N,..."),
    default=None,
    show_default="the model's",
    help="Layer widths of an mlp.",
)
@click.option("--activation", default="relu", help="Activation of mlp and cnn, by its name in torch.nn.")
@click.option(
    "--layers",
    type=CommaList(str, "NAME,..."),
    default=None,
    show_default="natural units",
    help="Layers to record, by name or pattern ('conv*'); see infoplane info --layers.",
)
@click.option("--probe-size", type=int, default=500, help="Samples of the probe, balanced over the classes.")
@click.option(
    "--probe-split", type=click.Choice(["train", "test", "all"]), default="test", help="Where the probe is from."
)
@click.option("--snapshots", default="40", help="How many (log-spaced in steps), 'epochs', or 'every:STEPS'.")
@click.option("--epochs", type=int, default=30, help="Length of the training.")
@click.option("--lr", type=float, default=0.05, help="Learning rate.")
@click.option("--schedule", default="constant", help="constant, step:30,60[:0.1], cosine or onecycle.")
@click.option("--optimizer", default="sgd", help="sgd, adam or adamw.")
@click.option("--momentum", type=float, default=0.9, help="Momentum of sgd, β₁ of adam and adamw.")
@click.option("--weight-decay", type=float, default=5e-4, help="Weight decay.")
@click.option("--batch-size", type=int, default=64, help="Samples of a training step.")
@click.option(
    "--eval-size",
    type=int,
    default=2000,
    help="Samples of each split on which a snapshot measures loss and accuracy.",
)
@click.option("--seed", type=int, default=0, help="Seed of weights, data order and probe.")
@click.option("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
@click.option(
    "--keep",
    type=click.Choice(["auto", "activations", "distances"]),
    default="auto",
    help="What to store of a layer; auto takes the smaller one.",
)
@click.option("-o", "--output", "output", type=RUN_FILE, default=Path("run.h5"), help="The run file.")
@click.option("--force", is_flag=True, help="Overwrite an existing run file.")
@click.option("--resume", "go_on", is_flag=True, help="Go on with the run file after a kill, Ctrl-C or its end.")
@talkative
@click.pass_context
def record(
    ctx: click.Context, output: Path, force: bool, go_on: bool, quiet: bool, verbose: bool, **options: Any
) -> None:
    """Train a network by SGD and record its layers on a probe set."""
    from infoplane.trainers.loop import Interrupted
    from infoplane.trainers.record import RecordSettings, resume
    from infoplane.trainers.record import record as start

    try:
        if go_on and force:
            raise click.UsageError("--force overwrites, --resume goes on: give one of them")
        if go_on:
            accuracy = resume(output, _given(ctx, options), progress=not quiet)
        else:
            accuracy = start(RecordSettings(**options), output, force=force, progress=not quiet)
    except Interrupted as stopped:
        click.echo(
            f"stopped by {stopped}; every finished snapshot is safe; go on with: "
            f"infoplane record --resume -o {output}",
            err=True,
        )
        ctx.exit(128 + stopped.signal)
    click.echo(f"test accuracy {accuracy:.2%}; recorded in {output}; now: infoplane plot {output}")


def _given(ctx: click.Context, names: Iterable[str]) -> dict[str, Any]:
    """The options that the command line or the configuration file gives."""
    from_user = (click.core.ParameterSource.COMMANDLINE, click.core.ParameterSource.DEFAULT_MAP)
    return {name: ctx.params[name] for name in names if ctx.get_parameter_source(name) in from_user}


@cli.command(
    short_help="Show a run file, or the layers of a model.",
    context_settings=CONTEXT,
    epilog=examples(
        "infoplane info run.h5",
        "infoplane info --layers --model vgg11 --dataset cifar10",
        "infoplane info --layers --model mynets.resnet:small --dataset cifar100",
    ),
)
@click.argument("runs", nargs=-1, type=RUN_FILE)
@click.option("--layers", is_flag=True, help="List the hookable layers of --model, with their shapes.")
@click.option("--model", default="cnn", help="As in infoplane record.")
@click.option("--dataset", default="digits", help="As in infoplane record; need not be there.")
@click.option("--image-size", type=click.IntRange(4), default=None, help="As in infoplane record.")
@click.option("--widths", type=CommaList(int, "N,N,..."), default=None, help="As in infoplane record.")
@click.option("--activation", default="relu", help="As in infoplane record.")
@talkative
def info(runs: Sequence[Path], layers: bool, quiet: bool, verbose: bool, **model_options: Any) -> None:
    """Show what is in a run file, or which layers of a model can be recorded."""
    from infoplane import describe

    if bool(runs) == layers:
        raise click.UsageError("give run files, or --layers with a --model")
    if layers:
        click.echo(describe.model_layers(**model_options))
    for path in runs:
        click.echo(describe.run(path))


@cli.command(
    short_help="Estimate the informations of runs, in bits.",
    context_settings=CONTEXT,
    epilog=examples(
        "infoplane estimate run.h5",
        "infoplane estimate run.h5 --alpha 1.01 --bandwidth knn:10",
        "infoplane estimate seed*.h5 --bandwidth median:0.5 --scope final",
        "infoplane estimate run.h5 --estimator renyi,kde,ksg,gaussian,cka",
        "infoplane estimate run.h5 --batches 10 --batch-size 128",
    ),
)
@click.argument("runs", nargs=-1, required=True, type=RUN_FILE)
@click.option(
    "--estimator",
    "estimators",
    type=CommaList(str, "NAME,..."),
    default="renyi",
    help=f"Estimators, of {ESTIMATORS}.",
)
@estimator_options
@talkative
def estimate(runs: Sequence[Path], estimators: Sequence[str], quiet: bool, verbose: bool, **options: Any) -> None:
    """Estimate I(X;T) and I(T;Y) of every layer at every snapshot, in bits.

    Several estimators fill one table. hsic, nhsic, cka and kernel-cka are dependence measures, not bits. binning
    needs recorded activations (infoplane record --keep activations); the others do with distances.
    """
    from infoplane import describe
    from infoplane.estimators.table import estimate_run, estimates_path

    jobs, batches = options.pop("jobs"), _batches(options)
    if not estimators:
        raise click.UsageError("name an estimator")
    settings = [_settings(name, **options) for name in dict.fromkeys(estimators)]
    for path in runs:
        table = estimate_run(path, settings, batches, jobs=jobs, progress=not quiet)
        for _, rows in table.groupby("estimator", sort=False):
            click.echo(describe.final_estimates(rows))
        click.echo(f"all {len(table)} rows: {estimates_path(path)}")


@cli.command(
    short_help="Draw the information plane of runs.",
    context_settings=CONTEXT,
    epilog=examples(
        "infoplane plot run.h5",
        "infoplane plot seed0.h5 seed1.h5 seed2.h5 -o figures",
        "infoplane plot run.h5 --alpha 2 --bandwidth knn:10 --name run-knn",
        "infoplane plot run.h5 --estimator kde --noise median:0.2",
    ),
)
@click.argument("runs", nargs=-1, required=True, type=RUN_FILE)
@click.option("--estimator", default="renyi", help=f"What to draw, of {ESTIMATORS}.")
@estimator_options
@click.option(
    "-o", "--output", type=RUN_FILE, default=None, show_default="beside the run", help="Folder of the figures."
)
@click.option("--name", default=None, show_default="the run's", help="First part of the figures' names.")
@click.option("--force", is_flag=True, help="Overwrite existing figures.")
@talkative
def plot(
    runs: Sequence[Path],
    estimator: str,
    output: Path | None,
    name: str | None,
    force: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Draw the information plane and the informations against training time.

    Estimates what is missing first. Several runs (seeds) and --batches give means with 95 % intervals. Hollow
    points carry no information: they are saturated, or no better than the permuted labels.
    """
    from infoplane.analysis.plane import metrics_table, plane_table, saturation_summary
    from infoplane.analysis.runs import gather
    from infoplane.figures import caption, plane, style, time
    from infoplane.runfile import beside

    jobs, batches = options.pop("jobs"), _batches(options)
    settings = _settings(estimator, **options)
    first = beside(runs[0], "").name
    stem = name or (first if len(runs) == 1 else f"{first}-and-{len(runs) - 1}-more")
    stem = stem if name or estimator == "renyi" else f"{stem}-{estimator}"
    stems = {kind: (output or runs[0].parent) / f"{stem}-{kind}" for kind in ("plane", "time")}
    for target in stems.values():
        style.writable(target, force)
    estimates, metrics = gather(runs, settings, batches, jobs=jobs, progress=not quiet)
    table, measured = plane_table(estimates), metrics_table(metrics)
    figures = {
        "plane": plane.information_plane(table, caption.plane_caption(table)),
        "time": time.information_over_time(table, measured, caption.time_caption(table)),
    }
    tables = {"plane": table, "time": table.merge(measured, on="step", how="left", suffixes=("", "_metric"))}
    for sentence in saturation_summary(table):
        click.echo(f"carries no information: {sentence}", err=True)
    for kind, figure in figures.items():
        for path in style.save(figure, stems[kind], tables[kind], force):
            click.echo(path)


@cli.command(
    short_help="Check the estimator on this machine.",
    context_settings=CONTEXT,
    epilog=examples("infoplane verify", "infoplane verify --quiet && echo fine"),
)
@talkative
@click.pass_context
def verify(ctx: click.Context, quiet: bool, verbose: bool) -> None:
    """Check the estimator on this machine against independent values and closed forms."""
    from infoplane import describe
    from infoplane.verify import checks, devices

    found = [check for device in devices() for check in checks(device)]
    missed = [check for check in found if not check.ok]
    click.echo(describe.checks(missed if quiet else found), nl=bool(missed) or not quiet)
    click.echo(f"{len(found) - len(missed)} of {len(found)} checks agree to 1e-9 bits on {', '.join(devices())}")
    ctx.exit(1 if missed else 0)


@cli.command(
    short_help="Print the completion script of a shell.",
    context_settings=CONTEXT,
    epilog=examples(
        'eval "$(infoplane completion bash)"            # in ~/.bashrc',
        'eval "$(infoplane completion zsh)"             # in ~/.zshrc',
        "infoplane completion fish > ~/.config/fish/completions/infoplane.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "infoplane", "_INFOPLANE_COMPLETE").source())


def _settings(estimator: str, bandwidth: str, input_bandwidth: str | None, **options: Any) -> EstimatorSettings:
    from infoplane.estimators.registry import make_settings
    from infoplane.kernels import Bandwidth

    return make_settings(
        estimator,
        bandwidth=Bandwidth.parse(bandwidth),
        input_bandwidth=Bandwidth.parse(input_bandwidth or bandwidth),
        **options,
    )


def _batches(options: dict[str, Any]) -> Batches | None:
    from infoplane.estimators.batches import Batches

    count, size = options.pop("batches"), options.pop("batch_size")
    return None if count is None else Batches(count, size)


def main() -> None:
    """Runs the command; an error is one line and an exit code, a traceback only with --verbose."""
    verbose = bool({"-v", "--verbose"} & set(sys.argv))
    quiet = bool({"-q", "--quiet"} & set(sys.argv))
    level = logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    logging.getLogger("infoplane").setLevel(level)
    if not verbose:
        # After a failed write HDF5 complains once more of each object that it could not flush.
        sys.unraisablehook = lambda _: None
    try:
        code = cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; what was finished is safe", err=True)
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:
        code = _failed(error, verbose)
    sys.exit(code)


def _failed(error: Exception, verbose: bool) -> int:
    if verbose:
        traceback.print_exc()
    line = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, InfoplaneError):
        line = f"{type(error).__name__}: {line} (unexpected; --verbose shows where)"
    click.echo(f"error: {line}", err=True)
    if isinstance(error, WriteFailed):
        # HDF5 crashes at the end of a process whose last write failed.
        sys.stdout.flush()
        os._exit(1)
    return 1
