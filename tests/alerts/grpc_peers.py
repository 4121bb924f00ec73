"""The stream's server inside the test, and clients that speak to it over TCP."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

import grpc

from accounts.api_keys import api_key_create
from accounts.models import Organisation
from alerts.rpc import alerts_pb2
from alerts.rpc.messages import STREAM
from alerts.rpc.server import Config, StreamServer

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


async def take(call: Call, count: int, within_s: float = 15) -> list[alerts_pb2.Alert]:
    """Return the next ``count`` alerts."""
    async with asyncio.timeout(within_s):
        got = [await call.read() for _ in range(count)]
    assert all(isinstance(alert, alerts_pb2.Alert) for alert in got)
    return got


async def admitted(call: Call) -> Call:
    """Wait until the server has let the call in, where "from now on" begins."""
    async with asyncio.timeout(15):
        await call.initial_metadata()
    return call


async def refusal(call: Call) -> tuple[grpc.StatusCode, dict[str, str], str]:
    """Return what a call ended with: status, trailing metadata, details."""
    async with asyncio.timeout(15):
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
