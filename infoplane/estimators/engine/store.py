"""Tables that stand beside a run file as CSV, so that nothing is computed twice.

Rows of another run at the same place or of another infoplane version are dropped. Several processes may fill one
table; a kill leaves the old table or the new one.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from infoplane.errors import InfoplaneError
from infoplane.files import drafts, hold, reason, refuse_no_file, without_quotes, write_csv

logger = logging.getLogger(__name__)

LOCK_SECONDS = 60.0  # others hold the lock while they read and write a table


@dataclass(frozen=True)
class StoredTable:
    """A table beside a run file.

    Attributes:
        path: The CSV file.
        run_id: Identity of the run; of others nothing is read.
        version: Version of infoplane that makes the rows; of others nothing is read.
        words: Columns that hold text.
        integers: Columns that hold whole numbers; a file without one of them is of an older infoplane and not read.
        keys: Columns that tell one row from another.
        defaults: What stands for a column in a file of an infoplane that had none.
    """

    path: Path
    run_id: str
    version: str
    words: frozenset[str]
    integers: frozenset[str]
    keys: frozenset[str]
    defaults: Mapping[str, str] = field(default_factory=dict)

    def load(self) -> pd.DataFrame:
        """The stored rows of this run and version; empty where there are none.

        Raises:
            InfoplaneError: The file is no such table.
        """
        if not self.path.exists():
            return pd.DataFrame()
        try:
            refuse_no_file(self.path)
            # As text first: a layer may be called "3", and pandas' own parser may miss the last bit of a number.
            table = pd.read_csv(self.path, dtype=str, keep_default_na=False, na_values=[""])
            table = table.assign(**{name: without_quotes(table[name]) for name in self.words & set(table)})
            if "run_id" in table and not set(table) >= self.integers:
                return pd.DataFrame()
            table = table.assign(**{name: value for name, value in self.defaults.items() if name not in table})
            numbers = {n: int if n in self.integers else float for n in table.columns if n not in self.words}
            table = table.astype(numbers)
            return table[(table["run_id"] == self.run_id) & (table["version"] == self.version)]
        except (OSError, ValueError, KeyError) as error:
            raise InfoplaneError(f"{self.path} cannot be read ({error}); delete it and estimate again") from error

    def store(self, new: pd.DataFrame) -> pd.DataFrame:
        """Adds rows to what is stored, and gives it all.

        Others may fill the table meanwhile: it is read again under a lock, and their rows are kept. In a folder
        that cannot be written to the rows are given but not stored.

        Raises:
            InfoplaneError: The file cannot be written, or another process does not give back its lock.
        """
        path = self.path
        try:
            lock = hold(path, LOCK_SECONDS)
            try:
                whole = self._joined(new)
                with drafts(path) as [draft]:
                    write_csv(whole, draft)
            finally:
                lock.release()
            return whole
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
                logger.warning("%s cannot be written (%s): the estimates are not kept", path, error.strerror)
                return self._joined(new)
            raise InfoplaneError(f"cannot write {path}: {reason(error)}") from error

    def _joined(self, new: pd.DataFrame) -> pd.DataFrame:
        """What is stored and the new rows, each once."""
        stored = self.load()
        whole = pd.concat([stored, new], ignore_index=True) if len(stored) else new
        return whole.drop_duplicates([name for name in whole.columns if name in self.keys], ignore_index=True)


def matching(table: pd.DataFrame, columns: Mapping[str, Any]) -> pd.DataFrame:
    """The rows of a table that have these values; none where it lacks one of the columns."""
    if not len(table):
        return table
    if not set(columns) <= set(table.columns):
        return table.iloc[:0]
    same = np.logical_and.reduce([table[name] == value for name, value in columns.items()])
    return table[same]
