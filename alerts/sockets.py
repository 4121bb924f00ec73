"""What the live sockets have in common: who is let in, how they are refused, and that a client is waited for."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import InterfaceError, OperationalError
from prometheus_client import Counter, Gauge

from alerts import live_access
from alerts.flow import FRAMES
from alerts.frames import Ready, encode
from alerts.live_access import Close, RefusalError

logger = logging.getLogger(__name__)

SEND_TIMEOUT_S = 10.0
"""How long a client may take to make room for the next message."""
RECHECK_S = 30.0
"""How often a socket's right to listen is checked again: keys are revoked, tokens expire, people sign out."""

CLIENTS = Gauge("sdproctor_socket_clients", "Open live sockets.", multiprocess_mode="livesum")
CLOSED = Counter("sdproctor_socket_closed", "Live sockets closed by the server, by close code.", ["code"])
for _code in Close:
    if _code is not Close.NORMAL:
        CLOSED.labels(code=str(int(_code)))
DATABASE_AWAY: Final = (OperationalError, InterfaceError)


class LiveConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """A socket that only tells. What the client says is ignored; one task sends, and waits for the client."""

    channel_layer_alias = "none"  # Channels itself would refuse every socket while Redis is away

    async def connect(self) -> None:
        """Accept, so that the client learns why if it is refused, and start telling."""
        self._task: asyncio.Task[None] | None = None
        self._knock = live_access.read(self.scope)
        await self.accept(self._knock.protocol)
        CLIENTS.inc()
        if await self._kept_open(self._begin()):
            self._task = asyncio.create_task(self._serve())
            self._task.add_done_callback(report)

    async def disconnect(self, code: int) -> None:
        """Stop telling."""
        CLIENTS.dec()
        if self._task is not None:
            await cancel(self._task)

    async def _begin(self) -> None:
        live_access.refuse_query_secrets(self.scope)
        self._read_wishes()

    def _read_wishes(self) -> None:
        """Read what else the address asks for; raise ``RefusalError`` for what cannot be meant."""

    async def _serve(self) -> None:
        """Find out who this is and tell until the socket is closed or this is cancelled."""
        raise NotImplementedError

    async def _kept_open(self, work: Any) -> bool:
        """Await ``work``; close the socket and return False for what the client is to learn of by its code."""
        try:
            await work
        except RefusalError as refusal:
            await self._refuse(refusal)
        except TimeoutError:
            await self._close(Close.TOO_SLOW)
        except DATABASE_AWAY:
            await self._close(Close.TRY_AGAIN)
        else:
            return True
        return False

    def _begin_checks(self) -> None:
        """Have the first check come at any time within ``RECHECK_S``: who came together is not checked together."""
        self._checked_at = time.monotonic() - random.random() * RECHECK_S  # noqa: S311  # no secret

    def _check_is_due(self) -> bool:
        """Tell whether the right to listen is to be checked now, which then counts as done."""
        if time.monotonic() - self._checked_at < RECHECK_S:
            return False
        self._checked_at = time.monotonic()
        return True

    def _until_check_s(self) -> float:
        """Return in how many seconds the next check is due."""
        return max(0.0, self._checked_at + RECHECK_S - time.monotonic())

    async def _send_all(self, messages: Iterable[Mapping[str, Any]]) -> None:
        """Send; raise ``TimeoutError`` when the client does not make room."""
        for message in messages:
            await self._send_text(encode(message))

    async def _send_text(self, text: str) -> None:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await self.send(text_data=text)

    async def _send_ready(self, messages: Sequence[Ready]) -> None:
        """Send messages that many clients get: their frames at once where the server takes them, else their texts."""
        if FRAMES not in (self.scope.get("extensions") or {}):
            for message in messages:
                await self._send_text(message.text)
        elif messages:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self.base_send({"type": "websocket.send", "frames": b"".join(each.frame for each in messages)})

    async def _refuse(self, refusal: RefusalError) -> None:
        with suppress(TimeoutError):
            await self._send_all([{"type": "error", "data": refusal.data}])
        await self._close(refusal.close)

    async def _close(self, code: Close) -> None:
        if code is not Close.NORMAL:
            CLOSED.labels(code=str(int(code))).inc()
        await self.close(code=int(code))


async def cancel(task: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended: before Python 3.12 ``wait_for``, which redis-py uses, may swallow a request."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.2)


def report(task: asyncio.Task[None]) -> None:
    """Log what ended a task that should only end by being cancelled or having closed the socket."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("A live socket broke down", exc_info=error)
