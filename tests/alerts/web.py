"""A real web process on the test database, over TCP."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from django.conf import settings

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def database_url() -> str:
    parts = settings.DATABASES["default"]
    return f"postgres://{parts['USER']}:{parts['PASSWORD']}@{parts['HOST']}:{parts['PORT']}/{parts['NAME']}"


@contextmanager
def running_web(
    tmp_path: Path, port: int = 0, arguments: Sequence[str] = (), **environment: str
) -> Iterator[tuple[int, psutil.Process]]:
    """Run a web process while the block runs, on a free port unless one is given; yields port and process.

    What it says goes into ``daphne.log``; ``arguments`` are Daphne's.
    """
    port = port or free_port()
    log = (tmp_path / "daphne.log").open("wb")
    own = {"DATABASE_URL": database_url(), "PUBLIC_URL": f"http://127.0.0.1:{port}"}
    process = subprocess.Popen(
        [
            sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), *arguments,
            "proctor_site.asgi:application",
        ],
        cwd=ROOT, env={**os.environ, **own, **environment}, stdout=log, stderr=log,
    )  # fmt: skip
    try:
        wait_for(port, process, tmp_path / "daphne.log")
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(10)
        log.close()


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until somebody listens on the port; fail with the log when the process ends before."""
    until = time.monotonic() + 40
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail(f"daphne does not listen: {log.read_text()}")
