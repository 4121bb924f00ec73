"""``AlertStream.Subscribe``: one client from its place in the order on, as fast as it reads and no faster."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Final

import grpc
from google.protobuf.message import DecodeError
from prometheus_client import Counter, Gauge

from alerts.following.database import AWAY, Database
from alerts.following.recent import Chunk, Recent
from alerts.following.tail import RETRY_S, Tail
from alerts.rpc import access, alerts_pb2
from alerts.rpc.access import Caller, RefusalError, Start
from alerts.rpc.messages import READER, STREAM

logger = logging.getLogger(__name__)

RECHECK_S: Final = 30.0
"""How often a client's key is checked again: keys are revoked and expire."""

STREAMS = Gauge("sdproctor_stream_clients", "Clients of the gRPC alert stream.", multiprocess_mode="livesum")
SENT = Counter("sdproctor_stream_alerts", "Alerts sent over gRPC streams.")
READS = Counter("sdproctor_stream_reads", "Chunks of alerts read for single clients that were behind.")
ENDED = Counter("sdproctor_stream_ended", "gRPC streams that the server refused or ended, by code.", ["code"])
for _code in access.STATUS:
    ENDED.labels(code=_code)

Context = grpc.aio.ServicerContext[bytes, bytes]


class AlertStream:
    """Serves the clients of one process. ``stopping`` set: no client is taken, and those there are let go."""

    def __init__(self, database: Database, tail: Tail[bytes]) -> None:
        self._database = database
        self._tail = tail
        self.stopping = asyncio.Event()

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what a server is to call. Messages pass as bytes, so that an alert is written once for all clients."""
        method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_stream_rpc_method_handler(self.subscribe)
        return grpc.method_handlers_generic_handler(STREAM, {"Subscribe": method})

    async def subscribe(self, request: bytes, context: Context) -> None:
        """Send alerts until the client hangs up or a refusal ends the call."""
        with STREAMS.track_inprogress():
            try:
                await self._serve(request, context)
            except RefusalError as refusal:
                ENDED.labels(code=refusal.code).inc()
                await context.abort(refusal.status, refusal.detail, refusal.trailers)

    async def _serve(self, request: bytes, context: Context) -> None:
        self._require_running()
        caller = Caller(dict(context.invocation_metadata() or ()), context.peer())
        start = await self._start(request, caller)
        shared = self._tail.join(start.organisation, start.newest)
        try:
            await context.send_initial_metadata(())  # from here on, "from now on" holds: the client may count on it
            await self._follow(context, caller, start, shared)
        finally:
            self._tail.leave(shared)

    async def _start(self, request: bytes, caller: Caller) -> Start:
        try:
            wish = alerts_pb2.SubscribeRequest.FromString(request)
            return await self._database.run(access.start_of, wish, caller)
        except DecodeError:
            raise RefusalError("request_invalid", "The request cannot be read.") from None
        except AWAY:
            raise RefusalError("database_unavailable", "The database does not answer.") from None

    async def _follow(self, context: Context, caller: Caller, start: Start, shared: Recent[bytes]) -> None:
        """Send chunk after chunk. One is in hand, and gRPC takes the next alert when the client has made room."""
        position, checked_at = start.position, time.monotonic()
        while True:
            changed = shared.changed  # before the look: what comes after it is not missed
            chunk = shared.after(position, start.filters) or await self._read(start, position)
            for ready in chunk.alerts:
                checked_at = await self._confirm(caller, checked_at)
                await context.write(ready.data)
                SENT.inc()
            position = chunk.position
            checked_at = await self._confirm(caller, checked_at)
            if not chunk.more:
                await _wait(changed, RECHECK_S)

    async def _read(self, start: Start, position: int) -> Chunk[bytes]:
        """Read a chunk for a client that is behind; wait for a database that is away."""
        while True:
            self._require_running()
            try:
                chunk = await self._database.run(READER.read, start.organisation, position, start.filters)
            except AWAY as error:
                logger.warning("The database is away, a client of the alert stream waits: %s", error)
                await asyncio.sleep(RETRY_S)
            else:
                READS.inc()
                return chunk

    async def _confirm(self, caller: Caller, checked_at: float) -> float:
        """Return when the client's right was last checked, now if that was long ago; raise if it is to get no more."""
        self._require_running()
        if time.monotonic() - checked_at < RECHECK_S:
            return checked_at
        with suppress(*AWAY):
            await self._database.run(access.organisation_of, caller)
        return time.monotonic()

    def _require_running(self) -> None:
        if self.stopping.is_set():
            raise RefusalError("server_stopping", "This server is stopping: connect again.")


async def _wait(changed: asyncio.Event, timeout_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await changed.wait()
