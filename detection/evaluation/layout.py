"""Read the labels of a data set: CSV files in one directory, every mistake named with file and line."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

SUBJECT = "subject"
GROUP = "group"
_Record = tuple[int, int, list[str]]
"""First and last line, counted from 1 (a quoted cell may span several), and the cells."""
_TRUE, _FALSE = frozenset({"1", "true", "yes"}), frozenset({"0", "false", "no"})


class LayoutError(Exception):
    """Labels that cannot be used. The message names file and line and repeats the line."""

    def __init__(self, file: str, line: int, message: str, content: str = "") -> None:
        shown = f"\n  {content}" if content else ""
        super().__init__(f"{file}:{line}: {message}{shown}")
        self.line = line


@dataclass(frozen=True, slots=True)
class Row:
    """One line of labels. Its getters raise ``LayoutError`` naming this line."""

    directory: Path
    file: str
    line: int
    content: str
    values: dict[str, str]

    def wrong(self, message: str) -> LayoutError:
        """Return the error that says what is wrong with this line."""
        return LayoutError(self.file, self.line, message, self.content)

    def text(self, column: str) -> str:
        """Return a cell, without spaces around it; an empty one is an error."""
        value = self.values[column]
        if not value:
            raise self.wrong(f"{column!r} is empty")
        return value

    def is_empty(self, *columns: str) -> bool:
        """Return whether none of the cells says anything."""
        return not any(self.values[column] for column in columns)

    def number(self, column: str) -> float:
        """Return a cell as a finite number."""
        try:
            value = float(self.text(column))
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.wrong(f"{column!r} must be a number, not {self.values[column]!r}")
        return value

    def flag(self, column: str) -> bool:
        """Return a cell that is 1 or 0."""
        value = self.text(column).lower()
        if value not in _TRUE | _FALSE:
            raise self.wrong(f"{column!r} must be 1 or 0, not {self.values[column]!r}")
        return value in _TRUE

    def choice(self, column: str, among: Iterable[str]) -> str:
        """Return a cell that is one of some words."""
        value, words = self.text(column), list(among)
        if value not in words:
            raise self.wrong(f"{column!r} must be one of {', '.join(words)}, not {value!r}")
        return value

    def span(self, start: str = "start_s", end: str = "end_s") -> tuple[float, float]:
        """Return a stretch of time in seconds, ``0 <= start < end``."""
        start_s, end_s = self.number(start), self.number(end)
        if start_s < 0 or end_s <= start_s:
            raise self.wrong(f"{start!r} must be at least 0 and {end!r} greater, not {start_s:g} and {end_s:g}")
        return start_s, end_s

    def path(self, column: str) -> Path:
        """Return the file that a cell names, relative to the data set's directory and below it; it must exist."""
        name = self.text(column)
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts:
            raise self.wrong(f"{column!r} must be a path below the directory, not {name!r}")
        path = self.directory / pure
        if not _is_file(path):
            raise self.wrong(f"there is no file {name!r}")
        return path

    def subject(self, otherwise: str) -> str:
        """Return whom the line is about: the column ``subject``, or the file, in a name space of its own."""
        named = self.values.get(SUBJECT, "")
        return f"subject:{named}" if named else f"file:{otherwise}"

    def subjects(self, first: str, second: str) -> tuple[str, str]:
        """Return whom a comparison is about: ``first_subject`` and ``second_subject``, or ``subject``, or its files."""
        named = self.values.get("first_subject", ""), self.values.get("second_subject", "")
        if all(named):
            return f"subject:{named[0]}", f"subject:{named[1]}"
        return self.subject(first), self.subject(second)

    def group(self) -> str:
        """Return the group that the line's subject belongs to, by the column ``group``; "" where none is named."""
        return self.values.get(GROUP, "")

    def common_group(self) -> str:
        """Return the group of a comparison: ``group``, or what ``first_group`` and ``second_group`` both are.

        Comparisons across groups belong to none: people of one group are the harder to tell apart.
        """
        first, second = self.values.get("first_group", ""), self.values.get("second_group", "")
        return self.group() or (first if first == second else "")


def read_table(directory: Path, name: str, columns: Sequence[str]) -> list[Row]:
    """Read ``name`` in ``directory``, which must have ``columns``; of others ``subject`` and ``group`` are looked at.

    UTF-8, commas, first line the header, empty lines skipped. Raises ``LayoutError`` for a file that is missing, has no
    rows or whose rows do not fit its header.
    """
    text = _read_text(directory, name).replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    records = [record for record in _records(text, name) if any(cell.strip() for cell in record[2])]
    if not records:
        raise LayoutError(name, 1, f"is empty; its header must have {','.join(columns)}")
    first = records[0][0]
    header = _header(records[0], name, columns, lines[first - 1])
    if len(records) == 1:
        raise LayoutError(name, first, "there is nothing below the header", lines[first - 1])
    return [_row(directory, name, header, record, lines) for record in records[1:]]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have: too long, or with a zero byte
        return False


def _read_text(directory: Path, name: str) -> str:
    if not directory.is_dir():
        raise LayoutError(str(directory), 0, "is no directory")
    path = directory / name
    if not path.is_file():
        raise LayoutError(name, 0, f"is missing in {directory}")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise LayoutError(name, line, "is not UTF-8 text") from None


def _records(text: str, name: str) -> list[_Record]:
    reader = csv.reader(io.StringIO(text), strict=True)
    records: list[_Record] = []
    first = 1
    try:
        for cells in reader:
            records.append((first, reader.line_num, cells))
            first = reader.line_num + 1
    except csv.Error as error:
        raise LayoutError(name, reader.line_num, f"is no CSV: {error}") from None
    return records


def _header(record: _Record, name: str, columns: Sequence[str], content: str) -> list[str]:
    header = [cell.strip().lower() for cell in record[2]]
    if missing := [column for column in columns if column not in header]:
        raise LayoutError(name, record[0], f"the header lacks {', '.join(missing)}", content)
    if twice := sorted({column for column in header if column and header.count(column) > 1}):
        raise LayoutError(name, record[0], f"the header has {', '.join(twice)} twice", content)
    return header


def _row(directory: Path, name: str, header: list[str], record: _Record, lines: list[str]) -> Row:
    first, last, cells = record
    content = "\n".join(lines[first - 1 : last])
    while len(cells) > len(header) and not cells[-1].strip():  # as spreadsheets leave them
        cells = cells[:-1]
    if len(cells) != len(header):
        raise LayoutError(name, first, f"has {len(cells)} cells, the header {len(header)}", content)
    return Row(directory, name, first, content, dict(zip(header, (cell.strip() for cell in cells), strict=True)))
