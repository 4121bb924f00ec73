"""The proctor's socket over all sessions of an organisation: ``WS /api/v1/proctor/ws``. docs/events.md describes it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from alerts import proctor_access, stream
from alerts.following import hub as shared_hub
from alerts.following.hub import Followed, Hub, Told
from alerts.following.notices import Notices
from alerts.following.recent import Chunk
from alerts.following.running import Running
from alerts.live_access import Close, RefusalError
from alerts.proctor_access import Proctor
from alerts.sockets import DATABASE_AWAY, LiveConsumer

logger = logging.getLogger(__name__)

RETRY_S: Final = 1.0
"""Pause before a database that is away is asked again."""


class ProctorConsumer(LiveConsumer):
    """One client that listens to an organisation.

    What it is told lies in memory once for all clients of the process; of its own it has only how far it has come.
    """

    _hub: Hub

    def _read_wishes(self) -> None:
        self._wishes = proctor_access.wishes(self.scope)

    async def _serve(self) -> None:
        async with shared_hub.joined() as self._hub:
            await self._kept_open(self._talk())

    async def _talk(self) -> None:
        self._proctor: Proctor = await self._hub.database.run(proctor_access.admit, self._knock, self._wishes)
        organisation = self._proctor.organisation
        async with self._hub.following(organisation) as followed:
            position, last_event_id = await self._hub.database.run(self._start)
            await self._send_all([self._ready(last_event_id)])
            await self._follow(followed, position)

    def _start(self) -> tuple[int, str | None]:
        """Return where to begin, and the last alert that the client has had by then; asks the database."""
        organisation, filters = self._proctor.organisation, self._wishes.filters
        if self._knock.after is not None:
            try:
                return stream.cursor_of(organisation, self._knock.after, filters), self._knock.after
            except stream.EventUnknownError as error:
                oldest = str(error.oldest_event_id) if error.oldest_event_id else None
                raise RefusalError(Close.UNKNOWN_EVENT, "event_unknown", str(error), oldest_event_id=oldest) from None
        position = stream.newest(organisation)
        last = stream.last_until(organisation, position, filters)
        return position, str(last) if last else None

    def _ready(self, last_event_id: str | None) -> dict[str, Any]:
        filters = self._wishes.filters
        data = {
            "organisation": self._proctor.organisation.slug,
            "exam_ids": list(filters.exam_ids),
            "event_types": list(filters.event_types),
            "last_event_id": last_event_id,
        }
        return {"type": "ready", "data": data}

    async def _follow(self, followed: Followed, position: int) -> None:
        recent, sessions, notices = followed
        version, told = 0, notices.number
        self._begin_checks()
        while True:
            if self._check_is_due():
                await self._check_again()
            changed = recent.changed  # before the look: what comes after it is not missed
            chunk = recent.after(position, self._wishes.filters) or await self._behind(position)
            if version != sessions.version:
                version = await self._tell_sessions(sessions, version)
            await self._send_alerts([ready.data for ready in chunk.alerts])
            position = chunk.position
            if told != notices.number:
                told = await self._tell_notices(notices, told)
            if not chunk.more:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._until_check_s()):
                        await changed.wait()

    async def _send_alerts(self, alerts: Sequence[Told]) -> None:
        pictures = self._proctor.sees_pictures
        await self._send_ready([told.with_pictures if pictures else told.without for told in alerts])

    async def _behind(self, position: int) -> Chunk[Told]:
        """Read a chunk from the database; wait for one that is away."""
        while True:
            try:
                return await self._hub.behind(self._proctor.organisation, position, self._wishes.filters)
            except DATABASE_AWAY as error:
                logger.warning("The database is away, a proctor's socket waits: %s", error)
                await asyncio.sleep(RETRY_S)

    async def _tell_sessions(self, sessions: Running, version: int) -> int:
        """Send the sessions that changed; return the version that the client now knows."""
        newest = sessions.version
        exam_ids = self._wishes.filters.exam_ids
        for document in sessions.since(version):
            if not exam_ids or document["exam_id"] in exam_ids:
                await self._send_all([{"type": "session", "data": document}])
        return newest

    async def _tell_notices(self, notices: Notices, told: int) -> int:
        """Send the notices that are new; return the number of the last."""
        newest = notices.number
        documents = notices.since(told, self._wishes.filters)
        await self._send_all({"type": "notice", "data": document} for document in documents)
        return newest

    async def _check_again(self) -> None:
        with suppress(*DATABASE_AWAY):
            now = await self._hub.database.run(proctor_access.admit, self._knock, self._wishes)
            if now.organisation != self._proctor.organisation:  # the person has moved
                raise RefusalError(Close.FORBIDDEN, "permission_denied", "You belong to another organisation now.")
            self._proctor = now
