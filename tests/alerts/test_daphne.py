"""The live socket in a real daphne process, with a real WebSocket client over TCP."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from channels_redis.pubsub import RedisPubSubChannelLayer
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from accounts.api_keys import api_key_create
from alerts import services
from alerts.models import Alert, SessionTally
from alerts.wake import group_name
from proctor_site.embedded.valkey import _binary as valkey_binary
from sessions.models import ExamSession
from tests.alerts import builders
from tests.alerts.builders import on_db
from tests.alerts.web import free_port, running_web, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def daphne(transactional_db: None, tmp_path: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A web process on the test database; yields its WebSocket address and the process."""
    with running_daphne(tmp_path) as running:
        yield running


@contextmanager
def running_daphne(tmp_path: Path, **environment: str) -> Iterator[tuple[str, psutil.Process]]:
    """Run a web process on the test database while the block runs."""
    with running_web(tmp_path, **environment) as (port, process):
        yield f"ws://127.0.0.1:{port}/api/v1/session/ws", process


@pytest.fixture
def session() -> ExamSession:
    return builders.session()


@pytest.fixture
def headers(session: ExamSession) -> dict[str, str]:
    _, raw = api_key_create(organisation=session.organisation, name="platform", scopes=["sessions"])
    return {"Authorization": f"Bearer {raw}"}


apply = on_db(builders.apply)


async def hear(client: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        message = json.loads(await asyncio.wait_for(client.recv(), 8))
        if message["type"] == kind:
            data: dict[str, Any] = message["data"]
            return data


async def test_a_client_that_reconnects_gets_every_alert_once_and_in_order(
    daphne: tuple[str, psutil.Process], session: ExamSession, headers: dict[str, str]
) -> None:
    address = f"{daphne[0]}/{session.session_id}"
    async with connect(address, additional_headers=headers) as client:
        assert (await hear(client, "state"))["state"] == "created"
        await asyncio.sleep(0.3)  # subscribed
        sent_at = time.monotonic()
        first = await apply(session)
        last = await hear(client, "alert")
        assert time.monotonic() - sent_at < 1.5  # woken, not polled
        assert last["event_id"] == str(first.event_id)
    missed = [await apply(session) for _ in range(3)]
    async with connect(f"{address}?after={last['event_id']}", additional_headers=headers) as client:
        told = [(await hear(client, "alert"))["event_id"] for _ in range(3)]
        live = await apply(session)
        told.append((await hear(client, "alert"))["event_id"])
    assert told == [str(alert.event_id) for alert in (*missed, live)]


async def test_the_close_codes_reach_the_client(
    daphne: tuple[str, psutil.Process], session: ExamSession, headers: dict[str, str]
) -> None:
    url, raw = daphne[0], headers["Authorization"].removeprefix("Bearer ")
    cases: list[tuple[str, dict[str, str] | None, int]] = [
        (f"{url}/{session.id}", None, 4401),
        (f"{url}/{session.id}?token={raw}", None, 4400),
        (f"{url}/nothing", headers, 4404),
        (f"{url}/{session.id}?after=x", headers, 4410),
    ]
    for address, given, code in cases:
        async with connect(address, additional_headers=given) as client:
            assert "code" in await hear(client, "error")
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == code
    async with connect(f"{url}/{session.id}", subprotocols=["sd-proctor.v1", f"bearer.{raw}"]) as client:  # type: ignore[list-item]
        assert client.subprotocol == "sd-proctor.v1"
        await hear(client, "state")


def _many_alerts(session: ExamSession, count: int) -> Alert:
    """Write alerts of 16 kB; return the first."""
    first = builders.apply(session)
    payload = first.payload | {"padding": "x" * 16_000}
    Alert.objects.bulk_create(
        Alert(organisation_id=session.organisation_id, session=session, incident_id=first.incident_id, phase="opened",
              sequence=number, event_type=first.event_type, payload=payload)
        for number in range(2, count + 2)
    )  # fmt: skip
    SessionTally.objects.filter(session=session).update(alert_sequence=count + 1)
    return first


async def test_a_client_that_does_not_read_is_closed_and_costs_no_memory(
    daphne: tuple[str, psutil.Process], session: ExamSession, headers: dict[str, str]
) -> None:
    """64 MB wait for a client that reads nothing: the server must hold back, then give up."""
    first = await on_db(_many_alerts)(session, 4000)
    url, process = daphne
    async with connect(f"{url}/{session.id}", additional_headers=headers) as client:
        await hear(client, "state")
    before = process.memory_info().rss
    host, port = url.removeprefix("ws://").split("/")[0].split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=2**10)
    lines = [
        f"GET /api/v1/session/ws/{session.id}?after={first.event_id} HTTP/1.1", f"Host: {host}:{port}",
        "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", f"Authorization: {headers['Authorization']}",
    ]  # fmt: skip
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    assert b"101" in await reader.readline()

    highest, until = before, time.monotonic() + 25
    while time.monotonic() < until and _is_connected(process, writer):
        highest = max(highest, process.memory_info().rss)
        await asyncio.sleep(0.2)

    assert not _is_connected(process, writer), "the server keeps a client that does not read"
    assert highest - before < 25_000_000  # 14 to 17 MB seen: pages of alerts as rows, not what waits
    writer.close()


