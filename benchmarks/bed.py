"""The bed a benchmark lies in: a database and a Redis of its own, real worker processes, and their processor time."""

from __future__ import annotations

import json
import os
import platform
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg2
import redis

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
REDIS_DATABASE = "/8"
START_TIMEOUT_S = 60.0


@contextmanager
def own_services() -> Iterator[None]:
    """Point ``DATABASE_URL`` and ``REDIS_URL`` to a new database and an empty Redis, and set Django up on them."""
    server_url = os.environ["DATABASE_URL"]
    name = f"bench_{secrets.token_hex(4)}"
    _administer(server_url, f"CREATE DATABASE {name}")
    os.environ["DATABASE_URL"] = urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    os.environ["REDIS_URL"] = urlunsplit(urlsplit(os.environ["REDIS_URL"])._replace(path=REDIS_DATABASE))
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["DJANGO_SETTINGS_MODULE"] = "proctor_site.settings"
    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    client.flushdb()
    try:
        subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, check=True)
        import django

        django.setup()
        yield
    finally:
        client.flushdb()
        _administer(server_url, f"DROP DATABASE {name} WITH (FORCE)")


def _administer(url: str, statement: str) -> None:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()


@contextmanager
def process(*command: str, log: str) -> Iterator[psutil.Process]:
    """Run a Python module of the product in a session of its own; it is ended with its children."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{log}.log").open("wb") as file:
        running = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, stdout=file, stderr=file, start_new_session=True
        )
        try:
            yield psutil.Process(running.pid)
        finally:
            running.terminate()
            try:
                running.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)
                running.wait()


def wait_for(what: str, condition: Any, *, timeout_s: float = START_TIMEOUT_S, pause_s: float = 0.1) -> None:
    """Wait until ``condition()`` is true; raise ``TimeoutError`` naming ``what`` otherwise."""
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{what}: not within {timeout_s:.0f} s; see {RESULTS}")
        time.sleep(pause_s)


def processor_s(root: psutil.Process) -> float:
    """Return the seconds of processor time of a process, its children, and those of them that have ended."""
    total = 0.0
    for member in [root, *root.children(recursive=True)]:
        try:
            times = member.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def postgres() -> psutil.Process:
    """Return the database server, which must run on this machine."""
    with psycopg2.connect(os.environ["DATABASE_URL"]) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        row = cursor.fetchone()
        assert row is not None
        server = psutil.Process(row[0]).parent()
    connection.close()
    assert server is not None
    return server


def redis_processor_s() -> float:
    """Return the seconds of processor time that Redis has used."""
    info = cast(dict[str, float], redis.Redis.from_url(os.environ["REDIS_URL"]).info("cpu"))
    return info["used_cpu_sys"] + info["used_cpu_user"]


def report(name: str, figures: dict[str, Any]) -> None:
    """Print the figures and keep them."""
    RESULTS.mkdir(exist_ok=True)
    document = {
        "benchmark": name,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()},
        **figures,
    }
    text = json.dumps(document, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text)
