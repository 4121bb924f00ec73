"""Download over HTTP into a file that survives an interruption, and show how far it is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

import httpx2
from unearth.fetchers.sync import PyPIClient

CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 30.0


class DownloadError(Exception):
    """An address did not give what was wanted; another source may."""

    def __init__(self, message: str, *, unreachable: bool = False) -> None:
        super().__init__(message)
        self.unreachable = unreachable
        """Whether no connection came about at all."""


class Progress:
    """A progress bar on a terminal, one line per file elsewhere."""

    WIDTH = 30

    def __init__(self, label: str, total: int | None, stream: TextIO = sys.stderr) -> None:
        self._label = label
        self._total = total
        self._stream = stream
        self._is_terminal = stream.isatty()
        if not self._is_terminal:
            size = f" ({total / 1e6:.1f} MB)" if total else ""
            print(f"fetching {label}{size}", file=stream, flush=True)

    def show(self, done: int) -> None:
        """Draw the bar for ``done`` bytes."""
        if not self._is_terminal:
            return
        if self._total:
            filled = min(self.WIDTH, self.WIDTH * done // self._total)
            bar = f"[{'#' * filled}{' ' * (self.WIDTH - filled)}] {done / 1e6:.1f}/{self._total / 1e6:.1f} MB"
        else:
            bar = f"{done / 1e6:.1f} MB"
        self._stream.write(f"\r{self._label} {bar}")
        self._stream.flush()

    def finish(self) -> None:
        """End the bar's line."""
        if self._is_terminal:
            self._stream.write("\n")


def download(client: PyPIClient, url: str, target: Path, *, label: str, size: int | None = None) -> None:
    """Fetch ``url`` into ``target``, going on where an interrupted attempt stopped.

    The bytes gather in ``target`` + ".part", which stays when the connection breaks. ``size`` is the expected length;
    an answer of another length is not the file and raises ``DownloadError``, as everything else that goes wrong.
    """
    part = target.with_name(f"{target.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    timeout = httpx2.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    try:
        with client.stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True) as response:
            _receive(response, part, have=have, label=label, size=size)
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        raise DownloadError(f"cannot connect: {error}", unreachable=True) from error
    except httpx2.HTTPError as error:
        raise DownloadError(f"{type(error).__name__}: {error}") from error
    part.replace(target)


def _receive(response: httpx2.Response, part: Path, *, have: int, label: str, size: int | None) -> None:
    if response.status_code == httpx2.codes.RANGE_NOT_SATISFIABLE:
        part.unlink()  # complete already, or longer than the file: the next attempt starts anew
        raise DownloadError("the interrupted download does not fit this file; it was discarded")
    if response.status_code not in (httpx2.codes.OK, httpx2.codes.PARTIAL_CONTENT):
        raise DownloadError(f"answered {response.status_code}")
    resumed = response.status_code == httpx2.codes.PARTIAL_CONTENT and _starts_at(response, have)
    done = have if resumed else 0
    total = _total_length(response, done)
    if size is not None and total is not None and total != size:
        raise DownloadError(f"offers {total} bytes instead of {size}")
    progress = Progress(label, total or size)
    with part.open("ab" if resumed else "wb") as file:
        for chunk in response.iter_raw():
            done += len(chunk)
            if size is not None and done > size:
                break
            file.write(chunk)
            progress.show(done)
    progress.finish()
    expected = size if size is not None else total
    if expected is not None and done != expected:
        raise DownloadError(f"sent {done} bytes instead of {expected}")


def _starts_at(response: httpx2.Response, offset: int) -> bool:
    """Return whether a partial answer begins where asked; raise if it begins elsewhere."""
    if not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
        raise DownloadError("answered another range than asked for")
    return True


def _total_length(response: httpx2.Response, done: int) -> int | None:
    length = response.headers.get("Content-Length", "")
    return done + int(length) if length.isdigit() else None
