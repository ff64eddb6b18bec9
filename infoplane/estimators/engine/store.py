"""Tables that stand beside a run file as CSV, so that nothing is computed twice.

Rows of another run at the same place or of another infoplane version are dropped, and so are rows that are not
sound: cut off, twice there, or of what the run does not hold. They are made again. Several processes may fill one
table; a kill leaves the old table or the new one.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import logging
import math
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from infoplane.errors import InfoplaneError
from infoplane.files import drafts, hold, reason, refuse_no_file, unwritten, without_quotes, write_csv

logger = logging.getLogger(__name__)

SAVE_SECONDS = 20.0  # of work that an end of the process costs at most
_LOCK_SECONDS = 60.0  # others hold the lock while they read and write a table
_NO_TEXT = "\ufffd"  # what stands for bytes that are none


@dataclass(frozen=True)
class StoredTable:
    """A table beside a run file.

    Attributes:
        path: The CSV file.
        run_id: Identity of the run; of others nothing is read.
        version: Version of infoplane that makes the rows; of others nothing is read.
        words: Columns that hold text.
        integers: Columns that hold whole numbers.
        due: Columns that every row has; a file without one of them is of an older infoplane and not read.
        keys: Columns that tell one row from another.
        sound: Which rows of a table belong to the run and are whole, (rows,) of truth values.
        defaults: What stands for a column in a file of an infoplane that had none.
    """

    path: Path
    run_id: str
    version: str
    words: frozenset[str]
    integers: frozenset[str]
    due: frozenset[str]
    keys: frozenset[str]
    sound: Callable[[pd.DataFrame], pd.Series]
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> pd.DataFrame:
        """The stored rows of this run and version that are sound; empty where there are none.

        Raises:
            InfoplaneError: The file is no such table, or cannot be read.
        """
        try:
            if not self.path.exists():
                return pd.DataFrame()
            refuse_no_file(self.path)
            rows = self._rows()
        except OSError as error:
            raise InfoplaneError(f"{self.path} cannot be read: {reason(error)}") from error
        if not any(rows):
            return pd.DataFrame()
        header = rows[0]
        whole = [row for row in rows[1:] if len(row) == len(header) and _NO_TEXT not in "".join(row)]
        if not {"run_id", "version"} <= set(header) or len(set(header)) < len(header):
            raise InfoplaneError(f"{self.path} is no table of estimates; delete it and estimate again")
        if not set(header) >= self.due:
            return pd.DataFrame()
        text = pd.DataFrame(whole, columns=header).replace("", np.nan)
        table = self._typed(text.assign(**{n: value for n, value in self.defaults.items() if n not in text}))
        table = table[(table["run_id"] == self.run_id) & (table["version"] == self.version)]
        return table[self.sound(table)] if len(table) else pd.DataFrame()

    def _rows(self) -> list[list[str]]:
        """The rows of the file as text: a layer may be called "3", and pandas' parser may miss the last bit."""
        content = self.path.read_text(encoding="utf-8", errors="replace")
        rows: list[list[str]] = []
        # A last line without its end may lack digits that nobody would miss; a quote may run to the file's end.
        whole, end, rest = content.rpartition("\n")
        with contextlib.suppress(csv.Error):
            rows.extend(csv.reader(io.StringIO(whole + end, newline="")))
        return [*rows, [rest]] if rows and rest else rows

    def _typed(self, text: pd.DataFrame) -> pd.DataFrame:
        """The columns as what they hold, without rows that hold something else or have a key that others have."""
        numbers = [name for name in text.columns if name not in self.words]
        table = text.assign(**{name: _numbers(text[name], name in self.integers) for name in numbers})
        table = table.assign(**{name: without_quotes(table[name]) for name in self.words & set(table)})
        readable = (text.isna() == table.isna()).all(axis=1) & table[[*self.integers]].notna().all(axis=1)
        once = ~table.duplicated([name for name in table.columns if name in self.keys], keep=False)
        return table[readable & once].astype({n: int if n in self.integers else float for n in numbers})

    def sweep(self, table: pd.DataFrame) -> None:
        """Writes the table anew where the file holds more than its rows, so that nobody takes that for estimates.

        Args:
            table: The rows as they were loaded.

        Raises:
            InfoplaneError: As for `store`.
        """
        if len(self._rows()) > 1 + len(table):
            self.store(table.iloc[:0])

    def store(self, new: pd.DataFrame) -> pd.DataFrame:
        """Adds rows to what is stored, and gives it all.

        Others may fill the table meanwhile: it is read again under a lock, and their rows are kept. In a folder
        that cannot be written to the rows are given but not stored, which their `attrs` say: `kept` is False.

        Raises:
            InfoplaneError: The file cannot be written, or another process does not give back its lock.
        """
        path = self.path
        try:
            lock = hold(path, _LOCK_SECONDS)
            try:
                whole = self._joined(new)
                with drafts(path) as [draft]:
                    write_csv(whole, draft)
            finally:
                lock.release()
            return whole
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
                logger.warning("%s cannot be written (%s): the estimates are not kept", path, reason(error))
                whole = self._joined(new)
                whole.attrs["kept"] = False
                return whole
            raise unwritten(path, error) from error

    def fill(self, portions: Generator[list[dict[str, Any]], None, None]) -> pd.DataFrame:
        """Stores rows as they are made: from time to time, at the end, and what is there where that is sooner.

        Args:
            portions: Some rows at a time; closed at the end.

        Returns:
            As of `store`.

        Raises:
            InfoplaneError: As for `store`.
        """
        rows: list[dict[str, Any]] = []
        saved = time.monotonic()
        try:
            with contextlib.closing(portions):
                for portion in portions:
                    rows += portion
                    if time.monotonic() - saved > SAVE_SECONDS:
                        self.store(pd.DataFrame(rows))
                        saved = time.monotonic()
        except BaseException:
            if rows:
                self.store(pd.DataFrame(rows))
            raise
        return self.store(pd.DataFrame(rows))

    def _joined(self, new: pd.DataFrame) -> pd.DataFrame:
        """What is stored and the new rows, each once; a new row takes the place of an old one."""
        stored = self.load()
        whole = pd.concat([stored, new], ignore_index=True) if len(stored) else new
        keys = [name for name in whole.columns if name in self.keys]
        return whole.drop_duplicates(keys, keep="last", ignore_index=True)


def _numbers(texts: pd.Series, whole: bool) -> pd.Series:
    """The numbers of a column of texts; what stands in many rows is read once."""
    codes, different = pd.factorize(texts)
    values = np.array([*map(_reader(whole), different), math.nan])
    return pd.Series(values[codes], index=texts.index)


def _reader(whole: bool) -> Callable[[Any], float]:
    """Reads a cell as a number, a whole one or any; NaN where it holds none."""

    def read(text: Any) -> float:
        try:
            number = int(text) if whole else float(text)
        except ValueError:
            return math.nan
        return number if abs(number) < 2**63 or not whole else math.nan

    return read


def matching(table: pd.DataFrame, columns: Mapping[str, Any]) -> pd.DataFrame:
    """The rows of a table that have these values; none where it lacks one of the columns."""
    if not len(table):
        return table
    if not set(columns) <= set(table.columns):
        return table.iloc[:0]
    same = np.logical_and.reduce([table[name] == value for name, value in columns.items()])
    return table[same]
