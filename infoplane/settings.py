"""Settings that are written once: where a setting is declared stand its type, default, meaning and range.

A setting is a field of a dataclass, made by `setting`, or a key of a TypedDict with a `Setting` in its annotation.
The options of the command line, their help and the checks of configuration files are made of them.
"""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from infoplane.errors import InfoplaneError, unknown

# Numbers of other libraries are numbers too, and a whole one will do where any will.
_TAKEN: Mapping[type, type] = {float: numbers.Real, int: numbers.Integral}

# JSON and the counters of other libraries hold no larger whole numbers.
_LARGEST = 2**53


@dataclass(frozen=True)
class Range:
    """The values that a number may have.

    Attributes:
        words: Behind "must be" in an error.
        holds: Whether a value is one of them.
    """

    words: str
    holds: Callable[[float], bool]


POSITIVE = Range("positive and finite", lambda value: 0 < value < math.inf)
NOT_NEGATIVE = Range("0 or more", lambda value: 0 <= value < math.inf)


def at_least(least: int) -> Range:
    """The numbers from `least` on."""
    return Range(f"at least {least}", lambda value: value >= least)


def between(least: int, most: int) -> Range:
    """The numbers from `least` to `most`."""
    return Range(f"at least {least} and at most {most}", lambda value: least <= value <= most)


@dataclass(frozen=True)
class Setting:
    """A setting: what it means and what it may be.

    Attributes:
        help: What it means, in a sentence.
        heading: Under which heading of the help it stands.
        default: Its default.
        unset: What a default of None, or an empty one, stands for.
        choices: The values that it may have; none where it is not chosen from a few.
        range: The numbers that it may be; None for any.
        form: How a value is written, such as "N,N,..."; "" for what its type says.
        group: Name of the group of settings that some methods have and others do not; "" where all have it.
        value: What takes the place of None where a method has the group.
        kind: Type of one value.
        several: Whether it is a tuple of values.
    """

    help: str
    heading: str
    default: Any = None
    unset: str = ""
    choices: tuple[str, ...] = ()
    range: Range | None = None
    form: str = ""
    group: str = ""
    value: Any = None
    kind: type = str
    several: bool = False

    def check(self, name: str, value: Any) -> None:
        """Refuses a value that the setting may not have; None, for a value that is not given, it may by default.

        Raises:
            InfoplaneError: Another type, no choice, or a number out of range.
        """
        if value is None and self.default is None:
            return
        if self.several and not isinstance(value, list | tuple):
            raise InfoplaneError(f"{name} must be a list, got {value!r}")
        for item in value if self.several else (value,):
            taken = isinstance(item, _TAKEN.get(self.kind, self.kind))
            if not taken or (self.kind is not bool and isinstance(item, bool)):
                raise InfoplaneError(f"{name} must be of type {self.kind.__name__}, got {item!r}")
            if isinstance(item, str) and "\0" in item:
                raise InfoplaneError(f"{name} holds a NUL character; take it out")
            if self.kind is int and abs(item) > _LARGEST:
                raise InfoplaneError(f"{name} must be at most 2^53, got {item}")
            if self.choices and item not in self.choices:
                raise unknown(name, item, self.choices)
            if self.range and not self.range.holds(item):
                raise InfoplaneError(f"{name} must be {self.range.words}, got {item}")


def setting(default: Any, meaning: str, heading: str, **more: Any) -> Any:
    """A field of a dataclass that is a setting.

    Args:
        default: Its default.
        meaning: The `help` of the `Setting`.
        heading: The `heading`.
        more: Its other attributes; type and tuples are read from the annotation of the field.
    """
    return dataclasses.field(default=default, metadata={"setting": Setting(meaning, heading, default, **more)})


def settings_of(kind: type) -> Mapping[str, Setting]:
    """The settings of a dataclass or a TypedDict by name, in their order.

    Args:
        kind: The class; what is not declared as a setting is left out.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    if dataclasses.is_dataclass(kind):
        declared = {field.name: field.metadata.get("setting") for field in dataclasses.fields(kind)}
    else:
        declared = {name: _annotation(hint)[1] for name, hint in hints.items()}
    return {name: _typed(value, _annotation(hints[name])[0]) for name, value in declared.items() if value}


def _annotation(hint: Any) -> tuple[Any, Setting | None]:
    """The type of an annotation, and the setting in it."""
    if typing.get_origin(hint) is not Annotated:
        return hint, None
    return typing.get_args(hint)[0], next(
        (extra for extra in hint.__metadata__ if isinstance(extra, Setting)), None
    )


def _typed(declared: Setting, hint: Any) -> Setting:
    """The setting with the type of its values: int for `int | None`, and for each of `tuple[int, ...]`."""
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not types.NoneType)
    several = typing.get_origin(hint) is tuple
    return dataclasses.replace(declared, kind=typing.get_args(hint)[0] if several else hint, several=several)


def is_number(value: Any) -> bool:
    """Whether a value is a number, and no truth value."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def setting_text(value: Any) -> str:
    """A setting of a configuration, which may be any JSON, as text: words as they are, "" for None, else JSON."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def setting_words(value: Any) -> str:
    """A setting of a configuration as a reader takes it in: numbers in few digits, lists joined, "" for none."""
    if value is None or value is False or value == []:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(map(setting_words, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def check_settings(settings: Any) -> None:
    """Refuses impossible values in a dataclass of settings.

    Args:
        settings: An instance.

    Raises:
        InfoplaneError: A value is of another type, no choice, or out of range.
    """
    for name, declared in settings_of(type(settings)).items():
        declared.check(name, getattr(settings, name))
