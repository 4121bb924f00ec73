"""The gateway as a whole: what runs, in which order it starts and stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from media_gateway import metrics
from media_gateway.config import Config
from media_gateway.control import Control
from media_gateway.publisher import Publisher, connect
from media_gateway.quiet import http_logger
from media_gateway.registry import Registry
from media_gateway.server import WhipServer
from media_gateway.tap import limit_addresses

logger = logging.getLogger(__name__)

_FLUSH_S = 2.0


class Gateway:
    """Start it, wait on ``failure``, stop it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._executor = ThreadPoolExecutor(config.threads, thread_name_prefix="media")
        # The channel blocks a connection of its own; the publisher must not wait behind anything.
        self._redis = [connect(config.redis_url), connect(config.redis_url)]
        self.publisher = Publisher(self._redis[0], origin=config.gateway_id, queue_limit=config.queue_limit)
        self.registry = Registry(config, publisher=self.publisher, executor=self._executor)
        self._control = Control(self._redis[1], self.registry, gateway_id=config.gateway_id)
        server = WhipServer(config, registry=self.registry, control=self._control, publisher=self.publisher)
        self._runner = web.AppRunner(server.application(), access_log=None, logger=http_logger(), shutdown_timeout=1.0)
        self._tasks: list[asyncio.Task[None]] = []
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def port(self) -> int:
        """Return the port that is listened on."""
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Listen and work; raise ``OSError`` where the port cannot be had."""
        limit_addresses(self._config.ice_addresses)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._config.host, self._config.port).start()
        for work in (
            self.publisher.run(),
            self.registry.run(),
            self._control.run_channel(),
            self._control.run_revocations(),
            self._control.run_heartbeat(),
        ):
            self._start(work)

    async def stop(self) -> None:
        """Report every peer lost, send what waits to be sent, and end."""
        await self.registry.close()
        await _cancel(self._tasks)
        await self.publisher.finish(timeout_s=_FLUSH_S)
        if not self.publisher.is_away:
            await self._control.forget()
        await self._runner.cleanup()
        for redis in self._redis:
            await redis.aclose()
        self._executor.shutdown(wait=False, cancel_futures=True)
        metrics.forget_process()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Fail as a whole when a part has failed: half a gateway would lose media in silence."""
        if not task.cancelled() and not self.failure.done():
            error = task.exception() or RuntimeError("a part of the gateway has ended")
            logger.critical("The gateway stops.", exc_info=error)
            self.failure.set_exception(error)


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel ``tasks`` and wait for their end.

    Once is not enough: ``asyncio.wait_for`` of Python 3.11, which redis-py uses, swallows a cancellation that comes as
    its own wait ends.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.1)