def _is_connected(process: psutil.Process, writer: asyncio.StreamWriter) -> bool:
    """Tell whether the server still has its end of this client's connection."""
    mine = writer.get_extra_info("sockname")
    return any(c.raddr and c.raddr.port == mine[1] for c in process.net_connections("tcp") if c.status == "ESTABLISHED")


async def test_another_client_is_served_while_one_does_not_read(
    daphne: tuple[str, psutil.Process], session: ExamSession, headers: dict[str, str]
) -> None:
    first = await on_db(_many_alerts)(session, 500)
    address = f"{daphne[0]}/{session.id}"
    async with connect(
        f"{address}?after={first.event_id}", additional_headers=headers, max_queue=1, close_timeout=0.5
    ) as stuck:
        async with connect(address, additional_headers=headers) as reading:
            await hear(reading, "state")
            services.broadcast(session.id, {"type": "detections", "data": {"video": {"faces": 1}}})
            await asyncio.sleep(0.2)
            await apply(session)
            assert (await hear(reading, "alert"))["metadata"]["sequence"] == 502
        assert stuck.state.name == "OPEN"


@contextmanager
def running_valkey(port: int) -> Iterator[None]:
    """Run a Valkey that forgets everything while the block runs, and kill it."""
    process = subprocess.Popen(
        [valkey_binary(), "--port", str(port), "--save", "", "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(port, process, Path(os.devnull))
        yield
    finally:
        process.kill()
        process.wait()


async def test_alerts_come_while_redis_is_dead_and_detections_again_when_it_is_back(
    transactional_db: None, session: ExamSession, headers: dict[str, str], tmp_path: Path
) -> None:
    port = free_port()
    redis_url = f"redis://127.0.0.1:{port}/0"
    summary = {"type": "session.message", "message": {"type": "detections", "data": {"video": {"faces": 1}}}}

    async def told_again(client: ClientConnection) -> None:
        layer = RedisPubSubChannelLayer(hosts=[redis_url])
        for _ in range(40):
            await layer.group_send(group_name(session.id), summary)
            with suppress(TimeoutError):
                await asyncio.wait_for(hear(client, "detections"), 0.5)
                return
        pytest.fail("the socket does not hear the channel layer any more")

    with ExitStack() as stack:
        first = stack.enter_context(ExitStack())
        first.enter_context(running_valkey(port))
        url, _ = stack.enter_context(running_daphne(tmp_path, REDIS_URL=redis_url))
        async with connect(f"{url}/{session.id}", additional_headers=headers) as client:
            await hear(client, "state")
            await told_again(client)
            first.close()
            sent = [await apply(session) for _ in range(3)]
            told = [(await hear(client, "alert"))["event_id"] for _ in sent]
            assert told == [str(alert.event_id) for alert in sent]
            async with connect(f"{url}/{session.id}", additional_headers=headers) as late:
                await hear(late, "state")  # new sockets open meanwhile
            with running_valkey(port):
                await told_again(client)
