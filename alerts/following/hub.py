"""What all live sockets of a process share, so that what many want to know is read once."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Coroutine, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from accounts.models import Organisation
from alerts import stream
from alerts.feed import alert_document
from alerts.following import running, watch
from alerts.following.database import AWAY, Database
from alerts.following.notices import Notices
from alerts.following.recent import Chunk, Reader, Recent
from alerts.following.running import Running
from alerts.following.tail import Tail
from alerts.following.watch import Listener, Watch
from alerts.frames import Ready
from alerts.models import Alert
from alerts.sockets import cancel, report
from alerts.stream import Filters

logger = logging.getLogger(__name__)

PAUSE_S: Final = 0.1
"""Least time between two looks at an organisation: what came meanwhile goes out together, to a thousand clients."""
SESSIONS_S = 2.0
"""How often the sessions of organisations are looked at."""
POLL_S = 5.0
"""How often single sessions that are listened to are looked at without a wake-up: all of them by one query."""


class Told:
    """An alert ready to be sent: with links to its pictures, and without."""

    __slots__ = ("with_pictures", "without")

    def __init__(self, alert: Alert) -> None:
        self.with_pictures = Ready({"type": "alert", "data": alert_document(alert, pictures=True)})
        self.without = (
            Ready({"type": "alert", "data": alert_document(alert, pictures=False)})
            if alert.payload["metadata"]["evidence"]
            else self.with_pictures
        )


READER: Final = Reader(Told)


class Followed(NamedTuple):
    """What is shared of an organisation. ``alerts.changed`` is set when any of it changes."""

    alerts: Recent[Told]
    sessions: Running
    notices: Notices


class Hub:
    """Follows sessions and organisations for as long as somebody listens. One per event loop; use ``joined``."""

    def __init__(self) -> None:
        self.database = Database()
        self.tail: Tail[Told] = Tail(
            self.database, READER, lambda answered: None, hear_notice=self._hear_notice, pause_s=PAUSE_S
        )
        self.clients = 0
        self._followed: dict[int, Followed] = {}
        self._watches: dict[uuid.UUID, tuple[Watch, asyncio.Task[None]]] = {}
        background = (self.tail.listen(), self.tail.watch(), self._watch_organisations(), self._poll())
        self._tasks = [_start(work) for work in background]

    async def close(self) -> None:
        """End the work in the background."""
        for task in self._tasks:
            await cancel(task)
        await asyncio.to_thread(self.database.close)

    # --- Single sessions ----------------------------------------------------------------------------------------------
    @asynccontextmanager
    async def watching(self, session_id: uuid.UUID, listener: Listener) -> AsyncIterator[Watch]:
        """Listen to a session while the block runs."""
        if session_id not in self._watches:
            shared = Watch(session_id, self.database)
            self._watches[session_id] = shared, _start(shared.listen())
        shared, listening = self._watches[session_id]
        shared.listeners.add(listener)
        try:
            yield shared
        finally:
            shared.listeners.discard(listener)
            if not shared.listeners:
                del self._watches[session_id]
                shared.close()
                await cancel(listening)

    async def _poll(self) -> None:
        """Wake the sockets of sessions that changed since the last poll, and of those that are new here."""
        last: dict[uuid.UUID, Any] = {}
        while True:
            await asyncio.sleep(POLL_S)
            asked = list(self._watches)
            if not asked:
                last = {}
                continue
            try:
                now = await self.database.run(watch.standing, asked)
            except AWAY as error:
                logger.warning("The database is away, sockets wait: %s", error)
                continue
            for session_id in asked:
                known = self._watches.get(session_id)
                if known is not None and (session_id not in now or now[session_id] != last.get(session_id)):
                    known[0].wake()
            last = now

    # --- Organisations ------------------------------------------------------------------------------------------------
    @asynccontextmanager
    async def following(self, organisation: Organisation) -> AsyncIterator[Followed]:
        """Share what is known of an organisation; raises what the database raises when it is away."""
        newest = await self.database.run(stream.newest, organisation)
        shared = self.tail.join(organisation, newest)
        try:
            if organisation.pk not in self._followed:
                await self._look(self._followed.setdefault(organisation.pk, Followed(shared, Running(), Notices())))
            yield self._followed[organisation.pk]
        finally:
            self.tail.leave(shared)
            if not shared.clients:
                self._followed.pop(organisation.pk, None)

    async def behind(self, organisation: Organisation, position: int, filters: Filters) -> Chunk[Told]:
        """Read a chunk for a client that is further behind than what is shared."""
        return await self.database.run(READER.read, organisation, position, filters)

    async def _watch_organisations(self) -> None:
        while True:
            await asyncio.sleep(SESSIONS_S)
            for followed in list(self._followed.values()):
                try:
                    await self._look(followed)
                except AWAY as error:
                    logger.warning("The database is away, proctors' sockets wait: %s", error)

    async def _look(self, followed: Followed) -> None:
        alerts, sessions, _ = followed
        if sessions.update(await self.database.run(running.read, alerts.organisation, sessions.unfinished())):
            alerts.wake()

    def _hear_notice(self, organisation_id: int, document: dict[str, Any]) -> None:
        if (followed := self._followed.get(organisation_id)) is not None:
            followed.notices.add(document)
            followed.alerts.wake()


def _start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    task = asyncio.create_task(work)
    task.add_done_callback(report)
    return task


_hubs: MutableMapping[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


@asynccontextmanager
async def joined() -> AsyncIterator[Hub]:
    """Share the event loop's hub; it begins with the first client and ends with the last."""
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is None:
        hub = _hubs[loop] = Hub()
    hub.clients += 1
    try:
        yield hub
    finally:
        hub.clients -= 1
        if not hub.clients:
            del _hubs[loop]
            await hub.close()
