"""Every client of PostgreSQL and of Redis over TLS, as settings ask for it; and none believes a stranger."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import pytest

from media_gateway.config import ConfigError, load
from tests.alerts.certificates import Authority, Signed
from tests.hardening.tls_world import tls_before

ROOT = Path(__file__).resolve().parents[2]
REDIS_CLIENTS = """
import asyncio, django; django.setup()
from django.conf import settings
from accounts.redis_client import get_redis
assert get_redis().ping(); print("cache")
from proctor_site.celery import app
with app.connection_for_write() as connection:
    queue = connection.SimpleQueue("tls-test"); queue.put({"a": 1})
    assert queue.get(timeout=5).payload == {"a": 1}; queue.clear(); queue.close()
print("broker")
app.backend.set("tls-test", b"x"); assert app.backend.get("tls-test") == b"x"; app.backend.delete("tls-test")
print("results")
from channels.layers import get_channel_layer
async def channel():
    layer = get_channel_layer(); name = await layer.new_channel()
    await layer.send(name, {"type": "t"}); assert (await layer.receive(name))["type"] == "t"
    await layer.flush()
asyncio.run(channel()); print("channels")
from redis import Redis
assert Redis.from_url(app.conf.broker_url, socket_timeout=5).ping(); print("frames")
import os
from media_gateway.config import load
from media_gateway.publisher import connect
async def gateway():
    client = connect(load(os.environ).redis_url); assert await client.ping(); await client.aclose()
asyncio.run(gateway()); print("gateway")
"""
DATABASE_CLIENT = """
import django; django.setup()
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SELECT 1"); assert cursor.fetchone() == (1,)
print("encrypted" if connection.connection.info.ssl_in_use else "plain")
"""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "stranger")


@pytest.fixture
def signed(authority: Authority) -> Signed:
    return authority.sign("server", "127.0.0.1")


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    whole = {**os.environ, "DJANGO_SETTINGS_MODULE": "proctor_site.settings", **environment}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=whole, capture_output=True, text=True, check=False, timeout=120
    )


def at(url: str, port: int, *, scheme: str, query: str = "") -> str:
    """Return the address of the same server as ``url``, by another port."""
    parts = urlsplit(url)
    login = f"{parts.username or ''}:{parts.password}@" if parts.password else ""
    return urlunsplit((scheme, f"{login}127.0.0.1:{port}", parts.path, query, ""))


@pytest.fixture
def redis_url(signed: Signed) -> Iterator[str]:
    """The tests' Redis, by TLS."""
    behind = urlsplit(os.environ["REDIS_URL"])
    with tls_before(signed, host=behind.hostname or "127.0.0.1", port=behind.port or 6379) as front:
        yield at(os.environ["REDIS_URL"], front.server_address[1], scheme="rediss")


def test_every_client_of_redis_speaks_tls(redis_url: str, authority: Authority) -> None:
    done = run(REDIS_CLIENTS, REDIS_URL=redis_url, REDIS_CA=str(authority.path))
    assert done.stdout.split() == ["cache", "broker", "results", "channels", "frames", "gateway"], done.stderr[-3000:]


@pytest.mark.parametrize("trusted", ["stranger", "system"])
def test_no_client_of_redis_believes_a_certificate_of_somebody_else(
    redis_url: str, stranger: Authority, trusted: str
) -> None:
    ca = str(stranger.path) if trusted == "stranger" else ""
    done = run(REDIS_CLIENTS, REDIS_URL=redis_url, REDIS_CA=ca)
    assert done.returncode != 0
    assert "CERTIFICATE_VERIFY_FAILED" in done.stderr
    assert done.stdout == ""


def test_an_authority_without_tls_is_a_mistake_that_is_named() -> None:
    done = run("import proctor_site.settings", REDIS_CA="/some/ca.pem")
    assert "REDIS_URL cannot be used: REDIS_CA is set" in done.stderr
    with pytest.raises(ConfigError, match="REDIS_CA is set"):
        load({"REDIS_URL": "redis://a", "JOIN_TOKEN_KEY": "k" * 32, "REDIS_CA": "/some/ca.pem"})


@pytest.fixture
def database_port(signed: Signed) -> Iterator[int]:
    """The port at which the tests' PostgreSQL is reached by TLS, and only so."""
    behind = urlsplit(os.environ["DATABASE_URL"])
    with tls_before(signed, host=behind.hostname or "127.0.0.1", port=behind.port or 5432, postgres=True) as front:
        yield int(front.server_address[1])


def database_url(port: int, *, mode: str, ca: Path) -> str:
    query = f"sslmode={mode}&sslrootcert={quote(str(ca))}"
    return at(os.environ["DATABASE_URL"], port, scheme="postgres", query=query)


def test_the_database_is_reached_by_tls(database_port: int, authority: Authority) -> None:
    done = run(DATABASE_CLIENT, DATABASE_URL=database_url(database_port, mode="verify-full", ca=authority.path))
    assert done.stdout.strip() == "encrypted", done.stderr[-3000:]


def test_a_database_of_somebody_else_is_not_believed(database_port: int, stranger: Authority) -> None:
    done = run(DATABASE_CLIENT, DATABASE_URL=database_url(database_port, mode="verify-full", ca=stranger.path))
    assert done.returncode != 0
    assert "certificate verify failed" in done.stderr


def test_turn_servers_by_tls_reach_candidates_and_publishers() -> None:
    text = '[{"urls": "turns:turn.example.org:5349?transport=tcp", "username": "u", "credential": "c"}]'
    (server,) = load({"REDIS_URL": "redis://a", "JOIN_TOKEN_KEY": "k" * 32, "ICE_SERVERS": text}).ice_servers
    assert server.urls == ("turns:turn.example.org:5349?transport=tcp",)
