"""A session that sockets of this process listen to: one subscription, and one look into the database for all."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from channels.layers import get_channel_layer
from django.db.models import Max
from redis.exceptions import RedisError

from alerts import feed
from alerts.feed import News, Position
from alerts.following.database import Database
from alerts.frames import Ready, encode
from alerts.live_access import Viewer
from alerts.wake import group_name
from sessions.models import ExamSession

logger = logging.getLogger(__name__)

RECONNECT_S = 2.0
"""Pause before the channel layer is tried again."""
GATHER_S: Final = 0.01
"""Who wants to look within this time of the first looks together: one message wakes all sockets of a session."""


class Listener(Protocol):
    """A socket that listens to a session. All calls return at once."""

    def hear_detections(self, text: str) -> None:
        """Take the newest measures, as they are sent."""

    def hear_notice(self, text: str) -> None:
        """Take what the service tells of its own work, as it is sent."""

    def look(self) -> None:
        """Take word that there may be news in the database."""


@dataclass(frozen=True, slots=True)
class Told:
    """What there is to send, in order and as it is sent, and how far that goes."""

    messages: Sequence[Ready]
    news: News


class Watch:
    """The sockets of one session."""

    def __init__(self, session_id: uuid.UUID, database: Database) -> None:
        self.session_id = session_id
        self.listeners: set[Listener] = set()
        self._database = database
        self._reads: dict[Any, asyncio.Task[Told]] = {}
        self._reading: set[asyncio.Task[Told]] = set()

    async def listen(self) -> None:
        """Pass on what the channel layer says, for ever; while it is away the poll finds what is new."""
        while True:
            try:
                await self._hear()
            except (RedisError, OSError) as error:
                logger.warning("The channel layer is away, sockets poll: %s", error)
                await asyncio.sleep(RECONNECT_S)

    async def _hear(self) -> None:
        layer, group = get_channel_layer(), group_name(self.session_id)
        channel = await layer.new_channel()
        try:
            await layer.group_add(group, channel)
            self.wake()  # for what was said before we could hear it
            while True:
                self._pass_on((await layer.receive(channel))["message"])
        finally:
            with suppress(RedisError, OSError):
                await layer.group_discard(group, channel)

    def _pass_on(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind not in ("detections", "notice"):
            self.wake()
            return
        text = encode(message)
        for listener in self.listeners:
            if kind == "notice":
                listener.hear_notice(text)
            else:
                listener.hear_detections(text)

    def wake(self) -> None:
        """Have every socket look."""
        for listener in self.listeners:
            listener.look()

    async def read(self, viewer: Viewer, position: Position) -> Told:
        """Read what is new since ``position``, together with whoever asks for the same at the same time."""
        first_live = max(position.live_from, position.sequence + 1)
        key = (viewer.hears, viewer.sees_pictures, position.sequence, first_live, position.state)
        reading = self._reads.get(key)
        if reading is None:
            reading = self._reads[key] = asyncio.create_task(self._read(key, viewer, position))
            self._reading.add(reading)
            reading.add_done_callback(self._reading.discard)
        return await asyncio.shield(reading)  # who leaves must not end it for the others

    async def _read(self, key: Any, viewer: Viewer, position: Position) -> Told:
        try:
            await asyncio.sleep(GATHER_S)
        finally:
            del self._reads[key]  # who comes from here on may have been woken by what this look does not see
        news = await self._database.run(feed.read, viewer, position)
        return Told([Ready(message) for message in news.messages], news)

    def close(self) -> None:
        """Give up what nobody waits for any more."""
        for reading in self._reading:
            reading.cancel()


def standing(session_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Any]:
    """Return state and newest sequence number of sessions by id; blocks. What was erased is left out."""
    rows = ExamSession.objects.filter(pk__in=session_ids).annotate(newest=Max("alerts__sequence"))
    return {key: (state, newest) for key, state, newest in rows.values_list("pk", "state", "newest")}
