"""A webhook receiver as quick as Python allows, in a process of its own: ``python -m benchmarks.webhook_sink``.

It prints its port. ``POST /hang…`` is never answered, everything else with 204. ``GET /received`` lists what came as
``[path, webhook-id, Unix seconds]``.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import requests

OK = b"HTTP/1.1 204 No Content\r\n\r\n"


class Sink(asyncio.Protocol):
    """One connection."""

    received: list[tuple[str, str, float]] = []

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
            length = int(headers.get("content-length", 0))
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            self._answer(*head[0].split(" ")[:2], headers.get("webhook-id", ""))

    def _answer(self, method: str, path: str, event_id: str) -> None:
        if method == "GET":
            body = json.dumps(self.received).encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            return
        self.received.append((path, event_id, time.time()))
        if not path.startswith("/hang"):
            self._transport.write(OK)


@dataclass(frozen=True, slots=True)
class WebhookSink:
    """The receiver as a benchmark sees it."""

    base: str
    can_hang = True

    def address(self, name: str, *, hangs: bool = False) -> str:
        """Return the address of a subscriber of this name."""
        return f"{self.base}/{'hang-' if hangs else ''}{name}"

    def received(self) -> dict[str, list[tuple[str, float]]]:
        """Return what came to each address: event ids and Unix seconds, in order."""
        by_address: dict[str, list[tuple[str, float]]] = {}
        for path, event_id, at in requests.get(f"{self.base}/received", timeout=30).json():
            by_address.setdefault(self.base + path, []).append((event_id, at))
        return by_address


@contextmanager
def running() -> Iterator[WebhookSink]:
    """Run a receiver."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.webhook_sink"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield WebhookSink(f"http://127.0.0.1:{process.stdout.readline().strip()}")
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
