"""PostgreSQL or Redis goes away for ten seconds under a running web process: clear answers, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import requests
from redis import Redis

from detection.messages import QUEUE_AUDIO, revoked_key
from proctor_site.embedded.ports import free_port
from proctor_site.embedded.postgres import Postgres
from proctor_site.embedded.run_directory import RunDirectory
from proctor_site.embedded.valkey import Valkey

ROOT = Path(__file__).resolve().parents[2]
AWAY_S = 10.0


class Web:
    """A web process with a PostgreSQL and a Valkey of its own that can be taken away."""

    def __init__(self, directory: Path) -> None:
        directory.chmod(0o711)  # as root, PostgreSQL runs as another account and must reach its data
        self._run = RunDirectory(directory)
        assert self._run.acquire()
        self.postgres = Postgres(self._run, password="password", durable=False)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.valkey = Valkey(self._run, password="password")
        self.database_url, self.redis_url = self.postgres.start(), self.valkey.start()
        self._environment = os.environ | {"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url}
        self.manage("migrate", "--verbosity", "0")
        self.headers = {"Authorization": f"Bearer {self.manage('create_api_key', 'test', '--all-scopes')}"}
        command = [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), "proctor_site.asgi:application"]
        self._log = (directory / "web.log").open("wb")
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=self._environment, stdout=self._log, stderr=self._log, start_new_session=True
        )
        self._wait()

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if requests.get(f"{self.url}/.well-known/live", timeout=2).ok:
                    return
            except requests.ConnectionError:
                assert self._process.poll() is None, Path(self._log.name).read_text()
            time.sleep(0.1)
        pytest.fail("the web process did not start")

    def ask(self, method: str, path: str, **fields: Any) -> requests.Response:
        """Send a request and require an answer within three seconds."""
        return requests.request(method, self.url + path, json=fields or None, headers=self.headers, timeout=3)

    def start_session(self, session_id: str) -> requests.Response:
        return self.ask("POST", "/api/v1/session/start", candidate_id="ada", session_id=session_id, enroll_on_join=True)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(15)
        self._log.close()
        self.valkey.stop()
        self.postgres.stop()
        self._run.release()


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    running = Web(tmp_path_factory.mktemp("away"))
    yield running
    running.stop()


def code(response: requests.Response) -> tuple[int, str | None]:
    return response.status_code, response.json().get("code")


def test_ten_seconds_without_postgresql(web: Web) -> None:
    assert code(web.start_session("before")) == (201, None)
    web.postgres.stop()
    ends = time.monotonic() + AWAY_S
    rounds = 0
    while time.monotonic() < ends:
        refused = web.start_session("during")
        assert code(refused) == (503, "database_unavailable")
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert code(web.ask("GET", "/api/v1/session/before")) == (503, "database_unavailable")
        health = web.ask("GET", "/.well-known/health")
        assert (health.status_code, health.json()["parts"]["database"]["status"]) == (503, "down")
        assert web.ask("GET", "/.well-known/live").ok
        rounds += 1
        time.sleep(0.5)
    assert rounds >= 3
    web.postgres.start()
    assert web.ask("GET", "/api/v1/session/before").json()["state"] == "created"
    assert code(web.start_session("before")) == (409, "session_exists")
    assert code(web.start_session("during")) == (201, None)
    assert web.ask("GET", "/.well-known/health").json()["parts"]["database"]["status"] == "up"


def test_ten_seconds_without_redis(web: Web) -> None:
    picture = {"candidate_id": "ada", "image": "QUJD", "images": ["QUJD"]}
    consent = {"version": "1", "locale": "en", "given_at": "2026-01-01T00:00:00Z"}
    session_id = web.start_session("to-be-ended").json()["id"]
    web.valkey.stop()
    began = time.monotonic()
    assert web.ask("POST", f"/api/v1/session/{session_id}/end").json()["state"] == "ended"
    rounds = 0
    while time.monotonic() < began + AWAY_S:
        assert code(web.ask("POST", "/api/v1/enroll", **picture, consent=consent)) == (503, "queue_unavailable")
        assert code(web.start_session(f"without-redis-{rounds}")) == (201, None)
        health = web.ask("GET", "/.well-known/health")
        assert (health.status_code, health.json()["parts"]["redis"]["status"]) == (503, "down")
        rounds += 1
        time.sleep(0.5)
    assert rounds >= 3
    web.valkey.start()
    swept = web.manage("shell", "-v", "0", "-c", "from sessions.sweep import sweep_sessions; print(sweep_sessions())")
    assert "closed_again=1, revoked_again=1" in swept
    with Redis.from_url(web.redis_url) as redis:
        assert redis.exists(revoked_key(session_id)) == 1
        assert redis.llen(QUEUE_AUDIO) == 1
    assert web.ask("GET", "/.well-known/health").json()["parts"]["redis"]["status"] == "up"


def test_many_requests_leave_no_connections_behind(web: Web) -> None:
    assert web.start_session("busy").status_code == 201
    for _ in range(60):
        assert web.ask("GET", "/api/v1/session/busy").ok
    connection = psycopg2.connect(web.database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
        count = cursor.fetchone()[0]
    connection.close()
    assert count <= 10
