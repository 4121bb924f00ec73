"""The live socket of a session: ``WS /api/v1/session/ws/{session_id}``. docs/events.md describes its messages."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress

from channels.generic.websocket import AsyncWebsocketConsumer

from alerts import feed, live_access
from alerts.following import hub as shared_hub
from alerts.following.hub import Hub
from alerts.following.watch import Watch
from alerts.live_access import Close, Hears, Viewer
from alerts.sockets import DATABASE_AWAY, LiveConsumer
from sessions.models import ExamSession

logger = logging.getLogger(__name__)

RETRY_S = 2.0
"""Pause before a database that is away is asked again."""
NOTICES_WAITING = 20
"""Notices kept for a client that is behind."""
DETECTIONS_WAITING = 2
"""Summaries kept for a client that is behind; older ones are dropped, they are news for half a second only."""


class SessionConsumer(LiveConsumer):
    """One client that listens to one session. What is heard leaves bounded notes; ``_talk`` alone sends."""

    _hub: Hub
    _watch: Watch
    _viewer: Viewer

    def _read_wishes(self) -> None:
        live_access.parameters(self.scope, known=("after",))

    async def _serve(self) -> None:
        self._noted = asyncio.Event()
        self._look = True
        self._detections: deque[str] = deque(maxlen=DETECTIONS_WAITING)
        self._notices: deque[str] = deque(maxlen=NOTICES_WAITING)
        async with shared_hub.joined() as self._hub:
            await self._kept_open(self._talk())

    def hear_detections(self, text: str) -> None:
        """Keep the newest measures, which are not for candidates."""
        if not self._viewer.is_candidate:
            self._detections.append(text)
            self._noted.set()

    def hear_notice(self, text: str) -> None:
        """Keep a notice, which is for those who hear of everything."""
        if self._viewer.hears is Hears.ALL:
            self._notices.append(text)
            self._noted.set()

    def look(self) -> None:
        """Note that there may be news."""
        self._look = True
        self._noted.set()

    async def _talk(self) -> None:
        self._viewer = await self._hub.database.run(live_access.admit, self._knock)
        async with self._hub.watching(self._viewer.session.pk, self) as self._watch:
            position = await self._hub.database.run(feed.start, self._viewer, self._knock.after)
            self._begin_checks()
            while True:
                if self._check_is_due():
                    await self._check_again()
                wait_s = await self._tell(position)
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._noted.wait()
                self._noted.clear()

    async def _check_again(self) -> None:
        with suppress(*DATABASE_AWAY):
            self._viewer = await self._hub.database.run(live_access.admit, self._knock)

    async def _tell(self, position: feed.Position) -> float:
        """Send what is new; return how long to wait for word of more, which is short for a database that is away."""
        while self._look:
            self._look = False
            try:
                told = await self._watch.read(self._viewer, position)
            except DATABASE_AWAY as error:
                logger.warning("The database is away, sockets wait: %s", error)
                self._look = True
                return RETRY_S
            await self._send_ready(told.messages)
            news = told.news
            position.sequence, position.state, position.challenge = news.sequence, news.state, news.challenge
            self._look |= news.more
            if self._viewer.is_candidate and news.state == ExamSession.State.ENDED:
                await self._close(Close.NORMAL)
        while self._notices:
            await self._send_text(self._notices.popleft())
        while self._detections:
            await self._send_text(self._detections.popleft())
        return self._until_check_s()


class NowhereConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """Answers WebSockets at an address that has none."""

    channel_layer_alias = "none"

    async def connect(self) -> None:
        """Accept, so that the client sees the code, and close."""
        await self.accept()
        await self.close(code=int(Close.UNKNOWN_SESSION))
