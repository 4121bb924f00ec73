"""A thousand live sockets on one web process: what each costs in memory, and how soon alerts come.

A real daphne process serves the clients; alerts are committed at a steady rate, each through the product's own service,
in a process of its own. Two mixes are measured: ``sessions``, where the clients watch a hundred sessions, ten each, and
``proctors``, where every client hears every alert of the organisation. The delay is from just after the commit to
receipt at sampled clients; all others only count bytes: a thousand that parse would need cores of their own.
Clients, web process, writers and services share this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import math
import os
import resource
import secrets
import socket
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psutil
from websockets.asyncio.client import connect

from benchmarks import bed
from proctor_site.embedded.ports import free_port

SESSIONS = 100
SAMPLED = 20
"""Clients that parse what they hear."""
BUDGET_P95_S = 0.5
CONNECT_AT_ONCE = 50
SETTLE_S = 3.0
HEARD_TIMEOUT_S = 20.0


@dataclass
class Heard:
    """When which alert came to the sampled clients, on this machine's clock."""

    at: dict[str, list[float]] = field(default_factory=dict)

    def note(self, event_id: str) -> None:
        self.at.setdefault(event_id, []).append(time.time())


class _Counting(asyncio.Protocol):
    """A WebSocket client that shakes hands, counts bytes and answers pings."""

    def __init__(self, request: bytes) -> None:
        self._request, self._head = request, b""
        self.stands: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.bytes = 0
        self.closed = False
        self._rest = b""
        self._skip = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self.stands.done():
            self._frames(data)
            return
        self._head += data
        if b"\r\n\r\n" in self._head:
            head, _, rest = self._head.partition(b"\r\n\r\n")
            self._head = b""
            if b" 101 " in head.split(b"\r\n")[0]:
                self.stands.set_result(None)
                self._frames(rest)
            else:
                self.stands.set_exception(ConnectionError(head.decode("latin-1")))

    def _frames(self, data: bytes) -> None:
        """Go from one frame's head to the next."""
        self.bytes += len(data)
        if len(data) <= self._skip:
            self._skip -= len(data)
            return
        data, self._skip = self._rest + data[self._skip :], 0
        at = 0
        while len(data) - at >= 10 or (len(data) - at >= 2 and data[at + 1] < 126):
            size, head = data[at + 1], 2
            if size >= 126:
                head = 4 if size == 126 else 10
                size = int.from_bytes(data[at + 2 : at + head], "big")
            if data[at] == 0x89:  # a ping: the answer is its payload, masked by zeros
                if len(data) - at < head + size:
                    break
                self._transport.write(bytes((0x8A, 0x80 | size, 0, 0, 0, 0)) + data[at + head : at + head + size])
            at += head + size
        self._rest = data[at:]
        self._skip = max(0, at - len(data))

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if not self.stands.done():
            self.stands.set_exception(exc or ConnectionError("closed"))


def _request(path: str, port: int, key: str) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {base64.b64encode(secrets.token_bytes(16)).decode()}",
        f"Authorization: Bearer {key}",
    ]  # fmt: skip
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _count(paths: Sequence[str], port: int, key: str) -> list[_Counting]:
    """Open the clients that only count."""
    loop, gate = asyncio.get_running_loop(), asyncio.Semaphore(CONNECT_AT_ONCE)

    async def one(path: str) -> _Counting:
        async with gate:
            _, client = await loop.create_connection(lambda: _Counting(_request(path, port, key)), "127.0.0.1", port)
            await client.stands
            return client

    return await asyncio.gather(*(one(path) for path in paths))


async def _listen(path: str, port: int, key: str, heard: Heard, ready: asyncio.Event) -> None:
    """Parse what one client hears until cancelled."""
    headers = {"Authorization": f"Bearer {key}"}
    async with connect(f"ws://127.0.0.1:{port}{path}", additional_headers=headers, compression=None) as client:
        async for text in client:
            ready.set()
            if text.startswith('{"type":"alert"'):  # type: ignore[arg-type]
                heard.note(json.loads(text)["data"]["event_id"])


