"""The stream's server inside the test and clients that speak to it over TCP; and a server that alerts are pushed to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from accounts.api_keys import api_key_create
from accounts.models import Organisation
from alerts.models import Alert
from alerts.rpc import alerts_pb2
from alerts.rpc.messages import RECEIVER, STREAM
from alerts.rpc.server import Config, StreamServer
from tests.alerts import builders
from tests.alerts.web import ROOT, database_url

FIXED_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65536))
"""Options of a client that lets 64 KiB come before it reads; by default it would widen that on a fast line."""
PATH = f"/{STREAM}/Subscribe"
Call = grpc.aio.UnaryStreamCall[bytes, alerts_pb2.Alert]


@contextlib.asynccontextmanager
async def serving(**config: Any) -> AsyncIterator[StreamServer]:
    """A server on a free port, stopped afterwards."""
    server = StreamServer(Config(host="127.0.0.1", port=0, **config))
    await server.start()
    try:
        yield server
    finally:
        await server.stop(grace_s=0.5)


def api_key(owner: Organisation, *, scopes: list[str] | None = None) -> str:
    return api_key_create(organisation=owner, name=f"key {secrets.token_hex(4)}", scopes=scopes or ["sessions"])[1]


def subscribe(channel: grpc.aio.Channel, key: str | None, **request: Any) -> Call:
    """Start a call; ``request`` are fields of SubscribeRequest."""
    method = channel.unary_stream(
        PATH,
        request_serializer=alerts_pb2.SubscribeRequest.SerializeToString,
        response_deserializer=alerts_pb2.Alert.FromString,
    )
    metadata = None if key is None else (("authorization", f"Bearer {key}"),)
    return method(alerts_pb2.SubscribeRequest(**request), metadata=metadata)


async def take(call: Call, count: int, within_s: float = 40) -> list[alerts_pb2.Alert]:
    """Return the next ``count`` alerts."""
    async with asyncio.timeout(within_s):
        got = [await call.read() for _ in range(count)]
    assert all(isinstance(alert, alerts_pb2.Alert) for alert in got)
    return got


async def admitted(call: Call) -> Call:
    """Wait until the server has let the call in, where "from now on" begins."""
    async with asyncio.timeout(40):
        await call.initial_metadata()
    return call


async def refusal(call: Call) -> tuple[grpc.StatusCode, dict[str, str], str]:
    """Return what a call ended with: status, trailing metadata, details."""
    async with asyncio.timeout(40):
        try:
            while (await call.read()) is not grpc.aio.EOF:
                pass
        except grpc.aio.AioRpcError:
            pass
        return await call.code(), dict(await call.trailing_metadata()), await call.details()


async def silent(call: Call, for_s: float = 0.3) -> bool:
    """Tell whether nothing comes for a while."""
    reading = asyncio.ensure_future(call.read())
    done, _ = await asyncio.wait({reading}, timeout=for_s)
    return not done


def fill(owner: Organisation, count: int, *, padding: int = 0) -> list[str]:
    """Write many alerts of one session at once, larger by ``padding`` bytes; return their ids in order."""
    first = builders.apply(builders.session(owner))
    rows = []
    for sequence in range(2, count + 1):
        event_id = uuid.uuid4()
        metadata = first.payload["metadata"] | {"sequence": sequence, "padding": "x" * padding}
        payload = first.payload | {"event_id": str(event_id), "metadata": metadata}
        rows.append(
            Alert(
                event_id=event_id,
                organisation=owner,
                session=first.session,
                incident=first.incident,
                sequence=sequence,
                event_type=first.event_type,
                phase=first.phase,
                payload=payload,
            )
        )
    Alert.objects.bulk_create(rows, batch_size=500)
    return [str(first.event_id), *(str(row.event_id) for row in rows)]


@contextlib.contextmanager
def stream_process(log: Path, port: int, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """``manage.py serve_alerts`` on the test database, listening when the block begins."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "serve_alerts"],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": database_url(), "GRPC_PORT": str(port), **environment},
            stdout=output,
            stderr=output,
        )
        try:
            until = time.monotonic() + 40
            while not listens(port):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.05)
            yield process
        finally:
            process.terminate()
            process.wait(15)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Line:
    """A TCP line to a port of this machine. Frozen it stays open and silent; cut it refuses, until it is restored."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._port = 0

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        """Open the line; its port is yielded."""
        await self.restore()
        try:
            yield self._port
        finally:
            self._flows.set()
            await self.cut()

    def freeze(self) -> None:
        self._flows.clear()

    async def cut(self) -> None:
        self._server.close()
        for writer in tuple(self._writers):
            writer.close()
        await asyncio.sleep(0.1)

    async def restore(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, back}
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        self._writers -= {writer, back}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flows.wait()
                writer.write(data)
        writer.close()


class GrpcReceiver:
    """A platform's own server: keeps what was delivered. ``behaviour`` is asked for the reply; it may abort."""

    def __init__(self, port: int, credentials: grpc.ServerCredentials | None) -> None:
        self.got: list[alerts_pb2.Alert] = []
        self.metadata: list[dict[str, Any]] = []
        self.peers: list[str] = []
        self.behaviour: Callable[[alerts_pb2.Alert, grpc.ServicerContext], str] = lambda alert, context: "noted"
        self._server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        method = grpc.unary_unary_rpc_method_handler(
            self._deliver,
            request_deserializer=alerts_pb2.Alert.FromString,
            response_serializer=alerts_pb2.DeliverReply.SerializeToString,
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(RECEIVER, {"Deliver": method}),))
        address = f"127.0.0.1:{port}"
        self.port = (
            self._server.add_insecure_port(address)
            if credentials is None
            else self._server.add_secure_port(address, credentials)
        )
        self._server.start()

    def _deliver(self, alert: alerts_pb2.Alert, context: grpc.ServicerContext) -> alerts_pb2.DeliverReply:
        self.got.append(alert)
        self.metadata.append(dict(context.invocation_metadata()))
        self.peers.append(context.peer())
        return alerts_pb2.DeliverReply(note=self.behaviour(alert, context))

    def stop(self) -> None:
        self._server.stop(0).wait()


@contextlib.contextmanager
def receiving(port: int = 0, credentials: grpc.ServerCredentials | None = None) -> Iterator[GrpcReceiver]:
    """Run such a server."""
    receiver = GrpcReceiver(port, credentials)
    try:
        yield receiver
    finally:
        receiver.stop()
