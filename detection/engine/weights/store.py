"""The directory of verified weights: where each file lies, whether it is the right one, and its patched form."""

from __future__ import annotations

import hashlib
import json
import os
from functools import cache
from pathlib import Path

from detection.engine.weights.manifest import Weight, WeightsError, load_manifest

ROOT = Path(__file__).resolve().parents[3]
PATCHER = Path(__file__).resolve().parent.parent / "graph_patch.py"


def weights_path(name: str, *, directory: Path | None = None) -> Path:
    """Return the file to load for the manifest's entry ``name``: the patched graph where the entry asks for one.

    The content is checked against the manifest, once per process for an unchanged file. Raises ``WeightsError``.
    """
    entry = load_manifest().get(name)
    if entry is None:
        raise WeightsError(f"weights.toml has no entry {name}")
    entry.require_accepted()
    return Store(directory or default_directory()).path(entry)


def is_fetched(name: str) -> bool:
    """Return whether the file of the manifest's entry ``name`` is there at all, right or wrong."""
    return Store(default_directory()).original(load_manifest()[name]).exists()


def default_directory() -> Path:
    """Return ``WEIGHTS_DIR``, or ``var/weights`` below the repository when it is not set."""
    return ROOT / (os.environ.get("WEIGHTS_DIR") or "var/weights")


class Store:
    """The files of one directory of weights."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def original(self, entry: Weight) -> Path:
        """Return where the entry's file lies as fetched, whether or not it is there."""
        return entry.source or self.directory / entry.file

    def path(self, entry: Weight) -> Path:
        """Return the verified file to load; raise ``WeightsError`` if it is missing or not the manifest's."""
        self.verify(entry)
        return self.original(entry) if entry.patch is None else self.directory / entry.patched_file

    def verify(self, entry: Weight) -> None:
        """Raise ``WeightsError`` unless the file, and its patched form where there is one, are what they should be."""
        self.verify_original(entry)
        if entry.patch is not None and not self.is_patched(entry):
            raise WeightsError(
                f"{entry.patched_file} is missing or outdated in {self.directory}: "
                f"run `make weights GROUP={entry.group}`."
            )

    def verify_original(self, entry: Weight) -> None:
        """Raise ``WeightsError`` unless the file as fetched is there and has the manifest's hash."""
        path = self.original(entry)
        if not path.exists() and entry.source is not None:
            raise WeightsError(f"{entry.name}: {path} does not exist.")
        if not path.exists():
            raise WeightsError(f"{entry.file} is not in {self.directory}: run `make weights GROUP={entry.group}`.")
        found = file_sha256(path)
        if found != entry.sha256 and entry.source is not None:
            raise WeightsError(f"{entry.name}: {path} has sha256 {found}, not {entry.sha256}.")
        if found != entry.sha256:
            raise WeightsError(
                f"{entry.file} in {self.directory} has a wrong hash: sha256 {found}, expected {entry.sha256}. "
                f"Delete it and run `make weights GROUP={entry.group}`."
            )

    def is_patched(self, entry: Weight) -> bool:
        """Return whether the patched graph is the one that today's patch made from this very original."""
        patched = self.directory / entry.patched_file
        note = _note(patched)
        if not patched.exists() or not note.exists():
            return False
        return bool(json.loads(note.read_text()) == self._record(entry, patched))

    def note_patched(self, entry: Weight) -> None:
        """Record the patched graph's hash, so that a file swapped for another is noticed."""
        patched = self.directory / entry.patched_file
        _note(patched).write_text(json.dumps(self._record(entry, patched), indent=1) + "\n")

    def _record(self, entry: Weight, patched: Path) -> dict[str, str]:
        return {"sha256": file_sha256(patched), "original_sha256": entry.sha256, "patcher_sha256": file_sha256(PATCHER)}


def file_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's content, computed anew when the file has changed."""
    status = path.stat()
    return _sha256(path, status.st_mtime_ns, status.st_size, status.st_ino)


@cache
def _sha256(path: Path, modified_ns: int, size: int, inode: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _note(patched: Path) -> Path:
    return patched.with_name(f"{patched.name}.json")
