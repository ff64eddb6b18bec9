"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from infoplane.errors import InfoplaneError


def write_text(path: Path, text: str) -> None:
    """Writes a text file at once; a kill leaves the old one or the new one.

    Args:
        path: The file; its folder is made if needed.
        text: What goes into it, as UTF-8.

    Raises:
        InfoplaneError: It cannot be written.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise InfoplaneError(f"cannot write {path}: {error.strerror or error}") from error
