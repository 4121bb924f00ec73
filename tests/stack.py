"""The whole product as real processes: every line of the Procfile on free ports, with a database of its own."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest

from proctor_site.embedded.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
HEALTHY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 15.0
REDIS_DATABASE = "/9"  # the tests' own client empties database 0


class StackError(RuntimeError):
    """A process of the stack ended or never became healthy; the message ends with its log."""


@dataclass(slots=True)
class Stack:
    """The running product. Processes can be stopped, killed and started again by their name in the Procfile."""

    directory: Path
    environment: dict[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Return the address of the web process."""
        return self.environment["PUBLIC_URL"]

    def start(self, *names: str) -> None:
        """Start these processes, or all of the Procfile."""
        commands = procfile()
        for name in names or tuple(commands):
            with self.log(name).open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    ["sh", "-c", commands[name]],
                    cwd=ROOT,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # a worker's children end with it, and only they
                )

    def kill(self, name: str) -> None:
        """SIGKILL one process with its children."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self, *names: str) -> None:
        """Stop these processes, or all, as a supervisor does: SIGTERM, and SIGKILL for who does not obey."""
        stopping = {name: self.processes.pop(name) for name in names or tuple(self.processes)}
        for process in stopping.values():
            process.terminate()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for process in stopping.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def wait_until_healthy(self, *parts: str) -> dict[str, Any]:
        """Return the health document once these parts, or all, are up; raise ``StackError`` when it takes too long."""
        deadline = time.monotonic() + HEALTHY_TIMEOUT_S
        while True:
            self.require_running()
            health = self.health()
            found = health.get("parts", {})
            if health["status"] == "up" or (parts and all(found.get(part, {}).get("status") == "up" for part in parts)):
                return health
            if time.monotonic() > deadline:
                raise StackError(f"Not healthy after {HEALTHY_TIMEOUT_S:.0f} s: {health}\n{self.logs()}")
            time.sleep(0.3)

    def health(self) -> dict[str, Any]:
        """Return the health document; ``{"status": "unreachable"}`` before the web process listens."""
        try:
            with urllib.request.urlopen(f"{self.url}/.well-known/health", timeout=5) as response:
                return dict(json.load(response))
        except urllib.error.HTTPError as error:
            return dict(json.load(error))
        except OSError:
            return {"status": "unreachable"}

    def manage(self, *arguments: str) -> str:
        """Run ``manage.py`` in the stack's environment; return what it printed."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise StackError(f"manage.py {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout.strip()

    def api_key(self) -> str:
        """Make an API key that may do everything."""
        scopes = ("enroll", "verify", "sessions", "admin", "subscriptions")
        words = [word for scope in scopes for word in ("--scope", scope)]
        return self.manage("create_api_key", f"stack {secrets.token_hex(4)}", *words)

    def log(self, name: str) -> Path:
        """Return the file that a process logs to."""
        return self.directory / f"{name}.log"

    def logs(self, characters: int = 1500) -> str:
        """Return the ends of all logs."""
        files = sorted(self.directory.glob("*.log"))
        return "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')[-characters:]}" for file in files)

    def require_running(self) -> None:
        """Raise ``StackError`` when a process that was neither stopped nor killed has ended."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise StackError(f"{name} ended with status {process.returncode}\n{self.logs()}")


def procfile() -> dict[str, str]:
    """Return the Procfile's commands by name."""
    lines = [line.partition(":") for line in (ROOT / "Procfile").read_text().splitlines() if line.strip()]
    return {name: command.strip() for name, _, command in lines if not name.startswith("#")}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, weights_dir: Path) -> Iterator[Stack]:
    """Start the whole product once for all tests that want it; they share its database."""
    with running_stack(tmp_path_factory.mktemp("stack"), weights_dir) as running:
        yield running


@contextmanager
def running_stack(directory: Path, weights_dir: Path) -> Iterator[Stack]:
    """Run the whole product, logging to ``directory``, on a new database beside that of ``DATABASE_URL``."""
    running = Stack(directory, {})
    database_url = _create_database()
    try:
        redis_url = urlunsplit(urlsplit(os.environ["REDIS_URL"])._replace(path=REDIS_DATABASE))
        running.environment = environment(
            directory, DATABASE_URL=database_url, REDIS_URL=redis_url, WEIGHTS_DIR=str(weights_dir)
        )
        running.manage("migrate", "--verbosity", "0")
        running.start()
        running.wait_until_healthy()
        yield running
    finally:
        running.stop()
        _drop_database(database_url)


def environment(directory: Path, **settings: str) -> dict[str, str]:
    """Return the environment of a product on free ports that keeps its files in ``directory``."""
    ports = {name: str(free_port()) for name in ("WEB_PORT", "GATEWAY_PORT", "METRICS_PORT", "GRPC_PORT")}
    (directory / "metrics").mkdir()
    return {
        **os.environ,
        **ports,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PUBLIC_URL": f"http://localhost:{ports['WEB_PORT']}",
        "GATEWAY_PUBLIC_URL": f"http://localhost:{ports['GATEWAY_PORT']}",
        "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
        "EVIDENCE_DIR": str(directory / "evidence"),
        "BEAT_SCHEDULE": str(directory / "beat-schedule"),
        "PROMETHEUS_MULTIPROC_DIR": str(directory / "metrics"),
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        **settings,
    }


def _create_database() -> str:
    name = f"stack_{secrets.token_hex(4)}"
    _administer(f"CREATE DATABASE {name}")
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))


def _drop_database(database_url: str) -> None:
    _administer(f"DROP DATABASE {urlsplit(database_url).path[1:]} WITH (FORCE)")


def _administer(statement: str) -> None:
    connection = psycopg2.connect(os.environ["DATABASE_URL"])
    try:
        connection.autocommit = True  # databases are made and dropped outside of transactions
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()
