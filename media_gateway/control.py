"""The narrow way back: the web side ends sessions, and sees that this gateway lives."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from detection.messages import (
    CONTROL_CHANNEL,
    CONTROL_END,
    HEARTBEAT_INTERVAL_S,
    HEARTBEAT_TTL_S,
    gateway_heartbeat_key,
    revoked_key,
)

logger = logging.getLogger(__name__)

_REVOKED_INTERVAL_S = 3.0
_RETRY_S = 1.0
_ERRORS = (RedisError, OSError, TimeoutError)


class Sessions(Protocol):
    """What control acts on."""

    @property
    def session_ids(self) -> list[str]: ...

    @property
    def peer_count(self) -> int: ...

    def end(self, session_ids: Iterable[str]) -> None: ...


class Control:
    """Each ``run_…`` works until cancelled and outlives Redis' absence."""

    def __init__(self, redis: Redis, sessions: Sessions, *, gateway_id: str) -> None:
        self._redis = redis
        self._sessions = sessions
        self._gateway_id = gateway_id
        self._started_at = time.time()

    async def is_revoked(self, session_id: str) -> bool:
        """Tell whether the session has ended. While Redis is away nobody is refused: ``run_revocations`` follows up."""
        try:
            return bool(await self._redis.exists(revoked_key(session_id)))
        except _ERRORS as error:
            logger.warning("Whether session %s has ended cannot be told now: %r", session_id, error)
            return False

    async def run_channel(self) -> None:
        """Act on control messages as they come."""
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(CONTROL_CHANNEL)
                    while True:
                        # Times out quietly; the periodic look at the keys covers what a broken connection misses.
                        message = await channel.get_message(timeout=_RETRY_S)
                        if message is not None:
                            self._act(message["data"])
            except _ERRORS as error:
                logger.debug("The control channel is away: %r", error)
                await asyncio.sleep(_RETRY_S)

    async def run_revocations(self) -> None:
        """Look every few seconds which sessions have ended, should a control message have been missed."""
        await self._every(_REVOKED_INTERVAL_S, self._end_revoked)

    async def run_heartbeat(self) -> None:
        """Refresh the key by which health checks find this gateway."""
        await self._every(HEARTBEAT_INTERVAL_S, self._beat)

    async def forget(self) -> None:
        """Remove the heartbeat: this gateway stops on purpose."""
        try:
            await self._redis.delete(gateway_heartbeat_key(self._gateway_id))
        except _ERRORS as error:
            logger.warning("The heartbeat could not be removed, it will expire: %r", error)

    async def _every(self, interval_s: float, act: Callable[[], Any]) -> None:
        while True:
            try:
                await act()
            except _ERRORS as error:
                logger.debug("%s: %r", act.__name__, error)
            await asyncio.sleep(interval_s)

    def _act(self, data: bytes) -> None:
        try:
            message = json.loads(data)
            action, session_id = message["action"], str(message["session_id"])
        except (ValueError, KeyError, TypeError):
            logger.error("A control message cannot be understood: %.200r", data)
            return
        if action == CONTROL_END:
            self._sessions.end([session_id])
        else:
            logger.warning("Unknown control action %.50r for session %s.", action, session_id)

    async def _end_revoked(self) -> None:
        session_ids = self._sessions.session_ids
        if not session_ids:
            return
        async with self._redis.pipeline(transaction=False) as pipeline:
            for session_id in session_ids:
                pipeline.exists(revoked_key(session_id))
            ended = await pipeline.execute()
        self._sessions.end([session_id for session_id, is_over in zip(session_ids, ended, strict=True) if is_over])

    async def _beat(self) -> None:
        document = {
            "gateway_id": self._gateway_id,
            "peers": self._sessions.peer_count,
            "started_at": self._started_at,
            "at": time.time(),
        }
        await self._redis.set(gateway_heartbeat_key(self._gateway_id), json.dumps(document), ex=HEARTBEAT_TTL_S)
