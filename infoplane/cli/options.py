"""Pieces that the verbs of the command line share."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from infoplane.errors import InfoplaneError, unknown

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
            return tuple(self.kind(part) for part in parts)
        except ValueError:
            self.fail(f"'{value}' is not a comma-separated list of {self.name}", param, ctx)


def repetitions(_ctx: click.Context, _param: click.Parameter, paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """The run files without the synchronous paths beside them, which a pattern such as `seed*.h5` brings along."""
    from infoplane.runfile import trainings

    return tuple(trainings(paths)) or paths


def examples(*lines: str) -> str:
    """The epilog of a verb's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def in_options(message: str) -> str:
    """A message that names settings as Python does, in the words of the command line.

    Args:
        message: Text with settings such as `` `force=True` ``, `` `keep='activations'` `` and `` `widths` ``, which
            become `--force`, `--keep activations` and `--widths`.
    """

    def option(found: re.Match[str]) -> str:
        name, value = "--" + found[1].replace("_", "-"), (found[2] or "").strip("'")
        return name if value in ("", "True") else f"{name} {value}"

    return re.sub(r"`(\w+)(?:=([^`]*))?`", option, message)


def talkative(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --quiet and --verbose to a verb."""
    command = click.option("-v", "--verbose", is_flag=True, help="Say more; show the traceback of an error.")(
        command
    )
    return click.option("-q", "--quiet", is_flag=True, help="Print results and errors only.")(command)


def tables_of(ctx: click.Context) -> dict[str, dict[str, Any]]:
    """The tables of the configuration file of a verb that takes some, by name."""
    tables: dict[str, dict[str, Any]] = ctx.meta.get(TABLES, {})
    return tables


def read_config(ctx: click.Context, param: click.Parameter, path: Path | None) -> None:
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
    if param.metavar == TABLES:
        ctx.meta[TABLES] = {name: value for name, value in values.items() if isinstance(value, dict)}
        given = {name.replace("-", "_"): value for name, value in values.items() if name not in ctx.meta[TABLES]}
    for name, value in given.items():
        if name not in known:
            raise unknown(f"key in {path}:", name, sorted(filter(None, known)))
        if isinstance(value, (list, dict)) and not isinstance(known[name].type, CommaList):
            raise InfoplaneError(f"{path}: '{name}' takes one value, got {value}")
    ctx.default_map = given


def config_option(command: Callable[..., Any], tables: bool = False) -> Callable[..., Any]:
    """Adds --config to a verb; with `tables`, the file may hold some, see `tables_of`."""
    return click.option(
        "--config",
        metavar=TABLES if tables else "PATH",
        type=click.Path(path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=read_config,
        help="TOML file with these options; the command line wins.",
    )(command)


def given(ctx: click.Context, names: Iterable[str]) -> dict[str, Any]:
    """The options that the command line or the configuration file gives."""
    from_user = (click.core.ParameterSource.COMMANDLINE, click.core.ParameterSource.DEFAULT_MAP)
    return {name: ctx.params[name] for name in names if ctx.get_parameter_source(name) in from_user}
