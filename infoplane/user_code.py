"""Functions of the user's own, named on the command line as package.module:function: networks and data sets."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infoplane.errors import InfoplaneError, unknown, with_type

# Before the colon in a name of torchvision's, which is no code of the user's.
TORCHVISION = "torchvision:"


def names_code(name: str) -> bool:
    """Whether a name stands for code of the user's, package.module:function."""
    return ":" in name and not name.startswith(TORCHVISION)


def call_user(name: str, kind: str, known: Mapping[str, Any] | None = None) -> Any:
    """What a function of the user's gives; it is looked for in the current folder and among what is installed.

    Args:
        name: `package.module:function`.
        kind: What it makes, "model" or "dataset", for messages.
        known: Arguments that it may have; it is called with those of them that it names.

    Raises:
        InfoplaneError: There is no such function, or importing or calling it fails.
    """
    module_name, _, attribute = name.partition(":")
    known = known or {}
    with _current_folder_importable():
        function = _attribute(module_name, attribute, kind)
        try:
            parameters = inspect.signature(function).parameters
            return function(**{key: value for key, value in known.items() if key in parameters})
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # code may also ask the process to end
            arguments = f"no arguments but {' and '.join(known)}" if known else "no arguments"
            raise InfoplaneError(
                f"calling '{name}' raised {with_type(error, 200)}; mend it; it should need {arguments}"
            ) from error


def _attribute(module_name: str, attribute: str, kind: str) -> Callable[..., Any]:
    try:
        module = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the user's code raises while it is imported
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise InfoplaneError(
                f"no module '{error.name}' in {Path.cwd()} or among the installed packages; give the {kind} as "
                "package.module:function"
            ) from error
        raise InfoplaneError(
            f"importing '{module_name}' raised {with_type(error, 200)}; mend it and try again"
        ) from error
    function = getattr(module, attribute, None)
    if not callable(function):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise unknown(f"function in module '{module_name}'", attribute, public)
    result: Callable[..., Any] = function
    return result


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    before = list(sys.path)
    sys.path.insert(0, str(Path.cwd()))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before
