"""The process that serves the alert stream: services, health, reflection, signs of life, and an orderly end."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from redis.exceptions import RedisError

from accounts.redis_client import get_redis
from alerts.following.database import Database
from alerts.following.tail import Tail
from alerts.rpc.messages import READER, STREAM
from alerts.rpc.service import AlertStream
from alerts.rpc.tls import TLSFiles
from detection.messages import HEARTBEAT_INTERVAL_S, HEARTBEAT_TTL_S, stream_heartbeat_key

logger = logging.getLogger(__name__)

GRACE_S: Final = 5.0
"""Until calls that do not end by themselves are cut off."""
REQUEST_BYTES: Final = 64 * 1024
CLIENT_PING_S: Final = 10.0
"""Clients may send pings of their own as often as this."""

_Status = health_pb2.HealthCheckResponse


class ListenError(Exception):
    """An address that cannot be listened on."""


@dataclass(frozen=True, slots=True)
class Config:
    """Where and how to serve. ``keepalive_s``: how often silent connections are pinged."""

    host: str
    port: int
    tls: TLSFiles | None = None
    keepalive_s: float = 30.0
    max_streams: int = 1000

    def options(self) -> Sequence[tuple[str, int]]:
        """Return gRPC's channel arguments."""
        answer_ms = int(min(self.keepalive_s, 10.0) * 1000)
        return (
            ("grpc.so_reuseport", 0),  # a second server on the port is to fail, not to take half of the clients
            ("grpc.max_receive_message_length", REQUEST_BYTES),
            ("grpc.keepalive_time_ms", int(self.keepalive_s * 1000)),
            ("grpc.keepalive_timeout_ms", answer_ms),
            ("grpc.http2.ping_timeout_ms", answer_ms),  # 60 s otherwise, whatever keepalive_timeout_ms says
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", int(CLIENT_PING_S * 900)),
        )


class StreamServer:
    """One gRPC server. ``start``, then ``stop``; ``port`` is known after the start."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._database = Database()
        self._health = health.aio.HealthServicer()
        self._tail = Tail(self._database, READER, self._report)
        self._service = AlertStream(self._database, self._tail)
        self._answers: bool | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> None:
        """Listen; raise ``ListenError`` or ``TLSFilesError``."""
        self._server = grpc.aio.server(options=self._config.options(), maximum_concurrent_rpcs=self._config.max_streams)
        self._server.add_generic_rpc_handlers((self._service.handler(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (STREAM, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self.port = self._listen()
        await self._server.start()
        await self._show(True)
        for work in (self._tail.listen(), self._tail.watch(), self._live()):
            self._keep(asyncio.create_task(work))

    def _listen(self) -> int:
        address = (
            f"[{self._config.host}]:{self._config.port}"
            if ":" in self._config.host
            else (f"{self._config.host}:{self._config.port}")
        )
        tls = self._config.tls
        try:
            if tls is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, tls.credentials())
        except RuntimeError as error:
            raise ListenError(f"Cannot listen on {address}: {error}") from None

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """Say so to health checks and clients, let them go, and end."""
        await self._health.enter_graceful_shutdown()
        self._service.stopping.set()
        self._tail.wake_all()
        await self._server.stop(grace_s)
        for task in tuple(self._tasks):
            await _cancel(task)
        self._database.close()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        """Let a finished task go; what should have gone on for ever has broken down, and the process with it."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("The alert stream broke down", exc_info=error)
            os.kill(os.getpid(), signal.SIGTERM)

    # --- Health -------------------------------------------------------------------------------------------------------
    def _report(self, answers: bool) -> None:
        """Show whether the database answers."""
        if answers != self._answers:
            self._answers = answers
            self._keep(asyncio.create_task(self._show(answers)))

    async def _show(self, serving: bool) -> None:
        status = _Status.SERVING if serving else _Status.NOT_SERVING
        for name in ("", STREAM):
            await self._health.set(name, status)

    async def _live(self) -> None:
        """Refresh the sign of life that /.well-known/health looks for."""
        key = stream_heartbeat_key(f"{socket.gethostname()}:{os.getpid()}")
        try:
            while True:
                await asyncio.to_thread(_sign, key)
                await asyncio.sleep(HEARTBEAT_INTERVAL_S)
        finally:
            await asyncio.to_thread(_unsign, key)


def _sign(key: str) -> None:
    sign = {"hostname": socket.gethostname(), "pid": os.getpid(), "at": time.time()}
    try:
        get_redis().set(key, json.dumps(sign), ex=HEARTBEAT_TTL_S)
    except RedisError as error:
        logger.warning("Redis does not take the sign of life %s: %s", key, error)


def _unsign(key: str) -> None:
    with suppress(RedisError):  # then it expires
        get_redis().delete(key)


async def _cancel(task: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended: before Python 3.12 ``wait_for``, which redis-py uses, may swallow a request."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.2)


async def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = StreamServer(config)
    await server.start()
    print(f"alert stream on {config.host}:{server.port}{' with TLS' if config.tls else ''}", flush=True)
    await stop.wait()
    await server.stop()
