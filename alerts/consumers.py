"""The live socket of a session: ``WS /api/v1/session/ws/{session_id}``. docs/events.md describes its messages."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from django.db import InterfaceError, OperationalError
from prometheus_client import Counter, Gauge
from redis.exceptions import RedisError

from alerts import feed, live_access
from alerts.live_access import Close, Hears, RefusalError
from alerts.wake import group_name
from sessions.models import ExamSession

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

POLL_S = 5.0
"""How often a socket looks into the database without being woken."""
RECHECK_S = 30.0
"""How often a socket's right to listen is checked again: keys are revoked, tokens expire, people sign out."""
SEND_TIMEOUT_S = 10.0
"""How long a client may take to make room for the next message."""
RECONNECT_S = 2.0
"""Pause before the channel layer is tried again."""
NOTICES_WAITING = 20
"""Notices kept for a client that is behind."""
DETECTIONS_WAITING = 2
"""Summaries kept for a client that is behind; older ones are dropped, they are news for half a second only."""

CLIENTS = Gauge("sdproctor_socket_clients", "Open live sockets.", multiprocess_mode="livesum")
CLOSED = Counter("sdproctor_socket_closed", "Live sockets closed by the server, by close code.", ["code"])
for _code in Close:
    if _code is not Close.NORMAL:
        CLOSED.labels(code=str(int(_code)))
_DATABASE_AWAY = (OperationalError, InterfaceError)


class SessionConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One client that listens to one session.

    ``_listen`` takes what the channel layer says and leaves notes, bounded ones; ``_talk`` alone sends, and waits for
    the client. What the client says is ignored.
    """

    channel_layer_alias = "none"  # Channels itself would refuse every socket while Redis is away

    async def connect(self) -> None:
        """Accept, so that the client learns why if it is refused, and start listening and talking."""
        self._task: asyncio.Task[None] | None = None
        self._noted = asyncio.Event()
        self._look = True
        self._detections: deque[dict[str, Any]] = deque(maxlen=DETECTIONS_WAITING)
        self._notices: deque[dict[str, Any]] = deque(maxlen=NOTICES_WAITING)
        self._knock = live_access.read(self.scope)
        await self.accept(self._knock.protocol)
        CLIENTS.inc()
        try:
            live_access.refuse_query_secrets(self.scope)
            self._viewer = await _in_thread(live_access.admit)(self._knock)
        except RefusalError as refusal:
            await self._refuse(refusal)
        except _DATABASE_AWAY:
            await self._close(Close.TRY_AGAIN)
        else:
            self._task = asyncio.create_task(self._serve())
            self._task.add_done_callback(_report)

    async def disconnect(self, code: int) -> None:
        """Stop serving."""
        CLIENTS.dec()
        if self._task is not None:
            await _cancel(self._task)

    async def _serve(self) -> None:
        listening = asyncio.create_task(self._listen())
        listening.add_done_callback(_report)
        try:
            await self._talk()
        finally:
            await _cancel(listening)

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
        if message["type"] == "notice":
            if self._viewer.hears is Hears.ALL:
                self._notices.append(message)
                self._noted.set()
            return
        self._note_look()

    def _note_look(self) -> None:
        self._look = True
        self._noted.set()

    # --- Talking ------------------------------------------------------------------------------------------------------
    async def _talk(self) -> None:
        try:
            position = await _in_thread(feed.start)(self._viewer, self._knock.after)
            checked_at = time.monotonic()
            while True:
                if time.monotonic() - checked_at >= RECHECK_S:
                    await self._check_again()
                    checked_at = time.monotonic()
                await self._tell(position)
                await self._wait()
        except RefusalError as refusal:
            await self._refuse(refusal)
        except TimeoutError:
            await self._close(Close.TOO_SLOW)
        except _DATABASE_AWAY:  # at the very start; later it is waited for
            await self._close(Close.TRY_AGAIN)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(POLL_S):
                await self._noted.wait()
        except TimeoutError:
            self._look = True
        self._noted.clear()

    async def _check_again(self) -> None:
        with suppress(*_DATABASE_AWAY):
            self._viewer = await _in_thread(live_access.admit)(self._knock)

    async def _tell(self, position: feed.Position) -> None:
        """Send what is new; when the database is away, the next look makes up for it."""
        while self._look:
            self._look = False
            try:
                news = await _in_thread(feed.read)(self._viewer, position)
            except _DATABASE_AWAY as error:
                logger.warning("The database is away, sockets wait: %s", error)
                return
            await self._send_all(news.messages)
            position.sequence, position.state, position.challenge = news.sequence, news.state, news.challenge
            self._look |= news.more
            if self._viewer.is_candidate and news.state == ExamSession.State.ENDED:
                await self._close(Close.NORMAL)
        while self._notices:
            await self._send_all([self._notices.popleft()])
        while self._detections:
            await self._send_all([self._detections.popleft()])

    async def _send_all(self, messages: list[dict[str, Any]]) -> None:
        """Send; raise ``TimeoutError`` when the client does not make room."""
        for message in messages:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self.send(text_data=json.dumps(message, separators=(",", ":")))

    async def _refuse(self, refusal: RefusalError) -> None:
        with suppress(TimeoutError):
            await self._send_all([{"type": "error", "data": refusal.data}])
        await self._close(refusal.close)

    async def _close(self, code: Close) -> None:
        if code is not Close.NORMAL:
            CLOSED.labels(code=str(int(code))).inc()
        await self.close(code=int(code))


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


async def _cancel(task: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended: before Python 3.12 ``wait_for``, which redis-py uses, may swallow a request."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.2)


def _report(task: asyncio.Task[None]) -> None:
    """Log what ended a task that should only end by being cancelled or having closed the socket."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("A live socket broke down", exc_info=error)
