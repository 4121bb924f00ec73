"""Signs of life of real processes: an alerts worker and beat, as the Procfile starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.db import connection
from redis import Redis

from proctor_site import health
from proctor_site.heartbeats import swept_key
from tests.stack import ROOT, procfile

pytestmark = pytest.mark.django_db(transaction=True)

Start = Callable[[str], subprocess.Popen[bytes]]
TIMEOUT_S = 45.0


@pytest.fixture
def start(tmp_path: Path, redis_client: Redis) -> Iterator[Start]:
    """Return a function that starts a line of the Procfile on the tests' database and Redis."""
    database = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DATABASE_URL": urlunsplit(database),
        "BEAT_SCHEDULE": str(tmp_path / "beat-schedule"),
    }
    running: list[subprocess.Popen[bytes]] = []

    def start_process(name: str) -> subprocess.Popen[bytes]:
        line = procfile()[name].replace("-Q alerts ", "-Q alerts,sweeps ")  # no models are loaded for the sweeps
        command = ["sh", "-c", line]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
        running.append(process)
        return process

    yield start_process
    for process in running:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, (
            f"{what}: {health.alerts_part()}, {health.beat_part()}, {health.sweeps_part()}"
        )
        time.sleep(0.2)


def statuses() -> tuple[str, str, str]:
    return health.alerts_part()["status"], health.beat_part()["status"], health.sweeps_part()["status"]


def all_up() -> bool:
    return set(statuses()) == {"up"}


def test_alerts_worker_and_beat_are_seen_and_missed(start: Start, redis_client: Redis) -> None:
    assert statuses() == ("down", "down", "down")
    worker, beat = start("alerts"), start("beat")
    wait_for(all_up, "both run, and the sweeps went through")

    kill(beat)
    redis_client.delete(
        *redis_client.keys("heartbeat:beat:*"), *redis_client.keys(swept_key("*"))
    )  # rather than waiting until they expire
    time.sleep(6)  # longer than the time between two signs of life
    assert statuses() == ("up", "down", "down")
    assert [one["pid"] for one in health.alerts_part()["workers"]] == [worker.pid]

    worker.send_signal(signal.SIGTERM)
    wait_for(lambda: health.alerts_part()["workers"] == [], "a worker that stops takes its sign back")


def test_beat_without_a_worker_is_not_taken_for_both(start: Start) -> None:
    start("beat")
    wait_for(lambda: statuses() == ("down", "up", "down"), "beat alone")


def test_every_sign_of_life_of_these_processes_expires(start: Start, redis_client: Redis) -> None:
    start("alerts")
    start("beat")
    wait_for(all_up, "both run")
    # Other tests may keep a worker with models in this process, whose sign is not meant here.
    signs = [sign for sign in redis_client.keys("heartbeat:*") if b"heartbeat:worker:" not in sign]
    assert len(signs) == 5
    assert all(0 < int(redis_client.ttl(sign)) <= 120 for sign in signs)
