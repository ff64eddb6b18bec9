"""Options that several verbs share, and options that are made from the settings of a class."""

from __future__ import annotations

import contextlib
import re
import sys
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from infoplane.errors import InfoplaneError, unknown
from infoplane.estimators.registry import (
    BATCH_SIZE,
    ESTIMATOR,
    EstimatorOptions,
    named_settings,
    refuse_foreign,
)
from infoplane.files import refuse_no_file
from infoplane.settings import Setting, settings_of
from infoplane.stopping import time_limit

if TYPE_CHECKING:
    from infoplane.estimators.base import EstimatorSettings
    from infoplane.estimators.batches import Batches

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

GENERAL, OUTPUT = "General", "Output"
RUN_FILE = click.Path(path_type=Path)
TABLES = "PATH (TOML with tables)"
CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100}


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
            return tuple(self.kind(part) if isinstance(part, str) else part for part in parts)
        except ValueError:
            self.fail(f"'{value}' is not a comma-separated list of {self.name}", param, ctx)


class Option(click.Option):
    """An option that stands under a heading of the help.

    Args:
        names: Its names.
        heading: The heading.
        details: As for `click.Option`.
    """

    def __init__(self, *names: Any, heading: str = GENERAL, **details: Any) -> None:
        super().__init__(*names, **details)
        self.heading = heading


class _Verb(click.Command):
    """A verb whose help shows the options under headings, in the order of the options; general ones come last."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options into the help."""
        under: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            line = param.get_help_record(ctx)
            if line is not None and isinstance(param, click.Option):
                under.setdefault(getattr(param, "heading", GENERAL), []).append(line)
        for heading in sorted(under, key=GENERAL.__eq__):
            with formatter.section(heading):
                formatter.write_dl(under[heading])


verb = partial(click.command, cls=_Verb, context_settings=CONTEXT)
option = partial(click.option, cls=Option)


def settings_options(
    kind: type,
    *,
    only: Collection[str] = (),
    without: Collection[str] = (),
    unset: Mapping[str, str] | None = None,
) -> _Decorator:
    """Adds the settings of a class to a verb, as options with their types, defaults, help and checks.

    Args:
        kind: A class that `infoplane.settings.settings_of` reads.
        only: Names of the settings to add; none adds all.
        without: Names of those to leave out.
        unset: What settings that are not given stand for in this verb, where that is another thing than elsewhere.
    """

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        # The decorator next to the function is the last option.
        for name, declared in reversed([*settings_of(kind).items()]):
            if name in (only or [name]) and name not in without:
                here = replace(declared, unset=(unset or {}).get(name, declared.unset))
                command = _setting_option(name, here)(command)
        return command

    return add


def _setting_option(name: str, declared: Setting) -> _Decorator:
    """One setting as an option."""
    flag = f"--{name.replace('_', '-')}"
    if declared.kind is bool:
        return option(flag, is_flag=True, help=declared.help, heading=declared.heading)

    def checked(ctx: click.Context, _param: click.Parameter, value: Any) -> Any:
        if not ctx.resilient_parsing:
            declared.check(name, value)
        return value

    kind: Any = click.Choice(declared.choices) if declared.choices else declared.kind
    value = declared.value[0] if declared.several and declared.value else declared.value
    return option(
        flag,
        type=CommaList(declared.kind, declared.form) if declared.several else kind,
        default=declared.default,
        show_default=declared.unset or (True if value is None else str(value)),
        metavar=declared.form or None,
        help=declared.help,
        heading=declared.heading,
        callback=checked,
    )


force_option = option(
    "--force", is_flag=True, help="Overwrite files that infoplane did not make, too.", heading=OUTPUT
)
# Of verbs that show one target.
target_option = option(
    "--target",
    default="",
    show_default="what the run is trained for",
    help="Another target of the run, by its name.",
    heading=ESTIMATOR,
)