async def measure(mix: str, arguments: argparse.Namespace, port: int, key: str, web: psutil.Process) -> dict[str, Any]:
    """Open the clients, have alerts written, and return what was seen."""
    paths = [_path(mix, number) for number in range(arguments.clients)]
    before = web.memory_info().rss
    heard, started = Heard(), time.monotonic()
    ready = [asyncio.Event() for _ in range(SAMPLED)]
    listeners = [
        asyncio.create_task(_listen(path, port, key, heard, event))
        for path, event in zip(paths[:SAMPLED], ready, strict=True)
    ]
    counting = await _count(paths[SAMPLED:], port, key)
    await asyncio.gather(*(event.wait() for event in ready))
    await _until(lambda: all(client.bytes for client in counting))  # each has been told how things stand
    connected_s = time.monotonic() - started
    await asyncio.sleep(SETTLE_S)
    memory, idle = web.memory_info().rss, bed.processor_s(web)
    await asyncio.sleep(5.0)
    idle_percent = (bed.processor_s(web) - idle) / 5.0 * 100
    counted, spent, started = sum(client.bytes for client in counting), bed.processor_s(web), time.monotonic()
    committed = await _write(arguments)
    expected = {event_id for event_id, index in committed.items() if mix == "proctors" or index[1] < SAMPLED}
    with suppress(TimeoutError):
        async with asyncio.timeout(HEARD_TIMEOUT_S):
            await _until(lambda: _complete(heard, expected, mix))
    took_s = time.monotonic() - started
    spent = bed.processor_s(web) - spent
    peak = web.memory_info().rss
    for listener in listeners:
        listener.cancel()
    await asyncio.gather(*listeners, return_exceptions=True)
    delays = [at - committed[event_id][0] for event_id in expected for at in heard.at.get(event_id, [])]
    return {
        "clients": arguments.clients,
        "connect_s": round(connected_s, 1),
        "closed_by_server": sum(client.closed for client in counting),
        "memory_per_client_kb": round((memory - before) / arguments.clients / 1024, 1),
        "memory_per_client_at_the_end_kb": round((peak - before) / arguments.clients / 1024, 1),
        "idle_processor_percent": round(idle_percent, 1),
        "alerts": len(committed),
        "alerts_per_s": arguments.rate,
        "heard_by_sampled": len(delays),
        "missed_by_sampled": sum(max(0, _hearers(mix) - len(heard.at.get(event_id, []))) for event_id in expected),
        "kb_per_s_to_the_others": round((sum(c.bytes for c in counting) - counted) / took_s / 1024),
        "processor_percent": round(spent / took_s * 100, 1),
        **_delays(delays),
    }


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # looked at now and then, so that looking costs the clients nothing
        await asyncio.sleep(0.1)


def _path(mix: str, number: int) -> str:
    return "/api/v1/proctor/ws" if mix == "proctors" else f"/api/v1/session/ws/exam-{number % SESSIONS}"


def _hearers(mix: str) -> int:
    return SAMPLED if mix == "proctors" else 1


def _complete(heard: Heard, expected: set[str], mix: str) -> bool:
    return all(len(heard.at.get(event_id, [])) >= _hearers(mix) for event_id in expected)


def _delays(delays: list[float]) -> dict[str, Any]:
    if not delays:
        return {"within_budget": False}
    ordered = sorted(delays)
    p95_s = ordered[max(0, math.ceil(0.95 * len(ordered)) - 1)]
    return {
        "p50_s": round(statistics.median(ordered), 3),
        "p95_s": round(p95_s, 3),
        "max_s": round(ordered[-1], 3),
        "budget_p95_s": BUDGET_P95_S,
        "within_budget": p95_s <= BUDGET_P95_S,
    }


async def _write(arguments: argparse.Namespace) -> dict[str, tuple[float, int]]:
    """Have another process commit alerts; return each one's time of commit and the number of its session."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.sockets", "--write", str(arguments.seconds), "--rate", str(arguments.rate),
        cwd=bed.ROOT, stdout=subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError("The writer broke down.")
    return {event_id: (float(at), int(index)) for event_id, at, index in map(str.split, out.decode().splitlines())}


def write(seconds: float, rate: float) -> None:
    """Commit alerts in turn for the sessions, at a steady rate; print id, time of commit and session of each."""
    import django

    django.setup()
    from alerts import wake
    from sessions.models import ExamSession
    from tests.alerts import builders

    sessions = sorted(ExamSession.objects.select_related("organisation", "candidate", "exam"), key=_number)
    begun = time.monotonic()
    for count in range(int(seconds * rate)):
        time.sleep(max(0.0, begun + count / rate - time.monotonic()))
        index = count % len(sessions)
        alert = builders.apply(sessions[index])
        print(alert.event_id, time.time(), index)
    wake.flush(5.0)


def _number(session: Any) -> int:
    return int(session.session_id.removeprefix("exam-"))


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run web process and clients on services of their own."""
    port, figures = free_port(), dict[str, Any]()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with bed.own_services():
        key = _prepare()
        os.environ |= {"WEB_PORT": str(port)}
        command = ("daphne", "-b", "127.0.0.1", "-p", str(port), "--verbosity", "0", "proctor_site.asgi:application")
        for mix in arguments.mixes:
            with bed.process(*command, log=f"sockets-{mix}") as web:
                bed.wait_for("the web process", lambda: _listens(port))
                figures[mix] = asyncio.run(measure(mix, arguments, port, key, web))
    return {"what": "One daphne process; commit to receipt at sampled clients", **figures}


def _prepare() -> str:
    """Make the sessions; return an API key."""
    from accounts.api_keys import api_key_create
    from accounts.models import Organisation
    from tests.alerts import builders

    owner = Organisation.objects.get(slug="default")
    for number in range(SESSIONS):
        builders.session(owner, session_id=f"exam-{number}", exam_id=f"exam-{number % 5}", state="live")
    return api_key_create(organisation=owner, name=f"bench {uuid.uuid4()}", scopes=["sessions"])[1]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mixes", nargs="*", default=["sessions", "proctors"], help="sessions, proctors")
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=50.0, help="alerts a second")
    parser.add_argument("--write", type=float, metavar="SECONDS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write(arguments.write, arguments.rate)
    else:
        bed.report("sockets", run(arguments))


if __name__ == "__main__":
    main()
