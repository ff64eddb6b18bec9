"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from infoplane.errors import InfoplaneError


def write_text(path: Path, text: str) -> None:
    """Writes a text file at once; a kill leaves the old one or the new one.

    Args:
        path: The file; its folder is made if needed.
        text: What goes into it, as UTF-8.

    Raises:
        InfoplaneError: It cannot be written.
    """
    with _drafted(path) as draft:
        draft.write_text(text, encoding="utf-8")


def save_tensors(state: Mapping[str, Any], path: Path) -> None:
    """Saves tensors, numbers and words at once, so that a kill leaves the old file or the new one.

    Args:
        state: What `torch.load` reads with `weights_only=True`.
        path: The file; its folder is made if needed.

    Raises:
        InfoplaneError: It cannot be written.
    """
    with _drafted(path) as draft:
        torch.save(state, draft)


@contextlib.contextmanager
def _drafted(path: Path) -> Iterator[Path]:
    """A file beside it that takes its place when the block ends without an error."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        draft.replace(path)
    except (OSError, RuntimeError) as error:  # torch raises the latter where the disk is full
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        reason = (error.strerror if isinstance(error, OSError) else None) or "disk full?"
        raise InfoplaneError(f"cannot write {path}: {reason}") from error
