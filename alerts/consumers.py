"""The live socket of a session: ``WS /api/v1/session/ws/{session_id}``. docs/events.md describes its messages."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from alerts import feed, live_access, sockets
from alerts.live_access import Close
from alerts.sockets import DATABASE_AWAY, LiveConsumer, cancel, report
from alerts.wake import group_name
from sessions.models import ExamSession

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

POLL_S = 5.0
"""How often a socket looks into the database without being woken."""
RECONNECT_S = 2.0
"""Pause before the channel layer is tried again."""
DETECTIONS_WAITING = 2
"""Summaries kept for a client that is behind; older ones are dropped, they are news for half a second only."""


class SessionConsumer(LiveConsumer):
    """One client that listens to one session.

    ``_listen`` takes what the channel layer says and leaves notes, bounded ones; ``_talk`` alone sends, and waits for
    the client.
    """

    async def _admit(self) -> None:
        self._noted = asyncio.Event()
        self._look = True
        self._detections: deque[dict[str, Any]] = deque(maxlen=DETECTIONS_WAITING)
        self._viewer = await _in_thread(live_access.admit)(self._knock)

    async def _serve(self) -> None:
        listening = asyncio.create_task(self._listen())
        listening.add_done_callback(report)
        try:
            await self._kept_open(self._talk())
        finally:
            await cancel(listening)

    # --- Listening ----------------------------------------------------------------------------------------------------
    async def _listen(self) -> None:
        while True:
            try:
                await self._subscribe_and_hear()
            except (RedisError, OSError) as error:
                logger.warning("The channel layer is away, sockets poll: %s", error)
                await asyncio.sleep(RECONNECT_S)

    async def _subscribe_and_hear(self) -> None:
        layer, group = get_channel_layer(), group_name(self._viewer.session.pk)
        channel = await layer.new_channel()
        try:
            await layer.group_add(group, channel)
            self._note_look()  # for what was said before we could hear it
            while True:
                self._hear((await layer.receive(channel))["message"])
        finally:
            with suppress(RedisError, OSError):
                await layer.group_discard(group, channel)

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "detections":
            if not self._viewer.is_candidate:
                self._detections.append(message)
                self._noted.set()
            return
        self._note_look()

    def _note_look(self) -> None:
        self._look = True
        self._noted.set()

    # --- Talking ------------------------------------------------------------------------------------------------------
    async def _talk(self) -> None:
        position = await _in_thread(feed.start)(self._viewer, self._knock.after)
        checked_at = time.monotonic()
        while True:
            if time.monotonic() - checked_at >= sockets.RECHECK_S:
                await self._check_again()
                checked_at = time.monotonic()
            await self._tell(position)
            await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(POLL_S):
                await self._noted.wait()
        except TimeoutError:
            self._look = True
        self._noted.clear()

    async def _check_again(self) -> None:
        with suppress(*DATABASE_AWAY):
            self._viewer = await _in_thread(live_access.admit)(self._knock)

    async def _tell(self, position: feed.Position) -> None:
        """Send what is new; when the database is away, the next look makes up for it."""
        while self._look:
            self._look = False
            try:
                news = await _in_thread(feed.read)(self._viewer, position)
            except DATABASE_AWAY as error:
                logger.warning("The database is away, sockets wait: %s", error)
                return
            await self._send_all(news.messages)
            position.sequence, position.state = news.sequence, news.state
            self._look |= news.more
            if self._viewer.is_candidate and news.state == ExamSession.State.ENDED:
                await self._close(Close.NORMAL)
        while self._detections:
            await self._send_all([self._detections.popleft()])


class NowhereConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """Answers WebSockets at an address that has none."""

    channel_layer_alias = "none"

    async def connect(self) -> None:
        """Accept, so that the client sees the code, and close."""
        await self.accept()
        await self.close(code=int(Close.UNKNOWN_SESSION))


def _in_thread(call: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Run database work in any thread of the pool: sockets must not queue behind one another."""
    wrapped: Callable[P, Coroutine[Any, Any, T]] = database_sync_to_async(call, thread_sensitive=False)
    return wrapped
