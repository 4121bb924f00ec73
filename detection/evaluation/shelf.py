"""The media of a data set: what cannot be read is put aside by name, once, and counted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

from detection.evaluation.media import MediaError
from detection.evaluation.report import Skipped

Item = TypeVar("Item")
Content = TypeVar("Content")


class Shelf:
    """Opens files below one directory and remembers which could not be used."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._skipped: dict[Path, Skipped] = {}

    @property
    def skipped(self) -> list[Skipped]:
        """Return the files put aside so far, in the order they were met."""
        return list(self._skipped.values())

    def name(self, path: Path) -> str:
        """Return a file's name as the labels give it."""
        return path.relative_to(self._directory).as_posix()

    def open(self, path: Path, read: Callable[[Path], Content]) -> Content | None:
        """Read a file; None where that fails, and then it is put aside and said so on standard error."""
        if path in self._skipped:
            return None
        try:
            return read(path)
        except (MediaError, OSError) as error:
            self._skipped[path] = Skipped(self.name(path), str(error))
            print(f"skipped {self.name(path)}: {error}", file=sys.stderr)
            return None


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield lists of at most ``size`` items: so many pictures are in memory at once."""
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch
