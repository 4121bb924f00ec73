"""Scenarios that break real servers: each a program of its own, with servers to itself, that prints what came of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from proctor_site.embedded.postgres import Postgres
from proctor_site.embedded.run_directory import RunDirectory
from proctor_site.embedded.valkey import Valkey

ROOT = Path(__file__).resolve().parent.parent
SECRETS = {
    "SECRET_KEY": "scenario-secret-key-scenario-secret-key-scenario-secret",
    "JOIN_TOKEN_KEY": "scenario-join-token-key-0123456789abcdef",
    "KEY_ENCRYPTION_KEYS": "scenario:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
}
LOG_CHARACTERS = 3000

T = TypeVar("T")


class Play:
    """A scenario on its way. Several can be at the same time, since mostly they wait."""

    def __init__(self, module: str, name: str, directory: Path) -> None:
        self._directory = directory
        self._result: dict[str, Any] | None = None
        environment = {key: value for key, value in os.environ.items() if key not in ("DATABASE_URL", "REDIS_URL")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, name, str(directory)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def result(self, timeout_s: float) -> dict[str, Any]:
        """Return what the scenario printed; fail with its errors when it broke off or takes longer than it may."""
        if self._result is None:
            self._result = self._wait(timeout_s)
        return self._result

    def _wait(self, timeout_s: float) -> dict[str, Any]:
        try:
            output, errors = self._process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.stop()
            output, errors = self._process.communicate()
            errors += f"\nIt took longer than {timeout_s:g} s."
        if self._process.returncode != 0:
            pytest.fail(
                f"The scenario ended with {self._process.returncode}:\n{errors[-LOG_CHARACTERS:]}\n{self._logs()}"
            )
        return dict(json.loads(output.splitlines()[-1]))

    def stop(self) -> None:
        """End it if it still runs; it stops its own parts."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def _logs(self) -> str:
        files = sorted(self._directory.glob("*.log"))
        return "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')[-LOG_CHARACTERS:]}" for file in files)


@contextmanager
def playing(module: str, name: str) -> Iterator[Play]:
    """Start a scenario, in a directory that PostgreSQL's account can reach where that is another one."""
    with tempfile.TemporaryDirectory(prefix="sd-proctor-scenario-") as directory:
        Path(directory).chmod(0o711)
        started = Play(module, name, Path(directory))
        try:
            yield started
        finally:
            started.stop()


class Servers:
    """A PostgreSQL and a Redis for one scenario, each to be stopped and started again.

    ``durable``: what PostgreSQL has committed outlives its sudden death, as it does in earnest.
    """

    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        self.directory = directory
        run = RunDirectory(directory)
        if not run.acquire():
            raise RuntimeError(f"{directory} is in use")
        self.postgres = Postgres(run, password="scenario", durable=durable)
        self.valkey = Valkey(run, password="scenario")

    def start(self) -> None:
        """Start them, make the database and set Django up on it."""
        os.environ |= SECRETS | {
            "DATABASE_URL": self.postgres.start(),
            "REDIS_URL": self.valkey.start(),
            "DJANGO_SETTINGS_MODULE": "proctor_site.settings",
            "EVIDENCE_DIR": str(self.directory / "evidence"),
            "OMP_NUM_THREADS": "1",
        }
        subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, check=True)
        import django

        django.setup()

    def stop(self) -> None:
        """Stop both."""
        self.valkey.stop()
        self.postgres.stop()


def wait_for(what: str, condition: Callable[[], bool], *, timeout_s: float = 180.0, pause_s: float = 0.1) -> None:
    """Wait until something is true; raise ``TimeoutError`` that says what."""
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > give_up_at:
            raise TimeoutError(what)
        time.sleep(pause_s)


def play(
    scenarios: Mapping[str, Callable[[T], dict[str, Any]]], parts: Callable[[Path], AbstractContextManager[T]]
) -> None:
    """Play the scenario of the command line in its directory; print the result as JSON. SIGTERM stops its parts too."""
    name, directory = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with parts(Path(directory)) as running:
        print(json.dumps(scenarios[name](running)))