def estimation_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the settings of the estimators to a verb, and how the probe is cut and the work shared out."""
    for add in (
        option(
            "--jobs",
            type=click.IntRange(1),
            default=None,
            show_default="one per core, fewer where memory is short",
            help="Parallel solves.",
            heading=ESTIMATOR,
        ),
        option(
            "--batch-size",
            type=int,
            default=None,
            show_default=str(BATCH_SIZE),
            help="Samples of each batch.",
            heading=ESTIMATOR,
        ),
        option(
            "--batches",
            type=int,
            default=None,
            show_default="the whole probe at once",
            help="Number of batches of the probe to estimate on, for means and standard errors.",
            heading=ESTIMATOR,
        ),
        settings_options(EstimatorOptions),
    ):
        command = add(command)
    return command


def estimators_of(ctx: click.Context, names: Sequence[str], options: dict[str, Any]) -> list[EstimatorSettings]:
    """The settings of some estimators.

    Args:
        ctx: The context of the verb. A configuration file may hold settings of several estimators.
        names: The estimators.
        options: What `estimation_options` gave, without batches and jobs.

    Raises:
        InfoplaneError: The command line has a setting that none of them has, or one that is out of range.
    """
    typed = click.core.ParameterSource.COMMANDLINE
    refuse_foreign(
        names, [name for name in settings_of(EstimatorOptions) if ctx.get_parameter_source(name) is typed]
    )
    return named_settings(names, **options)


def scheduler_option(heading: str) -> _Decorator:
    """Adds --scheduler to a verb whose work a cluster can do.

    Args:
        heading: The heading of the help under which it stands.
    """
    return option(
        "--scheduler",
        metavar="ADDRESS",
        default=None,
        envvar="DASK_SCHEDULER_ADDRESS",
        show_envvar=True,
        show_default="this machine",
        help="Scheduler of a Dask cluster to work in place of this machine.",
        heading=heading,
    )


def scheduler_of(ctx: click.Context, scheduler: str | None, jobs: int | None) -> str | None:
    """The scheduler to work with: none where --jobs asks for this machine.

    Args:
        ctx: The context of the verb.
        scheduler: What --scheduler says, or the environment.
        jobs: What --jobs says.
    """
    if jobs is None or scheduler is None:
        return scheduler
    if given(ctx, ["scheduler"]):
        raise click.UsageError("--jobs is for this machine; with --scheduler the workers decide")
    return None  # that of the environment


def batches_of(options: dict[str, Any]) -> Batches | None:
    """The batches asked for, taken out of the options; None for the whole probe."""
    from infoplane.estimators.batches import Batches

    return Batches.of(options.pop("batches"), options.pop("batch_size"))


@contextlib.contextmanager
def loading(quiet: bool) -> Iterator[None]:
    """Says on a terminal that libraries are being loaded, which takes seconds, and takes it back when they are."""
    words = "loading PyTorch …"
    shown = not quiet and "torch" not in sys.modules and sys.stderr.isatty()
    if shown:
        click.echo(f"{words}\r", nl=False, err=True)
    try:
        yield
    finally:
        if shown:
            click.echo(f"{' ' * len(words)}\r", nl=False, err=True)


def repetitions(_ctx: click.Context, _param: click.Parameter, paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """The run files without the synchronous paths beside them, which a pattern such as `seed*.h5` brings along."""
    from infoplane.runfile import trainings

    return tuple(trainings(paths)) or paths


def examples(*lines: str) -> str:
    """The epilog of a verb's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def talkative(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --quiet and --verbose to a verb."""
    command = option("-v", "--verbose", is_flag=True, help="Say more; show the traceback of an error.")(command)
    return option("-q", "--quiet", is_flag=True, help="Show no progress; warnings and errors are still printed.")(
        command
    )


class _Duration(click.ParamType):
    """A time as `90`, `90s`, `8m`, `1.5h` or `2h30m`, in seconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds."""
        parts = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s?)?", str(value).strip())
        try:
            numbers = [float(part or 0) for part in parts.groups()] if parts else []
        except ValueError:
            numbers = []
        seconds = sum(number * unit for number, unit in zip(numbers, (3600, 60, 1), strict=False))
        if not 0 < seconds < 1e9:
            self.fail(f"'{value}' is no time such as 90s, 8m or 1h30m", param, ctx)
        return seconds


def time_limited(command: Callable[..., Any], onward: str = "the same command goes on") -> Callable[..., Any]:
    """Adds --time-limit to a verb: it stops before that, and `onward` says how it goes on."""

    def start(ctx: click.Context, _param: click.Parameter, seconds: float | None) -> None:
        if seconds is not None and not ctx.resilient_parsing:
            ctx.with_resource(time_limit(seconds))

    return option(
        "--time-limit",
        type=_Duration(),
        default=None,
        show_default="none",
        expose_value=False,
        callback=start,
        help=f"Stop before this time is over (90s, 8m, 1h30m), for job queues that kill; {onward}.",
        heading=OUTPUT,
    )(command)


def tables_of(ctx: click.Context) -> dict[str, dict[str, Any]]:
    """The tables of the configuration file of a verb that takes some, by name."""
    tables: dict[str, dict[str, Any]] = ctx.meta.get(TABLES, {})
    return tables


def _read_config(ctx: click.Context, param: click.Parameter, path: Path | None) -> None:
    """Takes defaults from a TOML file; an option on the command line overrides them."""
    if path is None:
        return
    refuse_no_file(path)
    try:
        # TOML is UTF-8 wherever it is read; some editors begin it with a mark of that.
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InfoplaneError(f"configuration file {path} does not exist") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InfoplaneError(f"configuration file {path} cannot be read: {error}") from None
    # As on the command line: what is called --resume may have another name in the code.
    known = {_file_name(param): param for param in ctx.command.params if param.name not in (None, "config", "help")}
    if param.metavar == TABLES:
        tables = {name: value for name, value in values.items() if isinstance(value, dict)}
        for name, table in tables.items():
            _refuse_divided(name, table, path)
        ctx.meta[TABLES] = {name: _underscored(table, path) for name, table in tables.items()}
        values = {name: value for name, value in values.items() if name not in tables}
    given = _underscored(values, path)
    for name, value in given.items():
        if name not in known:
            raise unknown(f"key in {path}:", name, sorted(filter(None, known)))
        if isinstance(value, (list, dict)) and not isinstance(known[name].type, CommaList):
            raise InfoplaneError(f"{path}: '{name}' takes one value, got {value}")
    # A date or a fraction is no whole number in a file either, so it is read as on the command line.
    values = {known[name].name: value for name, value in given.items()}
    ctx.default_map = {name: value if isinstance(value, list) else str(value) for name, value in values.items()}


def _file_name(param: click.Parameter) -> str:
    """What a parameter is called in a configuration file: its long option without dashes, or its own name."""
    longest = max(param.opts, key=len)
    return longest.removeprefix("--").replace("-", "_")


def _refuse_divided(name: str, table: dict[str, Any], path: Path) -> None:
    """Lets no table within a table pass: no setting is one, so a dot has divided the name of a variant."""
    for key, value in table.items():
        if isinstance(value, dict):
            whole = f"{name}.{key}"
            _refuse_divided(whole, value, path)
            raise InfoplaneError(f'{path}: a dot divides the name [{whole}]; write it in quotes, ["{whole}"]')


def _underscored(values: dict[str, Any], path: Path) -> dict[str, Any]:
    """Values by the names of Python, where a file may have those of the command line."""
    names = [name.replace("-", "_") for name in values]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InfoplaneError(f"{path}: '{twice}' is given twice, with a dash and without; take one of them out")
    return dict(zip(names, values.values(), strict=True))


def config_option(command: Callable[..., Any], tables: bool = False) -> Callable[..., Any]:
    """Adds --config to a verb; with `tables`, the file may hold some, see `tables_of`."""
    return option(
        "--config",
        metavar=TABLES if tables else "PATH",
        type=click.Path(path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_read_config,
        help="TOML file with these options; an option on the command line overrides it.",
    )(command)


def given(ctx: click.Context, names: Iterable[str]) -> dict[str, Any]:
    """The options that the command line or the configuration file gives."""
    from_user = (click.core.ParameterSource.COMMANDLINE, click.core.ParameterSource.DEFAULT_MAP)
    return {name: ctx.params[name] for name in names if ctx.get_parameter_source(name) in from_user}
